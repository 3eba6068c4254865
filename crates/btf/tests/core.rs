//! CO-RE on hand-made pairs of BTF: each kind of relocation, what fits, what does not, and what contradicts itself.

use onebpf_btf::{
    Btf, Builder, CODES, CoreRelo, CoreReloKind, Endian, Fixup, IntEncoding, Matcher, OwnedDef,
    OwnedEnumValue, OwnedMember, OwnedParam, OwnedType, TypeId,
};

const ENDIANS: [Endian; 2] = [Endian::Little, Endian::Big];

/// A BTF in the making, with access strings in it.
struct Types {
    builder: Builder,
    int: TypeId,
    long: TypeId,
    char: TypeId,
}

impl Types {
    fn new(endian: Endian) -> Types {
        let mut builder = Builder::new(endian);
        let int = builder.push(OwnedType::int("int", 4, IntEncoding::SIGNED));
        let long = builder.push(OwnedType::int("long unsigned int", 8, IntEncoding::UNSIGNED));
        let char = builder.push(OwnedType::int("char", 1, IntEncoding::SIGNED));
        Types { builder, int, long, char }
    }

    fn push(&mut self, name: &str, def: OwnedDef) -> TypeId {
        self.builder.push(OwnedType::new(name, def))
    }

    /// Members with their offsets in bits.
    fn record(&mut self, name: &str, size: u32, members: &[(&str, TypeId, u32)]) -> TypeId {
        self.push(name, OwnedDef::Struct { size, members: members.iter().map(member).collect() })
    }

    fn array(&mut self, elem: TypeId, count: u32) -> TypeId {
        let index = self.int;
        self.push("", OwnedDef::Array { elem, index, count })
    }

    fn values(&mut self, name: &str, values: &[(&str, i128)]) -> TypeId {
        let values = values.iter().map(value).collect();
        self.push(name, OwnedDef::Enum { size: 4, signed: true, values })
    }

    /// The BTF; the strings are names of types that nothing refers to.
    fn build(mut self, strings: &[&str]) -> Btf {
        for text in strings {
            self.builder.push(OwnedType::new(*text, OwnedDef::Fwd { union: false }));
        }
        Btf::from_vec(self.builder.build().unwrap()).unwrap()
    }
}

fn member((name, ty, bit_offset): &(&str, TypeId, u32)) -> OwnedMember {
    OwnedMember { name: (*name).into(), ty: *ty, bit_offset: *bit_offset, bit_size: None }
}

fn value((name, value): &(&str, i128)) -> OwnedEnumValue {
    OwnedEnumValue { name: (*name).into(), value: *value }
}

fn relo(btf: &Btf, type_id: TypeId, access: &str, kind: CoreReloKind) -> CoreRelo {
    let strings = (0..).map_while(|at| Some((at, btf.string(at).ok()?)));
    let access_str_off =
        strings.filter(|(_, text)| *text == access).map(|(at, _)| at).next().unwrap_or(u32::MAX);
    CoreRelo { insn_off: 0, type_id, access_str_off, kind }
}

fn resolve(local: &Btf, target: &Btf, id: TypeId, access: &str, kind: CoreReloKind) -> Fixup {
    Matcher::new(local, &[target]).resolve(&relo(local, id, access, kind)).unwrap()
}

/// What the instruction will hold; nothing if it is poisoned.
fn outcome(local: &Btf, target: &Btf, id: TypeId, access: &str, kind: CoreReloKind) -> Option<u64> {
    let fixup = resolve(local, target, id, access, kind);
    (!fixup.poison).then_some(fixup.new_value)
}

use CoreReloKind::{
    EnumvalExists, EnumvalValue, FieldByteOffset, FieldByteSize, FieldExists, FieldLshiftU64, FieldRshiftU64,
    FieldSigned, TypeExists, TypeIdLocal, TypeIdTarget, TypeMatches, TypeSize,
};

#[test]
fn fields_are_found_where_they_are_now() {
    for endian in ENDIANS {
        let mut local = Types::new(endian);
        let (int, char) = (local.int, local.char);
        let comm = local.array(char, 16);
        let task =
            local.record("task___mine", 24, &[("pid", int, 0), ("comm", comm, 32), ("gone", int, 160)]);
        let local = local.build(&["0", "0:0", "0:1", "0:1:3", "0:2", "1:0"]);

        let mut target = Types::new(endian);
        let (int, long, char) = (target.int, target.long, target.char);
        let comm = target.array(char, 32);
        let inner = target.record("", 8, &[("pad", int, 0), ("pid", int, 32)]);
        let _other = target.record("other", 8, &[("pid", long, 0)]);
        let task =
            (task, target.record("task", 48, &[("state", long, 0), ("", inner, 64), ("comm", comm, 128)]));
        let target = target.build(&[]);

        let at = |access, kind| outcome(&local, &target, task.0, access, kind);
        assert_eq!(at("0:0", FieldByteOffset), Some(12));
        assert_eq!(at("1:0", FieldByteOffset), Some(60), "the next task");
        assert_eq!(at("0:1:3", FieldByteOffset), Some(19));
        assert_eq!(at("0:1", FieldByteSize), Some(32));
        assert_eq!(at("0:1:3", FieldByteSize), Some(1));
        assert_eq!((at("0:0", FieldExists), at("0:2", FieldExists)), (Some(1), Some(0)));
        assert_eq!((at("0:0", FieldSigned), at("0:2", FieldSigned)), (Some(1), None));
        assert_eq!(at("0:2", FieldByteOffset), None);
        assert_eq!((at("0:0", FieldLshiftU64), at("0:0", FieldRshiftU64)), (Some(32), Some(32)));
        assert_eq!((at("0", TypeExists), at("0", TypeSize)), (Some(1), Some(48)));
        assert_eq!(
            (at("0", TypeIdTarget), at("0", TypeIdLocal)),
            (Some(task.1.0.into()), Some(task.0.0.into()))
        );
        let text = Matcher::new(&local, &[&target]).explain(&relo(&local, task.0, "0:2", FieldByteOffset));
        assert_eq!(text, "the kernel's `struct task` has no member `gone`");
    }
}

#[test]
fn a_bitfield_is_read_by_the_smallest_load_that_holds_it() {
    for (endian, shift) in [(Endian::Little, 64 - 37 - 3), (Endian::Big, 37)] {
        let bits = |types: &mut Types, offset| {
            let long = types.long;
            let flag = OwnedMember { name: "flag".into(), ty: long, bit_offset: offset, bit_size: Some(3) };
            types.push("s", OwnedDef::Struct { size: 16, members: vec![flag] })
        };
        let (mut local, mut target) = (Types::new(endian), Types::new(endian));
        let id = bits(&mut local, 0);
        bits(&mut target, 64 + 37);
        let (local, target) = (local.build(&["0:0"]), target.build(&[]));
        let at = |kind| resolve(&local, &target, id, "0:0", kind);
        assert_eq!((at(FieldByteOffset).new_value, at(FieldByteSize).new_value), (8, 8));
        assert_eq!((at(FieldLshiftU64).new_value, at(FieldRshiftU64).new_value), (shift, 61));
        assert!(!at(FieldByteOffset).validate && !at(FieldLshiftU64).validate && at(FieldRshiftU64).validate);
        assert_eq!(at(FieldSigned).new_value, 0);
    }
}

#[test]
fn loads_follow_the_width_of_unsigned_integers_and_pointers_only() {
    let width = |one: IntEncoding, other: IntEncoding| {
        let record = |types: &mut Types, size, encoding| {
            let ty = types.builder.push(OwnedType::int("u", size, encoding));
            types.record("s", 8, &[("a", ty, 0)])
        };
        let (mut local, mut target) = (Types::new(Endian::Little), Types::new(Endian::Little));
        let id = record(&mut local, 4, one);
        record(&mut target, 8, other);
        resolve(&local.build(&["0:0"]), &target.build(&[]), id, "0:0", FieldByteOffset)
    };
    let fixup = width(IntEncoding::UNSIGNED, IntEncoding::UNSIGNED);
    assert_eq!((fixup.orig_size, fixup.new_size, fixup.fail_memsz_adjust), (4, 8, false));
    assert!(width(IntEncoding::UNSIGNED, IntEncoding::SIGNED).fail_memsz_adjust);
    assert!(width(IntEncoding::SIGNED, IntEncoding::UNSIGNED).fail_memsz_adjust);

    // A kernel of 32 bits says so by its `long`.
    let mut local = Types::new(Endian::Little);
    let pointer = local.push("", OwnedDef::Ptr(TypeId::VOID));
    let id = local.record("s", 8, &[("p", pointer, 0)]);
    let mut narrow = Types { builder: Builder::new(Endian::Little), ..Types::new(Endian::Little) };
    narrow.builder.push(OwnedType::int("long int", 4, IntEncoding::SIGNED));
    let pointer = narrow.push("", OwnedDef::Ptr(TypeId::VOID));
    let own = narrow.record("s", 4, &[("p", pointer, 0)]);
    let (wide, narrow) = (local.build(&["0:0"]), narrow.build(&["0:0"]));
    let fixup = resolve(&wide, &narrow, id, "0:0", FieldByteOffset);
    assert_eq!((fixup.orig_size, fixup.new_size, fixup.fail_memsz_adjust), (8, 4, false));
    // An object is for BPF, whatever its `long` says.
    let fixup = resolve(&narrow, &wide, own, "0:0", FieldByteOffset);
    assert_eq!((fixup.orig_size, fixup.new_size), (8, 8));
}

#[test]
fn a_flexible_array_has_every_element() {
    let make = |last: bool, count| {
        let mut types = Types::new(Endian::Little);
        let int = types.int;
        let items = types.array(int, count);
        let mut members = vec![("n", int, 0), ("items", items, 32)];
        if !last {
            members.push(("end", int, 32));
        }
        let id = types.record("s", 4, &members);
        (types.build(&["0:1:7"]), id)
    };
    let (local, id) = make(true, 0);
    assert_eq!(outcome(&local, &make(true, 0).0, id, "0:1:7", FieldByteOffset), Some(32));
    assert_eq!(outcome(&local, &make(true, 8).0, id, "0:1:7", FieldByteOffset), Some(32));
    assert_eq!(outcome(&local, &make(true, 7).0, id, "0:1:7", FieldByteOffset), None);
    assert_eq!(outcome(&local, &make(false, 0).0, id, "0:1:7", FieldByteOffset), None);
}

#[test]
fn enumerators_go_by_name_whatever_the_width() {
    for endian in ENDIANS {
        let mut local = Types::new(endian);
        let id = local.values("e", &[("A", 0), ("B___new", 1), ("GONE", 2)]);
        let local = local.build(&["0", "1", "2"]);
        let mut target = Types::new(endian);
        let values = [("B", 1 << 40), ("A", -1)].iter().map(value).collect();
        target.push("e", OwnedDef::Enum64 { size: 8, signed: true, values });
        let wide = target.build(&[]);
        let at = |access, kind| outcome(&local, &wide, id, access, kind);
        assert_eq!((at("0", EnumvalValue), at("1", EnumvalValue)), (Some(u64::MAX), Some(1 << 40)));
        assert_eq!((at("2", EnumvalValue), at("2", EnumvalExists)), (None, Some(0)));
        assert_eq!(at("1", EnumvalExists), Some(1));
    }
    // libbpf extends 32-bit values with their sign, also unsigned ones.
    let mut types = Types::new(Endian::Little);
    let values = vec![value(&("TOP", 0xffff_ffff))];
    let id = types.push("u", OwnedDef::Enum { size: 4, signed: false, values });
    let btf = types.build(&["0"]);
    assert_eq!(outcome(&btf, &btf, id, "0", EnumvalValue), Some(u64::MAX));
}

#[test]
fn whole_types_match_by_members_names_and_signs() {
    let matches = |make: &dyn Fn(&mut Types) -> TypeId, other: &dyn Fn(&mut Types) -> TypeId| {
        let (mut local, mut target) = (Types::new(Endian::Little), Types::new(Endian::Little));
        let id = make(&mut local);
        other(&mut target);
        let (local, target) = (local.build(&["0"]), target.build(&[]));
        let at = |kind| outcome(&local, &target, id, "0", kind) == Some(1);
        (at(TypeExists), at(TypeMatches))
    };
    let plain = |t: &mut Types| t.record("s", 8, &[("a", t.int, 0)]);
    let more = |t: &mut Types| t.record("s", 16, &[("b", t.long, 0), ("a", t.int, 64)]);
    let wider = |t: &mut Types| t.record("s", 8, &[("a", t.long, 0)]);
    assert_eq!(matches(&plain, &plain), (true, true));
    assert_eq!(matches(&plain, &more), (true, true));
    assert_eq!(matches(&more, &plain), (true, false));
    assert_eq!(matches(&plain, &wider), (true, false));
    // Behind a pointer, a declaration will do.
    let pointer = |t: &mut Types, def: OwnedDef| {
        let inner = t.push("inner", def);
        let pointer = t.push("", OwnedDef::Ptr(inner));
        t.record("s", 8, &[("p", pointer, 0)])
    };
    let empty = || OwnedDef::Struct { size: 4, members: vec![] };
    let whole = |t: &mut Types| pointer(t, empty());
    let declared = |t: &mut Types| pointer(t, OwnedDef::Fwd { union: false });
    let union = |t: &mut Types| pointer(t, OwnedDef::Fwd { union: true });
    assert_eq!(matches(&whole, &declared), (true, true));
    assert_eq!(matches(&declared, &whole), (true, true));
    assert_eq!(matches(&whole, &union), (true, false));
    let few = |t: &mut Types| t.values("e", &[("A", 0)]);
    let many = |t: &mut Types| t.values("e", &[("B", 0), ("A", 1)]);
    assert_eq!((matches(&few, &many).1, matches(&many, &few).1), (true, false));
    // Signatures of function pointers.
    let function = |t: &mut Types, ty: TypeId| {
        let params = vec![OwnedParam { name: "x".into(), ty }];
        let proto = t.push("", OwnedDef::FuncProto { ret: TypeId::VOID, params });
        let pointer = t.push("", OwnedDef::Ptr(proto));
        t.push("f", OwnedDef::Typedef(pointer))
    };
    let int = |t: &mut Types| function(t, t.int);
    let long = |t: &mut Types| function(t, t.long);
    let same = |t: &mut Types| function(t, TypeId::VOID);
    assert_eq!((matches(&int, &int), matches(&int, &long)), ((true, true), (true, false)));
    assert_eq!(matches(&int, &same), (false, false));
}

#[test]
fn candidates_that_contradict_each_other_are_an_error_until_one_is_ruled_out() {
    let mut local = Types::new(Endian::Little);
    let int = local.int;
    let id = local.record("s___v1", 8, &[("a", int, 0), ("only", int, 32)]);
    let local = local.build(&["0", "0:0", "0:1"]);
    let mut target = Types::new(Endian::Little);
    let int = target.int;
    target.record("s", 8, &[("a", int, 0)]);
    target.record("s___2", 16, &[("a", int, 64), ("only", int, 96)]);
    let target = target.build(&[]);
    let mut matcher = Matcher::new(&local, &[&target]);
    let first = relo(&local, id, "0:0", FieldByteOffset);
    let error = matcher.resolve(&first).unwrap_err();
    assert_eq!(error.code(), "E0216");
    assert!(error.to_string().contains("s___2"), "{error}");
    assert_eq!(matcher.resolve(&relo(&local, id, "0:1", FieldByteOffset)).unwrap().new_value, 12);
    assert_eq!(matcher.resolve(&first).unwrap().new_value, 8);
    // Contradictory sizes.
    let error = Matcher::new(&local, &[&target]).resolve(&relo(&local, id, "0", TypeSize)).unwrap_err();
    assert_eq!(error.code(), "E0216");
}

#[test]
fn modules_are_searched_only_for_what_the_kernel_lacks() {
    let mut local = Types::new(Endian::Little);
    let int = local.int;
    let (s, m) = (local.record("s", 4, &[("a", int, 0)]), local.record("m", 4, &[("a", int, 0)]));
    let local = local.build(&["0"]);
    let mut kernel = Types::new(Endian::Little);
    let int = kernel.int;
    kernel.record("s", 8, &[("a", int, 32)]);
    let kernel = kernel.build(&[]);
    let mut module = Builder::over(&kernel);
    for name in ["s", "m"] {
        module.push(OwnedType::new(name, OwnedDef::Struct { size: 64, members: vec![] }));
    }
    let module = Btf::parse_split(std::sync::Arc::new(module.build().unwrap()), &kernel).unwrap();
    let mut matcher = Matcher::new(&local, &[&kernel, &module]);
    let mut size = |id| matcher.resolve(&relo(&local, id, "0", TypeSize)).unwrap().new_value;
    assert_eq!((size(s), size(m)), (8, 64));
}

#[test]
fn damaged_records_are_refused_with_a_reason() {
    // The three integers come first.
    let (nameless, id) = (TypeId(4), TypeId(5));
    let long = "0:".repeat(64) + "0";
    for (access, kind, id, code) in [
        ("", FieldByteOffset, id, "E0215"),
        ("0:", FieldByteOffset, id, "E0215"),
        (":0", FieldByteOffset, id, "E0215"),
        ("0:x", FieldByteOffset, id, "E0215"),
        ("0:-1", FieldByteOffset, id, "E0215"),
        ("0:+0", FieldByteOffset, id, "E0215"),
        ("0: 0", FieldByteOffset, id, "E0215"),
        ("0:1", FieldByteOffset, id, "E0215"),
        ("0:0:0", FieldByteOffset, id, "E0215"),
        ("0:99999999999", FieldByteOffset, id, "E0215"),
        (&long, FieldByteOffset, id, "E0215"),
        ("0:0", TypeSize, id, "E0215"),
        ("0", EnumvalValue, id, "E0215"),
        ("0", TypeSize, nameless, "E0215"),
        ("0", FieldSigned, id, "E0215"),
        ("0", TypeSize, TypeId(4711), "E0204"),
        ("0", CoreReloKind::Unknown(99), id, "E0215"),
        ("nowhere", TypeSize, id, "E0203"),
        ("2000000000:0", FieldByteOffset, id, "E0209"),
    ] {
        let mut types = Types::new(Endian::Little);
        let int = types.int;
        types.record("", 4, &[("a", int, 0)]);
        types.record("s", 4, &[("a", int, 0)]);
        let btf = types.build(if access == "nowhere" { &[] } else { std::slice::from_ref(&access) });
        let error = Matcher::new(&btf, &[&btf]).resolve(&relo(&btf, id, access, kind)).unwrap_err();
        assert_eq!(error.code(), code, "{access} {kind}: {error}");
        assert!(CODES.iter().any(|row| row.0 == code));
    }
}

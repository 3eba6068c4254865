//! Section `.maps` and its kin, with BTF that no compiler writes.

use super::Object;
use crate::elf::SectionKind;
use crate::{Contents, Dialect, MapType, OpsTable};
use onebpf_btf::{
    Btf, Builder, Endian, IntEncoding, Kind, OwnedDef, OwnedMember, OwnedType, Secinfo, TypeId, VarLinkage,
};

const HASH: u32 = 1;
const ARRAY_OF_MAPS: u32 = 12;
const ARENA: u32 = 33;

/// BTF in the making.
struct Types {
    builder: Builder,
    int: TypeId,
}

impl Types {
    fn new() -> Self {
        let mut builder = Builder::new(Endian::Little);
        let int = builder.push(OwnedType::int("int", 4, IntEncoding::SIGNED));
        Self { builder, int }
    }

    fn push(&mut self, name: &str, def: OwnedDef) -> TypeId {
        self.builder.push(OwnedType::new(name, def))
    }

    fn pointer(&mut self, to: TypeId) -> TypeId {
        self.push("", OwnedDef::Ptr(to))
    }

    /// A struct of members, each as wide as its type.
    fn structure(&mut self, name: &str, members: &[(&str, TypeId, u32)]) -> TypeId {
        let mut offset = 0;
        let mut list = Vec::new();
        for (name, ty, size) in members {
            list.push(OwnedMember { name: (*name).into(), ty: *ty, bit_offset: offset * 8, bit_size: None });
            offset += size;
        }
        self.push(name, OwnedDef::Struct { size: offset, members: list })
    }

    /// `{ int type; int max_entries; struct self *value; }`
    fn outer(&mut self, value: TypeId) -> TypeId {
        let (int, value) = (self.int, self.pointer(value));
        self.structure("", &[("type", int, 4), ("max_entries", int, 4), ("value", value, 8)])
    }

    fn variable(&mut self, name: &str, ty: TypeId, linkage: VarLinkage) -> TypeId {
        self.push(name, OwnedDef::Var { ty, linkage })
    }

    fn section(&mut self, name: &str, vars: &[(TypeId, u32, u32)]) {
        let vars =
            vars.iter().map(|(ty, offset, size)| Secinfo { ty: *ty, offset: *offset, size: *size }).collect();
        self.push(name, OwnedDef::Datasec { size: 0, vars });
    }

    fn build(&self) -> Btf {
        Btf::from_vec(self.builder.build().unwrap()).unwrap()
    }
}

/// An object of variables in `.maps`, each of `size` bytes that start with `words`.
fn object(types: &mut Types, variables: &[(&str, TypeId, u32, &[u32])]) -> Object {
    let mut object = Object::new();
    let (mut data, mut vars, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for (name, ty, size, words) in variables {
        let offset = data.len();
        data.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        data.resize(offset + *size as usize, 0);
        vars.push((types.variable(name, *ty, VarLinkage::Global), 0, *size));
        places.push((*name, offset as u64, u64::from(*size)));
    }
    types.section(".maps", &vars);
    let section = object.section(".maps", SectionKind::BtfMaps, data);
    for (name, offset, size) in places {
        object.symbol(name, Some(section), offset, size);
    }
    object.btf = Some(types.build());
    object
}

#[test]
fn a_template_that_is_the_map_itself() {
    let mut types = Types::new();
    let int = types.int;
    let outer = types.outer(int);
    let mut itself = object(&mut types, &[("m", outer, 16, &[ARRAY_OF_MAPS, 2])]);
    itself.reloc(1, 8, 0);
    assert_eq!(itself.code(), "E0108");
}

#[test]
fn a_struct_type_that_holds_itself() {
    // struct m { int type; struct m value; }, of 8 bytes: BTF can say so.
    let mut types = Types::new();
    let int = types.int;
    let this = TypeId(types.builder.first_id().0 + 1);
    let ty = types.structure("m", &[("type", int, 4), ("value", this, 4)]);
    assert_eq!(ty, this);
    assert_eq!(object(&mut types, &[("m", ty, 8, &[ARRAY_OF_MAPS, ARRAY_OF_MAPS])]).code(), "E0108");
}

#[test]
fn addresses_that_are_no_slots() {
    let build = |at: u64, slots: u32| {
        let mut types = Types::new();
        let int = types.int;
        let pointer = types.pointer(TypeId::VOID);
        let list = types.push("", OwnedDef::Array { elem: pointer, index: int, count: slots });
        let outer =
            types.structure("", &[("type", int, 4), ("max_entries", int, 4), ("value", list, slots * 8)]);
        let inner = types.structure("", &[("type", int, 4)]);
        let mut object =
            object(&mut types, &[("m", outer, 32, &[ARRAY_OF_MAPS, 2]), ("inner", inner, 4, &[HASH])]);
        object.reloc(1, at, 1);
        object
    };
    assert!(build(8, 0).collect().is_ok());
    assert!(build(16, 0).collect().is_ok());
    assert_eq!(build(24, 0).code(), "E0109", "beyond max_entries");
    assert_eq!(build(12, 0).code(), "E0109", "within a slot");
    assert_eq!(build(0, 0).code(), "E0109", "a number");
    assert_eq!(build(16, 1).code(), "E0109", "beyond the array");
    assert_eq!(build(36, 0).code(), "E0110", "beyond the variables");
    assert_eq!(build(u64::MAX, 0).code(), "E0110");
    let mut function = build(8, 0);
    function.elf.sections[1].relocs[0].kind = crate::elf::RelocKind::Imm64;
    assert_eq!(function.code(), "E0110", "not an address");
}

#[test]
fn variables_that_lie_outside() {
    let build = |offset: u64, size: u32| {
        let mut types = Types::new();
        let int = types.int;
        let map = types.structure("", &[("type", int, 4)]);
        let mut object = object(&mut types, &[("m", map, size, &[HASH])]);
        object.elf.sections[1].data = &[1, 0, 0, 0];
        object.elf.sections[1].size = 4;
        object.elf.symbols[0].value = offset;
        object
    };
    assert!(build(0, 4).collect().is_ok());
    for (offset, size) in [(0, 5), (1, 4), (u64::MAX, 4), (u64::MAX - 3, 4), (0, u32::MAX >> 8), (0, 3)] {
        assert_eq!(build(offset, size).code(), "E0110", "{offset} {size}");
    }
}

#[test]
fn much_of_one_thing_is_an_error() {
    // Two variables in one place.
    let mut types = Types::new();
    let int = types.int;
    let map = types.structure("ops", &[("type", int, 4)]);
    let mut twice = object(&mut types, &[("a", map, 8, &[HASH]), ("b", map, 8, &[HASH])]);
    assert!(twice.collect().is_ok());
    twice.elf.symbols[1].value = 4;
    assert_eq!(twice.code(), "E0110");
    twice.elf.sections[1].kind = SectionKind::StructOps;
    assert_eq!(twice.code(), "E0110");

    // A definition of many members, known or not.
    let many = |name: &str, count: usize| {
        let mut types = Types::new();
        let members = vec![(name, types.int, 0); count];
        let map = types.structure("", &members);
        object(&mut types, &[("m", map, 4, &[HASH])])
    };
    assert!(many("type", 256).collect().is_ok());
    assert_eq!(many("type", 257).code(), "E0110");
    assert_eq!(many("colour", 257).relaxed().code(), "E0110");

    // A warning for each, but not without end.
    let mut types = Types::new();
    let mut members = vec![("type", types.int, 4)];
    members.extend(vec![("colour", types.int, 0); 200]);
    let map = types.structure("", &members);
    let names: Vec<String> = (0..6).map(|n| format!("m{n}")).collect();
    let maps: Vec<(&str, TypeId, u32, &[u32])> =
        names.iter().map(|n| (n.as_str(), map, 4, &[HASH][..])).collect();
    assert_eq!(object(&mut types, &maps).relaxed().code(), "E0104");

    // A name that is a book.
    let mut types = Types::new();
    let int = types.int;
    let map = types.structure("", &[("type", int, 4)]);
    assert_eq!(object(&mut types, &[(&"x".repeat(5000), map, 4, &[HASH])]).code(), "E0110");
}

#[test]
fn numbers_of_every_form() {
    let mut types = Types::new();
    let int = types.int;
    let long = types.builder.push(OwnedType::int("long", 8, IntEncoding::UNSIGNED));
    let map = types.structure("", &[("type", int, 4), ("numa_node", int, 4), ("map_extra", long, 8)]);
    let found = object(&mut types, &[("m", map, 16, &[HASH, 7, 1, 2])]).collect().unwrap();
    let map = &found.maps["m"];
    assert_eq!((map.dialect, map.kind, map.numa_node), (Dialect::BtfValues, MapType::HASH, Some(7)));
    assert_eq!(map.extra, 0x2_0000_0001);

    // A bitfield is no number.
    let mut types = Types::new();
    let member = OwnedMember { name: "type".into(), ty: types.int, bit_offset: 0, bit_size: Some(4) };
    let map = types.push("", OwnedDef::Struct { size: 4, members: vec![member] });
    assert_eq!(object(&mut types, &[("m", map, 4, &[HASH])]).code(), "E0105");
}

#[test]
fn sections_need_their_btf() {
    let mut types = Types::new();
    let map = types.structure("", &[]);
    let mut without = object(&mut types, &[("m", map, 4, &[])]);
    assert_eq!(without.code(), "E0106");
    without.btf = Some(Types::new().build());
    assert_eq!(without.code(), "E0110");
    without.btf = None;
    assert_eq!(without.code(), "E0110");
    without.elf.sections[1].kind = SectionKind::StructOps;
    assert_eq!(without.code(), "E0110");
    // Data needs none.
    without.elf.sections[1].kind = SectionKind::Data;
    assert_eq!(without.collect().unwrap().variables.len(), 1);
}

#[test]
fn optional_struct_ops_are_not_created() {
    let mut types = Types::new();
    let int = types.int;
    let ops = types.structure("ops", &[("flags", int, 4)]);
    let vars = [("a", ops, 0), ("b", ops, 4)]
        .map(|(name, ty, at)| (types.variable(name, ty, VarLinkage::Global), at, 4));
    types.section("?.struct_ops.link", &vars);
    let mut object = Object::new();
    let section = object.section("?.struct_ops.link", SectionKind::StructOps, vec![1, 0, 0, 0, 2, 0, 0, 0]);
    object.symbol("a", Some(section), 0, 4);
    object.symbol("b", Some(section), 4, 4);
    object.btf = Some(types.build());
    let found = object.collect().unwrap();
    for (name, byte) in [("a", 1), ("b", 2)] {
        let map = &found.maps[name];
        assert_eq!((map.autocreate, map.flags, map.value.size), (false, 0x2000, 4));
        let table = OpsTable { data: vec![byte, 0, 0, 0], ..OpsTable::default() };
        assert_eq!(map.contents, Contents::Ops(table));
    }
    assert_eq!(found.places.map_at(section, 4), Some("b"));
    object.elf.symbols[1].value = 5;
    assert_eq!(object.code(), "E0116");
}

#[test]
fn arena_globals_are_the_arenas() {
    let mut types = Types::new();
    let int = types.int;
    let map = types.structure("", &[("type", int, 4)]);
    let mut object = object(&mut types, &[("arena", map, 4, &[ARENA])]);
    let globals = object.section(".addr_space.1", SectionKind::Arena, vec![9; 8]);
    object.symbol("counter", Some(globals), 4, 4);
    let found = object.collect().unwrap();
    assert_eq!(found.maps["arena"].contents, Contents::Data(vec![9; 8]));
    assert_eq!(found.places.data_of(globals), Some("arena"));
    assert_eq!((found.variables["counter"].map.as_str(), found.variables["counter"].offset), ("arena", 4));
}

#[test]
fn configuration_values_have_few_types_and_an_end() {
    let build = |def: &dyn Fn(&mut Types) -> TypeId, count: u32| {
        let mut types = Types::new();
        let elem = def(&mut types);
        let index = types.int;
        let ty = if count == 0 { elem } else { types.push("", OwnedDef::Array { elem, index, count }) };
        let var = types.variable("CONFIG_X", ty, VarLinkage::Extern);
        types.section(".kconfig", &[(var, 0, 0)]);
        let mut object = Object::new();
        object.symbol("CONFIG_X", None, 0, 0);
        object.btf = Some(types.build());
        object
    };
    let char = |types: &mut Types| types.builder.push(OwnedType::int("char", 1, IntEncoding::SIGNED));
    let int = |types: &mut Types| types.int;
    assert_eq!(build(&char, 16).collect().unwrap().maps[0].value.size, 16);
    assert_eq!(build(&char, u32::MAX).code(), "E0146");
    assert_eq!(build(&char, (1 << 20) + 1).code(), "E0146");
    assert_eq!(build(&int, 4).code(), "E0117");
    assert_eq!(build(&|types| types.pointer(TypeId::VOID), 0).code(), "E0117");

    let mut object = build(&int, 0);
    object.btf = None;
    assert_eq!(object.code(), "E0117");
}

#[test]
fn the_two_forms_share_a_section() {
    let mut types = Types::new();
    let int = types.int;
    let array = types.push("", OwnedDef::Array { elem: int, index: int, count: HASH });
    let constant = types.pointer(array);
    let by_type = types.structure("", &[("type", constant, 8)]);
    let by_value = types.structure("", &[("type", int, 4)]);
    let found =
        object(&mut types, &[("b", by_value, 4, &[HASH]), ("a", by_type, 8, &[]), ("c", by_value, 4, &[2])])
            .collect()
            .unwrap();
    let dialects: Vec<_> = found.maps.values().map(|map| (map.name.as_str(), map.dialect)).collect();
    assert_eq!(dialects, [("b", Dialect::BtfValues), ("a", Dialect::Btf), ("c", Dialect::BtfValues)]);
    assert_eq!(found.places.map_at(1, 4), Some("a"));
    assert_eq!(found.places.map_at(1, 8), None);
    assert!(types.build().find(".maps", Kind::Datasec).is_some());
}

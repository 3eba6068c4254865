//! Pinned maps that are not what the object declares: what is said of each difference, and what policies do.

mod common;

use common::Member::{Signed, Unsigned};
use common::{in_private, options, spec, sweep, with_value};
use onebpf::object::{Contents, MapType, Pinning, Spec};
use onebpf::{ArrayRule, Kernel, Linux, Loaded, Mismatch, Options, load_spec};
use onebpf_fake::FakeKernel;
use std::sync::Arc;

type Edit = fn(&mut Spec);

/// One difference each: the fixture, how the second object differs from the first, and the name of the snapshot.
const DIFFERENCES: [(&str, &str, Edit); 10] = [
    ("type", "btf_pinned", |spec| spec.maps[0].kind = MapType::HASH),
    ("key_size", "btf_pinned", |spec| {
        spec.maps[0].kind = MapType::HASH;
        (spec.maps[0].key.size, spec.maps[0].key.btf) = (8, None);
    }),
    ("value_size", "btf_pinned", |spec| {
        (spec.maps[0].value.size, spec.maps[0].value.btf) = (16, None);
    }),
    ("max_entries", "btf_pinned", |spec| spec.maps[0].max_entries = 5),
    ("map_flags", "btf_pinned", |spec| spec.maps[0].flags = 1 << 10),
    ("numa_node", "btf_pinned", |spec| {
        (spec.maps[0].flags, spec.maps[0].numa_node) = (1 << 2, Some(0));
    }),
    ("map_extra", "bloom", |spec| spec.maps[0].extra = 3),
    ("inner", "outer", |spec| {
        let inner = spec.maps.values_mut().find_map(|map| map.inner.as_mut()).unwrap();
        (inner.key.size, inner.value.size, inner.value.btf) = (4, 32, None);
        spec.maps.values_mut().for_each(|map| map.contents = Contents::Empty);
    }),
    ("owner", "array", |spec| {
        for program in spec.programs.values_mut() {
            program.kind = onebpf::object::ProgramType::SOCKET_FILTER;
        }
    }),
    ("layout", "typed", |spec| *spec = value(true)),
];

fn value(second: bool) -> Spec {
    if second {
        with_value(
            MapType::HASH,
            24,
            &[("packets", Unsigned(8), 0), ("bytes", Unsigned(8), 64), ("last", Unsigned(8), 128)],
        )
    } else {
        with_value(
            MapType::HASH,
            24,
            &[("bytes", Unsigned(4), 0), ("delta", Signed(4), 32), ("packets", Unsigned(8), 64)],
        )
    }
}

fn first(name: &str) -> Spec {
    match name {
        "typed" => value(false),
        "bloom" => {
            let mut spec = spec("btf_pinned");
            (spec.programs, spec.maps[0].kind) =
                (indexmap::IndexMap::default(), MapType::from_name("bloom_filter").unwrap());
            (spec.maps[0].key.size, spec.maps[0].key.btf) = (0, None);
            spec
        }
        "outer" => {
            let mut spec = spec("btf_map_in_map");
            let map = spec.maps.values_mut().find(|map| matches!(map.contents, Contents::Slots(_))).unwrap();
            map.pinning = Pinning::ByName;
            let name = map.name.clone();
            spec.maps.retain(|other, map| *other == name || !map.kind.holds_maps());
            spec.programs.clear();
            spec
        }
        "array" => {
            let mut spec = spec("btf_prog_array");
            spec.maps[0].pinning = Pinning::ByName;
            spec
        }
        name => spec(name),
    }
}

fn every_difference_is_told(kernel: &Arc<dyn Kernel>, clean: fn()) {
    for (field, name, edit) in DIFFERENCES {
        let mut spec = first(name);
        let mut options = options();
        options.pins.program_arrays = Some(ArrayRule::Reuse);
        let loaded =
            load_spec(kernel, &spec, &options).unwrap_or_else(|e| panic!("{field}: {:#?}", e.report()));
        edit(&mut spec);
        if spec.name == "btf_pinned" {
            // A value of another size is not what its type says.
            spec.programs.clear();
        }
        let error = load_spec(kernel, &spec, &options).expect_err(field);
        assert_eq!(error.code(), "E0305", "{field}: {error}");
        insta::with_settings!({ snapshot_suffix => field }, {
            insta::assert_snapshot!("mismatch", format!("{}\n{}", error.report().message, error.report().notes[0]));
        });
        for map in loaded.maps.values().filter_map(|map| map.pinned()) {
            kernel.unlink(map).unwrap();
        }
        drop(loaded);
        clean();
    }
}

#[test]
fn differences_on_the_fake() {
    every_difference_is_told(&(Arc::new(FakeKernel::new()) as Arc<dyn Kernel>), || {});
}

#[test]
fn differences_on_the_kernel() {
    in_private("differences_on_the_kernel", || {
        every_difference_is_told(&(Arc::new(Linux) as Arc<dyn Kernel>), sweep);
    });
}

/// Whether programs are compiled is up to an administrator, and a network namespace does not tell: on the fake.
#[test]
fn an_array_of_compiled_programs() {
    let fake = FakeKernel::new();
    let loaded =
        load_spec(&(Arc::new(fake.clone()) as Arc<dyn Kernel>), &first("array"), &options()).unwrap();
    let interpreting = fake.with_file("/proc/sys/net/core/bpf_jit_enable", "0\n");
    let mut options = options();
    options.pins.program_arrays = Some(ArrayRule::Reuse);
    let error =
        load_spec(&(Arc::new(interpreting) as Arc<dyn Kernel>), &first("array"), &options).unwrap_err();
    assert_eq!(error.code(), "E0305");
    insta::with_settings!({ snapshot_suffix => "owner_jited" }, {
        insta::assert_snapshot!("mismatch", format!("{}\n{}", error.report().message, error.report().notes[0]));
    });
    drop(loaded);
}

fn policies(kernel: &Arc<dyn Kernel>) {
    let id = |loaded: &Loaded| loaded.maps[0].info().unwrap().id;
    let at_path = |loaded: &Loaded| {
        onebpf::Map::open_pin(kernel, loaded.maps[0].pinned().unwrap()).unwrap().info().unwrap().id
    };
    let mut spec = spec("btf_pinned");
    let name = spec.maps[0].name.clone();
    let first = load_spec(kernel, &spec, &options()).unwrap();
    spec.maps[0].max_entries = 7;
    assert_eq!(load_spec(kernel, &spec, &options()).unwrap_err().code(), "E0305");
    assert_eq!(at_path(&first), id(&first));

    let mut replace = options();
    replace.pins.on_mismatch_of.insert(name, Mismatch::Replace);
    let second = load_spec(kernel, &spec, &replace).unwrap();
    assert_ne!(id(&second), id(&first));
    assert_eq!((at_path(&second), second.maps[0].info().unwrap().max_entries), (id(&second), 7));
    assert!(!second.maps[0].reused());
    // It fits now, and is reused.
    let third = load_spec(kernel, &spec, &replace).unwrap();
    assert_eq!((id(&third), third.maps[0].reused()), (id(&second), true));
}

#[test]
fn policies_on_the_fake() {
    let fake = FakeKernel::new();
    policies(&(Arc::new(fake.clone()) as Arc<dyn Kernel>));
    assert_eq!(fake.live().pins.len(), 1, "{:?}", fake.live());
}

#[test]
fn policies_on_the_kernel() {
    in_private("policies_on_the_kernel", || policies(&(Arc::new(Linux) as Arc<dyn Kernel>)));
}

#[test]
fn a_program_array_is_replaced_by_default_and_reused_on_demand() {
    let kernel: Arc<dyn Kernel> = Arc::new(FakeKernel::new());
    let spec = first("array");
    let id = |loaded: &Loaded| loaded.maps[0].info().unwrap().id;
    let one = load_spec(&kernel, &spec, &options()).unwrap();
    let two = load_spec(&kernel, &spec, &options()).unwrap();
    assert_ne!(id(&one), id(&two));
    let mut reuse = options();
    reuse.pins.program_arrays = Some(ArrayRule::Reuse);
    let three = load_spec(&kernel, &spec, &reuse).unwrap();
    assert_eq!(id(&two), id(&three));
    // A policy does not overrule a map that was asked for by path.
    let path = two.maps[0].pinned().unwrap().to_owned();
    let mut other = spec.clone();
    other.maps[0].max_entries += 1;
    let mut take = Options { reuse: [(other.maps[0].name.clone(), path)].into(), ..options() };
    take.pins.on_mismatch = Mismatch::Replace;
    assert_eq!(load_spec(&kernel, &other, &take).unwrap_err().code(), "E0305");
}

#[test]
fn a_failed_replacement_gives_the_name_back() {
    use onebpf::sys::{Errno, Op};
    use onebpf_fake::Faulty;
    let mut options = options();
    options.pins.on_mismatch = Mismatch::Replace;
    for n in 1..200 {
        let kernel: Arc<dyn Kernel> = Arc::new(FakeKernel::new());
        let mut spec = spec("btf_pinned");
        let first = load_spec(&kernel, &spec, &options).unwrap();
        spec.maps[0].max_entries = 7;
        let faulty = Arc::new(Faulty::new(kernel.clone(), n, Errno::NOMEM).sparing_clean_up());
        let result = load_spec(&(faulty.clone() as Arc<dyn Kernel>), &spec, &options);
        if !faulty.fired() {
            assert!(result.is_ok() && n > 8);
            return;
        }
        let at = onebpf::Map::open_pin(&kernel, first.maps[0].pinned().unwrap()).unwrap().info().unwrap().id;
        let old = first.maps[0].info().unwrap().id;
        assert_eq!(at == old, result.is_err(), "call {n}: {:?}", faulty.ops().get(n - 1));
        if result.is_ok() {
            // What was left to be tidied up is tidied up by the next load.
            load_spec(&kernel, &spec, &options).unwrap();
        }
        let staged = kernel.open_pin("/sys/fs/bpf/fix_pinned:next".as_ref());
        assert_eq!(
            staged.unwrap_err(),
            onebpf::sys::Error { op: Op::OpenPin, errno: Errno::NOENT },
            "call {n}"
        );
    }
    panic!("still failing");
}

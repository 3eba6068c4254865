//! Arenas: their variables, their address, their memory in this process.

mod common;

use common::{options, spec};
use onebpf::sys::{Errno, Feature, ProgRun, Release};
use onebpf::{Error, Kernel, Linux, Loaded, Spec, load_spec, observe, plan, plan::Step};
use onebpf_fake::FakeKernel;
use std::sync::Arc;
use testing::in_private_since;

/// The first kernel that has arenas.
const ARENAS: Release = Release::new(6, 9);

fn load(kernel: &Arc<dyn Kernel>, spec: &Spec) -> Loaded {
    load_spec(kernel, spec, &options()).unwrap_or_else(|e| panic!("{e}\n{:#?}", e.report()))
}

/// A variable's bytes in the arena, as a little number.
fn variable(spec: &Spec, loaded: &Loaded, name: &str, element: u64) -> u64 {
    let variable = &spec.variables[name];
    let map = loaded.map(&variable.map).unwrap();
    let size = if variable.size == 8 { 8 } else { 4 };
    let at = u64::from(map.globals().unwrap() + variable.offset) + element * size;
    let mut bytes = vec![0; size as usize];
    map.memory().unwrap().read(at, &mut bytes).unwrap();
    bytes.resize(8, 0);
    u64::from_ne_bytes(bytes.try_into().unwrap())
}

fn run(loaded: &Loaded, name: &str) -> u32 {
    loaded.program(name).unwrap().run(ProgRun::default()).unwrap().retval
}

#[test]
fn programs_and_this_process_share_variables() {
    in_private_since(ARENAS, "programs_and_this_process_share_variables", || {
        let kernel: Arc<dyn Kernel> = Arc::new(Linux);
        let mut spec = spec("arena_run.v4");
        let loaded = load(&kernel, &spec);
        let arena = loaded.map("arena").unwrap();
        assert_eq!(arena.memory().unwrap().address(), 1 << 44);
        assert_eq!(arena.memory().unwrap().size(), 16 << 12);
        let squares = |loaded: &Loaded| [0, 1, 2, 3, 4, 5].map(|n| variable(&spec, loaded, "squares", n));
        assert_eq!((variable(&spec, &loaded, "runs", 0), variable(&spec, &loaded, "last", 0)), (41, 7));
        assert_eq!(squares(&loaded), [0, 1, 4, 9, 0, 0]);

        assert_eq!(run(&loaded, "run"), 42);
        assert_eq!((variable(&spec, &loaded, "runs", 0), variable(&spec, &loaded, "last", 0)), (42, 0));
        assert_eq!(squares(&loaded), [0, 1, 4, 9, 16, 0]);

        // And the other way round.
        let at = u64::from(arena.globals().unwrap() + spec.variables["runs"].offset);
        arena.memory().unwrap().write(at, &99u64.to_ne_bytes()).unwrap();
        assert_eq!(run(&loaded, "run"), 100);

        // The address is taken as long as somebody has the arena.
        let memory = arena.memory().unwrap();
        drop(loaded);
        let taken = load_spec(&kernel, &spec, &options()).unwrap_err();
        assert_eq!((taken.code(), taken.errno()), ("E0405", Some(Errno::EXIST)));
        assert!(taken.report().hints[0].contains("map.NAME.extra"), "{taken:?}");
        drop(memory);
        spec.set("var.runs", "6").unwrap();
        assert_eq!(run(&load(&kernel, &spec), "run"), 7);
    });
}

#[test]
fn without_an_address_the_kernel_chooses() {
    in_private_since(ARENAS, "without_an_address_the_kernel_chooses", || {
        let kernel: Arc<dyn Kernel> = Arc::new(Linux);
        let spec = spec("data_arena.v4");
        let (first, second) = (load(&kernel, &spec), load(&kernel, &spec));
        let memory = |loaded: &Loaded| loaded.map("arena").unwrap().memory().unwrap();
        assert_ne!(memory(&first).address(), memory(&second).address());
        assert_eq!([0, 1, 2, 3].map(|n| variable(&spec, &first, "table", n)), [1, 2, 3, 0]);
        let packet = [0; 64];
        first.program("count").unwrap().run(ProgRun { data_in: &packet, ..ProgRun::default() }).unwrap();
        assert_eq!([&first, &second].map(|it| variable(&spec, it, "counter", 0)), [1, 0]);
        assert_eq!([&first, &second].map(|it| variable(&spec, it, "table", 0)), [2, 1]);

        // Another handle does not know the address, and no kernel tells.
        let id = first.map("arena").unwrap().info().unwrap().id;
        let other = onebpf::Map::open_id(&kernel, id).unwrap();
        let error = other.memory().map(|memory| memory.size()).unwrap_err();
        assert_eq!((error.code(), error.errno()), ("E0409", Some(Errno::INVAL)));
        assert_eq!(other.globals(), None);
        let clone = first.map("arena").unwrap().try_clone().unwrap();
        assert_eq!(clone.memory().unwrap().address(), memory(&first).address());
    });
}

#[test]
fn a_pinned_arena_keeps_its_variables() {
    in_private_since(ARENAS, "a_pinned_arena_keeps_its_variables", || {
        let kernel: Arc<dyn Kernel> = Arc::new(Linux);
        let mut spec = spec("arena_run.v4");
        spec.set("map.arena.pinning", "by-name").unwrap();
        for wanted in [42, 43, 44] {
            let loaded = load(&kernel, &spec);
            assert_eq!(loaded.map("arena").unwrap().reused(), wanted != 42);
            assert_eq!(run(&loaded, "run"), wanted);
            assert_eq!(variable(&spec, &loaded, "runs", 0), u64::from(wanted));
        }
    });
}

#[test]
fn an_arena_of_4_gib() {
    in_private_since(ARENAS, "an_arena_of_4_gib", || {
        let kernel: Arc<dyn Kernel> = Arc::new(Linux);
        let mut spec = spec("arena_run.v4");
        spec.set("map.arena.max_entries", "0x100000").unwrap();
        let loaded = load(&kernel, &spec);
        assert_eq!(run(&loaded, "run"), 42);
        let memory = loaded.map("arena").unwrap().memory().unwrap();
        assert_eq!(memory.size(), 1 << 32);
        memory.write(memory.size() - 3, &[1, 2, 3]).unwrap();
        assert_eq!(memory.write(memory.size() - 3, &[0; 4]).unwrap_err().errno, Errno::FAULT);
        drop((memory, loaded));
        spec.set("map.arena.max_entries", "0x100001").unwrap();
        let error = load_spec(&kernel, &spec, &options()).unwrap_err();
        assert_eq!((error.code(), error.errno()), ("E0402", Some(Errno::TOOBIG)));
        assert!(error.report().hints[0].contains("4 GiB"), "{error:?}");
    });
}

#[test]
fn new_kernels_have_the_variables_at_the_end() {
    let mut spec = spec("arena_run.v4");
    for (release, pages, at) in
        [("6.9", 16, 0), ("6.18", 16, 0), ("7.0", 16, 14 << 12), ("7.0", 1 << 20, 0xffff_e000)]
    {
        spec.set("map.arena.max_entries", &pages.to_string()).unwrap();
        let fake = FakeKernel::linux(release);
        let kernel: Arc<dyn Kernel> = Arc::new(fake.clone());
        let facts = observe(&*kernel, &spec, &options()).unwrap();
        let knows = facts.features.get(Feature::LdImm64FullRange) == onebpf::sys::Support::Yes;
        assert_eq!(knows, release == "7.0");
        let loaded = load(&kernel, &spec);
        assert_eq!(loaded.map("arena").unwrap().globals(), Some(at), "{release}");
        let variables = ["runs", "squares", "last"]
            .map(|name| variable(&spec, &loaded, name, 3 * u64::from(name == "squares")));
        assert_eq!(variables, [41, 9, 7]);
        // The second instruction of a pair has the offset.
        let insns = fake.programs().remove(0).insns;
        let offset = |insn: usize| u32::from_ne_bytes(insns[insn * 8 + 4..insn * 8 + 8].try_into().unwrap());
        assert_eq!(offset(1), at + spec.variables["runs"].offset);
        assert_eq!(offset(14), at + spec.variables["last"].offset);
        drop(loaded);
        assert!(fake.live().is_empty(), "{:?}", fake.live());
    }
}

#[test]
fn an_arena_is_mapped_only_if_need_be() {
    let kernel = FakeKernel::linux("6.9");
    let mut spec = spec("arena_run.v4");
    let steps = |spec: &Spec| -> Result<Vec<(u32, usize)>, Error> {
        let facts = observe(&kernel, spec, &options()).unwrap();
        let steps = plan(spec, &options(), &facts)?.steps.into_iter();
        Ok(steps
            .filter_map(|step| match step {
                Step::MapArena { offset, data, .. } => Some((offset, data.len())),
                _ => None,
            })
            .collect())
    };
    assert_eq!(steps(&spec).unwrap(), [(0, 4108)]);
    let refused = |spec: &Spec, words: &str| {
        let error = steps(spec).unwrap_err();
        assert_eq!(error.code(), "E0310");
        assert!(error.report().message.contains(words), "{error}");
    };
    spec.set("map.arena.max_entries", "1").unwrap();
    refused(&spec, "too small for variables of 4108 bytes");
    spec.set("map.arena.max_entries", "2").unwrap();
    spec.set("map.arena.flags", "0x20400").unwrap();
    refused(&spec, "BPF_F_SEGV_ON_FAULT");

    // Variables of zeros take up pages as others do; without variables the address is enough.
    let arena = spec.maps.get_mut("arena").unwrap();
    arena.flags = 0x400;
    arena.contents = onebpf::object::Contents::Data(vec![0; 8]);
    assert_eq!(steps(&spec).unwrap(), [(0, 8)]);
    spec.maps.get_mut("arena").unwrap().contents = onebpf::object::Contents::Empty;
    assert_eq!(steps(&spec).unwrap(), []);
    spec.set("map.arena.extra", "0").unwrap();
    assert_eq!(steps(&spec).unwrap(), [(0, 0)]);
}

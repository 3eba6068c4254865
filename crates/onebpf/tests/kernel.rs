//! Loading on the kernel that these tests run on. Needs root: each test runs in namespaces of its own.

mod common;

use common::{in_private, loadable, open_fds, options, spec, sweep, tree, valid_fixtures};
use onebpf::object::{Contents, Pinning, SlotTarget};
use onebpf::sys::{Errno, ProgRun};
use onebpf::{Counting, Kernel, Linux, Loaded, Map, Mismatch, Options, Spec, load_spec};
use std::path::Path;
use std::sync::Arc;

fn linux() -> Arc<dyn Kernel> {
    Arc::new(Linux)
}

#[track_caller]
fn load(spec: &Spec) -> Loaded {
    load_spec(&linux(), spec, &options()).unwrap_or_else(|e| panic!("{e}\n{:#?}", e.report()))
}

#[test]
fn every_valid_fixture_loads() {
    in_private("every_valid_fixture_loads", || {
        for fixture in loadable() {
            let spec = common::read(&fixture.path);
            let loaded = load_spec(&linux(), &spec, &options());
            if let Some(lacking) = loaded.as_ref().err().filter(|error| is_too_old(error)) {
                eprintln!("skipped: {}: {lacking}: {:?}", fixture.name, lacking.report().hints);
                continue;
            }
            let loaded = loaded.unwrap_or_else(|e| panic!("{}: {e}\n{:#?}", fixture.name, e.report()));
            let wanted = spec.programs.values().filter(|program| program.autoload).count();
            assert_eq!(loaded.programs.len(), wanted, "{}", fixture.name);
            for map in loaded.maps.values() {
                let declared = &spec.maps[map.name()];
                let info = map.info().unwrap();
                assert_eq!(
                    (info.map_type, info.key_size),
                    (declared.kind.0, declared.key.size),
                    "{}",
                    fixture.name
                );
            }
            slots_are_as_declared(&fixture.name, &spec, &loaded);
            sweep();
        }
    });
}

/// The kernel that this runs on lacks something, and the error says so.
fn is_too_old(error: &onebpf::Error) -> bool {
    error.code() == "E0309" || error.report().hints.iter().any(|hint| hint.contains("this kernel is older"))
}

/// Declared slots hold what they should, all others are empty.
fn slots_are_as_declared(fixture: &str, spec: &Spec, loaded: &Loaded) {
    for (name, map) in &spec.maps {
        let Contents::Slots(slots) = &map.contents else { continue };
        for index in 0..map.max_entries {
            let held = loaded.maps[name].lookup(&index.to_ne_bytes()).unwrap();
            let held = held.map(|id| u32::from_ne_bytes(id.try_into().unwrap()));
            let wanted = slots.iter().find(|slot| slot.index == index).map(|slot| match &slot.target {
                SlotTarget::Map(target) => loaded.maps[target].info().unwrap().id,
                SlotTarget::Program(target) => loaded.programs[target].info().unwrap().id,
            });
            assert_eq!(held, wanted, "{fixture}: slot {index} of {name}");
        }
    }
}

#[test]
fn a_rejected_program_shows_the_source_line() {
    in_private("a_rejected_program_shows_the_source_line", || {
        let rejected =
            valid_fixtures().into_iter().filter(|f| f.load.as_deref() == Some("refused by the verifier"));
        let before = tree(Path::new("/sys/fs/bpf"));
        for fixture in rejected {
            let error = load_spec(&linux(), &common::read(&fixture.path), &options()).unwrap_err();
            let report = error.report();
            assert_eq!((report.code, report.errno), ("E0403", Some(Errno::ACCES)), "{error}");
            assert!(!report.hints.is_empty() && report.log.is_some(), "{report:#?}");
            assert!((2..=6).contains(&report.log_tail.len()), "{report:#?}");
            let source = report.place.source.as_ref().map(|line| line.text.trim());
            let wanted = match fixture.name.as_str() {
                "rejected_null" => Some("*value += 1;"),
                "elf_tail_rejected" => Some("return sum + *(u8 *)(u64)skb->data;"),
                "rejected_packet" => Some("return data[0] + data[14];"),
                _ => None,
            };
            assert_eq!(source, wanted, "{}", fixture.name);
            assert_eq!(tree(Path::new("/sys/fs/bpf")), before);
        }
    });
}

/// A program of `core_missing`, what it asks for, and what the kernel has instead.
const CORE_FINDS_NOTHING: [(&str, &str, &str); 4] = [
    (
        "missing_field",
        "`struct task_struct.no_such_field`",
        "the kernel's `struct task_struct` has no member `no_such_field`",
    ),
    ("missing_type", "`struct no_such_struct.member`", "the kernel has no type `struct no_such_struct`"),
    (
        "missing_enumerator",
        "`enum pid_type::PIDTYPE_NO_SUCH`",
        "the kernel's `enum pid_type` has no enumerator `PIDTYPE_NO_SUCH`",
    ),
    (
        "other_type",
        "`struct task_struct.comm.id`",
        "the kernel's `struct task_struct` has `char comm[16]` there, which cannot be read as",
    ),
];

#[test]
fn what_core_does_not_find_is_named_with_its_source_line() {
    in_private("what_core_does_not_find_is_named_with_its_source_line", || {
        for (program, what, why) in CORE_FINDS_NOTHING {
            let options = Options { programs: vec![program.to_owned()], ..options() };
            let error = load_spec(&linux(), &spec("core_missing"), &options).unwrap_err();
            let (text, report) = (error.to_string(), error.report());
            assert_eq!((report.code, report.errno), ("E0403", Some(Errno::INVAL)), "{error}");
            assert!(text.contains(program) && text.contains(what) && text.contains(why), "{text}");
            let line = report.place.source.as_ref().expect("a source line");
            assert!(line.file.ends_with("core_missing.bpf.c") && line.line > 30, "{line:?}");
            assert!(report.hints.iter().any(|hint| hint.contains("bpf_core_field_exists")), "{report:#?}");
        }
    });
}

#[test]
fn a_small_object_takes_three_calls() {
    in_private("a_small_object_takes_three_calls", || {
        let counting = Arc::new(Counting::new(linux()));
        let kernel: Arc<dyn Kernel> = counting.clone();
        let loaded = load_spec(&kernel, &spec("data_bss_only"), &options()).unwrap();
        assert_eq!((loaded.maps.len(), loaded.programs.len()), (1, 1));
        // One more than BTF_LOAD, MAP_CREATE and PROG_LOAD: the host, which is no bpf(2) call.
        assert_eq!(counting.calls(), 4);
    });
}

#[test]
fn variables_are_set_and_read_only_data_is_frozen() {
    in_private("variables_are_set_and_read_only_data_is_frozen", || {
        let mut spec = spec("demo");
        let variable = spec.variables.values().find(|v| v.map == "demo.rodata").expect("a constant").clone();
        let bytes = vec![0x5a; variable.size as usize];
        spec.set_variable(&variable.name, &bytes).unwrap();
        let loaded = load(&spec);
        let map = &loaded.maps["demo.rodata"];
        let value = map.lookup(&[0; 4]).unwrap().unwrap();
        let at = variable.offset as usize;
        assert_eq!(value[at..at + bytes.len()], bytes);
        assert!(map.info().unwrap().frozen);
        assert_eq!(map.update(&[0; 4], &value, 0).unwrap_err().errno(), Some(Errno::PERM));
        assert!(!loaded.maps["demo.bss"].info().unwrap().frozen);
    });
}

#[test]
fn pins_survive_and_are_reused() {
    in_private("pins_survive_and_are_reused", || {
        let spec = spec("btf_pinned");
        let first = load(&spec);
        let (name, map) = first.maps.iter().find(|(_, map)| map.pinned().is_some()).expect("a pinned map");
        let (id, path) = (map.info().unwrap().id, map.pinned().unwrap().to_owned());
        assert!(!map.reused());
        let name = name.clone();
        drop(first);
        let second = load(&spec);
        assert!(second.maps[&name].reused());
        assert_eq!(second.maps[&name].info().unwrap().id, id);
        assert_eq!(Map::open_pin(&linux(), &path).unwrap().info().unwrap().id, id);
    });
}

#[test]
fn a_different_pin_is_refused_and_left_alone() {
    in_private("a_different_pin_is_refused_and_left_alone", || {
        let mut spec = spec("btf_pinned");
        let first = load(&spec);
        let pinned = first.maps.values().find(|map| map.pinned().is_some()).expect("a pinned map");
        let (name, id) = (pinned.name().to_owned(), pinned.info().unwrap().id);
        let path = pinned.pinned().unwrap().to_owned();
        drop(first);
        let before = (tree(Path::new("/sys/fs/bpf")), open_fds());
        let declared = spec.maps.get_mut(&name).unwrap();
        declared.max_entries += 1;
        let error = load_spec(&linux(), &spec, &options()).unwrap_err();
        assert_eq!(error.code(), "E0305");
        assert!(error.report().notes[0].contains("\nmax_entries  "), "{:?}", error.report().notes);
        assert_eq!((tree(Path::new("/sys/fs/bpf")), open_fds()), before);
        assert_eq!(Map::open_pin(&linux(), &path).unwrap().info().unwrap().id, id);
    });
}

#[test]
fn everything_can_be_pinned_under_a_directory() {
    in_private("everything_can_be_pinned_under_a_directory", || {
        let spec = spec("demo");
        let mut options = options();
        options.pins.everything_under = Some("/sys/fs/bpf/a/b".into());
        let loaded = load_spec(&linux(), &spec, &options).unwrap();
        let pinned = tree(Path::new("/sys/fs/bpf"));
        for program in loaded.programs.values() {
            assert!(pinned.contains(&program.pinned().unwrap().to_owned()), "{pinned:?}");
        }
        assert!(pinned.contains(&"/sys/fs/bpf/a/b/demo_rodata".into()), "{pinned:?}");
        assert_eq!(load_spec(&linux(), &spec, &options).unwrap_err().code(), "E0306");
        options.pins.everything_under = Some("/tmp/not_a_bpffs".into());
        let error = load_spec(&linux(), &spec, &options).unwrap_err();
        assert!(error.report().hints[0].contains("mount -t bpf"), "{error}");
    });
}

#[test]
fn a_program_runs_and_its_maps_count() {
    in_private("a_program_runs_and_its_maps_count", || {
        let loaded = load(&spec("demo"));
        let mut packet = vec![0u8; 64];
        (packet[12], packet[13], packet[14], packet[23]) = (8, 0, 0x45, 17);
        let before: u64 = counted(&loaded);
        let program = loaded.programs.values().next().unwrap();
        program.run(ProgRun { data_in: &packet, repeat: 3, ..ProgRun::default() }).unwrap();
        assert!(counted(&loaded) > before, "no counter has moved");
    });
}

/// The sum of all bytes of all maps: some counter moves when a program runs.
fn counted(loaded: &Loaded) -> u64 {
    let values = |map: &Map| map.entries().unwrap().map(|entry| entry.unwrap().1).collect::<Vec<_>>();
    loaded.maps.values().flat_map(values).flatten().map(u64::from).sum()
}

#[test]
fn verifying_keeps_nothing() {
    in_private("verifying_keeps_nothing", || {
        let before = (tree(Path::new("/sys/fs/bpf")), open_fds());
        let verdicts = onebpf::verify(&linux(), &spec("rejected_null"), &options()).unwrap();
        let [good, bad] = verdicts.as_slice() else { panic!("{verdicts:?}") };
        assert!(good.result.is_ok(), "a good program");
        assert!(good.stats.insns_processed > 0 && good.stats.verification_ns > 0, "{:?}", good.stats);
        assert!(good.info.as_ref().is_some_and(|info| info.xlated_len > 0) && bad.info.is_none());
        assert_eq!(bad.result.as_ref().unwrap_err().code(), "E0403");
        drop(verdicts);
        assert_eq!((tree(Path::new("/sys/fs/bpf")), open_fds()), before);
    });
}

#[test]
fn the_lines_that_the_verifier_walks_most_are_told() {
    in_private("the_lines_that_the_verifier_walks_most_are_told", || {
        let spec = spec("demo");
        let verdicts = onebpf::verify(&linux(), &spec, &Options { log_level: 2, ..options() }).unwrap();
        for verdict in verdicts {
            let lines = verdict.top_lines(&spec);
            let walked: u64 = lines.iter().map(|(_, count)| count).sum();
            let processed = verdict.stats.insns_processed;
            // An instruction at which a known state is met counts as processed, but is not told.
            assert!(walked <= processed && walked > processed / 2, "{walked} of {processed}");
            assert!(lines.is_sorted_by_key(|(_, count)| std::cmp::Reverse(*count)));
            assert!(lines.iter().all(|(line, _)| line.file.ends_with("demo.bpf.c") && line.line > 0));
        }
    });
}

#[test]
fn many_programs_load_on_several_threads() {
    in_private("many_programs_load_on_several_threads", || {
        let spec = spec("many");
        let names: Vec<&String> = spec.programs.keys().collect();
        let loaded = load_spec(&linux(), &spec, &Options { jobs: 2, ..options() }).unwrap();
        assert_eq!(loaded.programs.keys().collect::<Vec<_>>(), names);
        assert!(loaded.programs.values().all(|program| program.load_time().as_nanos() > 0));
    });
}

#[test]
fn keys_are_walked_while_they_are_deleted() {
    in_private("keys_are_walked_while_they_are_deleted", || {
        let loaded = load(&spec("demo"));
        let map = loaded.maps.values().find(|map| map.info().unwrap().map_type == 1).expect("a hash");
        let info = map.info().unwrap().clone();
        for n in 0..info.max_entries.min(100) {
            let mut key = vec![0; info.key_size as usize];
            key[..4].copy_from_slice(&n.to_ne_bytes());
            map.update(&key, &vec![1; info.value_size as usize], 0).unwrap();
        }
        let mut seen = 0;
        for entry in map.entries().unwrap() {
            assert!(map.delete(&entry.unwrap().0).unwrap());
            seen += 1;
        }
        assert_eq!(seen, info.max_entries.min(100));
        assert_eq!(map.keys().unwrap(), Vec::<Vec<u8>>::new());
        assert_eq!(map.lookup(&[0; 3]).unwrap_err().code(), "E0409");
    });
}

/// onebpf's own form: `values[]` and `entries[]` with an initialiser.
#[test]
fn declared_entries_are_written_to_new_maps() {
    in_private("declared_entries_are_written_to_new_maps", || {
        let mut spec = spec("btf_entries");
        spec.maps["ports"].pinning = Pinning::ByName;
        let loaded = load(&spec);
        let number = |n: u32| n.to_ne_bytes().to_vec();
        let limit = |rate: u64, burst: u64| [rate.to_le_bytes(), burst.to_le_bytes()].concat();
        let held = |map: &str, key: &[u8]| loaded.maps[map].lookup(key).unwrap();

        let limits: Vec<_> = (0..4).map(|n| held("limits", &number(n)).unwrap()).collect();
        assert_eq!(limits, [limit(1000, 10), limit(0, 0), limit(3000, 30), limit(0, 0)]);
        assert_eq!(held("ports", &443u16.to_ne_bytes()), Some(limit(200, 2)));
        assert_eq!(held("ports", &[0, 0]), Some(limit(0, 0)));
        assert_eq!(held("recent", &[3]), Some(vec![4]));
        // 10.1.2.3/32 is within 10.0.0.0/8.
        assert_eq!(held("routes", &[32, 0, 0, 0, 10, 1, 2, 3]), Some(number(1)));
        assert_eq!((held("ways", &number(0)), held("ways", &number(2))), (None, Some(number(1))));
        assert_eq!(held("cpus", &number(0)), Some(number(192)));
        assert_eq!(loaded.maps["unlisted"].keys().unwrap().len(), 0);

        let cpus = linux().host().unwrap().possible_cpus as usize;
        let on_each = |n: u64| n.to_le_bytes().repeat(cpus);
        assert_eq!(held("seeds", &number(2)), Some(on_each(9)));
        assert_eq!(held("counts", &number(5)), Some(on_each(50)));

        // A program sees them too.
        let run = loaded.programs["police"].run(ProgRun { data_in: &[0; 64], ..ProgRun::default() });
        assert_eq!(run.unwrap().retval, 2);

        // A reused map keeps what it has.
        loaded.maps["ports"].update(&443u16.to_ne_bytes(), &limit(7, 7), 0).unwrap();
        loaded.maps["ports"].delete(&80u16.to_ne_bytes()).unwrap();
        drop(loaded);
        let again = load(&spec);
        assert!(again.maps["ports"].reused());
        assert_eq!(again.maps["ports"].lookup(&443u16.to_ne_bytes()).unwrap(), Some(limit(7, 7)));
        assert_eq!(again.maps["ports"].lookup(&80u16.to_ne_bytes()).unwrap(), None);

        // Entries that come from the map it replaces leave no room for others.
        let mut wider = spec.clone();
        wider.maps["ports"].max_entries = 16;
        let mut migrate = options();
        migrate.pins.on_mismatch = Mismatch::Migrate;
        let moved = load_spec(&linux(), &wider, &migrate).unwrap();
        assert_eq!(moved.maps["ports"].info().unwrap().max_entries, 16);
        assert_eq!(moved.maps["ports"].lookup(&443u16.to_ne_bytes()).unwrap(), Some(limit(7, 7)));
        assert_eq!(moved.maps["ports"].lookup(&80u16.to_ne_bytes()).unwrap(), None);
    });
}

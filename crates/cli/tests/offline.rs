//! What needs no kernel: reading objects, their JSON, errors, usage.

mod common;

use common::{all_objects, err, json, objects, ok, onebpf, out, run, status};
use serde_json::Value;
use std::process::{Command, Stdio};

#[test]
fn inspect_reads_well() {
    insta::assert_snapshot!("inspect_demo_80", ok("inspect demo.o"));
    insta::assert_snapshot!("inspect_2019", ok("inspect values_2019.o"));
    insta::assert_snapshot!("inspect_tail", ok("inspect elf_tail.o"));
    insta::assert_snapshot!("inspect_externs", ok("inspect extern_ksyms.o"));
    insta::assert_snapshot!("inspect_core", ok("inspect core_records.o"));
    let wide = onebpf().env("COLUMNS", "200").args(["inspect", "demo.o"]).output().expect("it runs");
    insta::assert_snapshot!("inspect_demo_200", out(&wide));
}

#[test]
fn inspect_counts_initial_entries() {
    let text = ok("inspect btf_entries.o");
    assert!(text.contains("3 initial") && text.contains("1 initial"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&ok("inspect --json btf_entries.o")).expect("JSON");
    let counts: Vec<_> =
        json["maps"].as_array().expect("maps").iter().map(|map| map["entries"].as_u64()).collect();
    assert_eq!(counts, [2, 3, 3, 1, 3, 2, 1, 1, 0].map(Some));
}

#[test]
fn inspect_shows_types_and_code_when_asked() {
    insta::assert_snapshot!("inspect_verbose", ok("inspect -v btf_pinned.o"));
}

#[test]
fn relocate_reads_well() {
    insta::assert_snapshot!("relocate_subprograms", ok("relocate prog_subprogs.o"));
    insta::assert_snapshot!("relocate_core", ok("relocate core_records.o --btf core_records.o"));
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for name in all_objects() {
        let output = run(&format!("inspect {name}"));
        for line in out(&output).lines() {
            assert!(line.chars().count() <= 80, "{name}: {line}");
        }
    }
}

#[test]
fn errors_read_well() {
    for name in
        ["btf_bad_key_conflict", "maps_tie", "bad_machine.x86", "values_bad_slot", "extern_bad_unknown"]
    {
        let output = run(&format!("inspect {name}.o"));
        assert_eq!((status(&output), out(&output).as_str()), (1, ""), "{name}");
        insta::assert_snapshot!(format!("error_{name}"), err(&output));
    }
}

#[test]
fn every_object_gives_one_json_document() {
    for name in all_objects() {
        let document = json(&format!("inspect --json {name}"));
        if document.get("error").is_some() {
            assert!(document["error"]["code"].as_str().is_some_and(|code| code.starts_with('E')), "{name}");
            continue;
        }
        check_inspect(&name, &document);
        let linked = json(&format!("relocate --json {name}"));
        for program in linked["programs"].as_array().into_iter().flatten() {
            check_program(&name, program);
        }
    }
}

/// The fields that CLI.md promises, with their types.
fn check_inspect(name: &str, document: &Value) {
    assert!(document["license"].is_string(), "{name}");
    assert!(matches!(document["endian"].as_str(), Some("little" | "big")), "{name}");
    for map in document["maps"].as_array().expect(name) {
        for field in ["name", "section", "dialect", "type", "pinning"] {
            assert!(map[field].is_string(), "{name}: {field} of {map}");
        }
        for field in ["type_id", "key_size", "value_size", "max_entries", "flags", "extra"] {
            assert!(map[field].is_u64(), "{name}: {field} of {map}");
        }
        assert!(
            map["slots"].is_array() && (map["inner"].is_null() || map["inner"]["type_id"].is_u64()),
            "{name}"
        );
        assert!(map.get("id").is_some() && map.get("numa_node").is_some(), "{name}");
    }
    for program in document["programs"].as_array().expect(name) {
        assert!(program["name"].is_string() && program["section"].is_string() && program["type"].is_string());
        assert!(program["insns"].is_u64() && program["autoload"].is_boolean() && program["flags"].is_u64());
        assert!(program["type_id"].is_u64() && program["attach_type_id"].is_u64(), "{name}");
    }
    for variable in document["variables"].as_array().expect(name) {
        assert!(variable["name"].is_string() && variable["section"].is_string() && variable["size"].is_u64());
    }
    for wanted in document["externs"].as_array().expect(name) {
        assert!(matches!(wanted["kind"].as_str(), Some("kconfig" | "ksym" | "kfunc")), "{name}");
        assert!(wanted["weak"].is_boolean(), "{name}");
    }
    for warning in document["warnings"].as_array().expect(name) {
        assert!(warning["code"].is_string() && warning["message"].is_string(), "{name}");
    }
}

fn check_program(name: &str, program: &Value) {
    let insns = program["insns"].as_array().expect(name);
    assert!(insns.iter().all(|insn| insn.as_str().is_some_and(|hex| hex.len() == 16)), "{name}");
    let refs = program["refs"].as_array().expect(name);
    let at = |r: &Value| r["insn"].as_u64().expect("a number");
    assert!(refs.windows(2).all(|pair| at(&pair[0]) < at(&pair[1])), "{name}: refs are sorted");
    for one in refs {
        let insn = insns[at(one) as usize].as_str().unwrap_or_default();
        if matches!(one["kind"].as_str(), Some("map" | "map_value" | "kfunc" | "ksym" | "kconfig")) {
            assert_eq!(&insn[8..], "00000000", "{name}: {one} is known only at load");
        }
    }
}

#[test]
fn json_says_what_the_demo_holds() {
    let document = json("inspect --json demo.o");
    let by_name = &document["maps"].as_array().expect("maps")[2];
    assert_eq!(
        (by_name["name"].as_str(), by_name["pinning"].as_str()),
        (Some("by_protocol"), Some("by-name"))
    );
    assert_eq!(by_name["dialect"], "btf");
    let program = &document["programs"][0];
    assert_eq!((program["type"].as_str(), program["type_id"].as_u64()), (Some("sched_cls"), Some(3)));
    let slots = &json("inspect --json values_2019.o")["maps"][7]["slots"];
    assert_eq!(
        *slots,
        serde_json::json!([{"index": 0, "program": "handle_a"}, {"index": 2, "program": "handle_b"}])
    );
}

#[test]
fn sections_get_types_of_ones_own() {
    let typed = "--section-type my_own_name=cgroup/connect4 --section-type xdp=sched_act --section-type tcx/=fentry.s";
    let document = json(&format!("inspect --json prog_sections.o {typed}"));
    let program = |name: &str| {
        let programs = document["programs"].as_array().expect("programs");
        programs.iter().find(|program| program["name"] == name).expect("it is listed").clone()
    };
    let types = |name: &str| [program(name)["type"].clone(), program(name)["attach_type"].clone()];
    assert_eq!(types("p_unknown"), ["cgroup_sock_addr", "cgroup_inet4_connect"]);
    assert_eq!(program("p_xdp")["type"], "sched_act");
    assert_eq!(program("p_xdp_frags")["type"], "xdp");
    assert_eq!(
        (types("p_tcx_egress")[1].clone(), program("p_tcx_egress")["flags"].clone()),
        ("trace_fentry".into(), 16.into())
    );
}

#[test]
fn wrong_usage_exits_with_2() {
    for line in [
        "",
        "nonsense",
        "inspect",
        "attach x",
        "load demo.o --on-mismatch sometimes",
        "load demo.o --set nothing",
        "load demo.o --jobs 0",
        "load demo.o --log-level 3",
        "load demo.o --type nonsense",
        "inspect demo.o --dialect nonsense",
        "load demo.o --pin /x --no-pin",
        "map lookup id x y",
        "explain E9999",
    ] {
        let output = run(line);
        assert_eq!(status(&output), 2, "{line}: {}", err(&output));
        assert!(!err(&output).is_empty() && out(&output).is_empty(), "{line}");
    }
}

#[test]
fn a_failure_is_told_to_people_and_to_programs() {
    let output = run("inspect --json nowhere.o");
    assert_eq!(status(&output), 1);
    assert!(err(&output).starts_with("error[E0313]: `nowhere.o` cannot be read"), "{}", err(&output));
    let document: Value = serde_json::from_str(&out(&output)).expect("JSON");
    assert_eq!(document["error"]["code"], "E0313");
    assert_eq!(document["error"]["errno"], 2);
    let document = json("inspect --json btf_bad_key_conflict.o");
    assert_eq!(document["error"]["place"], ".maps+0x0 <faulty> [13]");
}

#[test]
fn colours_come_when_asked_for() {
    let colourful = |args: &[&str], no_color: &str| {
        let output = onebpf().env("NO_COLOR", no_color).args(args).output().expect("it runs");
        out(&output).contains('\x1b')
    };
    assert!(colourful(&["inspect", "demo.o", "--color", "always"], "1"));
    assert!(!colourful(&["inspect", "demo.o", "--color", "never"], ""));
    assert!(!colourful(&["inspect", "demo.o"], ""), "a pipe is no terminal");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = onebpf()
        .args(["relocate", "many.o"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((status(&output), err(&output).as_str()), (0, ""));
}

#[test]
fn every_code_is_explained() {
    let codes = json("explain --json")["codes"].as_array().expect("codes").clone();
    assert!(codes.len() > 70);
    for code in codes {
        let code = code["code"].as_str().expect("a code").to_owned();
        assert!(ok(&format!("explain {}", code.to_lowercase())).starts_with(&format!("# {code}: ")));
    }
}

#[test]
fn types_are_dumped_as_c_and_as_they_are() {
    let c = ok("btf dump demo.o --format c");
    assert!(c.contains("struct counters {"), "{c}");
    let before = |a: &str, b: &str| c.find(a).expect(a) < c.find(b).expect(b);
    assert!(before("typedef unsigned long long", "struct counters {"));
    let raw = ok("btf dump demo.o");
    assert!(raw.contains("STRUCT 'counters' size=24 vlen=4\n\t'packets' type_id="), "{raw}");
}

#[test]
fn completions_and_the_manual_are_there() {
    for (target, words) in [("bash", "_onebpf"), ("zsh", "#compdef onebpf"), ("man", ".TH onebpf")] {
        assert!(ok(&format!("completions {target}")).contains(words), "{target}");
    }
    assert!(!ok("--help").contains("completions"));
}

/// A saved plan's host is enough: no privilege, no /sys, no kernel.
#[test]
fn nobody_can_inspect_relocate_and_plan() {
    let nobody =
        ["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"];
    let as_nobody = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(nobody).arg(env!("CARGO_BIN_EXE_onebpf")).args(words).current_dir(objects());
        command.output()
    };
    match as_nobody(&["--version"]) {
        Ok(output) if output.status.success() => {}
        Ok(output) => return eprintln!("skipped: setpriv: {}", err(&output)),
        Err(error) => return eprintln!("skipped: no setpriv: {error}"),
    }
    let facts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/facts.json");
    for words in [
        vec!["inspect", "demo.o"],
        vec!["relocate", "demo.o"],
        vec!["plan", "demo.o", "--facts", facts],
        vec!["plan", "--json", "demo.o", "--facts", facts],
        vec!["explain", "E0103"],
    ] {
        let output = as_nobody(&words).expect("it runs");
        assert_eq!(status(&output), 0, "{words:?}: {}", err(&output));
    }
    let refused = as_nobody(&["load", "demo.o", "--no-pin"]).expect("it runs");
    assert_eq!(status(&refused), 1);
    assert!(err(&refused).contains("run as root"), "{}", err(&refused));
}

#[test]
fn a_plan_for_another_host_reads_well() {
    let facts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/facts.json");
    let plan = ok(&format!("plan values_2019.o --facts {facts}"));
    let (first, rest) = plan.split_once('\n').expect("several lines");
    assert!(first.starts_with(" 1  #1   load BTF") && first.ends_with(" bytes"), "{first}");
    insta::assert_snapshot!("plan_80", rest);
    let document = json(&format!("plan --json demo.o --facts {facts}"));
    assert!(document["steps"].as_array().is_some_and(|steps| steps.len() > 5));
}

#[test]
fn the_page_of_kernels_agrees_with_the_program() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/kernels.md");
    let page = std::fs::read_to_string(page).expect("docs/kernels.md is there");
    let rows: Vec<String> =
        onebpf::sys::Feature::all().map(|feature| format!("| `{feature}` | {} |", feature.since())).collect();
    let table = page.split("\n## Limits").next().unwrap_or_default();
    let written: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(rows.len(), written.len());
    for row in rows {
        let found = written.iter().find(|line| line.starts_with(&row));
        let line = found.unwrap_or_else(|| panic!("{row} is not in docs/kernels.md"));
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        assert!(cells.len() == 4 && cells.iter().all(|cell| !cell.is_empty()), "{line}");
    }
}

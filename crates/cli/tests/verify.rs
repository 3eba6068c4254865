//! `onebpf verify`: on the running kernel in namespaces of its own, and with saved runs by anybody.

mod common;

use common::{documents, err, ok, out, run, shell, status, succeeded};
use serde_json::{Value, json};

/// Two programs: one that changed and one that is refused; and a file that could not be read.
const BEFORE: &str = r#"{"objects": [
    {"file": "a/flows.o", "error": null, "programs": [
        {"name": "ingress", "ok": true, "insns_processed": 1000, "total_states": 10, "verification_ns": 5000},
        {"name": "egress", "ok": false, "errno": 13, "code": "E0403", "message": "no, \"never\"", "insns_processed": 7},
        {"name": "old", "ok": true, "insns_processed": 5}]},
    {"file": "a/bad.o", "error": {"code": "E0101", "message": "no ELF"}, "programs": []}]}"#;
const NOW: &str = r#"{"objects": [
    {"file": "b/flows.o", "error": null, "programs": [
        {"name": "ingress", "ok": true, "insns_processed": 1100, "total_states": 10, "verification_ns": 9000},
        {"name": "egress", "ok": true, "insns_processed": 70, "total_states": 2},
        {"name": "fresh", "ok": true, "insns_processed": 3}]},
    {"file": "b/bad.o", "error": {"code": "E0101", "message": "no ELF"}, "programs": []}]}"#;

/// Runs the command on the saved runs; the line names them BEFORE and NOW.
fn replay(test: &str, line: &str) -> std::process::Output {
    let folder = std::env::temp_dir().join(format!("onebpf-verify-{test}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_string_lossy().into_owned()
    };
    let (before, now) = (file("before.json", BEFORE), file("now.json", NOW));
    let output = run(&line.replace("BEFORE", &before).replace("NOW", &now));
    std::fs::remove_dir_all(&folder).expect("the folder goes");
    output
}

#[test]
fn saved_runs_are_compared() {
    let output = replay("compare", "verify --replay NOW --compare BEFORE --sort program");
    insta::assert_snapshot!("verify_compare_80", out(&output));
    assert_eq!(err(&output), "3 programs accepted, 1 file could not be loaded, 2 changed, 1 new, 1 gone\n");
    assert_eq!(status(&output), 1, "a file is unreadable");
}

#[test]
fn differences_are_in_the_document() {
    let output = replay("json", "verify --json --replay NOW --compare BEFORE --changed --filter !bad.o");
    assert_eq!(status(&output), 0, "{}", err(&output));
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(document["objects"].as_array().map(Vec::len), Some(1), "{document}");
    let [ingress, egress, fresh] = [0, 1, 2].map(|at| document["objects"][0]["programs"][at].clone());
    assert_eq!(ingress["change"]["insns_processed"], json!({"diff": 100, "pct": 10.0}));
    assert_eq!((&ingress["before"]["insns_processed"], &ingress["ok"]), (&json!(1000), &json!(true)));
    assert_eq!((&egress["before"]["ok"], &egress["before"]["errno"]), (&json!(false), &json!(13)));
    assert_eq!((&fresh["name"], &fresh["before"]), (&json!("fresh"), &Value::Null));
    assert_eq!(document["gone"][0]["name"], "old");
}

#[test]
fn csv_is_read_as_it_is_written() {
    let csv = replay("csv", "verify --csv --replay BEFORE");
    let text = out(&csv);
    assert!(text.contains("a/flows.o,egress,false,13,E0403,\"no, \"\"never\"\"\","), "{text}");
    let path = std::env::temp_dir().join(format!("onebpf-verify-{}.csv", std::process::id()));
    std::fs::write(&path, &text).expect("a file");
    let line = format!("verify --csv --replay {}", path.display());
    let again = run(&line);
    let compared = replay("again", &format!("verify --replay BEFORE --compare {}", path.display()));
    std::fs::remove_file(&path).expect("the file goes");
    assert_eq!(out(&again), text);
    assert!(err(&compared).ends_with("nothing changed\n"), "{}", err(&compared));
}

#[test]
fn the_exit_status_is_what_was_asked_for() {
    let status = |line: &str| status(&replay("status", line));
    assert_eq!(status("verify --replay NOW"), 1);
    assert_eq!(status("verify --replay NOW --filter flows.o"), 0);
    assert_eq!(status("verify --replay NOW --fail-on verdict=refused"), 0);
    assert_eq!(status("verify --replay BEFORE --fail-on verdict=refused --top 1"), 1);
    assert_eq!(status("verify --replay NOW --compare BEFORE --fail-on insns.pct>5"), 1);
    assert_eq!(status("verify --replay NOW --compare BEFORE --fail-on insns.pct>5 --filter fresh"), 0);
    for wrong in
        ["--sort x", "--filter x>1", "--fail-on insns", "--sort insns.diff", "--columns x", "--changed"]
    {
        assert_eq!(status(&format!("verify --replay NOW {wrong}")), 2, "{wrong}");
    }
    assert_eq!(status("verify"), 2);
}

#[test]
fn what_holds_no_verdicts_is_said() {
    let output = run("verify --replay demo.o");
    assert!(status(&output) == 1 && err(&output).contains("E0903"), "{}", err(&output));
    let output = run("verify nothing-*.o");
    assert!(
        status(&output) == 1 && err(&output).contains("`nothing-*.o` holds no object"),
        "{}",
        err(&output)
    );
    let help = ok("verify --help");
    assert!(help.contains("longest walk back") && help.contains("Exit status"), "{help}");
}

#[test]
fn verdicts_compare_with_earlier_ones() {
    let script = "onebpf verify --json demo.o prog_subprogs.o > /mnt/before.json
        onebpf verify demo.o prog_subprogs.o --compare /mnt/before.json
        onebpf verify demo.o --csv --filter 'c*'
        ! onebpf verify --json rejected_null.o btf_bad_key_conflict.o > /mnt/refused.json
        cat /mnt/before.json /mnt/refused.json >&2";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let (table, said) = (out(&output), err(&output));
    assert!(table.contains("accepted") && table.contains('=') && said.contains("nothing changed"), "{table}");
    assert!(table.contains("demo.o,count,true,,"), "{table}");
    let json = said.get(said.find('{').expect("JSON")..).expect("in bounds");
    let mut stream = serde_json::Deserializer::from_str(json).into_iter::<Value>();
    let before = stream.next().expect("one").expect("JSON");
    let count = &before["objects"][0]["programs"][0];
    assert!(count["insns_processed"].as_u64().is_some_and(|n| n > 50), "{before}");
    assert!(
        count["xlated_bytes"].as_u64().is_some_and(|n| n > 50) && count["type"] == "sched_cls",
        "{before}"
    );
    let refused = stream.next().expect("two").expect("JSON");
    assert_eq!(refused["objects"][1]["error"]["code"], "E0103");
    let programs = refused["objects"][0]["programs"].as_array().expect("programs");
    let faulty = programs.iter().find(|program| program["name"] == "faulty").expect("it is listed");
    assert_eq!((&faulty["ok"], &faulty["errno"]), (&Value::Bool(false), &Value::from(13)), "{refused}");
}

#[test]
fn folders_are_searched_and_broken_files_end_nothing() {
    let script = "mkdir -p /mnt/d/e; cp demo.o /mnt/d/e/; cp many.o /mnt/d/
        head -c 3000 demo.o > /mnt/d/half.o; head -c 200 /dev/urandom > /mnt/d/noise.o; : > /mnt/d/empty.o
        cp /bin/true /mnt/d/host.o; mkfifo /mnt/d/fifo.o; ln -s /mnt/d /mnt/d/e/loop; echo text > /mnt/d/readme
        ! onebpf verify --json /mnt/d --jobs 2
        onebpf verify --json '/mnt/d/**/d*.o'
        onebpf verify --json /mnt/d --filter verdict=accepted --filter demo.o";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let [all, pattern, filtered] = &documents(&output)[..] else { panic!("three documents") };
    let objects = all["objects"].as_array().expect("objects");
    let files: Vec<&str> = objects.iter().filter_map(|object| object["file"].as_str()).collect();
    assert_eq!(
        files,
        ["e/demo.o", "empty.o", "half.o", "many.o", "noise.o"].map(|name| format!("/mnt/d/{name}"))
    );
    let broken = objects.iter().filter(|object| object["error"]["code"].is_string()).count();
    assert_eq!(broken, 3, "{all}");
    for document in [pattern, filtered] {
        let objects = document["objects"].as_array().expect("objects");
        assert!(objects.len() == 1 && objects[0]["file"] == "/mnt/d/e/demo.o", "{document}");
    }
}

#[test]
fn logs_lines_and_settings_are_there_when_asked_for() {
    let script = "onebpf verify demo.o --top-src-lines 2
        onebpf verify demo.o --json --top-src-lines 2 --log-level 2
        onebpf verify data_sections.o --json --set var.limits.hard=3 --set 'var.table[1]=9'
        ! onebpf verify data_sections.o --set var.limits.medium=3";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let text = out(&output);
    let (table, json) = text.split_at(text.find("{\n").expect("JSON"));
    assert!(
        table.contains("lines that the verifier walked most") && table.contains("demo.bpf.c:"),
        "{table}"
    );
    let mut stream = serde_json::Deserializer::from_str(json).into_iter::<Value>();
    let demo = stream.next().expect("one").expect("JSON");
    let count = &demo["objects"][0]["programs"][0];
    assert_eq!(count["source_lines"].as_array().map(Vec::len), Some(2), "{count}");
    assert!(count["log"].as_str().is_some_and(|log| log.contains("processed ")), "{count}");
    assert!(err(&output).contains("it has `soft`, `hard`"), "{}", err(&output));
}

#[test]
fn what_does_not_load_by_itself_is_helped() {
    let script = "onebpf verify --json prog_optional.o
        ! onebpf verify --json prog_optional.o --all
        ! onebpf verify --json demo.o --set map.by_size.max_entries=0
        onebpf verify --json demo.o --set map.by_size.max_entries=0 --size-maps";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let [usual, all, unsized_map, sized] = &documents(&output)[..] else { panic!("four documents") };
    let programs = |document: &Value| document["objects"][0]["programs"].as_array().map_or(0, Vec::len);
    assert!(programs(all) > programs(usual), "{usual}");
    assert_eq!(unsized_map["objects"][0]["programs"][0]["errno"], 22);
    assert_eq!(sized["objects"][0]["programs"][0]["ok"], true);
}

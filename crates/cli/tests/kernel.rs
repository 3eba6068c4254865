//! The command on the running kernel, in mount and network namespaces of its own with a BPF filesystem of its own.
//! Skipped, saying why, without root.

mod common;

use common::{documents, shell, succeeded};
use serde_json::{Value, json};

#[test]
fn load_run_dump_and_load_again() {
    let script = "onebpf load --json demo.o --pin /sys/fs/bpf/demo
        onebpf prog run --json /sys/fs/bpf/demo/count --repeat 3
        onebpf map dump --json /sys/fs/bpf/by_protocol
        onebpf load --json demo.o --program count
        onebpf map dump --json /sys/fs/bpf/demo/by_size";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let [first, run, dump, second, sizes] = &documents(&output)[..] else { panic!("five documents") };
    assert_eq!((&first["ok"], &first["error"]), (&Value::Bool(true), &Value::Null));
    let map = |document: &Value, name: &str| -> Value {
        let maps = document["maps"].as_array().expect("maps");
        maps.iter().find(|map| map["name"] == name).expect(name).clone()
    };
    assert_eq!(map(first, "by_protocol")["pinned"], "/sys/fs/bpf/by_protocol");
    assert_eq!(map(first, "by_protocol")["reused"], false);
    assert_eq!(first["programs"][0]["tag"].as_str().map(str::len), Some(16));
    for field in ["parse_ns", "observe_ns", "plan_ns", "apply_ns", "kernel_ns", "syscalls"] {
        assert!(first["timings"][field].as_u64().is_some_and(|time| time > 0), "{field}: {first}");
    }
    assert_eq!(run["retval"], 0);
    let entry = &dump["entries"][0];
    assert_eq!(
        (&entry["key"], &entry["value"]["packets"]),
        (&Value::from("OTHER"), &Value::from(3)),
        "{dump}"
    );
    assert_eq!(entry["value_hex"].as_str().map(str::len), Some(48));
    let again = map(second, "by_protocol");
    assert_eq!((&again["reused"], &again["id"]), (&Value::Bool(true), &map(first, "by_protocol")["id"]));
    assert_eq!(sizes["entries"].as_array().map(Vec::len), Some(8));
    assert_eq!(sizes["entries"][0]["value"], 3);
}

#[test]
fn a_refused_load_says_why_and_leaves_nothing() {
    let script = "! onebpf load --json rejected_null.o; find /sys/fs/bpf -mindepth 1 ! -name '*.debug' >&2";
    let Some(output) = shell(script) else { return };
    let document = &documents(&output)[0];
    assert_eq!(document["ok"], false);
    let error = &document["error"];
    assert_eq!((error["code"].as_str(), error["errno"].as_i64()), (Some("E0403"), Some(13)));
    assert!(error["place"].as_str().is_some_and(|place| place.starts_with("tc+0x10 <faulty>")), "{error}");
    assert!(error["log"].as_str().is_some_and(|log| log.contains("R0 invalid mem access")), "{error}");
    assert!(error["hints"].as_array().is_some_and(|hints| !hints.is_empty()));
    let said = common::err(&output);
    assert!(said.contains("28 |     *value += 1;"), "{said}");
    assert!(!said.contains("/sys/fs/bpf"), "{said}");
}

#[test]
fn edits_reach_the_kernel() {
    let script =
        "onebpf load demo.o --pin /sys/fs/bpf/demo --set map.by_protocol.max_entries=7 --set var.max_len=1400
        onebpf map show --json /sys/fs/bpf/by_protocol
        onebpf map dump --json /sys/fs/bpf/demo/demo_rodata";
    let Some(output) = shell(&script.replace("onebpf load", "onebpf load --json")) else { return };
    succeeded(&output);
    let documents = documents(&output);
    assert_eq!(documents[1]["max_entries"], 7);
    assert_eq!(documents[2]["entries"][0]["value"]["max_len"], 1400);
}

#[test]
fn a_pinned_map_that_differs_is_shown_replaced_and_migrated() {
    let script = "S='--set map.by_protocol.max_entries=77'
        onebpf load --json demo.o
        onebpf map update /sys/fs/bpf/by_protocol TCP '{\"packets\": 9, \"largest\": 1500}'
        ! onebpf load demo.o $S
        ! onebpf load demo.o $S --on-mismatch nobody=replace
        onebpf load --json demo.o $S --on-mismatch by_protocol=migrate
        onebpf map lookup --json /sys/fs/bpf/by_protocol TCP
        onebpf load --json demo.o --on-mismatch replace
        ! onebpf map lookup --json /sys/fs/bpf/by_protocol TCP";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let told = common::err(&output);
    assert!(told.contains("note: field        pinned  declared\n"), "{told}");
    assert!(told.contains("E0301") && told.contains("`nobody`"), "{told}");
    let documents = documents(&output);
    let counts = |document: &Value| {
        let row = &document["migrated"][0];
        [row["copied"].clone(), row["converted"].clone(), row["dropped"].clone()]
    };
    assert_eq!(counts(&documents[1]), [1, 0, 0].map(Value::from));
    assert_eq!(documents[2]["value"]["packets"], 9);
    assert_eq!(documents[3]["migrated"], Value::Array(Vec::new()));
    assert_eq!(documents[4]["error"]["code"], "E0409");
}

#[test]
fn entries_are_looked_up_written_and_removed_by_type() {
    let script = r#"onebpf load --no-pin demo.o >&2
        onebpf load demo.o --pin /sys/fs/bpf/demo >&2
        M=/sys/fs/bpf/by_protocol
        onebpf map update $M TCP '{"packets": 9, "largest": 1500}'
        onebpf map lookup --json $M 6
        onebpf map delete $M TCP
        ! onebpf map lookup --json $M TCP
        ! onebpf map update $M 0x1ffffffff '{}'
        onebpf map pin $M /sys/fs/bpf/other
        onebpf map show --json /sys/fs/bpf/other
        onebpf prog pin --json /sys/fs/bpf/demo/count /sys/fs/bpf/again
        onebpf prog show --json pinned /sys/fs/bpf/again"#;
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let documents = documents(&output);
    assert_eq!(
        (&documents[0]["key"], &documents[0]["value"]["packets"]),
        (&Value::from("TCP"), &Value::from(9))
    );
    assert_eq!(documents[1]["error"]["code"], "E0409");
    assert_eq!(documents[2]["name"], "by_protocol");
    assert_eq!((&documents[3]["ok"], &documents[4]["type"]), (&Value::Bool(true), &Value::from("sched_cls")));
    assert!(common::err(&output).contains("does not fit"), "{}", common::err(&output));
}

#[test]
fn facts_carry_to_a_plan() {
    let script = "onebpf facts -o /mnt/facts.json >&2
        onebpf facts --json
        onebpf plan demo.o --facts /mnt/facts.json > /mnt/a
        onebpf plan demo.o > /mnt/b
        diff /mnt/a /mnt/b >&2 || true";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let facts = &documents(&output)[0];
    assert!(facts["host"]["possible_cpus"].as_u64().is_some_and(|cpus| cpus > 0), "{facts}");
    assert_eq!(facts["features"]["btf"], "yes");
}

#[test]
fn a_map_that_cannot_be_read_is_one_document() {
    let script = "onebpf load btf_kinds.o --pin /sys/fs/bpf/k > /dev/null
        onebpf map dump --json /sys/fs/bpf/k/events || true";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let [refusal] = &documents(&output)[..] else { panic!("one document") };
    assert_eq!((&refusal["error"]["code"], &refusal["error"]["errno"]), (&"E0409".into(), &524.into()));
}

#[test]
fn a_short_context_is_enough() {
    // `mark`, the third word of `__sk_buff`.
    let script = "onebpf load demo.o --pin /sys/fs/bpf/demo > /dev/null
        onebpf prog run --json /sys/fs/bpf/demo/count --ctx 000000000000000005000000";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let run = &documents(&output)[0];
    let context = run["ctx_out"].as_str().unwrap_or_default();
    assert!(context.len() > 24 && context.get(16..24) == Some("05000000"), "{run}");
}

#[test]
fn slots_are_shown_by_what_they_hold() {
    let script = "onebpf load values_2019.o --pin /sys/fs/bpf/v > /dev/null
        onebpf map dump /sys/fs/bpf/v/jumps
        onebpf map update /sys/fs/bpf/v/jumps 1 pinned /sys/fs/bpf/v/handle_b
        onebpf map dump /sys/fs/bpf/v/jumps";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let text = common::out(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert!(lines[0].starts_with("0: program id ") && lines[3].starts_with("1: program id "), "{text}");
}

#[test]
fn what_is_replaced_is_kept_shown_and_given_back() {
    let script = "mkdir /mnt/state; export ONEBPF_STATE=/mnt/state
        pins='--pin /sys/fs/bpf/up --on-mismatch replace'
        onebpf load upgrade.o $pins >&2
        onebpf load upgrade.o $pins --keep-previous --set var.generation=2 >&2
        onebpf prog run --json /sys/fs/bpf/up/entry
        onebpf status --json
        onebpf status >&2
        onebpf rollback --json upgrade
        onebpf prog run --json /sys/fs/bpf/up/entry
        onebpf recover --json
        test ! -e /run/onebpf
        ls /sys/fs/bpf/up >&2";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let [second, status, back, first, recovered] = &documents(&output)[..] else { panic!("five documents") };
    assert_eq!((&second["retval"], &first["retval"]), (&json!(2), &json!(1)), "{second} {first}");
    let object = &status["objects"][0];
    assert_eq!(object["manifest"]["object"], "upgrade");
    assert_eq!(object["manifest"]["hash"].as_str().map(str::len), Some(40), "{object}");
    let pins = object["pins"].as_array().expect("pins");
    assert!(pins.iter().all(|pin| pin["same"] == true), "{object}");
    assert!(pins.iter().any(|pin| pin["can_roll_back"] == true), "{object}");
    assert_eq!(status["leftovers"], json!([]));
    assert_eq!(back["object"], "upgrade");
    assert_eq!(recovered["undone"], json!([]));
    assert!(common::err(&output).contains("previous"), "{}", common::err(&output));
}

/// The lock is waited for, and who has it is named: at first in a note, in the end in an error.
#[test]
fn a_lock_that_is_taken() {
    // Each step waits for the one before it to be seen, not for a time.
    let script = "onebpf load btf_pinned.o >/dev/null
        until_there() { until test -s $1; do kill -0 $!; sleep 0.02; done; }
        flock /run/onebpf/lock sh -c 'echo held >/run/held; until test -e /run/let_go; do sleep 0.02; done' & holder=$!
        until_there /run/held
        onebpf load mix_pins.o --lock-wait 0 2>&1 || echo rc $?
        onebpf load --json mix_pins.o 2>/run/told & waiting=$!
        until_there /run/told; touch /run/let_go; wait $waiting; wait $holder; cat /run/told";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let text = common::out(&output);
    let part = |part: &str| assert!(text.contains(part), "no `{part}` in:\n{text}");
    part("error[E0418]: /run/onebpf/lock: process ");
    part(" (flock) has held the lock for 0 s");
    part("rc 1\n");
    part("\"ok\": true");
    part("\nnote: waiting for process ");
    part(" (flock), which changes pins (/run/onebpf)\n");
}

/// Pins that are gone, and pins that are another's.
#[test]
fn what_is_gone_is_forgotten() {
    let script = "onebpf load btf_pinned.o >/dev/null; ln /sys/fs/bpf/fix_pinned /sys/fs/bpf/other:pending; onebpf status 2>&1
        onebpf recover 2>&1; rm /sys/fs/bpf/fix_pinned; onebpf status 2>&1; onebpf recover 2>&1; onebpf recover --force 2>&1
        onebpf status 2>&1; ls /sys/fs/bpf /run/onebpf/objects";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let text = common::out(&output);
    let aside = "note: /sys/fs/bpf/other:pending is Cilium's, set aside by its loader: it is left alone\n";
    assert_eq!(text.matches(aside).count(), 6, "{text}");
    let nothing = "note: there is nothing to recover\n";
    let forgets = "note: `onebpf recover` forgets objects whose pins are all gone\n";
    let end = format!(
        "{forgets}`btf_pinned` is forgotten: its pins are gone\n{aside}{aside}{nothing}{aside}note: no object is known here\n"
    );
    assert!(text.contains(&end), "{text}");
    assert!(text.ends_with("other:pending\nprogs.debug\n"), "{text}");
}

/// In the first user namespace tokens mean nothing: who asks for one is told, who forbids them loads.
#[test]
fn tokens_are_taken_from_where_libbpf_takes_them() {
    let script = "export LIBBPF_BPF_TOKEN_PATH=/nowhere
        onebpf load --json prog_subprogs.o || true
        onebpf load --json prog_subprogs.o --token /sys/fs/bpf || true
        onebpf load --json prog_subprogs.o --token ''";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let [nowhere, here, forbidden] = &documents(&output)[..] else { panic!("three documents") };
    for refused in [nowhere, here] {
        assert_eq!(refused["error"]["code"], "E0419", "{refused}");
        assert!(refused["error"]["errno"].as_i64().is_some_and(|errno| errno > 0));
    }
    assert_eq!((&forbidden["ok"], &forbidden["adaptations"]), (&Value::Bool(true), &json!([])));
}

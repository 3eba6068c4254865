//! iproute2's behaviour, check by check: the numbers are those of the table of acceptance checks (iproute2 7.1 built without
//! libbpf). What is better here stands in docs/differences.md. On the running kernel; skipped, saying why, without root.

mod common;
#[path = "common/net.rs"]
mod net;

use common::{err, out};
use net::{Variants, counters, has, shell, succeeded};

// Words of `struct bpf_elf_map`.
const TYPE: usize = 0;
const KEY: usize = 1;
const VALUE: usize = 2;
const ENTRIES: usize = 3;
const FLAGS: usize = 4;
const ID: usize = 5;
const PINNING: usize = 6;
const INNER_ID: usize = 7;
const INNER_INDEX: usize = 8;

/// A script with variants in `$V`; true if it ran.
fn passes(variants: &Variants, script: &str) -> Option<String> {
    let script = format!("V={}; F=/sys/fs/bpf; {script}", variants.path().display());
    let output = shell(&script)?;
    succeeded(&output);
    Some(out(&output))
}

/// 1, 2, 4 to 7, 9, 48: the tree, names, modes, scopes.
#[test]
fn the_tree_of_pins() {
    let variants = Variants::new("tree");
    let script = "umount $F; echo '11 mine/deep' > /mnt/db; mount --bind /mnt/db /etc/iproute2/bpf_pinning
        add() { onebpf tc filter add dev va egress bpf da obj \"$1\"; }
        add elf_plain.o; same \"$(ls $F | grep -v debug | tr '\\n' ' ')\" 'ip tc xdp '
        same \"$(stat -c %a $F/tc/globals)\" 700; same \"$(readlink $F/xdp $F/ip | tr '\\n' ' ')\" \"$F/tc/ $F/tc/ \"
        same \"$(find $F/tc -type f)\" ''
        add elf_pins.o; hash=$(sha1sum elf_pins.o | cut -d' ' -f1)
        same \"$(stat -c %a $F/tc/globals/fix_global)\" 600; test -e $F/tc/$hash/fix_object; test -e $F/mine/deep/fix_custom
        gone $F/tc/globals/fix_private; ids=$(id $F/tc/globals/fix_global),$(id $F/tc/$hash/fix_object)
        cp elf_pins.o $V/copy.o; add $V/copy.o; cp elf_pins.o $V/other.o; echo >> $V/other.o; add $V/other.o
        same $ids $(id $F/tc/globals/fix_global),$(id $F/tc/$hash/fix_object)
        test $(id $F/tc/$hash/fix_object) != $(id $F/tc/$(sha1sum $V/other.o | cut -d' ' -f1)/fix_object)
        umount /etc/iproute2/bpf_pinning; rm -r $F/mine; add elf_pins.o; gone $F/mine; add elf_pins.o 2>&1
        mkdir /mnt/bpf; export TC_BPF_MNT=/mnt/bpf; add elf_pins.o; test -e /mnt/bpf/tc/globals/fix_global";
    let Some(text) = passes(&variants, script) else { return };
    has(&text, "warning[W0303]");
}

/// 10, 11: what differs is refused and nothing is changed; what does not matter is reused.
#[test]
fn pins_that_differ() {
    let variants = Variants::new("differ");
    for (name, word, value) in [
        ("type", TYPE, 1),
        ("key", KEY, 8),
        ("value", VALUE, 16),
        ("entries", ENTRIES, 9),
        ("flags", FLAGS, 1024),
    ] {
        variants.add(&format!("{name}.o"), "tc_jumps_other.o", &[(1, word, value)]);
    }
    variants.add("id.o", "tc_jumps_other.o", &[(0, ID, 77), (1, ID, 78)]);
    let script = "add() { onebpf tc filter add dev va egress bpf da obj \"$1\"; }
        add tc_jumps.o; hits=$(id $F/tc/globals/tc_hits); jumps=$(id $F/tc/globals/tc_jumps)
        for name in type key value entries flags; do refused add $V/$name.o; add $V/$name.o 2>&1 | head -20 || :; done
        same $(tc filter show dev va egress | grep -c handle) 1
        add tc_jumps.nog.o; add $V/id.o; same $(tc filter show dev va egress | grep -c handle) 3
        same $hits,$jumps $(id $F/tc/globals/tc_hits),$(id $F/tc/globals/tc_jumps)";
    let Some(text) = passes(&variants, script) else { return };
    // The whole message, as it is seen.
    let messages = text.split("error[E0305]: ").skip(1).map(|message| {
        message.lines().filter(|line| !line.trim_start().starts_with("-->")).collect::<Vec<_>>().join("\n")
    });
    insta::assert_snapshot!("pins_that_differ", messages.collect::<Vec<_>>().join("\n\n"));
}

/// 12, 13, 50: tc, xdp and routes share pins; a real directory has its own.
#[test]
fn hooks_share_pins() {
    let variants = Variants::new("share");
    let all_global = [(0, PINNING, 2), (1, PINNING, 2)];
    variants.add("plain.o", "elf_plain.o", &all_global);
    let script = "onebpf tc filter add dev va egress bpf da obj $V/plain.o; one=$(id $F/tc/globals/counters)
        onebpf ip link set dev va xdpgeneric obj $V/plain.o sec xdp
        onebpf ip route add 10.8.0.0/24 dev va encap bpf out obj $V/plain.o sec action
        same $one $(id $F/xdp/globals/counters); same $one $(id $F/ip/globals/counters)
        send 2; echo x > /dev/udp/10.8.0.1/9; bpftool map dump pinned $F/tc/globals/peers
        rm $F/xdp; mkdir $F/xdp; onebpf ip -force link set dev va xdpgeneric obj $V/plain.o sec xdp
        test $one != $(id $F/xdp/globals/counters); same $one $(id $F/tc/globals/counters)";
    let Some(text) = passes(&variants, script) else { return };
    has(&text, "value: ");
}

/// 14, 15, 17, 19, 20, 53 to 56: all that a loader must take.
#[test]
fn objects_that_load() {
    let variants = Variants::new("loads");
    variants.add("unused.o", "elf_plain.o", &[(1, PINNING, 2)]);
    let script = "add() { onebpf tc filter add dev va egress bpf da obj \"$@\"; }
        add $V/unused.o; bpftool map show pinned $F/tc/globals/peers
        for name in elf_16 elf_16.nog elf_20 elf_28 elf_notype.nog elf_static.nog elf_plain.nog elf_prog elf_annotated; do
            case $name in elf_prog) add $name.o sec prog;; *) add $name.o;; esac
        done
        add prog_no_license.nog.o sec tc program free_helper
        add prog_subprogs.o sec tc; add prog_subprogs.nog.o sec tc; add data_strings.o sec tc; add mix_elf_btf.o";
    let Some(text) = passes(&variants, script) else { return };
    has(&text, "flags 0x1");
}

/// 18, 24, 34, 35, 38: what is refused leaves nothing, and attaches nothing.
#[test]
fn objects_that_do_not_load() {
    let variants = Variants::new("refused");
    variants.add("shape.o", "elf_inner.o", &[(1, INNER_INDEX, 8)]);
    variants.add("inner.o", "elf_inner.o", &[(1, ID, 45)]);
    variants.add("slot.o", "tc_jumps.o", &[(0, ENTRIES, 4)]);
    let script = "head -c 300 elf_plain.o > $V/cut.o; : > $V/empty.o; echo text > $V/text.o
        for object in $V/cut.o $V/empty.o $V/text.o $V/none.o data_bss_only.o prog_several.eb.o bad_machine.x86.o \\
            $V/shape.o $V/inner.o $V/slot.o elf_bad_tail.o maps_uneven.o; do
            refused onebpf tc filter add dev va egress bpf da obj $object
        done
        same \"$(tc filter show dev va egress)\" ''; same \"$(find $F -type f ! -name '*.debug')\" ''
        onebpf tc filter add dev va egress protocol ip bpf da obj tc_jumps.o
        refused onebpf ip link set dev va xdpgeneric obj tc_jumps.o
        onebpf ip link set dev va xdpgeneric obj tc_jumps.o 2>&1 | head -5 || :; send 1; hits";
    let Some(text) = passes(&variants, script) else { return };
    has(&text, "error[E0305]");
    has(&text, "owner  sched_cls programs  xdp programs");
    has(&text, "\"value\":[\"0x01\"");
}

/// 21 to 23, 25 to 27: maps in maps, in any order; what is pinned is not filled again, unless another outer map is new.
#[test]
fn maps_in_maps() {
    let variants = Variants::new("nested");
    variants.add("pinned.o", "elf_inner.o", &[(0, PINNING, 2), (2, PINNING, 2)]);
    variants.add("inner.o", "elf_inner.o", &[(0, PINNING, 0), (1, PINNING, 2)]);
    variants.add("hash.o", "elf_inner.o", &[(3, INNER_INDEX, 5), (2, PINNING, 2)]);
    // Two inner maps of one id, two outer ones that hold such.
    let as_inner = [(3, TYPE, 2), (3, VALUE, 4), (3, ENTRIES, 1), (3, ID, 42), (3, INNER_INDEX, 5)];
    let outers = [(0, PINNING, 2), (2, PINNING, 2), (2, INNER_ID, 42)];
    variants.add("many.o", "elf_inner.o", &[&as_inner[..], &outers[..]].concat());
    let script = "add() { onebpf tc filter add dev va egress bpf da obj \"$@\"; }
        slots() { bpftool map dump pinned $F/tc/globals/$1 | grep -v 'No such\\|Found' | tr -s ' \\n' ' '; echo; }
        add elf_inner.o; add $V/pinned.o; slots outer; slots by_name
        first=$(slots outer); add $V/pinned.o; same \"$first\" \"$(slots outer)\"
        bpftool map delete pinned $F/tc/globals/outer key 3 0 0 0; add $V/pinned.o; same \"$(slots outer | grep -c key)\" 0
        rm $F/tc/globals/by_name; add $V/pinned.o; same \"$(slots outer | grep -c key)\" 1
        rm $F/tc/globals/*; add $V/hash.o; slots by_name
        rm $F/tc/globals/*; add $V/many.o; slots outer | grep -o 'key: ..' | tr '\\n' ' '; slots by_name | grep -o 'key: ..' | tr '\\n' ' '; echo
        add $V/inner.o; one=$(id $F/tc/globals/inner); add $V/inner.o; same $one $(id $F/tc/globals/inner)";
    let Some(text) = passes(&variants, script) else { return };
    has(&text, "key: 03 00 00 00 value: ");
    has(&text, "key: 05 00 00 00 value: ");
    let four = text.lines().find(|line| line.matches("key: ").count() == 4).expect("two keys of two maps");
    assert_eq!((four.matches("key: 03").count(), four.matches("key: 05").count()), (2, 2), "{four}");
}

/// 29, 30, 32, 33, 37: who writes which slot.
#[test]
fn slots_of_a_shared_array() {
    let variants = Variants::new("slots");
    variants.add("unknown.o", "tc_jumps_other.o", &[(0, ID, 77)]);
    let script = "slots() { bpftool map dump pinned $F/tc/globals/tc_jumps | grep -o 'key:.*value: .. .. ..' | grep -v '<no' | tr '\\n' ' '; echo; }
        onebpf tc filter add dev va egress protocol ip bpf da obj tc_jumps.o; array=$(id $F/tc/globals/tc_jumps); one=$(slots)
        onebpf tc filter replace dev va egress pref 49152 handle 1 protocol ip bpf da obj tc_jumps.o; two=$(slots)
        test \"$one\" != \"$two\"; same $array $(id $F/tc/globals/tc_jumps); same $(echo $two | grep -o key | wc -l) 3
        onebpf tc filter add dev va ingress protocol ip bpf da obj $V/unknown.o; same \"$two\" \"$(slots)\"
        onebpf tc filter add dev va ingress protocol ip bpf da obj tc_jumps_other.o; three=$(slots)
        same \"$(echo $two | cut -c1-30)\" \"$(echo $three | cut -c1-30)\"; test \"$two\" != \"$three\"
        send 2; hits
        # A program of SEC(\"xdp\") and one of section \"prog\" fit one array: neither has an expected attach type.
        rm $F/tc/globals/*; onebpf ip link set dev va xdpgeneric obj tc_jumps.o
        onebpf tc exec bpf graft m:globals/tc_jumps key 1 obj elf_plain.o type xdp sec xdp
        onebpf tc exec bpf graft m:globals/tc_jumps key 3 obj tc_modern.o type xdp sec xdp";
    passes(&variants, script);
}

/// 51, 52: what stands in a pin's place is never overwritten, and a failed load takes back what it made.
#[test]
fn names_that_are_taken() {
    let variants = Variants::new("taken");
    let script = "add() { onebpf tc filter add dev va egress bpf da obj \"$@\"; }
        add elf_plain.o; onebpf load elf_plain.o --program ingress --pin /sys/fs/bpf/x >/dev/null
        bpftool prog pin pinned $F/x/ingress $F/tc/globals/tc_hits; refused add tc_jumps.o
        bpftool prog show pinned $F/tc/globals/tc_hits; gone $F/tc/globals/tc_jumps
        rm $F/tc/globals/tc_hits; mkdir $F/tc/globals/tc_hits; refused add tc_jumps.o; gone $F/tc/globals/tc_jumps
        rmdir $F/tc/globals/tc_hits; add tc_jumps.o; same $(tc filter show dev va egress | grep -c handle) 2";
    passes(&variants, script);
}

/// 36: an array that is not pinned is emptied when the command ends, and the command says so. 8, 31: the database's oddities,
/// and names of sections, do not stop a load. 49: where no bpffs can be, what needs no pin is loaded, with a warning, and
/// what needs one is refused.
#[test]
fn quirks() {
    let variants = Variants::new("quirks");
    variants.add("unpinned.o", "tc_jumps.o", &[(0, PINNING, 0)]);
    let script = "onebpf tc filter add dev va egress protocol ip bpf da obj $V/unpinned.o 2>&1
        send 3; hits
        printf '1 reserved\\n11 first\\n11 last\\nnot an entry\\n12 late\\n' > /mnt/db; mount --bind /mnt/db /etc/iproute2/bpf_pinning
        onebpf tc filter add dev va ingress bpf da obj elf_pins.o; test -e $F/last/fix_custom; gone $F/first
        onebpf tc filter add dev va ingress bpf da obj elf_tail.o
        handles() { tc filter show dev va ingress | grep -c handle; }; before=$(handles); export TC_BPF_MNT=/proc/none
        refused onebpf tc filter add dev va ingress bpf da obj elf_pins.o; same $before $(handles)
        onebpf tc filter add dev va ingress bpf da obj elf_plain.o 2>&1; same $((before + 1)) $(handles); unset TC_BPF_MNT
        # No directory to mount at, and none can be made: iproute2's own way into it.
        umount $F; mount -t tmpfs -o ro tmpfs /sys/fs
        onebpf tc filter add dev va ingress bpf da obj elf_plain.o 2>&1; same $((before + 2)) $(handles)
        onebpf ip link set dev va xdpgeneric obj elf_prog.o 2>&1; ip link show dev va | grep -c prog/xdp
        refused onebpf tc filter add dev va ingress bpf da obj tc_jumps.o; same $((before + 2)) $(handles)";
    let Some(output) = shell(&format!("V={}; F=/sys/fs/bpf; {script}", variants.path().display())) else {
        return;
    };
    succeeded(&output);
    has(&out(&output), "`tc_jumps` is not pinned: the kernel empties it");
    assert_eq!(out(&output).matches("warning[W0306]: iproute2's tree of pins is not there: ").count(), 3);
    has(&out(&output), "making /proc/none: mkdir: ENOENT");
    has(&out(&output), "making /sys/fs/bpf: mkdir: EROFS");
    assert_eq!(counters(&output), [[3, 0, 0, 0, 0, 0, 3]]);
}

/// 4, 16, 19, 54, 56: a name that the kernel cuts, 65 maps, a licence that is none, functions of `.text` that a tail section
/// calls, data that nobody refers to. 35, 57: a tail section that is refused attaches nothing, and the whole log can be had.
#[test]
fn what_is_called_and_what_is_said() {
    let name = "hits_of_a_map_whose_name_is_very_long";
    let script = "add() { onebpf tc filter add dev va egress protocol ip bpf da obj \"$@\"; }
        add elf_subprogs.o; send 4; hits $NAME; one=$(id $F/tc/globals/$NAME)
        add elf_subprogs.nog.o; send 4; hits $NAME; same $one $(id $F/tc/globals/$NAME)
        add elf_many.nog.o verb 2>&1 | grep -c 'map `many_.*created'
        tail() { onebpf tc filter add dev va ingress bpf da obj elf_tail_rejected.o \"$@\"; }
        refused tail; tail 2>&1 | head -1 || :; tail verb > /mnt/log 2>&1 || :; gone $F/tc/globals/rejected_jumps
        grep -c '^ | 0: R1=ctx()' /mnt/log; grep -c '^ | .*invalid access to packet' /mnt/log; test $(wc -c < /mnt/log) -gt 100000
        onebpf tc filter add dev va ingress bpf da obj prog_no_license.o sec tc program gpl_helper 2>&1 | head -1 || :
        same \"$(tc filter show dev va ingress)\" ''";
    let Some(output) = shell(&format!("NAME={name}; F=/sys/fs/bpf; {script}")) else { return };
    succeeded(&output);
    assert_eq!(counters(&output), [[4, 8, 0], [8, 16, 0]]);
    for part in [
        "\n65\nerror[E0403]: program `refused` was rejected: invalid access to packet",
        "\n1\n1\nerror[E0403]: program `gpl_helper` was rejected: cannot call GPL",
    ] {
        has(&out(&output), part);
    }
}

/// One object with maps of both dialects, pins of both and program arrays of both: attached, attached again from the same
/// file and from a changed one, under packets; then by `onebpf load`, where each dialect has its own layout.
#[test]
fn both_dialects_in_one_object() {
    let variants = Variants::new("mixed");
    let script = "attach() { onebpf tc filter replace dev va egress pref 1 handle 1 protocol ip bpf da obj $1; }
        ids() { for name in calls hits seen next; do id $1/mix_$name; done | tr '\n' ' '; }
        attach mix_pins.o; one=$(ids $F/tc/globals); send 3; hits mix_hits; hits mix_seen
        attach mix_pins.o; same \"$one\" \"$(ids $F/tc/globals)\"; send 3; hits mix_hits; hits mix_seen
        LC_ALL=C sed 's/\x51\x51\x51\x51/\x52\x52\x52\x52/' mix_pins.o > $V/mix_pins.o; attach $V/mix_pins.o
        same \"$one\" \"$(ids $F/tc/globals)\"; send 3; hits mix_hits; hits mix_seen
        for file in mix_pins.o $V/mix_pins.o; do test -e $F/tc/$(sha1sum $file | cut -d' ' -f1)/mix_own; done
        gone $F/mix_seen; onebpf load mix_pins.o --pin $F/all >/dev/null; test -e $F/mix_seen; test -e $F/mix_next
        same $(echo $one | cut -d' ' -f1) $(id $F/tc/globals/mix_calls); send 1; hits mix_hits; hits mix_seen
        onebpf load mix_pins.o --pin $F/all --on-mismatch replace >/dev/null; send 1; hits mix_hits";
    let Some(output) = shell(&format!("V={}; F=/sys/fs/bpf; {script}", variants.path().display())) else {
        return;
    };
    succeeded(&output);
    // In mix_hits the first two steps of the way, in mix_seen the others; the last two loads have a mix_seen of their own.
    let wanted: [[u64; 4]; 9] = [
        [3, 3, 0, 0],
        [0, 0, 3, 3],
        [6, 6, 0, 0],
        [0, 0, 6, 6],
        [9, 9, 0, 0],
        [0, 0, 9, 9],
        [10, 10, 0, 0],
        [0, 0, 9, 9],
        [11, 11, 0, 0],
    ];
    assert_eq!(counters(&output), wanted);
}

/// 57: a report of maps and programs, and the verifier's words.
#[test]
fn verbose_tells() {
    let script = "onebpf tc filter add dev va egress bpf da obj tc_jumps.o verb
        onebpf tc filter add dev va egress bpf da obj tc_jumps.o verbose
        refused onebpf tc filter add dev va egress bpf da obj rejected_packet.o sec tc
        onebpf tc filter add dev va egress bpf da obj rejected_packet.o sec tc verb || true";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let text = err(&output);
    for part in [
        "map `tc_hits` created: id ",
        "map `tc_hits` reused: id ",
        "pinned at /sys/fs/bpf/tc/globals/tc_hits",
        "program `slot_2` of section `1/2`: id ",
        "processed ",
        "error[E0403]",
    ] {
        has(&text, part);
    }
    assert_eq!(counters(&output).len(), 0);
}

/// Each of the 58 checks has its row in docs/tc-ip.md, and each test that is named there is one.
#[test]
fn every_check_has_its_tests() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("docs/tc-ip.md")).expect("the page");
    let mut sources = String::new();
    let mut dirs = vec![root.join("crates")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("readable").flatten() {
            match entry.path() {
                path if path.is_dir() => dirs.push(path),
                path if path.extension().is_some_and(|end| end == "rs") => {
                    sources += &std::fs::read_to_string(path).expect("readable");
                }
                _ => {}
            }
        }
    }
    let (_, table) = text.split_once("| check |").expect("the table");
    let rows: Vec<Vec<&str>> =
        table.lines().skip(2).map(|row| row.split('|').map(str::trim).collect()).collect();
    for (n, row) in rows.iter().enumerate() {
        assert_eq!(row[1], (n + 1).to_string());
        let tests: Vec<&str> = row[3].split(['`', ' ']).filter(|name| !name.is_empty()).collect();
        assert!(!tests.is_empty(), "{row:?}");
        for test in tests {
            assert!(
                sources.contains(&format!("#[test]\n    fn {test}()"))
                    || sources.contains(&format!("#[test]\nfn {test}()")),
                "check {}: no test {test}",
                n + 1
            );
        }
    }
    assert_eq!(rows.len(), 58);
}

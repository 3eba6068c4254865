//! `onebpf tc` and `onebpf ip` on the running kernel, under traffic, in namespaces of their own: filters as the system's
//! `tc` and `bpftool` print them, and counters. Skipped, saying why, without root or iproute2.

mod common;
#[path = "common/net.rs"]
mod net;

use common::{err, out};
use net::{counters, has, shell, succeeded};
use std::process::Output;

#[test]
fn filters_are_as_others_print_them() {
    let script = "onebpf tc filter add dev va egress bpf da obj elf_plain.o
        onebpf tc filter add dev va ingress prio 7 handle 0x3 protocol ip bpf obj elf_plain.o sec classifier classid 1:5 skip_hw
        tc filter show dev va egress; tc filter show dev va ingress; bpftool net
        send 3
        bpftool -j map dump name counters; echo
        onebpf tc filter replace dev va ingress prio 7 handle 0x3 protocol ip bpf da obj elf_plain.o sec action skip_hw
        tc filter show dev va ingress
        onebpf tc f del dev va egress pref 49152 bpf; tc filter show dev va egress | wc -l
        test -z \"$(ls /sys/fs/bpf/tc/globals 2>/dev/null)\"";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let text = out(&output);
    has(
        &text,
        "filter protocol all pref 49152 bpf chain 0 handle 0x1 elf_plain.o:[classifier] direct-action not_in_hw id ",
    );
    has(
        &text,
        "filter protocol ip pref 7 bpf chain 0 handle 0x3 flowid 1:5 elf_plain.o:[classifier] skip_hw not_in_hw id ",
    );
    has(&text, "va(2) clsact/egress elf_plain.o:[classifier] id ");
    has(&text, "handle 0x3 elf_plain.o:[action] direct-action skip_hw not_in_hw id ");
    assert!(text.ends_with("\n0\n"), "{text}");
}

#[test]
fn tail_calls_count_under_traffic_and_slots_are_replaced() {
    let script = "onebpf tc filter add dev va egress protocol ip bpf da obj tc_jumps.o
        send 5; hits
        nsenter --net=/run/netns/other \"$ONEBPF\" tc filter add dev vb ingress protocol ip bpf da obj tc_jumps.o
        send 5; hits
        # Another object with another id, the same array: its slot only. What runs sees it.
        onebpf tc exec bpf graft m:globals/tc_jumps key 2 obj tc_jumps_other.o
        send 5; hits
        onebpf tc exec bpf graft /sys/fs/bpf/tc/globals/tc_jumps obj tc_jumps.o sec 1/2
        send 5; hits
        refused onebpf tc exec bpf graft m:globals/tc_jumps obj tc_jumps.o
        refused onebpf tc exec bpf graft m:globals/tc_hits key 1 obj tc_jumps.o
        refused onebpf tc exec bpf graft m:globals/none key 1 obj tc_jumps.o
        refused onebpf tc exec bpf graft m:globals/tc_jumps key 5 obj tc_jumps.o
        refused onebpf tc exec bpf graft m:globals/tc_jumps key 1 obj tc_jumps.o sec prog type xdp";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let wanted: [[u64; 7]; 4] = [
        [5, 5, 5, 5, 5, 0, 0],
        [15, 15, 15, 15, 15, 0, 0],
        // The object that is grafted from has a slot of its own too: 9/2.
        [25, 25, 15, 15, 15, 10, 0],
        [35, 35, 25, 25, 25, 10, 0],
    ];
    assert_eq!(counters(&output), wanted);
}

/// `load OBJECT`, and a sender that counts: `under_traffic A B` loads the two in turns until 500 packets were sent while a load
/// ran, and 100 before and after each of them. However slow the machine is, `sent` is what the counters must say.
const TRAFFIC: &str = "
load() { onebpf tc filter replace dev va egress pref 1 handle 1 protocol ip bpf da obj $1; }
sender() { until test -e /mnt/stop; do echo x > /dev/udp/10.9.0.2/9; printf . >> /mnt/sent; done; }
sent() { stat -c %s /mnt/sent; }
more() { # Waits until $1 more packets were sent.
    local wanted=$(($(sent) + $1))
    while test $(sent) -lt $wanted; do kill -0 $sender; sleep 0.01; done
}
under_traffic() {
    local during=0 before; rm -f /mnt/stop; : > /mnt/sent; sender & sender=$!
    while test $during -lt 500; do
        for object; do more 100; before=$(sent); load $object; during=$((during + $(sent) - before)); done
    done
    more 100; touch /mnt/stop; wait $sender; echo sent $(sent)
}
";

/// What [`TRAFFIC`]'s sender has sent.
fn sent(output: &Output) -> u64 {
    let text = out(output);
    let count =
        text.lines().find_map(|line| line.strip_prefix("sent ")).expect("under_traffic came to its end");
    count.parse().unwrap()
}

/// Slots are replaced while packets come: none falls through, and the counters go on.
#[test]
fn a_reload_loses_no_packet() {
    let script = "load tc_jumps.o; under_traffic tc_jumps.nog.o tc_jumps.o; hits";
    let Some(output) = shell(&[TRAFFIC, script].concat()) else { return };
    succeeded(&output);
    let sent = sent(&output);
    assert_eq!(counters(&output), [[sent, sent, sent, sent, sent, 0, 0]], "{}", out(&output));
}

/// The object is rebuilt with two slots changed, and loaded again while packets come: every packet takes each slot once, the
/// old one or the new one, and the counters go on in the same map.
#[test]
fn two_slots_change_under_traffic() {
    let script = "load tc_jumps.o; map=$(id /sys/fs/bpf/tc/globals/tc_hits); send 1000; hits
        under_traffic tc_jumps_rebuilt.o tc_jumps.o tc_jumps_rebuilt.o; hits
        send 1000; hits; same $map $(id /sys/fs/bpf/tc/globals/tc_hits)";
    let Some(output) = shell(&[TRAFFIC, script].concat()) else { return };
    succeeded(&output);
    let [before, during, after] = &counters(&output)[..] else { panic!("{}", out(&output)) };
    assert_eq!(*before, [1000, 1000, 1000, 1000, 1000, 0, 0]);
    let (all, changed) = (1000 + sent(&output), during[5]);
    assert_eq!(*during, [all, all, all, all, all, changed, 0]);
    // 100 packets or more before the first load and after the second one, and as many after the first and the last.
    assert!((400..=2 * (sent(&output) - 200)).contains(&changed), "{changed} of {all}");
    let all = all + 1000;
    assert_eq!(*after, [all, all, all, all, all, changed + 2000, 0]);
}

#[test]
fn the_main_program_stays_out_of_its_own_slot() {
    let script = "onebpf tc filter add dev va egress protocol ip bpf da obj tc_jumps.o sec 1/0
        tc filter show dev va egress
        bpftool -j map dump pinned /sys/fs/bpf/tc/globals/tc_jumps | grep -o '\"key\":\\[[^]]*\\],\"value\":\\['";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let text = out(&output);
    has(&text, "tc_jumps.o:[1/0] direct-action");
    let keys: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("\"key\":[\"")).collect();
    assert_eq!(keys.len(), 2, "{text}");
    assert!(keys[0].starts_with("0x02") && keys[1].starts_with("0x04"), "{keys:?}");
}

#[test]
fn what_fails_attaches_nothing() {
    let script = "for words in 'obj elf_plain.o sec nothing' 'obj rejected_packet.o sec tc' 'obj none.o' \
            'obj /dev/null' 'obj elf_plain.o program nothing' 'pinned /sys/fs/bpf/none' 'obj elf_plain.o export /mnt/nobody'; do
            refused onebpf tc filter add dev va egress bpf da $words
        done
        refused onebpf tc filter add dev none egress bpf da obj elf_plain.o
        refused onebpf tc filter change dev va egress pref 1 handle 9 protocol ip bpf da obj elf_plain.o
        refused onebpf ip link set dev va xdpgeneric obj elf_plain.o
        refused onebpf ip route add 10.8.0.0/24 dev va encap bpf out obj elf_plain.o
        tc filter show dev va egress; ip -d link show dev va | grep -c prog/xdp || true; ip route show 10.8.0.0/24
        onebpf tc filter add dev va egress bpf da obj rejected_packet.o sec tc verbose 2>&1 | head -3 >&2";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    assert_eq!(out(&output), "0\n");
    has(&err(&output), "error[E0403]");
}

#[test]
fn xdp_runs_and_is_not_replaced_by_accident() {
    let script = "inside() { nsenter --net=/run/netns/other \"$ONEBPF\" \"$@\"; }
        inside ip link set dev vb xdpgeneric obj tc_jumps.o
        nsenter --net=/run/netns/other bpftool net | grep vb
        ip -n other link show dev vb
        send 4; hits
        refused inside ip link set dev vb xdpgeneric obj tc_jumps.o
        inside ip -force link set dev vb xdpgeneric obj elf_prog.o sec prog
        inside ip link set dev vb xdpgeneric off
        refused inside ip link set dev vb xdpgeneric obj tc_jumps.o sec classifier_
        inside ip link set vb mtu 1400 xdpgeneric obj elf_prog.o
        ip -n other link show dev vb";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let text = out(&output);
    has(&text, "vb(2) generic id ");
    has(&text, "prog/xdp id ");
    has(&text, "mtu 1400 xdpgeneric");
    assert_eq!(counters(&output), [[4, 4, 4, 4, 4, 0, 0]]);
}

#[test]
fn routes_run_programs() {
    let script = "onebpf ip route add 10.8.0.0/24 via 10.9.0.2 dev va encap bpf out obj tc_jumps.o headroom 64 metric 7 proto static mtu 1300
        ip route show 10.8.0.0/24
        for _ in 1 2 3; do echo x > /dev/udp/10.8.0.1/9; done; hits
        onebpf ip route replace 10.8.0.0/24 via 10.9.0.2 dev va encap bpf xmit obj elf_prog.o metric 7
        ip route show 10.8.0.0/24
        onebpf ip route add table 100 10.7.0.0/16 dev va encap bpf in obj elf_prog.o sec prog
        ip route show table 100
        refused onebpf ip route add 10.8.0.0/24 via 10.9.0.2 dev va encap bpf xmit obj elf_prog.o metric 7
        bpftool -j prog show | tr '{' '\\n' | grep -o '\"type\":\"lwt_[a-z]*\"' | sort -u";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let text = out(&output);
    has(
        &text,
        "10.8.0.0/24  encap bpf out tc_jumps.o:[prog] via 10.9.0.2 dev va proto static metric 7 mtu 1300",
    );
    has(&text, "encap bpf xmit elf_prog.o:[prog]");
    has(&text, "10.7.0.0/16  encap bpf in elf_prog.o:[prog] dev va scope link");
    has(&text, "\"type\":\"lwt_in\"");
    has(&text, "\"type\":\"lwt_xmit\"");
    assert_eq!(counters(&output), [[3, 3, 3, 3, 3, 0, 0]]);
}

#[test]
fn maps_are_handed_over() {
    let script = "onebpf tc exec bpf import /mnt/sock run sh -c 'env | grep ^BPF_ | sort; readlink /proc/self/fd/$BPF_MAP1; ls /mnt' &
        while ! test -S /mnt/sock; do sleep 0.05; done
        onebpf tc filter add dev va egress bpf da obj elf_plain.o export /mnt/sock
        wait
        TC_BPF_UDS=/mnt/sock refused onebpf tc filter add dev va egress bpf da obj elf_plain.o
        TC_BPF_UDS=/mnt/sock refused onebpf tc filter add dev va egress bpf da obj elf_plain.o export /mnt/sock";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let text = out(&output);
    has(&text, "BPF_NUM_MAPS=2\n");
    has(&text, "BPF_MAP1=");
    has(&text, "BPF_MAP2=");
    assert!(text.ends_with("anon_inode:bpf-map\n"), "the socket is gone, the map is there: {text}");
}

/// `exec bpf debug` copies what programs print, until it is stopped.
#[test]
fn what_programs_print_can_be_read() {
    let script = "if ! mount -t tracefs tracefs /sys/kernel/tracing; then echo no tracefs; exit; fi
        \"$ONEBPF\" tc exec bpf debug 2>/mnt/printed & reader=$!
        onebpf tc filter add dev va egress protocol ip bpf da obj data_strings.o sec tc
        until grep -q bpf_trace_printk /mnt/printed; do kill -0 $reader; send 1; sleep 0.05; done
        kill $reader; wait $reader || echo rc $?; grep -o 'Running!\\|bpf_trace_printk: .*' /mnt/printed | sort -u";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let text = out(&output);
    if text.contains("no tracefs") {
        eprintln!("skipped: no tracefs");
        return;
    }
    // 128 and SIGTERM: it never ends by itself.
    has(&text, "rc 143\nRunning!\nbpf_trace_printk: ");
}

#[test]
fn pinned_programs_are_attached() {
    let script = "onebpf load tc_jumps.o --type tc --pin /sys/fs/bpf/all >/dev/null
        onebpf tc filter add dev va egress protocol ip bpf da object-pinned /sys/fs/bpf/all/classify
        tc filter show dev va egress
        mkdir -p /sys/fs/bpf/tc; bpftool prog pin pinned /sys/fs/bpf/all/classify /sys/fs/bpf/tc/mine
        onebpf tc filter add dev va ingress bpf da pinned m:mine
        tc filter show dev va ingress
        onebpf tc exec bpf graft m:globals/tc_jumps key 3 fd m:mine
        refused onebpf tc filter add dev va ingress bpf da fd /sys/fs/bpf/tc/globals/tc_hits
        refused onebpf tc filter add dev va ingress bpf da fd m:none
        # A plain path has nothing to do with the tree: nothing is mounted for it.
        mount -t bpf bpf /mnt; bpftool prog pin pinned /sys/fs/bpf/all/classify /mnt/mine; umount /sys/fs/bpf
        onebpf tc filter add dev va ingress bpf da pinned /mnt/mine; same \"$(ls /sys/fs/bpf)\" ''";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let text = out(&output);
    has(&text, "handle 0x1 classify:[*fsobj] direct-action");
    has(&text, "handle 0x1 m:mine:[*fsobj] direct-action");
}

#[test]
fn a_named_namespace_has_a_sys_of_its_own() {
    let script = "mount -t bpf bpf /mnt && mkdir /mnt/tc
        TC_BPF_MNT=/mnt onebpf tc -n other filter add dev vb ingress protocol ip bpf da obj tc_jumps.o
        ls /mnt/tc/globals; tc -n other filter show dev vb ingress
        onebpf tc -n other filter add dev vb egress bpf da obj tc_jumps.o; gone /sys/fs/bpf/tc
        ip -n other link show dev vb | head -1; ip link show dev va | head -1
        refused onebpf tc -netns nowhere filter add dev vb ingress bpf da obj elf_plain.o
        onebpf ip -n other link set dev vb xdpgeneric obj elf_prog.o; ip -n other link show dev vb | grep -c prog/xdp";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let text = out(&output);
    has(&text, "tc_hits\ntc_jumps\n");
    has(&text, "tc_jumps.o:[classifier]");
    assert!(text.ends_with("\n1\n"), "{text}");
}

#[test]
fn what_tc_refused_works() {
    let script = "onebpf tc filter add dev va egress protocol ip bpf da obj tc_modern.o sec tc program tc_entry
        tc filter show dev va egress
        send 2; hits modern_hits
        onebpf tc filter replace dev va egress pref 49152 handle 1 protocol ip bpf da obj tc_modern.o program tc_second
        tc filter show dev va egress
        send 1; hits modern_hits
        onebpf ip link set dev va xdpgeneric obj tc_modern.o sec xdp; ls /sys/fs/bpf/tc/globals";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let text = out(&output);
    has(&text, "tc_modern.o:[tc] direct-action not_in_hw id ");
    has(&text, "name tc_entry");
    has(&text, "name tc_second");
    assert!(text.ends_with("modern_hits\nmodern_jumps\n"), "{text}");
    assert_eq!(counters(&output), [[6, 6, 0, 0], [6, 6, 3, 0]]);
}

/// A load replaces a program array of `.maps`, and its programs. Those that are attached go on with theirs until they are
/// replaced, too: the kernel would empty it with its last pin.
#[test]
fn programs_that_run_keep_their_array() {
    let script = "load() { onebpf load tc_modern.o --pin /sys/fs/bpf/p --on-mismatch replace \"$@\" >/dev/null; }
        see() { send 2; bpftool -j map dump pinned /sys/fs/bpf/modern_hits; echo; }
        attach() { onebpf tc filter replace dev va egress pref 1 handle 1 protocol ip bpf da pinned /sys/fs/bpf/p/tc_entry; }
        load; attach; see; load; see; onebpf status; refused onebpf rollback tc_modern
        attach; see; load; see; attach; load --program-arrays reuse; see; gone /sys/fs/bpf/modern_jumps:prev
        onebpf status | grep -c 'for what runs' || :; onebpf recover 2>&1";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    assert_eq!(counters(&output), [2, 4, 6, 8, 10].map(|packets| vec![packets * 3, packets * 3, 0, 0]));
    let text = out(&output);
    has(&text, ", for what runs  /sys/fs/bpf/modern_jumps\n");
    assert!(text.ends_with("\n0\nnote: there is nothing to recover\n"), "{text}");
}

#[test]
fn batches_go_line_by_line() {
    let script = "cat > /mnt/batch <<'END'
# everything at once
qdisc replace dev va clsact
filter add dev va egress protocol ip pref 1 \\
    bpf da obj elf_plain.o
filter add dev va ingress pref 2 u32 match u32 0 0 flowid 1:1
END
        onebpf tc -b /mnt/batch; tc filter show dev va egress; tc filter show dev va ingress
        echo 'filter del dev va egress pref 1 bpf' | onebpf tc -batch -; tc filter show dev va egress | wc -l
        printf 'filter add dev none ingress bpf obj x.o\\nfilter add dev va egress bpf da obj elf_plain.o\\n' > /mnt/batch
        refused onebpf tc -force -batch /mnt/batch; tc filter show dev va egress | wc -l";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let text = out(&output);
    has(&text, "pref 1 bpf chain 0 handle 0x1 elf_plain.o:[classifier] direct-action");
    has(&text, "pref 2 u32");
    assert!(text.ends_with("\n0\n2\n"), "{text}");
}

#[test]
fn actions_run_where_the_kernel_has_them() {
    let script = "onebpf tc actions add action bpf obj elf_plain.o sec action index 5 2>/mnt/why || { cat /mnt/why >&2; exit 7; }
        tc actions show action bpf
        onebpf tc filter add dev va egress bpf obj elf_plain.o action bpf obj elf_plain.o
        tc filter show dev va egress";
    let Some(output) = shell(script) else { return };
    if output.status.code() == Some(7) {
        has(&err(&output), "CONFIG_NET_ACT_BPF");
        eprintln!(
            "skipped: this kernel has no act_bpf; its messages are tested in onebpf::netlink\n{}",
            err(&output)
        );
        return;
    }
    succeeded(&output);
    has(&out(&output), "elf_plain.o:[action]");
}

#[test]
fn the_rest_is_the_systems() {
    let script = "onebpf tc -j qdisc show dev va; onebpf ip --brief addr show dev va; onebpf ip -V
        onebpf tc filter add dev va egress pref 3 u32 match u32 0 0 action mirred egress mirror dev va; tc filter show dev va egress
        refused onebpf tc nonsense; PATH=/nowhere refused onebpf tc qdisc show";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    for part in ["\"kind\":\"clsact\"", "va@", "ip utility", "pref 3 u32"] {
        has(&out(&output), part);
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let script = "say() { onebpf \"$@\" 2>&1 | head -4 || :; }
        say tc filter add dev va root bpf da obj elf_plain.o
        say tc filter add dev none egress bpf da obj elf_plain.o
        mkdir /mnt/empty; PATH=/mnt/empty \"$ONEBPF\" tc qdisc show 2>&1 || :
        say tc filter add dev va egress bpf da obj elf_plain.o export /mnt/nobody
        onebpf tc filter add dev va egress bpf da obj tc_jumps.o
        say tc exec bpf graft m:globals/tc_jumps key 5 obj tc_jumps.o
        say tc filter add dev va egress bpf da obj elf_plain.o nonsense; \"$ONEBPF\" tc filter add egress bpf da obj x 2>/dev/null || echo rc $?";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let text = out(&output);
    for part in [
        "error[E0910]: adding a filter to `va`: ",
        "error[E0911]: there is no network device `none`",
        "error[E0912]: the system's `tc` cannot be run: No such file or directory",
        "error[E0913]: handing over maps: connecting to /mnt/nobody: ENOENT",
        "error[E0914]: /sys/fs/bpf/tc/globals/tc_jumps has no slot 5: it has 5",
        "error: `nonsense` is not understood here",
        "rc 2\n",
    ] {
        has(&text, part);
    }
}

/// No device here takes programs: the kernel says so when the map, the first thing of the object, is to be made for it.
#[test]
fn hardware_is_asked_for() {
    let script = "onebpf tc filter add dev va egress bpf da obj elf_plain.o skip_sw 2>&1 || :
        onebpf ip link set dev va xdpoffload obj elf_prog.o 2>&1 || :
        tc filter show dev va egress; ip -d link show dev va | grep -c prog/xdp || :";
    let Some(output) = shell(script) else { return };
    succeeded(&output);
    let text = out(&output);
    assert_eq!(text.matches("error[E0402]").count(), 2, "{text}");
    assert!(text.ends_with("\n0\n"), "{text}");
}

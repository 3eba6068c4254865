//! An object of many programs that give the verifier some work, for measurements. Needs clang, but no header.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const CLANG: &str = "clang-19";

/// What every program shares: a map, global data, a subprogram.
const HEAD: &str = r#"
#define SEC(name) __attribute__((section(name), used))
struct __sk_buff { unsigned int len, pkt_type, mark; };
static void *(*const lookup)(void *map, const void *key) = (void *)1;
struct { int (*type)[2]; int (*max_entries)[16]; unsigned int *key; unsigned long *value; } counts SEC(".maps");
const volatile unsigned int seed = 7;
unsigned long total;
static __attribute__((noinline)) unsigned long mix(unsigned long a, unsigned int b) { return (a ^ b) * 31 + seed; }
char _license[] SEC("license") = "GPL";
"#;

/// One program: a loop that the verifier walks to its end, with a branch in every round.
const PROGRAM: &str = r#"
SEC("tc") int program_N(struct __sk_buff *skb)
{
    unsigned long sum = N;
    #pragma clang loop unroll(disable)
    for (int i = 0; i < 400; i++) {
        unsigned int key = (skb->len + i) & 15;
        unsigned long *value = lookup(&counts, &key);
        sum += value ? *value ^ i : skb->mark;
    }
    total += mix(sum, skb->len);
    return 0;
}
"#;

/// Compiles an object with `programs` programs into `dir`.
pub fn build(dir: &Path, programs: usize) -> Result<PathBuf, String> {
    std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let (source, object) =
        (dir.join(format!("bench{programs}.bpf.c")), dir.join(format!("bench{programs}.bpf.o")));
    let mut text = HEAD.to_owned();
    for n in 0..programs {
        let _ = write!(text, "{}", PROGRAM.replace('N', &n.to_string()));
    }
    if std::fs::read_to_string(&source).is_ok_and(|old| old == text) && object.is_file() {
        return Ok(object);
    }
    std::fs::write(&source, text).map_err(|error| format!("{}: {error}", source.display()))?;
    let mut clang = Command::new(CLANG);
    clang.args(["-g", "-O2", "--target=bpf", "-mcpu=v3", "-c"]).arg(&source).arg("-o").arg(&object);
    let output = clang.output().map_err(|error| format!("{CLANG}: {error}"))?;
    if output.status.success() {
        Ok(object)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

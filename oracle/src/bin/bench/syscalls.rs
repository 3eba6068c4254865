//! A clock around bpf(2). All loaders here, libbpf in C as well, reach it through the C library's `syscall`; the linker
//! takes this program's function of that name instead, which passes every call on and adds up what bpf(2) takes. The rest
//! of a process's time is its user space, with the few other system calls: the kernel's own division into user and system
//! time goes by ticks of 4 ms, too coarse for a load that takes two.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libc::{c_char, c_long};

static CALLS: AtomicU64 = AtomicU64::new(0);
static NANOS: AtomicU64 = AtomicU64::new(0);

/// Six arguments are all that a system call can have; more than the caller gave are not looked at by the kernel.
type Syscall = unsafe extern "C" fn(c_long, c_long, c_long, c_long, c_long, c_long, c_long) -> c_long;

/// Calls of bpf(2) so far, and the processor's time in them, of all threads.
pub(crate) fn bpf() -> (u64, Duration) {
    (CALLS.load(Ordering::Relaxed), Duration::from_nanos(NANOS.load(Ordering::Relaxed)))
}

/// The processor's time of this process.
pub(crate) fn process_time() -> Duration {
    time(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn time(clock: libc::clockid_t) -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the C library writes one timespec.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// # Safety
/// As syscall(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    first: c_long,
    second: c_long,
    third: c_long,
    fourth: c_long,
    fifth: c_long,
    sixth: c_long,
) -> c_long {
    static REAL: OnceLock<Syscall> = OnceLock::new();
    // SAFETY: the name is a C string; the C library has a function of it with this signature (on the ABIs that onebpf
    // runs on, variadic integers are passed as others are).
    let real = *REAL.get_or_init(|| unsafe {
        let name: *const c_char = c"syscall".as_ptr();
        std::mem::transmute::<*mut libc::c_void, Syscall>(libc::dlsym(libc::RTLD_NEXT, name))
    });
    if number != libc::SYS_bpf {
        // SAFETY: the caller's promise.
        return unsafe { real(number, first, second, third, fourth, fifth, sixth) };
    }
    let before = time(libc::CLOCK_THREAD_CPUTIME_ID);
    // SAFETY: the caller's promise. Nothing below changes errno: reading the clock cannot fail.
    let result = unsafe { real(number, first, second, third, fourth, fifth, sixth) };
    let took = time(libc::CLOCK_THREAD_CPUTIME_ID).saturating_sub(before);
    CALLS.fetch_add(1, Ordering::Relaxed);
    NANOS.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    result
}

//! Loading programs, several at a time.

use super::{refused, with_log};
use crate::error::Result;
use crate::plan::{LoadProgram, Plan};
use crate::program::LoadedProgram;
use onebpf_btf::{Endian, write_records};
use onebpf_sys::{Errno, Kernel, Log, ProgLoad};
use std::iter::once;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// How often a load that a signal interrupted is tried; libbpf's `bpf_prog_load()` takes as many.
const ATTEMPTS: usize = 5;

/// A program with all its operands.
pub(super) struct Task<'a> {
    pub(super) program: &'a LoadProgram,
    /// Instructions with fds in place, in the kernel's form.
    pub(super) insns: Vec<u8>,
    /// The BTF, if there is any after all.
    pub(super) btf: Option<BorrowedFd<'a>>,
    /// What it attaches to: a program, or the BTF of a module.
    pub(super) attach_to: Option<BorrowedFd<'a>>,
    /// BTF of the modules that it calls.
    pub(super) modules: Vec<BorrowedFd<'a>>,
    /// By whose right.
    pub(super) token: Option<BorrowedFd<'a>>,
}

/// Loads all, or reports the first error in program order.
pub(super) fn load_all(
    kernel: &dyn Kernel,
    plan: &Plan,
    tasks: &[Task<'_>],
    jobs: usize,
) -> Result<Vec<LoadedProgram>> {
    let jobs = match jobs {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        jobs => jobs,
    };
    if jobs.min(tasks.len()) <= 1 {
        return tasks.iter().map(|task| load(kernel, plan, task)).collect();
    }
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    // Tasks are taken in order, so when one fails every earlier one is done or under way, and the first error in
    // program order is among the results.
    let work = || {
        let mut done = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = tasks.get(n) else { break };
            let result = load(kernel, plan, task);
            stop.fetch_or(result.is_err(), Ordering::Relaxed);
            done.push((n, result));
        }
        done
    };
    let mut results: Vec<(usize, Result<LoadedProgram>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (1..jobs.min(tasks.len())).map(|_| scope.spawn(work)).collect();
        let mut results = work();
        for worker in workers {
            match worker.join() {
                Ok(done) => results.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    results.sort_by_key(|(n, _)| *n);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Loads one: silently first, for a log costs time; with a log when that fails.
fn load(kernel: &dyn Kernel, plan: &Plan, task: &Task<'_>) -> Result<LoadedProgram> {
    let started = Instant::now();
    let done = |fd, log| Ok(LoadedProgram { fd, took: started.elapsed(), log });
    let wanted = task.program.log_level;
    let mut kept = None;
    if wanted != 0 {
        match with_log(|log| submit(kernel, task, log), wanted) {
            (Ok(fd), log) => return done(fd, Some(log)),
            // Not even the largest buffer holds it: the program matters more than its log.
            (Err(e), log) if e.errno == Errno::NOSPC => kept = Some(log),
            (Err(_), _) => {}
        }
    }
    if (wanted == 0 || kept.is_some())
        && let Ok(fd) = submit(kernel, task, None)
    {
        return done(fd, kept);
    }
    // Statistics alone (4) do not say why.
    let level = if wanted == 4 { 5 } else { wanted.max(1) };
    match with_log(|log| submit(kernel, task, log), level) {
        (Ok(fd), log) => done(fd, Some(log).filter(|_| wanted != 0)),
        (Err(e), log) => Err(refused::program(plan, task.program, e, log)),
    }
}

fn submit(kernel: &dyn Kernel, task: &Task<'_>, mut log: Option<Log<'_>>) -> onebpf_sys::Result<OwnedFd> {
    let program = task.program;
    let records = task.btf.is_some();
    let func_info = if records { write_records(&program.func_info, Endian::native()) } else { Vec::new() };
    let line_info = if records { write_records(&program.line_info, Endian::native()) } else { Vec::new() };
    // The kernel never looks at the first: 0 is its own BTF.
    let modules = task.modules.iter().map(AsRawFd::as_raw_fd);
    let fd_array: Vec<i32> =
        if task.modules.is_empty() { Vec::new() } else { once(0).chain(modules).collect() };
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        let result = kernel.prog_load(ProgLoad {
            prog_type: program.prog_type,
            expected_attach_type: program.expected_attach_type,
            insns: &task.insns,
            license: &program.license,
            kernel_version: program.kernel_version,
            flags: program.flags,
            name: &program.kernel_name,
            btf: task.btf,
            func_info: &func_info,
            line_info: &line_info,
            attach_btf_id: program.attach.as_ref().map_or(0, |attach| attach.btf_id),
            attach_btf: task.attach_to,
            fd_array: &fd_array,
            ifindex: program.device.unwrap_or_default(),
            token: task.token,
            log: log.as_mut().map(|log| Log { level: log.level, buffer: log.buffer }),
        });
        match result {
            Err(e) if e.errno == Errno::AGAIN && left > 0 => {}
            result => return result,
        }
    }
}

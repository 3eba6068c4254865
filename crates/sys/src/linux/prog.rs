//! Programs: load and test run.

use super::bpf::{address, address_mut, bpf, bpf_fd};
use super::object_name;
use crate::uapi::{BPF_F_TOKEN_FD, BindMapAttr, ProgLoadAttr, TestRunAttr, cmd};
use crate::{Errno, ProgLoad, ProgRun, ProgRunResult};
use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

const INSN: usize = 8;
const FUNC_INFO: usize = 8;
const LINE_INFO: usize = 16;

pub(super) fn load(prog: ProgLoad<'_, '_>) -> Result<OwnedFd, Errno> {
    let license = CString::new(prog.license).map_err(|_| Errno::INVAL)?;
    let func_info_cnt = records(prog.func_info, FUNC_INFO)?;
    let line_info_cnt = records(prog.line_info, LINE_INFO)?;
    let mut attr = ProgLoadAttr {
        prog_type: prog.prog_type,
        insn_cnt: records(prog.insns, INSN)?,
        insns: address(prog.insns),
        license: address(license.as_bytes_with_nul()),
        kern_version: prog.kernel_version,
        prog_flags: prog.flags | prog.token.map_or(0, |_| BPF_F_TOKEN_FD),
        prog_name: object_name(prog.name)?,
        prog_ifindex: prog.ifindex,
        expected_attach_type: prog.expected_attach_type,
        prog_btf_fd: prog.btf.map_or(0, |fd| fd.as_raw_fd() as u32),
        func_info_rec_size: if func_info_cnt == 0 { 0 } else { FUNC_INFO as u32 },
        func_info: address(prog.func_info),
        func_info_cnt,
        line_info_rec_size: if line_info_cnt == 0 { 0 } else { LINE_INFO as u32 },
        line_info: address(prog.line_info),
        line_info_cnt,
        attach_btf_id: prog.attach_btf_id,
        attach_fd: prog.attach_btf.map_or(0, |fd| fd.as_raw_fd() as u32),
        fd_array: address(prog.fd_array),
        prog_token_fd: prog.token.map_or(0, |fd| fd.as_raw_fd() as u32),
        ..ProgLoadAttr::default()
    };
    if let Some(log) = prog.log {
        attr.log_level = log.level;
        attr.log_size = u32::try_from(log.buffer.len()).unwrap_or(u32::MAX);
        attr.log_buf = address_mut(log.buffer);
    }
    // SAFETY: every address is that of a slice which outlives the call, given with its length; the licence
    // ends with a NUL; the log, the only thing written, was borrowed mutably. The command returns a new fd.
    unsafe { bpf_fd(cmd::PROG_LOAD, &mut attr) }
}

pub(super) fn bind_map(prog: BorrowedFd<'_>, map: BorrowedFd<'_>) -> Result<(), Errno> {
    let (prog_fd, map_fd) = (prog.as_raw_fd() as u32, map.as_raw_fd() as u32);
    let mut attr = BindMapAttr { prog_fd, map_fd, flags: 0 };
    // SAFETY: the attributes hold no address.
    unsafe { bpf(cmd::PROG_BIND_MAP, &mut attr) }.map(drop)
}

pub(super) fn run(prog: BorrowedFd<'_>, run: &ProgRun<'_>) -> Result<ProgRunResult, Errno> {
    let mut data_out = output(run.data_out_size, run.data_in.len())?;
    let mut ctx_out = output(run.ctx_out_size, 0)?;
    // Syscall programs write their context in place (kernel: bpf_prog_test_run_syscall): into a copy of ours.
    let mut ctx_in = run.ctx_in.to_vec();
    let mut attr = TestRunAttr {
        prog_fd: prog.as_raw_fd() as u32,
        data_size_in: len32(run.data_in)?,
        data_size_out: run.data_out_size,
        data_in: address(run.data_in),
        data_out: address_mut(&mut data_out),
        repeat: run.repeat,
        ctx_size_in: len32(&ctx_in)?,
        ctx_size_out: run.ctx_out_size,
        ctx_in: address_mut(&mut ctx_in),
        ctx_out: address_mut(&mut ctx_out),
        flags: run.flags,
        cpu: run.cpu,
        batch_size: run.batch_size,
        ..TestRunAttr::default()
    };
    // SAFETY: the packet is a slice that outlives the call, given with its length; the context and outputs are ours and
    // exclusive, an address of 0 stands for "none", and `output` made them as long as the kernel may write.
    unsafe { bpf(cmd::PROG_TEST_RUN, &mut attr) }?;
    data_out.truncate(attr.data_size_out.min(run.data_out_size) as usize);
    ctx_out.truncate(attr.ctx_size_out.min(run.ctx_out_size) as usize);
    if run.ctx_out_size == 0 && ctx_in != run.ctx_in {
        ctx_out = ctx_in;
    }
    Ok(ProgRunResult { retval: attr.retval, duration_ns: attr.duration, data_out, ctx_out })
}

/// Room for `size` bytes, or nothing for 0. Kernels before 5.0 did not heed the size and wrote the whole
/// packet (commit b5a36b1e1b13), which an skb program may have grown to 64 KiB.
fn output(size: u32, input: usize) -> Result<Vec<u8>, Errno> {
    let mut buffer = Vec::new();
    if size > 0 {
        let room = (size as usize).max(input.saturating_add(1 << 16));
        buffer.try_reserve_exact(room).map_err(|_| Errno::NOMEM)?;
        buffer.resize(room, 0);
    }
    Ok(buffer)
}

fn records(data: &[u8], size: usize) -> Result<u32, Errno> {
    if data.len().is_multiple_of(size) {
        u32::try_from(data.len() / size).map_err(|_| Errno::TOOBIG)
    } else {
        Err(Errno::INVAL)
    }
}

fn len32(data: &[u8]) -> Result<u32, Errno> {
    u32::try_from(data.len()).map_err(|_| Errno::TOOBIG)
}

//! `conformance`: libbpf beside onebpf on the kernel's own BPF programs, on this kernel, or against the types of another.

use crate::{Outcome, oracle, run, vm};

/// Arguments are those of the binary, but for `--btf`: a file, or a release whose BTF a virtual machine gives.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let mut arguments = arguments.to_vec();
    let btf = take_option(&mut arguments, "--btf")?;
    let btf =
        btf.map(|btf| if btf.contains('/') { Ok(btf.into()) } else { vm::kernel_btf(&btf) }).transpose()?;
    let mut command = oracle::conformance_command(&arguments)?;
    if let Some(btf) = btf {
        command.env("ORACLE_BTF", btf);
    }
    run::show(&mut command)
}

/// Takes an option and its value out of the arguments.
fn take_option(arguments: &mut Vec<String>, name: &str) -> Result<Option<String>, String> {
    let Some(at) = arguments.iter().position(|argument| argument == name) else { return Ok(None) };
    let value = arguments.get(at + 1).cloned().ok_or_else(|| format!("{name} needs a value"))?;
    arguments.drain(at..at + 2);
    Ok(Some(value))
}

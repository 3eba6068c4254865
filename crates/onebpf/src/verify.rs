//! Asking the verifier, and keeping nothing.

use crate::error::{Error, Result};
use crate::plan;
use crate::verifier::{self, Stats};
use crate::{Loaded, Options, Program, Spec, load_spec};
use onebpf_sys::{Errno, Kernel};
use std::sync::Arc;

/// What the verifier says of a program.
#[derive(Debug)]
pub struct Verdict {
    /// The program.
    pub program: String,
    /// How much work it was, or why it is refused.
    pub result: std::result::Result<Stats, Error>,
}

/// `BPF_LOG_STATS`: a few lines at the end, and no more. Since Linux 5.2.
const LOG_STATS: u32 = 4;

/// Loads each chosen program alone, with the maps that it needs, and lets go of it again. Nothing is pinned, and no
/// pinned map is used except those that [`Options::reuse`] names.
///
/// # Errors
/// E0301 if `options` name a program that is not there. What is wrong with one program is in its [`Verdict`].
pub fn verify(kernel: &Arc<dyn Kernel>, spec: &Spec, options: &Options) -> Result<Vec<Verdict>> {
    let programs = plan::select(spec, options)?;
    let verdict = |name: &String| {
        let mut alone = Options { programs: vec![name.clone()], sections: Vec::new(), ..options.clone() };
        alone.pins.disabled = true;
        alone.log_level |= LOG_STATS;
        let mut result = load_spec(kernel, spec, &alone);
        if matches!(&result, Err(error) if error.code() == "E0404" && error.errno() == Some(Errno::INVAL)) {
            // Before Linux 5.2 there are no statistics alone, but the last line of a whole log.
            alone.log_level = options.log_level.max(1);
            result = load_spec(kernel, spec, &alone);
        }
        let stats = |loaded: Loaded| {
            let log = loaded.program(name).and_then(Program::log);
            verifier::stats(log.unwrap_or_default())
        };
        Verdict { program: name.clone(), result: result.map(stats) }
    };
    Ok(programs.into_iter().map(|program| verdict(&program.name)).collect())
}

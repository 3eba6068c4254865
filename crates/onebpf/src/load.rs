//! The whole way, from a file or a [`Spec`] to [`Loaded`].

use crate::apply::apply_with;
use crate::error::{Code, Error, Result, Retry};
use crate::transaction::{State, settle_before};
use crate::{Facts, Loaded, Options, ParseOptions, Spec, Token, apply, observe, parse, plan};
use onebpf_sys::{Errno, Feature, Kernel, Linux};
use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Loads the object at `path` into the running kernel, with default options.
///
/// ```no_run
/// let loaded = onebpf::load("counter.bpf.o")?;
/// let hits = loaded.map("hits").expect("the object declares it").lookup(&0u32.to_ne_bytes())?;
/// # Ok::<(), onebpf::Error>(())
/// ```
///
/// # Errors
/// E01xx, E02xx: the object cannot be read; E03xx: it cannot be planned; E04xx: the kernel refuses.
pub fn load(path: impl AsRef<Path>) -> Result<Loaded> {
    let kernel: Arc<dyn Kernel> = Arc::new(Linux);
    let spec = read(path.as_ref(), &ParseOptions::default())?;
    load_spec(&kernel, &spec, &Options::default())
}

/// Reads the object at `path`. Without [`ParseOptions::name`] the object is named after the file, up to its first
/// dot, as libbpf names it.
///
/// # Errors
/// E0313 if the file cannot be read, E01xx or E02xx if what it holds cannot.
pub fn read(path: &Path, options: &ParseOptions) -> Result<Spec> {
    let bytes =
        std::fs::read(path).map_err(|e| Error::new(Code::File, format!("{}: {e}", path.display())))?;
    let mut options = options.clone();
    if options.name.is_empty() {
        options.name = object_name(path);
    }
    Ok(parse(&bytes, &options)?)
}

/// libbpf's `bpf_object__new()`: the file's name up to its first dot.
pub fn object_name(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// Observes the host, plans, and applies.
///
/// The first plan takes for granted what a current kernel can do, and no feature is probed. Only when the kernel
/// refuses a step are the features asked for that the plan relied on, and a plan for what is really there is
/// applied instead, if it differs. So a small object is in a current kernel after three bpf(2) calls.
///
/// # Errors
/// Those of [`observe`], [`plan`](crate::plan::plan) and [`apply`]. Nothing is left behind then.
pub fn load_spec(kernel: &Arc<dyn Kernel>, spec: &Spec, options: &Options) -> Result<Loaded> {
    load_spec_timed(kernel, spec, options, &mut Phases::default())
}

/// Where the time of a load went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// Looking at the host, with the probes that followed a refusal.
    pub observe: Duration,
    /// Planning.
    pub plan: Duration,
    /// Applying plans, and undoing one that was refused.
    pub apply: Duration,
}

/// [`load_spec`], adding to `phases` what each of them takes, also when it fails.
///
/// # Errors
/// As [`load_spec`].
pub fn load_spec_timed(
    kernel: &Arc<dyn Kernel>,
    spec: &Spec,
    options: &Options,
    phases: &mut Phases,
) -> Result<Loaded> {
    let Phases { observe: observing, plan: planning, apply: applying } = phases;
    let state_dir = plan::state_dir(options);
    let state = State::new(&**kernel, &state_dir).waiting(plan::lock_wait(options));
    let mut lock = None;
    let mut facts = timed(observing, || observe(&**kernel, spec, options))?;
    if !facts.pins.is_empty() && timed(applying, || settle_before(&state))? {
        // What was seen may have been half of something.
        facts = timed(observing, || observe(&**kernel, spec, options))?;
    }
    let mut first = timed(planning, || plan::plan(spec, options, &facts))?;
    let mut result = timed(applying, || apply(&first, kernel, options.jobs));
    if matches!(&result, Err(error) if error.how_to_retry() == Retry::ObserveAgain) {
        // Somebody pinned or unpinned a map meanwhile: once more, with what is there now, and the lock against another
        // loader that is quicker.
        lock = Some(timed(applying, || state.lock())?);
        facts = timed(observing, || observe(&**kernel, spec, options))?;
        first = timed(planning, || plan::plan(spec, options, &facts))?;
        result = timed(applying, || apply_with(&first, kernel, options.jobs, true));
    }
    let error = match result {
        Err(error) if !first.assumed.is_empty() => error,
        result => return result,
    };
    timed(observing, || ask(&mut facts, &**kernel, &options.token, &first.assumed, &error));
    let second = timed(planning, || plan::plan(spec, options, &facts));
    let second = second.map_err(|lacking| lacking.note(error.to_string()))?;
    if second.steps == first.steps && error.how_to_retry() != Retry::WithFallbacks {
        return Err(error);
    }
    timed(applying, || apply_with(&second, kernel, options.jobs, lock.is_some()))
}

/// What the plan relied on, asked of the kernel: the features, and before that the right to anything at all.
fn ask(facts: &mut Facts, kernel: &dyn Kernel, token: &Token, assumed: &BTreeSet<Feature>, error: &Error) {
    let for_want_of_right = matches!(error.errno(), Some(Errno::PERM | Errno::ACCES));
    if *token == Token::IfNeeded && for_want_of_right {
        facts.try_token(kernel);
    }
    let token = facts.token_at(token).and_then(|bpffs| kernel.token_create(bpffs).ok());
    facts.probe_with(kernel, token.as_ref().map(AsFd::as_fd), assumed);
}

fn timed<T>(total: &mut Duration, run: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = run();
    *total += started.elapsed();
    result
}

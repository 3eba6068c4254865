//! `docs`: the pages that are made from tables. A test of the same name fails when one is stale.

use crate::{Outcome, run};

/// Writes them: the test itself does, when it is told to.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    if !arguments.is_empty() {
        return Err("usage: docs".into());
    }
    let test = ["test", "--quiet", "-p", "onebpf-object", "--test", "docs"];
    run::show(run::cargo().args(test).env("ONEBPF_WRITE_DOCS", "1"))
}

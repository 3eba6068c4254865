//! Programs for kernels that lack something.

use super::draft::Draft;
use crate::Spec;
use crate::error::{Code, Error, Result};
use onebpf_object::insn::{Insn, helper_name};
use onebpf_object::{AttachType, Dialect, Place, ProgramSpec, ProgramType, SectionFlags, SectionRule};
use onebpf_sys::Feature;

/// The attach type that is said at load. Kernels before 4.17 know none. Most programs can do without: those of sections
/// that libbpf marks so (`SEC_EXP_ATTACH_OPT`), and tc's, where it matters when a link is made. Others would become
/// something else.
pub(super) fn attach_type(
    draft: &mut Draft<'_>,
    program: &ProgramSpec,
    kind: ProgramType,
    attach: AttachType,
    place: &Place,
) -> Result<u32> {
    if attach.0 == 0 || shares_with_tc(draft.spec, kind) {
        return Ok(0);
    }
    let left_out = || format!("program `{}` is loaded without its attach type, {attach}", program.name);
    if draft.has_or(Feature::ExpectedAttachType, left_out) {
        return Ok(attach.0);
    }
    let optional = |rule: &SectionRule| rule.flags.contains(SectionFlags::ATTACH_OPTIONAL);
    if kind == ProgramType::SCHED_CLS
        || SectionRule::find(&program.section).is_some_and(|(rule, _)| optional(rule))
    {
        return Ok(0);
    }
    let text = format!(
        "program `{}` must be loaded for the attach type {attach}, and this kernel takes none",
        program.name
    );
    Err(Error::new(Code::Lacking, text).at(place).hint("attach types at load need Linux 4.17"))
}

/// Before Linux 5.5 two helpers read the memory of the kernel and of processes alike: libbpf's
/// `bpf_object__sanitize_prog`. Rows: the helper, and what it was before.
const OLDER_HELPERS: [(i32, i32); 4] = [(112, 4), (113, 4), (114, 45), (115, 45)];

pub(super) fn helpers(draft: &mut Draft<'_>, program: &str, insns: &mut [Insn]) {
    for insn in insns {
        let older = insn.helper().and_then(|helper| OLDER_HELPERS.iter().find(|(new, _)| *new == helper));
        let Some(&(new, old)) = older else { continue };
        let name = |id: i32| helper_name(id).unwrap_or("?");
        let replaced = || format!("program `{program}` calls `{}` for `{}`", name(old), name(new));
        if !draft.has_or(Feature::ProbeReadKernel, replaced) {
            insn.imm = old;
        }
    }
}

/// Programs beside `bpf_elf_map` maps carry no expected attach type, as iproute2's do not: since Linux 6.18 (and in
/// stable kernels before) programs of one program array must have the same.
fn shares_with_tc(spec: &Spec, kind: ProgramType) -> bool {
    let taken = [
        ProgramType::SCHED_CLS,
        ProgramType::SCHED_ACT,
        ProgramType::XDP,
        ProgramType::LWT_IN,
        ProgramType::LWT_OUT,
        ProgramType::LWT_XMIT,
        ProgramType::LWT_SEG6LOCAL,
    ];
    taken.contains(&kind) && spec.maps.values().any(|map| map.dialect == Dialect::BpfElfMap)
}

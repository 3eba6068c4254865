//! `__arg_ctx` for kernels before Linux 6.8, which do not know the tag: the argument gets the type that they take for
//! the context, as libbpf's `bpf_program_fixup_func_info` does it.
//!
//! A global function is verified by its types alone, and the same function may be called by programs of several types.
//! So each program gets a copy of the function's type with the pointer that its own type wants. Hidden functions are
//! static by now, and the verifier follows those from call to call.

use super::draft::Draft;
use super::programs::{Chosen, typed};
use onebpf_btf::{Builder, FuncLinkage, OwnedDef, OwnedType, TypeId};
use onebpf_object::ProgramType as P;
use onebpf_sys::Feature;

/// What `__arg_ctx` becomes in BTF (`bpf_helpers.h`).
const TAG: &str = "arg:ctx";
/// Typedefs and qualifiers that are looked through.
const MAX_DEPTH: usize = 32;

/// The structure that each program type's context points to (libbpf `global_ctx_map`; the kernel's
/// `include/linux/bpf_types.h`). Types that are not here have no context with a name.
const CONTEXTS: [(P, &str); 25] = [
    (P::CGROUP_DEVICE, "bpf_cgroup_dev_ctx"),
    (P::CGROUP_SKB, "__sk_buff"),
    (P::CGROUP_SOCK, "bpf_sock"),
    (P::CGROUP_SOCK_ADDR, "bpf_sock_addr"),
    (P::CGROUP_SOCKOPT, "bpf_sockopt"),
    (P::CGROUP_SYSCTL, "bpf_sysctl"),
    (P::FLOW_DISSECTOR, "__sk_buff"),
    (P::KPROBE, "bpf_user_pt_regs_t"),
    (P::LWT_IN, "__sk_buff"),
    (P::LWT_OUT, "__sk_buff"),
    (P::LWT_SEG6LOCAL, "__sk_buff"),
    (P::LWT_XMIT, "__sk_buff"),
    (P::NETFILTER, "bpf_nf_ctx"),
    (P::PERF_EVENT, "bpf_perf_event_data"),
    (P::RAW_TRACEPOINT, "bpf_raw_tracepoint_args"),
    (P::RAW_TRACEPOINT_WRITABLE, "bpf_raw_tracepoint_args"),
    (P::SCHED_ACT, "__sk_buff"),
    (P::SCHED_CLS, "__sk_buff"),
    (P::SK_LOOKUP, "bpf_sk_lookup"),
    (P::SK_MSG, "sk_msg_md"),
    (P::SK_REUSEPORT, "sk_reuseport_md"),
    (P::SK_SKB, "__sk_buff"),
    (P::SOCK_OPS, "bpf_sock_ops"),
    (P::SOCKET_FILTER, "__sk_buff"),
    (P::XDP, "xdp_md"),
];

/// An argument of a global function that is tagged as the context.
struct Tagged {
    func: TypeId,
    argument: usize,
}

/// What becomes of a tagged argument.
#[derive(PartialEq)]
enum Verdict {
    /// It has the right type.
    Fits,
    /// It gets the right type.
    Replace,
    /// It has a type that no context has: the kernel will say what it thinks of that.
    Odd,
}

/// Gives the tagged arguments of all functions that the programs call the types of contexts, if the kernel needs that.
/// New types are added at the end; the programs' function records are pointed to them.
pub(super) fn fix(draft: &mut Draft<'_>, builder: &mut Builder, programs: &mut [Chosen<'_>]) {
    let tagged = tagged(builder);
    if tagged.is_empty() {
        return;
    }
    for program in programs {
        let kind = typed(draft.spec, program.spec, draft.options).map(|(kind, _)| kind);
        let context = CONTEXTS.iter().find(|(of, _)| Some(*of) == kind);
        if let Some(&(kind, context)) = context {
            one(draft, builder, program, kind, context, &tagged);
        }
    }
}

fn tagged(builder: &Builder) -> Vec<Tagged> {
    let of = |ty: &OwnedType| {
        let OwnedDef::DeclTag { target, component } = ty.def else { return None };
        let OwnedDef::Func { proto, linkage: FuncLinkage::Global } = builder.get(target)?.def else {
            return None;
        };
        let OwnedDef::FuncProto { params, .. } = &builder.get(proto)?.def else { return None };
        let argument = usize::try_from(component).ok().filter(|at| *at < params.len())?;
        (ty.name == TAG).then_some(Tagged { func: target, argument })
    };
    builder.types.iter().filter_map(of).collect()
}

fn one(
    draft: &mut Draft<'_>,
    builder: &mut Builder,
    program: &mut Chosen<'_>,
    kind: P,
    context: &str,
    tagged: &[Tagged],
) {
    // As they are before the first copy.
    let records = program.linked.func_info.clone();
    let mut pointer = None;
    for Tagged { func, argument } in tagged {
        let Some(record) = records.iter().position(|record| record.type_id == *func) else { continue };
        let verdict = judge(builder, *func, *argument, kind, context);
        if verdict == Verdict::Fits || draft.has(Feature::ArgCtxTag) {
            continue;
        }
        let name = builder.get(*func).map(|ty| ty.name.clone()).unwrap_or_default();
        let which = format!("program `{}`: argument {argument} of `{name}`", program.spec.name);
        if verdict == Verdict::Odd {
            let what = format!("{which} stays as it is, though it is no pointer to `struct {context}`");
            draft.adapt(Feature::ArgCtxTag, what);
            continue;
        }
        let Some(record) = program.linked.func_info.get_mut(record) else { continue };
        if record.type_id == *func {
            let Some(copy) = copy(builder, *func) else { continue };
            record.type_id = copy;
        }
        let copied = record.type_id;
        let pointer = *pointer.get_or_insert_with(|| {
            let def = OwnedDef::Struct { size: 0, members: Vec::new() };
            let structure = builder.push(OwnedType::new(context, def));
            builder.push(OwnedType::new("", OwnedDef::Ptr(structure)))
        });
        let component = i32::try_from(*argument).unwrap_or(-1);
        builder.push(OwnedType::new(TAG, OwnedDef::DeclTag { target: copied, component }));
        set_argument(builder, copied, *argument, pointer);
        draft.adapt(Feature::ArgCtxTag, format!("{which} is declared as `struct {context} *`"));
    }
}

/// The same function once more, prototype first.
fn copy(builder: &mut Builder, func: TypeId) -> Option<TypeId> {
    let mut func = builder.get(func)?.clone();
    let OwnedDef::Func { proto, .. } = &mut func.def else { return None };
    let prototype = builder.get(*proto)?.clone();
    *proto = builder.push(prototype);
    Some(builder.push(func))
}

fn set_argument(builder: &mut Builder, func: TypeId, argument: usize, ty: TypeId) {
    let Some(OwnedDef::Func { proto, .. }) = builder.get(func).map(|func| func.def.clone()) else { return };
    if let Some(OwnedDef::FuncProto { params, .. }) = builder.get_mut(proto).map(|proto| &mut proto.def)
        && let Some(param) = params.get_mut(argument)
    {
        param.ty = ty;
    }
}

/// libbpf's `need_func_arg_type_fixup`. `bpf_user_pt_regs_t *` is looked through there, too: older kernels do the
/// same, and then do not know `struct pt_regs` as a context (`btf_get_prog_ctx_type`).
fn judge(builder: &Builder, func: TypeId, argument: usize, kind: P, context: &str) -> Verdict {
    let pointee = || {
        let OwnedDef::Func { proto, .. } = builder.get(func)?.def else { return None };
        let OwnedDef::FuncProto { params, .. } = &builder.get(proto)?.def else { return None };
        match builder.get(bare(builder, params.get(argument)?.ty))?.def {
            OwnedDef::Ptr(to) => Some(bare(builder, to)),
            _ => None,
        }
    };
    let Some(pointee) = pointee() else { return Verdict::Odd };
    if pointee == TypeId::VOID {
        return Verdict::Replace;
    }
    let Some(ty) = builder.get(pointee) else { return Verdict::Odd };
    // What `bpf_user_pt_regs_t` is, by architecture.
    let registers: &[&str] = match kind {
        P::KPROBE => &["pt_regs"],
        P::PERF_EVENT => &["pt_regs", "user_pt_regs", "user_regs_struct"],
        _ => &[],
    };
    match (&ty.def, kind) {
        (OwnedDef::Struct { .. }, _) if ty.name == context => Verdict::Fits,
        (OwnedDef::Struct { .. }, _) if registers.contains(&ty.name.as_str()) => Verdict::Replace,
        (OwnedDef::Int { size: 8, .. }, P::RAW_TRACEPOINT | P::RAW_TRACEPOINT_WRITABLE) => Verdict::Replace,
        _ => Verdict::Odd,
    }
}

/// Without typedefs and qualifiers.
fn bare(builder: &Builder, mut id: TypeId) -> TypeId {
    for _ in 0..MAX_DEPTH {
        match builder.get(id).map(|ty| &ty.def) {
            Some(
                OwnedDef::Typedef(to)
                | OwnedDef::Const(to)
                | OwnedDef::Volatile(to)
                | OwnedDef::Restrict(to)
                | OwnedDef::TypeTag(to),
            ) => id = *to,
            _ => break,
        }
    }
    id
}

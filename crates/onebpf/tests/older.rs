//! What kernels get that lack something, and that every load says so.

mod common;

use common::{options, spec};
use onebpf::btf::{Btf, FuncInfo, Kind, OwnedDef, OwnedType, TypeId};
use onebpf::object::insn::Insn;
use onebpf::plan::{Adaptation, LoadProgram, Step};
use onebpf::sys::{Feature, Support};
use onebpf::{Facts, Kernel, Loaded, Plan, Spec, load_spec, observe, plan};
use onebpf_fake::FakeKernel;
use std::sync::Arc;

/// A plan for a kernel that has all but these features.
fn without(lacks: &[Feature], spec: &Spec) -> Plan {
    let kernel = FakeKernel::new();
    let mut facts: Facts = observe(&kernel, spec, &options()).unwrap();
    facts.features.0.extend(lacks.iter().map(|feature| (*feature, Support::No)));
    plan(spec, &options(), &facts).unwrap()
}

fn program<'a>(plan: &'a Plan, name: &str) -> &'a LoadProgram {
    let mut programs = plan.steps.iter().filter_map(|step| match step {
        Step::LoadProgram(program) if program.name == name => Some(program),
        _ => None,
    });
    programs.next().unwrap_or_else(|| panic!("no `{name}`"))
}

fn btf(plan: &Plan) -> Btf {
    let data = plan.steps.iter().find_map(|step| match step {
        Step::LoadBtf { data, .. } => Some(data.to_vec()),
        _ => None,
    });
    Btf::from_vec(data.expect("BTF")).unwrap()
}

/// What the plan or the load says of it, without the release.
fn said(adaptations: &[Adaptation]) -> Vec<(Option<Feature>, &str)> {
    adaptations.iter().map(|it| (it.lacks, it.what.as_str())).collect()
}

/// The function behind a record: name, and what each argument points to.
fn signature(btf: &Btf, record: FuncInfo) -> (String, Vec<String>) {
    let ty = |id: TypeId| OwnedType::from(btf.get(id).unwrap());
    let func = ty(record.type_id);
    let OwnedDef::Func { proto, .. } = func.def else { panic!("{func:?}") };
    let OwnedDef::FuncProto { params, .. } = ty(proto).def else { panic!("[{proto}]") };
    let argument = |id: TypeId| match ty(id).def {
        OwnedDef::Ptr(TypeId::VOID) => "void *".to_owned(),
        OwnedDef::Ptr(to) => format!("{} *", ty(to).name),
        _ => ty(id).name,
    };
    (func.name, params.iter().map(|param| argument(param.ty)).collect())
}

fn signatures(plan: &Plan, name: &str) -> Vec<(String, Vec<String>)> {
    let btf = btf(plan);
    program(plan, name).func_info.iter().map(|record| signature(&btf, *record)).collect()
}

#[test]
fn context_arguments_get_the_type_of_each_program() {
    let spec = spec("prog_arg_ctx");
    let plan = without(&[Feature::ArgCtxTag], &spec);
    let of = |name: &str, args: &[&str]| (name.to_owned(), args.iter().map(|&arg| arg.to_owned()).collect());
    let (shared, fitting) = (of("shared", &["u32", "xdp_md *"]), of("fitting", &["xdp_md *"]));
    let packets = signatures(&plan, "packets");
    assert!(packets.contains(&shared) && packets.contains(&fitting), "{packets:?}");
    assert!(
        packets.contains(&of("not_global", &["void *"])),
        "the verifier follows static functions: {packets:?}"
    );
    let frames = signatures(&plan, "frames");
    assert!(frames.contains(&of("shared", &["u32", "__sk_buff *"])), "{frames:?}");
    assert!(frames.contains(&of("twice", &["__sk_buff *", "u32", "__sk_buff *"])), "{frames:?}");
    let probe = signatures(&plan, "probe");
    assert!(probe.contains(&of("registers", &["bpf_user_pt_regs_t *"])), "{probe:?}");

    // Where `shared` is used by two types of programs it is there three times, once as it was.
    let btf = btf(&plan);
    let names =
        |kind| btf.types().flatten().filter(|ty| ty.kind == kind).map(|ty| ty.name).collect::<Vec<_>>();
    assert_eq!(names(Kind::Func).iter().filter(|name| **name == "shared").count(), 3);
    // Each copy has its tags, one for each argument.
    let before = spec.btf.as_ref().unwrap().types().flatten().filter(|ty| ty.kind == Kind::DeclTag).count();
    assert_eq!(names(Kind::DeclTag).len(), before + 5);
    assert_eq!(plan.adaptations.len(), 5, "{:?}", said(&plan.adaptations));
    let text = plan.to_string();
    let note = "note: program `packets`: argument 1 of `shared` is declared as `struct xdp_md *` \
        (no `arg_ctx_tag`, which Linux 6.8 has)";
    assert!(text.contains(note), "{text}");
}

#[test]
fn contexts_are_left_alone_where_the_tag_is_known() {
    let spec = spec("prog_arg_ctx");
    let plan = without(&[], &spec);
    assert!(plan.assumed.contains(&Feature::ArgCtxTag));
    assert!(plan.adaptations.is_empty());
    assert_eq!(btf(&plan).type_count(), spec.btf.as_ref().unwrap().type_count());
}

#[test]
fn an_argument_that_is_no_context_stays() {
    let mut spec = spec("prog_arg_ctx");
    // The function takes an XDP context and is now called by a program of tc.
    spec.programs["packets"].kind = onebpf::object::ProgramType::SCHED_CLS;
    let plan = without(&[Feature::ArgCtxTag], &spec);
    assert!(signatures(&plan, "packets").contains(&("fitting".to_owned(), vec!["xdp_md *".to_owned()])));
    let what = "program `packets`: argument 0 of `fitting` stays as it is, though it is no pointer to `struct __sk_buff`";
    assert!(
        said(&plan.adaptations).contains(&(Some(Feature::ArgCtxTag), what)),
        "{:?}",
        said(&plan.adaptations)
    );
}

fn load_on(release: &str, name: &str) -> (FakeKernel, Loaded) {
    let fake = FakeKernel::linux(release);
    let kernel: Arc<dyn Kernel> = Arc::new(fake.clone());
    let loaded = load_spec(&kernel, &spec(name), &options());
    (fake, loaded.unwrap_or_else(|e| panic!("{name} on {release}: {:#?}", e.report())))
}

#[test]
fn global_functions_with_contexts_load_before_6_8() {
    for release in ["5.10", "6.1", "6.8"] {
        let (_, loaded) = load_on(release, "prog_arg_ctx");
        let lacks = |it: &&Adaptation| it.lacks == Some(Feature::ArgCtxTag);
        assert_eq!(loaded.adaptations.iter().any(|it| lacks(&it)), release != "6.8", "{release}");
    }
}

#[test]
fn older_helpers_read_memory_before_5_5() {
    let helpers = |plan: &Plan| {
        let insns = program(plan, "reads").insns.to_vec();
        insns.iter().filter_map(|insn: &Insn| insn.helper()).collect::<Vec<_>>()
    };
    let spec = spec("prog_probe_read");
    assert_eq!(helpers(&without(&[], &spec)), [112, 113, 114, 115]);
    let plan = without(&[Feature::ProbeReadKernel], &spec);
    assert_eq!(helpers(&plan), [4, 4, 45, 45]);
    let what = "program `reads` calls `bpf_probe_read_str` for `bpf_probe_read_user_str`";
    assert!(
        said(&plan.adaptations).contains(&(Some(Feature::ProbeReadKernel), what)),
        "{:?}",
        said(&plan.adaptations)
    );
    for release in ["5.4", "5.5"] {
        let (_, loaded) = load_on(release, "prog_probe_read");
        let replaced = loaded.adaptations.iter().any(|it| it.lacks == Some(Feature::ProbeReadKernel));
        assert_eq!(replaced, release == "5.4");
    }
}

#[test]
fn attach_types_are_left_out_only_where_nothing_depends_on_them() {
    let mut spec = spec("prog_license_open");
    let name = spec.programs.keys().next().unwrap().clone();
    let mut plan_as = |section: &str| {
        let (rule, _) = onebpf::object::SectionRule::find(section).unwrap();
        let program = &mut spec.programs[name.as_str()];
        (program.section, program.kind, program.attach) = (section.to_owned(), rule.kind, rule.attach);
        let mut facts = observe(&FakeKernel::new(), &spec, &options()).unwrap();
        facts.features.0.insert(Feature::ExpectedAttachType, Support::No);
        plan(&spec, &options(), &facts)
    };
    for section in ["cgroup_skb/egress", "tcx/ingress", "xdp"] {
        let plan = plan_as(section).unwrap();
        assert_eq!(program(&plan, &name).expected_attach_type, 0);
        assert_eq!(plan.adaptations[0].lacks, Some(Feature::ExpectedAttachType), "{section}");
    }
    for section in ["cgroup/post_bind4", "xdp/devmap", "kprobe.multi/x"] {
        let error = plan_as(section).unwrap_err();
        assert_eq!(error.code(), "E0309", "{section}: {error}");
        assert!(error.report().hints[0].contains("4.17"));
    }
}

#[test]
fn nothing_is_left_out_silently() {
    let (_, loaded) = load_on("4.14", "def_plain");
    let lacks: Vec<_> = loaded.adaptations.iter().filter_map(|it| it.lacks).collect();
    assert!(lacks.contains(&Feature::ObjectName), "{lacks:?}");
    let (_, loaded) = load_on("5.4", "demo");
    let lines: Vec<String> = loaded.adaptations.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"));
    // A current kernel gets it all.
    let (_, loaded) = load_on("6.18", "demo");
    assert!(loaded.adaptations.is_empty(), "{:?}", said(&loaded.adaptations));
}

#[test]
fn what_only_a_refusal_shows_is_said_with_the_kernels_reason() {
    // Every answer was inconclusive: nothing is assumed, so steps may fall back.
    let fake = FakeKernel::linux("5.0");
    let (spec, options) = (spec("def_annotated"), options());
    let mut facts = observe(&fake, &spec, &options).unwrap();
    for feature in plan(&spec, &options, &facts).unwrap().assumed {
        facts.features.0.insert(feature, Support::Unknown);
    }
    facts.features.0.insert(Feature::MemcgAccount, Support::No);
    let kernel: Arc<dyn Kernel> = Arc::new(fake);
    let loaded = onebpf::apply(&plan(&spec, &options, &facts).unwrap(), &kernel, 1).unwrap();
    let said = said(&loaded.adaptations);
    assert!(
        said.iter().any(|(lacks, what)| {
            lacks.is_none() && what.starts_with("the object's BTF is left out: ") && what.contains("EINVAL")
        }),
        "{said:?}"
    );
}

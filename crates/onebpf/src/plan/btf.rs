//! The object's BTF as the kernel will get it: data sections laid out, and fitted to what the kernel can read. Ids
//! and string offsets stay, so that maps and line information still speak of the same things.

use super::draft::Draft;
use super::externs;
use super::programs::Chosen;
use super::{Step, arg_ctx};
use crate::Spec;
use crate::error::Result;
use onebpf_btf::{Btf, BtfFeatures, Builder, DOWNGRADE_STEPS, DowngradeStep, OwnedDef, OwnedType};
use onebpf_btf::{VarSymbol, downgrade, fix_datasecs, fix_externs, fix_functions};
use onebpf_object::{Dialect, Function, Linkage, MapSpec};
use onebpf_sys::Feature;
use std::collections::HashMap;
use std::sync::Arc;

/// Adds the step that loads BTF, if the object has any and the kernel may take it.
pub(super) fn steps(draft: &mut Draft<'_>, programs: &mut [Chosen<'_>]) -> Result<()> {
    let Some(btf) = &draft.spec.btf else { return Ok(()) };
    let mut builder = Builder::from_btf(btf)?;
    let layout = Layout::of(draft.spec, &builder);
    // First: fixing the sections sorts what this moves.
    fix_externs(&mut builder, &|name| externs::offset(draft.spec, name))?;
    fix_datasecs(&mut builder, &|section| layout.size(section), &|section, name| {
        layout.symbol(section, name)
    })?;
    fix_functions(&mut builder, &|name| is_hidden(draft.spec, name));
    if !draft.has_or(Feature::Btf, || "the object's BTF is left out".to_owned()) {
        return Ok(());
    }
    arg_ctx::fix(draft, &mut builder, programs);
    let features = features(draft, &builder.types);
    let fixed = Btf::from_vec(builder.build()?)?;
    let fitted = downgrade(&fixed, &features)?;
    let out = draft.slot();
    draft.btf = Some(out);
    let (data, token) = (Arc::from(fitted.bytes()), draft.token);
    draft.push(Step::LoadBtf { out, data, optional: true, token });
    Ok(())
}

/// Whether a function is a hidden subprogram: to the verifier it is static (libbpf's `mark_btf_static`).
fn is_hidden(spec: &Spec, name: &str) -> bool {
    let hidden = |f: &Function| f.name == name && f.linkage == Linkage::Hidden;
    !spec.programs.contains_key(name) && spec.functions.iter().any(hidden)
}

/// What the downgrade goes by, and the feature that the kernel is asked for.
type Needs = (Feature, fn(&mut BtfFeatures, bool));

const NEEDS: [Needs; 8] = [
    (Feature::BtfFunc, |f, on| f.func = on),
    (Feature::BtfGlobalFunc, |f, on| f.func_global = on),
    (Feature::BtfDatasec, |f, on| f.datasec = on),
    (Feature::BtfQmarkDatasec, |f, on| f.qmark_datasec = on),
    (Feature::BtfFloat, |f, on| f.float = on),
    (Feature::BtfDeclTag, |f, on| f.decl_tag = on),
    (Feature::BtfTypeTag, |f, on| f.type_tag = on),
    (Feature::BtfEnum64, |f, on| f.enum64 = on),
];

/// The steps that a kernel without this feature makes necessary.
fn steps_without(set: fn(&mut BtfFeatures, bool)) -> impl Iterator<Item = &'static DowngradeStep> {
    let mut features = BtfFeatures::all();
    set(&mut features, false);
    DOWNGRADE_STEPS.iter().filter(move |step| !(step.has)(&features))
}

/// What the kernel reads, as far as these types need to know, with a note of what is rewritten. [`Builder`] writes no
/// layout section.
fn features(draft: &mut Draft<'_>, types: &[OwnedType]) -> BtfFeatures {
    let mut features = BtfFeatures::all();
    for (feature, set) in NEEDS {
        if steps_without(set).any(|step| types.iter().any(|ty| step.applies(ty))) {
            set(&mut features, draft.has(feature));
        }
    }
    let rewritten: Vec<_> = types.iter().filter_map(|ty| DowngradeStep::find(ty, &features)).collect();
    for (feature, set) in NEEDS {
        for step in steps_without(set) {
            let count = rewritten.iter().filter(|found| found.rewrites == step.rewrites).count();
            if count > 0 {
                let types = if count == 1 { "type" } else { "types" };
                draft.adapt(feature, format!("BTF: {} ({count} {types})", step.rewrites));
            }
        }
    }
    features
}

/// Where variables are, as the object's maps and variables say.
struct Layout<'a> {
    spec: &'a Spec,
    /// By section.
    data: HashMap<&'a str, &'a MapSpec>,
    /// For sections that become no map: variables one after the other, each where its alignment allows.
    others: HashMap<String, (u32, HashMap<String, u32>)>,
}

impl<'a> Layout<'a> {
    fn of(spec: &'a Spec, builder: &Builder) -> Self {
        let data = spec.maps.values().filter(|map| map.dialect == Dialect::Data);
        let data = data.map(|map| (map.section.as_str(), map)).collect();
        let mut layout = Self { spec, data, others: HashMap::new() };
        for ty in &builder.types {
            let OwnedDef::Datasec { vars, .. } = &ty.def else { continue };
            if layout.data.contains_key(ty.name.as_str()) {
                continue;
            }
            let mut end = 0u32;
            let mut offsets = HashMap::new();
            for var in vars {
                let Some(name) = builder.get(var.ty).map(|v| v.name.clone()) else { continue };
                let at = layout.declared(&ty.name, &name).unwrap_or_else(|| end.next_multiple_of(8));
                end = end.max(at.saturating_add(var.size));
                offsets.insert(name, at);
            }
            layout.others.insert(ty.name.clone(), (end, offsets));
        }
        layout
    }

    fn size(&self, section: &str) -> Option<u32> {
        match self.data.get(section) {
            Some(map) => Some(map.value.size),
            None => self.others.get(section).map(|(size, _)| *size),
        }
    }

    fn symbol(&self, section: &str, name: &str) -> Option<VarSymbol> {
        let other = || self.others.get(section)?.1.get(name).copied();
        let offset = self.declared(section, name).or_else(other)?;
        let hidden = self.spec.variables.get(name).is_some_and(|v| v.section == section && !v.global);
        Some(VarSymbol { offset, hidden })
    }

    /// The offset of a variable or of a map's definition.
    fn declared(&self, section: &str, name: &str) -> Option<u32> {
        let variable = self.spec.variables.get(name).filter(|v| v.section == section);
        let map = || {
            let map = self.spec.maps.get(name).filter(|m| m.section == section)?;
            u32::try_from(map.place.offset?).ok()
        };
        variable.map(|v| v.offset).or_else(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_of_the_downgrade_has_its_feature() {
        for step in DOWNGRADE_STEPS {
            let mut features =
                NEEDS.iter().filter(|(_, set)| steps_without(*set).any(|s| s.rewrites == step.rewrites));
            let since = features.next().map(|(feature, _)| feature.since());
            let since = since.map(|release| (release.major, release.minor));
            assert_eq!(since, Some((u32::from(step.since.0), u32::from(step.since.1))), "{}", step.rewrites);
            assert!(features.next().is_none(), "{}", step.rewrites);
        }
    }
}

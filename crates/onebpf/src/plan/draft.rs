//! A plan in the making.

use super::externs::Externs;
use super::pins::Publish;
use super::step::object;
use super::{Adaptation, CreateMap, Migration, Plan, Slot, Step};
use crate::{Facts, Module, Options, Spec, Target};
use onebpf_object::{Place, Warning};
use onebpf_sys::{Feature, Support};
use std::collections::{BTreeMap, HashMap};

/// What the rooms of `plan/` add steps to.
pub(super) struct Draft<'a> {
    pub(super) spec: &'a Spec,
    pub(super) options: &'a Options,
    pub(super) facts: &'a Facts,
    pub(super) plan: Plan,
    pub(super) btf: Option<Slot<object::Btf>>,
    /// By whose right all is made.
    pub(super) token: Option<Slot<object::Token>>,
    /// By map name.
    pub(super) maps: BTreeMap<String, MapSlot>,
    /// By program name.
    pub(super) programs: BTreeMap<String, Slot<object::Program>>,
    /// Names of maps by iproute2's id.
    pub(super) ids: HashMap<u32, &'a str>,
    /// Entries that new maps get from pinned ones, by map name.
    pub(super) migrations: Vec<(String, Box<Migration>)>,
    /// What the kernel has for the externs.
    pub(super) externs: Externs,
    /// Links that the load makes, by the name of what they hold.
    pub(super) links: BTreeMap<String, Slot<object::Link>>,
    /// Modules whose BTF is opened.
    modules: BTreeMap<Module, Slot<object::Btf>>,
    /// Programs of the kernel that are opened, by id.
    targets: BTreeMap<u32, Slot<object::Program>>,
    slots: u32,
}

/// A map that the plan makes or opens.
pub(super) struct MapSlot {
    pub(super) slot: Slot<object::Map>,
    /// It was there before.
    pub(super) reused: bool,
    /// Where to pin it at the end.
    pub(super) pin: Option<Publish>,
    /// What it is.
    pub(super) shape: CreateMap,
}

impl<'a> Draft<'a> {
    pub(super) fn new(spec: &'a Spec, options: &'a Options, facts: &'a Facts) -> Self {
        let plan = Plan { host: facts.host.clone(), strings: spec.btf.clone(), ..Plan::default() };
        Self {
            spec,
            options,
            facts,
            plan,
            btf: None,
            token: None,
            maps: BTreeMap::new(),
            programs: BTreeMap::new(),
            // Of several maps with one id, iproute2 takes the first.
            ids: spec.maps.iter().rev().filter_map(|(name, map)| Some((map.id?, name.as_str()))).collect(),
            migrations: Vec::new(),
            externs: Externs::default(),
            links: BTreeMap::new(),
            modules: BTreeMap::new(),
            targets: BTreeMap::new(),
            slots: 0,
        }
    }

    /// A fresh slot, numbered from 1.
    pub(super) fn slot<T>(&mut self) -> Slot<T> {
        self.slots = self.slots.saturating_add(1);
        Slot::new(self.slots)
    }

    pub(super) fn push(&mut self, step: Step) {
        self.plan.steps.push(step);
    }

    /// A module's BTF, opened by a step of its own when it is first needed.
    pub(super) fn module(&mut self, module: &Module) -> Slot<object::Btf> {
        if let Some(slot) = self.modules.get(module) {
            return *slot;
        }
        let out = self.slot();
        self.push(Step::OpenBtf { out, name: module.name.clone(), id: module.id });
        self.modules.insert(module.clone(), out);
        out
    }

    /// A program of the kernel, opened by a step of its own when it is first needed.
    pub(super) fn target(&mut self, target: &Target) -> Slot<object::Program> {
        if let Some(slot) = self.targets.get(&target.id) {
            return *slot;
        }
        let out = self.slot();
        let Target { id, name, path, .. } = target.clone();
        self.push(Step::OpenProgram { out, name, id, path });
        self.targets.insert(target.id, out);
        out
    }

    /// Whether to rely on `feature`: unless it is known to be missing. Relying on what nobody asked for is noted.
    pub(super) fn has(&mut self, feature: Feature) -> bool {
        if !self.facts.features.0.contains_key(&feature) {
            self.plan.assumed.insert(feature);
        }
        self.facts.features.may(feature)
    }

    pub(super) fn warn(&mut self, code: &str, message: String, place: &Place) {
        self.plan.warnings.push(Warning { code: code.to_owned(), message, place: place.clone() });
    }

    /// Notes what is otherwise for want of `lacks`, once.
    pub(super) fn adapt(&mut self, lacks: Feature, what: impl Into<String>) {
        let adaptation = Adaptation { lacks: Some(lacks), what: what.into() };
        if !self.plan.adaptations.contains(&adaptation) {
            self.plan.adaptations.push(adaptation);
        }
    }

    /// [`has`](Self::has), with a note of what is otherwise if not.
    pub(super) fn has_or(&mut self, feature: Feature, otherwise: impl FnOnce() -> String) -> bool {
        let has = self.has(feature);
        if !has {
            self.adapt(feature, otherwise());
        }
        has
    }

    /// The name that the kernel gets for an object: none, if it takes none.
    pub(super) fn kernel_name(&mut self, name: &str) -> String {
        let takes = self.has_or(Feature::ObjectName, || "maps and programs have no names".to_owned());
        if takes { super::maps::object_name(name) } else { String::new() }
    }

    /// The first step of a load that needs a token.
    pub(super) fn take_token(&mut self) {
        if let Some(bpffs) = self.facts.token_at(&self.options.token) {
            let out = self.slot();
            self.token = Some(out);
            self.push(Step::CreateToken { out, bpffs: bpffs.to_owned() });
        }
    }

    /// Before 5.11 the kernel charges BPF memory to RLIMIT_MEMLOCK, 64 KiB by default then. A probe that found out
    /// nothing, perhaps for want of that very memory, counts against the kernel: lifting the limit does no harm.
    pub(super) fn memlock(&mut self) {
        let asked = self.facts.features.0.contains_key(&Feature::MemcgAccount);
        if self.has(Feature::MemcgAccount)
            && (!asked || self.facts.features.get(Feature::MemcgAccount) == Support::Yes)
        {
            return;
        }
        self.push(Step::LiftMemlock);
    }
}

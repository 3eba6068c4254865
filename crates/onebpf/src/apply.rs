//! Doing what a plan says, all or nothing.
//!
//! Nothing is decided here: each step is one kernel operation, with the alternatives that the plan wrote into it.
//! What nobody else sees goes with its fds. What others see is changed in a transaction ([`Running`]), which the first
//! refusal undoes.

mod migrate;
mod names;
mod program;
mod refused;
mod table;

use crate::error::{Code, Error, Result, Retry};
use crate::loaded::{Loaded, Migrated};
use crate::observe;
use crate::plan::{
    self, Adaptation, CreateMap, Fallback, LoadProgram, Object, Plan, Register, Slot, Step, object,
};
use crate::program::LoadedProgram;
use crate::struct_ops::{Link, StructOps};
use crate::transaction::Running;
use crate::{Map, Program, Target};
use indexmap::IndexMap;
use onebpf_object::Warning;
use onebpf_sys::{BtfLoad, Errno, Kernel, KernelValue, Log, MapBtf, MapCreate, Memory, ObjectKind};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The verifier's log starts at this size and grows fourfold while the kernel says ENOSPC.
pub(crate) const LOG_FIRST: usize = 64 << 10;
/// And stops here. The kernel takes up to `UINT_MAX >> 8` bytes (before Linux 5.2).
pub(crate) const LOG_LAST: usize = 16 << 20;

/// Carries out `plan` on `kernel`; programs load on up to `jobs` threads (0: one for each CPU).
///
/// # Errors
/// E04xx for the first step that the kernel refuses. Everything that the plan had made by then is gone again: maps,
/// programs, BTF, pins, directories and slots of maps that were there before.
pub fn apply(plan: &Plan, kernel: &Arc<dyn Kernel>, jobs: usize) -> Result<Loaded> {
    apply_with(plan, kernel, jobs, false)
}

/// [`apply`]; `held`: the caller has the lock of the state directory.
pub(crate) fn apply_with(plan: &Plan, kernel: &Arc<dyn Kernel>, jobs: usize, held: bool) -> Result<Loaded> {
    let mut run = Run {
        held,
        plan,
        kernel,
        fds: HashMap::new(),
        programs: HashMap::new(),
        pins: HashMap::new(),
        memories: HashMap::new(),
        migrated: IndexMap::new(),
        tables: IndexMap::new(),
        registered: Vec::new(),
        running: None,
        warnings: Vec::new(),
        adaptations: Vec::new(),
    };
    let done = run.steps(jobs).map_err(|error| run.unregister(error));
    match (done, run.running.take()) {
        (Ok(()), _) => Ok(run.finish()),
        (Err(error), Some(running)) => Err(running.undo(error)),
        (Err(error), None) => Err(error),
    }
}

/// The interpreter's state.
struct Run<'a> {
    plan: &'a Plan,
    kernel: &'a Arc<dyn Kernel>,
    /// Maps, BTF, and programs that were there before, by slot.
    fds: HashMap<u32, OwnedFd>,
    /// Programs, by slot.
    programs: HashMap<u32, LoadedProgram>,
    /// Pins made, by slot.
    pins: HashMap<u32, PathBuf>,
    /// Arenas in this process, by slot.
    memories: HashMap<u32, Arc<dyn Memory>>,
    /// What became of entries, by map.
    migrated: IndexMap<String, Migrated>,
    /// Tables of functions, by map.
    tables: IndexMap<String, StructOps>,
    /// Those of them that are registered by their value.
    registered: Vec<String>,
    /// The caller has the lock.
    held: bool,
    /// What others see is being changed.
    running: Option<Running<'a>>,
    warnings: Vec<Warning>,
    adaptations: Vec<Adaptation>,
}

impl<'a> Run<'a> {
    fn steps(&mut self, jobs: usize) -> Result<()> {
        let mut rest = self.plan.steps.as_slice();
        while let Some((step, after)) = rest.split_first() {
            let programs: Vec<&LoadProgram> = rest.iter().map_while(as_program).collect();
            if programs.is_empty() {
                self.step(step)?;
                rest = after;
            } else {
                self.load_programs(&programs, jobs)?;
                rest = rest.get(programs.len()..).unwrap_or_default();
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &'a Step) -> Result<()> {
        match step {
            Step::LiftMemlock => {
                // Without CAP_SYS_RESOURCE it stays as it is, and may be enough; if not, a later step says so.
                let _ = self.kernel.lift_memlock();
                Ok(())
            }
            Step::CreateToken { out, bpffs } => {
                let fd = self.kernel.token_create(bpffs).map_err(|e| refused::token(bpffs, e))?;
                self.fds.insert(out.number(), fd);
                Ok(())
            }
            Step::LoadBtf { out, data, optional, token } => self.load_btf(*out, data, *optional, *token),
            Step::OpenBtf { out, name, id } => {
                let fd = self.kernel.open_id(ObjectKind::Btf, *id).map_err(|e| refused::module(name, e))?;
                self.fds.insert(out.number(), fd);
                Ok(())
            }
            Step::OpenProgram { out, name, id, path } => {
                let fd = Target::reopen(&**self.kernel, *id, path.as_deref());
                self.fds.insert(out.number(), fd.map_err(|e| refused::target(name, *id, e))?);
                Ok(())
            }
            Step::OpenPin { out, path, expect, id, .. } => self.open_pin(*out, path, expect, *id),
            Step::CreateMap(map) => self.create_map(map),
            Step::Write { map, name, key, value } => {
                let done = self.kernel.map_update(self.fd(*map)?, key, value, 0);
                done.map_err(|e| refused::fill(name, "writing its initial contents", e))
            }
            Step::MapArena { map, name, offset, data } => self.map_arena(*map, name, *offset, data),
            Step::Freeze { map, name } => {
                let done = self.kernel.map_freeze(self.fd(*map)?);
                done.map_err(|e| refused::fill(name, "freezing it", e))
            }
            // Runs of programs are taken by `steps`.
            Step::LoadProgram(program) => self.load_programs(&[program], 1),
            Step::Bind { program, name, map, held } => {
                let (program, map) = (self.object(Object::Program(*program))?, self.fd(*map)?);
                let done = self.kernel.prog_bind_map(program, map);
                done.map_err(|e| refused::fill(held, &format!("binding it to program `{name}`"), e))
            }
            Step::Table { map, name, value, programs, register } => {
                self.table(*map, name, value, programs, *register)
            }
            Step::Fill { map, name, index, object, target, .. } => {
                let (map, object) = (self.fd(*map)?, self.object(*object)?);
                let done = self.kernel.map_update_object(map, &index.to_ne_bytes(), object, 0);
                done.map_err(|e| refused::fill(name, &format!("putting `{target}` into slot {index}"), e))
            }
            Step::Prune { map, name, keep } => self.prune(*map, name, keep),
            Step::Migrate { to, name, migration } => self.migrate(*to, name, migration),
            Step::MountBpffs { path } => self.mount(path),
            Step::Symlink { path, target } => self.symlink(path, target),
            Step::MakeDir { path } => self.make_dir(path),
            Step::Attempt { what, steps } => {
                let done = steps.iter().try_for_each(|step| self.step(step));
                self.warnings.extend(done.err().map(|error| plan::not_made(what, &error)));
                Ok(())
            }
            Step::Prepare(transaction) => self.prepare(transaction),
            Step::Stage { object, name, path } => self.stage(*object, name, path),
            Step::KeepSlot { name, path, .. } => self.keep_slot(name, path),
            Step::Commit => self.running.as_mut().ok_or_else(unprepared)?.commit(),
            Step::Publish { object, name, path, .. } => self.publish(*object, name, path),
            Step::Finish => self.end(),
        }
    }

    /// Whether steps may fall back on less: not while a better plan is possible.
    fn final_plan(&self) -> bool {
        self.plan.assumed.is_empty()
    }

    fn load_btf(
        &mut self,
        out: Slot<object::Btf>,
        data: &[u8],
        optional: bool,
        token: Option<Slot<object::Token>>,
    ) -> Result<()> {
        let token = token.map(|slot| self.fd(slot)).transpose()?;
        if let Ok(fd) = self.kernel.btf_load(BtfLoad { data, token, log: None }) {
            self.fds.insert(out.number(), fd);
            return Ok(());
        }
        // Again, this time asking why.
        let (result, log) = with_log(|log| self.kernel.btf_load(BtfLoad { data, token, log }), 1);
        match result {
            Ok(fd) => {
                self.fds.insert(out.number(), fd);
                Ok(())
            }
            Err(e) if optional && self.final_plan() => {
                let last = log.lines().rev().map(str::trim).find(|line| !line.is_empty());
                let why = last.map_or_else(String::new, |line| format!(", `{line}`"));
                self.adapted(format!("the object's BTF is left out: {e}{why}"));
                Ok(())
            }
            Err(e) => {
                let error = refused::btf(e, log, &self.plan.host);
                Err(if optional { error.retry(Retry::WithFallbacks) } else { error })
            }
        }
    }

    fn create_map(&mut self, map: &CreateMap) -> Result<()> {
        let fd = match self.try_create(map, map.btf.is_some())? {
            Ok(fd) => fd,
            Err(first) if map.on_refusal.contains(&Fallback::DropBtf) && self.final_plan() => {
                // The first refusal is the one to report: the second is about less.
                let fd = self.try_create(map, false)?;
                let fd = fd.map_err(|_| refused::map(map, first, &self.plan.host))?;
                self.adapted(format!("map `{}` is without its key and value types: {first}", map.name));
                fd
            }
            Err(e) => {
                let error = refused::map(map, e, &self.plan.host);
                let fallback = !map.on_refusal.is_empty();
                return Err(if fallback { error.retry(Retry::WithFallbacks) } else { error });
            }
        };
        self.fds.insert(map.out.number(), fd);
        Ok(())
    }

    /// Notes what is otherwise because the kernel refused it.
    fn adapted(&mut self, what: String) {
        self.adaptations.push(Adaptation { lacks: None, what });
    }

    fn try_create(&self, map: &CreateMap, with_btf: bool) -> Result<onebpf_sys::Result<OwnedFd>> {
        let btf = map.btf.filter(|_| with_btf);
        let btf = btf.and_then(|btf| {
            let fd = self.fds.get(&btf.btf.number())?.as_fd();
            Some(MapBtf { fd, key_type: btf.key, value_type: btf.value })
        });
        let inner = map.inner.map(|slot| self.fd(slot)).transpose()?;
        let token = map.token.map(|slot| self.fd(slot)).transpose()?;
        let module = map.kernel_value.and_then(|value| value.module);
        let module = module.map(|slot| self.fd(slot)).transpose()?;
        let kernel_value = map.kernel_value.map(|value| KernelValue { type_id: value.type_id, module });
        Ok(self.kernel.map_create(&MapCreate {
            map_type: map.map_type,
            key_size: map.key_size,
            value_size: map.value_size,
            max_entries: map.max_entries,
            flags: map.flags,
            inner,
            numa_node: map.numa_node,
            name: &map.kernel_name,
            btf,
            extra: map.extra,
            ifindex: map.device.unwrap_or_default(),
            token,
            kernel_value,
        }))
    }

    fn map_arena(&mut self, map: Slot<object::Map>, name: &str, offset: u32, data: &[u8]) -> Result<()> {
        let memory = self.kernel.map_memory(self.fd(map)?);
        let memory = memory.map_err(|e| refused::arena(name, "mapping it", e))?;
        let written = memory.write(offset.into(), data);
        written.map_err(|e| refused::arena(name, "writing its variables", e))?;
        self.memories.insert(map.number(), memory);
        Ok(())
    }

    /// Opens a pinned map, and looks again: it may have been replaced since the host was observed.
    fn open_pin(&mut self, out: Slot<object::Map>, path: &Path, expect: &CreateMap, id: u32) -> Result<()> {
        let what = format_args!("map `{}` at {}", expect.name, path.display()).to_string();
        let gone = |e| Error::refused(Code::PinChanged, &what, e).retry(Retry::ObserveAgain);
        let fd = self.kernel.open_pin(path).map_err(gone)?;
        let info = self.kernel.map_info(fd.as_fd()).map_err(gone)?;
        // What was seen of the same map before is still so, but for what the kernel has just said.
        let now =
            if info.id == id { Ok(info.into()) } else { observe::pinned_map(&**self.kernel, fd.as_fd()) };
        let differs = plan::compare(expect, &now.map_err(gone)?);
        if !differs.is_empty() {
            let error = plan::mismatch(Code::PinChanged, expect, path, &differs);
            return Err(error.retry(Retry::ObserveAgain));
        }
        self.fds.insert(out.number(), fd);
        Ok(())
    }

    fn load_programs(&mut self, programs: &[&LoadProgram], jobs: usize) -> Result<()> {
        let btf = |program: &LoadProgram| Some(self.fds.get(&program.btf?.number())?.as_fd());
        let tasks: Vec<program::Task<'_>> = programs
            .iter()
            .map(|program| {
                let module = program.attach.as_ref().and_then(|attach| attach.module);
                let target = program.attach.as_ref().and_then(|attach| attach.program);
                // One place for both in the kernel's attributes.
                let attach_to = match (target, module) {
                    (Some(slot), _) => Some(self.fd(slot)?),
                    (None, module) => module.map(|slot| self.fd(slot)).transpose()?,
                };
                let modules = program.modules.iter().map(|slot| self.fd(*slot)).collect::<Result<_>>()?;
                let token = program.token.map(|slot| self.fd(slot)).transpose()?;
                let (insns, btf) = (self.insns(program)?, btf(program));
                Ok(program::Task { program, insns, btf, attach_to, modules, token })
            })
            .collect::<Result<_>>()?;
        let loaded = program::load_all(&**self.kernel, self.plan, &tasks, jobs)?;
        for (program, loaded) in programs.iter().zip(loaded) {
            self.programs.insert(program.out.number(), loaded);
        }
        Ok(())
    }

    /// The instructions with the fds in place.
    fn insns(&self, program: &LoadProgram) -> Result<Vec<u8>> {
        use std::os::fd::AsRawFd;
        let mut insns = program.insns.to_vec();
        for patch in &program.patches {
            let (at, fd) = match patch.operand {
                plan::Operand::MapFd(map) => (patch.insn, self.fd(map)?),
                plan::Operand::BtfFd(btf) => (patch.insn.saturating_add(1), self.fd(btf)?),
            };
            let insn = insns.get_mut(at as usize);
            insn.ok_or_else(|| broken("a patch lies outside its program"))?.imm = fd.as_raw_fd();
        }
        Ok(onebpf_object::insn::encode(&insns, onebpf_btf::Endian::native()))
    }

    fn fd<T>(&self, slot: Slot<T>) -> Result<BorrowedFd<'_>> {
        let fd = self.fds.get(&slot.number());
        fd.map(AsFd::as_fd).ok_or_else(|| broken(&format!("nothing fills slot {slot}")))
    }

    fn object(&self, object: Object) -> Result<BorrowedFd<'_>> {
        match object {
            Object::Map(slot) => self.fd(slot),
            Object::Program(slot) => {
                let program = self.programs.get(&slot.number());
                program.map(|p| p.fd.as_fd()).ok_or_else(|| broken(&format!("nothing fills slot {slot}")))
            }
            Object::Link(slot) => self.fd(slot),
        }
    }

    /// The handles, in the order of the object. What is not part of it (templates, BTF) is closed.
    fn finish(mut self) -> Loaded {
        let (mut maps, mut programs, mut links) = (IndexMap::new(), IndexMap::new(), Vec::new());
        for step in &self.plan.steps {
            let (map, slot, reused) = match step {
                Step::CreateMap(map) if !map.template => (map, map.out, None),
                Step::OpenPin { out, path, expect, .. } => (expect, *out, Some(path.clone())),
                Step::Table { name, register: Some(Register::Link(link)), .. } => {
                    links.push((name.clone(), *link));
                    continue;
                }
                Step::LoadProgram(program) => {
                    let slot = program.out.number();
                    let Some(loaded) = self.programs.remove(&slot) else { continue };
                    let pinned = self.pins.remove(&slot);
                    programs
                        .insert(program.name.clone(), Program::loaded(self.kernel, program, loaded, pinned));
                    continue;
                }
                _ => continue,
            };
            let Some(fd) = self.fds.remove(&slot.number()) else { continue };
            let is_reused = reused.is_some();
            let pinned = self.pins.remove(&slot.number()).or(reused);
            let handle = Map::loaded(self.kernel, &map.name, fd, pinned, is_reused);
            let memory = self.memories.remove(&slot.number());
            maps.insert(map.name.clone(), handle.in_memory(memory, map.globals));
        }
        let warnings = self.plan.warnings.iter().cloned().chain(self.warnings).collect();
        let adaptations = self.plan.adaptations.iter().cloned().chain(self.adaptations).collect();
        for (name, slot) in &links {
            let (Some(table), Some(fd)) = (self.tables.get_mut(name), self.fds.remove(&slot.number())) else {
                continue;
            };
            let pinned = self.pins.remove(&slot.number());
            table.registered_by(Link::new(self.kernel, name, fd, pinned));
        }
        Loaded { maps, programs, tables: self.tables, migrated: self.migrated, warnings, adaptations }
    }
}

fn as_program(step: &Step) -> Option<&LoadProgram> {
    if let Step::LoadProgram(program) = step { Some(program) } else { None }
}

fn number(object: Object) -> u32 {
    match object {
        Object::Map(slot) => slot.number(),
        Object::Program(slot) => slot.number(),
        Object::Link(slot) => slot.number(),
    }
}

/// A plan that `plan` would not make.
fn broken(what: &str) -> Error {
    Error::new(Code::Plan, format!("the plan is not consistent: {what}"))
}

fn unprepared() -> Error {
    broken("a step of a transaction without its beginning")
}

/// Calls `load` with a log buffer that grows while the kernel says that it is too small.
pub(crate) fn with_log<T>(
    mut load: impl FnMut(Option<Log<'_>>) -> onebpf_sys::Result<T>,
    level: u32,
) -> (onebpf_sys::Result<T>, String) {
    let mut size = LOG_FIRST;
    loop {
        let mut buffer = vec![0; size];
        let result = load(Some(Log { level, buffer: &mut buffer }));
        match &result {
            Err(e) if e.errno == Errno::NOSPC && size < LOG_LAST => {
                size = size.saturating_mul(4).min(LOG_LAST);
            }
            _ => return (result, text(&buffer)),
        }
    }
}

/// The log up to its NUL; what is not UTF-8 (a C source line may be anything) is replaced.
fn text(buffer: &[u8]) -> String {
    let end = buffer.iter().position(|byte| *byte == 0).unwrap_or(buffer.len());
    String::from_utf8_lossy(buffer.get(..end).unwrap_or_default()).into_owned()
}

//! Looking at a host: the only part of planning that asks anybody.

use crate::error::{Code, Error, Result};
use crate::facts::{DEFAULT_BPFFS, Dir, Facts, Pinned, PinnedMap};
use crate::iproute2;
use crate::kallsyms::KernelSymbols;
use crate::kconfig::KernelConfig;
use crate::kernel_types::KernelTypes;
use crate::layout::TypeLayout;
use crate::{Options, Spec, plan};
use onebpf_btf::{Btf, TypeId};
use onebpf_object::MapType;
use onebpf_sys::{Errno, Feature, Host, Kernel, MapInfo, ObjectKind};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// Looks at what the plan for `spec` will depend on, and at nothing else: the host, the pins that
/// [`pin_paths`](plan::pin_paths) names, and the kernel's BTF if a program attaches by it or has CO-RE relocations. Probes no feature,
/// but those that the object asks for by name (`LINUX_HAS_BPF_COOKIE`), and where a wrong guess would not be refused: where an
/// arena's variables go.
///
/// # Errors
/// E0301 for options that name no program; E0411 for a program to attach to that is not there; E0313, E01xx or E02xx for [`Options::btf`]; E0408 if the host itself cannot be read. A pin that cannot be looked
/// at is a fact, not an error.
pub fn observe(kernel: &dyn Kernel, spec: &Spec, options: &Options) -> Result<Facts> {
    let mut facts = Facts { host: host(kernel)?, ..Facts::default() };
    facts.probe(kernel, &plan::asks(spec));
    if let Some(numbers) = plan::needs_iproute2(spec, options) {
        let found = iproute2::observe(kernel, plan::iproute2_mount(options), numbers);
        for dir in ["tc", "xdp", "ip"].map(|name| found.mount.join(name)) {
            directories(kernel, &dir.join("globals/x"), &mut facts.dirs);
        }
        facts.iproute2 = Some(found);
    }
    for path in plan::pin_paths(spec, options, &facts) {
        directories(kernel, &path, &mut facts.dirs);
        let pinned = pinned(kernel, &path);
        facts.pins.insert(path, pinned);
    }
    let owned = |pin: &Pinned| matches!(pin, Pinned::Map(map) if map.info.owner_jited.is_some());
    if facts.pins.values().any(owned) {
        facts.jit = jit(kernel);
    }
    kernel_types(kernel, spec, options, &mut facts)?;
    let symbols = plan::addressed_externs(spec, options)?;
    if !symbols.is_empty() {
        facts.symbols = Some(KernelSymbols::read(kernel, symbols.iter().map(|found| found.name.as_str()))?);
    }
    for (program, target) in plan::target_programs(spec, options)? {
        facts.targets.insert(program.to_owned(), target.look(kernel)?);
    }
    if let Some(wanted) = plan::config_options(spec, options)? {
        facts.probe(kernel, &wanted.features);
        if !wanted.options.is_empty() {
            facts.config = Some(KernelConfig::read(kernel, &facts.host.release, &wanted.options)?);
        }
    }
    Ok(facts)
}

/// The types that CO-RE relocates against, and what the object names of the running kernel. Modules are read only when
/// something is not in the kernel itself, as with libbpf.
fn kernel_types(kernel: &dyn Kernel, spec: &Spec, options: &Options, facts: &mut Facts) -> Result<()> {
    let relocations = plan::kernel_relocations(spec, options)?;
    let names = plan::kernel_names(spec, options)?;
    let read = |path: Option<&Path>| KernelTypes::read(kernel, path, &facts.host.release);
    // Programs attach to the kernel that runs, whatever they are relocated against.
    let other = options.btf.as_deref().filter(|_| !relocations.is_empty());
    let mut target = other.map(|path| read(Some(path))).transpose()?;
    let on_running = other.is_none() && !relocations.is_empty();
    if on_running || !names.is_empty() {
        let mut running = read(None)?;
        let lacks_type = || plan::lacks_type(spec, running.btf.as_ref(), &relocations);
        if names.iter().any(|name| running.find(name).is_none()) || (on_running && lacks_type()) {
            running.read_modules(kernel);
        }
        facts.kernel_btf = Some(running.btf.is_some());
        facts.named = names
            .into_iter()
            .map(|name| {
                let found = running.find(&name);
                (name, found)
            })
            .collect();
        facts.unlike = plan::typed_externs(spec, options)?
            .into_iter()
            .filter_map(|found| {
                let named = facts.named(&plan::extern_name(found)).and_then(|(_, named)| named.as_ref());
                let unlike = running.unlike(found, spec.btf.as_ref()?, named)?;
                Some((found.name.clone(), unlike))
            })
            .collect();
        if on_running {
            target = Some(running.clone());
        }
        facts.running = Some(running).filter(|_| !facts.named.is_empty());
    }
    facts.types = target;
    Ok(())
}

/// Looks at everything that does not depend on an object: the host, every feature, whether the kernel has BTF.
///
/// # Errors
/// E0408 if the host cannot be read.
pub fn observe_host(kernel: &dyn Kernel) -> Result<Facts> {
    let token = kernel.token_create(Path::new(DEFAULT_BPFFS)).ok();
    let wanted = Feature::all().collect();
    let kernel_btf = Some(kernel_btf(kernel)?.is_some());
    let mut facts =
        Facts { host: host(kernel)?, kernel_btf, token: Some(token.is_some()), ..Facts::default() };
    facts.probe_with(kernel, token.as_ref().map(AsFd::as_fd), &wanted);
    Ok(facts)
}

fn host(kernel: &dyn Kernel) -> Result<Host> {
    kernel.host().map_err(|e| Error::refused(Code::Observe, "this host", e))
}

fn kernel_btf(kernel: &dyn Kernel) -> Result<Option<Btf>> {
    Ok(KernelTypes::read(kernel, None, "")?.btf)
}

fn pinned(kernel: &dyn Kernel, path: &Path) -> Pinned {
    let look = || {
        let fd = kernel.open_pin(path)?;
        Ok(match kernel.fd_kind(fd.as_fd())? {
            Some(ObjectKind::Map) => Pinned::Map(Box::new(pinned_map(kernel, fd.as_fd())?)),
            Some(kind) => Pinned::Other(kind),
            None => Pinned::Unreadable(Errno::INVAL),
        })
    };
    look().unwrap_or_else(|error: onebpf_sys::Error| match error {
        onebpf_sys::Error { op: onebpf_sys::Op::OpenPin, errno: Errno::NOENT } => Pinned::Absent,
        other => Pinned::Unreadable(other.errno),
    })
}

/// All that can be seen of a map that is pinned.
pub(crate) fn pinned_map(kernel: &dyn Kernel, map: BorrowedFd<'_>) -> onebpf_sys::Result<PinnedMap> {
    let info = kernel.map_info(map)?;
    let btf = || {
        let fd = kernel.open_id(ObjectKind::Btf, info.btf_id).ok()?;
        Btf::from_vec(kernel.btf_info(fd.as_fd()).ok()?.data).ok()
    };
    let btf = if info.btf_id == 0 { None } else { btf() };
    let layout = |id: u32| TypeLayout::of(btf.as_ref()?, TypeId(id)).filter(|_| id != 0);
    let inner = if MapType(info.map_type).holds_maps() { inner(kernel, map, &info) } else { None };
    let (key, value) = (layout(info.btf_key_type), layout(info.btf_value_type));
    Ok(PinnedMap { inner: inner.map(Box::new), key, value, info })
}

/// One of the maps in a map of maps. Slots that are looked at before it is taken for empty.
fn inner(kernel: &dyn Kernel, map: BorrowedFd<'_>, info: &MapInfo) -> Option<MapInfo> {
    const MOST: usize = 1024;
    let (mut key, mut next) = (None::<Vec<u8>>, vec![0; info.key_size as usize]);
    for _ in 0..MOST {
        if !kernel.map_next_key(map, key.as_deref(), &mut next).ok()? {
            return None;
        }
        let mut id = [0; 4];
        if kernel.map_lookup(map, &next, &mut id, 0).is_ok() {
            let fd = kernel.open_id(ObjectKind::Map, u32::from_ne_bytes(id)).ok()?;
            return kernel.map_info(fd.as_fd()).ok();
        }
        key = Some(next.clone());
    }
    None
}

/// Whether the kernel compiles programs. In network namespaces other than the first it does not tell.
fn jit(kernel: &dyn Kernel) -> Option<bool> {
    let text = kernel.read_file(Path::new("/proc/sys/net/core/bpf_jit_enable")).ok()?;
    Some(text.first()? != &b'0')
}

/// Looks at the directories above `path`, innermost first, up to the first one that is there.
fn directories(kernel: &dyn Kernel, path: &Path, dirs: &mut BTreeMap<PathBuf, Dir>) {
    for dir in path.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty()) {
        let found = *dirs.entry(dir.to_owned()).or_insert_with(|| match kernel.is_bpffs(dir) {
            Ok(true) => Dir::Bpffs,
            Ok(false) => Dir::Foreign,
            Err(error) if error.errno == Errno::NOENT => Dir::Absent,
            Err(error) => Dir::Unreadable(error.errno),
        });
        if found != Dir::Absent {
            return;
        }
    }
}

//! Looking at a host: the only part of planning that asks anybody.

use crate::error::{Code, Error, Result};
use crate::facts::{BtfTarget, Dir, Facts, Pinned, PinnedMap};
use crate::iproute2;
use crate::kernel_types::KernelTypes;
use crate::layout::TypeLayout;
use crate::{Options, Spec, plan};
use onebpf_btf::{Btf, Kind, TypeId};
use onebpf_object::MapType;
use onebpf_sys::{Errno, Host, Kernel, MapInfo, ObjectKind};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// Looks at what the plan for `spec` will depend on, and at nothing else: the host, the pins that
/// [`pin_paths`](plan::pin_paths) names, and the kernel's BTF if a program attaches by it or has CO-RE relocations. Probes no feature.
///
/// # Errors
/// E0301 for options that name no program; E0313, E01xx or E02xx for [`Options::btf`]; E0408 if the host itself cannot be read. A pin that cannot be looked
/// at is a fact, not an error.
pub fn observe(kernel: &dyn Kernel, spec: &Spec, options: &Options) -> Result<Facts> {
    let mut facts = Facts { host: host(kernel)?, ..Facts::default() };
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
    if plan::needs_kernel_types(spec, options)? {
        facts.types = Some(KernelTypes::read(kernel, options.btf.as_deref(), &facts.host.release)?);
    }
    let targets = plan::attach_targets(spec, options)?;
    if !targets.is_empty() {
        // Programs attach to the kernel that runs, whatever they are relocated against.
        let btf = match &facts.types {
            Some(types) if options.btf.is_none() => types.btf.clone(),
            _ => kernel_btf(kernel)?,
        };
        facts.kernel_btf = Some(btf.is_some());
        facts.targets = targets.into_iter().map(|target| look_up(btf.as_ref(), target)).collect();
    }
    Ok(facts)
}

/// Looks at everything that does not depend on an object: the host, every feature, whether the kernel has BTF.
///
/// # Errors
/// E0408 if the host cannot be read.
pub fn observe_host(kernel: &dyn Kernel) -> Result<Facts> {
    let features = onebpf_sys::probe_all(kernel);
    let kernel_btf = Some(kernel_btf(kernel)?.is_some());
    Ok(Facts { host: host(kernel)?, features, kernel_btf, ..Facts::default() })
}

fn host(kernel: &dyn Kernel) -> Result<Host> {
    kernel.host().map_err(|e| Error::refused(Code::Observe, "this host", e))
}

fn kernel_btf(kernel: &dyn Kernel) -> Result<Option<Btf>> {
    Ok(KernelTypes::read(kernel, None, "")?.btf)
}

fn look_up(btf: Option<&Btf>, target: BtfTarget) -> (BtfTarget, Option<u32>) {
    let kind = if target.function { Kind::Func } else { Kind::Typedef };
    let id = btf.and_then(|btf| btf.find(&target.name, kind)).map(|id| id.0);
    (target, id)
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

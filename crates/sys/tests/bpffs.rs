//! Pins on a BPF filesystem of our own, in a mount namespace of our own.

mod common;

use common::{ARRAY, map};
use onebpf_sys::{Errno, Kernel, Linux, ObjectKind, Op};
use rustix::mount::MountFlags;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use testing::in_private;

#[test]
fn pins() {
    in_private("pins", || {
        let root = std::env::temp_dir().join(format!("onebpf-bpffs-{}", std::process::id()));
        std::fs::create_dir(&root).expect("create_dir");
        let mounted = rustix::mount::mount("bpf", &root, "bpf", MountFlags::empty(), None);
        mounted.expect("mount -t bpf");
        let outcome = std::panic::catch_unwind(|| check(&root));
        rustix::mount::unmount(&root, rustix::mount::UnmountFlags::DETACH).expect("umount");
        std::fs::remove_dir(&root).expect("remove_dir");
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

fn check(root: &Path) {
    assert_eq!(Linux.is_bpffs(root), Ok(true));
    assert_eq!(Linux.is_bpffs(Path::new("/proc")), Ok(false));
    assert_eq!(Linux.is_bpffs(&root.join("none")).expect_err("absent").errno, Errno::NOENT);

    let dir = root.join("dir");
    Linux.mkdir(&dir).expect("mkdir");
    assert_eq!(Linux.mkdir(&dir).expect_err("again").errno, Errno::EXIST);
    let mode = std::fs::metadata(&dir).expect("stat").permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o700);

    let (map, pin) = (map(ARRAY, 4, 4, 1), dir.join("map"));
    let missing = Linux.open_pin(&pin).expect_err("no pin yet");
    assert_eq!((missing.op, missing.errno), (Op::OpenPin, Errno::NOENT));
    Linux.pin(map.as_fd(), &pin).expect("pin");
    assert_eq!(Linux.pin(map.as_fd(), &pin).expect_err("taken").errno, Errno::EXIST);
    Linux.pin(map.as_fd(), &dir.join("a")).expect("second pin");
    assert_eq!(Linux.list_dir(&dir), Ok(vec![PathBuf::from("a"), PathBuf::from("map")]));

    let id = Linux.map_info(map.as_fd()).expect("info").id;
    drop(map);
    let opened = Linux.open_pin(&pin).expect("open");
    assert_eq!(Linux.fd_kind(opened.as_fd()), Ok(Some(ObjectKind::Map)));
    assert_eq!(Linux.map_info(opened.as_fd()).expect("info").id, id);

    assert_eq!(Linux.rmdir(&dir).expect_err("not empty").errno.name(), "ENOTEMPTY");
    Linux.unlink(&pin).expect("unlink");
    Linux.unlink(&dir.join("a")).expect("unlink");
    assert_eq!(Linux.unlink(&pin).expect_err("gone").errno, Errno::NOENT);
    Linux.rmdir(&dir).expect("rmdir");
    names(root);
    files(root);
}

fn names(root: &Path) {
    use onebpf_sys::RenameMode::{Exchange, NoReplace, Replace};
    let (a, b, c) = (root.join("a"), root.join("b"), root.join("c"));
    let id_at = |path: &Path| Linux.map_info(Linux.open_pin(path).expect("open").as_fd()).expect("info").id;
    for path in [&a, &b] {
        Linux.pin(map(ARRAY, 4, 4, 1).as_fd(), path).expect("pin");
    }
    let (first, second) = (id_at(&a), id_at(&b));
    assert_eq!(Linux.rename(&a, &b, NoReplace).expect_err("taken").errno, Errno::EXIST);
    // On bpffs since Linux 5.17.
    if Linux.rename(&a, &b, Exchange).is_ok() {
        assert_eq!((id_at(&a), id_at(&b)), (second, first));
        Linux.rename(&a, &b, Exchange).expect("and back");
    }
    Linux.rename(&b, &c, NoReplace).expect("free");
    Linux.rename(&a, &c, Replace).expect("over it");
    assert_eq!((id_at(&c), a.exists(), b.exists()), (first, false, false));
    Linux.link(&c, &a).expect("link");
    assert_eq!((id_at(&a), Linux.link(&c, &a).expect_err("taken").errno), (first, Errno::EXIST));

    Linux.symlink(&c, &b).expect("symlink");
    assert_eq!((id_at(&b), Linux.read_link(&b)), (first, Ok(c.clone())));
    assert_eq!(Linux.symlink(&c, &b).expect_err("taken").errno, Errno::EXIST);
    assert_eq!(Linux.read_link(&c).expect_err("a pin").errno, Errno::INVAL);
    for path in [a, b, c] {
        Linux.unlink(&path).expect("unlink");
    }
}

fn files(root: &Path) {
    let dir = std::env::temp_dir().join(format!("onebpf-files-{}", std::process::id()));
    Linux.mkdir(&dir).expect("mkdir");
    let file = dir.join("file");
    assert_eq!(Linux.read_file(&file).expect_err("none").errno, Errno::NOENT);
    for text in ["one", "and two"] {
        Linux.write_file(&file, text.as_bytes()).expect("write");
        assert_eq!(Linux.read_file(&file), Ok(text.into()));
    }
    assert_eq!(Linux.list_dir(&dir), Ok(vec![PathBuf::from("file")]));
    Linux.unlink(&file).expect("unlink");
    Linux.mount_bpffs(&dir).expect("mount");
    assert_eq!((Linux.is_bpffs(&dir), file.exists()), (Ok(true), false));
    rustix::mount::unmount(&dir, rustix::mount::UnmountFlags::DETACH).expect("umount");
    Linux.rmdir(&dir).expect("rmdir");
    assert!(Linux.write_file(&root.join("file"), b"").is_err(), "bpffs holds no files");
}

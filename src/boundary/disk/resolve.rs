//! Resolves a path below a root, so that no symbolic link leads outside the root.
//!
//! In: a root and an absolute path on the instance. Out: a path without links, always below the root. Links are
//! resolved as after chroot(2): an absolute target starts at the root, and `..` does not leave the root. An image may
//! contain links that point anywhere, and a write into the image must never reach the host that has mounted it.

use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use nix::libc;

/// The most links that are followed, as in the kernel (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Whether [`resolve`] follows a link that is the last part of the path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::boundary) enum FinalLink {
    /// The result is the link itself, so that the caller can refuse it.
    Kept,
    /// The link is followed like those before it.
    Followed,
}

/// The path on this host of `path` below `root`. If the root is `/` the path is not resolved: no link leads outside
/// `/`.
pub(super) fn resolve(root: &Path, path: &str, final_link: FinalLink) -> io::Result<PathBuf> {
    if root.parent().is_none() {
        return Ok(root.join(path.trim_start_matches('/')));
    }
    let mut pending = parts(Path::new(path));
    let mut found = root.to_owned();
    let mut links = 0;
    while let Some(part) = pending.pop() {
        if part == ".." {
            if found != root {
                found.pop();
            }
            continue;
        }
        found.push(&part);
        let is_kept = pending.is_empty() && final_link == FinalLink::Kept;
        // Without a link, or after an error, the part stays. The caller gets the error when it opens the path.
        if let Ok(target) = std::fs::read_link(&found)
            && !is_kept
        {
            links += 1;
            if links > MAX_LINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            found.pop();
            if target.is_absolute() {
                found = root.to_owned();
            }
            pending.extend(parts(&target));
        }
    }
    Ok(found)
}

/// The names and `..` of a path, last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let is_used = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().filter(|part| is_used(*part)).rev().map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::{Disk, DiskError, Mode};
    use super::*;

    /// An image, and a folder of the host that links in the image can point to.
    #[expect(clippy::disallowed_methods, reason = "the test creates its own files")]
    fn image() -> (tempfile::TempDir, Disk, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (image, host) = (folder.path().join("image"), folder.path().join("host"));
        for path in [image.join("etc"), image.join("data"), host.join("ecs")] {
            fs::create_dir_all(path).unwrap();
        }
        fs::write(host.join("ecs/ecs.config"), "ECS_CLUSTER=host\n").unwrap();
        (folder, Disk::new(image), host)
    }

    #[test]
    fn links_are_resolved_below_the_root() {
        let (_folder, disk, host) = image();
        let root = disk.path("/");
        for (link, target) in [
            ("absolute", "/data".to_owned()),
            ("relative", "../data".to_owned()),
            ("upwards", "../../../../../../data".to_owned()),
            ("chain", "absolute".to_owned()),
            ("loop", "loop".to_owned()),
            ("host", host.to_str().unwrap().to_owned()),
        ] {
            symlink(target, root.join("etc").join(link)).unwrap();
        }
        let at = |path: &str| {
            resolve(&root, path, FinalLink::Followed).map(|found| found.strip_prefix(&root).unwrap().to_owned())
        };
        for path in ["/etc/absolute/x", "/etc/relative/x", "/etc/upwards/x", "/etc/chain/x", "/../../data/./x"] {
            assert_eq!(at(path).unwrap(), Path::new("data/x"), "{path}");
        }
        assert_eq!(at("/etc/loop/x").unwrap_err().raw_os_error(), Some(libc::ELOOP));
        assert!(resolve(&root, "/etc/host/ecs/ecs.config", FinalLink::Followed).unwrap().starts_with(&root));
        let kept = resolve(&root, "/etc/absolute", FinalLink::Kept).unwrap();
        assert_eq!(kept, root.join("etc/absolute"));
        assert_eq!(resolve(Path::new("/"), "/etc/x", FinalLink::Followed).unwrap(), Path::new("/etc/x"));
    }

    #[test]
    fn nothing_is_written_or_read_outside_the_root() {
        for (link, target) in [("/etc/ecs", "ecs"), ("/etc/ecs", "../../host/ecs"), ("/etc", "../host"), ("/etc", "")] {
            let (_folder, disk, host) = image();
            let place = disk.path(link);
            if place.is_dir() {
                fs::remove_dir(&place).unwrap();
            }
            let target = if target.starts_with("..") { PathBuf::from(target) } else { host.join(target) };
            symlink(&target, &place).unwrap();
            let path = "/etc/ecs/ecs.config";
            assert_eq!(disk.read(path, 99).ok().flatten(), None, "{link} to {}", target.display());
            assert_eq!(disk.read_regular(path, 99).ok().flatten(), None);
            let _ = disk.create_folder("/etc/ecs", 0o755);
            let _ = disk.replace(path, b"", Mode::Exactly(0o644));
            let _ = disk.replace_without_sync(path, b"", Mode::Exactly(0o644));
            let _ = disk.lock("/etc/ecs/lock");
            assert!(disk.list("/etc/ecs").unwrap_or_default().iter().all(|name| name != "precious"));
            let kept: Vec<_> =
                fs::read_dir(host.join("ecs")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(kept, ["ecs.config"]);
            assert_eq!(fs::metadata(host.join("ecs/ecs.config")).unwrap().len(), 17);
        }
    }

    #[test]
    fn a_lock_is_taken_on_a_regular_file_only() {
        let (_folder, disk, _host) = image();
        nix::unistd::mkfifo(&disk.path("/etc/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        symlink("elsewhere", disk.path("/etc/link")).unwrap();
        assert!(matches!(disk.lock("/etc/fifo"), Err(DiskError::NotAFile { .. })));
        assert!(matches!(disk.lock("/data"), Err(DiskError::NotAFile { .. })));
        assert!(matches!(disk.lock("/etc/link"), Err(DiskError::Symlink { .. })));
        assert!(disk.lock("/etc/lock").is_ok());
        assert!(matches!(disk.create_folder("/etc/lock", 0o755), Err(DiskError::NotAFolder { .. })));
        assert!(matches!(disk.create_folder("/etc/lock/below", 0o755), Err(DiskError::NotAFolder { .. })));
    }
}

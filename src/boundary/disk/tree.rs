//! Looks into folders below the root, removes what lies in them, and moves one aside.
//!
//! In: absolute paths, as for the rest of [`Disk`]. Out: what lies there, or that it is gone or moved for good (also
//! after a power cut). No symbolic link is followed, neither on the way to a path nor below it, and what is mounted
//! inside a folder is never removed with it.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Disk, DiskError, is_absent, sync_folder};

/// What something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryType {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A socket, a FIFO or a device.
    Other,
}

/// Something as it lies there; a link is the link itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Below the root.
    pub path: String,
    /// What it is.
    pub entry_type: EntryType,
    /// The size in bytes, of a folder that of all files in it; `None` where not all of it may be looked at.
    pub bytes: Option<u64>,
}

impl Disk {
    /// What lies at `path`; `None` when nothing does.
    pub fn entry(&self, path: &str) -> Result<Option<Entry>, DiskError> {
        const DOING: &str = "look at";
        self.way_to(DOING, path)?;
        let target = self.path(path);
        match fs::symlink_metadata(&target) {
            Ok(about) => {
                Ok(Some(Entry { path: path.to_owned(), entry_type: entry_type(&about), bytes: size(&target).ok() }))
            }
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(DiskError::new(DOING, path, e)),
        }
    }

    /// What lies in a folder, in order of its names; nothing when it is absent.
    pub fn entries(&self, folder: &str) -> Result<Vec<Entry>, DiskError> {
        const DOING: &str = "list";
        self.way_to(DOING, &format!("{folder}/."))?;
        let error = |e| DiskError::new(DOING, folder, e);
        let listed = match fs::read_dir(self.path(folder)) {
            Ok(listed) => listed,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(error(e)),
        };
        let mut entries = Vec::new();
        for name in listed {
            let Ok(name) = name.map_err(error)?.file_name().into_string() else {
                return Err(error(io::Error::new(io::ErrorKind::InvalidFilename, "a name in it is not UTF-8")));
            };
            entries.extend(self.entry(&format!("{folder}/{name}"))?);
        }
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(entries)
    }

    /// Removes a file, a link, or a folder with all that is in it. What is absent already is as good as removed.
    #[expect(clippy::disallowed_methods, reason = "this folder is where files are removed")]
    pub fn remove(&self, path: &str) -> Result<(), DiskError> {
        const DOING: &str = "remove";
        self.way_to(DOING, path)?;
        let target = self.path(path);
        let error = |e| DiskError::new(DOING, path, e);
        let about = match fs::symlink_metadata(&target) {
            Ok(about) => about,
            Err(e) if is_absent(&e) => return Ok(()),
            Err(e) => return Err(error(e)),
        };
        if about.is_dir() && self.is_mounted(path) {
            return Err(DiskError::Mounted { doing: DOING, path: path.to_owned() });
        }
        // Neither follows a link: the former is made of openat(2) and unlinkat(2).
        let removed = if about.is_dir() { fs::remove_dir_all(&target) } else { fs::remove_file(&target) };
        match removed {
            Err(e) if !is_absent(&e) => Err(error(e)),
            _ => target.parent().map_or(Ok(()), sync_folder).map_err(error),
        }
    }

    /// Renames a folder and makes an empty one in its place, of the same owner and mode. What lies at `to` is never lost:
    /// only an empty folder is replaced (rename(2)).
    #[expect(clippy::disallowed_methods, reason = "this folder is where files are renamed")]
    pub fn set_aside(&self, from: &str, to: &str) -> Result<(), DiskError> {
        const DOING: &str = "move";
        self.way_to(DOING, &format!("{from}/."))?;
        self.way_to(DOING, to)?;
        if self.is_mounted(from) {
            return Err(DiskError::Mounted { doing: DOING, path: from.to_owned() });
        }
        fs::rename(self.path(from), self.path(to)).map_err(|e| DiskError::new(DOING, from, e))?;
        self.create_like(from, to)
    }

    /// Makes an empty folder of the owner and mode of another, unless it is there already.
    pub fn create_like(&self, path: &str, model: &str) -> Result<(), DiskError> {
        const DOING: &str = "create";
        self.way_to(DOING, path)?;
        let folder = self.path(path);
        let error = |e| DiskError::new(DOING, path, e);
        let about = fs::symlink_metadata(self.path(model)).map_err(error)?;
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(error(e)),
            Ok(()) => {
                let made = fs::symlink_metadata(&folder).map_err(error)?;
                if (made.uid(), made.gid()) != (about.uid(), about.gid()) {
                    chown(&folder, Some(about.uid()), Some(about.gid())).map_err(error)?;
                }
                // Last, because a change of owner clears bits.
                fs::set_permissions(&folder, Permissions::from_mode(about.mode() & 0o7777)).map_err(error)?;
            }
        }
        folder.parent().map_or(Ok(()), sync_folder).map_err(error)
    }

    /// Whether a file system is mounted on a folder or below it; a bind mount counts, though its device is the same.
    /// Where that cannot be known it counts as mounted, so that nothing is lost.
    pub fn is_mounted(&self, folder: &str) -> bool {
        let target = self.path(folder);
        let real = target.canonicalize().unwrap_or(target);
        // Of this process, so not below the root.
        let table = fs::File::options().read(true).open("/proc/self/mountinfo").and_then(io::read_to_string);
        table.map_or(true, |table| mount_points(&table).any(|point| point.starts_with(&real)))
    }

    /// Refuses a way to `path` that leads over a symbolic link; `path` itself is not looked at.
    fn way_to(&self, doing: &'static str, path: &str) -> Result<(), DiskError> {
        let slashes = path.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0);
        for above in slashes.map(|at| &path[..at]) {
            match fs::symlink_metadata(self.path(above)) {
                Ok(about) if about.is_symlink() => return Err(DiskError::Symlink { doing, path: above.to_owned() }),
                Ok(_) => {}
                Err(e) if is_absent(&e) => return Ok(()),
                Err(e) => return Err(DiskError::new(doing, above, e)),
            }
        }
        Ok(())
    }
}

fn entry_type(about: &fs::Metadata) -> EntryType {
    match about.file_type() {
        found if found.is_file() => EntryType::File,
        found if found.is_dir() => EntryType::Folder,
        found if found.is_symlink() => EntryType::Link,
        _ => EntryType::Other,
    }
}

fn size(path: &Path) -> io::Result<u64> {
    let about = fs::symlink_metadata(path)?;
    if !about.is_dir() {
        return Ok(about.len());
    }
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        bytes += size(&entry?.path())?;
    }
    Ok(bytes)
}

/// The fifth field of each line; blanks and backslashes in it are written as `\` and three octal digits
/// (proc_pid_mountinfo(5)).
fn mount_points(table: &str) -> impl Iterator<Item = PathBuf> {
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(|field| {
        let mut bytes = Vec::new();
        let mut rest = field.as_bytes();
        while let Some((&first, after)) = rest.split_first() {
            let octal = rest.get(1..4).filter(|_| first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
            match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
                Some(byte) => (bytes.push(byte), rest = &rest[4..]),
                None => (bytes.push(first), rest = after),
            };
        }
        PathBuf::from(std::ffi::OsStr::from_bytes(&bytes))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::Mode;
    use super::*;

    const DATA: &str = "/var/lib/ecs/data";

    fn instance() -> (tempfile::TempDir, Disk) {
        let root = tempfile::tempdir().unwrap();
        let disk = Disk::new(root.path().to_owned());
        disk.create_folder(&format!("{DATA}/inner"), 0o755).unwrap();
        disk.create_folder("/outside", 0o755).unwrap();
        disk.replace("/outside/precious", b"12345", Mode::Exactly(0o600)).unwrap();
        disk.replace(&format!("{DATA}/agent.db"), b"123", Mode::Exactly(0o600)).unwrap();
        disk.replace(&format!("{DATA}/inner/file"), b"12", Mode::Exactly(0o600)).unwrap();
        (root, disk)
    }

    fn is_there(disk: &Disk, path: &str) -> bool {
        fs::symlink_metadata(disk.path(path)).is_ok()
    }

    #[test]
    fn lists_what_lies_there_with_its_size() {
        let (_root, disk) = instance();
        symlink("/outside/precious", disk.path(&format!("{DATA}/link"))).unwrap();
        let entries = disk.entries(DATA).unwrap();
        let found: Vec<_> = entries.iter().map(|entry| (entry.path.as_str(), entry.entry_type, entry.bytes)).collect();
        assert_eq!(found[0], ("/var/lib/ecs/data/agent.db", EntryType::File, Some(3)));
        assert_eq!(found[1], ("/var/lib/ecs/data/inner", EntryType::Folder, Some(2)));
        assert_eq!((found[2].0, found[2].1), ("/var/lib/ecs/data/link", EntryType::Link));
        assert!(disk.entries("/nowhere/at/all").unwrap().is_empty());
        assert_eq!(disk.entry("/nowhere").unwrap(), None);
        assert!(disk.entries(&format!("{DATA}/agent.db")).is_err());
    }

    #[test]
    fn removes_a_link_and_not_what_it_points_to() {
        let (_root, disk) = instance();
        for (link, target) in [("data/to-file", "/outside/precious"), ("data/to-folder", "/outside")] {
            symlink(disk.path(target), disk.path("/var/lib/ecs").join(link)).unwrap();
        }
        symlink(disk.path("/outside"), disk.path(&format!("{DATA}/inner/deep"))).unwrap();
        for entry in disk.entries(DATA).unwrap() {
            disk.remove(&entry.path).unwrap();
        }
        assert!(disk.entries(DATA).unwrap().is_empty() && disk.path(DATA).is_dir());
        assert_eq!(disk.read("/outside/precious", 9).unwrap().unwrap(), b"12345");
        disk.remove(&format!("{DATA}/never-there")).unwrap();
    }

    #[test]
    fn no_way_leads_over_a_link() {
        let (_root, disk) = instance();
        symlink("../outside", disk.path("/var/link")).unwrap();
        assert!(matches!(disk.entries("/var/link"), Err(DiskError::Symlink { path, .. }) if path == "/var/link"));
        assert!(matches!(disk.remove("/var/link/precious"), Err(DiskError::Symlink { .. })));
        assert!(matches!(disk.set_aside("/var/link", "/var/other"), Err(DiskError::Symlink { .. })));
        assert!(is_there(&disk, "/var/link") && is_there(&disk, "/outside/precious"));
    }

    #[test]
    fn a_folder_that_is_set_aside_leaves_an_empty_one_of_its_mode() {
        let (_root, disk) = instance();
        fs::set_permissions(disk.path(DATA), Permissions::from_mode(0o711)).unwrap();
        disk.set_aside(DATA, "/var/lib/ecs/data.old").unwrap();
        assert_eq!(disk.read("/var/lib/ecs/data.old/agent.db", 9).unwrap().unwrap(), b"123");
        assert!(disk.entries(DATA).unwrap().is_empty());
        assert_eq!(fs::metadata(disk.path(DATA)).unwrap().mode() & 0o7777, 0o711);
        disk.create_like(DATA, "/outside").unwrap();
        assert_eq!(fs::metadata(disk.path(DATA)).unwrap().mode() & 0o7777, 0o711);
    }

    #[test]
    fn what_was_set_aside_before_is_never_replaced() {
        let (_root, disk) = instance();
        assert!(disk.set_aside(DATA, "/outside").is_err());
        assert!(is_there(&disk, "/outside/precious") && is_there(&disk, &format!("{DATA}/agent.db")));
    }

    #[test]
    fn a_mount_is_seen_on_a_folder_and_below_it() {
        let table = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 /x /var/lib/e\\040s/data/in rw - tmpfs t rw\n";
        let points: Vec<_> = mount_points(table).collect();
        assert_eq!(points, [Path::new("/"), Path::new("/var/lib/e s/data/in")]);
        let (_root, disk) = instance();
        assert!(!disk.is_mounted(DATA));
        assert!(Disk::new(PathBuf::from("/")).is_mounted("/proc"));
    }
}

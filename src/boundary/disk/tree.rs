//! Lists and removes files and whole folders below the root, and renames a folder to keep it as a copy.
//!
//! In: absolute paths, as for the rest of [`Disk`]. Out: the entries of a folder, or success once the change is durable
//! (it survives a power cut). It never follows a symbolic link, neither in the path nor below it, and never removes the
//! content of a file system that is mounted inside a folder.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Disk, DiskError, is_absent, sync_folder};

/// The type of a file system entry.
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

/// A file system entry. Of a symbolic link, the link itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TreeEntry {
    /// The absolute path on the instance, without the root.
    pub path: String,
    /// Whether it is a file, a folder or a link.
    pub entry_type: EntryType,
    /// The size in bytes, of a folder the size of all files in it; `None` if a part of it cannot be read.
    pub bytes: Option<u64>,
}

impl Disk {
    /// The entry at `path`; `None` if it does not exist.
    pub fn entry(&self, path: &str) -> Result<Option<TreeEntry>, DiskError> {
        const DOING: &str = "examine";
        self.refuse_links_above(DOING, path)?;
        let target = self.path(path);
        match fs::symlink_metadata(&target) {
            Ok(metadata) => {
                let (entry_type, bytes) = (entry_type(&metadata), size(&target).ok());
                Ok(Some(TreeEntry { path: path.to_owned(), entry_type, bytes }))
            }
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(DiskError::new(DOING, path, e)),
        }
    }

    /// The entries of a folder, sorted by path; none if the folder does not exist.
    pub fn entries(&self, folder: &str) -> Result<Vec<TreeEntry>, DiskError> {
        const DOING: &str = "list";
        self.refuse_links_above(DOING, &format!("{folder}/."))?;
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

    /// Removes a file, a link, or a folder with its content. A path that does not exist is a success.
    #[expect(clippy::disallowed_methods, reason = "this folder is where files are removed")]
    pub fn remove(&self, path: &str) -> Result<(), DiskError> {
        const DOING: &str = "remove";
        self.refuse_links_above(DOING, path)?;
        let target = self.path(path);
        let error = |e| DiskError::new(DOING, path, e);
        let metadata = match fs::symlink_metadata(&target) {
            Ok(metadata) => metadata,
            Err(e) if is_absent(&e) => return Ok(()),
            Err(e) => return Err(error(e)),
        };
        if metadata.is_dir() && self.is_mounted(path) {
            return Err(DiskError::Mounted { doing: DOING, path: path.to_owned() });
        }
        // Neither follows a link: `remove_dir_all` uses openat(2) and unlinkat(2).
        let removed = if metadata.is_dir() { fs::remove_dir_all(&target) } else { fs::remove_file(&target) };
        match removed {
            Err(e) if !is_absent(&e) => Err(error(e)),
            _ => target.parent().map_or(Ok(()), sync_folder).map_err(error),
        }
    }

    /// Renames the folder `from` to `to`, and creates an empty folder `from` with the same owner and mode. Existing
    /// content of `to` is never lost: rename(2) replaces only an empty folder.
    #[expect(clippy::disallowed_methods, reason = "this folder is where files are renamed")]
    pub fn set_aside(&self, from: &str, to: &str) -> Result<(), DiskError> {
        const DOING: &str = "move";
        self.refuse_links_above(DOING, &format!("{from}/."))?;
        self.refuse_links_above(DOING, to)?;
        if self.is_mounted(from) {
            return Err(DiskError::Mounted { doing: DOING, path: from.to_owned() });
        }
        fs::rename(self.path(from), self.path(to)).map_err(|e| DiskError::new(DOING, from, e))?;
        self.create_like(from, to)
    }

    /// Creates an empty folder with the owner and mode of the folder `model`, unless it exists.
    pub fn create_like(&self, path: &str, model: &str) -> Result<(), DiskError> {
        const DOING: &str = "create";
        self.refuse_links_above(DOING, path)?;
        let folder = self.path(path);
        let error = |e| DiskError::new(DOING, path, e);
        let wanted = fs::symlink_metadata(self.path(model)).map_err(error)?;
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(error(e)),
            Ok(()) => {
                let created = fs::symlink_metadata(&folder).map_err(error)?;
                if (created.uid(), created.gid()) != (wanted.uid(), wanted.gid()) {
                    chown(&folder, Some(wanted.uid()), Some(wanted.gid())).map_err(error)?;
                }
                // After the change of owner, which clears bits.
                fs::set_permissions(&folder, Permissions::from_mode(wanted.mode() & 0o7777)).map_err(error)?;
            }
        }
        folder.parent().map_or(Ok(()), sync_folder).map_err(error)
    }

    /// Whether a file system is mounted on a folder or below it, including bind mounts, which have the same device
    /// number. If the mount table cannot be read the answer is `true`, so that no data is lost.
    pub fn is_mounted(&self, folder: &str) -> bool {
        let target = self.path(folder);
        let real = target.canonicalize().unwrap_or(target);
        // The table of this process, so not below the root.
        let table = fs::File::options().read(true).open("/proc/self/mountinfo").and_then(io::read_to_string);
        table.map_or(true, |table| mount_points(&table).any(|point| point.starts_with(&real)))
    }

    /// [`DiskError::Symlink`] if a folder above `path` is a symbolic link. `path` itself may be a link.
    fn refuse_links_above(&self, doing: &'static str, path: &str) -> Result<(), DiskError> {
        let slashes = path.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0);
        for above in slashes.map(|at| &path[..at]) {
            match fs::symlink_metadata(self.path(above)) {
                Ok(found) if found.is_symlink() => return Err(DiskError::Symlink { doing, path: above.to_owned() }),
                Ok(_) => {}
                Err(e) if is_absent(&e) => return Ok(()),
                Err(e) => return Err(DiskError::new(doing, above, e)),
            }
        }
        Ok(())
    }
}

fn entry_type(metadata: &fs::Metadata) -> EntryType {
    match metadata.file_type() {
        found if found.is_file() => EntryType::File,
        found if found.is_dir() => EntryType::Folder,
        found if found.is_symlink() => EntryType::Link,
        _ => EntryType::Other,
    }
}

fn size(path: &Path) -> io::Result<u64> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        bytes += size(&entry?.path())?;
    }
    Ok(bytes)
}

/// The mount points of a mount table: the fifth field of each line. Spaces and backslashes in it are written as `\` and
/// three octal digits (proc_pid_mountinfo(5)).
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
    fn lists_entries_with_their_types_and_sizes() {
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
    fn a_path_through_a_link_is_refused() {
        let (_root, disk) = instance();
        symlink("../outside", disk.path("/var/link")).unwrap();
        assert!(matches!(disk.entries("/var/link"), Err(DiskError::Symlink { path, .. }) if path == "/var/link"));
        assert!(matches!(disk.remove("/var/link/precious"), Err(DiskError::Symlink { .. })));
        assert!(matches!(disk.set_aside("/var/link", "/var/other"), Err(DiskError::Symlink { .. })));
        assert!(is_there(&disk, "/var/link") && is_there(&disk, "/outside/precious"));
    }

    #[test]
    fn setting_a_folder_aside_leaves_an_empty_folder_with_its_mode() {
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
    fn an_older_copy_is_never_replaced() {
        let (_root, disk) = instance();
        assert!(disk.set_aside(DATA, "/outside").is_err());
        assert!(is_there(&disk, "/outside/precious") && is_there(&disk, &format!("{DATA}/agent.db")));
    }

    #[test]
    fn finds_a_mount_on_a_folder_and_below_it() {
        let table = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 /x /var/lib/e\\040s/data/in rw - tmpfs t rw\n";
        let points: Vec<_> = mount_points(table).collect();
        assert_eq!(points, [Path::new("/"), Path::new("/var/lib/e s/data/in")]);
        let (_root, disk) = instance();
        assert!(!disk.is_mounted(DATA));
        assert!(Disk::new(PathBuf::from("/")).is_mounted("/proc"));
    }
}

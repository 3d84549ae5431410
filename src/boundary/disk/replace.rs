//! Replaces files atomically: a reader sees the old content or the new content, also after a power cut.
//!
//! In: the whole new content. Out: success once the content is durable. It never follows a symbolic link.
//! [`Disk::replace_unchanged`] never overwrites what another process has written since the file was read.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use nix::libc;
use tempfile::NamedTempFile;

use super::{Disk, DiskError, FinalLink, Mode, survives_reboot, sync_folder};

/// Part of the name of each temporary file that ecs-bootstrap creates, after a dot and the name of the target.
const TEMPORARY: &str = ".ecs-bootstrap-";

/// When a written file survives a power cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durability {
    Immediate,
    AfterSync,
}

impl Disk {
    /// Replaces a file atomically and durably (below /run: atomically). The folder must exist. A target that is not a
    /// regular file is an error. Temporary files that a killed process has left beside the target are removed.
    pub fn replace(&self, path: &str, bytes: &[u8], mode: Mode) -> Result<(), DiskError> {
        let durability = if survives_reboot(path) { Durability::Immediate } else { Durability::AfterSync };
        self.write(path, bytes, mode, durability, || Ok(()))
    }

    /// Replaces a file if its content is still `old` just before the replacement; otherwise [`DiskError::Changed`], so
    /// that lines which another process has appended are not lost. A file that does not exist counts as empty.
    pub fn replace_unchanged(&self, path: &str, old: &[u8], bytes: &[u8], mode: Mode) -> Result<(), DiskError> {
        let is_unchanged = || match self.read(path, old.len()) {
            Ok(now) if now.as_deref().unwrap_or_default() == old => Ok(()),
            Ok(_) | Err(DiskError::TooLarge { .. }) => Err(DiskError::Changed { path: path.to_owned() }),
            Err(error) => Err(error),
        };
        self.write(path, bytes, mode, Durability::Immediate, is_unchanged)
    }

    /// Replaces a file without a sync, and creates its folder if necessary. The file survives a crash of this process,
    /// but a power cut only after [`Disk::sync`]. For a file that must exist before the next step, which is urgent.
    pub fn replace_without_sync(&self, path: &str, bytes: &[u8], mode: Mode) -> Result<(), DiskError> {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.create_folder_without_sync(folder, 0o755)?;
        }
        self.write(path, bytes, mode, Durability::AfterSync, || Ok(()))
    }

    /// Syncs a file and the two folders above it, so that they survive a power cut.
    pub fn sync(&self, path: &str) -> Result<(), DiskError> {
        let error = |e| DiskError::new("write", path, e);
        let Some((file, _)) = self.open(path, libc::O_NOFOLLOW)? else { return Ok(()) };
        file.sync_all().map_err(error)?;
        let resolved = self.resolve(path, FinalLink::Kept).map_err(error)?;
        resolved.ancestors().skip(1).take(2).try_for_each(sync_folder).map_err(error)
    }

    /// Removes the temporary files that a killed process has left beside `path`, if this run does not replace `path`.
    pub fn remove_temporary_files(&self, path: &str) {
        let Ok(target) = self.resolve(path, FinalLink::Kept) else { return };
        if let (Some(folder), Some(name)) = (target.parent(), target.file_name().and_then(|name| name.to_str())) {
            remove_abandoned(folder, &temporary_prefix(name));
        }
    }

    /// Removes the temporary files that killed processes have left in a folder in which only ecs-bootstrap writes.
    pub fn remove_all_temporary_files(&self, folder: &str) {
        if let Ok(folder) = self.resolve(folder, FinalLink::Kept) {
            remove_abandoned_if(&folder, |name| name.starts_with('.') && name.contains(TEMPORARY));
        }
    }

    /// Writes a temporary file and renames it to `path` if `check` succeeds just before the rename.
    fn write(
        &self,
        path: &str,
        bytes: &[u8],
        mode: Mode,
        durability: Durability,
        check: impl Fn() -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        const DOING: &str = "write";
        let error = |e| DiskError::new(DOING, path, e);
        let target = self.resolve(path, FinalLink::Kept).map_err(error)?;
        let old = match fs::symlink_metadata(&target) {
            Ok(metadata) if metadata.is_symlink() => {
                return Err(DiskError::Symlink { doing: DOING, path: path.to_owned() });
            }
            Ok(metadata) if !metadata.is_file() => {
                return Err(DiskError::NotAFile { doing: DOING, path: path.to_owned() });
            }
            Ok(metadata) => Some(metadata),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
                return Err(DiskError::NotAFolder { doing: DOING, path: path.to_owned() });
            }
            Err(e) => return Err(error(e)),
        };
        let (Some(folder), Some(name)) = (target.parent(), target.file_name().and_then(|name| name.to_str())) else {
            return Err(DiskError::NotAFile { doing: DOING, path: path.to_owned() });
        };
        let prefix = temporary_prefix(name);
        remove_abandoned(folder, &prefix);
        let mut temporary = create_temporary(folder, &prefix).map_err(error)?;
        write_temporary(&mut temporary, bytes, mode, old.as_ref()).map_err(error)?;
        if durability == Durability::Immediate {
            temporary.as_file().sync_all().map_err(error)?;
        }
        check()?;
        temporary.persist(&target).map_err(|e| error(e.error))?;
        if durability == Durability::Immediate { sync_folder(folder).map_err(error) } else { Ok(()) }
    }
}

/// The start of the names of temporary files for the target `name`.
fn temporary_prefix(name: &str) -> String {
    format!(".{name}{TEMPORARY}")
}

/// Creates a temporary file that only its owner can read, and locks it. The lock shows other ecs-bootstrap processes
/// that the file is in use. A process may find the file between its creation and the lock: then the file has been
/// removed or locked, and another one is created.
pub(super) fn create_temporary(folder: &Path, prefix: &str) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).permissions(Permissions::from_mode(0o600));
    loop {
        let temporary = builder.tempfile_in(folder)?;
        match temporary.as_file().try_lock() {
            Ok(()) if temporary.as_file().metadata()?.nlink() > 0 => return Ok(temporary),
            Ok(()) | Err(fs::TryLockError::WouldBlock) => {}
            Err(fs::TryLockError::Error(e)) => return Err(e),
        }
    }
}

fn write_temporary(
    temporary: &mut NamedTempFile,
    bytes: &[u8],
    mode: Mode,
    old: Option<&fs::Metadata>,
) -> io::Result<()> {
    temporary.write_all(bytes)?;
    let file = temporary.as_file();
    if let Some(old) = old {
        let now = file.metadata()?;
        if (now.uid(), now.gid()) != (old.uid(), old.gid()) {
            match fchown(file, Some(old.uid()), Some(old.gid())) {
                // ecs-bootstrap.service has no capabilities, so it cannot change the owner. The mode is kept.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                    tracing::warn!(uid = old.uid(), gid = old.gid(), "owner of the replaced file not kept");
                }
                other => other?,
            }
        }
    }
    let bits = match (mode, old) {
        (Mode::Keep { .. }, Some(old)) => old.mode() & 0o7777,
        (Mode::Keep { or: bits }, None) | (Mode::Exactly(bits), _) => bits,
    };
    // After the change of owner, which clears bits.
    file.set_permissions(Permissions::from_mode(bits))
}

fn remove_abandoned(folder: &Path, prefix: &str) {
    remove_abandoned_if(folder, |name| name.starts_with(prefix));
}

/// Removes the temporary files that no process has locked. Errors are ignored: a file that stays does no harm, and the
/// same problem (a read-only disk) is reported when the new file is written.
#[expect(clippy::disallowed_methods, reason = "this file is where files are removed")]
fn remove_abandoned_if(folder: &Path, is_temporary: impl Fn(&str) -> bool) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_str().is_some_and(&is_temporary) {
            continue;
        }
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let Ok(file) = options.open(entry.path()) else { continue };
        if file.try_lock().is_ok() && fs::remove_file(entry.path()).is_ok() {
            tracing::debug!(path = %entry.path().display(), "removed a temporary file of an interrupted write");
        }
    }
}

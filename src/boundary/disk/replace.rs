//! Replaces files in one step: whoever looks, now or after a power cut, sees the old content or the new.
//!
//! In: the whole new content. Out: that it is there for good. Links are not followed, and what another process has
//! written meanwhile is not replaced where that is asked for.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use nix::libc;
use tempfile::NamedTempFile;

use super::{Disk, DiskError, Last, Mode, lasts, sync_folder};

/// Marks a temporary file of ours, after a dot and the name of its target.
const TEMPORARY: &str = ".ecs-bootstrap-";

/// From when on a file lasts through a power cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lasts {
    Now,
    AfterSync,
}

impl Disk {
    /// Replaces a file as one step: whoever looks, now or after a power cut, sees the old content or the new. The folder
    /// must be there. A target that is no regular file is refused. Temporary files that a killed process left are
    /// removed.
    pub fn replace(&self, path: &str, bytes: &[u8], mode: Mode) -> Result<(), DiskError> {
        let lasts = if lasts(path) { Lasts::Now } else { Lasts::AfterSync };
        self.put(path, bytes, mode, lasts, || Ok(()))
    }

    /// The same, if the file still holds `old` (nothing, when it is absent) just before it is replaced; else
    /// [`DiskError::Changed`]. What others append is not lost.
    pub fn replace_unchanged(&self, path: &str, old: &[u8], bytes: &[u8], mode: Mode) -> Result<(), DiskError> {
        let is_unchanged = || match self.read(path, old.len()) {
            Ok(now) if now.as_deref().unwrap_or_default() == old => Ok(()),
            Ok(_) | Err(DiskError::TooLarge { .. }) => Err(DiskError::Changed { path: path.to_owned() }),
            Err(error) => Err(error),
        };
        self.put(path, bytes, mode, Lasts::Now, is_unchanged)
    }

    /// Replaces a file, in a folder that is made if it is absent, so that it outlives this process; a power cut only after
    /// [`Disk::sync`]. For what must be there before something else.
    pub fn replace_soon(&self, path: &str, bytes: &[u8], mode: Mode) -> Result<(), DiskError> {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.make_folder(folder, 0o755)?;
        }
        self.put(path, bytes, mode, Lasts::AfterSync, || Ok(()))
    }

    /// Makes such a file, and the two folders above it, last through a power cut.
    pub fn sync(&self, path: &str) -> Result<(), DiskError> {
        let error = |e| DiskError::new("write", path, e);
        let Some((file, _)) = self.open(path, libc::O_NOFOLLOW)? else { return Ok(()) };
        file.sync_all().map_err(error)?;
        let place = self.inside(path, Last::Kept).map_err(error)?;
        place.ancestors().skip(1).take(2).try_for_each(sync_folder).map_err(error)
    }

    /// Removes the temporary files that a killed process left beside a file which is not replaced now.
    pub fn remove_temporaries(&self, path: &str) {
        let Ok(target) = self.inside(path, Last::Kept) else { return };
        if let (Some(folder), Some(name)) = (target.parent(), target.file_name().and_then(|name| name.to_str())) {
            remove_abandoned(folder, &temporary_prefix(name));
        }
    }

    fn put(
        &self,
        path: &str,
        bytes: &[u8],
        mode: Mode,
        lasts: Lasts,
        check: impl Fn() -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        const DOING: &str = "write";
        let error = |e| DiskError::new(DOING, path, e);
        let target = self.inside(path, Last::Kept).map_err(error)?;
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
        if lasts == Lasts::Now {
            temporary.as_file().sync_all().map_err(error)?;
        }
        check()?;
        temporary.persist(&target).map_err(|e| error(e.error))?;
        if lasts == Lasts::Now { sync_folder(folder).map_err(error) } else { Ok(()) }
    }
}

/// What the names of temporary files beside a target begin with.
fn temporary_prefix(name: &str) -> String {
    format!(".{name}{TEMPORARY}")
}

/// A file that only we may read, locked for as long as it is being written, so that no other process of ours takes it
/// for abandoned. Between its creation and its lock it could: then its name is gone, or its lock taken, and another is
/// made.
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
                // Our unit has no capabilities; who may read it by its mode still may.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                    tracing::warn!(
                        uid = old.uid(),
                        gid = old.gid(),
                        "the file now belongs to this user: its owner cannot be kept"
                    );
                }
                other => other?,
            }
        }
    }
    let bits = match (mode, old) {
        (Mode::Keep { .. }, Some(old)) => old.mode() & 0o7777,
        (Mode::Keep { or: bits }, None) | (Mode::Exactly(bits), _) => bits,
    };
    // Last, because a change of owner clears bits.
    file.set_permissions(Permissions::from_mode(bits))
}

/// Removes the temporary files that nobody holds any more. One that cannot be removed harms nobody, and whatever keeps
/// it there will name itself when the new file is written.
#[expect(clippy::disallowed_methods, reason = "this file is where files are removed")]
fn remove_abandoned(folder: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix)) {
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

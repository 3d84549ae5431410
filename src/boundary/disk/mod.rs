//! Reads and replaces files below a root; what concerns whole folders is in `tree`.
//!
//! In: absolute paths as they are on the instance, taken below the root that `--root` names. Out: bytes within a limit,
//! or an error that says what was being done to which path. It never waits (not on a FIFO, not on a lock), never shows
//! a half-written file, and never writes through a symbolic link.

mod inside;
mod replace;
mod tree;

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::libc;

pub(super) use self::inside::Last;
use self::inside::inside;
pub use self::tree::{Entry, EntryType};

/// The files below a root.
#[derive(Clone, Debug)]
pub struct Disk {
    root: PathBuf,
}

/// A regular file as it was when it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct FileState {
    /// The whole content; never in `Debug`, for it may hold secrets.
    pub bytes: Vec<u8>,
    /// The permission bits, without the file type.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The last change of its content.
    pub modified: SystemTime,
}

impl fmt::Debug for FileState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FileState { bytes, mode, uid, gid, modified } = self;
        f.debug_struct("FileState")
            .field("bytes", &bytes.len())
            .field("mode", &format_args!("{mode:04o}"))
            .field("uid", uid)
            .field("gid", gid)
            .field("modified", modified)
            .finish()
    }
}

/// The end of a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Tail {
    /// The last bytes; the first line may be cut. Never in `Debug`, for the log is somebody else's.
    pub bytes: Vec<u8>,
    /// The size of the whole file in bytes.
    pub size: u64,
    /// Differs once the log has been rotated.
    pub inode: u64,
    /// The last change of its content.
    pub modified: SystemTime,
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tail { bytes, size, inode, modified } = self;
        f.debug_struct("Tail")
            .field("bytes", &bytes.len())
            .field("size", size)
            .field("inode", inode)
            .field("modified", modified)
            .finish()
    }
}

/// A file of which parts are read, since it may be long.
#[derive(Debug)]
pub struct Parts {
    file: File,
    /// Its size in bytes when it was opened.
    pub size: u64,
}

impl Parts {
    /// So many bytes from an offset; `None` where the file is shorter or cannot be read.
    pub fn part(&self, at: u64, length: usize) -> Option<Vec<u8>> {
        at.checked_add(length as u64).filter(|end| *end <= self.size)?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, at).ok()?;
        Some(bytes)
    }
}

/// The permission bits of a replaced file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Mode, owner and group of the old file; `or` where there was none.
    Keep {
        /// The mode of a new file.
        or: u32,
    },
    /// This mode, and the owner of the old file where there is one.
    Exactly(u32),
}

/// An exclusive lock, released on drop and by the kernel when the process dies.
#[derive(Debug)]
pub struct Lock {
    _held: File,
}

/// What stopped an operation on a file. `path` is the one below the root.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// It is a symbolic link where none is followed, or a loop of them.
    #[error("cannot {doing} `{path}`: it is a symbolic link")]
    Symlink {
        /// The verb.
        doing: &'static str,
        /// Below the root.
        path: String,
    },
    /// It is a folder, a FIFO, a socket or a device.
    #[error("cannot {doing} `{path}`: it is not a regular file")]
    NotAFile {
        /// The verb.
        doing: &'static str,
        /// Below the root.
        path: String,
    },
    /// Something that is not a folder is where a folder must be.
    #[error("cannot {doing} `{path}`: something that is not a folder is in its place")]
    NotAFolder {
        /// The verb.
        doing: &'static str,
        /// Below the root.
        path: String,
    },
    /// Another file system is mounted on it or below it.
    #[error("cannot {doing} `{path}`: another file system is mounted there")]
    Mounted {
        /// The verb.
        doing: &'static str,
        /// Below the root.
        path: String,
    },
    /// It is longer than this program takes.
    #[error("cannot read `{path}`: it is longer than {limit} bytes")]
    TooLarge {
        /// Below the root.
        path: String,
        /// In bytes.
        limit: usize,
    },
    /// Somebody has written to it since it was read.
    #[error("`{path}` was changed by somebody else meanwhile")]
    Changed {
        /// Below the root.
        path: String,
    },
    /// Another process holds the lock.
    #[error("`{path}` is locked by another process")]
    Busy {
        /// Below the root.
        path: String,
    },
    /// No space, or none within the quota (ENOSPC, EDQUOT).
    #[error("cannot {doing} `{path}`")]
    Full {
        /// The verb.
        doing: &'static str,
        /// Below the root.
        path: String,
        /// As the kernel said it.
        source: io::Error,
    },
    /// The file system is mounted read-only (EROFS).
    #[error("cannot {doing} `{path}`")]
    ReadOnly {
        /// The verb.
        doing: &'static str,
        /// Below the root.
        path: String,
        /// As the kernel said it.
        source: io::Error,
    },
    /// This user may not (EACCES, EPERM).
    #[error("cannot {doing} `{path}`")]
    Denied {
        /// The verb.
        doing: &'static str,
        /// Below the root.
        path: String,
        /// As the kernel said it.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot {doing} `{path}`")]
    Io {
        /// The verb.
        doing: &'static str,
        /// Below the root.
        path: String,
        /// As the kernel said it.
        source: io::Error,
    },
}

impl DiskError {
    fn new(doing: &'static str, path: &str, source: io::Error) -> DiskError {
        let path = path.to_owned();
        // Where tempfile has added its path to an error, its kind is all that is left of the number.
        let number = source.raw_os_error().or(match source.kind() {
            io::ErrorKind::StorageFull => Some(libc::ENOSPC),
            io::ErrorKind::QuotaExceeded => Some(libc::EDQUOT),
            io::ErrorKind::ReadOnlyFilesystem => Some(libc::EROFS),
            io::ErrorKind::PermissionDenied => Some(libc::EACCES),
            _ => None,
        });
        match number {
            Some(libc::ELOOP) => DiskError::Symlink { doing, path },
            // What opening a socket answers, and a folder opened for writing.
            Some(libc::ENXIO | libc::EISDIR) => DiskError::NotAFile { doing, path },
            Some(libc::ENOSPC | libc::EDQUOT) => DiskError::Full { doing, path, source },
            Some(libc::EROFS) => DiskError::ReadOnly { doing, path, source },
            Some(libc::EACCES | libc::EPERM) => DiskError::Denied { doing, path, source },
            _ => DiskError::Io { doing, path, source },
        }
    }
}

impl Disk {
    /// Everything below `root`; `/` on an instance.
    pub fn new(root: PathBuf) -> Disk {
        Disk { root }
    }

    /// The root, where it is not that of this host.
    pub fn named_root(&self) -> Option<String> {
        (self.root != Path::new("/")).then(|| self.root.display().to_string())
    }

    /// Where `absolute` lies below the root.
    pub fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// The same with the links on the way to it resolved, so that it never lies outside the root.
    pub(super) fn inside(&self, absolute: &str, last: Last) -> io::Result<PathBuf> {
        inside(&self.root, absolute, last)
    }

    /// Whether systemd has booted from this root (sd_booted(3)), also where it is this machine's own by another name, such
    /// as a bind mount without `/run`. What cannot be looked at may have booted.
    pub fn is_booted(&self) -> bool {
        let is_at = |root: &Path| root.join("run/systemd/system").try_exists().unwrap_or(true);
        let place = |root: &Path| fs::metadata(root).map(|about| (about.dev(), about.ino())).ok();
        let own = Path::new("/");
        is_at(&self.root) || (place(&self.root) == place(own) && is_at(own))
    }

    /// The content of a file, `None` when it is absent. Links are followed; files of `/proc`, whose size is 0, are read
    /// too. Longer than `limit` bytes is an error.
    pub fn read(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, DiskError> {
        let Some((mut file, _)) = self.open(path, 0)? else { return Ok(None) };
        read_within(&mut file, path, limit).map(Some)
    }

    /// What `take` makes of the lines of a file, until it says that the rest is of no interest; `None` when it is absent.
    /// More than `most` bytes before that are an error.
    pub fn lines<T>(
        &self,
        path: &str,
        most: usize,
        take: impl FnMut(&str) -> ControlFlow<(), Option<T>>,
    ) -> Result<Option<Vec<T>>, DiskError> {
        let Some((file, _)) = self.open(path, 0)? else { return Ok(None) };
        let lines = BufReader::with_capacity(64 << 10, file.take(most as u64)).split(b'\n');
        let (mut taken, mut take, mut read) = (Vec::new(), take, 0);
        for line in lines {
            let line = line.map_err(|e| DiskError::new("read", path, e))?;
            read += line.len() + 1;
            if read >= most {
                return Err(DiskError::TooLarge { path: path.to_owned(), limit: most });
            }
            match take(&String::from_utf8_lossy(&line)) {
                ControlFlow::Continue(found) => taken.extend(found),
                ControlFlow::Break(()) => break,
            }
        }
        Ok(Some(taken))
    }

    /// A file with its owner and mode, `None` when it is absent. A symbolic link is refused: what is read so is going
    /// to be replaced.
    pub fn read_regular(&self, path: &str, limit: usize) -> Result<Option<FileState>, DiskError> {
        let Some((mut file, metadata)) = self.open(path, libc::O_NOFOLLOW)? else { return Ok(None) };
        let bytes = read_within(&mut file, path, limit)?;
        let modified = metadata.modified().map_err(|e| DiskError::new("read", path, e))?;
        let (uid, gid) = (metadata.uid(), metadata.gid());
        Ok(Some(FileState { bytes, mode: metadata.mode() & 0o7777, uid, gid, modified }))
    }

    /// A file to read parts of, `None` when it is absent.
    pub fn parts(&self, path: &str) -> Result<Option<Parts>, DiskError> {
        Ok(self.open(path, 0)?.map(|(file, metadata)| Parts { file, size: metadata.len() }))
    }

    /// The last `most` bytes of a log that others append to, `None` when it is absent.
    pub fn tail(&self, path: &str, most: usize) -> Result<Option<Tail>, DiskError> {
        let Some((mut file, metadata)) = self.open(path, 0)? else { return Ok(None) };
        let error = |e| DiskError::new("read", path, e);
        let (size, limit) = (metadata.len(), most as u64);
        file.seek(SeekFrom::Start(size.saturating_sub(limit))).map_err(error)?;
        let mut bytes = Vec::new();
        // The log may grow meanwhile: what was added after its size was taken belongs to the next look.
        file.take(limit.min(size)).read_to_end(&mut bytes).map_err(error)?;
        Ok(Some(Tail { bytes, size, inode: metadata.ino(), modified: metadata.modified().map_err(error)? }))
    }

    /// The names in a folder, sorted; none when it is absent. A name that is not UTF-8 is left out.
    pub fn list(&self, folder: &str) -> Result<Vec<String>, DiskError> {
        let error = |e| DiskError::new("list", folder, e);
        let entries = match self.inside(folder, Last::Followed).and_then(fs::read_dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(error(e)),
        };
        // A folder of ours has a few names; of a folder that somebody has filled the rest is not looked at.
        const MOST_NAMES: usize = 20_000;
        let mut names = Vec::new();
        for entry in entries.take(MOST_NAMES) {
            names.extend(entry.map_err(error)?.file_name().into_string().ok());
        }
        names.sort();
        Ok(names)
    }

    /// Whether anything is there, links followed.
    pub fn exists(&self, path: &str) -> Result<bool, DiskError> {
        let exists = self.inside(path, Last::Followed).and_then(|place| place.try_exists());
        exists.map_err(|e| DiskError::new("look at", path, e))
    }

    /// When the content last changed, links followed; `None` when it is absent.
    pub fn modified(&self, path: &str) -> Result<Option<SystemTime>, DiskError> {
        let metadata = self.inside(path, Last::Followed).and_then(fs::metadata);
        match metadata.and_then(|metadata| metadata.modified()) {
            Ok(modified) => Ok(Some(modified)),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(DiskError::new("look at", path, e)),
        }
    }

    /// Makes a folder and those above it, `mode` whatever the umask is. One that is there already is left as it is.
    pub fn create_folder(&self, path: &str, mode: u32) -> Result<(), DiskError> {
        let made = self.make_folder(path, mode)?.filter(|_| lasts(path));
        let parent = made.as_deref().and_then(Path::parent);
        parent.map_or(Ok(()), sync_folder).map_err(|e| DiskError::new("create", path, e))
    }

    /// The same without seeing to it that it lasts; where it lies, if it was made.
    fn make_folder(&self, path: &str, mode: u32) -> Result<Option<PathBuf>, DiskError> {
        let error = |e| DiskError::new("create", path, e);
        let folder = self.inside(path, Last::Followed).map_err(error)?;
        if folder.is_dir() {
            return Ok(None);
        }
        DirBuilder::new().recursive(true).mode(0o755).create(&folder).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                DiskError::NotAFolder { doing: "create", path: path.to_owned() }
            }
            _ => error(e),
        })?;
        fs::set_permissions(&folder, Permissions::from_mode(mode)).map_err(error)?;
        Ok(Some(folder))
    }

    /// Takes an exclusive lock on a file, which is made when it is absent. [`DiskError::Busy`] at once when another
    /// process holds it.
    pub fn lock(&self, path: &str) -> Result<Lock, DiskError> {
        let error = |e| DiskError::new("lock", path, e);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = self.inside(path, Last::Kept).and_then(|place| options.open(place)).map_err(error)?;
        if !file.metadata().map_err(error)?.is_file() {
            return Err(DiskError::NotAFile { doing: "lock", path: path.to_owned() });
        }
        match file.try_lock() {
            Ok(()) => Ok(Lock { _held: file }),
            Err(fs::TryLockError::WouldBlock) => Err(DiskError::Busy { path: path.to_owned() }),
            Err(fs::TryLockError::Error(e)) => Err(error(e)),
        }
    }

    /// Opens a regular file to read it. `O_NONBLOCK`: opening a FIFO would wait for a writer.
    fn open(&self, path: &str, flags: i32) -> Result<Option<(File, fs::Metadata)>, DiskError> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | flags);
        let error = |e| DiskError::new("read", path, e);
        let last = if flags & libc::O_NOFOLLOW == 0 { Last::Followed } else { Last::Kept };
        let file = match self.inside(path, last).and_then(|place| options.open(place)) {
            Ok(file) => file,
            Err(e) if is_absent(&e) => return Ok(None),
            Err(e) => return Err(error(e)),
        };
        let metadata = file.metadata().map_err(error)?;
        if !metadata.is_file() {
            return Err(DiskError::NotAFile { doing: "read", path: path.to_owned() });
        }
        Ok(Some((file, metadata)))
    }
}

/// A file of this host that is not below any root, such as `/etc/resolv.conf` or a CA bundle. It must be a regular file of
/// at most `limit` bytes.
pub(crate) fn read_of_host(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take((limit as u64).saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() > limit {
        true => Err(io::Error::other(format!("it is longer than {limit} bytes"))),
        false => Ok(bytes),
    }
}

/// Whether a path outlives the boot at all; what lies below /run does not (file-hierarchy(7)).
fn lasts(path: &str) -> bool {
    !path.starts_with("/run/")
}

/// A file below something that is no folder is as absent as any.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn read_within(file: &mut File, path: &str, limit: usize) -> Result<Vec<u8>, DiskError> {
    let mut bytes = Vec::new();
    let more_than_allowed = (limit as u64).saturating_add(1);
    file.take(more_than_allowed).read_to_end(&mut bytes).map_err(|e| DiskError::new("read", path, e))?;
    if bytes.len() > limit {
        return Err(DiskError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// Makes a rename in the folder, or a new entry, last through a power cut.
#[expect(clippy::disallowed_methods, reason = "this file is where files are opened")]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;

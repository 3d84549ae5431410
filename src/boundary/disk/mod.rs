//! Reads and writes files below a root directory. Operations on whole folders are in `tree`.
//!
//! In: absolute paths as the instance names them, resolved below the directory given by `--root`. Out: bytes within a
//! limit, or a [`DiskError`] with the operation and the path. It never blocks on a FIFO or a lock, never exposes a
//! half-written file, and never writes through a symbolic link.

mod error;
mod replace;
mod resolve;
mod tree;

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::libc;

pub use self::error::DiskError;
pub(super) use self::resolve::FinalLink;
use self::resolve::resolve;
pub use self::tree::{EntryType, TreeEntry};

/// The files below a root directory.
#[derive(Clone, Debug)]
pub struct Disk {
    root: PathBuf,
}

/// Content and metadata of a regular file at the time of reading.
#[derive(Clone, PartialEq, Eq)]
pub struct FileState {
    /// The whole content. Not in `Debug` output, because it may contain secrets.
    pub bytes: Vec<u8>,
    /// The permission bits, without the file type.
    pub mode: u32,
    /// The user id of the owner.
    pub uid: u32,
    /// The id of the group.
    pub gid: u32,
    /// When the content last changed.
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

/// The end of a log file.
#[derive(Clone, PartialEq, Eq)]
pub struct Tail {
    /// The last bytes; the first line may be cut off. Not in `Debug` output: other programs write these logs, and a log
    /// may contain secrets.
    pub bytes: Vec<u8>,
    /// The size of the whole file in bytes.
    pub size: u64,
    /// The inode number; it changes when the log is rotated.
    pub inode: u64,
    /// When the content last changed.
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

/// An open file that is too long to read completely; callers read ranges of it.
#[derive(Debug)]
pub struct RandomAccessFile {
    file: File,
    /// The size in bytes at the time of opening.
    pub size: u64,
}

impl RandomAccessFile {
    /// `length` bytes from the offset `at`; `None` if the file is shorter or cannot be read.
    pub fn read_at(&self, at: u64, length: usize) -> Option<Vec<u8>> {
        at.checked_add(length as u64).filter(|end| *end <= self.size)?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, at).ok()?;
        Some(bytes)
    }
}

/// The permission bits of the file that [`Disk::replace`] writes. The owner and the group of an old file are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The mode of the old file, or `or` if there is no old file.
    Keep {
        /// The mode of a new file.
        or: u32,
    },
    /// This mode, for an old and for a new file.
    Exactly(u32),
}

/// An exclusive file lock. It is released on drop, and by the kernel when the process dies.
#[derive(Debug)]
pub struct Lock {
    _held: File,
}

impl Disk {
    /// The files below `root`, which is `/` on a running instance.
    pub fn new(root: PathBuf) -> Disk {
        Disk { root }
    }

    /// The root, or `None` if it is `/`.
    pub fn alternate_root(&self) -> Option<String> {
        (self.root != Path::new("/")).then(|| self.root.display().to_string())
    }

    /// The path on this host of `absolute`, a path on the instance. Symbolic links are not resolved.
    pub fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// The path on this host of `absolute`, with symbolic links resolved so that it is never outside the root.
    pub(super) fn resolve(&self, absolute: &str, final_link: FinalLink) -> io::Result<PathBuf> {
        resolve(&self.root, absolute, final_link)
    }

    /// Whether systemd has booted from this root (sd_booted(3)). True also if the root is this host's `/` under another
    /// name, for example a bind mount without `/run`. If that cannot be found out, the answer is `true`.
    pub fn is_booted(&self) -> bool {
        let has_systemd = |root: &Path| root.join("run/systemd/system").try_exists().unwrap_or(true);
        let identity = |root: &Path| fs::metadata(root).map(|metadata| (metadata.dev(), metadata.ino())).ok();
        let host = Path::new("/");
        has_systemd(&self.root) || (identity(&self.root) == identity(host) && has_systemd(host))
    }

    /// The content of a file; `None` if it does not exist. Links are followed. Files of `/proc`, whose size is 0, are
    /// read too. More than `limit` bytes are [`DiskError::TooLarge`].
    pub fn read(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, DiskError> {
        let Some((mut file, metadata)) = self.open(path, 0)? else { return Ok(None) };
        read_within(&mut file, &metadata, path, limit).map(Some)
    }

    /// The values that `take` returns for the lines of a file; `None` if the file does not exist. Reading stops when
    /// `take` breaks. More than `most` bytes before that are [`DiskError::TooLarge`].
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

    /// A file with its owner and mode; `None` if it does not exist. A symbolic link is an error, because the caller is
    /// going to replace the file.
    pub fn read_regular(&self, path: &str, limit: usize) -> Result<Option<FileState>, DiskError> {
        let Some((mut file, metadata)) = self.open(path, libc::O_NOFOLLOW)? else { return Ok(None) };
        let bytes = read_within(&mut file, &metadata, path, limit)?;
        let modified = metadata.modified().map_err(|e| DiskError::new("read", path, e))?;
        let (uid, gid) = (metadata.uid(), metadata.gid());
        Ok(Some(FileState { bytes, mode: metadata.mode() & 0o7777, uid, gid, modified }))
    }

    /// Opens a file to read ranges of it; `None` if it does not exist.
    pub fn random_access(&self, path: &str) -> Result<Option<RandomAccessFile>, DiskError> {
        Ok(self.open(path, 0)?.map(|(file, metadata)| RandomAccessFile { file, size: metadata.len() }))
    }

    /// The last `most` bytes of a log that another process may append to; `None` if it does not exist.
    pub fn tail(&self, path: &str, most: usize) -> Result<Option<Tail>, DiskError> {
        let Some((mut file, metadata)) = self.open(path, 0)? else { return Ok(None) };
        let error = |e| DiskError::new("read", path, e);
        let (size, limit) = (metadata.len(), most as u64);
        file.seek(SeekFrom::Start(size.saturating_sub(limit))).map_err(error)?;
        let mut bytes = Vec::new();
        // The log may grow in the meantime. The next call reads what was appended after the size was taken.
        file.take(limit.min(size)).read_to_end(&mut bytes).map_err(error)?;
        Ok(Some(Tail { bytes, size, inode: metadata.ino(), modified: metadata.modified().map_err(error)? }))
    }

    /// The names in a folder, sorted; none if it does not exist. A name that is not UTF-8 is left out.
    pub fn list(&self, folder: &str) -> Result<Vec<String>, DiskError> {
        let error = |e| DiskError::new("list", folder, e);
        let entries = match self.resolve(folder, FinalLink::Followed).and_then(fs::read_dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(error(e)),
        };
        // The folders that are listed have a few names. If another program has filled one, the rest is ignored.
        const MAX_NAMES: usize = 20_000;
        let mut names = Vec::new();
        for entry in entries.take(MAX_NAMES) {
            names.extend(entry.map_err(error)?.file_name().into_string().ok());
        }
        names.sort();
        Ok(names)
    }

    /// Whether the path exists. Links are followed.
    pub fn exists(&self, path: &str) -> Result<bool, DiskError> {
        let exists = self.resolve(path, FinalLink::Followed).and_then(|resolved| resolved.try_exists());
        exists.map_err(|e| DiskError::new("examine", path, e))
    }

    /// When the content last changed; `None` if the path does not exist. Links are followed.
    pub fn modified(&self, path: &str) -> Result<Option<SystemTime>, DiskError> {
        let metadata = self.resolve(path, FinalLink::Followed).and_then(fs::metadata);
        match metadata.and_then(|metadata| metadata.modified()) {
            Ok(modified) => Ok(Some(modified)),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(DiskError::new("examine", path, e)),
        }
    }

    /// Creates a folder and its missing parents, and syncs them. `mode` does not depend on the umask. A folder that
    /// exists is not changed.
    pub fn create_folder(&self, path: &str, mode: u32) -> Result<(), DiskError> {
        let created = self.create_folder_without_sync(path, mode)?.filter(|_| survives_reboot(path));
        let parent = created.as_deref().and_then(Path::parent);
        parent.map_or(Ok(()), sync_folder).map_err(|e| DiskError::new("create", path, e))
    }

    /// [`Disk::create_folder`] without the sync. Returns the path on this host if the folder was created.
    fn create_folder_without_sync(&self, path: &str, mode: u32) -> Result<Option<PathBuf>, DiskError> {
        let error = |e| DiskError::new("create", path, e);
        let folder = self.resolve(path, FinalLink::Followed).map_err(error)?;
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

    /// Takes an exclusive lock on a file, which is created if it does not exist. Never waits: [`DiskError::Busy`] if
    /// another process holds the lock.
    pub fn lock(&self, path: &str) -> Result<Lock, DiskError> {
        let error = |e| DiskError::new("lock", path, e);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = self.resolve(path, FinalLink::Kept).and_then(|resolved| options.open(resolved)).map_err(error)?;
        if !file.metadata().map_err(error)?.is_file() {
            return Err(DiskError::NotAFile { doing: "lock", path: path.to_owned() });
        }
        match file.try_lock() {
            Ok(()) => Ok(Lock { _held: file }),
            Err(fs::TryLockError::WouldBlock) => Err(DiskError::Busy { path: path.to_owned() }),
            Err(fs::TryLockError::Error(e)) => Err(error(e)),
        }
    }

    /// Opens a regular file to read it. With `O_NONBLOCK`, because opening a FIFO would wait for a writer.
    fn open(&self, path: &str, flags: i32) -> Result<Option<(File, fs::Metadata)>, DiskError> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | flags);
        let error = |e| DiskError::new("read", path, e);
        let final_link = if flags & libc::O_NOFOLLOW == 0 { FinalLink::Followed } else { FinalLink::Kept };
        let file = match self.resolve(path, final_link).and_then(|resolved| options.open(resolved)) {
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

/// Reads a file of this host that does not depend on `--root`, such as `/etc/resolv.conf` or a CA bundle. It must be a
/// regular file of at most `limit` bytes.
pub(crate) fn read_of_host(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take((limit as u64).saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(io::Error::other(format!("it is longer than {limit} bytes")));
    }
    Ok(bytes)
}

/// Whether a file with this path still exists after a reboot. Files below /run do not (file-hierarchy(7)).
fn survives_reboot(path: &str) -> bool {
    !path.starts_with("/run/")
}

/// Whether the error means that the file does not exist. That includes a path below a file that is not a folder.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The capacity of the buffer for a file of unknown size, in bytes.
const FIRST_READ: usize = 4096;

fn read_within(file: &mut File, metadata: &fs::Metadata, path: &str, limit: usize) -> Result<Vec<u8>, DiskError> {
    // One more than the size, so that the second read finds the end. A file of `/proc` has the size 0.
    let size = usize::try_from(metadata.len()).unwrap_or(usize::MAX).min(limit);
    let mut bytes = Vec::with_capacity(if size == 0 { FIRST_READ } else { size.saturating_add(1) });
    let more_than_allowed = (limit as u64).saturating_add(1);
    file.take(more_than_allowed).read_to_end(&mut bytes).map_err(|e| DiskError::new("read", path, e))?;
    if bytes.len() > limit {
        return Err(DiskError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// Syncs a folder, so that a rename in it, or a new entry, survives a power cut.
#[expect(clippy::disallowed_methods, reason = "this file is where files are opened")]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;

//! Why a file operation failed, sorted by what an administrator has to do about it.
//!
//! In: the verb, the path and the kernel's error. Out: a [`DiskError`]. It keeps no file content.

use std::io;

use nix::libc;

/// Why a file operation failed.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The path is a symbolic link where links are not followed, or a loop of links.
    #[error("cannot {doing} `{path}`: it is a symbolic link")]
    Symlink {
        /// The verb of the message, for example `write`.
        doing: &'static str,
        /// As the instance names it, without the root.
        path: String,
    },
    /// The path is a folder, a FIFO, a socket or a device.
    #[error("cannot {doing} `{path}`: it is not a regular file")]
    NotAFile {
        /// The verb of the message, for example `write`.
        doing: &'static str,
        /// As the instance names it, without the root.
        path: String,
    },
    /// A part of the path exists but is not a folder.
    #[error("cannot {doing} `{path}`: a part of the path is not a folder")]
    NotAFolder {
        /// The verb of the message, for example `write`.
        doing: &'static str,
        /// As the instance names it, without the root.
        path: String,
    },
    /// Another file system is mounted on the folder or below it.
    #[error("cannot {doing} `{path}`: another file system is mounted there")]
    Mounted {
        /// The verb of the message, for example `write`.
        doing: &'static str,
        /// As the instance names it, without the root.
        path: String,
    },
    /// The file is longer than the caller accepts.
    #[error("cannot read `{path}`: it is longer than {limit} bytes")]
    TooLarge {
        /// As the instance names it, without the root.
        path: String,
        /// The most bytes that the caller accepts.
        limit: usize,
    },
    /// Another process has written to the file since it was read.
    #[error("`{path}` was changed by another process in the meantime")]
    Changed {
        /// As the instance names it, without the root.
        path: String,
    },
    /// Another process holds the lock.
    #[error("`{path}` is locked by another process")]
    Busy {
        /// As the instance names it, without the root.
        path: String,
    },
    /// The disk is full or the quota is used up (ENOSPC, EDQUOT).
    #[error("cannot {doing} `{path}`")]
    Full {
        /// The verb of the message, for example `write`.
        doing: &'static str,
        /// As the instance names it, without the root.
        path: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// The file system is mounted read-only (EROFS).
    #[error("cannot {doing} `{path}`")]
    ReadOnly {
        /// The verb of the message, for example `write`.
        doing: &'static str,
        /// As the instance names it, without the root.
        path: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// The kernel denied access (EACCES, EPERM).
    #[error("cannot {doing} `{path}`")]
    Denied {
        /// The verb of the message, for example `write`.
        doing: &'static str,
        /// As the instance names it, without the root.
        path: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// Any other error.
    #[error("cannot {doing} `{path}`")]
    Io {
        /// The verb of the message, for example `write`.
        doing: &'static str,
        /// As the instance names it, without the root.
        path: String,
        /// The kernel's error.
        source: io::Error,
    },
}

impl DiskError {
    /// Sorts the kernel's error by its number.
    pub(super) fn new(doing: &'static str, path: &str, source: io::Error) -> DiskError {
        let path = path.to_owned();
        // tempfile replaces an error by one with its path, which keeps only the kind.
        let number = source.raw_os_error().or(match source.kind() {
            io::ErrorKind::StorageFull => Some(libc::ENOSPC),
            io::ErrorKind::QuotaExceeded => Some(libc::EDQUOT),
            io::ErrorKind::ReadOnlyFilesystem => Some(libc::EROFS),
            io::ErrorKind::PermissionDenied => Some(libc::EACCES),
            _ => None,
        });
        match number {
            Some(libc::ELOOP) => DiskError::Symlink { doing, path },
            // From opening a socket (ENXIO), and from opening a folder for writing (EISDIR).
            Some(libc::ENXIO | libc::EISDIR) => DiskError::NotAFile { doing, path },
            Some(libc::ENOSPC | libc::EDQUOT) => DiskError::Full { doing, path, source },
            Some(libc::EROFS) => DiskError::ReadOnly { doing, path, source },
            Some(libc::EACCES | libc::EPERM) => DiskError::Denied { doing, path, source },
            _ => DiskError::Io { doing, path, source },
        }
    }
}

//! Reads the files given on the command line, and standard input, for `check`.
//!
//! In: a path of this host (not below `--root`), or `-`. Out: the bytes within a limit. Only regular files are read, so
//! that a read never blocks; standard input may be any type of file.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;

/// The most bytes of an input. User data has at most 16 KiB, and a template that contains user data is not much longer.
pub const MAX_BYTES: usize = 256 * 1024;

/// Why an input file was not read.
#[derive(Debug, thiserror::Error)]
pub enum InputFileError {
    /// The path is a folder, a FIFO, a socket or a device.
    #[error("`{0}` is not a regular file; `-` reads standard input")]
    NotAFile(PathBuf),
    /// The input is longer than [`MAX_BYTES`].
    #[error("`{0}` is longer than {MAX_BYTES} bytes")]
    TooLong(PathBuf),
    /// The kernel reported an error.
    #[error("cannot read `{path}`")]
    Io {
        /// The path as given on the command line.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
}

/// The content of a file, or of standard input for `-`.
pub fn read(path: &Path) -> Result<Vec<u8>, InputFileError> {
    let error = |source| InputFileError::Io { path: path.to_owned(), source };
    if path == Path::new("-") {
        return bounded(io::stdin().lock(), path);
    }
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(error)?;
    if !file.metadata().map_err(error)?.is_file() {
        return Err(InputFileError::NotAFile(path.to_owned()));
    }
    bounded(file, path)
}

fn bounded(from: impl Read, path: &Path) -> Result<Vec<u8>, InputFileError> {
    let mut bytes = Vec::new();
    let read = from.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|source| InputFileError::Io { path: path.to_owned(), source })?;
    if bytes.len() > MAX_BYTES {
        return Err(InputFileError::TooLong(path.to_owned()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn reads_a_regular_file_within_the_limit_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ecs.config");
        let write = |bytes: &[u8]| {
            File::options().create(true).write(true).truncate(true).open(&path).unwrap().write_all(bytes).unwrap();
        };
        write(b"ECS_CLUSTER=prod\n");
        assert_eq!(read(&path).unwrap(), b"ECS_CLUSTER=prod\n");
        write(&vec![b'x'; MAX_BYTES + 1]);
        assert!(matches!(read(&path), Err(InputFileError::TooLong(_))));
        assert!(matches!(read(folder.path()), Err(InputFileError::NotAFile(_))));
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(read(&fifo), Err(InputFileError::NotAFile(_))));
        assert!(matches!(read(&folder.path().join("none")), Err(InputFileError::Io { .. })));
    }
}

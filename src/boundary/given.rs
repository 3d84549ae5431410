//! Reads the files that a command line names, and standard input, for `check`.
//!
//! In: a path as it was typed. Out: the bytes within a limit. Only regular files are opened, so it never waits for one;
//! standard input may be anything.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;

/// User data has at most 16 KiB, and a file in which some stands is not much longer.
pub const LONGEST: usize = 256 * 1024;

/// Why an input was not read.
#[derive(Debug, thiserror::Error)]
pub enum GivenError {
    /// A folder, a FIFO, a socket or a device.
    #[error("`{0}` is not a regular file; `-` reads standard input")]
    NotAFile(PathBuf),
    /// Longer than [`LONGEST`].
    #[error("`{0}` is longer than {LONGEST} bytes")]
    TooLong(PathBuf),
    /// The kernel refused.
    #[error("cannot read `{path}`")]
    Io {
        /// The path.
        path: PathBuf,
        /// As the kernel said it.
        source: io::Error,
    },
}

/// The bytes of a file; `-` is standard input.
pub fn read(path: &Path) -> Result<Vec<u8>, GivenError> {
    let error = |source| GivenError::Io { path: path.to_owned(), source };
    if path == Path::new("-") {
        return bounded(io::stdin().lock(), path);
    }
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(error)?;
    match file.metadata().map_err(error)?.is_file() {
        true => bounded(file, path),
        false => Err(GivenError::NotAFile(path.to_owned())),
    }
}

fn bounded(from: impl Read, path: &Path) -> Result<Vec<u8>, GivenError> {
    let mut bytes = Vec::new();
    let read = from.take(LONGEST as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|source| GivenError::Io { path: path.to_owned(), source })?;
    match bytes.len() > LONGEST {
        true => Err(GivenError::TooLong(path.to_owned())),
        false => Ok(bytes),
    }
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
        write(&vec![b'x'; LONGEST + 1]);
        assert!(matches!(read(&path), Err(GivenError::TooLong(_))));
        assert!(matches!(read(folder.path()), Err(GivenError::NotAFile(_))));
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(read(&fifo), Err(GivenError::NotAFile(_))));
        assert!(matches!(read(&folder.path().join("none")), Err(GivenError::Io { .. })));
    }
}

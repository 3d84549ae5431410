//! Writes a new tar.gz file, the support bundle of `doctor`.
//!
//! In: a path of this host (not below `--root`) and the files for the archive. Out: an archive that only its owner can
//! read. It never overwrites a file, and never leaves an incomplete archive.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use nix::libc;

/// A file in the archive.
#[derive(Debug)]
pub struct ArchiveFile {
    /// The path in the archive.
    pub name: String,
    /// The content of the file.
    pub bytes: Vec<u8>,
}

/// The archive was not written.
#[derive(Debug, thiserror::Error)]
#[error("`{}` cannot be written as a new file", path.display())]
pub struct ArchiveError {
    /// The path of the archive.
    pub path: PathBuf,
    /// The kernel's error.
    #[source]
    pub source: io::Error,
}

/// Writes the archive with mode 0600. A file that exists is an error.
#[expect(clippy::disallowed_methods, reason = "the path is not below the root")]
pub fn write_new(path: &Path, entries: &[ArchiveFile]) -> Result<(), ArchiveError> {
    let error = |source| ArchiveError { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(path).map_err(error)?;
    let written = pack(file, entries).and_then(|file| file.sync_all());
    if written.is_err() {
        // The error of the write is the one to report.
        let _ = std::fs::remove_file(path);
    }
    written.map_err(error)
}

fn pack<W: Write>(file: W, entries: &[ArchiveFile]) -> io::Result<W> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(entry.bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        archive.append_data(&mut header, &entry.name, entry.bytes.as_slice())?;
    }
    archive.into_inner()?.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_an_archive_that_can_be_read_and_overwrites_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle.tar.gz");
        let entries = [ArchiveFile { name: "bundle/a.txt".to_owned(), bytes: b"hello\n".to_vec() }];
        write_new(&path, &entries).unwrap();
        let packed = pack(Vec::new(), &entries).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
        let names: Vec<_> =
            archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
        assert_eq!(names, [PathBuf::from("bundle/a.txt")]);
        assert_eq!(write_new(&path, &entries).unwrap_err().source.kind(), io::ErrorKind::AlreadyExists);
    }
}

//! Writes a file that the caller named on the command line, for other programs to read.
//!
//! In: a path, which is not below the root, and the content. Out: the file with mode 0644, or an error. A reader sees the
//! old file or the new one. A symbolic link and anything else that is not a regular file is refused.

use std::path::Path;

use super::disk::{Disk, DiskError, Mode};

/// Replaces the file atomically. Its folder must exist, and may be named through links.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let shown = || path.to_string_lossy().into_owned();
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Err(DiskError::NotAFile { doing: "write", path: shown() });
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let io = |source| DiskError::Io { doing: "write", path: shown(), source };
    let folder = folder.canonicalize().map_err(io)?;
    Disk::new(folder).replace(&format!("/{name}"), bytes, Mode::Exactly(0o644)).map_err(|error| match error {
        DiskError::Symlink { doing, .. } => DiskError::Symlink { doing, path: shown() },
        DiskError::NotAFile { doing, .. } => DiskError::NotAFile { doing, path: shown() },
        DiskError::Io { doing, source, .. } => DiskError::Io { doing, path: shown(), source },
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test creates its own files")]
    fn a_file_is_replaced_and_a_link_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ecs.prom");
        replace(&path, b"one\n").unwrap();
        replace(&path, b"two\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o644);
        let link = folder.path().join("link.prom");
        symlink(&path, &link).unwrap();
        let error = replace(&link, b"three\n").unwrap_err();
        assert!(matches!(&error, DiskError::Symlink { path, .. } if path.ends_with("link.prom")), "{error:?}");
        assert_eq!(std::fs::read(&path).unwrap(), b"two\n");
        assert!(replace(folder.path(), b"").is_err());
        assert!(replace(&folder.path().join("absent/x.prom"), b"").is_err());
    }
}

//! Paths of the agent and of ecs-bootstrap in errors of the file system.

use crate::boundary::disk::DiskError;

/// The path of a file or folder that has the wrong file type.
pub(in crate::causes) fn wrong_type(error: &DiskError) -> Option<&str> {
    match error {
        DiskError::Symlink { path, .. } | DiskError::NotAFile { path, .. } | DiskError::NotAFolder { path, .. } => {
            Some(path)
        }
        _ => None,
    }
}

/// Whether only ecs-bootstrap writes to this path.
pub(in crate::causes) fn is_own_path(path: &str) -> bool {
    ["/run/ecs-bootstrap", "/var/lib/ecs-bootstrap"].iter().any(|folder| path.starts_with(folder))
}

/// Whether the path belongs to the agent's configuration.
pub(in crate::causes) fn is_agent_config_path(path: &str) -> bool {
    path == "/etc/ecs" || path.starts_with("/etc/ecs/")
}

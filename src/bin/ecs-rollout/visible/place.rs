//! How the place of a value in a definition is written.

/// The request whose body a JSON value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Definition {
    /// RegisterTaskDefinition.
    Task,
    /// CreateService.
    Service,
}

/// The path of a member, list element or map value below another one.
pub(crate) fn joined(path: &str, step: &str) -> String {
    let dot = if path.is_empty() || step.starts_with(['[', '{']) { "" } else { "." };
    format!("{path}{dot}{step}")
}

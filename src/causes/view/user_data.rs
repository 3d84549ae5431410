//! What cloud-init recorded about user data.

use crate::evidence::Evidence;
use crate::evidence::files::ModuleError;

/// Warnings in cloud-init's output.
pub(in crate::causes) fn warnings(evidence: &Evidence) -> impl Iterator<Item = String> {
    evidence.files.cloud_init.warnings.iter().map(|words| format!("cloud-init-output.log: {words}"))
}

/// The failed modules that cloud-init recorded and that `is` selects, at most four.
pub(in crate::causes) fn errors(evidence: &Evidence, is: fn(&ModuleError) -> bool) -> Vec<String> {
    let describe = |error: &ModuleError| {
        let module = if error.module.is_empty() { "unnamed" } else { &error.module };
        let scripts = error.scripts.as_ref().map(|scripts| format!(" (`{scripts}`)")).unwrap_or_default();
        format!("cloud-init recorded that its module `{module}` failed{scripts}")
    };
    evidence.files.cloud_init.errors.iter().filter(|error| is(error)).take(4).map(describe).collect()
}

/// Lines of known failures in the output of user data.
pub(in crate::causes) fn output(evidence: &Evidence) -> impl Iterator<Item = String> {
    evidence.files.cloud_init.output.iter().map(|line| format!("cloud-init-output.log: {line}"))
}

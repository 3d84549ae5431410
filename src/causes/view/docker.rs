//! What Docker's journal says about its failure.

use crate::evidence::Evidence;

/// What dockerd logs if it rejects its configuration.
const CONFIG: [&str; 3] = [
    "unable to configure the Docker daemon with file",
    "the following directives are specified both as a flag",
    "the following directives don't match any configuration option",
];

/// What dockerd logs if it cannot use its storage.
const STORAGE: [&str; 4] = [
    "error initializing graphdriver",
    "failed to mount overlay",
    "driver not supported",
    "error creating overlay mount",
];

/// The last line of Docker's journal that contains one of these fragments.
fn journaled(evidence: &Evidence, fragments: &[&str]) -> Option<String> {
    let lines = evidence.host.docker_journal.as_ref()?;
    let line = lines.iter().rev().find(|line| fragments.iter().any(|fragment| line.contains(fragment)))?;
    Some(format!("journal: `{line}`"))
}

/// Evidence that Docker failed because of its configuration.
pub(in crate::causes) fn configuration_fault(evidence: &Evidence) -> Option<Vec<String>> {
    evidence.docker_failed()?;
    let invalid = evidence.host.daemon_json.as_ref().map(|error| format!("/etc/docker/daemon.json: {error}"));
    let seen: Vec<String> = invalid.into_iter().chain(journaled(evidence, &CONFIG)).collect();
    (!seen.is_empty()).then_some(seen)
}

/// Evidence that Docker failed because of its storage.
pub(in crate::causes) fn storage_fault(evidence: &Evidence) -> Option<Vec<String>> {
    evidence.docker_failed()?;
    journaled(evidence, &STORAGE).map(|line| vec![line])
}

//! Starts tasks on an instance that is ready (`start-tasks`), once in each boot: `ecs:StartTask` for each definition of which the
//! agent runs no task.
//!
//! What was started is recorded with the boot. The tasks of an earlier boot have ended, also if the agent still lists them as
//! running: after a reboot it restores their state before it asks docker.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::boundary::HostClients;
use crate::boundary::agent::Task;
use crate::boundary::aws::{AwsError, AwsErrorKind};
use crate::boundary::disk::{Disk, Mode};
use crate::evidence::{Evidence, StartFailure, TaskStart};
use crate::host::boot_id;
use crate::retry::{Deadline, pause_for};

/// The limit for all calls.
const ALL_CALLS: Duration = Duration::from_secs(60);
/// The limit for a request to the agent.
const AGENT: Duration = Duration::from_secs(5);
/// The pause before a call that failed is repeated. The agent knows a task within this time if the call was carried out
/// nevertheless.
const PAUSE: Duration = Duration::from_secs(5);
/// The most attempts for a definition.
const MAX_ATTEMPTS: usize = 3;

/// Where the record is.
const RECORD: &str = "/var/lib/ecs-bootstrap/started-tasks.json";
const MAX_RECORD_LENGTH: usize = 1 << 20;

/// The tasks that were started: definition and ARN.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    boot: Option<String>,
    started: BTreeMap<String, String>,
    /// Those of the boot before.
    earlier: Vec<String>,
}

impl Record {
    /// The record for this boot. A record that cannot be read is a new one: then only what the agent says counts.
    fn read(disk: &Disk) -> Record {
        let boot = boot_id(disk);
        let bytes = disk.read(RECORD, MAX_RECORD_LENGTH).ok().flatten().unwrap_or_default();
        let stored: Record = serde_json::from_slice(&bytes).unwrap_or_default();
        if boot.is_some() && stored.boot == boot {
            return stored;
        }
        Record { boot, started: BTreeMap::new(), earlier: stored.started.into_values().collect() }
    }

    fn store(&self, disk: &Disk) {
        let bytes = serde_json::to_vec(self).expect("a record is JSON");
        if let Err(error) = disk.replace_without_sync(RECORD, &bytes, Mode::Exactly(0o600)) {
            tracing::warn!(%error, "the started tasks are not recorded");
        }
    }
}

/// Starts the tasks, and adds the outcome to the evidence.
pub(super) async fn start_tasks(host_clients: &HostClients, evidence: &mut Evidence) {
    let definitions = evidence.expectation.as_ref().map(|expected| expected.start_tasks.clone()).unwrap_or_default();
    let joined = evidence.joined_as();
    let region = evidence.expectation.as_ref().and_then(|expected| expected.region.clone());
    let mut starts = Vec::new();
    if let (Some((cluster, arn)), Some(region)) = (joined, region) {
        let deadline = Deadline::after(ALL_CALLS);
        let here = Here { host_clients, region: &region, cluster: &cluster, arn: &arn, deadline };
        let mut record = Record::read(&host_clients.disk);
        for definition in definitions {
            let failure = match here.start(&definition, &record).await {
                Ok(Some(task)) => {
                    record.started.insert(definition.clone(), task);
                    record.store(&host_clients.disk);
                    None
                }
                Ok(None) => None,
                Err(failure) => Some(failure),
            };
            starts.push(TaskStart { definition, failure });
        }
    }
    evidence.task_starts = Some(starts);
}

/// The container instance on which tasks are started.
struct Here<'h> {
    host_clients: &'h HostClients,
    region: &'h str,
    cluster: &'h str,
    arn: &'h str,
    deadline: Deadline,
}

impl Here<'_> {
    /// Starts a task unless this boot has started one of the definition, or one runs here. Returns its ARN if it was started.
    async fn start(&self, definition: &str, record: &Record) -> Result<Option<String>, StartFailure> {
        if record.started.contains_key(definition) {
            return Ok(None);
        }
        let mut attempt = 1;
        loop {
            let tasks = self.host_clients.agent.tasks(Deadline::after(AGENT).earliest(self.deadline)).await;
            let tasks = tasks.and_then(|claim| claim.trusted(|_| None)).map_err(StartFailure::Unknown)?;
            let mut of_this_boot = tasks.iter().filter(|task| !record.earlier.contains(&task.arn));
            if let Some(task) = of_this_boot.find(|task| is_of(definition, task)) {
                tracing::info!(definition, task = task.arn, "a task of the definition runs here");
                return Ok(None);
            }
            match self.call(definition).await {
                Ok(Ok(task)) => {
                    tracing::info!(definition, task, "started a task on this instance");
                    return Ok(Some(task));
                }
                Ok(Err(reason)) => return Err(StartFailure::NotPlaced(reason)),
                Err(error) if !may_recover(&error) || attempt == MAX_ATTEMPTS || self.deadline.passed() => {
                    return Err(StartFailure::Call(error));
                }
                Err(error) => tracing::debug!(%error, definition, "the task was not started; the call is repeated"),
            }
            attempt += 1;
            pause_for(PAUSE.min(self.deadline.remaining())).await;
        }
    }

    async fn call(&self, definition: &str) -> Result<Result<String, String>, AwsError> {
        let aws = self.host_clients.aws(self.region).await?;
        aws.start_task(self.cluster, self.arn, definition, self.deadline).await
    }
}

fn may_recover(error: &AwsError) -> bool {
    error.kind.is_retryable() && !matches!(error.kind, AwsErrorKind::Denied { .. })
}

/// Whether the task is of this definition (`FAMILY`, `FAMILY:REVISION` or an ARN) and has not ended.
fn is_of(definition: &str, task: &Task) -> bool {
    let name = definition.rsplit('/').next().unwrap_or(definition);
    let (family, revision) = name.split_once(':').map_or((name, None), |(family, revision)| (family, Some(revision)));
    let is_same = task.family == family && revision.is_none_or(|revision| task.version == revision);
    is_same && task.known_status != "STOPPED"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_of_a_definition_by_family_and_revision_until_it_stops() {
        let task = |family: &str, version: &str, known_status: &str| Task {
            arn: String::new(),
            family: family.to_owned(),
            version: version.to_owned(),
            known_status: known_status.to_owned(),
        };
        let arn = "arn:aws:ecs:eu-west-1:111122223333:task-definition/log:3";
        for (definition, version, status, expected) in [
            ("log", "3", "RUNNING", true),
            ("log", "7", "PENDING", true),
            ("log:3", "3", "CREATED", true),
            ("log:3", "4", "RUNNING", false),
            (arn, "3", "RUNNING", true),
            (arn, "4", "RUNNING", false),
            ("log", "3", "STOPPED", false),
            ("lo", "3", "RUNNING", false),
        ] {
            assert_eq!(is_of(definition, &task("log", version, status)), expected, "{definition} {version} {status}");
        }
    }
}

//! Starts tasks on an instance that is ready (`start-tasks`), once in each boot: `ecs:StartTask` for each definition of which the
//! agent runs no task.
//!
//! What was started is recorded with the boot. The tasks of an earlier boot have ended, also if the agent still lists them as
//! running: after a reboot it restores their state before it asks docker.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::boundary::HostClients;
use crate::boundary::agent::{AgentError, Task};
use crate::boundary::disk::{Disk, DiskError, Lock, Mode};
use crate::evidence::{Evidence, StartFailure, TaskStart};
use crate::host::boot_id;
use crate::retry::{Deadline, jittered, pause_for};

/// The limit for all calls.
pub(super) const ALL_CALLS: Duration = Duration::from_secs(60);
/// The limit for a request to the agent.
const AGENT: Duration = Duration::from_secs(5);
/// The longest pause before a call that failed is repeated, shortened at random. The agent usually knows a task within this time
/// if the call was carried out nevertheless.
const PAUSE: Duration = Duration::from_secs(8);
/// The most attempts for a definition.
const MAX_ATTEMPTS: usize = 5;
/// Held while tasks are started: two verifications can end at the same time.
const LOCK: &str = "/run/ecs-bootstrap/start-tasks.lock";
/// Where the record is.
const RECORD: &str = "/var/lib/ecs-bootstrap/started-tasks.json";
const MAX_RECORD_LENGTH: usize = 1 << 20;

/// The tasks that were started: definition and ARN. The ARN is empty before the call, whose outcome is unknown if the process is
/// killed.
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
        let _lock = lock(&host_clients.disk, deadline).await;
        let here = Here { host_clients, region: &region, cluster: &cluster, arn: &arn, deadline };
        let mut record = Record::read(&host_clients.disk);
        for definition in definitions {
            let failure = here.start(&definition, &mut record).await.err();
            starts.push(TaskStart { definition, failure });
        }
    }
    evidence.task_starts = Some(starts);
}

/// Waits for the lock. If it cannot be taken, the record and the agent must be enough.
async fn lock(disk: &Disk, deadline: Deadline) -> Option<Lock> {
    loop {
        match disk.lock(LOCK) {
            Ok(lock) => return Some(lock),
            Err(DiskError::Busy { .. }) if !deadline.passed() => pause_for(Duration::from_millis(200)).await,
            Err(error) => {
                tracing::debug!(%error, "tasks are started without a lock");
                return None;
            }
        }
    }
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
    /// Starts a task unless this boot has started one of the definition, or one runs here.
    async fn start(&self, definition: &str, record: &mut Record) -> Result<(), StartFailure> {
        let disk = &self.host_clients.disk;
        match record.started.get(definition).map(String::as_str) {
            // A process that was killed may have started it.
            Some("") => pause_for(PAUSE.min(self.deadline.remaining())).await,
            Some(_) => return Ok(()),
            None => {}
        }
        let mut failure = StartFailure::NoTime;
        for attempt in 1..=MAX_ATTEMPTS {
            if self.deadline.passed() {
                return Err(failure);
            }
            match self.runs(definition, &record.earlier).await {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    record.started.insert(definition.to_owned(), String::new());
                    record.store(disk);
                    failure = match self.call(definition).await {
                        Ok(task) => {
                            tracing::info!(definition, task, "started a task on this instance");
                            record.started.insert(definition.to_owned(), task);
                            record.store(disk);
                            return Ok(());
                        }
                        Err(failure) => failure,
                    };
                }
                Err(error) => failure = StartFailure::Unknown(error),
            }
            if !may_recover(&failure) || attempt == MAX_ATTEMPTS {
                break;
            }
            tracing::debug!(definition, error = %failure, "the task was not started; the call is repeated");
            pause_for(jittered(PAUSE).min(self.deadline.remaining())).await;
        }
        // An answer that was lost is not a task that was not started.
        if self.runs(definition, &record.earlier).await.is_ok_and(|runs| runs) {
            return Ok(());
        }
        record.started.remove(definition);
        record.store(disk);
        Err(failure)
    }

    /// Whether the agent has a task of the definition that is not of an earlier boot.
    async fn runs(&self, definition: &str, earlier: &[String]) -> Result<bool, AgentError> {
        let tasks = self.host_clients.agent.tasks(Deadline::after(AGENT).earliest(self.deadline)).await;
        let tasks = tasks.and_then(|claim| claim.trusted(|_| None))?;
        Ok(tasks.iter().any(|task| !earlier.contains(&task.arn) && is_of(definition, task)))
    }

    async fn call(&self, definition: &str) -> Result<String, StartFailure> {
        let call = async {
            let aws = self.host_clients.aws(self.region).await?;
            aws.start_task(self.cluster, self.arn, definition, self.deadline).await
        };
        call.await.map_err(StartFailure::Call)?.map_err(StartFailure::NotPlaced)
    }
}

/// Whether another attempt may succeed. `AGENT`: ECS does not know yet that the agent is connected; `RESOURCE`: it may still
/// count the tasks of the boot before.
fn may_recover(failure: &StartFailure) -> bool {
    match failure {
        StartFailure::Unknown(_) | StartFailure::NoTime => true,
        StartFailure::Call(error) => error.kind.is_retryable() && !error.is_denied(),
        StartFailure::NotPlaced(reason) => reason == "AGENT" || reason.starts_with("RESOURCE"),
    }
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

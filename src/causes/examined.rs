//! The rows of `doctor`: for each layer whether it works, which causes were found, or why that is not known.
//!
//! In: evidence of one examination of the host. Out: one row for each layer, in the order in which layers are checked.
//! A layer passes only if the evidence shows that it works. Without evidence its status is unknown, never pass.

use std::fmt;

use serde::Serialize;

use super::cause::{Class, FoundCause};
use super::engine::{Diagnosis, notes};
use super::layer::Layer;
use crate::boundary::aws::AwsErrorKind;
use crate::boundary::imds::RoleStatus;
use crate::evidence::Evidence;
use crate::facts::NO_UNIT;
use crate::redaction::{self, error_chain};

const ANSWERED: &str = "an AWS call was answered";

/// The result of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The evidence shows that the layer works.
    Pass,
    /// The layer works but has a note, or it is not ready yet.
    Warn,
    /// The layer is broken.
    Fail,
    /// There is no evidence.
    Unknown,
}

impl fmt::Display for Status {
    /// The name in JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A row of the table that `doctor` prints.
#[derive(Clone, Debug)]
pub struct Examined {
    /// The layer that the row is about.
    pub layer: Layer,
    /// The result of the examination.
    pub status: Status,
    /// The evidence that the layer works, or why there is none. Empty if there are findings.
    pub seen: Vec<String>,
    /// The causes found in this layer, the most specific first.
    pub findings: Vec<FoundCause>,
}

/// One row for each layer. The last two have a row only with a finding: few instances wait for daemons, or wait on purpose.
pub fn examined(evidence: &Evidence, diagnosis: &Diagnosis) -> Vec<Examined> {
    let notes = notes(evidence);
    let mut rows: Vec<Examined> = Layer::ALL
        .into_iter()
        .chain([Layer::Tasks, Layer::Lifecycle])
        .map(|layer| {
            let of = |findings: &[FoundCause]| -> Vec<FoundCause> {
                findings.iter().filter(|finding| finding.cause.layer == layer).cloned().collect()
            };
            row(layer, evidence, of(&diagnosis.found), of(&notes))
        })
        .collect();
    rows.retain(|row| !matches!(row.layer, Layer::Tasks | Layer::Lifecycle) || !row.findings.is_empty());
    rows
}

fn row(layer: Layer, evidence: &Evidence, faults: Vec<FoundCause>, notes: Vec<FoundCause>) -> Examined {
    let is_fault = |finding: &FoundCause| finding.cause.class != Class::Waiting;
    let has_failed = faults.iter().any(is_fault);
    let is_fault_too = |note: &FoundCause| faults.iter().any(|fault| fault.cause == note.cause);
    let notes: Vec<FoundCause> = notes.into_iter().filter(|note| !is_fault_too(note)).collect();
    let findings: Vec<FoundCause> = faults.into_iter().chain(notes).collect();
    if !findings.is_empty() {
        let status = if has_failed { Status::Fail } else { Status::Warn };
        return Examined { layer, status, seen: Vec::new(), findings };
    }
    let (status, seen) = match works(layer, evidence) {
        Works::Yes(seen) => (Status::Pass, seen),
        Works::NotYet(seen) => (Status::Warn, seen),
        Works::Unknown(why) => (Status::Unknown, why),
    };
    Examined { layer, status, seen: vec![redaction::line(&seen)], findings }
}

/// Whether a layer without findings works, with the text of its row.
enum Works {
    Yes(String),
    NotYet(String),
    Unknown(String),
}

fn works(layer: Layer, evidence: &Evidence) -> Works {
    match layer {
        Layer::Clock => clock(evidence),
        Layer::Config => config(evidence),
        Layer::CloudInit => cloud_init(evidence),
        Layer::Host => host(evidence),
        Layer::Docker => docker(evidence),
        Layer::Units => units(evidence),
        Layer::Imds => imds(evidence),
        Layer::Role => role(evidence),
        Layer::Dns | Layer::Route => network(layer, evidence),
        Layer::Tls => tls(evidence),
        Layer::Api => api(evidence),
        Layer::Cluster => cluster(evidence),
        Layer::Agent => agent(evidence),
        Layer::Acs | Layer::Tasks | Layer::Lifecycle | Layer::Unknown => acs(evidence),
    }
}

fn clock(evidence: &Evidence) -> Works {
    let (skew, reference) = match (evidence.network_path.api_clock_skew, evidence.network_path.imds_clock_skew) {
        (Some(skew), _) => (skew, "the last AWS answer"),
        (None, Some(skew)) => (skew, "IMDS"),
        (None, None) => return Works::Unknown("there is no AWS answer to compare the clock with".to_owned()),
    };
    match skew.unsigned_abs() {
        0..=5 => Works::Yes(format!("the clock agrees with the Date of {reference}")),
        // SigV4 allows five minutes. Warn early, because the skew may grow.
        seconds @ 6..=120 => Works::Yes(format!("the clock differs by {seconds} s from the Date of {reference}")),
        seconds => Works::NotYet(format!("the clock differs by {seconds} s from the Date of {reference}")),
    }
}

fn config(evidence: &Evidence) -> Works {
    let files = &evidence.files;
    let cluster_line =
        files.configs.iter().find_map(|config| config.cluster.as_ref().map(|(line, _)| (config.path, line)));
    match (evidence.config.get("ECS_CLUSTER").filter(|name| !name.trim().is_empty()), cluster_line) {
        (Some(cluster), Some((path, line))) => {
            Works::Yes(format!("ECS_CLUSTER is `{}` ({path}, line {line})", redaction::cluster(cluster)))
        }
        (Some(cluster), None) => Works::Yes(format!("ECS_CLUSTER is `{}`", redaction::cluster(cluster))),
        (None, _) if files.configs.is_empty() => {
            Works::Unknown("there is no ecs.config, or it is not readable".to_owned())
        }
        (None, _) => match &files.configured_cluster {
            Some(cluster) => Works::Yes(format!("the cluster is `{}` (ecs.config.json)", redaction::cluster(cluster))),
            None => Works::NotYet("ecs.config names no cluster".to_owned()),
        },
    }
}

fn cloud_init(evidence: &Evidence) -> Works {
    let records = &evidence.files.cloud_init;
    let source = records.datasource.as_deref().map(|source| format!(" ({source})")).unwrap_or_default();
    if evidence.user_data_runs() || records.ended == Some(false) {
        return Works::NotYet(format!("user data has not ended yet{source}"));
    }
    let is_absent =
        |units: &crate::facts::Units| units.cloud_final.load_state.as_deref().is_some_and(|state| state == "not-found");
    match records.ended {
        Some(_) if records.errors.is_empty() => Works::Yes(format!("cloud-init ended without an error{source}")),
        Some(_) => {
            let failed: Vec<&str> = records.errors.iter().map(|error| error.module.as_str()).collect();
            Works::NotYet(format!("cloud-init ended{source}, with errors in [{}]", failed.join(", ")))
        }
        None if evidence.known_units().is_some_and(is_absent) => {
            Works::Unknown("cloud-init is not installed".to_owned())
        }
        None => Works::Unknown("cloud-init left no record of this boot".to_owned()),
    }
}

fn host(evidence: &Evidence) -> Works {
    const MIB: u64 = 1024 * 1024;
    let host = &evidence.host;
    let Some(fullest) = host.space.iter().min_by_key(|space| space.free_bytes) else {
        return Works::Unknown("the file systems could not be examined".to_owned());
    };
    let space = format!("{} MiB free on `{}`", fullest.free_bytes / MIB, fullest.path);
    let memory = host.memory.map(|memory| format!(", {} MiB memory available", memory.available_kib / 1024));
    let selinux = if host.enforcing == Some(true) { ", SELinux is enforcing" } else { "" };
    Works::Yes(format!("{space}{}{selinux}", memory.unwrap_or_default()))
}

fn docker(evidence: &Evidence) -> Works {
    let version = match &evidence.host.docker_version {
        Some(Ok(version)) => format!("Docker {} answers", version.version),
        _ => "Docker answers".to_owned(),
    };
    match (&evidence.docker, evidence.known_units().and_then(|units| units.docker.active_state.as_deref())) {
        (Some(Ok(())), _) => Works::Yes(version),
        (Some(Err(error)), Some("active")) => {
            Works::Unknown(format!("docker.service is active; {}", error_chain(error)))
        }
        (Some(Err(error)), Some(state)) => Works::NotYet(format!("docker.service is {state}; {}", error_chain(error))),
        (Some(Err(error)), None) => Works::Unknown(error_chain(error)),
        (None, _) => not_asked("Docker"),
    }
}

fn units(evidence: &Evidence) -> Works {
    let agent = match &evidence.units {
        Some(Ok(units)) => &units.agent,
        Some(Err(error)) => return Works::Unknown(error_chain(error)),
        None => return Works::Unknown("systemd did not answer in time".to_owned()),
    };
    if agent.name == NO_UNIT {
        return Works::Yes("no unit starts the agent (`units.agent` is `none`)".to_owned());
    }
    let state = agent.active_state.as_deref().unwrap_or("in an unknown state");
    let enabled =
        agent.unit_file_state.as_deref().filter(|state| !state.is_empty()).unwrap_or("neither enabled nor disabled");
    let seen = format!("{} is {state}, {enabled}", agent.name);
    if let Some(fault) = &evidence.early_start {
        return Works::NotYet(format!("{seen}; {fault}"));
    }
    if state == "active" { Works::Yes(seen) } else { Works::NotYet(seen) }
}

fn imds(evidence: &Evidence) -> Works {
    match (&evidence.role, &evidence.user_data) {
        (Some(Ok(_)), _) | (_, Some(Ok(_))) => Works::Yes("IMDSv2 answers".to_owned()),
        (Some(Err(error)), _) => Works::Unknown(error_chain(error)),
        _ => not_asked("IMDS"),
    }
}

fn role(evidence: &Evidence) -> Works {
    match &evidence.role {
        Some(Ok(RoleStatus::Present { role, .. })) => Works::Yes(format!("the role is `{role}`, with credentials")),
        Some(Ok(_)) => Works::NotYet("there are no credentials of a role".to_owned()),
        Some(Err(_)) => Works::Unknown("IMDS did not return the role".to_owned()),
        None => not_asked("IMDS"),
    }
}

/// Whether a call of the ECS API was answered, possibly with an error.
fn is_answered(evidence: &Evidence) -> bool {
    let answered = |error: &AwsErrorKind| {
        matches!(error, AwsErrorKind::Denied { .. } | AwsErrorKind::Throttled { .. } | AwsErrorKind::Service { .. })
    };
    // The clock is compared with the Date header of an answer.
    evidence.network_path.api_clock_skew.is_some()
        || matches!(evidence.cluster, Some(Ok(_)))
        || matches!(evidence.container_instance, Some(Ok(_)))
        || evidence.aws_errors().any(|error| answered(&error.kind))
}

fn network(layer: Layer, evidence: &Evidence) -> Works {
    let Some(probe) = &evidence.network else {
        return answered_or("the endpoint is not known, because the region is not known", evidence);
    };
    match (layer, &probe.connected) {
        (Layer::Dns, _) if !probe.addresses.is_empty() => Works::Yes(format!("`{}` resolves", probe.host)),
        (Layer::Route, Ok(())) => Works::Yes(format!("`{}` accepts connections", probe.host)),
        _ if is_answered(evidence) => Works::Yes(ANSWERED.to_owned()),
        (_, Err(error)) => Works::Unknown(error_chain(error)),
        (_, Ok(())) => not_asked("DNS"),
    }
}

fn tls(evidence: &Evidence) -> Works {
    answered_or("no AWS call was answered", evidence)
}

fn answered_or(unknown: &str, evidence: &Evidence) -> Works {
    if is_answered(evidence) { Works::Yes(ANSWERED.to_owned()) } else { Works::Unknown(unknown.to_owned()) }
}

fn not_asked(service: &str) -> Works {
    Works::Unknown(format!("{service} was not asked"))
}

fn api(evidence: &Evidence) -> Works {
    match &evidence.cluster {
        Some(Ok(_)) => Works::Yes("ecs:DescribeClusters succeeded".to_owned()),
        Some(Err(error)) if error.is_denied() => {
            Works::Yes(format!("ECS answers; {} is not allowed, but not required", error.operation))
        }
        Some(Err(error)) => Works::Unknown(error_chain(error)),
        None => match evidence.failed_call() {
            Some(error) => Works::Unknown(error_chain(error)),
            None => not_asked("ECS"),
        },
    }
}

fn cluster(evidence: &Evidence) -> Works {
    if let (Some(arn), Some(Ok(metadata))) = (evidence.container_instance_arn(), &evidence.introspection) {
        let cluster = redaction::cluster(&metadata.cluster);
        return Works::Yes(format!("the container instance in `{cluster}` is `{arn}`"));
    }
    match &evidence.cluster {
        Some(Ok(described)) => match described.clusters.first() {
            Some(cluster) => Works::Yes(format!("`{}` is {}", cluster.name, cluster.status)),
            None => Works::Unknown("ecs:DescribeClusters returned no cluster".to_owned()),
        },
        _ => Works::Unknown("ecs:DescribeClusters returned no answer".to_owned()),
    }
}

fn agent(evidence: &Evidence) -> Works {
    match &evidence.introspection {
        Some(Ok(metadata)) if !metadata.container_instance_arn.is_empty() => {
            Works::Yes(format!("the agent has registered: {}", metadata.version))
        }
        Some(Ok(_)) => Works::NotYet("the agent runs, but has not registered".to_owned()),
        Some(Err(error)) => Works::NotYet(format!("the agent has not registered: {}", error_chain(error))),
        None => not_asked("the agent"),
    }
}

fn acs(evidence: &Evidence) -> Works {
    match &evidence.container_instance {
        Some(Ok(Some(instance))) if instance.agent_connected => {
            Works::Yes("ecs:DescribeContainerInstances returns agentConnected true".to_owned())
        }
        Some(Ok(Some(_))) => Works::NotYet("ecs:DescribeContainerInstances returns agentConnected false".to_owned()),
        Some(Ok(None)) => {
            Works::NotYet("ecs:DescribeContainerInstances does not find the container instance".to_owned())
        }
        Some(Err(error)) => Works::Unknown(error_chain(error)),
        None if evidence.container_instance_arn().is_some() => {
            Works::Unknown("ECS did not answer, or was not asked because the region is not known".to_owned())
        }
        None => Works::Unknown("the agent has not registered".to_owned()),
    }
}

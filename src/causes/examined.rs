//! What doctor shows of each layer: whether it was seen to work, what speaks against it, or why that is not known.
//!
//! In: evidence of one look at everything. Out: a row a layer, in the order in which they are judged. A layer passes only
//! where something was seen that works; that nothing was seen is unknown, never a pass.

use serde::Serialize;

use super::{Class, Finding, Layer, diagnose, notes};
use crate::boundary::aws::AwsErrorKind;
use crate::boundary::imds::RoleStatus;
use crate::evidence::Evidence;
use crate::redaction::{self, error_chain};

/// What a row comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It was seen to work.
    Pass,
    /// It works, and something is worth knowing; or it has not come yet.
    Warn,
    /// It is broken.
    Fail,
    /// It could not be seen.
    Unknown,
}

impl Status {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Status::Pass => "pass",
            Status::Warn => "warn",
            Status::Fail => "fail",
            Status::Unknown => "unknown",
        }
    }
}

/// A row of doctor's table.
#[derive(Clone, Debug)]
pub struct Examined {
    /// The layer.
    pub layer: Layer,
    /// What it comes to.
    pub status: Status,
    /// What was seen, or why nothing was.
    pub seen: Vec<String>,
    /// The causes in this layer, the most specific first.
    pub findings: Vec<Finding>,
}

/// Every layer, and what waits where nothing is wrong.
pub fn examined(evidence: &Evidence) -> Vec<Examined> {
    let faults = diagnose(evidence);
    let notes = notes(evidence);
    let mut rows: Vec<Examined> = Layer::ALL
        .into_iter()
        .chain([Layer::Lifecycle])
        .map(|layer| {
            let of = |findings: &[Finding]| -> Vec<Finding> {
                findings.iter().filter(|finding| finding.cause.layer == layer).cloned().collect()
            };
            row(layer, evidence, of(&faults), of(&notes))
        })
        .collect();
    rows.retain(|row| row.layer != Layer::Lifecycle || !row.findings.is_empty());
    rows
}

fn row(layer: Layer, evidence: &Evidence, faults: Vec<Finding>, notes: Vec<Finding>) -> Examined {
    let is_fault = |finding: &Finding| finding.cause.class != Class::Waiting;
    let failed = faults.iter().any(is_fault);
    let is_told = |note: &Finding| faults.iter().any(|fault| std::ptr::eq(fault.cause, note.cause));
    let notes: Vec<Finding> = notes.into_iter().filter(|note| !is_told(note)).collect();
    let findings: Vec<Finding> = faults.into_iter().chain(notes).collect();
    if !findings.is_empty() {
        let status = if failed { Status::Fail } else { Status::Warn };
        return Examined { layer, status, seen: Vec::new(), findings };
    }
    let (status, seen) = match works(layer, evidence) {
        Works::Yes(seen) => (Status::Pass, seen),
        Works::NotYet(seen) => (Status::Warn, seen),
        Works::Unknown(why) => (Status::Unknown, why),
    };
    Examined { layer, status, seen: vec![redaction::line(&seen)], findings }
}

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
        Layer::Acs | Layer::Lifecycle | Layer::Unknown => acs(evidence),
    }
}

fn clock(evidence: &Evidence) -> Works {
    let (off, whose) = match (evidence.network_path.api_clock, evidence.network_path.imds_clock) {
        (Some(off), _) => (off, "AWS's last answer"),
        (None, Some(off)) => (off, "instance metadata"),
        (None, None) => return Works::Unknown("no answer of AWS to compare it with".to_owned()),
    };
    match off.unsigned_abs() {
        0..=5 => Works::Yes(format!("agrees with the Date of {whose}")),
        // SigV4 allows five minutes; what is near them will be over.
        seconds @ 6..=120 => Works::Yes(format!("{seconds} s off the Date of {whose}")),
        seconds => Works::NotYet(format!("{seconds} s off the Date of {whose}")),
    }
}

fn config(evidence: &Evidence) -> Works {
    let files = &evidence.files;
    let lines = files.configs.iter().find_map(|config| config.cluster.as_ref().map(|(line, _)| (config.path, line)));
    match (evidence.config.get("ECS_CLUSTER").filter(|name| !name.trim().is_empty()), lines) {
        (Some(cluster), Some((path, line))) => {
            Works::Yes(format!("ECS_CLUSTER is `{}` ({path}, line {line})", redaction::cluster(cluster)))
        }
        (Some(cluster), None) => Works::Yes(format!("ECS_CLUSTER is `{}`", redaction::cluster(cluster))),
        (None, _) if files.configs.is_empty() => {
            Works::Unknown("there is no ecs.config, or it may not be read".to_owned())
        }
        (None, _) => match &files.joined {
            Some(cluster) => {
                Works::Yes(format!("the cluster is `{}`, by ecs.config.json", redaction::cluster(cluster)))
            }
            None => Works::NotYet("ecs.config names no cluster".to_owned()),
        },
    }
}

fn cloud_init(evidence: &Evidence) -> Works {
    let records = &evidence.files.cloud_init;
    let source = records.datasource.as_deref().map(|source| format!(" ({source})")).unwrap_or_default();
    if evidence.user_data_runs() || records.ended == Some(false) {
        return Works::NotYet(format!("user data has not ended{source}"));
    }
    let is_absent =
        |units: &crate::facts::Units| units.cloud_final.load_state.as_deref().is_some_and(|state| state == "not-found");
    match records.ended {
        Some(_) if records.errors.is_empty() => Works::Yes(format!("ended without an error{source}")),
        Some(_) => {
            let failed: Vec<&str> = records.errors.iter().map(|error| error.module.as_str()).collect();
            Works::NotYet(format!("ended{source}; errors of [{}]", failed.join(", ")))
        }
        None if evidence.known_units().is_some_and(is_absent) => {
            Works::Unknown("cloud-init is not installed".to_owned())
        }
        None => Works::Unknown("it has left no record of this boot".to_owned()),
    }
}

fn host(evidence: &Evidence) -> Works {
    const MIB: u64 = 1024 * 1024;
    let host = &evidence.host;
    let Some(least) = host.space.iter().min_by_key(|space| space.free_bytes) else {
        return Works::Unknown("its file systems could not be looked at".to_owned());
    };
    let space = format!("{} MiB free on `{}`", least.free_bytes / MIB, least.path);
    let memory = host.memory.map(|memory| format!(", {} MiB of memory available", memory.available_kib / 1024));
    let selinux = if host.enforcing == Some(true) { ", SELinux enforces" } else { "" };
    Works::Yes(format!("{space}{}{selinux}", memory.unwrap_or_default()))
}

fn docker(evidence: &Evidence) -> Works {
    let version = match &evidence.host.docker_version {
        Some(Ok(version)) => format!("version {} answers", version.version),
        _ => "it answers".to_owned(),
    };
    match (&evidence.docker, evidence.known_units().and_then(|units| units.docker.active_state.as_deref())) {
        (Some(Ok(())), _) => Works::Yes(version),
        (Some(Err(error)), Some("active")) => Works::Unknown(format!("its unit is active; {}", error_chain(error))),
        (Some(Err(error)), Some(state)) => Works::NotYet(format!("its unit is {state}; {}", error_chain(error))),
        (Some(Err(error)), None) => Works::Unknown(error_chain(error)),
        (None, _) => Works::Unknown("not asked".to_owned()),
    }
}

fn units(evidence: &Evidence) -> Works {
    let agent = match &evidence.units {
        Some(Ok(units)) => &units.agent,
        Some(Err(error)) => return Works::Unknown(error_chain(error)),
        None => return Works::Unknown("systemd gave no answer in time".to_owned()),
    };
    let state = agent.active_state.as_deref().unwrap_or("in an unknown state");
    let enabled = agent.unit_file_state.as_deref().filter(|state| !state.is_empty()).unwrap_or("unknown to systemctl");
    let seen = format!("{} is {state}, {enabled}", agent.name);
    match state {
        "active" => Works::Yes(seen),
        _ => Works::NotYet(seen),
    }
}

fn imds(evidence: &Evidence) -> Works {
    match (&evidence.role, &evidence.user_data) {
        (Some(Ok(_)), _) | (_, Some(Ok(_))) => Works::Yes("version 2 answers".to_owned()),
        (Some(Err(error)), _) => Works::Unknown(error_chain(error)),
        _ => Works::Unknown("not asked".to_owned()),
    }
}

fn role(evidence: &Evidence) -> Works {
    match &evidence.role {
        Some(Ok(RoleStatus::Present { role, .. })) => Works::Yes(format!("`{role}`, with credentials")),
        Some(Ok(_)) => Works::NotYet("no credentials of a role".to_owned()),
        Some(Err(_)) => Works::Unknown("instance metadata could not be asked".to_owned()),
        None => Works::Unknown("not asked".to_owned()),
    }
}

/// Whether some call of the ECS API was answered, by whatever answer.
fn is_answered(evidence: &Evidence) -> bool {
    let answered = |error: &AwsErrorKind| {
        matches!(error, AwsErrorKind::Denied { .. } | AwsErrorKind::Throttled { .. } | AwsErrorKind::Service { .. })
    };
    // The clock was compared with an answer.
    evidence.network_path.api_clock.is_some()
        || matches!(evidence.cluster, Some(Ok(_)))
        || matches!(evidence.registration, Some(Ok(_)))
        || evidence.aws_errors().any(|error| answered(&error.kind))
}

fn network(layer: Layer, evidence: &Evidence) -> Works {
    let Some(probe) = &evidence.network else {
        return match is_answered(evidence) {
            true => Works::Yes("a call was answered".to_owned()),
            false => Works::Unknown("the endpoint is not known: no region".to_owned()),
        };
    };
    match (layer, &probe.connected) {
        (Layer::Dns, _) if !probe.addresses.is_empty() => Works::Yes(format!("`{}` resolves", probe.host)),
        (Layer::Route, Ok(())) => Works::Yes(format!("`{}` takes connections", probe.host)),
        _ if is_answered(evidence) => Works::Yes("a call was answered".to_owned()),
        (_, Err(error)) => Works::Unknown(error_chain(error)),
        (_, Ok(())) => Works::Unknown("not asked".to_owned()),
    }
}

fn tls(evidence: &Evidence) -> Works {
    match is_answered(evidence) {
        true => Works::Yes("a call was answered".to_owned()),
        false => Works::Unknown("no call was answered".to_owned()),
    }
}

fn api(evidence: &Evidence) -> Works {
    match &evidence.cluster {
        Some(Ok(_)) => Works::Yes("ecs:DescribeClusters is answered".to_owned()),
        Some(Err(error)) if matches!(error.kind, AwsErrorKind::Denied { .. }) => {
            Works::Yes(format!("answers; {} is not allowed, and not needed", error.operation))
        }
        Some(Err(error)) => Works::Unknown(error_chain(error)),
        None => match evidence.stopping_call() {
            Some(error) => Works::Unknown(error_chain(error)),
            None => Works::Unknown("not asked".to_owned()),
        },
    }
}

fn cluster(evidence: &Evidence) -> Works {
    if let (Some(arn), Some(Ok(metadata))) = (evidence.container_instance_arn(), &evidence.introspection) {
        return Works::Yes(format!("`{}` has it as `{arn}`", redaction::cluster(&metadata.cluster)));
    }
    match &evidence.cluster {
        Some(Ok(described)) => match described.clusters.first() {
            Some(cluster) => Works::Yes(format!("`{}` is {}", cluster.name, cluster.status)),
            None => Works::Unknown("ecs:DescribeClusters gave no cluster".to_owned()),
        },
        _ => Works::Unknown("ecs:DescribeClusters gave no answer".to_owned()),
    }
}

fn agent(evidence: &Evidence) -> Works {
    match &evidence.introspection {
        Some(Ok(metadata)) if !metadata.container_instance_arn.is_empty() => {
            Works::Yes(format!("registered, {}", metadata.version))
        }
        Some(Ok(_)) => Works::NotYet("it runs, and has not registered".to_owned()),
        Some(Err(error)) => Works::NotYet(format!("it has not registered: {}", error_chain(error))),
        None => Works::Unknown("not asked".to_owned()),
    }
}

fn acs(evidence: &Evidence) -> Works {
    match &evidence.registration {
        Some(Ok(Some(instance))) if instance.agent_connected => {
            Works::Yes("ecs:DescribeContainerInstances says agentConnected true".to_owned())
        }
        Some(Ok(Some(_))) => Works::NotYet("ecs:DescribeContainerInstances says agentConnected false".to_owned()),
        Some(Ok(None)) => Works::NotYet("ecs:DescribeContainerInstances does not know it".to_owned()),
        Some(Err(error)) => Works::Unknown(error_chain(error)),
        None if evidence.container_instance_arn().is_some() => {
            Works::Unknown("ECS was not asked: no region, or no answer".to_owned())
        }
        None => Works::Unknown("the agent has not registered".to_owned()),
    }
}

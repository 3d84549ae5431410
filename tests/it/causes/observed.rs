//! Evidence that is built without a host, for tests of many texts.
//!
//! In: log lines, and where they were logged. Out: evidence as the probes collect it on a host that was examined.

use ecs_bootstrap::boundary::agent::AgentMetadata;
use ecs_bootstrap::boundary::aws::ContainerInstance;
use ecs_bootstrap::boundary::docker::Container;
use ecs_bootstrap::boundary::systemd::UnitState;
use ecs_bootstrap::evidence::agent_log::{attempts, last_two};
use ecs_bootstrap::evidence::host::journal_of_last_start;
use ecs_bootstrap::evidence::{CrashLoop, Evidence};
use ecs_bootstrap::facts::Units;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) const INSTANCE: &str = "i-0123456789abcdef0";
pub(super) const ARN: &str = "arn:aws:ecs:eu-west-1:111122223333:container-instance/prod/0123abcd";

/// Where a program logs its lines, and in which state it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The log of an agent that exits again and again with this code.
    Exits(i64),
    /// The log of an agent that exited with 5, after which its unit has failed.
    GaveUp,
    /// The log of an agent that runs and has not registered.
    Runs,
    /// The log of an agent that has registered and is not connected.
    Disconnected,
    /// The log of ecs-init, which systemd restarts.
    Init,
    /// The journal of docker, which has failed.
    Docker,
}

/// The time of the last start of the agent's unit.
fn started() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_680_000)
}

fn unit(name: &str, state: [&str; 3]) -> UnitState {
    let [active, sub, result] = state.map(|word| Some(word.to_owned()));
    UnitState {
        name: name.to_owned(),
        load_state: Some("loaded".to_owned()),
        active_state: active,
        sub_state: sub,
        unit_file_state: Some("enabled".to_owned()),
        result,
        exec_main_start_usec: Some(started().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64),
        ..UnitState::default()
    }
}

fn units(place: Place) -> Units {
    const RUNS: [&str; 3] = ["active", "running", "success"];
    const FAILED: [&str; 3] = ["failed", "failed", "exit-code"];
    let docker = if place == Place::Docker { FAILED } else { RUNS };
    let agent = match place {
        Place::GaveUp => FAILED,
        Place::Init => ["activating", "auto-restart", "exit-code"],
        Place::Docker => ["inactive", "dead", "success"],
        _ => RUNS,
    };
    let mut agent = unit("ecs.service", agent);
    match place {
        Place::GaveUp => agent.exec_main_status = Some(5),
        Place::Init => (agent.exec_main_status, agent.restarts) = (Some(255), Some(3)),
        _ => {}
    }
    let cloud_final = unit("cloud-final.service", ["active", "exited", "success"]);
    Units { docker: unit("docker.service", docker), agent, cloud_final, user_data_target: None, after_user_data: None }
}

fn container(running: bool, exit_code: i64) -> Container {
    let at = |after: u64| humantime::format_rfc3339_seconds(started() + Duration::from_secs(after)).to_string();
    Container { running, exit_code, started_at: at(1), finished_at: at(2), restart_count: 0 }
}

/// Evidence of a host on which the program at this place logged these lines. The role, the network and the cluster are
/// not known.
pub(super) fn evidence(place: Place, log: &str) -> Evidence {
    let expectation = serde_json::json!({"cluster": "prod", "instance_id": INSTANCE, "region": "eu-west-1",
        "account": "111122223333", "pending_time": null, "agent_unit": "ecs.service", "attributes": {},
        "deadline": {"secs": 600, "nanos": 0}, "window": {"secs": 60, "nanos": 0}});
    let mut evidence = Evidence {
        expectation: Some(serde_json::from_value(expectation).expect("an expectation")),
        units: Some(Ok(units(place))),
        age: Some(Duration::from_secs(7200)),
        waited: Duration::from_secs(600),
        timed_out: true,
        ..Evidence::default()
    };
    evidence.host.is_examined = true;
    let parsed = attempts(log.as_bytes());
    match place {
        Place::Docker => {
            let lines = format!("Starting docker.service - Docker Application Container Engine...\n{log}");
            evidence.host.docker_journal = Some(journal_of_last_start(&lines));
            return evidence;
        }
        Place::Init => {
            evidence.init_loop = CrashLoop::of(&parsed);
            (evidence.init_log_before, evidence.init_log) = last_two(parsed);
            evidence.host.agent_journal = Some(Vec::new());
            return evidence;
        }
        _ => {}
    }
    evidence.agent_loop = CrashLoop::of(&parsed);
    (_, evidence.agent_log) = last_two(parsed);
    let exited = |code: i64| format!("level=info msg=\"Agent exited with code {code}\"\n");
    let (ended, code) = match place {
        Place::Exits(code) => (exited(code).repeat(4), Some(code)),
        Place::GaveUp => (exited(5) + "level=error msg=\"agent exited with terminal exit code: 5\"\n", Some(5)),
        _ => (String::new(), None),
    };
    let init = format!("level=info msg=\"pre-start\"\nlevel=info msg=\"start\"\n{ended}");
    (_, evidence.init_log) = last_two(attempts(init.as_bytes()));
    evidence.container = Some(Ok(Some(container(code.is_none(), code.unwrap_or_default()))));
    if place == Place::Disconnected {
        registered(&mut evidence);
    }
    evidence
}

/// Makes the agent registered, and not connected for two minutes.
fn registered(evidence: &mut Evidence) {
    let metadata = AgentMetadata {
        cluster: "prod".to_owned(),
        container_instance_arn: ARN.to_owned(),
        version: "Amazon ECS Agent - v1.106.1 (*a8b3e7d3)".to_owned(),
    };
    evidence.introspection = Some(Ok(metadata));
    evidence.container_instance = Some(Ok(Some(ContainerInstance {
        gpus: 0,
        arn: ARN.to_owned(),
        status: "ACTIVE".to_owned(),
        status_reason: None,
        agent_connected: false,
        agent_version: Some("1.106.1".to_owned()),
        attributes: Default::default(),
        ec2_instance_id: Some(INSTANCE.to_owned()),
    })));
    evidence.registered_for = Some(Duration::from_secs(120));
}

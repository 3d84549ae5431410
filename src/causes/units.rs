//! Causes in systemd units, and in systemd itself.

use std::time::Duration;

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::units::{
    DOCKER_UNIT, describe_failure, ends_with_agent, is_docker_up, is_stopped_by_guard, last_errors,
};
use crate::boundary::systemd::{SystemdError, UnitState, time_of};
use crate::comparison::Specificity;
use crate::evidence::{Evidence, StageError};
use crate::exit::Exit;
use crate::facts::{AGENT_UNITS, NO_UNIT};
use crate::redaction::error_chain;

/// The end of the D-Bus error name for a transaction with an ordering cycle.
const CYCLIC: &str = ".TransactionOrderIsCyclic";

/// This is not an image for ECS.
pub(super) static ECS_INIT_ABSENT: Cause = Cause {
    id: "ecs-init-absent",
    layer: Layer::Units,
    title: "the ECS agent is not installed",
    symptoms: "the host runs plain Amazon Linux or Ubuntu, without any ECS package",
    proof: "systemd has neither unit of the agent, or not the one that `units.agent` names; if a unit exists but is not \
            started, the cause is `ecs-unit-disabled`",
    look_alikes: &["ecs-unit-disabled", "docker-absent"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "use an ECS-optimized AMI, or install the package `ecs-init` in the image",
    specific_remedy: Some(|evidence| {
        let unit = own_unit(evidence)?;
        Some(format!("install {unit} in the image, or correct `units.agent`, which names it"))
    }),
    source: "aws/aws-cdk#16260; aws/amazon-ecs-init#69",
    check: |evidence| {
        if let Some(error @ SystemdError::NoSuchUnit { unit }) = evidence.systemd_error()
            && is_of_agent(evidence, unit)
        {
            return Some(vec![error_chain(error)]);
        }
        let agent = evidence.agent_unit()?;
        if agent.load_state.as_deref() != Some("not-found") || agent.name == NO_UNIT || !is_down(evidence) {
            return None;
        }
        Some(vec![match own_unit(evidence) {
            Some(unit) => format!("systemd has no {unit} (`units.agent`)"),
            None => "systemd has neither ecs.service nor amazon-ecs.service".to_owned(),
        }])
    },
    ..Cause::DEFAULTS
};

/// The unit that `units.agent` names, if it is not that of a package of the agent.
fn own_unit(evidence: &Evidence) -> Option<&str> {
    evidence.agent_unit().map(|unit| unit.name.as_str()).filter(|name| *name != NO_UNIT && !AGENT_UNITS.contains(name))
}

/// Whether this is the name of the agent's unit.
fn is_of_agent(evidence: &Evidence, unit: &str) -> bool {
    AGENT_UNITS.contains(&unit) || evidence.expectation.as_ref().is_some_and(|expected| expected.agent_unit == unit)
}

/// Masking is deliberate, so ecs-bootstrap does not unmask it.
pub(super) static UNIT_MASKED: Cause = Cause {
    id: "unit-masked",
    layer: Layer::Units,
    title: "a required unit is masked",
    symptoms: "`Unit ecs.service is masked.`, or no error at all",
    proof: "the LoadState of the unit is `masked`; for the agent's unit, the cause is `ecs-unit-disabled` if it is \
            only disabled, so that it can still be started, and `ecs-init-absent` if its LoadState is `not-found`",
    look_alikes: &["ecs-unit-disabled", "ecs-init-absent"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "run `systemctl unmask UNIT` if the unit is not masked on purpose",
    source: "systemctl(1)",
    check: |evidence| {
        if let Some(StageError::Systemd(error @ SystemdError::Masked { .. })) = &evidence.stage_error {
            return Some(vec![error_chain(error)]);
        }
        let units = evidence.known_units()?;
        let masked = [&units.docker, &units.agent].into_iter().find(|u| u.load_state.as_deref() == Some("masked"))?;
        Some(vec![format!("{} is masked", masked.name)])
    },
    ..Cause::DEFAULTS
};

pub(super) static ECS_UNIT_DISABLED: Cause = Cause {
    id: "ecs-unit-disabled",
    layer: Layer::Units,
    title: "the agent's unit is not enabled, and nothing has started it",
    symptoms: "the agent works after a manual start, but not after a boot",
    proof: "the UnitFileState is `disabled`, the unit is inactive without a job, and user data has ended; if the unit \
            is enabled, the cause is `agent-not-started` or `unit-ordering-cycle`",
    look_alikes: &["unit-ordering-cycle", "agent-not-started"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "run `ecs-bootstrap run`, which starts it (`units.enable = true` also enables it), or, if ecs.config names the \
             cluster, `systemctl enable --now --no-block ecs`",
    source: "aws/amazon-ecs-agent#1250",
    check: |evidence| {
        let agent = evidence.agent_unit()?;
        // Running user data may still start the unit, and a run that was stopped did not get as far as starting it.
        if evidence.user_data_runs() || evidence.stage_error.is_some() {
            return None;
        }
        let idle = agent.active_state.as_deref() == Some("inactive") && agent.job.is_none();
        let disabled = agent.unit_file_state.as_deref() == Some("disabled");
        let loaded = agent.load_state.as_deref() == Some("loaded");
        let is_requested = evidence.jobs.iter().any(|job| job.unit == agent.name);
        (loaded && idle && disabled && !is_requested && is_down(evidence))
            .then(|| vec![format!("{} is disabled and inactive, without a job", agent.name)])
    },
    ..Cause::DEFAULTS
};

/// The agent's unit is ordered after the unit in which ecs-bootstrap waits, so the wait would never end.
pub(super) static START_BLOCKED: Cause = Cause {
    id: "start-blocked",
    layer: Layer::Units,
    title: "ecs-bootstrap cannot wait here: the agent starts only after the unit that ecs-bootstrap runs in",
    symptoms: "`systemctl start ecs` in user data never returns",
    proof: "the job of the agent's unit waits for the unit that ecs-bootstrap runs in; if another process waits, the \
            cause is `user-data-deadlock`",
    look_alikes: &["user-data-deadlock"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "run without `--wait`: the start of the agent is queued, and happens as soon as this unit ends",
    source: "aws/amazon-ecs-agent#1707; Amazon Linux's ecs.service is After=cloud-final.service",
    check: |evidence| match &evidence.stage_error {
        Some(StageError::Blocked { unit }) => {
            Some(vec![format!("the agent's job waits for `{unit}`, in which ecs-bootstrap runs")])
        }
        _ => None,
    },
    ..Cause::DEFAULTS
};

/// systemd breaks a cycle by dropping one of its jobs, and may choose the agent's.
pub(super) static ORDERING_CYCLE: Cause = Cause {
    id: "unit-ordering-cycle",
    layer: Layer::Units,
    title: "the agent's unit is part of an ordering cycle, so systemd does not start it",
    symptoms: "ecs never starts, and no log gives a reason: systemd reports the cycle before the journal runs",
    proof: "After= and Wants= of the units form a cycle, and the unit is enabled, inactive and without a job; if the \
            unit is disabled, the cause is `ecs-unit-disabled`",
    look_alikes: &["ecs-unit-disabled", "agent-not-started"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "`systemctl disable ecs` and let ecs-bootstrap start it, or remove `After=cloud-final.service` from the \
             agent's unit",
    source: "systemd.unit(5) After=; Debian's cloud-final.service is After=multi-user.target",
    check: |evidence| {
        if let Some(error @ SystemdError::Refused { name, .. }) = evidence.systemd_error()
            && name.ends_with(CYCLIC)
        {
            return Some(vec![error_chain(error)]);
        }
        let units = evidence.known_units()?;
        let idle = units.agent.active_state.as_deref() == Some("inactive") && units.agent.job.is_none();
        (units.are_a_cycle() && idle && !evidence.user_data_runs()).then(|| {
            vec![format!(
                "{} is enabled, inactive and without a job; it is ordered after cloud-final.service, which is ordered \
                 after multi-user.target, which wants it",
                units.agent.name
            )]
        })
    },
    ..Cause::DEFAULTS
};

/// There is no bus, or systemd is not on it.
pub(super) static SYSTEMD_UNREACHABLE: Cause = Cause {
    id: "systemd-unreachable",
    layer: Layer::Units,
    title: "systemd does not answer on the system bus",
    symptoms: "`Failed to connect to bus`",
    proof: "there is no system bus, systemd is not on it, or it does not answer; if systemd answers with an error, the \
            cause is `systemd-refused`",
    look_alikes: &["systemd-refused"],
    class: Class::Retry,
    exit: Exit::Systemd,
    exit_after_deadline: Exit::Systemd,
    remedy: "run it after basic.target, as root, on a host whose PID 1 is systemd; check `systemctl status dbus`",
    source: "org.freedesktop.systemd1(5)",
    check: |evidence| match evidence.systemd_error() {
        // While jobs are queued, only systemd can be what the run waited for.
        None => match &evidence.stage_error {
            Some(error @ StageError::RunDeadlineExceeded { doing, .. }) if doing.starts_with("queueing ") => {
                Some(vec![error_chain(error)])
            }
            _ => None,
        },
        Some(
            error @ (SystemdError::NoBus { .. }
            | SystemdError::NoManager { .. }
            | SystemdError::TimedOut { .. }
            | SystemdError::Pending { .. }
            | SystemdError::Lost { .. }),
        ) => Some(vec![error_chain(error)]),
        _ => None,
    },
    ..Cause::DEFAULTS
};

/// systemd answers, with an error.
pub(super) static SYSTEMD_REFUSED: Cause = Cause {
    id: "systemd-refused",
    layer: Layer::Units,
    title: "systemd refuses to start or stop a unit",
    symptoms: "`Access denied` or `Interactive authentication required` from systemctl",
    proof: "the error that systemd returns, with its D-Bus name; the cause is `systemd-unreachable` if systemd does \
            not answer at all, and `unit-masked` if the error is that the unit is masked",
    look_alikes: &["systemd-unreachable", "unit-masked"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "run it as root, and check `systemctl status UNIT`",
    specific_remedy: Some(|evidence| {
        let is_bad =
            matches!(evidence.systemd_error(), Some(SystemdError::Refused { name, .. }) if name.contains("BadUnit"));
        (is_bad || unloadable(evidence).is_some()).then(|| {
            "correct the unit file or its drop-ins (`systemctl cat UNIT` shows them, `systemd-analyze verify UNIT` names the \
             line), then `systemctl daemon-reload && systemctl start ecs --no-block`"
                .to_owned()
        })
    }),
    source: "org.freedesktop.systemd1(5)",
    check: |evidence| match evidence.systemd_error() {
        None => unloadable(evidence),
        Some(error) => refused(evidence, error),
    },
    ..Cause::DEFAULTS
};

/// A unit file that systemd itself cannot use (systemd.unit(5): `bad-setting`, `error`).
fn unloadable(evidence: &Evidence) -> Option<Vec<String>> {
    let units = evidence.known_units()?;
    let is_bad = |state: &&str| matches!(*state, "bad-setting" | "error");
    let state = |unit: &UnitState| Some((unit.name.clone(), unit.load_state.as_deref().filter(is_bad)?.to_owned()));
    let (name, state) = state(&units.docker).or_else(|| state(&units.agent))?;
    let drop_ins = [&units.docker, &units.agent].into_iter().filter(|unit| unit.name == name);
    let drop_ins =
        drop_ins.flat_map(|unit| unit.drop_in_paths.iter().flatten()).map(|path| format!("drop-in: `{path}`"));
    Some([format!("systemd cannot load {name} ({state})")].into_iter().chain(drop_ins).collect())
}

fn refused(evidence: &Evidence, error: &SystemdError) -> Option<Vec<String>> {
    match error {
        SystemdError::Refused { name, .. } if name.ends_with(CYCLIC) => None,
        error @ (SystemdError::Refused { .. } | SystemdError::Protocol { .. } | SystemdError::Unsupported { .. }) => {
            Some(vec![error_chain(error)])
        }
        error @ SystemdError::NoSuchUnit { unit } if unit != DOCKER_UNIT && !is_of_agent(evidence, unit) => {
            Some(vec![error_chain(error)])
        }
        _ => None,
    }
}

pub(super) static NOT_STARTED: Cause = Cause {
    id: "agent-not-started",
    yields_to: &["ecs-unit-disabled", "unit-ordering-cycle", "agent-stopped-with-docker"],
    layer: Layer::Units,
    title: "the agent does not run, and nothing starts it",
    symptoms: "`systemctl status ecs` shows inactive (dead) without an error, often after `systemctl stop` or because \
               of an unmet condition",
    proof: "the unit is inactive without a job after user data has ended; the cause is `ecs-unit-disabled` if the unit \
            is not enabled, `agent-stopped-with-docker` if docker was restarted after the agent's start, and \
            `unit-ordering-cycle` if systemd dropped its job because of a cycle",
    look_alikes: &["ecs-unit-disabled", "unit-ordering-cycle", "agent-stopped-with-docker", "user-data-deadlock"],
    class: Class::Retry,
    exit: Exit::Systemd,
    exit_after_deadline: Exit::Host,
    remedy: "run `ecs-bootstrap run`, which writes ecs.config and starts the agent; if the agent stays inactive, check the \
             conditions of its unit (`systemctl status ecs`)",
    source: "systemd.unit(5), Conditions and Asserts; ecs.service Restart=on-failure",
    specific_remedy: Some(|evidence| {
        let is_without_unit = evidence.agent_unit()?.name == NO_UNIT;
        is_without_unit.then(|| {
            "find out why nothing has run the container (/var/log/cloud-init-output.log, if user data does it), and run it with \
             `--name ecs-agent`"
                .to_owned()
        })
    }),
    check: |evidence| {
        if let Some(seen) = without_unit(evidence) {
            return Some(vec![seen]);
        }
        let agent = idle_agent(evidence)?;
        let result = agent.result.as_deref().unwrap_or("unknown");
        let inactive = format!("{} is inactive, without a job (result {result})", agent.name);
        Some([inactive].into_iter().chain(clean_exit(agent)).collect())
    },
    ..Cause::DEFAULTS
};

/// A restart of docker by its unit restarts the agent too (PartOf=). If docker's process ends in another way, the agent
/// can exit with code 0, after which systemd does not start it again.
pub(super) static STOPPED_WITH_DOCKER: Cause = Cause {
    id: "agent-stopped-with-docker",
    yields_to: &["ecs-unit-disabled"],
    layer: Layer::Units,
    title: "docker was restarted, and the agent ended with it and was not started again",
    symptoms: "an instance that was in the cluster is disconnected; `systemctl status ecs` shows inactive (dead) without an \
               error, and docker is active",
    proof: "the unit of the agent is inactive, and docker became active again at most two minutes after the agent ended; if \
            docker was not restarted then, the cause is `agent-not-started`",
    look_alikes: &["agent-not-started"],
    class: Class::Lasting(Duration::from_secs(30)),
    exit: Exit::Systemd,
    exit_after_deadline: Exit::Host,
    remedy: "`systemctl start ecs --no-block`; find what restarts docker (`journalctl -u docker`, for example an unattended \
             upgrade), and let it run `systemctl restart docker`, which restarts the agent as well",
    source: "ecs.service PartOf=docker.service, Restart=on-failure; ecs-init/engine, StartSupervised: exit code 0",
    check: |evidence| {
        let agent = idle_agent(evidence)?;
        let docker = &evidence.known_units()?.docker;
        let ended = time_of(agent.exec_main_exit_usec)?;
        let restarted = time_of(docker.active_enter_usec)?;
        let later = restarted.duration_since(ended).ok().filter(|later| *later <= MAX_RESTART_TIME)?.as_secs();
        let seen = format!("{} became active {later} s after {} ended", docker.name, agent.name);
        is_docker_up(evidence).then(|| [seen].into_iter().chain(clean_exit(agent)).collect())
    },
    ..Cause::DEFAULTS
};

/// The evidence that nothing has started an agent that has no unit.
fn without_unit(evidence: &Evidence) -> Option<String> {
    let is_absent = matches!(evidence.container, Some(Ok(None))) && evidence.agent_unit()?.name == NO_UNIT;
    let is_over = evidence.stage_error.is_none() && !evidence.user_data_runs() && is_down(evidence);
    (is_absent && is_over)
        .then(|| "docker has no container `ecs-agent`, and `units.agent` is `none`, so no unit starts it".to_owned())
}

/// docker is active again within this time after it ended.
const MAX_RESTART_TIME: Duration = Duration::from_secs(120);

/// The agent's unit, if it is installed and inactive, and nothing is about to start it.
fn idle_agent(evidence: &Evidence) -> Option<&UnitState> {
    let agent = evidence.agent_unit()?;
    let is = |state: &Option<String>, value| state.as_deref() == Some(value);
    let is_idle = is(&agent.active_state, "inactive") && agent.job.is_none() && !evidence.job_pending(&agent.name);
    let should_run = evidence.stage_error.is_none() && !evidence.user_data_runs();
    let fits = is_idle && is(&agent.load_state, "loaded") && should_run && is_down(evidence);
    fits.then_some(agent)
}

/// The evidence line for a unit whose process ran and ended without an error.
fn clean_exit(agent: &UnitState) -> Option<String> {
    let has_run = agent.exec_main_start_usec.is_some_and(|at| at > 0) && agent.exec_main_status == Some(0);
    let is_clean = has_run && agent.result.as_deref() == Some("success");
    is_clean.then(|| format!("{} exited with status 0, after which systemd does not start it again", agent.name))
}

/// The general cause for a unit that has failed permanently.
pub(super) static FAILED: Cause = Cause {
    id: "agent-unit-failed",
    specificity: Specificity::General,
    yields_to: &["agent-image-load-failed", "agent-download-failed", "gpu-setup-failed"],
    layer: Layer::Units,
    title: "the agent's unit has failed, and systemd does not start it again",
    symptoms: "`systemctl status ecs` shows failed (start-limit-hit, timeout, signal, ...), without an exit code of \
               the agent",
    proof: "the unit is failed without a job while Docker is active; the cause is `agent-gave-up` if the exit code is \
            5, and `ecs-init-failed` if systemd still restarts the unit",
    look_alikes: &["ecs-init-failed", "agent-gave-up", "docker-failed"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "fix what `journalctl -u ecs -b` names, then `systemctl reset-failed ecs && systemctl start ecs \
             --no-block`",
    source: "systemd.service(5) Restart=, systemd.unit(5) StartLimitBurst=",
    check: |evidence| {
        let unit = evidence.unit_failed()?;
        let is_read = evidence.host.agent_journal.is_some() || evidence.timed_out;
        if is_stopped_by_guard(evidence) {
            return None;
        }
        let is_agents = evidence.agent_exited_with(5) || ends_with_agent(evidence);
        let fits = is_read && !is_agents && is_docker_up(evidence);
        fits.then(|| {
            let errors = last_errors(evidence).into_iter().chain(evidence.killed());
            [describe_failure(unit)].into_iter().chain(errors).collect()
        })
    },
    ..Cause::DEFAULTS
};

/// Whether no agent runs. An agent may run without its unit if it was started by hand.
fn is_down(evidence: &Evidence) -> bool {
    evidence.agent_runs() == Some(false) || (evidence.timed_out && evidence.agent_runs().is_none())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{healthy_units, ids};
    use crate::boundary::docker::Container;
    use crate::evidence::Evidence;

    fn with_agent(active: &str, load: &str, running: Option<bool>) -> Vec<&'static str> {
        let mut units = healthy_units();
        units.agent.active_state = Some(active.to_owned());
        units.agent.load_state = Some(load.to_owned());
        let container = running.map(|running| {
            let (started_at, finished_at) = (String::new(), String::new());
            Ok(Some(Container { running, exit_code: 0, started_at, finished_at, restart_count: 0 }))
        });
        ids(&Evidence { units: Some(Ok(units)), container, ..Evidence::default() })
    }

    #[test]
    fn an_agent_that_was_started_by_hand_needs_no_unit() {
        for (active, load, id) in
            [("inactive", "not-found", "ecs-init-absent"), ("inactive", "loaded", "agent-not-started")]
        {
            assert_eq!(with_agent(active, load, Some(false)), [id]);
            assert_eq!(with_agent(active, load, Some(true)), Vec::<&str>::new());
            assert_eq!(with_agent(active, load, None), Vec::<&str>::new());
        }
    }

    #[test]
    fn a_disabled_unit_that_runs_or_is_queued_is_not_a_cause() {
        let with = |active: &str, job| {
            let mut units = healthy_units();
            units.agent.unit_file_state = Some("disabled".to_owned());
            units.agent.active_state = Some(active.to_owned());
            units.agent.job = job;
            ids(&Evidence { units: Some(Ok(units)), container: Some(Ok(None)), ..Evidence::default() })
        };
        assert_eq!(with("inactive", None), ["ecs-unit-disabled"]);
        assert_eq!(with("inactive", Some(7)), Vec::<&str>::new());
        assert_eq!(with("active", None), Vec::<&str>::new());
    }
}

//! Causes that lie in systemd's units, and in systemd itself.

use super::{Cause, Class, Layer, ecs_init};
use crate::boundary::systemd::{SystemdError, UnitState};
use crate::evidence::{Evidence, StageError};
use crate::exit::Exit;
use crate::redaction::error_chain;

/// The end of systemd's error for a transaction whose order has no solution.
const CYCLIC: &str = ".TransactionOrderIsCyclic";
/// The agent's unit: Amazon Linux, generic rpm and deb; SUSE.
const AGENT_UNITS: [&str; 2] = ["ecs.service", "amazon-ecs.service"];

/// Not an ECS image.
pub(super) static ECS_INIT_ABSENT: Cause = Cause {
    id: "ecs-init-absent",
    layer: Layer::Units,
    title: "the ECS agent is not installed",
    symptoms: "a plain Amazon Linux or Ubuntu runs, and nothing of ECS is on it",
    proof: "systemd knows neither unit of the agent; a unit that is there and idle is `ecs-unit-disabled`",
    look_alikes: &["ecs-unit-disabled", "docker-absent"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "use an ECS-optimized AMI, or install the package `ecs-init` in the image",
    source: "cdk#16260; init#69",
    check: |evidence| {
        if let Some(error @ SystemdError::NoSuchUnit { unit }) = evidence.systemd_error()
            && AGENT_UNITS.contains(&unit.as_str())
        {
            return Some(vec![error_chain(error)]);
        }
        let agent = evidence.agent_unit()?;
        (agent.load_state.as_deref() == Some("not-found") && is_down(evidence))
            .then(|| vec!["systemd knows neither ecs.service nor amazon-ecs.service".to_owned()])
    },
    ..Cause::PLAIN
};

/// Masked on purpose, so it is not unmasked.
pub(super) static UNIT_MASKED: Cause = Cause {
    id: "unit-masked",
    layer: Layer::Units,
    title: "a unit that is needed is masked",
    symptoms: "`Unit ecs.service is masked.`, or nothing at all",
    proof: "LoadState masked; a disabled unit can still be started",
    look_alikes: &["ecs-unit-disabled", "ecs-init-absent"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "`systemctl unmask` it, if masking it was not meant",
    source: "systemctl(1)",
    check: |evidence| {
        if let Some(StageError::Systemd(error @ SystemdError::Masked { .. })) = &evidence.stop {
            return Some(vec![error_chain(error)]);
        }
        let units = evidence.known_units()?;
        let masked = [&units.docker, &units.agent].into_iter().find(|u| u.load_state.as_deref() == Some("masked"))?;
        Some(vec![format!("{} is masked", masked.name)])
    },
    ..Cause::PLAIN
};

/// Nobody starts it.
pub(super) static ECS_UNIT_DISABLED: Cause = Cause {
    id: "ecs-unit-disabled",
    layer: Layer::Units,
    title: "the agent's unit is not enabled, and nothing has started it",
    symptoms: "the agent works after a start by hand, and not after a boot",
    proof: "UnitFileState disabled, inactive, no job, user data has ended; an enabled unit that nothing starts is \
            `agent-not-started` or `unit-ordering-cycle`",
    look_alikes: &["unit-ordering-cycle", "agent-not-started"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "`systemctl enable --now --no-block ecs`, or let `ecs-bootstrap run` start it (`units.enable = true` keeps it so)",
    source: "agent#1250",
    check: |evidence| {
        let agent = evidence.agent_unit()?;
        // User data may still start it itself, and where a run has been stopped nobody has got as far as starting it.
        if evidence.user_data_runs() || evidence.stop.is_some() {
            return None;
        }
        let idle = agent.active_state.as_deref() == Some("inactive") && agent.job.is_none();
        let disabled = agent.unit_file_state.as_deref() == Some("disabled");
        let loaded = agent.load_state.as_deref() == Some("loaded");
        let started_by_us = evidence.jobs.iter().any(|job| job.unit == agent.name);
        (loaded && idle && disabled && !started_by_us && is_down(evidence))
            .then(|| vec![format!("{} is disabled and inactive, without a job", agent.name)])
    },
    ..Cause::PLAIN
};

/// Whoever waits in user data for a unit that waits for user data waits for ever.
pub(super) static START_BLOCKED: Cause = Cause {
    id: "start-blocked",
    layer: Layer::Units,
    title: "waiting here would never end: the agent starts only after the unit that waits",
    symptoms: "`systemctl start ecs` in user data never comes back",
    proof: "the job of the agent waits for the unit that this program runs in; somebody else's waiting is `user-data-deadlock`",
    look_alikes: &["user-data-deadlock"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "run without `--wait`: the agent's start is queued, and goes on as soon as this unit ends",
    source: "agent#1707; Amazon Linux's ecs.service is After=cloud-final.service",
    check: |evidence| match &evidence.stop {
        Some(StageError::Blocked { unit }) => {
            Some(vec![format!("the agent's job waits for `{unit}`, where this program runs")])
        }
        _ => None,
    },
    ..Cause::PLAIN
};

/// systemd drops a job of the cycle by chance.
pub(super) static ORDERING_CYCLE: Cause = Cause {
    id: "unit-ordering-cycle",
    layer: Layer::Units,
    title: "the agent's unit is part of an ordering cycle, so systemd does not start it",
    symptoms: "ecs never starts and nothing says why: systemd logs the cycle before there is a journal",
    proof: "the units' After= and Wants= close a circle, and the unit is enabled, inactive and without a job; a disabled one is \
            `ecs-unit-disabled`",
    look_alikes: &["ecs-unit-disabled", "agent-not-started"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "`systemctl disable ecs` and let ecs-bootstrap start it, or give the agent's unit no `After=cloud-final.service`",
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
                "{} is enabled, inactive and without a job; it is after cloud-final.service, which is after \
                 multi-user.target, which wants it",
                units.agent.name
            )]
        })
    },
    ..Cause::PLAIN
};

/// No bus, or nothing behind it.
pub(super) static SYSTEMD_UNREACHABLE: Cause = Cause {
    id: "systemd-unreachable",
    layer: Layer::Units,
    title: "systemd does not answer on the system bus",
    symptoms: "`Failed to connect to bus`",
    proof: "no bus, no systemd on it, or no answer; a no of systemd's own is `systemd-refused`",
    look_alikes: &["systemd-refused"],
    class: Class::Retry,
    exit: Exit::Systemd,
    exit_after_deadline: Exit::Systemd,
    remedy: "run it after basic.target, as root, on a host whose PID 1 is systemd; look at `systemctl status dbus`",
    source: "org.freedesktop.systemd1(5)",
    check: |evidence| match evidence.systemd_error() {
        // Nothing else is waited for while jobs are queued.
        None => match &evidence.stop {
            Some(stop @ StageError::Late { doing, .. }) if doing.starts_with("queueing ") => {
                Some(vec![error_chain(stop)])
            }
            _ => None,
        },
        Some(
            error @ (SystemdError::NoBus { .. }
            | SystemdError::NoManager { .. }
            | SystemdError::Silent { .. }
            | SystemdError::Pending { .. }
            | SystemdError::Lost { .. }),
        ) => Some(vec![error_chain(error)]),
        _ => None,
    },
    ..Cause::PLAIN
};

/// It answers, and says no.
pub(super) static SYSTEMD_REFUSED: Cause = Cause {
    id: "systemd-refused",
    layer: Layer::Units,
    title: "systemd refuses to start or to stop a unit",
    symptoms: "`Access denied` or `Interactive authentication required` from systemctl",
    proof: "systemd's own error, with its name; no answer at all is `systemd-unreachable`",
    look_alikes: &["systemd-unreachable", "unit-masked"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "run it as root, and look at `systemctl status` of the unit",
    source: "org.freedesktop.systemd1(5)",
    check: |evidence| match evidence.systemd_error() {
        None => unloadable(evidence),
        Some(error) => refused(error),
    },
    ..Cause::PLAIN
};

/// A unit file that systemd itself cannot use (systemd.unit(5): `bad-setting`, `error`).
fn unloadable(evidence: &Evidence) -> Option<Vec<String>> {
    let units = evidence.known_units()?;
    let is_bad = |state: &&str| matches!(*state, "bad-setting" | "error");
    let state = |unit: &UnitState| Some((unit.name.clone(), unit.load_state.as_deref().filter(is_bad)?.to_owned()));
    let (name, state) = state(&units.docker).or_else(|| state(&units.agent))?;
    Some(vec![format!("systemd cannot load {name} ({state})")])
}

fn refused(error: &SystemdError) -> Option<Vec<String>> {
    match error {
        SystemdError::Refused { name, .. } if name.ends_with(CYCLIC) => None,
        error @ (SystemdError::Refused { .. } | SystemdError::Protocol { .. } | SystemdError::Unsupported { .. }) => {
            Some(vec![error_chain(error)])
        }
        error @ SystemdError::NoSuchUnit { unit }
            if unit != super::docker::UNIT && !AGENT_UNITS.contains(&unit.as_str()) =>
        {
            Some(vec![error_chain(error)])
        }
        _ => None,
    }
}

/// Enabled, and nobody starts it.
pub(super) static NOT_STARTED: Cause = Cause {
    id: "agent-not-started",
    layer: Layer::Units,
    title: "the agent's unit is enabled and does not run, and nothing starts it",
    symptoms: "`systemctl status ecs` says inactive (dead) with no error, often after a `systemctl stop` or for an unmet condition",
    proof: "it is inactive with no job once user data has ended; a unit that nobody enabled is `ecs-unit-disabled`, one that \
            systemd left out of a cycle is `unit-ordering-cycle`",
    look_alikes: &["ecs-unit-disabled", "unit-ordering-cycle", "user-data-deadlock"],
    class: Class::Retry,
    exit: Exit::Systemd,
    exit_after_deadline: Exit::Host,
    remedy: "`systemctl start ecs --no-block`; where it stays inactive, look at its conditions (`systemctl status ecs`)",
    source: "systemd.unit(5), Conditions and Asserts; ecs.service Restart=on-failure",
    check: |evidence| {
        let agent = evidence.agent_unit()?;
        let is = |state: &Option<String>, word| state.as_deref() == Some(word);
        let idle = is(&agent.active_state, "inactive") && agent.job.is_none() && !evidence.job_pending(&agent.name);
        let is_due = evidence.stop.is_none() && !evidence.user_data_runs();
        let fits = idle && is(&agent.load_state, "loaded") && is_due;
        let named = [&ECS_UNIT_DISABLED, &ORDERING_CYCLE].iter().any(|cause| (cause.check)(evidence).is_some());
        (fits && !named && is_down(evidence)).then(|| {
            let result = agent.result.as_deref().unwrap_or("unknown");
            vec![format!("{} is inactive, without a job (result {result})", agent.name)]
        })
    },
    ..Cause::PLAIN
};

/// All else that makes it fail for good.
pub(super) static FAILED: Cause = Cause {
    id: "agent-unit-failed",
    layer: Layer::Units,
    title: "the agent's unit has failed, and systemd does not start it again",
    symptoms: "`systemctl status ecs` says failed (start-limit-hit, timeout, signal, ...), with no exit code of the agent's own",
    proof: "it is failed with no job while docker is active; exit code 5 is the agent's (`agent-gave-up`), and a unit that is \
            tried again is `ecs-init-failed`",
    look_alikes: &["ecs-init-failed", "agent-gave-up", "docker-failed"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "mend what `journalctl -u ecs -b` names, then `systemctl reset-failed ecs && systemctl start ecs --no-block`",
    source: "systemd.service(5) Restart=, systemd.unit(5) StartLimitBurst=",
    check: |evidence| {
        let unit = evidence.unit_failed()?;
        let is_read = evidence.host.agent_journal.is_some() || evidence.timed_out;
        if ecs_init::refused_by_guard(evidence) {
            return None;
        }
        let is_ours = is_read && !evidence.agent_exited_with(5) && ecs_init::is_docker_up(evidence);
        let words = || {
            let words = ecs_init::last_words(evidence).into_iter().chain(evidence.killed());
            [ecs_init::described(unit)].into_iter().chain(words).collect()
        };
        (is_ours && !ecs_init::is_named(evidence)).then(words)
    },
    ..Cause::PLAIN
};

/// Whether no agent runs, not by hand either: some hosts have one without a unit.
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
    fn a_disabled_unit_that_runs_or_is_queued_is_not_accused() {
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

//! Causes that lie in systemd's units, and in the host's disk where we must write.

use super::{Cause, Class, Layer, chain};
use crate::boundary::disk::DiskError;
use crate::boundary::systemd::SystemdError;
use crate::evidence::Stop;
use crate::exit::Exit;

/// The end of systemd's error for a transaction whose order has no solution.
const CYCLIC: &str = ".TransactionOrderIsCyclic";
/// The agent's unit: Amazon Linux, generic rpm and deb; SUSE.
const AGENT_UNITS: [&str; 2] = ["ecs.service", "amazon-ecs.service"];

/// Not an ECS image.
pub(super) static ECS_INIT_ABSENT: Cause = Cause {
    id: "ecs-init-absent",
    layer: Layer::Units,
    title: "the ECS agent is not installed",
    class: Class::Terminal,
    exit: Exit::Host,
    lapsed: Exit::Host,
    remedy: "use an ECS-optimized AMI, or install the package `ecs-init` in the image",
    source: "cdk#16260; init#69",
    check: |evidence| {
        if let Some(error @ SystemdError::NoSuchUnit { unit }) = evidence.systemd_error()
            && AGENT_UNITS.contains(&unit.as_str())
        {
            return Some(vec![chain(error)]);
        }
        let agent = evidence.agent_unit()?;
        (agent.load_state.as_deref() == Some("not-found"))
            .then(|| vec!["systemd knows neither ecs.service nor amazon-ecs.service".to_owned()])
    },
    ..Cause::PLAIN
};

/// Masked on purpose, so it is not unmasked.
pub(super) static UNIT_MASKED: Cause = Cause {
    id: "unit-masked",
    layer: Layer::Units,
    title: "a unit that is needed is masked",
    class: Class::Terminal,
    exit: Exit::Host,
    lapsed: Exit::Host,
    remedy: "`systemctl unmask` it, if masking it was not meant",
    source: "systemctl(1)",
    check: |evidence| {
        if let Some(Stop::Systemd(error @ SystemdError::Masked { .. })) = &evidence.stop {
            return Some(vec![chain(error)]);
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
    class: Class::Terminal,
    exit: Exit::Host,
    lapsed: Exit::Host,
    remedy: "`systemctl enable --now --no-block ecs`, or let `ecs-bootstrap run` start it (`units.enable = true` keeps it so)",
    source: "agent#1250",
    check: |evidence| {
        let agent = evidence.agent_unit()?;
        // User data may still start it itself.
        if evidence.user_data_runs() {
            return None;
        }
        let idle = agent.active_state.as_deref() == Some("inactive") && agent.job.is_none();
        let disabled = agent.unit_file_state.as_deref() == Some("disabled");
        let loaded = agent.load_state.as_deref() == Some("loaded");
        let started_by_us = evidence.jobs.iter().any(|job| job.unit == agent.name);
        (loaded && idle && disabled && !started_by_us)
            .then(|| vec![format!("{} is disabled and inactive, without a job", agent.name)])
    },
    ..Cause::PLAIN
};

/// Whoever waits in user data for a unit that waits for user data waits for ever.
pub(super) static START_BLOCKED: Cause = Cause {
    id: "start-blocked",
    layer: Layer::Units,
    title: "waiting here would never end: the agent starts only after the unit that waits",
    class: Class::Terminal,
    exit: Exit::Host,
    lapsed: Exit::Host,
    remedy: "run without `--wait`: the agent's start is queued, and goes on as soon as this unit ends",
    source: "agent#1707; Amazon Linux's ecs.service is After=cloud-final.service",
    check: |evidence| match &evidence.stop {
        Some(Stop::Blocked { unit }) => {
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
    class: Class::Terminal,
    exit: Exit::Host,
    lapsed: Exit::Host,
    remedy: "`systemctl disable ecs` and let ecs-bootstrap start it, or give the agent's unit no `After=cloud-final.service`",
    source: "systemd.unit(5) After=; Debian's cloud-final.service is After=multi-user.target",
    check: |evidence| {
        if let Some(error @ SystemdError::Refused { name, .. }) = evidence.systemd_error()
            && name.ends_with(CYCLIC)
        {
            return Some(vec![chain(error)]);
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
    class: Class::Retry,
    exit: Exit::Systemd,
    lapsed: Exit::Systemd,
    remedy: "run it after basic.target, as root, on a host whose PID 1 is systemd; look at `systemctl status dbus`",
    source: "org.freedesktop.systemd1(5)",
    check: |evidence| match evidence.systemd_error()? {
        error @ (SystemdError::NoBus { .. }
        | SystemdError::NoManager { .. }
        | SystemdError::Silent { .. }
        | SystemdError::Pending { .. }
        | SystemdError::Lost { .. }) => Some(vec![chain(error)]),
        _ => None,
    },
    ..Cause::PLAIN
};

/// It answers, and says no.
pub(super) static SYSTEMD_REFUSED: Cause = Cause {
    id: "systemd-refused",
    layer: Layer::Units,
    title: "systemd refuses to start or to stop a unit",
    class: Class::Terminal,
    exit: Exit::Host,
    lapsed: Exit::Host,
    remedy: "run it as root, and look at `systemctl status` of the unit",
    source: "org.freedesktop.systemd1(5)",
    check: |evidence| match evidence.systemd_error()? {
        SystemdError::Refused { name, .. } if name.ends_with(CYCLIC) => None,
        error @ (SystemdError::Refused { .. } | SystemdError::Protocol { .. } | SystemdError::Unsupported { .. }) => {
            Some(vec![chain(error)])
        }
        error @ SystemdError::NoSuchUnit { unit }
            if unit != super::docker::UNIT && !AGENT_UNITS.contains(&unit.as_str()) =>
        {
            Some(vec![chain(error)])
        }
        _ => None,
    },
    ..Cause::PLAIN
};

/// The write could not be made durable.
pub(super) static DISK_FULL: Cause = Cause {
    id: "disk-full",
    layer: Layer::Host,
    title: "a file system is full",
    class: Class::Terminal,
    exit: Exit::Host,
    lapsed: Exit::Host,
    remedy: "make room or use a larger volume; `ecs.config` is as it was before",
    source: "agent#536; write(2) ENOSPC",
    check: |evidence| match &evidence.stop {
        Some(Stop::Write(error @ DiskError::Full { .. })) => Some(vec![chain(error)]),
        _ => None,
    },
    ..Cause::PLAIN
};

/// Read-only, forbidden, or an error of the device.
pub(super) static WRITE_REFUSED: Cause = Cause {
    id: "write-refused",
    layer: Layer::Host,
    title: "a file of this host cannot be read or written",
    class: Class::Terminal,
    exit: Exit::Host,
    lapsed: Exit::Host,
    remedy: "run it as root on a writable file system; `ecs.config` is as it was before",
    source: "rename(2)",
    check: |evidence| match &evidence.stop {
        Some(Stop::ReadHandover(error)) => Some(vec![chain(error)]),
        Some(Stop::Write(error))
            if !matches!(error, DiskError::Full { .. } | DiskError::Symlink { .. } | DiskError::NotAFile { .. }) =>
        {
            Some(vec![chain(error)])
        }
        _ => None,
    },
    ..Cause::PLAIN
};

#[cfg(test)]
mod tests {
    use super::super::tests::{healthy_units, ids};
    use crate::evidence::Evidence;

    #[test]
    fn a_disabled_unit_that_runs_or_is_queued_is_not_accused() {
        let with = |active: &str, job| {
            let mut units = healthy_units();
            units.agent.unit_file_state = Some("disabled".to_owned());
            units.agent.active_state = Some(active.to_owned());
            units.agent.job = job;
            ids(&Evidence { units: Some(Ok(units)), ..Evidence::default() })
        };
        assert_eq!(with("inactive", None), ["ecs-unit-disabled"]);
        assert_eq!(with("inactive", Some(7)), Vec::<&str>::new());
        assert_eq!(with("active", None), Vec::<&str>::new());
    }
}

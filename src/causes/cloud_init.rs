//! Causes in cloud-init: user data that does not end, and records which show that cloud-init did not complete.

use std::time::Duration;

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::effect::{user_data, user_data_effect};
use super::view::user_data::{errors, warnings};
use crate::evidence::Evidence;
use crate::evidence::user_data::{PartType, UserData};
use crate::exit::Exit;

/// A command in user data that waits this long for the agent's unit is in a deadlock: otherwise the unit starts at once.
const MAX_START_TIME: Duration = Duration::from_secs(10);
/// Long enough for a slow package mirror and for the download of a large image.
const MAX_SCRIPT_TIME: Duration = Duration::from_secs(300);

/// User data waits for a unit that is ordered after user data, so both wait forever.
pub(super) static USER_DATA_DEADLOCK: Cause = Cause {
    id: "user-data-deadlock",
    is_reported_during_user_data: true,
    layer: Layer::CloudInit,
    title: "user data waits for the agent to start, and the agent's start waits for user data to end",
    symptoms: "`systemctl start ecs` hangs in user data, the agent's unit is inactive (dead), and nothing is logged",
    proof: "the agent's unit has a job that waits for cloud-final.service, and a process of user data is a `systemctl` \
            that waits for the agent's unit",
    look_alikes: &["cloud-init-stuck", "unit-ordering-cycle"],
    // The waiting command may have a time limit, so the deadlock can end by itself.
    class: Class::Retry,
    exit: Exit::Settings,
    exit_after_deadline: Exit::Settings,
    remedy: "in user data use `systemctl start --no-block ecs`, or let ecs-bootstrap start the agent; on this \
             instance, kill the waiting `systemctl`, then both continue",
    source: "aws/amazon-ecs-agent#1707 #4818; Amazon Linux's ecs.service is After=cloud-final.service",
    check: |evidence| {
        let waiting = evidence.blocking_start.as_ref()?;
        let agent = evidence.agent_unit()?;
        (is_blocked(evidence) && waiting.seen_for >= MAX_START_TIME).then(|| {
            vec![
                format!("process {} of user data is waiting: `{}`", waiting.pid, waiting.command),
                format!("the start of {} is queued after cloud-final.service, which runs user data", agent.name),
            ]
        })
    },
    ..Cause::DEFAULTS
};

/// Whether a process of user data waits for the agent's start, which waits for user data.
fn is_blocked(evidence: &Evidence) -> bool {
    // With early start the agent need not wait for user data, although its start may take long.
    let target = evidence.known_units().and_then(|units| units.user_data_target.as_ref());
    if target.is_some_and(|target| target.job.is_none()) {
        return false;
    }
    let is_queued = evidence
        .agent_unit()
        .is_some_and(|agent| agent.active_state.as_deref() == Some("inactive") && agent.job.is_some());
    evidence.blocking_start.is_some() && is_queued && evidence.user_data_runs()
}

/// User data that runs for minutes: systemd sets no time limit for cloud-final.service.
pub(super) static CLOUD_INIT_STUCK: Cause = Cause {
    id: "cloud-init-stuck",
    is_reported_during_user_data: true,
    layer: Layer::CloudInit,
    title: "user data has been running for minutes, and the agent starts only after it ends",
    symptoms: "the agent's unit stays inactive (dead) with nothing in its log, often after a change of the AMI",
    proof: "cloud-final.service is activating, and one of its processes is older than five minutes; the cause is \
            `user-data-deadlock` if that process is a `systemctl` that waits for the agent, and `user-data-failed` if \
            user data has already ended with an error",
    look_alikes: &["user-data-deadlock", "user-data-failed"],
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::Settings,
    remedy: "set a time limit for the command (`timeout 60 COMMAND`) or run it in its own unit; on this instance kill \
             the process, then the agent starts",
    source: "aws/amazon-ecs-agent#4130 #4792; systemd.service(5): a oneshot has no start timeout",
    check: |evidence| {
        if !evidence.held_by_user_data() || is_blocked(evidence) {
            return None;
        }
        let seconds = |age: Duration| humantime::format_duration(Duration::from_secs(age.as_secs())).to_string();
        let mut seen = match &evidence.oldest_process {
            Some(run) if run.age >= MAX_SCRIPT_TIME => {
                let child = run.waits_for.as_ref().map(|name| format!(", and waits for `{name}`")).unwrap_or_default();
                let age = seconds(run.age);
                vec![format!("process {} (`{}`) of user data has run for {age}{child}", run.pid, run.name)]
            }
            None if evidence.waited >= MAX_SCRIPT_TIME => {
                vec![format!("no process of user data was found in {}", seconds(evidence.waited))]
            }
            _ => return None,
        };
        seen.push("cloud-final.service, which runs user data, is activating".to_owned());
        Some(seen)
    },
    ..Cause::DEFAULTS
};

/// The fields that the causes below share. Each explains why the cluster is missing.
const DEFAULTS: Cause = Cause { layer: Layer::CloudInit, ..Cause::OF_MISSING_CLUSTER };

/// cloud-init looked for its data source before IMDS answered.
pub(super) static DATASOURCE_NONE: Cause = Cause {
    id: "datasource-none",
    title: "cloud-init found no data source at boot, so user data did not run",
    symptoms: "the instance joins `default`, or a recent agent exits with code 5 and logs `Cloud-init failure \
               detected`",
    proof: "cloud-init recorded DataSourceNone, and IMDS returns user data now; if IMDS has no user data, the cause is \
            `user-data-absent`",
    look_alikes: &["user-data-absent", "imds-unreachable"],
    remedy: "check that `datasource_list` below /etc/cloud has `Ec2`, and why IMDS may have answered late at boot; then replace the \
             instance, because cloud-init does not look again",
    source: "aws/amazon-ecs-agent#4988; aws/containers-roadmap#1889; agent/config/cloudinit_check_linux.go",
    check: |evidence| {
        let records = &evidence.files.cloud_init;
        let none = records.datasource.as_deref() == Some("DataSourceNone") && records.ended != Some(false);
        if !none || user_data(evidence)?.part_type == PartType::Absent {
            return None;
        }
        let gave_up = || {
            let logged = evidence.agent_logged(&["Cloud-init failure detected", "DataSourceNone"]);
            let ended = evidence.container_instance_arn().is_none() && evidence.agent_exited_with(5);
            logged.filter(|_| ended).map(|line| vec![line])
        };
        let effect = user_data_effect(evidence).map(|effect| effect.seen).or_else(gave_up)?;
        let seen = "cloud-init recorded DataSourceNone, and IMDS has user data now".to_owned();
        Some([seen].into_iter().chain(effect).collect())
    },
    ..DEFAULTS
};

/// The general cause of this layer: cloud-init did not reach user data, or another module failed.
pub(super) static FAILED: Cause = Cause {
    id: "cloud-init-failed",
    yields_to: &["user-data-failed", "user-data-not-recognised", "datasource-none"],
    title: "cloud-init did not complete",
    symptoms: "the instance joins `default`, and nothing of user data ran",
    proof: "cloud-init has errors outside of the user data scripts, warns that it could not read user data, or left no \
            record that it finished; the cause is `user-data-failed` if only modules that run user data failed, and \
            `user-data-not-recognised` if user data begins with no marker that cloud-init knows",
    look_alikes: &["user-data-failed", "user-data-not-recognised"],
    remedy: "fix what `cloud-init status --long` and `/var/log/cloud-init.log` name (cloud-init must be installed and \
             enabled), and replace the instance, because user data runs only once",
    source: "cloud-init, \"Reported status\"",
    check: |evidence| {
        let effect = user_data_effect(evidence)?;
        // If user data does not mention a cluster, an error elsewhere in cloud-init cannot be why the cluster is
        // missing.
        let mentions_cluster =
            |known: &&UserData| matches!(known.part_type, PartType::Known(_)) && known.mentions_cluster;
        user_data(evidence).filter(mentions_cluster)?;
        let records = &evidence.files.cloud_init;
        let mut seen = errors(evidence, |error| !error.runs_user_data());
        if evidence.files.is_examined && records.errors.is_empty() {
            seen.extend(warnings(evidence));
            seen.extend(recovered(evidence));
            seen.extend(match records.ended {
                None => Some("cloud-init left no record of this boot in /run/cloud-init".to_owned()),
                Some(false) => {
                    Some("cloud-init started but did not end, and cloud-final.service is not running".to_owned())
                }
                Some(true) => None,
            });
        }
        (!seen.is_empty()).then(|| seen.into_iter().chain(effect.seen).collect())
    },
    // Errors that cloud-init recovered from are not noted.
    note: |evidence| {
        let seen = errors(evidence, |error| !error.runs_user_data());
        (!seen.is_empty()).then_some(seen)
    },
    ..DEFAULTS
};

fn recovered(evidence: &Evidence) -> Option<String> {
    let count = evidence.files.cloud_init.recoverable;
    (count > 0).then(|| format!("cloud-init recovered from {count} warnings or errors: see `cloud-init status --long`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::causes::tests::healthy_units;
    use crate::evidence::BlockingStart;
    use crate::facts::USER_DATA_TARGET;

    /// User data that waits for the start of an agent with early start. `job` is that of the target.
    fn waiting(job: Option<u32>) -> Evidence {
        let mut units = healthy_units();
        units.cloud_final.active_state = Some("activating".to_owned());
        units.agent.active_state = Some("inactive".to_owned());
        units.agent.job = Some(7);
        units.agent.after = Some(vec![USER_DATA_TARGET.to_owned()]);
        units.user_data_target = Some(crate::boundary::systemd::UnitState { job, ..units.cloud_final.clone() });
        let blocking = BlockingStart { pid: 1, command: "systemctl start ecs".to_owned(), seen_for: MAX_START_TIME };
        Evidence { units: Some(Ok(units)), blocking_start: Some(blocking), ..Evidence::default() }
    }

    #[test]
    fn with_early_start_a_start_is_in_a_deadlock_only_while_the_agent_waits_for_user_data() {
        assert!((USER_DATA_DEADLOCK.check)(&waiting(Some(9))).is_some());
        assert!((USER_DATA_DEADLOCK.check)(&waiting(None)).is_none());
        assert!(waiting(Some(9)).held_by_user_data());
        assert!(!waiting(None).held_by_user_data());
    }
}

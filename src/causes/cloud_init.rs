//! Causes that lie in cloud-init: user data that does not end, and records that say that it did not do its work.

use std::time::Duration;

use super::effect::{of_user_data, user_data};
use super::{Cause, Class, Layer};
use crate::evidence::Evidence;
use crate::evidence::files::ModuleError;
use crate::evidence::user_data::{PartType, UserData};
use crate::exit::Exit;

/// For this long whoever waits for a start may have set himself a limit, and the agent's unit starts at once otherwise.
const LONGEST_START: Duration = Duration::from_secs(10);
/// A package mirror that is slow and a large image are through by then.
const LONGEST_SCRIPT: Duration = Duration::from_secs(300);

/// Whoever waits in user data for a unit that waits for user data waits for ever; seen from our own unit.
pub static USER_DATA_DEADLOCK: Cause = Cause {
    id: "user-data-deadlock",
    layer: Layer::CloudInit,
    title: "user data waits for the agent's start, and the agent's start waits for user data",
    symptoms: "`systemctl start ecs` hangs in user data, the agent's unit is inactive (dead), and nothing is logged",
    proof: "the agent's unit has a waiting job behind cloud-final.service, and a process of user data is a systemctl that \
            waits for it",
    look_alikes: &["cloud-init-stuck", "unit-ordering-cycle"],
    // It may have set itself a limit.
    class: Class::Retry,
    exit: Exit::Settings,
    exit_after_deadline: Exit::Settings,
    remedy: "in user data write `systemctl start --no-block ecs`, or leave the start to ecs-bootstrap; on this instance, \
             end the waiting `systemctl`, and both go on",
    source: "agent#1707 #4818; Amazon Linux's ecs.service is After=cloud-final.service",
    check: |evidence| {
        let waiting = evidence.blocking_start.as_ref()?;
        let agent = evidence.agent_unit()?;
        (is_blocked(evidence) && waiting.seen_for >= LONGEST_START).then(|| {
            vec![
                format!("process {} of user data waits: `{}`", waiting.pid, waiting.command),
                format!("{}'s start is queued behind cloud-final.service, which runs user data", agent.name),
            ]
        })
    },
    ..Cause::PLAIN
};

/// Whether somebody in user data waits for the agent's start, which waits for user data.
fn is_blocked(evidence: &Evidence) -> bool {
    let is_queued = evidence
        .agent_unit()
        .is_some_and(|agent| agent.active_state.as_deref() == Some("inactive") && agent.job.is_some());
    evidence.blocking_start.is_some() && is_queued && evidence.user_data_runs()
}

/// systemd sets it no limit.
pub static CLOUD_INIT_STUCK: Cause = Cause {
    id: "cloud-init-stuck",
    layer: Layer::CloudInit,
    title: "user data has been running for minutes, and the agent starts after it",
    symptoms: "the agent's unit is inactive (dead) for ever, with nothing in its log, often after a change of image",
    proof: "cloud-final.service is activating, and a process below it is older than five minutes; where that process is a \
            systemctl that waits for the agent, they wait for each other",
    look_alikes: &["user-data-deadlock", "user-data-failed"],
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::Settings,
    remedy: "give the command a limit (`timeout 60 COMMAND`) or a unit of its own; on this instance end the process, and \
             the agent starts",
    source: "agent#4130 #4792; systemd.service(5): a oneshot has no start timeout",
    check: |evidence| {
        if !evidence.held_by_user_data() || is_blocked(evidence) {
            return None;
        }
        let since = |age: Duration| humantime::format_duration(Duration::from_secs(age.as_secs())).to_string();
        let mut seen = match &evidence.long_run {
            Some(run) if run.age >= LONGEST_SCRIPT => {
                let below = run.waits_for.as_ref().map(|name| format!(", and waits for `{name}`")).unwrap_or_default();
                vec![format!("process {} (`{}`) of user data has run for {}{below}", run.pid, run.name, since(run.age))]
            }
            None if evidence.waited >= LONGEST_SCRIPT => {
                vec![format!("no process of user data is seen, in {} of waiting", since(evidence.waited))]
            }
            _ => return None,
        };
        seen.push("cloud-final.service, which runs user data, is activating".to_owned());
        Some(seen)
    },
    ..Cause::PLAIN
};

/// What rows of cloud-init and user data that explain a missing cluster have in common.
pub(super) const ROW: Cause = Cause {
    layer: Layer::CloudInit,
    exit: Exit::Cluster,
    exit_after_deadline: Exit::Cluster,
    when_registered: true,
    ..Cause::PLAIN
};

/// cloud-init asked too early, or was let down.
pub(super) static DATASOURCE_NONE: Cause = Cause {
    id: "datasource-none",
    title: "cloud-init found no data of the instance when it booted, so user data has not run",
    symptoms: "the instance joins `default`, or a new agent exits 5 with `Cloud-init failure detected`",
    proof: "cloud-init's datasource is DataSourceNone, and instance metadata has user data now",
    look_alikes: &["user-data-absent", "imds-unreachable"],
    remedy: "replace the instance: cloud-init does not ask again; look at what keeps the metadata service late at boot",
    source: "agent PR 4988; roadmap#1889; agent/config/cloudinit_check_linux.go",
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
        let effect = of_user_data(evidence).map(|effect| effect.seen).or_else(gave_up)?;
        let seen = "cloud-init's record says DataSourceNone, and instance metadata has user data now".to_owned();
        Some([seen].into_iter().chain(effect).collect())
    },
    ..ROW
};

/// What no other row explains: cloud-init did not come to user data, or failed at something else.
pub(super) static FAILED: Cause = Cause {
    id: "cloud-init-failed",
    title: "cloud-init has not done all of its work",
    symptoms: "the instance joins `default`, and nothing of user data has happened",
    proof: "cloud-init has errors outside of user data's own scripts, warns that it could not read user data, or has left no \
            record that it ran to its end",
    look_alikes: &["user-data-failed", "user-data-not-recognised"],
    remedy: "read `cloud-init status --long` and `/var/log/cloud-init.log`; see that cloud-init is installed and enabled",
    source: "cloud-init, \"Reported status\"",
    check: |evidence| {
        let effect = of_user_data(evidence)?;
        // An error of something else is not why a cluster is missing that user data does not speak of.
        let speaks = |known: &&UserData| matches!(known.part_type, PartType::Known(_)) && known.mentions_cluster;
        user_data(evidence).filter(speaks)?;
        let records = &evidence.files.cloud_init;
        let mut seen = errors(evidence, |error| !error.is_of_user_data());
        if evidence.files.is_examined && records.errors.is_empty() {
            seen.extend(warnings(evidence));
            seen.extend(got_over(evidence));
            seen.extend(match records.ended {
                None => Some("cloud-init has left no record of this boot in /run/cloud-init".to_owned()),
                Some(false) => Some("cloud-init has begun, not ended, and cloud-final.service does not run".to_owned()),
                Some(true) => None,
            });
        }
        (!seen.is_empty()).then(|| seen.into_iter().chain(effect.seen).collect())
    },
    // What it got over, it got over.
    note: |evidence| {
        let seen = errors(evidence, |error| !error.is_of_user_data());
        (!seen.is_empty()).then_some(seen)
    },
    ..ROW
};

/// What cloud-init's output warns of.
pub(super) fn warnings(evidence: &Evidence) -> impl Iterator<Item = String> {
    evidence.files.cloud_init.warnings.iter().map(|words| format!("cloud-init-output.log: {words}"))
}

fn got_over(evidence: &Evidence) -> Option<String> {
    let count = evidence.files.cloud_init.recoverable;
    (count > 0).then(|| format!("cloud-init got over {count} warnings or errors: `cloud-init status --long`"))
}

/// What cloud-init reports of the modules that failed.
pub(super) fn errors(evidence: &Evidence, is: fn(&ModuleError) -> bool) -> Vec<String> {
    let told = |error: &ModuleError| {
        let module = if error.module.is_empty() { "unnamed" } else { &error.module };
        let scripts = error.scripts.as_ref().map(|scripts| format!(" (`{scripts}`)")).unwrap_or_default();
        format!("cloud-init reports that its module `{module}` failed{scripts}")
    };
    evidence.files.cloud_init.errors.iter().filter(|error| is(error)).take(4).map(told).collect()
}

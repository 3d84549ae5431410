//! Causes in the agent: what ECS rejects, what the agent cannot set up, and how it exits.

use std::time::SystemTime;

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::crash::{loop_evidence, remedy, remedy_for};
use super::view::missing_log::{missing_log, missing_log_remedy};
use super::view::registration::{GAVE_UP_TEXT, disconnected_for};
use crate::comparison::Specificity;
use crate::evidence::{Evidence, StageError};
use crate::exit::Exit;
use crate::redaction::{self, error_chain};

/// ECS accepts the registration without the attributes; the agent notices that they are missing and exits with code 5.
pub(super) static ATTRIBUTES_REJECTED: Cause = Cause {
    id: "attributes-rejected",
    layer: Layer::Agent,
    title: "ECS rejected the attributes of the container instance",
    symptoms: "the agent exits with code 5 right after it registered; the instance is in the cluster, but not \
               connected",
    proof: "the agent's log names the attributes, and the agent exited with code 5; if the attributes are not valid \
            JSON, the agent exits with code 1, and the cause is `config-bad-json`",
    look_alikes: &["config-bad-json", "tags-rejected", "attributes-not-applied"],
    class: Class::Terminal,
    exit: Exit::Agent,
    exit_after_deadline: Exit::Agent,
    remedy: "correct ECS_INSTANCE_ATTRIBUTES: at most ten attributes, names and values of at most 128 permitted \
             characters",
    source: "aws/amazon-ecs-agent#2981; Amazon ECS API Reference, Attribute",
    check: |evidence| {
        let texts = ["Attribute validation failed", "attempt with invalid attribute", "Error registering attributes"];
        let seen = gave_up_with(evidence, &texts)?;
        // Only one of several lines about it names them.
        let names = "missingAttributes=";
        let names = evidence.agent_failed_with(&[names]).filter(|_| !seen.iter().any(|line| line.contains(names)));
        Some(seen.into_iter().chain(names).collect())
    },
    ..Cause::DEFAULTS
};

/// ECS refuses the whole registration because of the tags.
pub(super) static TAGS_REJECTED: Cause = Cause {
    id: "tags-rejected",
    layer: Layer::Agent,
    title: "ECS rejected the tags of the container instance",
    symptoms: "the agent exits with code 5 and the instance is not in the cluster, since a tag was added to \
               ECS_CONTAINER_INSTANCE_TAGS",
    proof: "ECS refuses the registration with an InvalidParameterException about tags or the long ARN format; if the \
            log names attributes instead, the cause is `attributes-rejected`",
    look_alikes: &["attributes-rejected", "agent-gave-up"],
    class: Class::Terminal,
    exit: Exit::Agent,
    exit_after_deadline: Exit::Agent,
    remedy: "correct ECS_CONTAINER_INSTANCE_TAGS (no key may begin with `aws:`), or run `aws ecs \
             put-account-setting-default --name containerInstanceLongArnFormat --value enabled`",
    source: "aws/amazon-ecs-agent#1704; aws/amazon-ecs-cli#744 #735",
    check: |evidence| {
        let refused = evidence.registration_refused(&["InvalidParameterException"])?;
        let text = refused.to_ascii_lowercase();
        let is_about_tags = [" tag", "tags", "long arn", "new arn"].iter().any(|word| text.contains(word));
        let reserved = evidence.config.get("ECS_CONTAINER_INSTANCE_TAGS").filter(|tags| tags.contains("\"aws:"));
        let reserved = reserved.map(|_| "ECS_CONTAINER_INSTANCE_TAGS has a key that begins with `aws:`".to_owned());
        (is_about_tags && evidence.agent_exited_with(5))
            .then(|| [refused, GAVE_UP_TEXT.to_owned()].into_iter().chain(reserved).collect())
    },
    ..Cause::DEFAULTS
};

/// awsvpc mode needs an init process, the CNI plugins and the VPC id.
pub(super) static TASK_ENI_SETUP_FAILED: Cause = Cause {
    id: "task-eni-setup-failed",
    layer: Layer::Agent,
    title: "the agent cannot set up network interfaces for tasks (awsvpc mode)",
    symptoms: "the agent exits with code 5 before it registers; usually it was started without ecs-init",
    proof: "the agent's log names the task ENI, the CNI plugins or the VPC id, and the agent exited with code 5; if \
            the log names the cgroup root, the cause is `cgroup-setup-failed`",
    look_alikes: &["cgroup-setup-failed", "agent-gave-up"],
    class: Class::Terminal,
    exit: Exit::Agent,
    exit_after_deadline: Exit::Agent,
    remedy: "start the agent through ecs-init (which passes `--init` and the plugins), keep `network/interfaces` of \
             IMDS readable, or set ECS_ENABLE_TASK_ENI=false",
    source: "aws/amazon-ecs-agent#1857; agent/app/agent_unix.go",
    check: |evidence| {
        gave_up_with(
            evidence,
            &[
                "Unable to initialize Task ENI dependencies",
                "unable to get vpc id",
                "Unable to get VPC ID",
                "Failed to load pause container",
            ],
        )
    },
    ..Cause::DEFAULTS
};

/// Fatal only if the setting requires the control group.
pub(super) static CGROUP_SETUP_FAILED: Cause = Cause {
    id: "cgroup-setup-failed",
    layer: Layer::Agent,
    title: "the agent cannot create its control group, which ECS_ENABLE_TASK_CPU_MEM_LIMIT requires",
    symptoms: "the agent exits with code 5 before it registers, often after a switch to cgroup v2 or to another cgroup \
               driver",
    proof: "the agent's log names the cgroup root, and the agent exited with code 5; without the setting it only logs \
            a warning",
    look_alikes: &["task-eni-setup-failed", "agent-gave-up"],
    class: Class::Terminal,
    exit: Exit::Agent,
    exit_after_deadline: Exit::Agent,
    remedy: "remove ECS_ENABLE_TASK_CPU_MEM_LIMIT from ecs.config, or enable the cpu and memory controllers",
    source: "aws/containers-roadmap#1535; aws/amazon-ecs-agent#3117; agent/app/agent_unix.go",
    check: |evidence| {
        let seen = gave_up_with(evidence, &["Unable to initialize cgroup root", "unable to setup '/ecs' cgroup"])?;
        let key = "ECS_ENABLE_TASK_CPU_MEM_LIMIT";
        let set = evidence.config.get(key).map(|value| format!("{key} is `{}`", redaction::variable(key, value)));
        Some(seen.into_iter().chain(set).collect())
    },
    ..Cause::DEFAULTS
};

/// Exit code 5 for a reason that no other cause covers.
pub(super) static GAVE_UP: Cause = Cause {
    id: "agent-gave-up",
    specific_remedy: Some(|evidence| match evidence.agent_error() {
        Some(error) => remedy_for(evidence, &error),
        None => missing_log_remedy(evidence),
    }),
    specificity: Specificity::General,
    layer: Layer::Agent,
    title: "the agent exited with code 5, its terminal exit code",
    symptoms: "`systemctl status ecs` shows failed, status 5; Debian's unit restarts it every 10 s anyway",
    proof: "exit code 5 of the unit, of the container or in ecs-init.log, and no more specific cause fits; for any \
            other exit code, the cause is `agent-exits`",
    look_alikes: &["agent-exits", "attributes-rejected", "tags-rejected", "cluster-not-found"],
    class: Class::Terminal,
    exit: Exit::Agent,
    exit_after_deadline: Exit::Agent,
    remedy: "fix what the last lines of /var/log/ecs/ecs-agent.log name, then `systemctl restart ecs --no-block`; if the \
             agent rejects its saved state (`Data mismatch`), run `ecs-bootstrap reset-agent --yes` instead",
    source: "agent/sighandlers/exitcodes: 5 is terminal",
    check: |evidence| {
        if !evidence.agent_exited_with(5) || !evidence.is_host_examined() {
            return None;
        }
        let logged = evidence.agent_logged(&[
            "Unable to register as a container instance with ECS",
            "Agent will terminally exit",
            "Data mismatch",
            "Cloud-init failure detected",
            "Unable to initialize",
        ]);
        let logged = logged.or_else(|| evidence.agent_error());
        Some([Some(GAVE_UP_TEXT.to_owned()), logged, missing_log(evidence)].into_iter().flatten().collect())
    },
    ..Cause::DEFAULTS
};

/// Any exit code except 5, repeatedly.
pub(super) static EXITS: Cause = Cause {
    id: "agent-exits",
    is_final_in_crash_loop: true,
    specific_remedy: Some(|evidence| remedy(evidence).or_else(|| missing_log_remedy(evidence))),
    specificity: Specificity::General,
    // Repeated exits of the agent are a symptom of every earlier broken layer.
    is_symptom_of: Layer::Agent.before(),
    layer: Layer::Agent,
    title: "the agent's container exits repeatedly before it has registered",
    symptoms: "`systemctl status ecs` shows active (running), and `docker ps` shows a container that is only seconds \
               old",
    proof: "the exit code of the container or in ecs-init.log is not 5, and was seen twice or the container is not \
            running; no cause of an earlier layer explains it",
    look_alikes: &["agent-gave-up", "ecs-init-failed", "docker-api-mismatch", "host-overloaded"],
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::Agent,
    remedy: "read the last errors in /var/log/ecs/ecs-agent.log (`docker logs ecs-agent` if that file is empty)",
    source: "ecs-init/engine, StartSupervised: the agent is started again after every code except 0 and 5",
    check: |evidence| {
        let (code, times) = evidence.agent_end().filter(|(code, _)| *code != 5)?;
        let is_down = matches!(&evidence.container, Some(Ok(Some(container))) if !container.running);
        if times < 2 && !is_down {
            return None;
        }
        let count = if times > 1 { format!(", {times} times so far") } else { String::new() };
        let seen = format!("the agent exited with code {code}{count}");
        let repeated = loop_evidence(evidence);
        if !repeated.is_empty() {
            return Some([seen].into_iter().chain(repeated).chain(missing_log(evidence)).collect());
        }
        // ecs-init logs the panic of an agent whose own log does not have it.
        let error = evidence.agent_error().or_else(|| evidence.agent_crash());
        Some([seen].into_iter().chain(error).chain(missing_log(evidence)).collect())
    },
    ..Cause::DEFAULTS
};

/// An agent that registers at each start, and ends again. Only `watch` observes for long enough.
pub(super) static RESTARTS: Cause = Cause {
    id: "agent-restarts",
    yields_to: &["agent-exits", "agent-gave-up"],
    specificity: Specificity::General,
    is_symptom_of: Layer::Agent.before(),
    layer: Layer::Agent,
    title: "the agent starts again and again after the instance was ready",
    symptoms: "the instance is in the cluster, and its tasks start late or not at all; `docker ps` shows a container of the \
               agent that is minutes old",
    proof: "the agent's container has started again at least three times within a quarter of an hour, and the last start is \
            less than five minutes ago; if the agent ends before it registers, the cause is `agent-exits`",
    look_alikes: &["agent-exits", "host-overloaded", "docker-failed"],
    class: Class::Retry,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "find out what ends it: `journalctl -u ecs -u docker --since -15m`, and the end of /var/log/ecs/ecs-agent.log",
    source: "ecs-init/engine, StartSupervised: the agent is started again after every code except 0 and 5",
    check: |evidence| {
        let starts = &evidence.watched.as_ref()?.starts;
        let (first, last) = (starts.first()?, starts.last()?);
        let time = |at: &SystemTime| humantime::format_rfc3339_seconds(*at);
        let seen = format!("its container started again {} times from {} to {}", starts.len(), time(first), time(last));
        let end = evidence.agent_end().map(|(code, _)| format!("the agent exited with code {code}"));
        let killed = evidence.killed();
        Some([Some(seen), end, evidence.agent_error(), killed].into_iter().flatten().collect())
    },
    when_registered: true,
    ..Cause::DEFAULTS
};

/// ecs-bootstrap's own deadline.
pub(super) static RUN_LATE: Cause = Cause {
    id: "run-late",
    layer: Layer::Agent,
    title: "ecs-bootstrap did not finish within its deadline",
    symptoms: "ecs-bootstrap.service failed, or reached its TimeoutStartSec=",
    proof: "`run.deadline` has passed, and the error names what ecs-bootstrap was waiting for; if one service did not \
            answer until then, the cause of that service is reported instead",
    look_alikes: &["imds-unreachable", "systemd-unreachable"],
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::NotRegistered,
    remedy: "find out what it was waiting for (`journalctl -u ecs-bootstrap`), or raise `run.deadline` and the unit's \
             TimeoutStartSec=",
    source: "ecs-bootstrap's setting `run.deadline`",
    check: |evidence| match &evidence.stage_error {
        Some(error @ StageError::RunDeadlineExceeded { .. }) => Some(vec![error_chain(error)]),
        _ => None,
    },
    ..Cause::DEFAULTS
};

/// It is not known whether the instance has registered.
pub(super) static VERIFY_DIED: Cause = Cause {
    id: "verify-died",
    layer: Layer::Agent,
    title: "the verification of the registration ended without a verdict",
    symptoms: "`ecs-bootstrap status` shows waiting for longer than `verify.deadline`, and the launch lifecycle hook \
               times out",
    proof: "systemd reports that ecs-bootstrap-verify.service does not run (killed, out of memory or stopped), and the \
            stored verdict is still waiting; if ecs-bootstrap itself stopped at `run.deadline`, the cause is \
            `run-late`",
    look_alikes: &["host-overloaded", "run-late"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "find the reason in `journalctl -u ecs-bootstrap-verify` (out of memory: `dmesg | grep -i oom`), then \
             `systemctl reset-failed ecs-bootstrap-verify; systemctl start ecs-bootstrap-verify`",
    source: "systemd.service(5), Restart=; systemd.unit(5), StartLimitBurst=",
    check: |evidence| match &evidence.stage_error {
        Some(error @ StageError::VerifyDied { .. }) => Some(vec![error_chain(error)]),
        _ => None,
    },
    ..Cause::DEFAULTS
};

pub(super) static NOT_CONNECTED: Cause = Cause {
    id: "agent-not-connected",
    specificity: Specificity::General,
    layer: Layer::Acs,
    title: "the instance is registered, but its agent is not connected to ECS",
    symptoms: "the container instance is ACTIVE with agentConnected false, and ECS places no tasks on it",
    proof: "agentConnected stays false for longer than a short disconnect, no probe found the network path to the control \
            plane closed, and the agent's log has no error of the connection",
    look_alikes: &[
        "acs-unreachable",
        "acs-refused",
        "endpoint-partial",
        "acs-denied",
        "agent-stuck",
        "host-overloaded",
    ],
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::NotRegistered,
    remedy: "allow `ecs-a-*` and `ecs-t-*` of the region on port 443; if they are already allowed, run `systemctl \
             restart ecs --no-block`",
    source: "aws/amazon-ecs-agent#1143 #240 #316",
    check: |evidence| {
        let window = evidence.expectation.as_ref()?.window;
        let since = evidence.registered_for.filter(|since| *since >= window || evidence.timed_out)?;
        if !evidence.is_disconnected() {
            return None;
        }
        let seen = disconnected_for(evidence, since);
        let open = (evidence.network_path.is_acs_reachable == Some(true))
            .then(|| "the control plane endpoint accepts connections from this host".to_owned());
        let logged = evidence.acs_error().map(|line| evidence.quoted(line));
        Some([seen].into_iter().chain(open).chain(logged).chain(missing_log(evidence)).collect())
    },
    specific_remedy: Some(missing_log_remedy),
    when_registered: true,
    ..Cause::DEFAULTS
};

/// The log line with one of `fragments`, if the agent has exited with code 5.
fn gave_up_with(evidence: &Evidence, fragments: &[&str]) -> Option<Vec<String>> {
    let logged = evidence.agent_failed_with(fragments)?;
    evidence.agent_exited_with(5).then(|| vec![logged, GAVE_UP_TEXT.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{healthy_units, ids};

    use crate::evidence::Evidence;
    use crate::evidence::agent_log::last_attempt;

    fn exited(code: i32, log: &[u8]) -> Evidence {
        let mut units = healthy_units();
        units.agent.active_state = Some("failed".to_owned());
        units.agent.exec_main_status = Some(code);
        let mut evidence = Evidence { units: Some(Ok(units)), agent_log: last_attempt(log), ..Evidence::default() };
        evidence.host.is_examined = true;
        evidence
    }

    #[test]
    fn exit_code_five_is_explained_by_the_log() {
        let log = b"level=critical msg=\"Attribute validation failed\" missingAttributes=\"[tier]\"\n";
        assert_eq!(ids(&exited(5, log))[0], "attributes-rejected");
        assert_eq!(ids(&exited(5, b"level=info msg=\"something new\"\n")), ["agent-gave-up"]);
        assert_eq!(ids(&exited(1, log)), Vec::<&str>::new());
    }

    #[test]
    fn an_invalid_parameter_is_about_tags_only_if_the_message_says_so() {
        let log = |text: &str| {
            format!(
                "level=error msg=\"Unable to register as a container instance with ECS\" \
                 error=\"InvalidParameterException: {text}\"\n"
            )
        };
        assert_eq!(ids(&exited(5, log("Tag keys must not begin with aws:").as_bytes())), ["tags-rejected"]);
        assert_eq!(ids(&exited(5, log("arn:aws:ecs is something else").as_bytes())), ["agent-gave-up"]);
    }

    #[test]
    fn one_exit_is_not_reported_as_repeated_exits() {
        let with = |times: usize| {
            let line = "level=info msg=\"Agent exited with code 2\"\n".repeat(times);
            let init_log = last_attempt(line.as_bytes());
            ids(&Evidence { units: Some(Ok(healthy_units())), init_log, ..Evidence::default() })
        };
        assert_eq!(with(1), Vec::<&str>::new());
        assert_eq!(with(2), ["agent-exits"]);
    }
}

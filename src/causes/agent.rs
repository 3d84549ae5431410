//! Causes that lie in the agent: what it is refused, what it cannot set up, and how it ends.

use super::{ALL, Cause, Class, Layer};
use crate::evidence::{Evidence, StageError};
use crate::exit::Exit;
use crate::redaction::{self, error_chain};

/// How an exit with code 5 is told.
pub(super) const GAVE_UP_TEXT: &str = "the agent exited with code 5";
/// The general causes of this layer, which count where no other one of it fits.
const GENERAL: [&str; 2] = ["agent-gave-up", "agent-exits"];
/// What ECS or the host refuses, whatever state the agent has saved.
pub(super) static REJECTIONS: [&Cause; 4] =
    [&ATTRIBUTES_REJECTED, &TAGS_REJECTED, &TASK_ENI_SETUP_FAILED, &CGROUP_SETUP_FAILED];

/// ECS has the instance; the agent does not accept what came back, and exits 5.
pub(super) static ATTRIBUTES_REJECTED: Cause = Cause {
    id: "attributes-rejected",
    layer: Layer::Agent,
    title: "ECS did not take the attributes of the container instance",
    symptoms: "the agent exits 5 right after it has registered; the instance is in the cluster and disconnected",
    proof: "the log names the attributes and the agent exited 5; attributes that are no JSON make it exit 1: `config-bad-json`",
    look_alikes: &["config-bad-json", "tags-rejected", "attributes-not-applied"],
    class: Class::Terminal,
    exit: Exit::Agent,
    exit_after_deadline: Exit::Agent,
    remedy: "correct ECS_INSTANCE_ATTRIBUTES: at most ten, names and values of at most 128 of the permitted characters",
    source: "agent#2981; Amazon ECS API Reference, Attribute",
    check: |evidence| {
        gave_up_with(
            evidence,
            &["Attribute validation failed", "attempt with invalid attribute", "Error registering attributes"],
        )
    },
    ..Cause::PLAIN
};

/// The call is refused for them.
pub(super) static TAGS_REJECTED: Cause = Cause {
    id: "tags-rejected",
    layer: Layer::Agent,
    title: "ECS did not take the tags of the container instance",
    symptoms: "the agent exits 5 and the instance is not in the cluster, since a tag was added to ECS_CONTAINER_INSTANCE_TAGS",
    proof: "the registration is refused with InvalidParameterException about tags or the long ARN format; attributes are \
            named where they are at fault: `attributes-rejected`",
    look_alikes: &["attributes-rejected", "agent-gave-up"],
    class: Class::Terminal,
    exit: Exit::Agent,
    exit_after_deadline: Exit::Agent,
    remedy: "correct ECS_CONTAINER_INSTANCE_TAGS (no key may begin with `aws:`), or \
             `aws ecs put-account-setting-default --name containerInstanceLongArnFormat --value enabled`",
    source: "agent#1704; amazon-ecs-cli#744 #735",
    check: |evidence| {
        let refused = evidence.registration_refused(&["InvalidParameterException"])?;
        let text = refused.to_ascii_lowercase();
        let is_about_tags = [" tag", "tags", "long arn", "new arn"].iter().any(|word| text.contains(word));
        let reserved = evidence.config.get("ECS_CONTAINER_INSTANCE_TAGS").filter(|tags| tags.contains("\"aws:"));
        let reserved = reserved.map(|_| "ECS_CONTAINER_INSTANCE_TAGS holds a key that begins with `aws:`".to_owned());
        (is_about_tags && evidence.agent_exited_with(5))
            .then(|| [refused, GAVE_UP_TEXT.to_owned()].into_iter().chain(reserved).collect())
    },
    ..Cause::PLAIN
};

/// awsvpc mode needs an init process, the plugins and the VPC's id.
pub(super) static TASK_ENI_SETUP_FAILED: Cause = Cause {
    id: "task-eni-setup-failed",
    layer: Layer::Agent,
    title: "the agent cannot set up network interfaces of tasks (awsvpc)",
    symptoms: "exit code 5 before any registration, mostly of an agent that was started without ecs-init",
    proof: "the log names the task ENI, the CNI plugins or the VPC's id, and the agent exited 5",
    look_alikes: &["cgroup-setup-failed", "agent-gave-up"],
    class: Class::Terminal,
    exit: Exit::Agent,
    exit_after_deadline: Exit::Agent,
    remedy: "start the agent by ecs-init (it gives it `--init` and the plugins), keep `network/interfaces` of IMDS readable, or \
             set ECS_ENABLE_TASK_ENI=false",
    source: "agent#1857; agent/app/agent_unix.go",
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
    ..Cause::PLAIN
};

/// Fatal only where the limit is asked for.
pub(super) static CGROUP_SETUP_FAILED: Cause = Cause {
    id: "cgroup-setup-failed",
    layer: Layer::Agent,
    title: "the agent cannot make its control group, and ECS_ENABLE_TASK_CPU_MEM_LIMIT demands it",
    symptoms: "exit code 5 before any registration, often after a change to cgroup v2 or of cgroup drivers",
    proof: "the log names the cgroup root and the agent exited 5; with the setting absent it only warns",
    look_alikes: &["task-eni-setup-failed", "agent-gave-up"],
    class: Class::Terminal,
    exit: Exit::Agent,
    exit_after_deadline: Exit::Agent,
    remedy: "remove ECS_ENABLE_TASK_CPU_MEM_LIMIT from ecs.config, or enable the cpu and memory controllers",
    source: "roadmap#1535; agent#3117; agent/app/agent_unix.go",
    check: |evidence| {
        let seen = gave_up_with(evidence, &["Unable to initialize cgroup root", "unable to setup '/ecs' cgroup"])?;
        let key = "ECS_ENABLE_TASK_CPU_MEM_LIMIT";
        let set = evidence.config.get(key).map(|value| format!("{key} is `{}`", redaction::variable(key, value)));
        Some(seen.into_iter().chain(set).collect())
    },
    ..Cause::PLAIN
};

/// Code 5, whatever its reason.
pub(super) static GAVE_UP: Cause = Cause {
    id: "agent-gave-up",
    layer: Layer::Agent,
    title: "the agent gave up: it exited with code 5 and will not try again",
    symptoms: "`systemctl status ecs` says failed, status 5; Debian's unit restarts it every 10 s all the same",
    proof: "exit code 5 of unit, container or ecs-init.log, and no special cause of it fits; any other code is `agent-exits`",
    look_alikes: &["agent-exits", "attributes-rejected", "tags-rejected", "cluster-not-found"],
    class: Class::Terminal,
    exit: Exit::Agent,
    exit_after_deadline: Exit::Agent,
    remedy: "read the last lines of /var/log/ecs/ecs-agent.log; where it does not accept its saved state (`Data mismatch`), \
             `ecs-bootstrap reset-agent --yes`",
    source: "agent/sighandlers/exitcodes: 5 is terminal",
    check: |evidence| {
        if !evidence.agent_exited_with(5) || !evidence.is_host_examined() || is_explained(evidence) {
            return None;
        }
        let logged = evidence.agent_logged(&[
            "Unable to register as a container instance with ECS",
            "Agent will terminally exit",
            "Data mismatch",
            "Cloud-init failure detected",
            "Unable to initialize",
        ]);
        Some([GAVE_UP_TEXT.to_owned()].into_iter().chain(logged.or_else(|| evidence.agent_error())).collect())
    },
    ..Cause::PLAIN
};

/// Any other code, again and again.
pub(super) static EXITS: Cause = Cause {
    id: "agent-exits",
    layer: Layer::Agent,
    title: "the agent's container ends again and again before it has registered",
    symptoms: "`systemctl status ecs` says active (running), and `docker ps` shows a container that is seconds old",
    proof: "the exit code of the container or of ecs-init.log, not 5, twice or with the container down; no cause of an earlier \
            layer explains it",
    look_alikes: &["agent-gave-up", "ecs-init-failed", "docker-api-mismatch", "host-overloaded"],
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::Agent,
    remedy: "read the last errors of /var/log/ecs/ecs-agent.log (`docker logs ecs-agent` where it is empty)",
    source: "ecs-init/engine, StartSupervised: all codes but 0 and 5 are tried again",
    check: |evidence| {
        let (code, times) = evidence.agent_end().filter(|(code, _)| *code != 5)?;
        let is_down = matches!(&evidence.container, Some(Ok(Some(container))) if !container.running);
        if (times < 2 && !is_down) || is_explained(evidence) {
            return None;
        }
        let again = if times > 1 { format!(", {times} times so far") } else { String::new() };
        let seen = format!("the agent exited with code {code}{again}");
        // ecs-init keeps the last words of an agent that panics.
        let said = evidence.agent_error().or_else(|| evidence.init_logged(&["panic: "]));
        Some([seen].into_iter().chain(said).collect())
    },
    ..Cause::PLAIN
};

/// Our own deadline.
pub(super) static RUN_LATE: Cause = Cause {
    id: "run-late",
    layer: Layer::Agent,
    title: "configuring the instance took longer than it may",
    symptoms: "ecs-bootstrap.service failed, or hit its TimeoutStartSec=",
    proof: "`run.deadline` has passed, and what was waited for is named; a service that gave no answer by then is \
             named itself",
    look_alikes: &["imds-unreachable", "systemd-unreachable"],
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::NotRegistered,
    remedy: "see what it was waiting for, or raise `run.deadline` (and the unit's TimeoutStartSec=)",
    source: "ecs-bootstrap's setting `run.deadline`",
    check: |evidence| match &evidence.stop {
        Some(stop @ StageError::Late { .. }) => Some(vec![error_chain(stop)]),
        _ => None,
    },
    ..Cause::PLAIN
};

/// Whether the instance has registered is not known then.
pub(super) static VERIFY_DIED: Cause = Cause {
    id: "verify-died",
    layer: Layer::Agent,
    title: "the verification of the registration ended without a verdict",
    symptoms: "`ecs-bootstrap status` says waiting for longer than `verify.deadline`, and the launch hook times out",
    proof: "systemd says that ecs-bootstrap-verify.service does not run (killed, out of memory, or stopped), and the stored \
            verdict still waits for it",
    look_alikes: &["host-overloaded", "run-late"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "see why in `journalctl -u ecs-bootstrap-verify` (memory: `dmesg | grep -i oom`), then \
             `systemctl reset-failed ecs-bootstrap-verify; systemctl start ecs-bootstrap-verify`",
    source: "systemd.service(5), Restart=; systemd.unit(5), StartLimitBurst=",
    check: |evidence| match &evidence.stop {
        Some(stop @ StageError::VerifyDied { .. }) => Some(vec![error_chain(stop)]),
        _ => None,
    },
    ..Cause::PLAIN
};

/// Registered, and no connection to the control plane.
pub(super) static NOT_CONNECTED: Cause = Cause {
    id: "agent-not-connected",
    layer: Layer::Acs,
    title: "the instance registered, but its agent is not connected to ECS",
    symptoms: "ACTIVE and agentConnected false, and nothing is placed on the instance",
    proof: "agentConnected stays false for longer than a short disconnect lasts, and the way to the control plane is not \
            seen to be closed",
    look_alikes: &["acs-unreachable", "endpoint-partial", "acs-denied", "agent-stuck", "host-overloaded"],
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::NotRegistered,
    remedy: "allow `ecs-a-*` and `ecs-t-*` of the region on port 443; where they are open, `systemctl restart ecs --no-block`",
    source: "agent#1143 #240 #316",
    check: |evidence| {
        let window = evidence.expectation.as_ref()?.window;
        let is_disconnected = matches!(&evidence.registration, Some(Ok(Some(instance))) if !instance.agent_connected);
        let since = evidence.disconnected_for.filter(|since| *since >= window || evidence.timed_out)?;
        if !is_disconnected || super::acs::is_named(evidence) {
            return None;
        }
        let seen = format!("ecs:DescribeContainerInstances says agentConnected false, for {} s now", since.as_secs());
        let open = (evidence.network_path.acs == Some(true))
            .then(|| "from here the endpoint of the control plane is open".to_owned());
        Some(
            [seen]
                .into_iter()
                .chain(open)
                .chain(evidence.agent_logged(&["Failed to connect to ACS", "unable to dial", "ACS: Unable"]))
                .collect(),
        )
    },
    when_registered: true,
    ..Cause::PLAIN
};

/// Whether a special cause of this layer fits.
fn is_explained(evidence: &Evidence) -> bool {
    let special = ALL.iter().filter(|cause| cause.layer == Layer::Agent && !GENERAL.contains(&cause.id));
    special.into_iter().any(|cause| (cause.check)(evidence).is_some())
}

/// What the log says, where the agent has given up.
fn gave_up_with(evidence: &Evidence, fragments: &[&str]) -> Option<Vec<String>> {
    let logged = evidence.agent_logged(fragments)?;
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
    fn code_five_is_named_by_what_the_log_confirms() {
        let log = b"level=critical msg=\"Attribute validation failed\" missingAttributes=\"[tier]\"\n";
        assert_eq!(ids(&exited(5, log))[0], "attributes-rejected");
        assert_eq!(ids(&exited(5, b"level=info msg=\"something new\"\n")), ["agent-gave-up"]);
        assert_eq!(ids(&exited(1, log)), Vec::<&str>::new());
    }

    #[test]
    fn an_invalid_parameter_is_of_the_tags_only_where_it_says_so() {
        let log = |text: &str| {
            format!(
                "level=error msg=\"Unable to register as a container instance with ECS\" error=\"InvalidParameterException: {text}\"\n"
            )
        };
        assert_eq!(ids(&exited(5, log("Tag keys must not begin with aws:").as_bytes())), ["tags-rejected"]);
        assert_eq!(ids(&exited(5, log("arn:aws:ecs is something else").as_bytes())), ["agent-gave-up"]);
    }

    #[test]
    fn an_agent_that_ended_once_is_not_said_to_do_it_again_and_again() {
        let with = |times: usize| {
            let line = "level=info msg=\"Agent exited with code 2\"\n".repeat(times);
            let init_log = last_attempt(line.as_bytes());
            ids(&Evidence { units: Some(Ok(healthy_units())), init_log, ..Evidence::default() })
        };
        assert_eq!(with(1), Vec::<&str>::new());
        assert_eq!(with(2), ["agent-exits"]);
    }
}

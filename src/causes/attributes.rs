//! Causes of a registered instance that lacks attributes of `ready.attributes`.

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::credentials::ROLE_MAY_BE_LATE;
use crate::evidence::{AttributeState, Evidence};
use crate::exit::Exit;
use crate::readiness::{has_attributes, registered};
use crate::redaction::error_chain;

const DEFAULTS: Cause = Cause { layer: Layer::Tasks, when_registered: true, ..Cause::DEFAULTS };

/// An expected attribute is missing, or ECS has not said which ones there are.
pub(super) static MISSING: Cause = Cause {
    id: "attributes-missing",
    title: "the instance is registered without attributes that `ready.attributes` expects",
    symptoms: "the container instance is ACTIVE and its agent connected, and tasks that need the attribute are not placed on it",
    proof: "ecs:DescribeContainerInstances shows the container instance without them, or does not answer; if the role is not \
            allowed to make the call, the cause is `attributes-denied`",
    look_alikes: &["attributes-denied", "attributes-not-applied"],
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::NotRegistered,
    remedy: "the evidence says why each is expected. An attribute of ECS_INSTANCE_ATTRIBUTES is sent only with the first \
             registration: `aws ecs put-attributes`, or `ecs-bootstrap reset-agent --yes`. Logging drivers, GPUs and \
             `ecs.awsvpc-trunk-id`: docs/how-to/wait-for-attributes.md. Then `systemctl restart ecs-bootstrap-verify --no-block`; \
             or take it out of `ready.attributes`, then `systemctl restart ecs-bootstrap --no-block`",
    source: "Amazon ECS Developer Guide, \"Container instance attributes\"; aws/amazon-ecs-agent#713",
    check: |evidence| match waiting(evidence)? {
        AttributeState::Missing(missing) => Some(missing),
        AttributeState::Unknown(Some(error)) => Some(vec![error]),
        AttributeState::Unknown(None) => Some(vec!["ECS has not answered".to_owned()]),
        AttributeState::Complete | AttributeState::Denied(_) => None,
    },
    note: |evidence| match evidence.attribute_state().filter(|_| evidence.is_ready_without)? {
        AttributeState::Missing(missing) => Some(missing),
        AttributeState::Unknown(error) => Some(vec![error.unwrap_or_else(|| "ECS has not answered".to_owned())]),
        AttributeState::Complete | AttributeState::Denied(_) => None,
    },
    ..DEFAULTS
};

/// The role lacks a permission of `ready.attributes`.
pub(super) static DENIED: Cause = Cause {
    id: "attributes-denied",
    title: "the role is not allowed to make a call that `ready.attributes` needs",
    symptoms: "the instance is in the cluster, and it is not known whether it has its attributes",
    proof: "AccessDenied for ecs:DescribeContainerInstances, or, as a note, for ecs:ListAccountSettings; if the registration \
            itself is denied, the agent has no ARN, and the cause is `register-denied`",
    look_alikes: &["register-denied", "attributes-missing"],
    class: Class::Settling(ROLE_MAY_BE_LATE),
    exit: Exit::Permission,
    exit_after_deadline: Exit::Permission,
    remedy: "allow the action that the evidence names (docs/reference/iam.md, `ecs-bootstrap plan --iam`), then \
             `systemctl restart ecs-bootstrap-verify --no-block`",
    source: "Amazon ECS Service Authorization Reference",
    check: |evidence| match waiting(evidence)? {
        AttributeState::Denied(error) if !is_ready_in_any_case(evidence) => Some(vec![error]),
        _ => None,
    },
    note: |evidence| {
        if let Some(AttributeState::Denied(error)) = evidence.attribute_state().filter(|_| evidence.is_ready_without) {
            return Some(vec![error]);
        }
        let error = evidence.trunking.as_ref()?.as_ref().err().filter(|_| evidence.must_ask_for_trunking())?;
        Some(vec![format!("it is not known whether `ecs.awsvpc-trunk-id` is expected: {}", error_chain(error))])
    },
    ..DEFAULTS
};

/// The state of the attributes of an instance that is registered and waits for them.
fn waiting(evidence: &Evidence) -> Option<AttributeState> {
    evidence.attribute_state().filter(|_| registered(evidence).is_some() && !has_attributes(evidence))
}

/// Whether the instance becomes ready at `ready.deadline` at the latest.
fn is_ready_in_any_case(evidence: &Evidence) -> bool {
    let conditions = evidence.expectation.as_ref().and_then(|expected| expected.waits_for_attributes());
    conditions.is_some_and(|conditions| conditions.allows_after_deadline())
}

//! Causes of a registered instance that lacks attributes of `ready.attributes`.

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::credentials::ROLE_MAY_BE_LATE;
use crate::evidence::{AttributeState, Evidence};
use crate::exit::Exit;
use crate::readiness::{has_attributes, registered};
use crate::redaction::error_chain;

/// The symptoms if a call of `ready.attributes` fails.
const NOT_KNOWN: &str = "the instance is in the cluster, and it is not known whether it has its attributes";

const DEFAULTS: Cause = Cause { layer: Layer::Tasks, when_registered: true, ..Cause::DEFAULTS };

/// An expected attribute is missing.
pub(super) static MISSING: Cause = Cause {
    id: "attributes-missing",
    title: "the instance is registered without attributes that `ready.attributes` expects",
    symptoms: "the container instance is ACTIVE and its agent connected, and tasks that need the attribute are not placed on it",
    proof: "ecs:DescribeContainerInstances shows the container instance without them; if the call fails, the cause is \
            `attributes-denied` or `attributes-call-failed`",
    look_alikes: &["attributes-denied", "attributes-call-failed", "attributes-not-applied"],
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::NotRegistered,
    remedy: "the evidence says why each is expected. An attribute of ECS_INSTANCE_ATTRIBUTES is sent only with the first \
             registration: `aws ecs put-attributes`, or `ecs-bootstrap reset-agent --yes`. Logging drivers, GPUs and \
             `ecs.awsvpc-trunk-id`: docs/how-to/wait-for-attributes.md. Then `systemctl restart ecs-bootstrap-verify --no-block`; \
             or take it out of `ready.attributes`, then `systemctl restart ecs-bootstrap --no-block`",
    source: "Amazon ECS Developer Guide, \"Container instance attributes\"; aws/amazon-ecs-agent#713",
    check: |evidence| lines_of_missing(&waiting(evidence)?),
    note: |evidence| lines_of_missing(&ready_without(evidence)?),
    ..DEFAULTS
};

/// The role lacks a permission of `ready.attributes`.
pub(super) static DENIED: Cause = Cause {
    id: "attributes-denied",
    title: "the role is not allowed to make a call that `ready.attributes` needs",
    symptoms: NOT_KNOWN,
    proof: "AccessDenied for ecs:DescribeContainerInstances, or, as a note, for ecs:ListAccountSettings; if the registration \
            itself is denied, the agent has no ARN, and the cause is `register-denied`",
    look_alikes: &["register-denied", "attributes-missing", "attributes-call-failed"],
    class: Class::Settling(ROLE_MAY_BE_LATE),
    exit: Exit::Permission,
    exit_after_deadline: Exit::Permission,
    remedy: "allow the action that the evidence names (docs/reference/iam.md, `ecs-bootstrap plan --iam`), then \
             `systemctl restart ecs-bootstrap-verify --no-block`",
    source: "Amazon ECS Service Authorization Reference",
    check: |evidence| failed_call(&waiting(evidence).filter(|_| !is_ready_in_any_case(evidence))?, true),
    note: |evidence| noted_call(evidence, true),
    ..DEFAULTS
};

/// A call of `ready.attributes` fails for another reason.
pub(super) static CALL_FAILED: Cause = Cause {
    id: "attributes-call-failed",
    title: "a call that `ready.attributes` needs fails",
    symptoms: NOT_KNOWN,
    proof: "ecs:DescribeContainerInstances, or, as a note, ecs:ListAccountSettings, fails with another error than AccessDenied \
            or does not answer, while the agent is registered; AccessDenied is `attributes-denied`",
    look_alikes: &["attributes-denied", "attributes-missing"],
    class: Class::Retry,
    exit: Exit::Aws,
    exit_after_deadline: Exit::Aws,
    remedy: "see the error in the evidence; `systemctl restart ecs-bootstrap-verify --no-block` tries again",
    source: "Amazon ECS API Reference, \"Common Errors\"",
    check: |evidence| failed_call(&waiting(evidence).filter(|_| !is_ready_in_any_case(evidence))?, false),
    note: |evidence| noted_call(evidence, false),
    ..DEFAULTS
};

/// Only a note: the instance has joined.
pub(super) static NOT_FOLLOWED: Cause = Cause {
    id: "attributes-not-followed",
    is_only_note: true,
    layer: Layer::Agent,
    title: "the attributes of the container instance do not follow the tags of the instance",
    symptoms: "a tag of `derive.attributes` was changed, and tasks are still placed by its old value",
    proof: "the last call of `derive.attributes-follow` in this boot failed; without that setting the cause is \
            `attributes-not-applied`",
    look_alikes: &["attributes-not-applied"],
    class: Class::Terminal,
    exit: Exit::Permission,
    exit_after_deadline: Exit::Permission,
    remedy: "if the evidence says that the call was denied, allow the action (docs/reference/iam.md, `ecs-bootstrap plan \
             --iam`); if it names a limit, remove attributes: a container instance has at most ten of its own. The call is \
             repeated after ten minutes at most",
    source: "Amazon ECS API Reference, PutAttributes, DeleteAttributes",
    note: |evidence| Some(vec![evidence.followed_now()?.error.clone()?]),
    ..DEFAULTS
};

/// The state of the attributes of an instance that is registered and waits for them. `watch` does not wait.
fn waiting(evidence: &Evidence) -> Option<AttributeState<'_>> {
    let is_waiting = evidence.watched.is_none() && registered(evidence).is_some() && !has_attributes(evidence);
    evidence.attribute_state().filter(|_| is_waiting)
}

/// The state of the attributes of an instance that is ready without them.
fn ready_without(evidence: &Evidence) -> Option<AttributeState<'_>> {
    evidence.attribute_state().filter(|_| evidence.is_ready_without)
}

/// Whether the instance becomes ready at `ready.deadline` at the latest.
fn is_ready_in_any_case(evidence: &Evidence) -> bool {
    let conditions = evidence.expectation.as_ref().and_then(|expected| expected.waits_for_attributes());
    conditions.is_some_and(|conditions| conditions.allows_after_deadline())
}

fn lines_of_missing(state: &AttributeState<'_>) -> Option<Vec<String>> {
    let AttributeState::Missing(missing) = state else { return None };
    Some(missing.iter().map(|one| format!("`{}`: {}", one.name, one.why)).collect())
}

/// The call that failed; `is_denied` is whether it must have been denied.
fn failed_call(state: &AttributeState<'_>, is_denied: bool) -> Option<Vec<String>> {
    match state {
        AttributeState::Unknown(Some(error)) if error.is_denied() == is_denied => Some(vec![error_chain(*error)]),
        AttributeState::Unknown(None) if !is_denied => Some(vec!["ECS has not answered".to_owned()]),
        _ => None,
    }
}

/// The failed call that is a note on a ready instance.
fn noted_call(evidence: &Evidence, is_denied: bool) -> Option<Vec<String>> {
    let of_state = ready_without(evidence).and_then(|state| failed_call(&state, is_denied));
    of_state.or_else(|| {
        let error = evidence.trunking_error().filter(|error| error.is_denied() == is_denied)?;
        Some(vec![format!("it is not known whether `ecs.awsvpc-trunk-id` is expected: {}", error_chain(error))])
    })
}

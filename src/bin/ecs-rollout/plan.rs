//! The data type of a plan: what a deployment does, and how it is rolled back.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::normalize::hidden::Hashes;
use crate::revision::Revision;
use crate::service::Deployment;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) registration: TaskDefinitionChange,
    pub(crate) action: Action,
    /// Tags of the definition that the service does not have yet.
    pub(crate) service_tags: Vec<(String, String)>,
    /// What the tag of the service remembers of members that ECS does not return.
    pub(crate) remembered: Hashes,
    /// What it has to remember after the service was created or updated, if the answer shows all other members.
    pub(crate) to_remember: Hashes,
    /// How a failed rollout is rolled back, or why it cannot be.
    pub(crate) rollback: Result<RollbackTarget, String>,
    /// Notes for the user.
    pub(crate) notes: Vec<String>,
    /// Whether everything that the plan needs was verified.
    pub(crate) is_verified: bool,
    /// The id of the PRIMARY deployment when the plan was made.
    pub(crate) previous_deployment: Option<String>,
}

/// What happens to the task definition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TaskDefinitionChange {
    /// Register a new revision with this body. `diff` compares it with the running revision, or with the
    /// newest if the service runs another family.
    New { body: Value, diff: String },
    /// The running or the newest revision is the desired one.
    Keep(Revision),
}

/// What happens to the service. The bodies do not have the revision yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Create {
        /// The body of CreateService.
        body: Map<String, Value>,
        why: &'static str,
        /// Whether the deleted service of the same name must finish draining first.
        after_drain: bool,
    },
    Update {
        /// The body of UpdateService.
        body: Map<String, Value>,
        /// What differs, for the user.
        changes: Vec<String>,
    },
    /// Nothing differs, but the rollout is not complete: watch it.
    Attach(Deployment),
    Nothing,
}

impl Action {
    pub(crate) fn name(&self) -> ActionName {
        match self {
            Action::Create { .. } => ActionName::Create,
            Action::Update { .. } => ActionName::Update,
            Action::Attach(_) => ActionName::Attach,
            Action::Nothing => ActionName::Nothing,
        }
    }
}

/// `action` in the JSON documents.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ActionName {
    Create,
    Update,
    Attach,
    Nothing,
    /// The command ended before it was decided.
    #[serde(rename = "")]
    Undecided,
}

/// The state that a failed rollout is rolled back to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RollbackTarget {
    pub(crate) revision: Revision,
    /// The body of UpdateService.
    pub(crate) body: Value,
}

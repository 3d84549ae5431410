//! What became of it: ready, waiting (for what), or failed (a cause with what was seen).

use serde::Serialize;

use crate::causes::Finding;
use crate::exit::Exit;

/// The end of every boot path.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The instance is registered where it should be.
    Ready(Ready),
    /// Nothing is wrong, and it is not there yet.
    Waiting {
        /// For what, in words.
        text: String,
        /// The cause of the wait, where it is one of the catalogue.
        finding: Option<Finding>,
    },
    /// It is not registered, and this is why.
    Failed {
        /// The cause.
        finding: Finding,
        /// Others that fit as well.
        also: Vec<Finding>,
        /// The exit code: the cause's, or what became of it when its time ran out.
        exit: Exit,
        /// Its ARN, where it has registered all the same.
        container_instance_arn: Option<String>,
    },
}

/// A registered container instance.
#[derive(Clone, Debug, Serialize)]
pub struct Ready {
    /// The cluster, as the agent names it.
    pub cluster: String,
    /// Its ARN.
    pub container_instance_arn: String,
    /// Whether ECS says that its agent is connected; `None` when ECS could not be asked.
    pub agent_connected: Option<bool>,
    /// How that is known, or why it is not.
    pub how: String,
    /// What is worth knowing although it registered.
    pub notes: Vec<Finding>,
}

impl Verdict {
    /// Whether no known cause fits.
    pub fn is_unknown(&self) -> bool {
        self.finding().is_some_and(|finding| finding.cause.is_unknown())
    }

    /// The process's exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Verdict::Ready(_) | Verdict::Waiting { .. } => Exit::Done,
            Verdict::Failed { exit, .. } => *exit,
        }
    }

    /// The cause, where there is one.
    pub fn finding(&self) -> Option<&Finding> {
        match self {
            Verdict::Ready(_) => None,
            Verdict::Waiting { finding, .. } => finding.as_ref(),
            Verdict::Failed { finding, .. } => Some(finding),
        }
    }
}

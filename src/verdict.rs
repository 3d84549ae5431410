//! The result of a run: ready, waiting (with the reason), or failed (a cause with its evidence).

use crate::causes::FoundCause;
use crate::exit::Exit;
use crate::readiness::Registration;

/// The result of every boot path.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The instance is registered in the expected cluster.
    Ready(Ready),
    /// The instance is not ready yet, and there is no fault.
    Waiting {
        /// What the instance waits for, as text.
        text: String,
        /// The cause of the wait, if the catalogue has one.
        finding: Option<FoundCause>,
        /// The ARN of the container instance, if the instance has registered.
        container_instance_arn: Option<String>,
    },
    /// The instance is not ready, and a cause was found.
    Failed {
        /// The cause and its evidence.
        finding: FoundCause,
        /// Other causes that the evidence supports.
        also: Vec<FoundCause>,
        /// The exit code: the cause's own, or its exit code after the deadline.
        exit: Exit,
        /// The ARN of the container instance, if the instance registered nevertheless.
        container_instance_arn: Option<String>,
    },
}

/// A ready instance.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The registration that makes it ready.
    pub registration: Registration,
    /// Faults that did not prevent the registration.
    pub notes: Vec<FoundCause>,
}

impl Verdict {
    /// Whether the instance failed and no known cause fits.
    pub fn is_unknown(&self) -> bool {
        self.finding().is_some_and(|finding| finding.cause.is_unknown())
    }

    /// The exit code of the process.
    pub fn exit(&self) -> Exit {
        match self {
            Verdict::Ready(_) | Verdict::Waiting { .. } => Exit::Done,
            Verdict::Failed { exit, .. } => *exit,
        }
    }

    /// The cause, if there is one.
    pub fn finding(&self) -> Option<&FoundCause> {
        match self {
            Verdict::Ready(_) => None,
            Verdict::Waiting { finding, .. } => finding.as_ref(),
            Verdict::Failed { finding, .. } => Some(finding),
        }
    }
}

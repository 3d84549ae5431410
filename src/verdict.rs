//! What became of it: ready, waiting (for what), or failed (a cause with what was seen).

use crate::causes::Finding;
use crate::exit::Exit;
use crate::readiness::Registration;

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

/// A ready instance.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The registration that makes it ready.
    pub registration: Registration,
    /// Causes that did not keep it from registering.
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

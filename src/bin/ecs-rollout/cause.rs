//! The data types of the catalogue: a cause, and a cause together with its evidence.

use ecs_bootstrap::comparison::{Related, Specificity};
use ecs_bootstrap::exit::Exit;

use crate::evidence::Evidence;
use crate::visible::hidden::HiddenValues;

/// The step of a deployment that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The command, before or after the rollout.
    Request,
    /// The deployment as a whole.
    Rollout,
    /// ECS chooses an instance for the task.
    Placement,
    /// The agent prepares the resources of the task and starts its containers.
    Start,
    /// Docker pulls the image.
    Image,
    /// The task runs.
    Running,
}

/// A reason why a deployment did not start, or did not succeed.
pub(crate) struct Cause {
    /// A stable, kebab-case name, which scripts may rely on.
    pub(crate) id: &'static str,
    /// What is wrong.
    pub(crate) title: &'static str,
    /// What the user sees.
    pub(crate) symptoms: &'static str,
    /// What the user can do.
    pub(crate) remedy: &'static str,
    /// The documentation that describes it.
    pub(crate) source: &'static str,
    /// The exit code if nothing was rolled back.
    pub(crate) exit: Exit,
    /// The step that failed.
    pub(crate) step: Step,
    /// Whether it is a general cause of its step.
    pub(crate) specificity: Specificity,
    /// The ids of the causes that explain this one: it is their symptom, or a weaker form of them.
    pub(crate) yields_to: &'static [&'static str],
    /// The lines of evidence of a rollout that support this cause; empty if it does not apply. Causes of a command that
    /// started no rollout never apply here: [`Cause::finding`] names them directly.
    pub(crate) check: fn(&Evidence) -> Vec<String>,
}

impl Cause {
    /// The fields that most causes of a failed rollout share.
    pub(crate) const DEFAULTS: Cause = Cause {
        id: "",
        title: "",
        symptoms: "",
        remedy: "",
        source: "",
        exit: Exit::RolloutFailed,
        step: Step::Request,
        specificity: Specificity::Specific,
        yields_to: &[],
        check: |_| Vec::new(),
    };

    /// A finding of this cause with one line of evidence.
    pub(crate) fn finding(&'static self, evidence: impl Into<String>) -> FoundCause {
        FoundCause { cause: self, evidence: vec![evidence.into()] }
    }
}

impl Related for Cause {
    type Layer = Step;

    fn id(&self) -> &'static str {
        self.id
    }

    fn layer(&self) -> Step {
        self.step
    }

    fn specificity(&self) -> Specificity {
        self.specificity
    }

    fn explains(&self, symptom: &Cause) -> bool {
        symptom.yields_to.contains(&self.id)
    }
}

/// A cause together with the lines of evidence that support it.
#[derive(Clone)]
pub(crate) struct FoundCause {
    pub(crate) cause: &'static Cause,
    pub(crate) evidence: Vec<String>,
}

impl FoundCause {
    /// Adds a line of evidence.
    pub(crate) fn and(mut self, evidence: impl Into<String>) -> FoundCause {
        self.evidence.push(evidence.into());
        self
    }

    /// This finding without hidden values in its evidence, which can quote the request.
    pub(crate) fn hiding(mut self, hidden: &HiddenValues) -> FoundCause {
        self.evidence.iter_mut().for_each(|line| *line = hidden.without(line));
        self
    }
}

impl std::fmt::Debug for FoundCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}] {:?}", self.cause.id, self.evidence)
    }
}

impl PartialEq for FoundCause {
    fn eq(&self, other: &FoundCause) -> bool {
        self.cause.id == other.cause.id && self.evidence == other.evidence
    }
}

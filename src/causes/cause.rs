//! The type of a cause: its texts, when it is final, and how it relates to other causes.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::layer::Layer;
use crate::comparison::Specificity;
use crate::evidence::{Evidence, StageError};
use crate::exit::Exit;
use crate::facts::{AGENT_UNITS, NO_UNIT};
use crate::plan::Refusal;
use crate::readiness::joined_other_cluster;
use crate::redaction;

/// The command after which the agent registers again.
const RESET: &str = "ecs-bootstrap reset-agent --yes";

/// The exit code after which ecs-init does not start the agent again.
const TERMINAL: i32 = 5;

/// The step that follows a remedy if nothing else starts the agent.
const START: &str = "; then run `ecs-bootstrap run`, which starts the agent";
/// What is added to a remedy with a command for a unit that this host does not have.
const WITHOUT_UNIT: &str =
    "; no unit starts the agent (`units.agent` is `none`), so remove its container and run it again yourself";

/// Parts of remedies that include such a step, or that are for another instance.
const INCLUDES_START: [&str; 11] = [
    RESET,
    "`systemctl start",
    "`systemctl restart",
    "`systemctl enable --now",
    "run `ecs-bootstrap run`",
    "run `ecs-bootstrap` again",
    "run ecs-bootstrap ",
    "run it ",
    "run without `--wait`",
    "replace the instance",
    "ECS-optimized AMI",
];

/// When a cause is final, that is, when waiting longer cannot help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Final at once: a person must change something.
    Terminal,
    /// What is missing (a role, a policy) may still be created: final if the instance is older than this.
    Settling(Duration),
    /// It may recover: final at the deadline, or in a crash loop if `is_final_in_crash_loop` is set.
    Retry,
    /// It may recover: final after it was seen without interruption for this long.
    Lasting(Duration),
    /// Not a failure: the instance waits on purpose.
    Waiting,
}

impl Class {
    /// The name of the class, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Class::Terminal => "terminal",
            Class::Settling(_) => "settling",
            Class::Retry | Class::Lasting(_) => "retry",
            Class::Waiting => "waiting",
        }
    }
}

/// One reason why an instance does not join its cluster.
///
/// A cause file knows only its own causes and the shared predicates of `view`. How causes relate is declared in the
/// fields here, and `comparison` is the only place that compares them.
pub struct Cause {
    /// Stable and kebab-case: an interface in text, JSON, journal and documentation.
    pub id: &'static str,
    /// The layer that must be fixed.
    pub layer: Layer,
    /// What is wrong, in one line.
    pub title: &'static str,
    /// What an operator sees without ecs-bootstrap.
    pub symptoms: &'static str,
    /// What proves it, and what distinguishes it from its look-alikes.
    pub proof: &'static str,
    /// The ids of causes with similar symptoms.
    pub look_alikes: &'static [&'static str],
    /// When the cause is final.
    pub class: Class,
    /// The exit code before the deadline of a cause that may recover, and of a terminal cause.
    pub exit: Exit,
    /// The exit code after the deadline.
    pub exit_after_deadline: Exit,
    /// What to do next: a command, an IAM action or a setting.
    pub remedy: &'static str,
    /// The documents and issues that describe this fault.
    pub source: &'static str,
    /// Whether it is only reported as a note about an instance that is ready, and so has no exit code.
    pub is_only_note: bool,
    /// Whether it is a general cause of its layer.
    pub specificity: Specificity,
    /// The ids of the causes that explain this one: it is their symptom, or a weaker form of them.
    pub yields_to: &'static [&'static str],
    /// The layers whose causes explain this one.
    pub is_symptom_of: &'static [Layer],
    /// Whether the instance is about to end, so that nothing else about it matters.
    pub ends_instance: bool,
    /// Whether it explains why the agent joined no cluster or another one. If the agent has joined another one, the remedy
    /// also moves it.
    pub explains_missing_cluster: bool,
    /// Whether it is reported beside a cause of any layer, because it is a finding about security.
    pub is_always_reported: bool,
    /// Whether it is reported while user data runs, because user data may never end because of it.
    pub is_reported_during_user_data: bool,
    /// Whether a cause of the class `Retry` is final if the program exits repeatedly with the same error
    /// ([`Evidence::crash_loop`]).
    pub is_final_in_crash_loop: bool,
    /// Gives the remedy for this evidence; `None` if `remedy` fits.
    pub(super) specific_remedy: Option<fn(&Evidence) -> Option<String>>,
    /// Whether the cause can also affect an instance that has registered.
    pub(super) when_registered: bool,
    /// The evidence lines that support the cause; `None` if there are none. It runs only while the instance has not
    /// registered, unless `when_registered` is set.
    pub(super) check: Check,
    /// The evidence that contradicts the cause. A cause that it excludes is never reported.
    pub(super) excluded: fn(&Evidence) -> Option<String>,
    /// The evidence lines for the same fault if it does not prevent the instance from joining.
    pub(super) note: Check,
}

/// Whether the agent has joined a cluster other than the expected one, or one that nothing names.
fn is_in_other_cluster(evidence: &Evidence) -> bool {
    let is_unnamed = matches!(&evidence.stage_error, Some(StageError::Refused(Refusal::NoCluster { .. })));
    joined_other_cluster(evidence).is_some() || (is_unnamed && evidence.container_instance_arn().is_some())
}

/// Whether the agent does not run, and neither systemd nor user data will start it.
fn is_agent_down(evidence: &Evidence) -> bool {
    let is_idle = evidence.agent_unit().is_some_and(|unit| {
        let is_queued = unit.job.is_some() || evidence.job_pending(&unit.name);
        let state = unit.active_state.as_deref();
        // The unit can still be active when the agent has just exited. Debian's unit restarts the agent after each code.
        let has_given_up = state == Some("active") && evidence.agent_exited_with(TERMINAL);
        (matches!(state, Some("failed" | "inactive")) || has_given_up) && !is_queued
    });
    (evidence.run_ended || is_idle) && !evidence.held_by_user_data()
}

/// The remedy with the unit of this host in its commands, which name `ecs`, the unit of Amazon Linux and of Debian.
fn for_unit(remedy: String, unit: &str) -> String {
    if unit == AGENT_UNITS[0] {
        return remedy;
    }
    let name = unit.strip_suffix(".service").unwrap_or(unit);
    let mut is_named = false;
    let parts = remedy.split('`').enumerate().map(|(index, part)| {
        if index % 2 == 0 || !(part.starts_with("systemctl ") || part.starts_with("journalctl ")) {
            return part.to_owned();
        }
        let words = part.split(' ').map(|word| {
            is_named |= word == "ecs";
            if word == "ecs" && unit != NO_UNIT { name } else { word }
        });
        words.collect::<Vec<_>>().join(" ")
    });
    let mut text = parts.collect::<Vec<_>>().join("`");
    if unit == NO_UNIT && (is_named || text.ends_with(START)) {
        text.push_str(WITHOUT_UNIT);
    }
    text
}

/// Returns the evidence lines for a cause.
pub(super) type Check = fn(&Evidence) -> Option<Vec<String>>;

impl Cause {
    /// Default values for most causes.
    pub(super) const DEFAULTS: Cause = Cause {
        id: "",
        layer: Layer::Unknown,
        is_only_note: false,
        title: "",
        symptoms: "",
        proof: "",
        look_alikes: &[],
        class: Class::Terminal,
        exit: Exit::Host,
        exit_after_deadline: Exit::Host,
        remedy: "",
        source: "",
        specificity: Specificity::Specific,
        yields_to: &[],
        is_symptom_of: &[],
        ends_instance: false,
        explains_missing_cluster: false,
        is_always_reported: false,
        is_reported_during_user_data: false,
        is_final_in_crash_loop: false,
        specific_remedy: None,
        when_registered: false,
        check: |_| None,
        excluded: |_| None,
        note: |_| None,
    };

    /// The fields of the causes that explain why the cluster is missing or another one. Each sets its layer.
    pub(super) const OF_MISSING_CLUSTER: Cause = Cause {
        exit: Exit::Cluster,
        exit_after_deadline: Exit::Cluster,
        when_registered: true,
        explains_missing_cluster: true,
        ..Cause::DEFAULTS
    };

    /// Whether the remedy depends on the evidence.
    pub fn has_specific_remedy(&self) -> bool {
        self.specific_remedy.is_some()
    }

    /// Whether no cause of the catalogue fits.
    pub fn is_unknown(&self) -> bool {
        self.layer == Layer::Unknown
    }
}

impl PartialEq for Cause {
    fn eq(&self, other: &Cause) -> bool {
        self.id == other.id
    }
}

impl std::fmt::Debug for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.id)
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id)
    }
}

/// A cause with its evidence.
#[derive(Clone, Debug, Serialize)]
pub struct FoundCause {
    /// The cause that the evidence supports.
    pub cause: &'static Cause,
    /// The evidence lines, redacted.
    pub seen: Vec<String>,
    /// What to do next, redacted.
    pub remedy: String,
}

impl FoundCause {
    /// A cause with its redacted evidence lines and the remedy for them.
    pub(super) fn new(cause: &'static Cause, seen: Vec<String>, evidence: &Evidence) -> FoundCause {
        let specific = cause.specific_remedy.and_then(|remedy| remedy(evidence)).map(|remedy| redaction::line(&remedy));
        let mut remedy = specific.unwrap_or_else(|| cause.remedy.to_owned());
        let stays = cause.explains_missing_cluster && is_in_other_cluster(evidence);
        if stays && !remedy.contains(RESET) {
            remedy.push_str(&format!("; then `{RESET}`, because the agent has joined another cluster and stays in it"));
        }
        let is_start_included = INCLUDES_START.iter().any(|step| remedy.contains(step));
        if cause.class != Class::Waiting && !is_start_included && is_agent_down(evidence) {
            remedy.push_str(START);
        }
        if let Some(unit) = evidence.agent_unit() {
            remedy = for_unit(remedy, &unit.name);
        }
        FoundCause { cause, seen: redaction::lines(seen), remedy }
    }

    /// Whether waiting any longer cannot help.
    pub fn is_final(&self, evidence: &Evidence) -> bool {
        match self.cause.class {
            Class::Terminal => true,
            Class::Settling(window) => evidence.age.unwrap_or(evidence.waited).max(evidence.waited) >= window,
            Class::Lasting(window) => evidence.lasted.get(self.cause.id).is_some_and(|lasted| *lasted >= window),
            Class::Retry => self.cause.is_final_in_crash_loop && evidence.is_crash_loop_final(),
            Class::Waiting => false,
        }
    }
}

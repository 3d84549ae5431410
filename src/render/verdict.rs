//! A verdict as text, and as the JSON document of `run`, `verify`, `status` and `status.json`.

use std::fmt::{self, Write};

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use crate::causes::FoundCause;
use crate::drain::Drain;
use crate::evidence::task_hold::DaemonState;
use crate::images::Pull;
use crate::redaction::{self, MAX_TEXT};
use crate::verdict::Verdict;

/// The version of the JSON document.
const VERSION: u32 = 1;

/// The duration of one stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// `gather`, `decide`, `apply` or `verify`.
    pub name: String,
    /// When it began, in milliseconds since the start of this program.
    pub start_ms: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// A cause in the document, with its evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingDocument {
    /// The id of the cause, which never changes.
    pub id: String,
    /// What is wrong.
    pub title: String,
    /// `terminal`, `settling`, `retry` or `waiting`.
    pub class: String,
    /// The observations that prove it, one line each.
    pub evidence: Vec<String>,
    /// What to do.
    pub remedy: String,
    /// The documentation or source code that describes it.
    pub source: String,
}

/// The document of `status --json`, `verify --json`, `run --json` and `/run/ecs-bootstrap/status.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictDocument {
    /// The version of this document.
    pub version: u32,
    /// The verdict in one word.
    pub verdict: VerdictState,
    /// The exit code of `run` and `verify`.
    pub exit_code: u8,
    /// The cause of a failure, or the reason for waiting.
    pub cause: Option<FindingDocument>,
    /// Other causes that have evidence.
    #[serde(default)]
    pub also: Vec<FindingDocument>,
    /// Causes that have evidence although the instance is ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<FindingDocument>,
    /// The verdict as one line of text.
    #[serde(default)]
    pub text: String,
    /// The cluster that the instance joined, otherwise the expected one.
    pub cluster: Option<String>,
    /// The ARN of the container instance, if it has registered.
    pub container_instance_arn: Option<String>,
    /// Whether ECS reports the agent as connected; `null` if that is not known.
    pub agent_connected: Option<bool>,
    /// The daemons that the verification has waited for (`ready.daemons`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub daemons: Vec<DaemonState>,
    /// The images of `ready.images`: only in `status`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Pull>,
    /// The state of the draining (`drain.on`): only in `status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// The duration of each stage.
    pub phases: Vec<Phase>,
    /// The signals, if any are enabled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<SignalStatus>,
}

/// A signal to an external target, and whether the target accepted it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SignalStatus {
    /// The kind of target.
    pub to: SignalTarget,
    /// `SUCCESS` or `FAILURE` for CloudFormation, `CONTINUE` or `ABANDON` for a launch hook, the verdict for tags,
    /// `Unhealthy` for the health, the name of the metric for CloudWatch.
    pub status: String,
    /// Whether the target accepted the signal.
    pub outcome: SignalOutcome,
    /// The stack, group or hook, and the reason of the outcome.
    pub detail: String,
}

/// The target of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignalTarget {
    /// A resource of a CloudFormation stack with a CreationPolicy.
    Cloudformation,
    /// A CloudFormation wait condition.
    WaitCondition,
    /// A launch lifecycle hook of an Auto Scaling group.
    LaunchHook,
    /// The health of the instance in its Auto Scaling group.
    Health,
    /// Tags of the instance.
    InstanceTags,
    /// A metric in CloudWatch.
    Cloudwatch,
    /// No target could be tried.
    All,
}

/// The outcome of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignalOutcome {
    /// The target accepted it.
    Sent,
    /// An earlier boot sent it.
    Already,
    /// The target does not wait for it.
    NotWaiting,
    /// It was not sent on purpose.
    Left,
    /// It could not be sent.
    Failed,
}

/// The verdict in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerdictState {
    /// The instance is ready.
    Ready,
    /// The instance is not ready yet, and nothing is wrong.
    Waiting,
    /// The instance is not ready, for a known cause.
    Failed,
    /// The instance is not ready, and no known cause fits.
    Unknown,
    /// There is no verdict.
    None,
}

impl fmt::Display for VerdictState {
    /// The name in JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl fmt::Display for SignalTarget {
    /// The name in JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl Serialize for SignalStatus {
    /// `target` is the plain name of `to`, which stays for programs that read it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Signal", 5)?;
        fields.serialize_field("target", &self.to)?;
        fields.serialize_field("to", &self.to)?;
        fields.serialize_field("status", &self.status)?;
        fields.serialize_field("outcome", &self.outcome)?;
        fields.serialize_field("detail", &self.detail)?;
        fields.end()
    }
}

impl fmt::Display for SignalOutcome {
    /// The name in JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl VerdictDocument {
    /// Replaces the notes whose ids begin with `prefix`.
    pub fn replace_notes(&mut self, prefix: &str, notes: &[FoundCause]) {
        self.notes.retain(|note| !note.id.starts_with(prefix));
        self.notes.extend(notes.iter().map(finding_document));
    }

    /// Drops evidence beyond [`MAX_TEXT`] bytes. The evidence of the cause is kept first.
    fn limit_evidence(&mut self) {
        let mut bytes_left = MAX_TEXT;
        for finding in self.cause.iter_mut().chain(&mut self.also).chain(&mut self.notes) {
            let mut fits = |line: &&String| {
                bytes_left = bytes_left.saturating_sub(line.len());
                bytes_left > 0
            };
            let kept = finding.evidence.iter().take_while(|line| fits(line)).count();
            let more = finding.evidence.len() - kept;
            finding.evidence.truncate(kept);
            if more > 0 {
                finding.evidence.push(format!("{more} more lines are not shown"));
            }
        }
    }

    /// The document if no command has reported a verdict since the host booted.
    pub fn none() -> VerdictDocument {
        VerdictDocument {
            version: VERSION,
            verdict: VerdictState::None,
            exit_code: crate::exit::Exit::NotRegistered.code(),
            cause: None,
            also: Vec::new(),
            notes: Vec::new(),
            text: "no verdict: ecs-bootstrap has not run since this host booted".to_owned(),
            cluster: None,
            container_instance_arn: None,
            agent_connected: None,
            daemons: Vec::new(),
            images: Vec::new(),
            drain: None,
            phases: Vec::new(),
            signals: Vec::new(),
        }
    }
}

fn state(verdict: &Verdict) -> VerdictState {
    match verdict {
        Verdict::Ready(_) => VerdictState::Ready,
        Verdict::Waiting { .. } => VerdictState::Waiting,
        Verdict::Failed { finding, .. } if finding.cause.is_unknown() => VerdictState::Unknown,
        Verdict::Failed { .. } => VerdictState::Failed,
    }
}

/// The document of a verdict.
pub fn document(verdict: &Verdict, cluster: Option<&str>, phases: &[Phase]) -> VerdictDocument {
    let mut document = VerdictDocument {
        version: VERSION,
        verdict: state(verdict),
        exit_code: verdict.exit().code(),
        cause: verdict.finding().map(finding_document),
        also: Vec::new(),
        notes: Vec::new(),
        text: redaction::line(&summary(verdict)),
        cluster: cluster.map(redaction::cluster),
        container_instance_arn: None,
        agent_connected: None,
        daemons: Vec::new(),
        images: Vec::new(),
        drain: None,
        phases: phases.to_vec(),
        signals: Vec::new(),
    };
    match verdict {
        Verdict::Ready(ready) => {
            document.cluster = Some(redaction::cluster(&ready.registration.cluster));
            document.container_instance_arn = Some(redaction::line(&ready.registration.container_instance_arn));
            document.agent_connected = ready.registration.agent_connected;
            document.daemons.clone_from(&ready.registration.daemons);
            document.notes = ready.notes.iter().map(finding_document).collect();
        }
        Verdict::Failed { also, container_instance_arn, .. } => {
            document.also = also.iter().map(finding_document).collect();
            document.container_instance_arn = container_instance_arn.as_deref().map(redaction::line);
        }
        Verdict::Waiting { container_instance_arn, .. } => {
            document.container_instance_arn = container_instance_arn.as_deref().map(redaction::line);
        }
    }
    document.limit_evidence();
    document
}

fn finding_document(finding: &FoundCause) -> FindingDocument {
    let cause = finding.cause;
    FindingDocument {
        id: cause.id.to_owned(),
        title: cause.title.to_owned(),
        class: cause.class.word().to_owned(),
        evidence: finding.seen.clone(),
        remedy: finding.remedy.clone(),
        source: cause.source.to_owned(),
    }
}

fn summary(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Ready(ready) => {
            let connected = match ready.registration.agent_connected {
                Some(_) => "its agent is connected",
                None => "registered, agent connection not checked",
            };
            let running = ready.registration.daemons.iter().filter(|daemon| daemon.running);
            let running: Vec<String> = running.map(|daemon| format!("`{}`", daemon.name)).collect();
            let daemons =
                if running.is_empty() { String::new() } else { format!("; daemons run: {}", running.join(", ")) };
            format!(
                "ready: `{}` in cluster `{}`, {connected}{daemons}",
                ready.registration.container_instance_arn, ready.registration.cluster
            )
        }
        Verdict::Waiting { text, .. } => format!("waiting: {text}"),
        Verdict::Failed { finding, .. } => format!("[{}] {}", finding.cause.id, finding.cause.title),
    }
}

/// The text of a verdict. `status` prints the same lines as the command that made the verdict.
pub fn verdict_text(document: &VerdictDocument) -> String {
    verdict_text_within(document, redaction::MAX_LINES)
}

/// The text of a verdict, with at most `max_lines` lines of evidence for all causes together.
pub fn verdict_text_within(document: &VerdictDocument, max_lines: usize) -> String {
    let mut lines_left = max_lines;
    let mut text = String::new();
    let mut write = |line: fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    };
    if document.cause.is_none() {
        write(format_args!("{}", document.text));
    }
    for (number, cause) in document.cause.iter().chain(&document.also).enumerate() {
        let label = match (document.verdict, number) {
            (VerdictState::Failed | VerdictState::Unknown, 0) => "error",
            (state, 0) => &state.to_string(),
            _ => "also",
        };
        write(format_args!("{label}: [{}] {}", cause.id, cause.title));
        for line in cause.evidence.iter().take(lines_left) {
            write(format_args!("seen: {line}"));
        }
        lines_left -= cause.evidence.len().min(lines_left);
        write(format_args!("remedy: {}", cause.remedy));
    }
    for note in &document.notes {
        write(format_args!("note: [{}] {} ({})", note.id, note.title, note.evidence.join("; ")));
    }
    for signal in &document.signals {
        let label = if signal.outcome == SignalOutcome::Failed { "warning: signal" } else { "signal" };
        let (status, target, outcome) = (&signal.status, signal.to, signal.outcome);
        write(format_args!("{label}: {status} to {target}, {outcome}: {}", signal.detail));
    }
    text
}

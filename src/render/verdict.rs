//! A verdict as text and as the JSON document of `status`, `verify` and `status.json`.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::causes::Finding;
use crate::redaction::{self, MAX_TEXT};
use crate::verdict::Verdict;

/// The version of the JSON document.
const VERSION: u32 = 1;

/// One phase of the boot, in milliseconds since this program was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// `gather`, `decide`, `apply` or `verify`.
    pub name: String,
    /// When it began.
    pub start_ms: u64,
    /// How long it took.
    pub duration_ms: u64,
}

/// The cause in the document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingDocument {
    /// The stable id.
    pub id: String,
    /// What is wrong.
    pub title: String,
    /// `terminal`, `settling`, `retry` or `waiting`.
    pub class: String,
    /// What was seen, a line a piece.
    pub evidence: Vec<String>,
    /// The next step.
    pub remedy: String,
    /// Where this is known from.
    pub source: String,
}

/// `status --json`, `verify --json`, `run --json` and `/run/ecs-bootstrap/status.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The version of this document.
    pub version: u32,
    /// `ready`, `waiting`, `failed`, `unknown` or `none`.
    pub verdict: String,
    /// The exit code.
    pub exit_code: u8,
    /// The cause, where there is one.
    pub cause: Option<FindingDocument>,
    /// Causes that fit as well.
    #[serde(default)]
    pub also: Vec<FindingDocument>,
    /// What is worth knowing although the instance registered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<FindingDocument>,
    /// The verdict in a line.
    #[serde(default)]
    pub text: String,
    /// The cluster that is wanted, or that was joined.
    pub cluster: Option<String>,
    /// The ARN of the container instance.
    pub container_instance_arn: Option<String>,
    /// Whether ECS says that the agent is connected; `null` when that is not known.
    pub agent_connected: Option<bool>,
    /// What took how long.
    pub phases: Vec<Phase>,
    /// Who was told outside this host, where somebody is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<Signalled>,
}

/// One whom the verdict is told outside this host, and whether he took it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signalled {
    /// `cloudformation`, `wait-condition`, `launch-hook`, `instance-tags`, `health`; `all` where none could be tried.
    pub to: String,
    /// `SUCCESS` or `FAILURE`; `CONTINUE` or `ABANDON` of a hook; the verdict of tags; `Unhealthy`.
    pub status: String,
    /// `sent`, `already` (by an earlier boot), `not-waiting` (nobody waits), `left` (on purpose not told) or `failed`.
    pub outcome: String,
    /// Which stack, group or hook, and why.
    pub detail: String,
}

impl Document {
    /// Leaves out evidence beyond [`MAX_TEXT`] bytes; that of the cause has precedence.
    fn bound(&mut self) {
        let mut room = MAX_TEXT;
        for finding in self.cause.iter_mut().chain(&mut self.also).chain(&mut self.notes) {
            let mut fits = |line: &&String| {
                room = room.saturating_sub(line.len());
                room > 0
            };
            let kept = finding.evidence.iter().take_while(|line| fits(line)).count();
            let more = finding.evidence.len() - kept;
            finding.evidence.truncate(kept);
            if more > 0 {
                finding.evidence.push(format!("{more} more lines are not shown"));
            }
        }
    }

    /// The document of a host where nothing has run.
    pub fn none() -> Document {
        Document {
            version: VERSION,
            verdict: "none".to_owned(),
            exit_code: crate::exit::Exit::NotRegistered.code(),
            cause: None,
            also: Vec::new(),
            notes: Vec::new(),
            text: "no verdict: ecs-bootstrap has not run since this host booted".to_owned(),
            cluster: None,
            container_instance_arn: None,
            agent_connected: None,
            phases: Vec::new(),
            signals: Vec::new(),
        }
    }
}

/// The document of a verdict.
pub fn document(verdict: &Verdict, cluster: Option<&str>, phases: &[Phase]) -> Document {
    let mut document = Document {
        version: VERSION,
        verdict: verdict.word().to_owned(),
        exit_code: verdict.exit().code(),
        cause: verdict.finding().map(finding_document),
        also: Vec::new(),
        notes: Vec::new(),
        text: redaction::line(&summary(verdict)),
        cluster: cluster.map(redaction::cluster),
        container_instance_arn: None,
        agent_connected: None,
        phases: phases.to_vec(),
        signals: Vec::new(),
    };
    match verdict {
        Verdict::Ready(ready) => {
            document.cluster = Some(redaction::cluster(&ready.cluster));
            document.container_instance_arn = Some(redaction::line(&ready.container_instance_arn));
            document.agent_connected = ready.agent_connected;
            document.notes = ready.notes.iter().map(finding_document).collect();
        }
        Verdict::Failed { also, container_instance_arn, .. } => {
            document.also = also.iter().map(finding_document).collect();
            document.container_instance_arn = container_instance_arn.as_deref().map(redaction::line);
        }
        Verdict::Waiting { .. } => {}
    }
    document.bound();
    document
}

fn finding_document(finding: &Finding) -> FindingDocument {
    let cause = finding.cause;
    FindingDocument {
        id: cause.id.to_owned(),
        title: cause.title.to_owned(),
        class: cause.class.word().to_owned(),
        evidence: finding.seen.clone(),
        remedy: cause.remedy.to_owned(),
        source: cause.source.to_owned(),
    }
}

fn summary(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Ready(ready) => {
            let connected = match ready.agent_connected {
                Some(_) => "its agent is connected",
                None => "registered, connection not asked",
            };
            format!("ready: `{}` in cluster `{}`, {connected}", ready.container_instance_arn, ready.cluster)
        }
        Verdict::Waiting { text, .. } => format!("waiting: {text}"),
        Verdict::Failed { finding, .. } => format!("[{}] {}", finding.cause.id, finding.cause.title),
    }
}

/// A stored verdict for people; the lines of a failure are those that the run itself printed.
pub fn verdict_text(document: &Document) -> String {
    verdict_text_within(document, redaction::MAX_LINES)
}

/// The same with at most `most` lines of evidence, of all causes together.
pub fn verdict_text_within(document: &Document, most: usize) -> String {
    let mut left = most;
    let mut text = String::new();
    let mut write = |line: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    };
    if document.cause.is_none() {
        write(format_args!("{}", document.text));
    }
    for (at, cause) in document.cause.iter().chain(&document.also).enumerate() {
        let label = match (document.verdict.as_str(), at) {
            ("failed" | "unknown", 0) => "error",
            (word, 0) => word,
            _ => "also",
        };
        write(format_args!("{label}: [{}] {}", cause.id, cause.title));
        for seen in cause.evidence.iter().take(left) {
            write(format_args!("seen: {seen}"));
        }
        left -= cause.evidence.len().min(left);
        write(format_args!("remedy: {}", cause.remedy));
    }
    for note in &document.notes {
        write(format_args!("note: [{}] {} ({})", note.id, note.title, note.evidence.join("; ")));
    }
    for signal in &document.signals {
        let label = if signal.outcome == "failed" { "warning: signal" } else { "signal" };
        write(format_args!("{label}: {} to {}, {}: {}", signal.status, signal.to, signal.outcome, signal.detail));
    }
    text
}

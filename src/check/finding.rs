//! What `check` finds: its findings and the types that the checkers of each kind of file share.

use clap::ValueEnum;
use serde::Serialize;

use super::text::Text;
use crate::ecs_config::issue::{ConfigIssue, Level};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum InputType {
    /// User data of any kind: a script, a cloud-config, a MIME message, settings, also compressed or encoded
    UserData,
    /// The agent's `/etc/ecs/ecs.config`
    EcsConfig,
    /// Settings of ecs-bootstrap, such as `/etc/ecs-bootstrap/config.toml`
    Settings,
    /// The agent's `/etc/ecs/ecs.config.json`
    EcsConfigJson,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file as it was named.
    pub file: String,
    /// The line, the first being 1.
    pub line: u32,
    /// The column in characters, the first being 1.
    pub column: u32,
    /// `error` or `warning`.
    pub level: &'static str,
    /// The id of the cause that `explain` explains.
    pub id: &'static str,
    /// What is wrong.
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

/// A file that was checked.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// The file as it was named.
    pub file: String,
    /// What it is.
    #[serde(rename = "type")]
    pub input_type: InputType,
    /// The same in words, with what is inside.
    pub what: &'static str,
    /// Whether anything in it was recognised, and so checked. A file in another language may hold no user data.
    #[serde(rename = "recognised")]
    pub is_recognised: bool,
    /// The mistakes, by line: the first of them, where there are very many.
    #[serde(skip)]
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub findings_not_shown: usize,
}

/// How to check.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What the file is, where that is said.
    pub input_type: Option<InputType>,
    /// Whether the file is used as it is, so that a placeholder in it is a mistake.
    pub is_rendered: bool,
}

/// So many errors and warnings of settings are told; more say nothing new.
pub(super) const MOST: usize = 100;

/// A mistake without its file.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) at: (u32, u32),
    pub(super) level: Level,
    pub(super) id: &'static str,
    pub(super) message: String,
    pub(super) suggestion: Option<String>,
}

impl Note {
    pub(super) fn new(at: (u32, u32), level: Level, id: &'static str, message: String) -> Note {
        Note { at, level, id, message, suggestion: None }
    }

    pub(super) fn meant(self, suggestion: impl Into<String>) -> Note {
        Note { suggestion: Some(suggestion.into()), ..self }
    }

    pub(super) fn of_issue(issue: &ConfigIssue) -> Note {
        Note {
            at: narrow(issue.line, issue.column),
            level: issue.level,
            id: issue.id(),
            message: issue.message(),
            suggestion: issue.suggestion().map(str::to_owned),
        }
    }

    /// The note about decoded text: its place is where the encoded text begins.
    pub(super) fn within(self, text: &Text) -> Note {
        match &text.encoded {
            Some(outer) => Note {
                at: (outer.line, outer.column),
                message: format!("{} (line {} of what is in the {})", self.message, self.at.0, outer.what),
                ..self
            },
            None => self,
        }
    }
}

/// A place as a finding has it.
pub(super) fn narrow(line: usize, column: usize) -> (u32, u32) {
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    (narrow(line), narrow(column))
}

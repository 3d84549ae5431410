//! The findings of `check`, and the types that the checkers of all types of files share.

use clap::ValueEnum;
use serde::Serialize;

use super::text::Text;
use crate::ecs_config::issue::{ConfigIssue, Level};

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum InputType {
    /// User data of any type: a script, a cloud-config, a MIME message, settings; also compressed or encoded
    UserData,
    /// The agent's `/etc/ecs/ecs.config`
    EcsConfig,
    /// Settings of ecs-bootstrap, such as `/etc/ecs-bootstrap/config.toml`
    Settings,
    /// The agent's `/etc/ecs/ecs.config.json`
    EcsConfigJson,
}

/// One mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The name of the file as it was given.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// What the agent does because of it.
    pub level: Level,
    /// The id of the cause that `explain` explains.
    pub id: &'static str,
    /// What is wrong.
    pub message: String,
    /// The text that was probably meant.
    pub suggestion: Option<String>,
}

/// The result of the check of one file.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// The name of the file as it was given.
    pub file: String,
    /// The type of the file.
    #[serde(rename = "type")]
    pub input_type: InputType,
    /// A description of the file and its content.
    pub what: &'static str,
    /// Whether anything in it was recognised and checked. A file in another language may not contain user data.
    #[serde(rename = "recognised")]
    pub is_recognised: bool,
    /// The mistakes in the order of their lines, up to a limit.
    #[serde(skip)]
    pub findings: Vec<Finding>,
    /// The number of findings over the limit.
    pub findings_not_shown: usize,
}

/// Options of a check.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The type of the file. `None` if it must be recognised.
    pub input_type: Option<InputType>,
    /// Whether the file is used without further changes, so that a placeholder in it is a mistake.
    pub is_rendered: bool,
}

/// The most errors, and the most warnings, of settings.
pub(super) const MAX_COUNT: usize = 100;

/// A mistake without the name of its file.
#[derive(Debug)]
pub(super) struct CheckNote {
    pub(super) at: (u32, u32),
    pub(super) level: Level,
    pub(super) id: &'static str,
    pub(super) message: String,
    pub(super) suggestion: Option<String>,
}

impl CheckNote {
    pub(super) fn new(at: (u32, u32), level: Level, id: &'static str, message: String) -> CheckNote {
        CheckNote { at, level, id, message, suggestion: None }
    }

    pub(super) fn meant(self, suggestion: impl Into<String>) -> CheckNote {
        CheckNote { suggestion: Some(suggestion.into()), ..self }
    }

    pub(super) fn of_issue(issue: &ConfigIssue) -> CheckNote {
        CheckNote {
            at: narrow(issue.line, issue.column),
            level: issue.level,
            id: issue.id(),
            message: issue.message(),
            suggestion: issue.suggestion().map(str::to_owned),
        }
    }

    /// Moves a note about decoded text to the place where the encoded text begins.
    pub(super) fn within(self, text: &Text) -> CheckNote {
        match &text.encoded {
            Some(outer) => CheckNote {
                at: (outer.line, outer.column),
                message: format!("{} (line {} of the decoded {})", self.message, self.at.0, outer.what),
                ..self
            },
            None => self,
        }
    }
}

/// Line and column of a finding.
pub(super) fn narrow(line: usize, column: usize) -> (u32, u32) {
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    (narrow(line), narrow(column))
}

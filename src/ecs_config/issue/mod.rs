//! Finds the lines of an `ecs.config` that the agent ignores or reads differently from what the author meant.
//!
//! In: the bytes of one file, or lines that another file writes to it, and what is known about the instance. Out: one
//! [`ConfigIssue`] for each mistake, with its place. `check`, `plan` and `doctor` use the same list. An issue holds no
//! values except the name of a cluster and what [`WrongValue`] may repeat, because values can be secret.

mod find;
mod key;

pub use find::{OPAQUE, SourceLine, cluster, first_crlf, half_login, issues, issues_of, other_place, unquoted};
pub use key::{CLUSTER_KEY, has_placeholder};

use std::fmt;

use serde::Serialize;

use crate::agent_variables::{Consequence, WrongValue};

/// What is known about the file and about the instance that reads it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// The region of the instance.
    pub region: Option<&'a str>,
    /// The AWS account of the instance.
    pub account: Option<&'a str>,
    /// Whether placeholders such as `${cluster}` are filled in before an agent reads the file.
    pub is_template: bool,
    /// Whether the cluster is named correctly by something other than these lines.
    pub is_cluster_named: bool,
}

/// The severity of an issue, by what the agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The agent ignores or changes a value, and runs.
    Warning,
    /// The agent exits, cannot register, or joins no cluster that the file names.
    Error,
}

impl fmt::Display for Level {
    /// The name in JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// One line with a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigIssue {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The variable that was meant. Empty if the line is not an assignment.
    pub key: String,
    /// What is wrong.
    pub kind: IssueKind,
    /// The severity.
    pub level: Level,
    /// The cluster that the line names without the mistake.
    pub cluster: Option<String>,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssueKind {
    /// The value is in quotes, and ecs-init does not remove them.
    Quoted,
    /// There are blanks before the `=`, and they belong to the key.
    Blanks,
    /// The line begins with `export`, which belongs to the key.
    Export,
    /// The key is similar to the name of a variable.
    Misspelt {
        /// The key in the file. It has only letters, digits, `_`, `-` and `.`.
        written: String,
    },
    /// The key contains other characters, or there is no `=`; the reason.
    Unreadable(&'static str),
    /// The line is not an assignment and not a comment.
    NotAssignment,
    /// The file is JSON, but only `ecs.config.json` may be.
    JsonFile,
    /// A later line gives the same key another value.
    Overridden {
        /// The number of that line.
        by: usize,
    },
    /// A later line gives the same key the same value.
    Repeated {
        /// The number of that line.
        by: usize,
    },
    /// The agent does not take the value.
    Value(WrongValue),
    /// A second assignment follows the value on the same line.
    TwoSettings,
    /// A comment follows the value on the same line.
    TrailingComment,
    /// The value contains a placeholder that was not replaced.
    Placeholder,
    /// The cluster is the text of an unset value, such as `None` or `null`.
    UnsetText(String),
    /// The cluster is empty, so the agent joins `default`.
    NoCluster,
    /// The ARN of the cluster has another region or account; the reason.
    OtherPlace(String),
    /// The login of a registry needs this variable too.
    HalfLogin(&'static str),
}

impl ConfigIssue {
    /// The id of the cause that explains the issue.
    pub fn id(&self) -> &'static str {
        match &self.kind {
            IssueKind::Quoted => "config-quoted",
            IssueKind::Blanks => "config-spaces",
            IssueKind::Export => "config-export",
            IssueKind::Misspelt { .. } => "config-key-misspelt",
            IssueKind::Unreadable(_) | IssueKind::NotAssignment => "config-unreadable-key",
            IssueKind::JsonFile => "config-wrong-file",
            IssueKind::Overridden { .. } | IssueKind::Repeated { .. } => "config-duplicate",
            IssueKind::Value(wrong) if wrong.consequence == Consequence::Exits => "config-bad-json",
            IssueKind::Value(_) | IssueKind::TwoSettings | IssueKind::Placeholder | IssueKind::TrailingComment
                if self.key == CLUSTER_KEY =>
            {
                "cluster-name-invalid"
            }
            IssueKind::OtherPlace(_) => "wrong-region",
            IssueKind::HalfLogin(_) => "config-value-ignored",
            IssueKind::UnsetText(_) => "cluster-name-invalid",
            IssueKind::NoCluster => "no-cluster-named",
            IssueKind::Value(_) | IssueKind::TwoSettings | IssueKind::Placeholder | IssueKind::TrailingComment => {
                "config-value-ignored"
            }
        }
    }

    /// What is wrong, without its place.
    pub fn message(&self) -> String {
        let key = &self.key;
        match &self.kind {
            IssueKind::Quoted => {
                format!("the value of `{key}` is in quotes, which the agent reads as part of the value")
            }
            IssueKind::Blanks => format!("there are blanks before the `=` of `{key}`, so the agent ignores the line"),
            IssueKind::Export => {
                format!("`export` before `{key}` becomes part of the key, so the agent ignores the line")
            }
            IssueKind::Misspelt { written } => format!("the agent does not know the variable `{written}`"),
            IssueKind::Unreadable(why) if key.is_empty() => (*why).to_owned(),
            IssueKind::Unreadable(why) => format!("the agent does not read `{key}` here: {why}"),
            IssueKind::NotAssignment => "this line is not an assignment, so the agent ignores it".to_owned(),
            IssueKind::JsonFile => {
                "this is JSON, and the agent does not read JSON here; move it to `/etc/ecs/ecs.config.json`".to_owned()
            }
            IssueKind::Overridden { by } => {
                format!("`{key}` has another value on line {by}, and the agent uses that value")
            }
            IssueKind::Repeated { by } => format!("`{key}` is set again to the same value on line {by}"),
            IssueKind::Value(wrong) => {
                let then = match wrong.consequence {
                    Consequence::Ignored => "the agent ignores the value",
                    Consequence::NotRegistered => "the agent cannot register",
                    Consequence::Exits => "the agent exits",
                };
                format!("{wrong}; {then}")
            }
            IssueKind::TwoSettings => {
                format!("two settings are on one line: the agent reads all of it as the value of `{key}`")
            }
            IssueKind::TrailingComment => {
                format!("a comment cannot follow the value of `{key}`: the agent reads it as part of the value")
            }
            IssueKind::Placeholder => format!("the value of `{key}` contains a placeholder that was not replaced"),
            IssueKind::UnsetText(word) => {
                format!("`{key}` is `{word}`, which is the text of an unset value and not the name of a cluster")
            }
            IssueKind::NoCluster => format!("`{key}` is empty, so the agent joins the cluster `default`"),
            IssueKind::OtherPlace(why) => why.clone(),
            IssueKind::HalfLogin(missing) => {
                format!("`{key}` is set without `{missing}`, so the agent pulls images without a login")
            }
        }
    }

    /// The key, the value or the cluster that was probably meant.
    pub fn suggestion(&self) -> Option<&str> {
        match &self.kind {
            IssueKind::Misspelt { .. } => Some(&self.key),
            IssueKind::Value(wrong) => wrong.suggestion.as_deref(),
            IssueKind::Quoted | IssueKind::TwoSettings | IssueKind::TrailingComment => self.cluster.as_deref(),
            _ => None,
        }
    }

    /// The message, and the suggestion if there is one.
    pub fn advice(&self) -> String {
        match self.suggestion() {
            Some(meant) => format!("{}; did you mean `{meant}`?", self.message()),
            None => self.message(),
        }
    }

    /// Whether the agent does not see the key, so that another line may set it correctly.
    pub fn is_of_key(&self) -> bool {
        use IssueKind::{Blanks, Export, Misspelt, NotAssignment, Unreadable};
        matches!(self.kind, Blanks | Export | Misspelt { .. } | Unreadable(_) | NotAssignment)
    }
}

#[cfg(test)]
mod tests;

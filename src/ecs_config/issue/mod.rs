//! Finds the lines of an `ecs.config` that the agent reads differently from what was meant, or not at all.
//!
//! In: the bytes of one file, or lines that another file writes to it, and what is known of the instance. Out: one
//! [`ConfigIssue`] a mistake, with its place. `check`, `plan` and `doctor` use the same list. Of values only the name of a
//! cluster and what [`WrongValue`] may repeat are kept, because some are secret.

mod find;

pub use find::{
    CLUSTER, OPAQUE, SourceLine, cluster, first_crlf, half_login, issues, issues_of, other_place, unquoted,
};

use crate::agent_variables::{Consequence, WrongValue};

/// What is known about the instance that will read the file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// Its region.
    pub region: Option<&'a str>,
    /// Its account.
    pub account: Option<&'a str>,
    /// Whether placeholders such as `${cluster}` are filled in before an agent reads the file.
    pub is_template: bool,
    /// Whether the cluster is named correctly by something other than these lines.
    pub is_cluster_named: bool,
}

/// How bad an issue is, by what the agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The agent ignores or changes a value, and runs.
    Warning,
    /// The agent exits, cannot register, or joins no cluster that the file names.
    Error,
}

impl Level {
    /// The level as one word.
    pub fn word(self) -> &'static str {
        match self {
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// One line with a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigIssue {
    /// The line, the first being 1.
    pub line: usize,
    /// The column in characters, the first being 1.
    pub column: usize,
    /// The variable that was meant; empty where the line is not an assignment.
    pub key: String,
    /// What is wrong.
    pub kind: IssueKind,
    /// How bad it is.
    pub level: Level,
    /// The cluster that the line would name without the mistake.
    pub cluster: Option<String>,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssueKind {
    /// The value is in quotes, which ecs-init passes on.
    Quoted,
    /// There are blanks before the `=`, and they belong to the key.
    Blanks,
    /// The line begins with `export`, which belongs to the key.
    Export,
    /// The key is nearly that of a variable.
    Misspelt {
        /// The key in the file: letters, digits, `_`, `-` and `.` only.
        written: String,
    },
    /// The key has other characters in it, or there is no `=`.
    Unreadable(&'static str),
    /// The line is not an assignment and not a comment.
    NotAssignment,
    /// The file is JSON, which belongs in `ecs.config.json`.
    JsonFile,
    /// A later line gives the same key another value.
    Overridden {
        /// That line.
        by: usize,
    },
    /// A later line gives the same key the same value.
    Repeated {
        /// That line.
        by: usize,
    },
    /// The agent does not take the value.
    Value(WrongValue),
    /// A second assignment follows the value on the same line.
    TwoSettings,
    /// A comment follows the value on the same line.
    TrailingComment,
    /// The value holds a placeholder that nothing has filled in.
    Placeholder,
    /// The cluster is the text of an unset value, such as `None` or `null`.
    UnsetText(String),
    /// The cluster is empty, so the agent joins `default`.
    NoCluster,
    /// The cluster's ARN is of another region or account.
    OtherPlace(String),
    /// The login of a registry lacks this variable.
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
                if self.key == CLUSTER =>
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
            IssueKind::Quoted => format!("the value of `{key}` is in quotes, which the agent reads as part of it"),
            IssueKind::Blanks => format!("there are blanks before the `=` of `{key}`, so the agent does not see it"),
            IssueKind::Export => {
                format!("`export` before `{key}` becomes part of the key, so the agent does not see it")
            }
            IssueKind::Misspelt { written } => format!("the agent has no variable `{written}`"),
            IssueKind::Unreadable(why) if key.is_empty() => (*why).to_owned(),
            IssueKind::Unreadable(why) => format!("the agent does not see `{key}` here: {why}"),
            IssueKind::NotAssignment => "this line is not an assignment, so the agent ignores it".to_owned(),
            IssueKind::JsonFile => {
                "this is JSON, of which the agent reads nothing here; it belongs in `/etc/ecs/ecs.config.json`"
                    .to_owned()
            }
            IssueKind::Overridden { by } => {
                format!("`{key}` has another value on line {by}, which is the one in force")
            }
            IssueKind::Repeated { by } => format!("`{key}` is set again to the same value on line {by}"),
            IssueKind::Value(wrong) => {
                let then = match wrong.consequence {
                    Consequence::Ignored => "the agent does not use the value",
                    Consequence::NotRegistered => "the agent cannot register",
                    Consequence::Exits => "the agent exits",
                };
                format!("{wrong}; {then}")
            }
            IssueKind::TwoSettings => {
                format!("two settings are on one line: what follows the value of `{key}` becomes part of it")
            }
            IssueKind::TrailingComment => {
                format!("a comment cannot follow the value of `{key}`: the agent reads it as part of the value")
            }
            IssueKind::Placeholder => format!("the value of `{key}` holds a placeholder that nothing has filled in"),
            IssueKind::UnsetText(word) => format!("`{key}` is `{word}`, the text of an unset value, and not a cluster"),
            IssueKind::NoCluster => format!("`{key}` is empty, so the agent joins `default`"),
            IssueKind::OtherPlace(why) => why.clone(),
            IssueKind::HalfLogin(missing) => {
                format!("`{key}` without `{missing}`: the agent pulls images without a login")
            }
        }
    }

    /// What was probably meant: the key, the value or the name.
    pub fn suggestion(&self) -> Option<&str> {
        match &self.kind {
            IssueKind::Misspelt { .. } => Some(&self.key),
            IssueKind::Value(wrong) => wrong.suggestion.as_deref(),
            IssueKind::Quoted | IssueKind::TwoSettings | IssueKind::TrailingComment => self.cluster.as_deref(),
            _ => None,
        }
    }

    /// The message, with the suggestion where there is one.
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

//! `ecs-bootstrap check`: the mistakes in files from which an instance will be configured.
//!
//! In: the name and the bytes of a file. Out: what it is, and its mistakes by line and column. It reads nothing else: no
//! metadata, no host, no other file. The rules for lines of `ecs.config` are those of [`crate::ecs_config::issue`], which
//! `plan` and `doctor` use too.

mod agent_json;
mod bottlerocket;
mod cloudformation;
mod detect;
mod heredocs;
mod lexer;
mod mistakes;
mod script;
mod shell;
mod strings;
mod substitution;
mod text;
mod user_data;
mod yaml;

use clap::ValueEnum;
use serde::Serialize;

use self::detect::Detected;
use self::text::Text;
pub use crate::ecs_config::issue::Level;
use crate::ecs_config::issue::{CLUSTER, ConfigIssue, Context, SourceLine, half_login, issues, issues_of};
use crate::redaction;
use crate::settings::fragment::Fragment;
use crate::settings::{Rank, agent_variables};

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

/// The longest name of a file in a finding, in characters.
const LONGEST_FILE_NAME: usize = 200;
/// The most findings of one file.
const MOST_FINDINGS: usize = 50;
/// The most bytes of what they say.
const MOST_BYTES: usize = 8 << 10;
/// So many errors and warnings of settings are told; more say nothing new.
const MOST: usize = 100;

/// A mistake without its file.
#[derive(Debug)]
struct Note {
    at: (u32, u32),
    level: Level,
    id: &'static str,
    message: String,
    suggestion: Option<String>,
}

impl Note {
    fn new(at: (u32, u32), level: Level, id: &'static str, message: String) -> Note {
        Note { at, level, id, message, suggestion: None }
    }

    fn meant(self, suggestion: impl Into<String>) -> Note {
        Note { suggestion: Some(suggestion.into()), ..self }
    }

    fn of_issue(issue: &ConfigIssue) -> Note {
        Note {
            at: narrow(issue.line, issue.column),
            level: issue.level,
            id: issue.id(),
            message: issue.message(),
            suggestion: issue.suggestion().map(str::to_owned),
        }
    }

    /// The note about decoded text: its place is where the encoded text begins.
    fn within(self, text: &Text) -> Note {
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
fn narrow(line: usize, column: usize) -> (u32, u32) {
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    (narrow(line), narrow(column))
}

/// Checks one file; `None` where it is not said and not to be seen what it is.
pub fn check(file: &str, bytes: &[u8], options: Options) -> Option<Checked> {
    let Detected { input_type, what, is_template } = detect::detect(file, bytes, options.input_type)?;
    let context = Context { is_template: is_template && !options.is_rendered, ..Context::default() };
    let mut is_recognised = true;
    let mut notes = match input_type {
        InputType::EcsConfig => issues(bytes, &context).iter().map(Note::of_issue).collect(),
        InputType::Settings => of_settings(&Text::of(&String::from_utf8_lossy(bytes)), Rank::Config),
        InputType::EcsConfigJson => agent_json::check(&Text::of(&String::from_utf8_lossy(bytes))),
        InputType::UserData => {
            let (notes, is_read) = user_data::check(file, bytes, options);
            is_recognised = is_read || what != detect::AROUND_USER_DATA;
            notes
        }
    };
    // Warnings are left out before errors.
    notes.sort_by_key(|note| (note.level == Level::Warning, note.at));
    // A name may be a secret that was passed by mistake, and is repeated for each finding.
    let file = redaction::line(file).chars().take(LONGEST_FILE_NAME).collect::<String>();
    let finding = |note: Note| Finding {
        file: file.clone(),
        line: note.at.0,
        column: note.at.1,
        level: note.level.word(),
        id: note.id,
        message: redaction::line(&note.message),
        suggestion: note.suggestion.map(|meant| redaction::line(&meant)),
    };
    let count = notes.len();
    let length = |finding: &Finding| finding.message.len() + finding.suggestion.as_ref().map_or(0, String::len);
    let mut findings = redaction::at_most(MOST_BYTES, notes.into_iter().take(MOST_FINDINGS).map(finding), length);
    findings.sort_by_key(|finding| (finding.line, finding.column));
    let findings_not_shown = count - findings.len();
    Some(Checked { file, input_type, what, is_recognised, findings, findings_not_shown })
}

/// The mistakes of settings of ecs-bootstrap.
fn of_settings(text: &Text, rank: Rank) -> Vec<Note> {
    let (fragment, errors) = Fragment::read_toml(&text.string(), rank, "");
    let place = |place: &str| {
        let mut numbers = place.rsplit(':').map_while(|number| number.parse::<usize>().ok());
        let column = numbers.next();
        numbers.next().zip(column).map_or((1, 1), |(line, column)| text.place(line, column))
    };
    let errors = errors.iter().take(MOST).map(|error| Note {
        suggestion: error.did_you_mean.clone(),
        ..Note::new(place(&error.place), Level::Error, "setting-invalid", error.what.clone())
    });
    let warnings = fragment.warnings.iter().take(MOST).filter_map(|warning| {
        let source = warning.source.as_ref()?;
        let unknown = source.key.strip_prefix("agent.").filter(|_| warning.id == "agent-variable-unknown");
        let meant = unknown.and_then(agent_variables::suggest);
        let message = match unknown {
            // A variable for something else is passed on.
            Some(name) => format!("the agent has no variable `{}`", meant.and(Some(name))?),
            None => warning.text.clone(),
        };
        let id = if unknown.is_some() { "config-key-misspelt" } else { "setting-invalid" };
        Some(Note {
            suggestion: meant.map(str::to_owned),
            ..Note::new(place(&source.place), Level::Warning, id, message)
        })
    });
    errors.chain(warnings).map(|note| note.within(text)).collect()
}

/// The mistakes of runs of lines that other files write to one `ecs.config`.
fn of_runs(runs: &[(Vec<SourceLine>, Text)], is_template: bool) -> Vec<Note> {
    let names = |line: &SourceLine| {
        let named = line.text.trim().split_once('=');
        named.is_some_and(|(key, value)| key == CLUSTER && !value.trim().is_empty())
    };
    let is_cluster_named = runs.iter().flat_map(|(lines, _)| lines).any(names);
    let context = Context { is_template, is_cluster_named, ..Context::default() };
    let of_run = |(lines, text): &(Vec<SourceLine>, Text)| -> Vec<Note> {
        issues_of(lines, &context).iter().map(|issue| Note::of_issue(issue).within(text)).collect()
    };
    let login = half_login(runs.iter().flat_map(|(lines, _)| lines)).map(|issue| Note::of_issue(&issue));
    runs.iter().flat_map(of_run).chain(login).collect()
}

#[cfg(test)]
mod tests;

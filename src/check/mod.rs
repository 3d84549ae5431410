//! `ecs-bootstrap check`: finds mistakes in files that configure an instance, before the instance boots.
//!
//! In: the name and the bytes of a file. Out: the type of the file, and its mistakes with line and column. It reads no
//! metadata, no host and no other file. The rules for lines of `ecs.config` are in [`crate::ecs_config::issue`], which
//! `plan` and `doctor` use too.

mod agent_json;
mod bottlerocket;
mod cloudformation;
mod detect;
mod finding;
mod heredocs;
mod lexer;
mod mistakes;
mod runs;
mod scalar;
mod script;
mod settings;
mod shell;
mod strings;
mod substitution;
mod text;
mod user_data;
mod yaml;

use self::detect::Detected;
use self::finding::CheckNote;
pub use self::finding::{Checked, Finding, InputType, Options};
use self::text::Text;
pub use crate::ecs_config::issue::Level;
use crate::ecs_config::issue::{Context, issues};
use crate::redaction;
use crate::settings::Rank;

/// The longest name of a file in a finding, in characters.
const MAX_FILE_NAME_LENGTH: usize = 200;
/// The most findings of one file.
const MAX_FINDINGS: usize = 50;
/// The most bytes of all messages and suggestions of one file.
const MAX_BYTES: usize = 8 << 10;

/// Checks one file. `None` if the options do not give its type and the type is not recognised.
pub fn check(file: &str, bytes: &[u8], options: Options) -> Option<Checked> {
    let Detected { input_type, what, is_template } = detect::detect(file, bytes, options.input_type)?;
    let context = Context { is_template: is_template && !options.is_rendered, ..Context::default() };
    let mut is_recognised = true;
    let mut notes = match input_type {
        InputType::EcsConfig => issues(bytes, &context).iter().map(CheckNote::of_issue).collect(),
        InputType::Settings => {
            settings::check(&Text::of(&String::from_utf8_lossy(bytes)), Rank::Config, context.is_template)
        }
        InputType::EcsConfigJson => agent_json::check(&Text::of(&String::from_utf8_lossy(bytes))),
        InputType::UserData => {
            let (notes, is_read) = user_data::check(file, bytes, options);
            is_recognised = is_read || what != detect::FILE_WITH_USER_DATA;
            notes
        }
    };
    // Errors come first, so that warnings are left out before errors.
    notes.sort_by_key(|note| (note.level == Level::Warning, note.at));
    // The name may be a secret that was passed by mistake, and each finding repeats it.
    let file = redaction::line(file).chars().take(MAX_FILE_NAME_LENGTH).collect::<String>();
    let finding = |note: CheckNote| Finding {
        file: file.clone(),
        line: note.at.0,
        column: note.at.1,
        level: note.level,
        id: note.id,
        message: redaction::line(&note.message),
        suggestion: note.suggestion.map(|meant| redaction::line(&meant)),
    };
    let count = notes.len();
    let length = |finding: &Finding| finding.message.len() + finding.suggestion.as_ref().map_or(0, String::len);
    let mut findings = redaction::at_most(MAX_BYTES, notes.into_iter().take(MAX_FINDINGS).map(finding), length);
    findings.sort_by_key(|finding| (finding.line, finding.column));
    let findings_not_shown = count - findings.len();
    Some(Checked { file, input_type, what, is_recognised, findings, findings_not_shown })
}

#[cfg(test)]
mod tests;

//! Reads what a one-off task overrides, from the command line or a file.
//!
//! In: the options. Out: [`OneOffTask`], or the cause why they are invalid.

use crate::cause::FoundCause;
use crate::cli::{BeforeFlags, RunFlags};
use crate::document;
use crate::document::InputFile;
use crate::json_text;
use crate::one_off::overrides::Overrides;
use crate::one_off::run::{OneOffTask, TaskLimit};
use crate::variables::Variables;
use crate::{causes, files};

/// The one-off task of `deploy`, if there is one. `variables` are those of a file.
pub(crate) fn before(
    flags: &BeforeFlags,
    allow_unknown: bool,
    variables: Option<&Variables<'_>>,
) -> Result<Option<OneOffTask>, FoundCause> {
    let Some(text) = &flags.before else { return Ok(None) };
    let overrides = overrides(text, "`--before`", allow_unknown, variables)?;
    let limit = TaskLimit { timeout: flags.before_timeout, stop: flags.before_stop_on_timeout };
    Ok(Some(OneOffTask { overrides, limit }))
}

/// The one-off task of `run`.
pub(crate) fn run(flags: &RunFlags, variables: Option<&Variables<'_>>) -> Result<OneOffTask, FoundCause> {
    let overrides = match &flags.overrides {
        Some(text) => overrides(text, "`--overrides`", flags.unknown.allow_unknown, variables)?,
        None if flags.command.is_empty() => Overrides::None,
        None => Overrides::Command { container: flags.container.clone(), command: flags.command.clone() },
    };
    Ok(OneOffTask { overrides, limit: TaskLimit { timeout: flags.timeout, stop: flags.stop_on_timeout } })
}

/// Text that starts as JSON does is taken as it is: the shell has replaced its variables already. Other text is the
/// name of a file.
fn overrides(
    text: &str,
    option: &str,
    allow_unknown: bool,
    variables: Option<&Variables<'_>>,
) -> Result<Overrides, FoundCause> {
    if text.trim_start().starts_with(['{', '[']) {
        let value = json_text::read(text).map_err(|error| {
            let what = if error.is_data() { "" } else { "not valid JSON: " };
            causes::BAD_INPUT.finding(format!("{option}: {what}{error}"))
        })?;
        return Overrides::read(value, option, allow_unknown);
    }
    let file: InputFile =
        files::read(text.as_ref()).map_err(|finding| finding.and(command_hint(text, option.trim_matches('`'))))?;
    let (value, written) = document::parse(&file, document::Kind::Overrides, variables)?;
    Overrides::read(value, &format!("`{}`", file.name), allow_unknown).map_err(|mut finding| {
        finding.evidence = finding.evidence.into_iter().map(|fault| written.explained(fault)).collect();
        finding
    })
}

/// How a command is written, for one that was taken as the name of a file.
fn command_hint(text: &str, option: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(|word| format!("\"{word}\"")).collect();
    let is_simple = !words.is_empty() && !text.contains(['\'', '"', '\\']);
    let list = if is_simple { words.join(", ") } else { "\"COMMAND\", \"ARGUMENT\"".to_owned() };
    format!("if a command is meant: it is a list, `{option} '[{list}]'`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_not_a_list_is_shown_as_one() {
        for (text, list) in [
            ("migrate", r#"["migrate"]"#),
            ("php artisan  migrate --force", r#"["php", "artisan", "migrate", "--force"]"#),
            ("sh -c 'x'", r#"["COMMAND", "ARGUMENT"]"#),
            ("", r#"["COMMAND", "ARGUMENT"]"#),
        ] {
            assert_eq!(
                command_hint(text, "--before"),
                format!("if a command is meant: it is a list, `--before '{list}'`")
            );
        }
    }
}

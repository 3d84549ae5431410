//! Reads what a one-off task overrides, from the command line or a file.
//!
//! In: the options. Out: [`OneOffTask`], or the cause why they are invalid.

use crate::cause::FoundCause;
use crate::cli::{BeforeFlags, RunFlags};
use crate::desired::{InputFile, parse};
use crate::one_off::overrides::Overrides;
use crate::one_off::run::{OneOffTask, TaskLimit};
use crate::{causes, files};

/// The one-off task of `deploy`, if there is one. `variable` returns the value of a variable for a file.
pub(crate) fn before(
    flags: &BeforeFlags,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<OneOffTask>, FoundCause> {
    let Some(text) = &flags.before else { return Ok(None) };
    let overrides = overrides(text, "`--before`", variable)?;
    let limit = TaskLimit { timeout: flags.before_timeout, stop: flags.before_stop_on_timeout };
    Ok(Some(OneOffTask { overrides, limit }))
}

/// The one-off task of `run`.
pub(crate) fn run(flags: &RunFlags, variable: &dyn Fn(&str) -> Option<String>) -> Result<OneOffTask, FoundCause> {
    let overrides = match &flags.overrides {
        Some(text) => overrides(text, "`--overrides`", variable)?,
        None if flags.command.is_empty() => Overrides::None,
        None => Overrides::Command { container: flags.container.clone(), command: flags.command.clone() },
    };
    Ok(OneOffTask { overrides, limit: TaskLimit { timeout: flags.timeout, stop: flags.stop_on_timeout } })
}

/// Text that starts as JSON does is taken as it is: the shell has replaced its variables already. Other text is the
/// name of a file.
fn overrides(text: &str, option: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Overrides, FoundCause> {
    if text.trim_start().starts_with(['{', '[']) {
        let value = serde_json::from_str(text)
            .map_err(|error| causes::BAD_INPUT.finding(format!("{option}: not valid JSON: {error}")))?;
        return Overrides::read(value, option);
    }
    let file: InputFile = files::read(text.as_ref())?;
    Overrides::read(parse(&file, variable)?, &format!("`{}`", file.name))
}

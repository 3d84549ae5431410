//! Mistakes in settings of ecs-bootstrap: a settings file, or settings in user data.

use super::finding::{CheckNote, MAX_COUNT};
use super::text::Text;
use crate::agent_variables;
use crate::ecs_config::issue::{Level, OPAQUE, has_placeholder};
use crate::settings::fragment::Fragment;
use crate::settings::{Rank, warning};

/// Checks settings of ecs-bootstrap. In a template, a line with a placeholder is not judged.
pub(super) fn check(text: &Text, rank: Rank, is_template: bool) -> Vec<CheckNote> {
    let string = text.string();
    let (fragment, errors) = Fragment::read_toml(&string, rank, "");
    let line_and_column = |place: &str| {
        let mut numbers = place.rsplit(':').map_while(|number| number.parse::<usize>().ok());
        let column = numbers.next();
        numbers.next().zip(column)
    };
    let place = |place: &str| line_and_column(place).map_or((1, 1), |(line, column)| text.place(line, column));
    let is_open = |place: &str| {
        let line = line_and_column(place).and_then(|(line, _)| string.lines().nth(line.saturating_sub(1)));
        is_template && line.is_some_and(|line| line.contains(OPAQUE) || has_placeholder(line, true))
    };
    let errors = errors.iter().filter(|error| !is_open(&error.place)).take(MAX_COUNT).map(|error| CheckNote {
        suggestion: error.did_you_mean.clone(),
        ..CheckNote::new(place(&error.place), Level::Error, "setting-invalid", error.what.clone())
    });
    let warnings = fragment.warnings.iter().take(MAX_COUNT).filter_map(|warning| {
        let source = warning.source.as_ref().filter(|source| !is_open(&source.place))?;
        let unknown = source.key.strip_prefix("agent.").filter(|_| warning.id() == warning::AGENT_VARIABLE_UNKNOWN.id);
        let meant = unknown.and_then(agent_variables::suggest);
        let message = match unknown {
            // An unknown variable that is not similar to a known one is not a mistake: it is passed on.
            Some(name) => format!("the agent does not know the variable `{}`", meant.and(Some(name))?),
            None => warning.text.clone(),
        };
        let id = if unknown.is_some() { "config-key-misspelt" } else { "setting-invalid" };
        Some(CheckNote {
            suggestion: meant.map(str::to_owned),
            ..CheckNote::new(place(&source.place), Level::Warning, id, message)
        })
    });
    errors.chain(warnings).map(|note| note.within(text)).collect()
}

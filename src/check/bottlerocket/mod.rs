//! Checks user data for Bottlerocket, which is TOML with the settings of ECS.
//!
//! In: the text. Out: the place where it is not TOML, and names below `settings.ecs` that Bottlerocket does not
//! document.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::finding::{CheckNote, MAX_COUNT};
use super::text::Text;
use super::yaml::hidden;
use crate::ecs_config::issue::{Level, OPAQUE};
use crate::suggestion;

/// The settings below `settings.ecs` (Bottlerocket's documentation, `settings.ecs.*`, and its model `ECSSettingsV1`).
const SETTINGS: [&str; 19] = [
    "allow-privileged-containers",
    "awsvpc-block-imds",
    "backend-host",
    "cluster",
    "container-stop-timeout",
    "enable-container-metadata",
    "enable-spot-instance-draining",
    "image-cleanup-age",
    "image-cleanup-delete-per-cycle",
    "image-cleanup-enabled",
    "image-cleanup-wait",
    "image-pull-behavior",
    "instance-attributes",
    "logging-drivers",
    "loglevel",
    "metadata-service-burst",
    "metadata-service-rps",
    "reserved-memory",
    "task-cleanup-wait",
];
/// The most characters of a name that a message repeats.
const MAX_NAME_LENGTH: usize = 64;
/// The most characters of the parser's message.
const MAX_REASON_LENGTH: usize = 200;

/// Checks the user data.
pub(super) fn check(text: &Text, is_template: bool) -> Vec<CheckNote> {
    let Masked { toml, open } = mask(text, is_template);
    let at = |span: Range<usize>| {
        let before = toml.get(..span.start).unwrap_or(&toml).chars().count();
        let past = || text.chars.last().map_or((1, 1), |last| last.place());
        text.chars.get(before).map_or_else(past, |at| at.place())
    };
    let table = match DeTable::parse(&toml) {
        Ok(table) => table,
        Err(error) => {
            let span = error.span().unwrap_or_default();
            let line = toml.get(..span.end).unwrap_or(&toml).matches('\n').count();
            // A placeholder outside of quotes can become any text.
            if open.is_some_and(|open| open <= line) {
                return Vec::new();
            }
            let why = error.message().lines().collect::<Vec<_>>().join(", ");
            let why: String = why.chars().filter(|c| !c.is_control()).take(MAX_REASON_LENGTH).collect();
            let message = format!("this is not TOML, so Bottlerocket does not read the user data: {why}");
            return vec![CheckNote::new(at(span), Level::Error, "user-data-not-recognised", message).within(text)];
        }
    };
    let Some(ecs) = table_of(table.get_ref(), "settings").and_then(|settings| table_of(settings, "ecs")) else {
        return Vec::new();
    };
    let is_open = |name: &str| name.contains([OPAQUE, '$', '{', '%', '<']);
    let unknown = ecs.keys().filter(|key| !SETTINGS.contains(&key.get_ref().as_ref()));
    let unknown = unknown.filter(|key| !is_open(&original(text, &toml, key.span())));
    let note = |key: &toml::Spanned<std::borrow::Cow<'_, str>>| {
        let shown: String = key.get_ref().chars().filter(|c| c.is_ascii_graphic()).take(MAX_NAME_LENGTH).collect();
        let message = format!("Bottlerocket does not document the setting `settings.ecs.{shown}`");
        let note = CheckNote::new(at(key.span()), Level::Warning, "config-key-misspelt", message);
        match meant(key.get_ref()) {
            Some(meant) => note.meant(meant),
            None => note,
        }
        .within(text)
    };
    unknown.take(MAX_COUNT).map(note).collect()
}

fn table_of<'t, 'a>(table: &'t DeTable<'a>, name: &str) -> Option<&'t DeTable<'a>> {
    match table.get(name)?.get_ref() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

/// The setting that was probably meant; the agent's variables have the prefix `ECS_`.
fn meant(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    let bare = lower.strip_prefix("ecs_").or(lower.strip_prefix("ecs-")).unwrap_or(&lower);
    suggestion::nearest(bare, SETTINGS)
}

/// The text as TOML: placeholders are replaced, and the number of characters is the same.
struct Masked {
    toml: String,
    /// The first line with a placeholder outside of quotes, from 0.
    open: Option<usize>,
}

/// Replaces the placeholders: inside quotes by words, elsewhere by strings.
fn mask(text: &Text, is_template: bool) -> Masked {
    let mut chars: Vec<char> = text.chars.iter().map(|at| at.c).collect();
    let is_hidden = hidden(&chars, is_template);
    let mut open = None;
    let mut begin = 0;
    for (number, line) in chars.clone().split_inclusive(|c| *c == '\n').enumerate() {
        let range = begin..begin + line.len();
        begin = range.end;
        if !is_hidden[range.clone()].contains(&true) {
            continue;
        }
        let is_alone = range.clone().all(|at| is_hidden[at] || chars[at].is_whitespace());
        let is_header = line.iter().find(|c| !c.is_whitespace()) == Some(&'[');
        let filled = match (is_alone, is_header) {
            (true, _) => Filled::Blanks,
            (false, true) => Filled::Word,
            (false, false) => Filled::Value,
        };
        if mask_line(&mut chars[range.clone()], &is_hidden[range], filled) && !is_alone {
            open = open.or(Some(number));
        }
    }
    Masked { toml: chars.into_iter().collect(), open }
}

/// The replacement of a placeholder outside of quotes.
#[derive(Clone, Copy)]
enum Filled {
    Blanks,
    Word,
    Value,
}

/// Replaces the placeholders of one line. Returns whether one of them is outside of quotes.
fn mask_line(line: &mut [char], is_hidden: &[bool], filled: Filled) -> bool {
    let (mut quote, mut is_open, mut index) = (None, false, 0);
    while let Some(c) = line.get(index).copied() {
        let length = is_hidden[index..].iter().take_while(|is_hidden| **is_hidden).count();
        if length == 0 {
            match c {
                '"' | '\'' if quote.is_none() => quote = Some(c),
                _ if quote == Some(c) => quote = None,
                _ => {}
            }
            index += 1;
            continue;
        }
        let placeholder = &mut line[index..index + length];
        let filled = if quote.is_some() { Filled::Word } else { filled };
        is_open |= quote.is_none();
        match (filled, length) {
            (Filled::Blanks, _) => placeholder.fill(' '),
            (Filled::Value, 1) => placeholder.fill('1'),
            _ => placeholder.fill('x'),
        }
        if matches!(filled, Filled::Value) && length > 1 {
            (placeholder[0], placeholder[length - 1]) = ('"', '"');
        }
        index += length;
    }
    is_open
}

/// The characters of the text at this span of the masked text.
fn original(text: &Text, toml: &str, span: Range<usize>) -> String {
    let start = toml.get(..span.start).unwrap_or_default().chars().count();
    let length = toml.get(span).unwrap_or_default().chars().count();
    text.chars.iter().skip(start).take(length).map(|at| at.c).collect()
}

#[cfg(test)]
mod tests;

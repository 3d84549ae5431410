//! Reads a TOML document of settings and finds the line and column of each entry.
//!
//! In: the parsed tables and their text. Out: each entry with its place. The time is linear in the length of the text.

use std::cell::Cell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::schema::{self, Raw, Setting};
use super::{Rank, SettingsError, Source};

/// The rest of a document is skipped after this many errors.
const MAX_ERRORS: usize = 50;

/// A document and its source.
pub(super) struct TomlDocument<'a> {
    text: &'a str,
    rank: Rank,
    place: &'a str,
    /// The place that [`TomlDocument::at`] returned last: byte offset, line and column. Line and column begin at zero.
    last_place: Cell<(usize, usize, usize)>,
    /// Whether an earlier key names the cluster, with a valid value or not.
    has_cluster: Cell<bool>,
}

impl<'a> TomlDocument<'a> {
    pub(super) fn new(text: &'a str, rank: Rank, place: &'a str) -> TomlDocument<'a> {
        TomlDocument { text, rank, place, last_place: Cell::default(), has_cluster: Cell::default() }
    }

    /// The start of a span as `file:line:column`. Line and column begin at one, and the column counts characters.
    /// Callers go through the document in order, so the count continues from the last place.
    pub(super) fn at(&self, span: Option<Range<usize>>) -> String {
        let wanted = span.map(|span| span.start).filter(|start| self.text.is_char_boundary(*start));
        let Some(wanted) = wanted else { return self.place.to_owned() };
        let (mut from, mut line, mut column) = self.last_place.get();
        if from > wanted {
            (from, line, column) = (0, 0, 0);
        }
        let between = &self.text[from..wanted];
        match between.rsplit_once('\n') {
            Some((before, last)) => {
                line += before.matches('\n').count() + 1;
                column = last.chars().count();
            }
            None => column += between.chars().count(),
        }
        self.last_place.set((wanted, line, column));
        format!("{}:{}:{}", self.place, line + 1, column + 1)
    }

    /// The entries of a table and of the groups in it, in the order of the text.
    pub(super) fn walk(
        &self,
        table: &DeTable<'_>,
        path: &str,
        push: &mut dyn FnMut(&str, Raw, Source) -> Result<(), SettingsError>,
        errors: &mut Vec<SettingsError>,
    ) {
        let mut keys: Vec<(&Spanned<_>, &Spanned<DeValue<'_>>)> = table.iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        let is_group = |name: &str| {
            let is_below =
                |setting: &Setting| setting.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
            name == "agent" || schema::ALL.iter().any(is_below)
        };
        for (key, value) in keys {
            if errors.len() >= MAX_ERRORS {
                return;
            }
            let name = if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
            match value.get_ref() {
                DeValue::Table(inner) if is_group(&name) => self.walk(inner, &name, push, errors),
                _ => {
                    // An error about a name points at the name, an error about a value at the value.
                    let known = schema::find(&name).is_some() || name.starts_with("agent.");
                    let place = self.at(Some(if known { value.span() } else { key.span() }));
                    let names_cluster = ["cluster", "agent.ECS_CLUSTER"].contains(&name.as_str());
                    let is_second = names_cluster && self.has_cluster.replace(true);
                    let source = Source::new(self.rank, place, name.clone());
                    let pushed = if is_second {
                        let what = "`cluster` and `agent.ECS_CLUSTER` both name the cluster; remove one of them";
                        Err(SettingsError {
                            place: source.place.into_owned(),
                            what: what.to_owned(),
                            did_you_mean: None,
                        })
                    } else {
                        push(&name, raw(value.get_ref()), source)
                    };
                    errors.extend(pushed.err());
                }
            }
        }
    }
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Boolean(value) => Raw::Bool(*value),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Raw::Other("an integer of more than 64 bits"), Raw::Integer),
        DeValue::Array(items) => Raw::List(items.iter().map(|item| raw(item.get_ref())).collect()),
        DeValue::Table(table) => {
            Raw::Table(table.iter().map(|(key, value)| (key.get_ref().to_string(), raw(value.get_ref()))).collect())
        }
        DeValue::Float(_) => Raw::Other("a number with a fraction"),
        DeValue::Datetime(_) => Raw::Other("a date"),
    }
}

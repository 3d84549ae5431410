//! A TOML document of settings: which entry stands at which line and column.
//!
//! In: the parsed tables and their text. Out: each entry with its place, in time that is linear in the length of the text.

use std::cell::Cell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::schema::{self, Raw, Setting};
use super::{Rank, SettingsError, Source};

/// After so many errors the rest of a document is not looked at.
const MOST_ERRORS: usize = 50;

/// The text of a document.
pub(super) struct TomlDocument<'a> {
    text: &'a str,
    rank: Rank,
    place: &'a str,
    /// The last place that was asked for: offset, line and column, the latter two counted from zero.
    read: Cell<(usize, usize, usize)>,
    /// Whether a key before this one names the cluster, rightly or not.
    has_cluster: Cell<bool>,
}

impl<'a> TomlDocument<'a> {
    pub(super) fn new(text: &'a str, rank: Rank, place: &'a str) -> TomlDocument<'a> {
        TomlDocument { text, rank, place, read: Cell::default(), has_cluster: Cell::default() }
    }

    /// `file:line:column`, both counted from one, the column in characters. Places are asked for in their order, so each
    /// is counted from the one before it.
    pub(super) fn at(&self, span: Option<Range<usize>>) -> String {
        let wanted = span.map(|span| span.start).filter(|start| self.text.is_char_boundary(*start));
        let Some(wanted) = wanted else { return self.place.to_owned() };
        let (mut from, mut line, mut column) = self.read.get();
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
        self.read.set((wanted, line, column));
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
            if errors.len() >= MOST_ERRORS {
                return;
            }
            let name = if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
            match value.get_ref() {
                DeValue::Table(inner) if is_group(&name) => self.walk(inner, &name, push, errors),
                _ => {
                    // A wrong name is told at the name, a wrong value at the value.
                    let known = schema::find(&name).is_some() || name.starts_with("agent.");
                    let place = self.at(Some(if known { value.span() } else { key.span() }));
                    let names_cluster = ["cluster", "agent.ECS_CLUSTER"].contains(&name.as_str());
                    let is_second = names_cluster && self.has_cluster.replace(true);
                    let source = Source::new(self.rank, place, name.clone());
                    let pushed = match is_second {
                        true => Err(SettingsError {
                            place: source.place,
                            what: "`cluster` and `agent.ECS_CLUSTER` both name the cluster; one of them must go"
                                .to_owned(),
                            did_you_mean: None,
                        }),
                        false => push(&name, raw(value.get_ref()), source),
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
            .map_or(Raw::Other("an integer beyond 64 bits"), Raw::Integer),
        DeValue::Array(items) => Raw::List(items.iter().map(|item| raw(item.get_ref())).collect()),
        DeValue::Table(table) => {
            Raw::Table(table.iter().map(|(key, value)| (key.get_ref().to_string(), raw(value.get_ref()))).collect())
        }
        DeValue::Float(_) => Raw::Other("a number with a fraction"),
        DeValue::Datetime(_) => Raw::Other("a date"),
    }
}

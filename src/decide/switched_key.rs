//! A key that a setting turns on or off, or that a fact turns on.

use crate::plan::PlannedKey;
use crate::settings::{Rank, Source, Sourced, Switch};

/// The key if it is on. Its source is the setting, or with `auto` the fact that turned it on.
pub(super) fn switched_key(
    switch: &Sourced<Switch>,
    key: &str,
    value: &str,
    fact: Option<String>,
) -> Option<PlannedKey> {
    let source = match switch.value {
        Switch::On => switch.source.clone(),
        Switch::Off => return None,
        Switch::Auto => Source::new(Rank::Default, fact?, switch.source.key.clone()),
    };
    Some(PlannedKey { key: key.to_owned(), value: value.to_owned(), source })
}

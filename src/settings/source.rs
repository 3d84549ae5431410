//! The source of a value. Every setting has one, and every message about the setting names it.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

use super::precedence::Rank;

/// The place of an option or environment variable of an earlier run, which `written.json` records.
pub const EARLIER: &str = "an earlier run of this instance";

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The rank, which decides the precedence.
    #[serde(rename = "kind")]
    pub rank: Rank,
    /// The file with line and column, or the service that gave the value.
    #[serde(rename = "where")]
    pub place: Cow<'static, str>,
    /// The key as it was written there.
    pub key: Cow<'static, str>,
}

impl Source {
    /// A source with this rank.
    pub fn new(rank: Rank, place: impl Into<String>, key: impl Into<String>) -> Source {
        Source { rank, place: Cow::Owned(place.into()), key: Cow::Owned(key.into()) }
    }

    /// The built-in default of a setting.
    pub fn default_of(key: &'static str) -> Source {
        Source { rank: Rank::Default, place: Cow::Borrowed("built-in"), key: Cow::Borrowed(key) }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match self.rank {
            Rank::Default => write!(f, "default ({})", self.place),
            Rank::Environment if self.place == EARLIER => write!(f, "environment variable `{key}` of {EARLIER}"),
            Rank::CommandLine if self.place == EARLIER => write!(f, "command line `{key}` of {EARLIER}"),
            Rank::Environment => write!(f, "environment variable `{key}`"),
            Rank::CommandLine => write!(f, "command line `{key}`"),
            Rank::InstanceTag => write!(f, "instance tag `{key}` ({})", self.place),
            Rank::ClusterTag => write!(f, "cluster tag `{key}` of {}", self.place),
            Rank::ClusterTags => write!(f, "cluster with the tags {key} ({})", self.place),
            Rank::EcsConfig | Rank::Vendor | Rank::Config | Rank::UserData => write!(f, "`{key}` in {}", self.place),
        }
    }
}

/// A value and its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Its source.
    pub source: Source,
}

impl<T> Sourced<T> {
    /// A value with its source.
    pub fn new(value: T, source: Source) -> Sourced<T> {
        Sourced { value, source }
    }
}

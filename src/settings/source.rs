//! Who said a value: every setting carries its source, and every report names it.

use std::fmt;

use serde::Serialize;

use super::precedence::Rank;

/// The place of what was said once, and is remembered by what was written of it.
pub const EARLIER: &str = "an earlier run of this instance";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The rank.
    #[serde(rename = "kind")]
    pub rank: Rank,
    /// The file with line and column, or what was asked.
    #[serde(rename = "where")]
    pub place: String,
    /// The key as it was written there.
    pub key: String,
}

impl Source {
    /// A source of this kind.
    pub fn new(rank: Rank, place: impl Into<String>, key: impl Into<String>) -> Source {
        Source { rank, place: place.into(), key: key.into() }
    }

    /// The built-in default of a setting.
    pub fn default_of(key: &str) -> Source {
        Source::new(Rank::Default, "built-in", key)
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

/// A value and who said it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Who said it.
    pub source: Source,
}

impl<T> Sourced<T> {
    /// A value with its source.
    pub fn new(value: T, source: Source) -> Sourced<T> {
        Sourced { value, source }
    }
}

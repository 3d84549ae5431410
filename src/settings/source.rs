//! Who said a value: every setting carries its source, and every report names it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The ranks of sources, low to high; a higher one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Built in, or derived from facts.
    Default,
    /// A key of `ecs.config` that we did not write.
    EcsConfig,
    /// `/usr/lib/ecs-bootstrap/config.d/*.toml`.
    Vendor,
    /// `/etc/ecs-bootstrap/config.toml`, then `config.d/*.toml`.
    Config,
    /// A tag of the cluster.
    ClusterTag,
    /// The cluster that carries the wanted tags (only as the source of the cluster).
    ClusterTags,
    /// A tag of the instance.
    InstanceTag,
    /// User data of ours.
    UserData,
    /// The environment.
    Environment,
    /// The command line.
    CommandLine,
}

impl Kind {
    /// Whether `imds.*` and `tags.*` may come from here: what they steer is read before tags and user data are.
    pub fn is_early(self) -> bool {
        matches!(self, Kind::Default | Kind::Vendor | Kind::Config | Kind::Environment | Kind::CommandLine)
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The rank.
    pub kind: Kind,
    /// The file with line and column, or what was asked.
    #[serde(rename = "where")]
    pub place: String,
    /// The key as it was written there.
    pub key: String,
}

impl Source {
    /// A source of this kind.
    pub fn new(kind: Kind, place: impl Into<String>, key: impl Into<String>) -> Source {
        Source { kind, place: place.into(), key: key.into() }
    }

    /// The built-in default of a setting.
    pub fn default_of(key: &str) -> Source {
        Source::new(Kind::Default, "built-in", key)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match self.kind {
            Kind::Default => write!(f, "default ({})", self.place),
            Kind::Environment => write!(f, "environment variable `{key}`"),
            Kind::CommandLine => write!(f, "command line `{key}`"),
            Kind::InstanceTag => write!(f, "instance tag `{key}` ({})", self.place),
            Kind::ClusterTag => write!(f, "cluster tag `{key}` of {}", self.place),
            Kind::ClusterTags => write!(f, "cluster with the tags {key} ({})", self.place),
            Kind::EcsConfig | Kind::Vendor | Kind::Config | Kind::UserData => write!(f, "`{key}` in {}", self.place),
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

//! The order of precedence of settings: which source wins if two of them set the same value.
//!
//! [`LOWEST_FIRST`] is the only definition of that order. [`super::merge`] applies it value by value.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// The rank of a source of settings. Ranks compare by precedence: the greater one wins. Serialized as the `kind` of a
/// source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rank {
    /// A built-in default, or a value derived from facts of the instance.
    Default,
    /// A key of `ecs.config` that ecs-bootstrap did not write.
    EcsConfig,
    /// A settings file below `/usr/lib/ecs-bootstrap/`, which belongs to a package.
    Vendor,
    /// A settings file below `/etc/ecs-bootstrap/`, which belongs to the administrator.
    Config,
    /// A tag of the cluster.
    ClusterTag,
    /// The setting `cluster-tags`, by which the cluster was found. Only the setting `cluster` can have this source.
    ClusterTags,
    /// A tag of the instance.
    InstanceTag,
    /// Settings in user data.
    UserData,
    /// An environment variable.
    Environment,
    /// A command line option.
    CommandLine,
}

/// Every rank with its number in the documentation and its description. A later entry overrides an earlier one.
pub const LOWEST_FIRST: [(Rank, u8, &str); 10] = [
    (Rank::Default, 1, "built-in defaults, and values derived from the instance (Spot, GPU, warm pool)"),
    (Rank::EcsConfig, 2, "keys in `ecs.config` that ecs-bootstrap did not write"),
    (Rank::Vendor, 3, "`/usr/lib/ecs-bootstrap/config.d/*.toml`"),
    (
        Rank::Config,
        4,
        "`/etc/ecs-bootstrap/config.toml`, then `/etc/ecs-bootstrap/config.d/*.toml`, then what `config-from` names",
    ),
    (Rank::ClusterTag, 5, "tags of the cluster, if the cluster was found by its tags"),
    (Rank::ClusterTags, 5, "the cluster that was found by its tags"),
    (Rank::InstanceTag, 6, "tags of the instance"),
    (Rank::UserData, 7, "settings in user data"),
    (
        Rank::Environment,
        8,
        "environment variables: `ECS_BOOTSTRAP_VERIFY__DEADLINE=5m` (`__` is the dot, `_` the hyphen)",
    ),
    (Rank::CommandLine, 9, "command line options"),
];

impl Rank {
    /// Whether this source can set what must be known before tags and user data are read (`imds.*`, `tags.*`,
    /// `run.deadline`).
    pub fn is_early(self) -> bool {
        matches!(self, Rank::Default | Rank::Vendor | Rank::Config | Rank::Environment | Rank::CommandLine)
    }

    fn position(self) -> usize {
        LOWEST_FIRST.iter().position(|(rank, ..)| *rank == self).expect("a test checks that every rank is listed")
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Rank) -> Ordering {
        self.position().cmp(&other.position())
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Rank) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rank_is_listed_once_in_ascending_order() {
        for (position, (rank, ..)) in LOWEST_FIRST.iter().enumerate() {
            assert_eq!(rank.position(), position, "{rank:?}");
        }
        assert!(LOWEST_FIRST.is_sorted_by_key(|(_, number, _)| number));
        // `CommandLine` is the last variant of the enum, so a new variant without an entry fails here.
        assert_eq!(LOWEST_FIRST.len(), Rank::CommandLine as usize + 1);
    }
}

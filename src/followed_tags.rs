//! Attributes of the container instance that follow the instance's tags (`derive.attributes-follow`): which ones, what must
//! change, and what is known about them between two checks. No I/O; times are seconds since 1970.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::agent_variables::is_attribute;

/// Attributes by name.
pub type Attributes = BTreeMap<String, String>;

/// The tags whose values are attributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowRules {
    /// The keys of the tags, which are also the names of the attributes. Names in ECS_INSTANCE_ATTRIBUTES that another program
    /// has set are not among them.
    pub keys: BTreeSet<String>,
}

/// What must change on the container instance.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The attributes to set.
    pub put: Attributes,
    /// The names of the attributes to delete.
    pub delete: BTreeSet<String>,
}

impl FollowRules {
    /// The attributes that these tags ask for. A tag that cannot be an attribute asks for none: neither ECS nor `ecs.config`
    /// takes it.
    pub fn wanted(&self, tags: &BTreeMap<String, String>) -> Attributes {
        let takes =
            |name: &str, value: &str| is_attribute(name, value) && !name.contains('\\') && !value.contains('\\');
        let of_keys = tags.iter().filter(|(key, value)| self.keys.contains(*key) && takes(key, value));
        of_keys.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// What must change so that of the attributes with these keys, `own` are as `wanted`.
    pub fn changes(&self, wanted: &Attributes, own: &Attributes) -> Changes {
        let put = wanted.iter().filter(|(name, value)| own.get(*name) != Some(value));
        let delete = own.keys().filter(|name| self.keys.contains(*name) && !wanted.contains_key(*name));
        Changes {
            put: put.map(|(name, value)| (name.clone(), value.clone())).collect(),
            delete: delete.cloned().collect(),
        }
    }
}

impl Changes {
    /// Whether nothing must change.
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.delete.is_empty()
    }
}

/// What is known about the attributes that follow tags; stored between two checks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowedTags {
    /// The ARN of the container instance.
    pub arn: String,
    /// The boot of the last check.
    pub boot: Option<String>,
    /// Its attributes with these keys; `None` if ECS was not asked about this container instance.
    pub attributes: Option<Attributes>,
    /// Why they do not follow the tags now: the last error.
    pub error: Option<String>,
    /// The next call may be made at this time.
    pub calls_at: u64,
}

impl FollowedTags {
    /// What is known about another container instance is forgotten.
    pub fn of(self, arn: &str, boot: Option<String>) -> FollowedTags {
        if self.arn == arn {
            FollowedTags { boot, ..self }
        } else {
            FollowedTags { arn: arn.to_owned(), boot, ..FollowedTags::default() }
        }
    }

    /// Whether a call must and may be made at this time. A clock that was set back does not put it off.
    pub fn calls_now(&self, wanted: &Attributes, now: u64, longest_pause: u64) -> bool {
        let may_call = now >= self.calls_at || self.calls_at - now > longest_pause;
        may_call && self.attributes.as_ref() != Some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attributes(pairs: &[(&str, &str)]) -> Attributes {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn only_the_tags_with_these_keys_and_a_valid_value_become_attributes() {
        let rules = FollowRules { keys: ["team".to_owned(), "stack".to_owned(), "zone".to_owned()].into() };
        let tags = attributes(&[("team", "a"), ("stack", "b+c"), ("zone", "d\\e"), ("Name", "web")]);
        assert_eq!(rules.wanted(&tags), attributes(&[("team", "a")]));
    }

    proptest! {
        /// ECS as the oracle: a map to which the changes are applied.
        #[test]
        fn after_the_changes_the_managed_attributes_are_as_wanted_and_the_others_as_before(
            keys in proptest::collection::btree_set("[a-e]", 0..5),
            tags in proptest::collection::btree_map("[a-g]", "[xy]", 0..7),
            own in proptest::collection::btree_map("[a-i]", "[xy]", 0..7),
        ) {
            let rules = FollowRules { keys };
            let wanted = rules.wanted(&tags);
            let changes = rules.changes(&wanted, &own);
            let mut ecs = own.clone();
            changes.delete.iter().for_each(|name| prop_assert_deleted(ecs.remove(name)));
            ecs.extend(changes.put.clone());
            let (managed, others): (Attributes, Attributes) =
                ecs.clone().into_iter().partition(|(name, _)| rules.keys.contains(name));
            prop_assert_eq!(&managed, &wanted);
            let others_before: Attributes =
                own.into_iter().filter(|(name, _)| !rules.keys.contains(name)).collect();
            prop_assert_eq!(others, others_before);
            prop_assert!(rules.changes(&wanted, &ecs).is_empty());
        }
    }

    fn prop_assert_deleted(removed: Option<String>) {
        assert!(removed.is_some(), "an attribute that does not exist is not deleted");
    }

    #[test]
    fn calls_are_made_only_for_a_difference_and_not_before_their_time() {
        let wanted = attributes(&[("team", "a")]);
        let new = FollowedTags::default().of("arn", None);
        assert!(new.calls_now(&wanted, 1000, 360));
        let known = FollowedTags { attributes: Some(wanted.clone()), ..new.clone() };
        assert!(!known.calls_now(&wanted, 1000, 360));
        assert!(known.calls_now(&Attributes::new(), 1000, 360));
        let failed = FollowedTags { calls_at: 1300, ..new };
        assert!(!failed.calls_now(&wanted, 1299, 360) && failed.calls_now(&wanted, 1300, 360));
        assert!(failed.calls_now(&wanted, 10, 360), "the clock was set back");
        assert_eq!(known.clone().of("arn", None), known);
        assert_eq!(known.of("other", None).attributes, None);
    }
}

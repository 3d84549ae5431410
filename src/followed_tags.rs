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
    /// The keys of the tags, which are also the names of the attributes.
    pub keys: BTreeSet<String>,
}

/// Whether an attribute with this name is not set by users: by ECS, by the agent, or by `ready.daemons`.
pub fn is_reserved(name: &str) -> bool {
    ["ecs.", "com.amazonaws.", "ecs-bootstrap."].iter().any(|prefix| name.starts_with(prefix))
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
    /// The boot of the last change of this state.
    pub boot: Option<String>,
    /// The keys of the tags.
    pub keys: BTreeSet<String>,
    /// The attributes that the tags ask for.
    pub wanted: Attributes,
    /// The attributes of the container instance with these keys; `None` if that is not known: ECS was not asked, or a call failed,
    /// which may have changed something.
    pub attributes: Option<Attributes>,
    /// Why they do not follow the tags now: the last error.
    pub error: Option<String>,
    /// When the next call may be made.
    pub calls_at: u64,
}

impl FollowedTags {
    /// Notes what the tags ask for. What is known about another container instance or other keys is forgotten. A new difference
    /// is not changed at once but up to `delay` later, because the tags of many instances can change together.
    pub fn note(
        self,
        arn: &str,
        boot: Option<String>,
        rules: &FollowRules,
        wanted: &Attributes,
        now: u64,
        delay: u64,
    ) -> FollowedTags {
        let is_same = self.arn == arn && self.keys == rules.keys;
        let known = if is_same { self } else { FollowedTags { keys: rules.keys.clone(), ..FollowedTags::default() } };
        let is_new = !is_same || known.wanted != *wanted;
        let calls_at = if is_new { known.calls_at.max(now + delay) } else { known.calls_at };
        FollowedTags { arn: arn.to_owned(), boot, wanted: wanted.clone(), calls_at, ..known }
    }

    /// Whether the attributes are as wanted, as far as is known.
    pub fn is_done(&self) -> bool {
        self.attributes.as_ref() == Some(&self.wanted)
    }

    /// Whether a call must and may be made at this time. A clock that was set back does not put it off.
    pub fn calls_now(&self, now: u64, longest_pause: u64) -> bool {
        !self.is_done() && (now >= self.calls_at || self.calls_at - now > longest_pause)
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
        let rules = FollowRules { keys: ["team".to_owned()].into() };
        let (a, b) = (attributes(&[("team", "a")]), attributes(&[("team", "b")]));
        let note = |known: FollowedTags, wanted: &Attributes, now| known.note("arn", None, &rules, wanted, now, 30);
        let new = note(FollowedTags::default(), &a, 1000);
        assert!(!new.calls_now(1029, 600) && new.calls_now(1030, 600));
        assert_eq!(note(new.clone(), &a, 1020), new, "a check in between changes nothing");
        assert!(new.calls_now(10, 600), "the clock was set back");
        let known = FollowedTags { attributes: Some(a.clone()), ..new };
        assert!(!known.calls_now(9999, 600));
        let changed = note(known.clone(), &b, 2000);
        assert!(!changed.calls_now(2029, 600) && changed.calls_now(2030, 600));
        assert!(note(changed, &a, 2010).is_done(), "the tag was changed back before the call");
        // A call that failed may have changed something.
        let failed = FollowedTags { attributes: None, calls_at: 3000, ..known.clone() };
        assert!(!failed.calls_now(2999, 600) && failed.calls_now(3000, 600));
        assert_eq!(known.clone().note("other", None, &rules, &a, 0, 0).attributes, None);
        let other_keys = FollowRules { keys: BTreeSet::new() };
        assert_eq!(known.note("arn", None, &other_keys, &Attributes::new(), 0, 0).attributes, None);
    }
}

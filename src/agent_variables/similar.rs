//! Which variable a name was meant to be.
//!
//! In: a name that the agent does not know. Out: the known name that it resembles, or nothing: a variable that belongs to
//! another program is not corrected.

use super::{ALL, find};

/// Letters that may be wrong.
const WRONG: usize = 2;
/// What people write for `ECS_CLUSTER`.
const CLUSTER: [&str; 6] =
    ["CLUSTER", "CLUSTER_NAME", "ECS_CLUSTER_NAME", "ECS_CLUSTERNAME", "ECSCLUSTER", "ECS_CLUSTER_ARN"];

/// The known name that an unknown one was probably meant to be; `None` for a known name.
pub fn suggest(name: &str) -> Option<&'static str> {
    near_miss(&name.trim().replace('-', "_"))
}

/// The variable that a name misses by two letters, by case, or by one of its words; `None` for a known one.
pub fn near_miss(name: &str) -> Option<&'static str> {
    if find(name).is_some() {
        return None;
    }
    let upper = name.to_ascii_uppercase();
    if CLUSTER.contains(&upper.as_str()) {
        return Some("ECS_CLUSTER");
    }
    // The names of proxies and of the SDK's variables are other programs' too.
    let names = || ALL.iter().map(|variable| variable.name).filter(|known| known.starts_with(['E', 'A', 'N']));
    by_letters(&upper, names().filter(|known| *known != "NO_PROXY")).or_else(|| by_words(&upper, names()))
}

fn by_letters(upper: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let lengths = upper.len().saturating_sub(WRONG)..=upper.len() + WRONG;
    let near = names.filter(|known| lengths.contains(&known.len()));
    let distances = near.map(|known| (strsim::levenshtein(upper, known), known));
    distances.filter(|(distance, _)| *distance <= WRONG).min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// A name of at least three words that lacks one word of a single variable, has one too many, or has them in another
/// order.
fn by_words(upper: &str, names: impl Iterator<Item = &'static str> + Clone) -> Option<&'static str> {
    let sorted = |name: &'static str| {
        let mut words: Vec<&str> = name.split('_').collect();
        words.sort_unstable();
        words
    };
    let mut written: Vec<&str> = upper.split('_').collect();
    if written.len() < 3 || written[0] != "ECS" {
        return None;
    }
    written.sort_unstable();
    let only = |is_near: &dyn Fn(&[&str]) -> bool| {
        let mut near = names.clone().filter(|known| is_near(&sorted(known)));
        near.next().filter(|_| near.next().is_none())
    };
    only(&|words| (written.len()..=written.len() + 1).contains(&words.len()) && holds(words, &written))
        .or_else(|| only(&|words| words.len() >= 3 && words.len() + 1 == written.len() && holds(&written, words)))
}

/// Whether sorted `long` has every word of sorted `short`.
fn holds(long: &[&str], short: &[&str]) -> bool {
    let mut long = long.iter();
    short.iter().all(|word| long.any(|other| other == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_was_meant_and_leaves_others_alone() {
        for (written, meant) in [
            ("ECS_CLUTSER", Some("ECS_CLUSTER")),
            ("ecs_cluster", Some("ECS_CLUSTER")),
            ("ECS_CLUSTER_NAME", Some("ECS_CLUSTER")),
            ("ECS_LOG_LEVEL", Some("ECS_LOGLEVEL")),
            ("ECS_CONTAINER_INSTANCE_PROPAGATE_TAGS", Some("ECS_CONTAINER_INSTANCE_PROPAGATE_TAGS_FROM")),
            ("ECS_ENABLE_SPOT_DRAINING", Some("ECS_ENABLE_SPOT_INSTANCE_DRAINING")),
            ("ECS_ENABLE_TASK_ROLE", Some("ECS_ENABLE_TASK_IAM_ROLE")),
            ("ECS_LOGGING_AVAILABLE_DRIVERS", Some("ECS_AVAILABLE_LOGGING_DRIVERS")),
            ("ECS_ENGINE_AUTHDATA", Some("ECS_ENGINE_AUTH_DATA")),
            ("ECS_INSTANCE_ATTRIBUTE", Some("ECS_INSTANCE_ATTRIBUTES")),
            ("ECS_CLUSTER", None),
            ("ECS_SOMETHING_NEW", None),
            ("ECS_OFFHOST_INTROSPECTION_INTERFACE_NAME", None),
            ("ECS_ENABLE_MEMORY_UNBOUNDED_WINDOWS_WORKAROUND", None),
            ("ECS_TASK", None),
            ("DD_SITE", None),
            ("FTP_PROXY", None),
            ("AWS_REGION", None),
            ("AWS_PROFILE", None),
            ("ENVIRONMENT", None),
            ("", None),
        ] {
            assert_eq!(near_miss(written), meant, "{written}");
        }
    }
}

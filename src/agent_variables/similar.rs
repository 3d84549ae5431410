//! Finds the variable that an unknown name was probably meant to be.
//!
//! In: a name that the agent does not know. Out: a known name that is spelt similarly or has the same words, or
//! nothing. A variable that belongs to another program gives nothing.

use super::{ALL, find};
use crate::suggestion;

/// Common wrong names of `ECS_CLUSTER`.
const CLUSTER: [&str; 6] =
    ["CLUSTER", "CLUSTER_NAME", "ECS_CLUSTER_NAME", "ECS_CLUSTERNAME", "ECSCLUSTER", "ECS_CLUSTER_ARN"];

/// The known name that an unknown one was probably meant to be. `None` for a known name.
pub fn suggest(name: &str) -> Option<&'static str> {
    if find(name).is_some() {
        return None;
    }
    let upper = name.to_ascii_uppercase();
    if CLUSTER.contains(&upper.as_str()) {
        return Some("ECS_CLUSTER");
    }
    // Only `ECS_*`, `AWS_*` and `NO_*`: the other variables, such as `HTTP_PROXY` and `DOCKER_HOST`, are also read by other
    // programs.
    let names = || ALL.iter().map(|variable| variable.name).filter(|known| known.starts_with(['E', 'A', 'N']));
    suggestion::nearest(name, names().filter(|known| *known != "NO_PROXY")).or_else(|| by_words(&upper, names()))
}

/// The only variable with the words of `upper` in another order, with one word more, or with one word less. `upper`
/// must have at least three words, the first of them `ECS`.
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

/// Whether `long` has every word of `short`. Both are sorted.
fn holds(long: &[&str], short: &[&str]) -> bool {
    let mut long = long.iter();
    short.iter().all(|word| long.any(|other| other == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_gives_the_known_one_and_other_programs_names_give_nothing() {
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
            assert_eq!(suggest(written), meant, "{written}");
        }
    }
}

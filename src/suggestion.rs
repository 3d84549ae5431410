//! "Did you mean": finds the known name that a misspelt one was probably meant to be.
//!
//! In: the name as written and the names that exist. Out: one of these names, or nothing. This is the only place that
//! decides how similar two names must be.

/// The longest name that is compared, in bytes. Every known name is shorter, and the time of a comparison grows with
/// the length.
const MAX_NAME_LENGTH: usize = 64;
/// The most letters that may be wrong, however long the name is. At three, names of the agent's variables that differ
/// by one word only, such as `GPU` and `INF`, would be taken for each other.
const MAX_WRONG: usize = 2;

/// The name that is most similar to `written`; the first one if several are equally similar. Upper and lower case, and
/// `_` and `-`, count as equal.
///
/// `None` if no name is similar enough. The limit is a quarter of the letters of the shorter name, at least one and at
/// most two: a missing, an additional, a different letter and two letters in the wrong order count as one each.
pub fn nearest<'n>(written: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    if written.len() > MAX_NAME_LENGTH {
        return None;
    }
    let written = normalized(written);
    let distance = |name: &str| {
        let limit = (written.len().min(name.len()) / 4).clamp(1, MAX_WRONG);
        // The distance is at least the difference of the lengths, and that is cheap to compute.
        let is_possible = written.len().abs_diff(name.len()) <= limit;
        is_possible.then(|| strsim::osa_distance(&written, &normalized(name))).filter(|distance| *distance <= limit)
    };
    let similar = names.into_iter().filter_map(|name| Some((distance(name)?, name)));
    similar.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

fn normalized(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 7] =
        ["cluster", "cluster-tags", "verify.deadline", "info", "ECS_ENABLE_GPU_SUPPORT", "name-a", "name-b"];

    #[test]
    fn a_misspelt_name_gives_the_known_one() {
        for (written, expected) in [
            ("cluster", "cluster"),
            ("clustr", "cluster"),
            ("clutser", "cluster"),
            ("Cluster_Tags", "cluster-tags"),
            ("verify.dedlin", "verify.deadline"),
            ("inof", "info"),
            ("inf", "info"),
            ("ecs-enable-gpus-suport", "ECS_ENABLE_GPU_SUPPORT"),
            ("name-c", "name-a"),
        ] {
            assert_eq!(nearest(written, NAMES), Some(expected), "{written}");
        }
    }

    #[test]
    fn a_name_that_differs_too_much_gives_nothing() {
        let long = "cluster".repeat(1000);
        for written in ["", "c", "clst", "io", "verify.dedlis", "ECS_ENABLE_INF_SUPPORT", "region", &long] {
            assert_eq!(nearest(written, NAMES), None, "{written}");
        }
        assert_eq!(nearest("cluster", []), None);
    }
}

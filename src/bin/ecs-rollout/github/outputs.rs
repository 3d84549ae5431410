//! The outputs of a step, for the file that `GITHUB_OUTPUT` names.

/// The outputs in the format of the file (GitHub Docs, "Workflow commands for GitHub Actions", "Multiline strings").
///
/// A value ends at a line that is the delimiter. `random` makes the delimiter unpredictable; besides, one that any value
/// contains is not used.
pub(crate) fn outputs(facts: &[(&str, String)], random: u64) -> String {
    let candidates = (0_u64..).map(|number| format!("ecs-rollout-{:016x}", random.wrapping_add(number)));
    let mut unused = candidates.filter(|one| facts.iter().all(|(_, value)| !value.contains(one.as_str())));
    let Some(delimiter) = unused.next() else { return String::new() };
    facts.iter().map(|(name, value)| format!("{name}<<{delimiter}\n{value}\n{delimiter}\n")).collect()
}

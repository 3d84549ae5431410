//! Reads the environment. No other file of ecs-rollout does.

/// The value of a variable; `None` if it is not set or not UTF-8.
#[expect(clippy::disallowed_methods, reason = "the only place that reads the environment")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

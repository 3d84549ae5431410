//! What looks like a failure and is the instance's place in its life cycle.

use super::{Cause, Class, Layer};
use crate::exit::Exit;

/// The agent waits on purpose.
pub(super) static WARM_POOL_WAITING: Cause = Cause {
    id: "warm-pool-waiting",
    layer: Layer::Lifecycle,
    title: "the instance is in a warm pool, and its agent registers when it goes into service",
    class: Class::Waiting,
    exit: Exit::Done,
    lapsed: Exit::Done,
    remedy: "nothing to do: it registers when Auto Scaling moves it to InService",
    source: "agent#3000; Amazon EC2 Auto Scaling User Guide, \"Warm pools\"",
    check: |evidence| {
        let checks = evidence.config.get("ECS_WARM_POOLS_CHECK").is_some_and(|value| is_true(value));
        let state = evidence.target_state.as_deref().filter(|state| state.starts_with("Warmed"))?;
        if !checks || evidence.container_instance_arn().is_some() {
            return None;
        }
        Some(vec![format!("Auto Scaling's target state is `{state}`, and ECS_WARM_POOLS_CHECK is on")])
    },
    ..Cause::PLAIN
};

/// A Go boolean, as the agent reads it.
fn is_true(value: &str) -> bool {
    matches!(value.trim(), "1" | "t" | "T" | "true" | "TRUE" | "True")
}

#[cfg(test)]
mod tests {
    use super::super::tests::ids;
    use crate::evidence::Evidence;

    #[test]
    fn waiting_needs_both_the_pool_and_the_agents_setting() {
        let with = |check: &str, state: &str| {
            ids(&Evidence {
                config: [("ECS_WARM_POOLS_CHECK".to_owned(), check.to_owned())].into(),
                target_state: Some(state.to_owned()),
                ..Evidence::default()
            })
        };
        assert_eq!(with("true", "Warmed:Stopped"), ["warm-pool-waiting"]);
        assert_eq!(with("true", "InService"), Vec::<&str>::new());
        assert_eq!(with("false", "Warmed:Running"), Vec::<&str>::new());
    }
}

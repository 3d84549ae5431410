//! Decides, when user data has ended, what happens to an agent that was started before. It compares the configuration of
//! the agent at its start with the current one: names of variables and hashes of their values, so that no secret is stored.

use std::collections::BTreeMap;

use crate::boundary::systemd::UnitState;
use crate::ownership::hash;

const CLUSTER: &str = "ECS_CLUSTER";

/// The agent sends it only at its first registration, not when it registers again with its saved ARN
/// (`ecs-agent/api/ecs/client/ecs_client.go`).
const ATTRIBUTES: &str = "ECS_INSTANCE_ATTRIBUTES";

/// What user data changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LateChanges {
    /// The keys that a restart of the agent applies.
    pub keys: Vec<String>,
    /// A changed key that a restart does not apply.
    pub only_at_first_registration: Option<&'static str>,
    /// Whether `ECS_CLUSTER` is one of the keys. A registered agent refuses to start with another cluster.
    pub changes_cluster: bool,
}

/// What happens to the agent, with the reason.
#[derive(Debug, PartialEq, Eq)]
pub enum LateAction {
    /// Nothing.
    Leave(&'static str),
    /// Nothing, unless the agent does not register.
    LeaveIfRegistered,
    /// It is restarted, or started if it does not run.
    Restart(&'static str),
}

/// Decides from the states of the units, and from whether the agent runs with another configuration.
pub fn action(agent: &UnitState, docker: &UnitState, is_changed: bool) -> LateAction {
    let state = |unit: &UnitState| unit.active_state.clone().unwrap_or_default();
    if matches!(agent.load_state.as_deref(), Some("masked" | "not-found")) {
        return LateAction::Leave("its unit is masked or not installed");
    }
    if matches!(state(agent).as_str(), "active" | "activating" | "reloading") {
        return if is_changed {
            LateAction::Restart("its configuration has changed since its start")
        } else {
            LateAction::LeaveIfRegistered
        };
    }
    let began = agent.exec_main_start_usec.unwrap_or_default();
    // User data may have queued the start of a docker that it had stopped.
    let docker_starts = docker.job.is_some() || state(docker) == "activating";
    match () {
        () if agent.job.is_some() => LateAction::Leave("its unit has a queued job"),
        () if state(docker) == "inactive" && !docker_starts => LateAction::Leave("docker is stopped"),
        () if state(agent) == "failed" => LateAction::Restart("it has failed"),
        () if began == 0 => LateAction::Restart("its queued start was canceled"),
        () if docker_starts || docker.active_enter_usec.unwrap_or_default() > began => {
            LateAction::Restart("it was stopped with docker")
        }
        () => LateAction::Leave("it was stopped"),
    }
}

/// Each key with the hash of its value.
pub fn hashes(config: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    config.iter().map(|(key, value)| (key.clone(), hash(value))).collect()
}

/// The keys that were added, changed or removed.
pub fn changes(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> LateChanges {
    let mut all: Vec<&String> = before.keys().chain(now.keys()).collect();
    all.sort();
    all.dedup();
    let changed = |key: &&String| before.get(*key) != now.get(*key);
    let (first, keys): (Vec<&String>, Vec<&String>) =
        all.into_iter().filter(changed).partition(|key| *key == ATTRIBUTES);
    LateChanges {
        changes_cluster: keys.iter().any(|key| *key == CLUSTER),
        keys: keys.into_iter().cloned().collect(),
        only_at_first_registration: (!first.is_empty()).then_some(ATTRIBUTES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(before: &[(&str, &str)], now: &[(&str, &str)]) -> LateChanges {
        let config = |pairs: &[(&str, &str)]| {
            hashes(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
        };
        changes(&config(before), &config(now))
    }

    #[test]
    fn an_agent_that_is_down_is_started_unless_it_alone_was_stopped() {
        let unit = |state: &str, entered, began| UnitState {
            active_state: Some(state.to_owned()),
            active_enter_usec: Some(entered),
            exec_main_start_usec: Some(began),
            ..UnitState::default()
        };
        let is_restarted = |agent: &UnitState, docker: &UnitState, is_changed| {
            matches!(action(agent, docker, is_changed), LateAction::Restart(_))
        };
        let docker = unit("active", 50, 50);
        for (agent, restarted) in [
            (unit("inactive", 0, 100), false),
            (unit("inactive", 0, 10), true),
            (unit("inactive", 0, 0), true),
            (unit("failed", 0, 100), true),
            (UnitState { job: Some(1), ..unit("inactive", 0, 10) }, false),
            (UnitState { load_state: Some("masked".to_owned()), ..unit("inactive", 0, 10) }, false),
        ] {
            assert_eq!(is_restarted(&agent, &docker, true), restarted, "{agent:?}");
        }
        for (docker, restarted) in [
            (unit("inactive", 5, 5), false),
            (UnitState { job: Some(1), ..unit("inactive", 5, 5) }, true),
            (unit("activating", 5, 5), true),
        ] {
            assert_eq!(is_restarted(&unit("inactive", 0, 10), &docker, true), restarted, "{docker:?}");
        }
        assert!(is_restarted(&unit("active", 60, 60), &docker, true));
        assert_eq!(action(&unit("active", 60, 60), &docker, false), LateAction::LeaveIfRegistered);
    }

    #[test]
    fn added_changed_and_removed_keys_need_a_restart() {
        let before = [("A", "1"), ("B", "1"), ("C", "1")];
        assert_eq!(changed(&before, &before), LateChanges::default());
        assert_eq!(changed(&before, &[("B", "2"), ("C", "1"), ("D", "1")]).keys, ["A", "B", "D"]);
    }

    #[test]
    fn attributes_alone_need_no_restart() {
        let late = changed(&[], &[(ATTRIBUTES, "{\"a\":\"b\"}")]);
        assert_eq!((late.keys.len(), late.only_at_first_registration), (0, Some(ATTRIBUTES)));
        assert_eq!(changed(&[], &[(ATTRIBUTES, "{}"), ("A", "1")]).keys, ["A"]);
    }
}

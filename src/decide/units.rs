//! Decides the actions on docker's and the agent's units. A unit that does not run is started. The agent is restarted
//! only if it runs with another configuration. A masked unit stays masked.

use std::time::{Duration, SystemTime};

use crate::boundary::systemd::UnitState;
use crate::facts::{AGENT_UNITS, Fact, Facts, NO_UNIT, is_after};
use crate::plan::{Action, UnitPlan, cluster_name};
use crate::redaction;
use crate::settings::warning;
use crate::settings::{Settings, Sourced, Warning};

const DOCKER: &str = "docker.service";
/// The drop-in of the package that runs guard.
const DROP_IN: &str = "/usr/lib/systemd/system/ecs.service.d/10-ecs-bootstrap.conf";

/// The name of the agent's unit on this host; [`NO_UNIT`] if none starts the agent.
pub(super) fn agent_name<'f>(settings: &'f Settings, facts: &'f Facts) -> &'f str {
    let named = match settings.units_agent.value.as_str() {
        "auto" => AGENT_UNITS[0],
        named => named,
    };
    facts.host.units.get().map_or(named, |units| units.agent.name.as_str())
}

/// Whether the agent's unit is ordered after another unit; false if systemd could not be asked.
pub(super) fn agent_unit_is_after(facts: &Facts, other: &str) -> bool {
    facts.host.units.get().is_some_and(|units| is_after(&units.agent, other))
}

/// The actions on docker and on the agent's unit, in this order.
pub(super) fn plan(settings: &Settings, facts: &Facts, cluster: Option<&str>, config_changes: bool) -> Vec<UnitPlan> {
    let name = agent_name(settings, facts);
    let mut plans = both(name, facts, cluster, config_changes);
    plans.retain(|plan| plan.unit != NO_UNIT);
    plans
}

fn both(name: &str, facts: &Facts, cluster: Option<&str>, config_changes: bool) -> Vec<UnitPlan> {
    let decided = cluster.is_some();
    let units = match &facts.host.units {
        Fact::Known(units) => units,
        Fact::Unknown(why) => {
            let action = if decided { Action::Unknown } else { Action::Leave };
            let unknown = |unit: &str| UnitPlan { unit: unit.to_owned(), action, why: why.clone() };
            return vec![unknown(DOCKER), unknown(name)];
        }
    };
    // If guard runs before each start of the agent, the units can be started now: guard decides at that time.
    if !decided && !is_guarded(&units.agent) {
        let wait = |unit: &str| UnitPlan {
            unit: unit.to_owned(),
            action: Action::Leave,
            why: "user data can still name the cluster".to_owned(),
        };
        return vec![wait(DOCKER), wait(&units.agent.name)];
    }
    let is_masked = units.agent.load_state.as_deref() == Some("masked");
    let agent = if let Some(other) = cluster.and_then(|cluster| other_cluster(facts, &units.agent, cluster)) {
        UnitPlan {
            unit: units.agent.name.clone(),
            action: Action::Leave,
            why: format!(
                "it has registered in cluster `{}`, and would refuse to start with another one; to move the instance, run \
                 `ecs-bootstrap reset-agent --yes`",
                redaction::cluster(other)
            ),
        }
    } else if !is_masked && is_up(&units.agent) && has_other_configuration(facts, &units.agent, config_changes) {
        UnitPlan {
            unit: units.agent.name.clone(),
            action: Action::Restart,
            why: "it runs with another configuration".to_owned(),
        }
    } else {
        start(&units.agent)
    };
    vec![start(&units.docker), agent]
}

/// The cluster in which the running agent has registered, if it is another one than the wanted one.
fn other_cluster<'f>(facts: &'f Facts, agent: &UnitState, wanted: &str) -> Option<&'f str> {
    let saved = facts.host.saved.as_ref()?.state.get()?.as_ref()?;
    let here = facts.instance.get().map(|instance| instance.instance_id.as_str())?;
    let is_of_this_agent = agent.active_state.as_deref() == Some("active")
        && saved.ec2_instance_id.as_deref() == Some(here)
        && saved.container_instance_arn.is_some();
    saved.cluster.as_deref().filter(|cluster| is_of_this_agent && cluster_name(cluster) != cluster_name(wanted))
}

/// Whether the drop-in of ecs-bootstrap, which runs guard, is loaded for the agent's unit.
fn is_guarded(agent: &UnitState) -> bool {
    let is_own_drop_in = |path: &String| path.ends_with("/10-ecs-bootstrap.conf");
    agent.drop_in_paths.as_ref().is_some_and(|paths| paths.iter().any(is_own_drop_in))
}

/// The units to enable: only if `units.enable` is set, and only those that are disabled.
pub(super) fn enable(facts: &Facts, wanted: bool, warnings: &mut Vec<Warning>) -> Vec<String> {
    let Some(units) = facts.host.units.get() else { return Vec::new() };
    if units.are_a_cycle() {
        warnings.push(Warning::new(
            &warning::UNIT_ORDERING_CYCLE,
            format!(
                "{unit} is in an ordering cycle: it waits for cloud-final.service, which starts after \
                 multi-user.target, which wants {unit}; at each boot systemd drops one of these jobs (run `systemctl \
                 disable {unit}`; ecs-bootstrap starts the unit)",
                unit = units.agent.name
            ),
            None,
        ));
        return Vec::new();
    }
    let is_disabled = |unit: &&UnitState| unit.unit_file_state.as_deref() == Some("disabled");
    if wanted {
        // ecs.service requires docker, so docker need not be enabled.
        return [&units.agent].into_iter().filter(is_disabled).map(|unit| unit.name.clone()).collect();
    }
    if is_disabled(&&units.agent) {
        warnings.push(Warning::new(
            &warning::UNIT_NOT_ENABLED,
            format!("{} is not enabled: after a reboot nothing starts it (set `units.enable`)", units.agent.name),
            None,
        ));
    }
    Vec::new()
}

/// What a named unit, or an agent without a unit, does not do by itself.
pub(super) fn warnings_about_agent_unit(settings: &Settings, facts: &Facts, config_changes: bool) -> Option<Warning> {
    let Sourced { value, source } = &settings.units_agent;
    let has_run = facts.host.saved.is_some();
    let warn = |entry, text: String| Some(Warning::new(entry, text, Some(source.clone())));
    if value == NO_UNIT {
        let text =
            "ecs.config changes, and no unit restarts the agent; if its container exists, remove it and run it again";
        return if config_changes && has_run { warn(&warning::AGENT_NOT_RESTARTED, text.to_owned()) } else { None };
    }
    let agent = &facts.host.units.get()?.agent;
    let is_known = value == "auto" || AGENT_UNITS.contains(&value.as_str());
    let is_installed = agent.load_state.as_deref() == Some("loaded");
    if is_known || !is_installed || is_guarded(agent) {
        return None;
    }
    let text = format!(
        "{value} can start before ecs.config is written, or without a cluster: it has no drop-in of ecs-bootstrap; link {DROP_IN} \
         to /etc/systemd/system/{value}.d/10-ecs-bootstrap.conf, then `systemctl daemon-reload`"
    );
    warn(&warning::AGENT_NOT_GUARDED, text)
}

fn start(unit: &UnitState) -> UnitPlan {
    let (action, why) = match (unit.load_state.as_deref(), unit.active_state.as_deref()) {
        (Some("not-found"), _) => (Action::Leave, "it is not installed"),
        (Some("masked"), _) => (Action::Leave, "it is masked"),
        (_, Some("active" | "reloading")) => (Action::Leave, "it is running"),
        (_, Some("activating")) => (Action::Leave, "it is being started"),
        _ if unit.job.is_some() => (Action::Leave, "its start is queued"),
        (_, None) => (Action::Start, "its state is unknown"),
        _ => (Action::Start, "it is not running"),
    };
    UnitPlan { unit: unit.name.clone(), action, why: why.to_owned() }
}

fn is_up(unit: &UnitState) -> bool {
    matches!(unit.active_state.as_deref(), Some("active" | "reloading" | "activating"))
}

/// Whether the agent runs with another configuration: the file changes now, or it changed after the agent's start, in a
/// run that ended between the write and the restart.
fn has_other_configuration(facts: &Facts, agent: &UnitState, config_changes: bool) -> bool {
    let started = agent.exec_main_start_usec.filter(|usec| *usec > 0).map(Duration::from_micros);
    let started = started.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
    let written = facts.host.etc_config.modified;
    config_changes || matches!((started, written), (Some(started), Some(written)) if written > started)
}

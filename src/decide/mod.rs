//! The stage `decide`: all rules.
//!
//! In: settings and facts. Out: a [`Plan`], or a [`Refusal`] with the reason. It does no I/O and never waits.

mod cluster;
mod derived;
mod early;
mod gpu;
pub mod guard;
pub mod late;
mod maintenance;
pub mod policy;
mod switched_key;
mod units;

use std::collections::{BTreeMap, BTreeSet};

use crate::ecs_config::{edit, effective, issue, read};
use crate::external;
use crate::facts::{ConfigFile, Facts, NO_UNIT};
use crate::ownership;
use crate::plan::{
    DrainRules, ECS_CONFIG, EcsConfig, Expectation, Plan, PlannedKey, ReadyConditions, Refusal, SignalTargets,
    VENDOR_ECS_CONFIG, WatchRules,
};
use crate::settings::{Rank, Settings, Source, TagsCluster, Warning, warning};

pub use maintenance::{cleanup, reset};

/// Makes the plan. `warnings` are those of the fragments that the settings were merged from; the plan contains them
/// too.
pub fn plan(settings: &Settings, facts: &Facts, warnings: Vec<Warning>) -> Result<Plan, Refusal> {
    let mut warnings = warnings;
    if let Some(refusal) = external::in_variables(&settings.agent) {
        return Err(refusal);
    }
    let cluster = cluster::choose(settings, facts, &mut warnings)?;
    let keys = keys(settings, facts, cluster.as_ref(), &mut warnings);
    let ecs_config = ecs_config(facts, keys)?;
    warnings.extend(file_warnings(facts, cluster.is_some(), &ecs_config));
    let units = units::plan(settings, facts, cluster.as_ref().map(|named| named.value.as_str()), ecs_config.changed());
    let enable = units::enable(facts, settings.units_enable.value, &mut warnings);
    warnings.extend(units::warnings_about_agent_unit(settings, facts, ecs_config.changed()));
    let holds = &settings.ready.hold_registration;
    let reason = match ReadyConditions::of(settings) {
        Some(ready) if !ready.images.is_empty() => {
            (settings.units_agent.value == NO_UNIT).then_some("no unit starts the agent (`units.agent`)")
        }
        _ => Some("no image is named"),
    };
    if let Some(reason) = reason.filter(|_| holds.value) {
        let text = format!("`ready.hold-registration` has no effect, because {reason}");
        warnings.push(Warning::new(&warning::HOLD_WITHOUT_IMAGES, text, Some(holds.source.clone())));
    }
    let follows_file = cluster.as_ref().is_none_or(|cluster| is_overridden_by_file(settings, cluster.source.rank));
    let early = early::decide(settings, facts, cluster.as_ref(), follows_file, &mut warnings);
    let instance = facts.instance.get();
    let expectation = Expectation {
        cluster: cluster.as_ref().map(|cluster| cluster.value.clone()),
        instance_id: instance.map(|instance| instance.instance_id.clone()),
        region: instance.map(|instance| instance.region.clone()),
        account: instance.and_then(|instance| instance.account_id.clone()),
        pending_time: instance.and_then(|instance| instance.pending_time.clone()),
        instance_type: instance.map(|instance| instance.instance_type.clone()).filter(|name| !name.is_empty()),
        image_id: instance.and_then(|instance| instance.image_id.clone()),
        enters_warm_pool: facts.target_state.get().map(|state| state.as_deref().is_some_and(is_warm_pool_state)),
        agent_unit: units::agent_name(settings, facts).to_owned(),
        attributes: attributes(&ecs_config.new),
        deadline: settings.verify_deadline.value,
        window: settings.verify_window.value,
        follows_file,
        unread: facts.unread.clone().filter(|_| cluster.is_none()),
        registry_auth_error: facts.registry_auth_error.clone(),
        ready: ReadyConditions::of(settings),
        start_tasks: settings.start_tasks.value.clone(),
        follow: derived::follow(settings, facts, &mut warnings),
        watch: WatchRules::of(settings),
        drain: DrainRules::of(settings),
        signal: SignalTargets::of(settings),
    };
    Ok(Plan { cluster, ecs_config, units, enable, early, expectation, warnings })
}

/// Whether a target lifecycle state is one of a warm pool (Auto Scaling User Guide, "Lifecycle state transitions for
/// instances in a warm pool").
fn is_warm_pool_state(state: &str) -> bool {
    state.starts_with("Warmed:")
}

/// Whether a later `ECS_CLUSTER` line of `ecs.config` overrides the cluster. It does if the file named the cluster
/// before, or if a tag named it and `tags.cluster` is `fallback`.
fn is_overridden_by_file(settings: &Settings, named_by: Rank) -> bool {
    let is_tag = match named_by {
        Rank::InstanceTag => true,
        Rank::ClusterTags => settings.cluster_tags.source.rank == Rank::InstanceTag,
        _ => false,
    };
    named_by == Rank::EcsConfig || (is_tag && settings.tags_cluster.value == TagsCluster::Fallback)
}

/// The keys that the plan sets: the cluster, agent variables from all sources except the `ecs.config` files, and
/// derived keys that no source of the same or a higher rank sets.
fn keys(
    settings: &Settings,
    facts: &Facts,
    cluster: Option<&crate::settings::Sourced<String>>,
    warnings: &mut Vec<Warning>,
) -> Vec<PlannedKey> {
    let mut keys: BTreeMap<String, (String, Source)> = BTreeMap::new();
    let stale: BTreeSet<String> = ownership::own_keys(&facts.host).into_iter().collect();
    for (key, value) in &settings.agent {
        // If ecs-bootstrap replaced a value that was set by hand, the old value is written back.
        let is_replaced = value.source.place == ECS_CONFIG && stale.contains(key);
        if value.source.rank != Rank::EcsConfig || is_replaced {
            keys.insert(key.clone(), (value.value.expose().to_owned(), value.source.clone()));
        }
    }
    for derived in derived::derive(settings, facts, warnings) {
        let rank_by_hand = settings.agent.get(&derived.key).map(|value| value.source.rank);
        // Attributes from tags already include those that are set by hand.
        let is_merged = derived.key == "ECS_INSTANCE_ATTRIBUTES";
        if is_merged || rank_by_hand.is_none_or(|rank| rank < derived.source.rank) {
            keys.insert(derived.key, (derived.value, derived.source));
        }
    }
    if let Some(cluster) = cluster.filter(|cluster| must_write_cluster(facts, cluster)) {
        keys.insert("ECS_CLUSTER".to_owned(), (cluster.value.clone(), cluster.source.clone()));
    }
    keys.into_iter().map(|(key, (value, source))| PlannedKey { key, value, source }).collect()
}

/// Whether the plan sets `ECS_CLUSTER`. If the files name the cluster, their line is kept, unless there are two, or the
/// agent would read another text than the one it saved. A line that ecs-bootstrap wrote does not count: it is removed.
fn must_write_cluster(facts: &Facts, cluster: &crate::settings::Sourced<String>) -> bool {
    if cluster.source.rank != Rank::EcsConfig {
        return true;
    }
    let named_in = |file: &ConfigFile| -> Vec<String> {
        let lines = read(file.bytes.as_deref().unwrap_or_default()).into_iter();
        lines.filter(|line| line.key == "ECS_CLUSTER").map(|line| line.value).collect()
    };
    let is_ours = ownership::own_keys(&facts.host).iter().any(|key| key == "ECS_CLUSTER");
    let here = if is_ours { Vec::new() } else { named_in(&facts.host.etc_config) };
    let there = named_in(&facts.host.var_config);
    here.len() > 1 || here.last().or(there.last()).is_some_and(|value| *value != cluster.value)
}

fn ecs_config(facts: &Facts, keys: Vec<PlannedKey>) -> Result<EcsConfig, Refusal> {
    let old = facts.host.etc_config.bytes.clone();
    let bytes = old.as_deref().unwrap_or_default();
    let planned: BTreeSet<&str> = keys.iter().map(|planned| planned.key.as_str()).collect();
    let stale = ownership::own_keys(&facts.host).into_iter();
    let removed: Vec<String> = stale.filter(|key| !planned.contains(key.as_str())).collect();
    let changes = keys
        .iter()
        .map(|planned| (planned.key.clone(), Some(planned.value.clone())))
        .chain(removed.iter().map(|key| (key.clone(), None)))
        .collect();
    let new = edit(bytes, &changes).map_err(Refusal::Edit)?;
    let instance_id = facts.instance.get().map(|instance| instance.instance_id.as_str());
    let written = ownership::remember(&facts.host, &keys, instance_id);
    Ok(EcsConfig { old, new, keys, removed, written })
}

/// Warnings about mistakes in the lines that the plan does not change, in both `ecs.config` files. If the plan names
/// the cluster, none of these mistakes prevents the registration.
fn file_warnings(facts: &Facts, is_cluster_named: bool, planned: &EcsConfig) -> Vec<Warning> {
    /// The maximum per file; the rest is only counted.
    const MAX_SHOWN: usize = 12;
    let instance = facts.instance.get();
    let context = issue::Context {
        region: instance.map(|instance| instance.region.as_str()),
        account: instance.and_then(|instance| instance.account_id.as_deref()),
        is_cluster_named,
        is_template: false,
    };
    let is_written =
        |key: &str| planned.keys.iter().any(|of| of.key == key) || planned.removed.iter().any(|of| of == key);
    let mut warnings = Vec::new();
    for (path, file) in [(VENDOR_ECS_CONFIG, &facts.host.var_config), (ECS_CONFIG, &facts.host.etc_config)] {
        let found = issue::issues(file.bytes.as_deref().unwrap_or_default(), &context).into_iter();
        let stays = |issue: &issue::ConfigIssue| {
            path != ECS_CONFIG || !is_written(&issue.key) || issue.is_of_key() && issue.key != issue::CLUSTER_KEY
        };
        let mut found = found.filter(stays);
        warnings.extend(found.by_ref().take(MAX_SHOWN).map(|issue| {
            let place = format!("{path}:{}:{}", issue.line, issue.column);
            Warning::of_cause(issue.id(), issue.advice(), Source::new(Rank::EcsConfig, place, issue.key))
        }));
        let more = found.count();
        if more > 0 {
            let text = format!("{more} more lines of {path} have a mistake; `ecs-bootstrap check {path}` lists them");
            warnings.push(Warning::new(&warning::CONFIG_VALUE_IGNORED, text, None));
        }
    }
    warnings
}

/// The attributes that the agent will register, from the new content of the file.
fn attributes(config: &[u8]) -> BTreeMap<String, String> {
    let lines = read(config);
    let value = effective(&lines).get("ECS_INSTANCE_ATTRIBUTES").map(|line| line.value.clone());
    value.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;

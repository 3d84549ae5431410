//! Every rule that is a rule: settings and facts go in, what shall be comes out; nothing here reads, writes or waits.

mod cluster;
mod derived;
mod gpu;
pub mod guard;
mod maintenance;
mod switched;
mod units;

use std::collections::{BTreeMap, BTreeSet};

use crate::ecs_config::{edit, effective, issue, read};
use crate::facts::{ConfigFile, Facts};
use crate::ownership;
use crate::plan::{ECS_CONFIG, EcsConfig, Expectation, Plan, PlannedKey, Refusal, Signal, VENDOR_ECS_CONFIG};
use crate::settings::{Rank, Settings, Source, TagsCluster, Warning};

pub use maintenance::{cleanup, reset};

/// The plan, or why there is none. `warnings` are those of the fragments that the settings were merged from.
pub fn plan(settings: &Settings, facts: &Facts, warnings: Vec<Warning>) -> Result<Plan, Refusal> {
    let mut warnings = warnings;
    let cluster = cluster::choose(settings, facts, &mut warnings)?;
    let keys = keys(settings, facts, cluster.as_ref(), &mut warnings);
    let ecs_config = ecs_config(facts, keys)?;
    warnings.extend(of_files(facts, cluster.is_some(), &ecs_config));
    let units = units::plan(facts, cluster.is_some(), ecs_config.changed());
    let enable = units::enable(facts, settings.units_enable.value, &mut warnings);
    let instance = facts.instance.get();
    let expectation = Expectation {
        cluster: cluster.as_ref().map(|cluster| cluster.value.clone()),
        instance_id: instance.map(|instance| instance.instance_id.clone()),
        region: instance.map(|instance| instance.region.clone()),
        account: instance.and_then(|instance| instance.account_id.clone()),
        pending_time: instance.and_then(|instance| instance.pending_time.clone()),
        agent_unit: units::agent_name(facts).to_owned(),
        attributes: attributes(&ecs_config.new),
        deadline: settings.verify_deadline.value,
        window: settings.verify_window.value,
        follows_file: cluster.as_ref().is_none_or(|cluster| gives_way(settings, cluster.source.rank)),
        unread: facts.unread.clone().filter(|_| cluster.is_none()),
        signal: Signal::of(settings),
    };
    Ok(Plan { cluster, ecs_config, units, enable, expectation, warnings })
}

/// Whether a line of `ecs.config` that is written later names the cluster instead: where the file named it before, or a tag
/// that counts only where nothing else does.
fn gives_way(settings: &Settings, named_by: Rank) -> bool {
    let is_tag = match named_by {
        Rank::InstanceTag => true,
        Rank::ClusterTags => settings.cluster_tags.source.rank == Rank::InstanceTag,
        _ => false,
    };
    named_by == Rank::EcsConfig || (is_tag && settings.tags_cluster.value == TagsCluster::Fallback)
}

/// The keys that we decide: the cluster, variables of the agent from any source but the files themselves, and what is
/// derived where nobody of at least the same rank says otherwise.
fn keys(
    settings: &Settings,
    facts: &Facts,
    cluster: Option<&crate::settings::Sourced<String>>,
    warnings: &mut Vec<Warning>,
) -> Vec<PlannedKey> {
    let mut keys: BTreeMap<String, (String, Source)> = BTreeMap::new();
    let ours: BTreeSet<String> = ownership::own_keys(&facts.host).into_iter().collect();
    for (key, value) in &settings.agent {
        // Where a value of ours stands in place of somebody else's, theirs is written back.
        let is_replaced = value.source.place == ECS_CONFIG && ours.contains(key);
        if value.source.rank != Rank::EcsConfig || is_replaced {
            keys.insert(key.clone(), (value.value.expose().to_owned(), value.source.clone()));
        }
    }
    for derived in derived::derive(settings, facts, warnings) {
        let said = settings.agent.get(&derived.key).map(|said| said.source.rank);
        // Attributes from tags hold those that are said by hand already.
        let merged = derived.key == "ECS_INSTANCE_ATTRIBUTES";
        if merged || said.is_none_or(|rank| rank < derived.source.rank) {
            keys.insert(derived.key, (derived.value, derived.source));
        }
    }
    if let Some(cluster) = cluster.filter(|cluster| must_write_cluster(facts, cluster)) {
        keys.insert("ECS_CLUSTER".to_owned(), (cluster.value.clone(), cluster.source.clone()));
    }
    keys.into_iter().map(|(key, (value, source))| PlannedKey { key, value, source }).collect()
}

/// A cluster that the files name is left as it stands there, unless it stands there twice, or the agent would read
/// another text than the one it saved. A line of ours says nothing: it goes.
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

/// Mistakes in lines of both files that stay as they are. Each is worth knowing, and none keeps an instance from its
/// cluster where the plan names one.
fn of_files(facts: &Facts, is_cluster_named: bool, planned: &EcsConfig) -> Vec<Warning> {
    /// More are counted.
    const SHOWN: usize = 12;
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
            path != ECS_CONFIG || !is_written(&issue.key) || issue.is_of_key() && issue.key != issue::CLUSTER
        };
        let mut found = found.filter(stays);
        warnings.extend(found.by_ref().take(SHOWN).map(|issue| Warning {
            id: issue.id(),
            text: issue.advice(),
            source: Some(Source::new(Rank::EcsConfig, format!("{path}:{}:{}", issue.line, issue.column), issue.key)),
        }));
        let more = found.count();
        if more > 0 {
            let text = format!("{more} more lines of {path} have a mistake: `ecs-bootstrap check {path}` shows them");
            warnings.push(Warning { id: "config-value-ignored", text, source: None });
        }
    }
    warnings
}

/// The attributes that the agent will send, as the file tells it.
fn attributes(config: &[u8]) -> BTreeMap<String, String> {
    let lines = read(config);
    let value = effective(&lines).get("ECS_INSTANCE_ATTRIBUTES").map(|line| line.value.clone());
    value.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;

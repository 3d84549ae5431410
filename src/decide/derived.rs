//! Keys of `ecs.config` that follow from facts of the instance unless a setting says otherwise: Spot draining, the
//! check for warm pools, reserved memory, tag propagation, attributes from tags. GPU and Neuron support is in
//! [`super::gpu`].

use std::collections::{BTreeMap, BTreeSet};

use super::gpu::{gpu, neuron};
use super::switched_key::switched_key;
use crate::agent_variables;
use crate::facts::{Fact, Facts, IMDS_TAGS};
use crate::followed_tags::{FollowRules, is_reserved};
use crate::plan::PlannedKey;
use crate::settings::{ReservedMemory, Settings, Sourced, Warning, warning};

/// All derived keys. The source of a key is the setting that turns it on, or the default with the fact that turns it
/// on.
pub(super) fn derive(settings: &Settings, facts: &Facts, warnings: &mut Vec<Warning>) -> Vec<PlannedKey> {
    let derive = &settings.derive;
    let host = &facts.host;
    let life_cycle = facts.life_cycle.get().and_then(Option::as_deref);
    let target = facts.target_state.get().and_then(Option::as_deref);
    let spot = (life_cycle == Some("spot")).then(|| "life cycle `spot`".to_owned());
    let group = target.map(|state| format!("in an Auto Scaling group, target state `{state}`"));
    let switched = [
        switched_key(&derive.spot, "ECS_ENABLE_SPOT_INSTANCE_DRAINING", "true", spot),
        switched_key(&derive.warm_pool, "ECS_WARM_POOLS_CHECK", "true", group),
        gpu(derive, host),
        neuron(derive, host),
        switched_key(&derive.propagate_tags, "ECS_CONTAINER_INSTANCE_PROPAGATE_TAGS_FROM", "ec2_instance", None),
    ];
    let mut keys: Vec<PlannedKey> = switched.into_iter().flatten().collect();
    keys.extend(reserved_memory(settings, facts));
    keys.extend(attributes(settings, facts, warnings));
    keys
}

fn reserved_memory(settings: &Settings, facts: &Facts) -> Option<PlannedKey> {
    let setting = &settings.derive.reserved_memory;
    let mib = match setting.value {
        ReservedMemory::Off => return None,
        ReservedMemory::Mib(mib) => u64::from(mib),
        ReservedMemory::Auto => (facts.host.memory_mib.get()? / 20).clamp(128, 1024),
    };
    Some(PlannedKey { key: "ECS_RESERVED_MEMORY".to_owned(), value: mib.to_string(), source: setting.source.clone() })
}

const ATTRIBUTES: &str = "ECS_INSTANCE_ATTRIBUTES";

/// The attributes from tags: each wanted tag becomes an attribute of the same name. Attributes that are set by hand are
/// kept and take precedence.
fn attributes(settings: &Settings, facts: &Facts, warnings: &mut Vec<Warning>) -> Option<PlannedKey> {
    let Sourced { value: wanted, source } = &settings.derive.attributes;
    let tags = &facts.tags.get()?.tags;
    let mut attributes: BTreeMap<String, String> = BTreeMap::new();
    for tag in wanted {
        let Some(value) = tags.get(tag) else { continue };
        match attributes_value(&BTreeMap::from([(tag.clone(), value.clone())])) {
            Ok(_) => drop(attributes.insert(tag.clone(), value.clone())),
            Err(reason) => warnings.push(Warning::new(
                &warning::ATTRIBUTE_REFUSED,
                format!("tag `{tag}` cannot be an attribute: {reason}"),
                Some(source.clone()),
            )),
        }
    }
    if attributes.is_empty() {
        return None;
    }
    let by_hand = settings.agent.get(ATTRIBUTES);
    let merged = match by_hand.map(|by_hand| serde_json::from_str::<BTreeMap<String, String>>(by_hand.value.expose())) {
        Some(Err(_)) => Err(format!("the {ATTRIBUTES} set by hand is not a JSON object of strings")),
        Some(Ok(by_hand)) => {
            attributes.extend(by_hand);
            attributes_value(&attributes)
        }
        None => attributes_value(&attributes),
    };
    match merged {
        Ok(value) => Some(PlannedKey { key: ATTRIBUTES.to_owned(), value, source: source.clone() }),
        Err(reason) => {
            warnings.push(Warning::new(
                &warning::ATTRIBUTES_NOT_MERGED,
                format!("no tag becomes an attribute: {reason}"),
                Some(by_hand.map_or(source, |by_hand| &by_hand.source).clone()),
            ));
            None
        }
    }
}

/// Which tags attributes follow after the registration. Names that are set by hand are not changed.
pub(super) fn follow(settings: &Settings, facts: &Facts, warnings: &mut Vec<Warning>) -> Option<FollowRules> {
    let derive = &settings.derive;
    if !derive.attributes_follow.value {
        return None;
    }
    let by_hand = settings.agent.get(ATTRIBUTES).and_then(|value| serde_json::from_str(value.value.expose()).ok());
    let by_hand: BTreeMap<String, String> = by_hand.unwrap_or_default();
    let is_followed = |key: &&String| !by_hand.contains_key(*key) && !is_reserved(key);
    let keys: BTreeSet<String> = derive.attributes.value.iter().filter(is_followed).cloned().collect();
    let mut of_merge = Vec::new();
    attributes(settings, facts, &mut of_merge);
    let why = match &facts.tags {
        Fact::Unknown(why) => why.as_str(),
        Fact::Known(tags) if tags.place != IMDS_TAGS => "the tags are not in instance metadata",
        _ if keys.is_empty() => "`derive.attributes` has no tag that no other source sets",
        _ if of_merge.iter().any(|one| one.id() == warning::ATTRIBUTES_NOT_MERGED.id) => {
            "they cannot be merged with those that are set by hand"
        }
        _ => return Some(FollowRules { keys }),
    };
    let source = derive.attributes_follow.source.clone();
    warnings.push(Warning::new(
        &warning::ATTRIBUTES_DO_NOT_FOLLOW,
        format!("no attribute follows a tag: {why}"),
        Some(source),
    ));
    None
}

/// The value of the variable, or why the agent would not read it correctly.
fn attributes_value(attributes: &BTreeMap<String, String>) -> Result<String, String> {
    let value = serde_json::json!(attributes).to_string();
    agent_variables::check(ATTRIBUTES, &value).map_err(|fault| fault.to_string())?;
    if value.contains('\\') {
        return Err("ecs-init and systemd read a backslash differently".to_owned());
    }
    Ok(value)
}

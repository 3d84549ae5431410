//! The values that a setting takes: each function returns the value of a [`Raw`], or `None` if the setting does not take it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::raw::Raw;
use crate::agent_variables;
use crate::images::ImageReference;
use crate::settings::{
    AtDeadline, Daemons, DrainTrigger, ReadyAttributes, RemoteValue, ReservedMemory, Secret, Switch, TagsApi,
    TagsCluster, TagsSettings,
};

pub(super) fn text(raw: &Raw) -> Option<&str> {
    match raw {
        Raw::Text(text) => Some(text),
        _ => None,
    }
}

/// The name or ARN of a stack, a resource or a hook, as AWS takes it.
pub(super) fn name(raw: &Raw) -> Option<Option<String>> {
    let name = text(raw)?;
    let is_valid = (1..=1024).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic());
    is_valid.then(|| Some(name.to_owned()))
}

/// Plain HTTP is for this host only, because the URL is a credential.
pub(super) fn url(raw: &Raw) -> Option<Option<Secret>> {
    let url = text(raw)?;
    let is_url = url.chars().all(|c| c.is_ascii_graphic()) && url.len() <= 4096;
    let is_local = ["http://127.0.0.1:", "http://[::1]:"].iter().any(|local| url.starts_with(local));
    (is_url && (url.starts_with("https://") || is_local)).then(|| Some(Secret::new(url.to_owned())))
}

pub(super) fn cluster(raw: &Raw) -> Option<String> {
    let name = text(raw)?;
    agent_variables::check("ECS_CLUSTER", name).ok().filter(|()| !name.is_empty()).map(|()| name.to_owned())
}

/// The longest duration of a setting. No boot takes a day, and a day overflows no clock.
pub const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn duration(raw: &Raw) -> Option<Duration> {
    const MAX_TEXT_LENGTH: usize = 64;
    let text = text(raw).filter(|text| text.len() <= MAX_TEXT_LENGTH)?;
    humantime::parse_duration(text).ok().filter(|duration| *duration <= MAX_DURATION)
}

/// The window of `watch`. A shorter one would report a connection that the agent renews.
pub(super) fn window(raw: &Raw) -> Option<Duration> {
    duration(raw).filter(|window| *window >= Duration::from_secs(30))
}

/// The characters and the length of a unit's name are those of systemd.unit(5). A template has no name of its own.
pub(super) fn agent_unit(raw: &Raw) -> Option<String> {
    let name = text(raw)?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    let is_name = |name: &str| {
        let prefix = name.strip_suffix(".service").unwrap_or_default();
        !prefix.is_empty()
            && name.len() <= 255
            && name.bytes().all(fits)
            && !prefix.starts_with('@')
            && !prefix.ends_with('@')
    };
    (["auto", "none"].contains(&name) || is_name(name)).then(|| name.to_owned())
}

pub(super) fn boolean(raw: &Raw) -> Option<bool> {
    match raw {
        Raw::Bool(value) => Some(*value),
        Raw::Text(text) => text.parse().ok(),
        _ => None,
    }
}

pub(super) fn switch(raw: &Raw) -> Option<Switch> {
    match raw {
        Raw::Bool(true) => Some(Switch::On),
        Raw::Bool(false) => Some(Switch::Off),
        Raw::Text(text) => match text.as_str() {
            "on" | "true" => Some(Switch::On),
            "off" | "false" => Some(Switch::Off),
            "auto" => Some(Switch::Auto),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn tags_api(raw: &Raw) -> Option<TagsApi> {
    match text(raw)? {
        "auto" => Some(TagsApi::Auto),
        "never" => Some(TagsApi::Never),
        _ => None,
    }
}

pub(super) fn tags_settings(raw: &Raw) -> Option<TagsSettings> {
    match text(raw)? {
        "all" => Some(TagsSettings::All),
        "cluster" => Some(TagsSettings::Cluster),
        "none" => Some(TagsSettings::None),
        _ => None,
    }
}

pub(super) fn tags_cluster(raw: &Raw) -> Option<TagsCluster> {
    match text(raw)? {
        "any" => Some(TagsCluster::Any),
        "fallback" => Some(TagsCluster::Fallback),
        "never" => Some(TagsCluster::Never),
        _ => None,
    }
}

pub(super) fn reserved_memory(raw: &Raw) -> Option<ReservedMemory> {
    match raw {
        Raw::Integer(mib) => u16::try_from(*mib).ok().map(ReservedMemory::Mib),
        Raw::Text(text) => match text.as_str() {
            "off" => Some(ReservedMemory::Off),
            "auto" => Some(ReservedMemory::Auto),
            number => number.parse().ok().map(ReservedMemory::Mib),
        },
        _ => None,
    }
}

/// The characters that IMDS allows in a tag key (EC2 User Guide, "View tags for your EC2 instances using instance
/// metadata").
pub fn is_metadata_key(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "+-=.,_:@".contains(c))
}

pub(super) fn prefix(raw: &Raw) -> Option<String> {
    let prefix = text(raw)?;
    (is_metadata_key(prefix) && prefix.len() <= 64).then(|| prefix.to_owned())
}

pub(super) fn texts(raw: &Raw) -> Option<Vec<String>> {
    match raw {
        Raw::Text(text) => {
            Some(text.split(',').map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect())
        }
        Raw::List(items) => items.iter().map(|item| text(item).map(str::to_owned)).collect(),
        _ => None,
    }
}

pub(super) fn daemons(raw: &Raw) -> Option<Daemons> {
    match raw {
        Raw::Text(text) if text == "all" => Some(Daemons::All),
        _ => services(raw).map(|names| if names.is_empty() { Daemons::None } else { Daemons::Named(names) }),
    }
}

/// The names of services: letters, digits, underscores and hyphens, at most 255 (Amazon ECS API Reference, CreateService).
pub(super) fn services(raw: &Raw) -> Option<Vec<String>> {
    let is_name = |name: &String| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let is_word = ["all", "none"].iter().any(|word| name.eq_ignore_ascii_case(word));
        (1..=255).contains(&name.len()) && name.bytes().all(fits) && !is_word
    };
    if text(raw) == Some("none") {
        return Some(Vec::new());
    }
    let names = texts(raw).filter(|names| !names.is_empty() && names.iter().all(is_name))?;
    let names: BTreeSet<String> = names.into_iter().collect();
    Some(names.into_iter().collect())
}

/// Why the container instance is drained.
pub(super) fn drain_triggers(raw: &Raw) -> Option<BTreeSet<DrainTrigger>> {
    if text(raw) == Some("none") {
        return Some(BTreeSet::new());
    }
    let all = [DrainTrigger::Termination, DrainTrigger::Spot, DrainTrigger::Rebalance];
    let trigger = |word: String| all.into_iter().find(|trigger| trigger.word() == word);
    let words = texts(raw).filter(|words| !words.is_empty())?;
    words.into_iter().map(trigger).collect()
}

/// A secret or a parameter.
pub(super) fn registry_auth(raw: &Raw) -> Option<Option<RemoteValue>> {
    remote(raw, |value| !matches!(value, RemoteValue::Object { .. }))
}

/// An object or a parameter.
pub(super) fn config_from(raw: &Raw) -> Option<Option<RemoteValue>> {
    remote(raw, |value| !matches!(value, RemoteValue::Secret(_)))
}

fn remote(raw: &Raw, is_allowed: impl Fn(&RemoteValue) -> bool) -> Option<Option<RemoteValue>> {
    match text(raw)? {
        "none" => Some(None),
        text => RemoteValue::parse(text).filter(is_allowed).map(Some),
    }
}

/// Names of images, as docker reads them. One that is named twice is pulled once.
pub(super) fn images(raw: &Raw) -> Option<Vec<String>> {
    let is_image = |image: &String| image != "none" && ImageReference::parse(image).is_some();
    if text(raw) == Some("none") {
        return Some(Vec::new());
    }
    let mut images = texts(raw).filter(|images| !images.is_empty() && images.iter().all(is_image))?;
    let mut before = BTreeSet::new();
    images.retain(|image| before.insert(image.clone()));
    Some(images)
}

/// Names of attributes, each with or without a value, by the rules for custom attributes (Amazon ECS API Reference,
/// "Attribute"), and `auto`.
pub(super) fn attributes(raw: &Raw) -> Option<ReadyAttributes> {
    // Those that `ready.daemons` sets when all others are there.
    const OWN_ATTRIBUTES: &str = "ecs-bootstrap.";
    let is_word = |name: &str| ["none", "auto"].iter().any(|word| name.eq_ignore_ascii_case(word));
    let mut attributes = ReadyAttributes::default();
    if text(raw) == Some("none") {
        return Some(attributes);
    }
    for one in texts(raw).filter(|all| !all.is_empty())? {
        let (name, value) = one.split_once('=').map_or((one.as_str(), None), |(name, value)| (name, Some(value)));
        let is_valid = agent_variables::is_attribute(name, value.unwrap_or_default());
        match (name, value) {
            ("auto", None) => attributes.auto = true,
            _ if !is_valid || is_word(name) || name.starts_with(OWN_ATTRIBUTES) => return None,
            _ => {
                let other = attributes.named.insert(name.to_owned(), value.map(str::to_owned));
                other.is_none().then_some(())?;
            }
        }
    }
    Some(attributes)
}

/// Task definitions: a family of letters, digits, underscores and hyphens, at most 255, with or without a revision, or an ARN
/// (Amazon ECS API Reference, StartTask, RegisterTaskDefinition).
pub(super) fn definitions(raw: &Raw) -> Option<Vec<String>> {
    let is_family = |text: &str| {
        (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let is_revision = |text: &str| (1..=9).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let is_definition = |text: &String| {
        let name = match text.strip_prefix("arn:") {
            Some(arn) if arn.split(':').nth(1) == Some("ecs") => {
                arn.split_once(":task-definition/").map(|(_, name)| name)
            }
            Some(_) => None,
            None => Some(text.as_str()),
        };
        name.is_some_and(|name| match name.split_once(':') {
            Some((family, revision)) => is_family(family) && is_revision(revision),
            None => is_family(name),
        })
    };
    // A family twice would start one task or two, depending on how fast the agent learns of the first one.
    let family = |text: &String| text.rsplit('/').next().and_then(|name| name.split(':').next()).map(str::to_owned);
    let are_different = |all: &Vec<String>| all.iter().map(family).collect::<BTreeSet<_>>().len() == all.len();
    if text(raw) == Some("none") {
        return Some(Vec::new());
    }
    texts(raw).filter(|all| all.iter().all(is_definition) && are_different(all))
}

pub(super) fn at_deadline(raw: &Raw) -> Option<AtDeadline> {
    match text(raw)? {
        "fail" => Some(AtDeadline::Fail),
        "allow" => Some(AtDeadline::Allow),
        _ => None,
    }
}

pub(super) fn tag_pairs(raw: &Raw) -> Option<BTreeMap<String, String>> {
    let printable = |text: &str| !text.chars().any(char::is_control);
    match raw {
        Raw::Table(table) => table
            .iter()
            .map(|(key, value)| text(value).map(|value| (key.clone(), value.to_owned())))
            .collect::<Option<BTreeMap<_, _>>>(),
        Raw::Text(text) => text
            .split(',')
            .map(|pair| pair.split_once('=').map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())))
            .collect(),
        _ => None,
    }
    .filter(|tags| tags.iter().all(|(key, value)| !key.is_empty() && printable(key) && printable(value)))
}

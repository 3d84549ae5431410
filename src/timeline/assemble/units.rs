//! The units: when they first started in this boot, and what their start waited for.

use std::collections::BTreeMap;

use super::draft::{Draft, Found};
use crate::timeline::sources::{JournalEntry, Moment, Sources, UnitTimes, waited_for};
use crate::timeline::{Lane, id};

/// The messages of systemd about the start of a unit: it begins, has ended, has failed (`sd-messages.h`).
pub(super) const UNIT_STARTING: &str = "7d4958e842da4a758f6c1cdc7b36dcc5";
/// The start of the unit has ended.
pub(super) const UNIT_STARTED: &str = "39f53479d3a045ac8e11786248231fbf";
/// The start of the unit has failed.
pub(super) const UNIT_FAILED: &str = "be02cf6855d2428ba40df7e9d022f03d";

/// systemd remembers only the last start of a unit. If the journal has one that is this much earlier, the unit was started
/// again.
const ANOTHER_START_US: i64 = 20_000;

const UNITS: [(&str, &[&str]); 7] = [
    (id::CLOUD_INIT_LOCAL, &["cloud-init-local.service"]),
    (id::NETWORK_ONLINE, &["network-online.target"]),
    (id::CLOUD_INIT_NETWORK, &["cloud-init-network.service", "cloud-init.service"]),
    (id::CLOUD_CONFIG, &["cloud-config.service"]),
    (id::CLOUD_FINAL, &["cloud-final.service"]),
    (id::DOCKER, &["docker.service"]),
    (id::ECS, &["ecs.service", "amazon-ecs.service"]),
];
/// The units of ecs-bootstrap that are shown if they are installed.
const OUR_UNITS: [&str; 2] = ["ecs-bootstrap.service", "ecs-bootstrap-verify.service"];

/// The first start of each unit in this boot.
pub(super) struct FirstStarts {
    times: BTreeMap<String, UnitTimes>,
    /// The units that were started again later.
    restarted: Vec<String>,
}

impl FirstStarts {
    /// Whether the agent's unit was started more than once.
    pub(super) fn agent_was_restarted(&self) -> bool {
        self.restarted.iter().any(|unit| unit == "ecs.service" || unit == "amazon-ecs.service")
    }
}

pub(super) fn first_starts(sources: &Sources) -> FirstStarts {
    let mut first = FirstStarts { times: sources.units.clone().unwrap_or_default(), restarted: Vec::new() };
    let Ok(journal) = &sources.journal else { return first };
    for (name, times) in &mut first.times {
        let of_unit: Vec<&JournalEntry> = journal.iter().filter(|entry| entry.unit == *name).collect();
        let at = |ids: &[&str], from: i64| {
            let is_one =
                |entry: &&&JournalEntry| ids.contains(&entry.message_id.as_str()) && entry.at.monotonic_us >= from;
            of_unit.iter().find(is_one).map(|entry| entry.at)
        };
        let Some(begun) = at(&[UNIT_STARTING, UNIT_STARTED], i64::MIN) else { continue };
        let is_earlier = |last: Moment| begun.monotonic_us.saturating_add(ANOTHER_START_US) < last.monotonic_us;
        if times.inactive_exit.is_some_and(is_earlier) {
            times.inactive_exit = Some(begun);
            times.active_enter = at(&[UNIT_STARTED], begun.monotonic_us);
            times.inactive_enter = at(&[UNIT_FAILED], begun.monotonic_us);
            first.restarted.push(name.clone());
        }
    }
    first
}

/// Adds the expected units, and those that they waited for.
pub(super) fn add(sources: &Sources, first: &FirstStarts, draft: &mut Draft) {
    let mut open: Vec<&str> = Vec::new();
    for (id, names) in UNITS {
        match names.iter().find_map(|name| Some((*name, found(name, first)?))) {
            Some((name, event)) => {
                draft.add(event);
                open.push(name);
            }
            None => {
                draft.miss(id, missing(names, sources));
            }
        }
    }
    for name in OUR_UNITS {
        if let Some(event) = found(name, first) {
            draft.add(event);
            open.push(name);
        }
    }
    let mut visited: Vec<&str> = Vec::new();
    while let Some(name) = open.pop() {
        if visited.contains(&name) {
            continue;
        }
        visited.push(name);
        let before = match waited_for(name, &first.times) {
            Some((before, _)) => {
                if let Some(event) = found(before, first) {
                    draft.add(event);
                }
                open.push(before);
                Some(event_id(before).to_owned())
            }
            None => before_systemd(name, draft),
        };
        if let Some(event) = draft.get_mut(event_id(name)) {
            event.waited_for = before;
        }
    }
}

/// What ended last before a unit that no other unit delayed.
fn before_systemd(name: &str, draft: &Draft) -> Option<String> {
    let start = draft.get(event_id(name))?.start;
    let has_ended = |id: &&str| draft.get(id).and_then(|event| event.end).is_some_and(|end| end <= start);
    [id::INITRD, id::KERNEL, id::LAUNCH].into_iter().find(has_ended).map(str::to_owned)
}

/// The id of the event of a unit.
fn event_id(name: &str) -> &str {
    UNITS.iter().find(|(_, names)| names.contains(&name)).map_or(name, |(id, _)| id)
}

/// The event of a unit that began to start in this boot.
fn found(name: &str, first: &FirstStarts) -> Option<Found> {
    let times = first.times.get(name)?;
    let start = times.inactive_exit?.monotonic_us;
    let end = times.start_ended().map(|moment| moment.monotonic_us);
    let is_restarted = first.restarted.iter().any(|restarted| restarted == name);
    let source = format!("{}: {name}", if is_restarted { "journal" } else { "systemd" });
    let mut event = Found::expected(event_id(name), start, end, source);
    if event.id == event.label {
        event.label = name.to_owned();
        event.lane = lane(name);
    }
    Some(event)
}

/// The lane of a unit that is shown only because another one waited for it.
fn lane(name: &str) -> Lane {
    match name {
        _ if name.starts_with("ecs-bootstrap") => Lane::Bootstrap,
        _ if name.starts_with("cloud-") => Lane::CloudInit,
        _ if name.starts_with("docker") || name.starts_with("containerd") => Lane::Docker,
        _ if name.contains("network") || name.contains("NetworkManager") || name.contains("dhc") => Lane::Network,
        _ => Lane::System,
    }
}

/// Why a unit with one of these names has no event.
fn missing(names: &[&str], sources: &Sources) -> String {
    match &sources.units {
        Err(reason) => reason.clone(),
        Ok(units) => match names.iter().find(|name| units.contains_key(**name)) {
            Some(name) => format!("{name} has not started in this boot"),
            None => format!("systemd has no unit {}", names[0]),
        },
    }
}

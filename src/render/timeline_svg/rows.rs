//! Chooses the rows of the plots: one for each event that matters, and one for many short events of the same kind.
//!
//! In: a timeline. Out: rows in the order of the lanes.

use std::collections::BTreeMap;

use super::story::label;
use super::time::duration;
use crate::timeline::{Event, Lane, Timeline, id};

/// The most rows of a lane, and of one command of ecs-bootstrap.
const MOST_ROWS: usize = 14;
const MOST_STEPS: usize = 24;
/// The most rows for events without labels that overlap.
const MOST_PACKED: usize = 8;

/// The events that always have a row of their own.
const KNOWN: [&str; 19] = [
    id::LAUNCH,
    id::KERNEL,
    id::INITRD,
    id::USERSPACE,
    id::NETWORK_ONLINE,
    id::CLOUD_INIT_LOCAL,
    id::CLOUD_INIT_NETWORK,
    id::CLOUD_CONFIG,
    id::CLOUD_FINAL,
    id::USER_DATA,
    id::DOCKER,
    id::RUN,
    id::ECS,
    id::AGENT_STARTED,
    id::REGISTERED,
    id::CONNECTED,
    id::VERIFY,
    id::REPORTED,
    id::FIRST_TASK,
];

/// One row of a plot.
#[derive(Debug)]
pub(super) struct Row<'t> {
    pub(super) lane: Lane,
    pub(super) label: String,
    /// How many levels the label is indented.
    pub(super) depth: usize,
    pub(super) content: Content<'t>,
}

/// What a row shows.
#[derive(Debug)]
pub(super) enum Content<'t> {
    /// One event.
    One(&'t Event),
    /// Events without labels.
    Many(Vec<&'t Event>),
}

/// The steps of one command of ecs-bootstrap, for a plot of their own.
#[derive(Debug)]
pub(super) struct Steps<'t> {
    pub(super) command: &'t Event,
    pub(super) rows: Vec<Row<'t>>,
}

/// Events by the id of their parent.
type Children<'t> = BTreeMap<&'t str, Vec<&'t Event>>;

fn children(timeline: &Timeline) -> Children<'_> {
    let mut children = Children::new();
    for event in &timeline.events {
        children.entry(event.parent.as_deref().unwrap_or_default()).or_default().push(event);
    }
    children
}

/// The rows of all lanes.
pub(super) fn all(timeline: &Timeline) -> Vec<Row<'_>> {
    let children = children(timeline);
    let top = children.get("").map(Vec::as_slice).unwrap_or_default();
    let of = |lane| top.iter().copied().filter(|event| event.lane == lane).collect();
    Lane::ALL.into_iter().flat_map(|lane| of_lane(timeline, lane, of(lane), &children)).collect()
}

fn of_lane<'t>(
    timeline: &'t Timeline,
    lane: Lane,
    mut by_rank: Vec<&'t Event>,
    children: &Children<'t>,
) -> Vec<Row<'t>> {
    by_rank.sort_by_key(|event| std::cmp::Reverse(rank(timeline, event)));
    let mut short = by_rank.split_off(by_rank.len().min(MOST_ROWS));
    short.extend(by_rank.extract_if(.., |event| is_short(timeline, event)));
    by_rank.sort_by_key(|event| event.start_us);
    let mut rows: Vec<Row<'t>> = Vec::new();
    for event in by_rank {
        rows.push(Row { lane, label: label(event), depth: 0, content: Content::One(event) });
        let parts = children.get(event.id.as_str()).map(Vec::as_slice).unwrap_or_default();
        if lane == Lane::Bootstrap || parts.len() > MOST_ROWS {
            let parts = descendants(event, children);
            rows.extend(many(lane, 1, "steps", parts.into_iter().map(|(_, event)| event).collect()));
        } else {
            let row = |part: &&'t Event| Row { lane, label: label(part), depth: 1, content: Content::One(part) };
            rows.extend(parts.iter().map(row));
        }
    }
    short.sort_by_key(|event| event.start_us);
    rows.extend(many(lane, 0, "short units", short));
    rows
}

/// How much an event matters: those that every timeline has, then those on the critical path, then the longest.
fn rank(timeline: &Timeline, event: &Event) -> (bool, bool, u64) {
    let is_known = KNOWN.contains(&event.id.as_str());
    (is_known, timeline.critical_path.contains(&event.id), event.duration_us().unwrap_or(u64::MAX))
}

/// Whether an event is too short for a row of its own.
fn is_short(timeline: &Timeline, event: &Event) -> bool {
    let (is_known, is_on_path, us) = rank(timeline, event);
    !is_known && !is_on_path && us < timeline.last_us() / 100
}

/// A row for many events; none for no event. `what` is their plural.
fn many<'t>(lane: Lane, depth: usize, what: &str, events: Vec<&'t Event>) -> Option<Row<'t>> {
    let label = match events[..] {
        [event] => label(event),
        _ => format!("{} {what}", events.len()),
    };
    (!events.is_empty()).then_some(Row { lane, label, depth, content: Content::Many(events) })
}

/// Rows for many events, in which events that overlap are below each other. The first row has the label. If there are too
/// many at the same time, the last row has the rest.
fn packed<'t>(lane: Lane, what: &str, events: Vec<&'t Event>) -> Vec<Row<'t>> {
    let Some(mut first) = many(lane, 1, what, events) else { return Vec::new() };
    let Content::Many(events) = std::mem::replace(&mut first.content, Content::Many(Vec::new())) else {
        return vec![first];
    };
    let mut packed: Vec<(u64, Vec<&Event>)> = Vec::new();
    for event in events {
        let end = event.end_us.unwrap_or(u64::MAX);
        match packed.iter().position(|(last_end, _)| *last_end <= event.start_us) {
            Some(row) => (packed[row].0, packed[row].1) = (end, [&packed[row].1[..], &[event]].concat()),
            None if packed.len() < MOST_PACKED => packed.push((end, vec![event])),
            None => packed[MOST_PACKED - 1].1.push(event),
        }
    }
    let row = |(number, (_, events)): (usize, (u64, Vec<&'t Event>))| {
        let label = if number == 0 { first.label.clone() } else { String::new() };
        Row { lane, label, depth: 1, content: Content::Many(events) }
    };
    packed.into_iter().enumerate().map(row).collect()
}

/// The parts of an event and their parts, each with its depth, in the order of the timeline.
fn descendants<'t>(event: &'t Event, children: &Children<'t>) -> Vec<(usize, &'t Event)> {
    let mut found = Vec::new();
    let mut left: Vec<(usize, &Event)> = vec![(0, event)];
    while let Some((depth, event)) = left.pop() {
        if depth > 0 {
            found.push((depth - 1, event));
        }
        let parts = children.get(event.id.as_str()).map(Vec::as_slice).unwrap_or_default();
        left.extend(parts.iter().rev().map(|part| (depth + 1, *part)));
    }
    found
}

/// The commands of ecs-bootstrap with their stages and requests.
pub(super) fn steps(timeline: &Timeline) -> Vec<Steps<'_>> {
    let children = children(timeline);
    let commands = timeline.events.iter().filter(|event| event.lane == Lane::Bootstrap && event.parent.is_none());
    let steps = commands.map(|command| Steps { command, rows: step_rows(command, &children) });
    steps.filter(|steps| !steps.rows.is_empty()).collect()
}

/// One row for each step. If there are too many, the steps below a stage share one row.
fn step_rows<'t>(command: &'t Event, children: &Children<'t>) -> Vec<Row<'t>> {
    let lane = Lane::Bootstrap;
    let all = descendants(command, children);
    let row = |(depth, event): &(usize, &'t Event)| Row {
        lane,
        label: label(event),
        depth: (*depth).min(2),
        content: Content::One(event),
    };
    if all.len() <= MOST_STEPS {
        return all.iter().map(row).collect();
    }
    let mut stages: Vec<(usize, &Event)> = all.into_iter().filter(|(depth, _)| *depth == 0).collect();
    let rest = stages.split_off(stages.len().min(MOST_STEPS / 2));
    let mut rows = Vec::new();
    for stage in &stages {
        rows.push(row(stage));
        let parts: Vec<&Event> = descendants(stage.1, children).into_iter().map(|(_, event)| event).collect();
        let longest = parts.iter().filter_map(|part| part.duration_us()).max().map(duration).unwrap_or_default();
        rows.extend(packed(lane, &format!("requests, longest {longest}"), parts));
    }
    rows.extend(many(lane, 0, "more steps", rest.into_iter().map(|(_, event)| event).collect()));
    rows
}

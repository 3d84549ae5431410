//! Chooses the rows of the plots: one for each event that matters, and one for many short events of the same kind.
//!
//! In: a timeline. Out: the rows of the critical path in its order, the rows of all else in the order of the lanes, and the
//! steps of each command.

use std::collections::BTreeMap;

use super::story::{critical_path, main_part, row_label};
use super::time::duration;
use crate::timeline::{Event, KnownEvent, Lane, Timeline};

/// The most rows of a lane, and of one command of ecs-bootstrap.
const MOST_ROWS: usize = 14;
const MOST_STEPS: usize = 24;
/// The most rows for events without labels that overlap.
const MOST_PACKED: usize = 8;

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

impl<'t> Content<'t> {
    /// All events.
    pub(super) fn events(&self) -> Vec<&'t Event> {
        match self {
            Content::One(event) => vec![*event],
            Content::Many(events) => events.clone(),
        }
    }
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

/// The critical path from its beginning to its end. Short units that follow each other share a row.
pub(super) fn path(timeline: &Timeline) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for events in
        critical_path(timeline).chunk_by(|one, next| is_short(timeline, one) && follows_closely(timeline, next))
    {
        let lane = events[0].lane;
        match *events {
            [event] => {
                rows.push(Row { lane, label: row_label(event), depth: 0, content: Content::One(event) });
                let part = main_part(timeline, event);
                if part.id != event.id {
                    rows.push(Row { lane, label: row_label(part), depth: 1, content: Content::One(part) });
                }
            }
            _ => rows.extend(many(lane, 0, "short systemd units", events.to_vec())),
        }
    }
    rows
}

/// All that is not on the critical path, but the steps of commands.
pub(super) fn beside<'t>(timeline: &'t Timeline, path: &[Row<'t>]) -> Vec<Row<'t>> {
    let on_path: Vec<&str> = path.iter().flat_map(|row| row.content.events()).map(|event| event.id.as_str()).collect();
    let is_beside = |event: &&Event| {
        let is_step = KnownEvent::find(&event.id).is_none() && parent_in_lane(timeline, event).is_some();
        !is_step && !on_path.contains(&event.id.as_str())
    };
    let of = |lane| timeline.events.iter().filter(is_beside).filter(move |event| event.lane == lane).collect();
    Lane::ALL.into_iter().flat_map(|lane| of_lane(timeline, lane, of(lane))).collect()
}

/// The event of the same lane that this one is a part of.
fn parent_in_lane<'t>(timeline: &'t Timeline, event: &Event) -> Option<&'t Event> {
    timeline.event(event.parent.as_deref()?).filter(|parent| parent.lane == event.lane)
}

fn of_lane<'t>(timeline: &'t Timeline, lane: Lane, mut by_rank: Vec<&'t Event>) -> Vec<Row<'t>> {
    by_rank.sort_by_key(|event| std::cmp::Reverse(rank(event)));
    let mut short = by_rank.split_off(by_rank.len().min(MOST_ROWS));
    short.extend(by_rank.extract_if(.., |event| is_short(timeline, event)));
    by_rank.sort_by_key(|event| event.start_us);
    let row = |event: &&'t Event| {
        let parent = parent_in_lane(timeline, event);
        let is_shown = |parent: &Event| by_rank.iter().any(|shown| shown.id == parent.id);
        Row {
            lane,
            label: row_label(event),
            depth: usize::from(parent.is_some_and(is_shown)),
            content: Content::One(event),
        }
    };
    let mut rows: Vec<Row<'t>> = by_rank.iter().map(row).collect();
    short.sort_by_key(|event| event.start_us);
    rows.extend(many(lane, 0, "short systemd units", short));
    rows
}

/// How much an event matters: first those that every timeline has, then the longest.
fn rank(event: &Event) -> (bool, u64) {
    (KnownEvent::find(&event.id).is_some(), event.duration_us().unwrap_or(u64::MAX))
}

/// Whether an event is too short for a row of its own.
fn is_short(timeline: &Timeline, event: &Event) -> bool {
    let (is_known, us) = rank(event);
    !is_known && us < timeline.last_us() / 100
}

/// Whether an event of the critical path is too short for a row of its own, and begins soon after the one before it.
fn follows_closely(timeline: &Timeline, event: &Event) -> bool {
    let begun = event.waited_for.as_ref().map_or(0, |wait| wait.until_us);
    is_short(timeline, event) && event.start_us.saturating_sub(begun) < timeline.last_us() / 100
}

/// A row for many events; none for no event. `what` is their plural.
fn many<'t>(lane: Lane, depth: usize, what: &str, events: Vec<&'t Event>) -> Option<Row<'t>> {
    match events[..] {
        [] => None,
        [event] => Some(Row { lane, label: row_label(event), depth, content: Content::One(event) }),
        _ => Some(Row { lane, label: format!("{} {what}", events.len()), depth, content: Content::Many(events) }),
    }
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
    let is_command = |event: &&Event| event.lane == Lane::Bootstrap && parent_in_lane(timeline, event).is_none();
    let commands = timeline.events.iter().filter(is_command);
    let steps = commands.map(|command| Steps { command, rows: step_rows(command, &children) });
    steps.filter(|steps| !steps.rows.is_empty()).collect()
}

/// One row for each step. If there are too many, the steps below a stage share one row.
fn step_rows<'t>(command: &'t Event, children: &Children<'t>) -> Vec<Row<'t>> {
    let lane = Lane::Bootstrap;
    let all = descendants(command, children);
    let row = |(depth, event): &(usize, &'t Event)| Row {
        lane,
        label: row_label(event),
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

//! Makes a timeline of what was read of the host.
//!
//! In: [`Sources`]. Out: a [`Timeline`] with what they prove, and the reason for each event that they do not prove. No
//! I/O.

mod agent;
mod commands;
mod draft;
mod launch;
mod units;
mod user_data;

#[cfg(test)]
mod tests;

use self::draft::{Draft, MILESTONES};
use super::clock::Clock;
use super::sources::{Moment, Sources, UnitTimes};
use super::{Event, Timeline, VERSION};

/// The ids of the messages in the journal that a timeline uses.
pub const MESSAGE_IDS: [&str; 4] = [units::UNIT_STARTING, units::UNIT_STARTED, units::UNIT_FAILED, commands::READY];

/// Makes the timeline.
pub fn timeline(sources: &Sources) -> Timeline {
    let clock = Clock::new(pairs(sources));
    let mut draft = Draft::new(clock);
    let units = units::first_starts(sources);
    launch::add(sources, &mut draft);
    units::add(sources, &units, &mut draft);
    user_data::add(sources, &mut draft);
    commands::add(sources, &mut draft);
    agent::add(sources, &units, &mut draft);
    let mut events = draft.events();
    order(&mut events);
    let critical_path = critical_path(&events);
    Timeline {
        version: VERSION,
        origin: draft.origin(),
        // The command knows it.
        cluster: None,
        instance: sources.launch.as_ref().ok().map(|launch| launch.instance.clone()),
        missing: draft.missing(&events),
        events,
        critical_path,
    }
}

/// All moments that were noted with both clocks.
fn pairs(sources: &Sources) -> Vec<Moment> {
    let boot = sources.boot.as_ref().ok();
    let of_boot = boot.into_iter().flat_map(|boot| [boot.kernel, boot.initrd, boot.userspace, boot.finish]);
    let of_unit = |unit: &UnitTimes| [unit.inactive_exit, unit.active_enter, unit.inactive_enter];
    let of_units = sources.units.iter().flat_map(|units| units.values()).flat_map(of_unit);
    let of_journal = sources.journal.iter().flatten().map(|entry| Some(entry.at));
    of_boot.chain(of_units).chain(of_journal).flatten().collect()
}

/// Orders the events by their beginning. Of two that begin together, the longer one may contain the other, and milestones
/// follow from each other.
fn order(events: &mut [Event]) {
    let depth = |event: &Event| match &event.parent {
        None => 0,
        Some(parent) => 1 + parent.matches('.').count(),
    };
    let milestone = |event: &Event| MILESTONES.iter().position(|id| *id == event.id);
    events.sort_by_cached_key(|event| (event.start_us, depth(event), milestone(event), event.id.clone()));
}

/// The chain of what the last milestone waited for.
fn critical_path(events: &[Event]) -> Vec<String> {
    let find = |id: &str| events.iter().find(|event| event.id == id);
    let last = MILESTONES.iter().filter_map(|id| find(id)).max_by_key(|event| event.start_us);
    let mut path: Vec<String> = Vec::new();
    let mut next = last;
    while let Some(event) = next {
        if path.contains(&event.id) {
            break;
        }
        path.push(event.id.clone());
        next = event.waited_for.as_ref().and_then(|wait| find(&wait.event));
    }
    path.reverse();
    path
}

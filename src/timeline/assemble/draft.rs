//! A timeline in the making: events by monotonic time, and the reasons for those that are missing.

use std::collections::BTreeMap;

use crate::timeline::clock::Clock;
use crate::timeline::{Event, KNOWN_EVENTS, KnownEvent, Lane, MissingEvent, Origin, Wait, id};

/// The events that follow from each other, in this order, and end the boot of an instance.
pub(super) const MILESTONES: [&str; 5] =
    [id::AGENT_STARTED, id::REGISTERED, id::CONNECTED, id::REPORTED, id::FIRST_TASK];

/// An event by monotonic time in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) id: String,
    pub(super) label: String,
    pub(super) lane: Lane,
    pub(super) parent: Option<String>,
    pub(super) start: i64,
    pub(super) end: Option<i64>,
    pub(super) resolution_us: u64,
    pub(super) source: String,
    pub(super) waited_for: Option<String>,
}

impl Found {
    /// One of the expected events.
    pub(super) fn expected(id: &str, start: i64, end: Option<i64>, source: impl Into<String>) -> Found {
        let (label, lane) = KnownEvent::find(id).map_or((id, Lane::System), |known| (known.label, known.lane));
        Found {
            id: id.to_owned(),
            label: label.to_owned(),
            lane,
            parent: None,
            start,
            end: end.map(|end| end.max(start)),
            resolution_us: 0,
            source: source.into(),
            waited_for: None,
        }
    }

    /// The latest moment at which it can have begun.
    pub(super) fn latest_start(&self) -> i64 {
        self.start.saturating_add_unsigned(self.resolution_us)
    }

    /// An expected event without a duration.
    pub(super) fn moment(id: &str, at: i64, source: impl Into<String>) -> Found {
        Found::expected(id, at, Some(at), source)
    }
}

#[derive(Debug)]
pub(super) struct Draft {
    pub(super) clock: Clock,
    /// By id.
    found: BTreeMap<String, Found>,
    reasons: BTreeMap<&'static str, String>,
}

impl Draft {
    pub(super) fn new(clock: Clock) -> Draft {
        Draft { clock, found: BTreeMap::new(), reasons: BTreeMap::new() }
    }

    /// Adds an event, unless there is one with this id.
    pub(super) fn add(&mut self, event: Found) {
        self.found.entry(event.id.clone()).or_insert(event);
    }

    /// Adds an expected event, or the reason why it is missing.
    pub(super) fn add_or_miss(&mut self, id: &'static str, event: Result<Found, String>) {
        match event {
            Ok(event) => self.add(event),
            Err(reason) => self.miss(id, reason),
        }
    }

    /// Says why an expected event is missing. The first reason stays.
    pub(super) fn miss(&mut self, id: &'static str, reason: impl Into<String>) {
        self.reasons.entry(id).or_insert_with(|| reason.into());
    }

    pub(super) fn get(&self, id: &str) -> Option<&Found> {
        self.found.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Found> {
        self.found.get_mut(id)
    }

    /// The start of this boot: of the kernel, or of systemd in a container.
    pub(super) fn boot_start(&self) -> Option<i64> {
        [id::KERNEL, id::INITRD, id::USERSPACE].iter().find_map(|id| self.get(id)).map(|event| event.start)
    }

    /// The event at which times begin: the launch, or the start of the boot.
    fn first(&self) -> Option<&Found> {
        [id::LAUNCH, id::KERNEL, id::INITRD, id::USERSPACE].iter().find_map(|id| self.get(id))
    }

    pub(super) fn origin(&self) -> Origin {
        let Some(first) = self.first() else { return Origin { event: id::USERSPACE.to_owned(), unix_us: 0 } };
        let unix = self.clock.last_offset().map_or(0, |offset| offset.saturating_add(first.start));
        Origin { event: first.id.clone(), unix_us: u64::try_from(unix).unwrap_or(0) }
    }

    /// The events since the origin; none without it. What would be before it is left out: it belongs to an earlier boot.
    pub(super) fn events(&self) -> Vec<Event> {
        let Some(zero) = self.first().map(|first| first.start) else { return Vec::new() };
        let since = |at: i64| u64::try_from(at.checked_sub(zero)?).ok();
        let ended = |by: &Found, event: &Found| {
            by.end.filter(|end| *end <= event.latest_start()).map(|end| end.min(event.start))
        };
        let event = |event: &Found| {
            let start_us = since(event.start)?;
            let wait = event.waited_for.as_deref().and_then(|id| {
                let until = self.get(id)?;
                Some(Wait { event: id.to_owned(), until_us: since(ended(until, event)?)? })
            });
            let inside = |parent: &&String| {
                self.get(parent).is_some_and(|parent| since(parent.start).is_some() && parent.start <= event.start)
            };
            Some(Event {
                id: event.id.clone(),
                label: event.label.clone(),
                lane: event.lane,
                parent: event.parent.as_ref().filter(inside).cloned(),
                start_us,
                end_us: event.end.and_then(since),
                resolution_us: event.resolution_us,
                source: event.source.clone(),
                waited_for: wait,
            })
        };
        let mut events: Vec<Event> = self.found.values().filter_map(event).collect();
        // A wait for an event that was left out is left out too.
        let kept: Vec<String> = events.iter().map(|event| event.id.clone()).collect();
        for event in &mut events {
            event.waited_for = event.waited_for.take().filter(|wait| kept.contains(&wait.event));
        }
        events
    }

    /// The expected events that are not in `events`.
    pub(super) fn missing(&self, events: &[Event]) -> Vec<MissingEvent> {
        let unplaced = match self.first() {
            Some(_) => "it belongs to an earlier boot",
            None => "the start of this boot is not known",
        };
        let is_missing = |id: &str| !events.iter().any(|event| event.id == id);
        let missing = KNOWN_EVENTS.iter().filter(|known| is_missing(known.id)).map(|known| MissingEvent {
            id: known.id.to_owned(),
            label: known.label.to_owned(),
            lane: known.lane,
            reason: self.reasons.get(known.id).cloned().unwrap_or_else(|| unplaced.to_owned()),
        });
        missing.collect()
    }
}

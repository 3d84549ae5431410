//! What a timeline says in a few words: how the boot ended, and what it waited for.
//!
//! In: a timeline. Out: the title, and the parts of the critical path with their times. All are about the same time: from
//! the origin to the end of the critical path.

use super::time::duration;
use crate::redaction;
use crate::render::timeline::since;
use crate::timeline::{Event, KnownEvent, Timeline, id};

/// A wait is named in its row if it takes at least this part of the whole time.
const SHORTEST_WAIT: f64 = 0.03;

/// One part of the critical path. The parts follow each other without a gap.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// What took the time, as in `20.1 s for ...`.
    pub(super) what: String,
    /// How long, in microseconds.
    pub(super) us: u64,
}

/// The label of an event for the picture. Units have no `.service`, which says nothing.
pub(super) fn label(event: &Event) -> String {
    let label = event.label.strip_suffix(".service").filter(|_| event.label == event.id);
    redaction::line(label.unwrap_or(&event.label))
}

/// The label of an event for its row. Of the path of a request only the end fits, which is the part that differs.
pub(super) fn row_label(event: &Event) -> String {
    let label = label(event);
    match label.strip_prefix("IMDS ").and_then(|path| path.trim_end_matches('/').rsplit_once('/')) {
        Some((_, end)) => format!("IMDS \u{2026}/{end}"),
        None => label,
    }
}

/// An event in a sentence, as in `waited for ...`.
fn phrase(event: &Event) -> String {
    KnownEvent::find(&event.id).map_or_else(|| label(event), |known| known.phrase.to_owned())
}

/// The title: how far the boot came, and when.
pub(super) fn title(timeline: &Timeline) -> String {
    let instance = timeline.instance.as_ref().map_or("this host", |instance| instance.instance_id.as_str());
    let cluster = timeline.cluster.as_ref().map(|cluster| format!(" in cluster {cluster}")).unwrap_or_default();
    let name = redaction::line(&format!("{instance}{cluster}"));
    let since = since(timeline);
    let reached = [
        (id::FIRST_TASK, "the first task ran"),
        (id::REPORTED, "ready"),
        (id::CONNECTED, "connected to ECS"),
        (id::REGISTERED, "registered"),
    ];
    let last = critical_path(timeline).pop();
    let reached = last.and_then(|last| Some((reached.iter().find(|(id, _)| *id == last.id)?.1, last.start_us)));
    match reached {
        Some((what, us)) => format!("{name}: {what} {} after {since}", duration(us)),
        None => format!("{name}: not registered {} after {since}", duration(timeline.last_us())),
    }
}

/// The events of the critical path.
pub(super) fn critical_path(timeline: &Timeline) -> Vec<&Event> {
    timeline.critical_path.iter().filter_map(|id| timeline.event(id)).collect()
}

/// The longest part of the critical path as a sentence; `None` if there is no path.
pub(super) fn longest_part(timeline: &Timeline) -> Option<String> {
    let path = critical_path(timeline);
    let whole = path.last().map(|event| event.end_us.unwrap_or(event.start_us))?.max(1);
    let longest = path.iter().flat_map(|event| parts(timeline, event)).max_by_key(|part| part.us)?;
    let percent = longest.us as f64 * 100.0 / whole as f64;
    let (longest_us, what) = (duration(longest.us), &longest.what);
    Some(format!("Longest wait: {longest_us} {what}, {percent:.0} % of these {}", duration(whole)))
}

/// The one or two parts that an event adds to the critical path: the time between what it waited for and its start, and
/// its own time.
fn parts(timeline: &Timeline, event: &Event) -> Vec<Part> {
    let mut parts = Vec::new();
    let before = event.waited_for.as_ref();
    let begun = before.map_or(0, |wait| wait.until_us);
    let gap = event.start_us.saturating_sub(begun);
    if gap > 0 {
        let before = before.and_then(|wait| timeline.event(&wait.event));
        let is_first_unit = before
            .is_some_and(|before| [id::LAUNCH, id::KERNEL, id::INITRD].contains(&before.id.as_str()))
            && KnownEvent::find(&event.id).is_none();
        let now = if is_first_unit { "the first unit of systemd".to_owned() } else { phrase(event) };
        let before = before.map_or_else(|| since(timeline).to_owned(), phrase);
        parts.push(Part { what: format!("from {before} to {now}"), us: gap });
    }
    let main = main_part(timeline, event);
    if let Some(us) = main.duration_us().filter(|us| *us > 0) {
        parts.push(Part { what: format!("for {}", phrase(main)), us });
    }
    parts
}

/// The child that takes more than half of the time of an event, for example user data in the last stage of cloud-init;
/// otherwise the event itself.
pub(super) fn main_part<'t>(timeline: &'t Timeline, event: &'t Event) -> &'t Event {
    let Some(whole) = event.duration_us() else { return event };
    let children = timeline.events.iter().filter(|child| child.parent.as_ref() == Some(&event.id));
    let longest =
        children.filter(|child| child.duration_us() > Some(whole / 2)).max_by_key(|child| child.duration_us());
    longest.unwrap_or(event)
}

/// The time between the step before and this one, as a note for its row; `None` if it is short.
pub(super) fn wait_note(timeline: &Timeline, event: &Event) -> Option<String> {
    let shortest = (timeline.last_us() as f64 * SHORTEST_WAIT) as u64;
    let wait = event.waited_for.as_ref()?;
    let before = timeline.event(&wait.event)?;
    let gap = event.start_us.saturating_sub(wait.until_us);
    (gap > shortest).then(|| format!("{} after {}", duration(gap), phrase(before)))
}

//! A timeline as a table.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use crate::redaction;
use crate::timeline::{Event, Timeline, id};

/// A wait that ended this much before the event began is shown with its distance, in microseconds.
const MIN_GAP_US: u64 = 100_000;

/// The end of the year 9999, in microseconds since 1970: no later time can be formatted (RFC 3339).
pub(super) const MAX_UNIX_US: u64 = 253_402_300_799_000_000;

/// The table: a row for each event, and below it what is missing.
pub fn timeline_text(timeline: &Timeline) -> String {
    let rows: Vec<[String; 4]> = timeline.events.iter().map(|event| row(event, timeline)).collect();
    let head = ["at", "took", "what", "waited for"].map(str::to_owned);
    let width = |column: usize| rows.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (at, took, what) = (width(0), width(1), width(2));
    let mut text = header(timeline);
    let mut line = |mark: &str, row: &[String; 4]| {
        let line = format!("{mark} {:>at$}  {:>took$}  {:<what$}  {}", row[0], row[1], row[2], row[3]);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    };
    if !rows.is_empty() {
        line(" ", &head);
    }
    for (event, row) in timeline.events.iter().zip(&rows) {
        line(if timeline.critical_path.contains(&event.id) { "*" } else { " " }, row);
    }
    if let Some(last) = timeline.critical_path.last().and_then(|last| timeline.event(last)) {
        let _ =
            writeln!(text, "\n* what `{}` waited for: each step began after the one before it had ended", last.label);
    }
    if !timeline.missing.is_empty() {
        let _ = writeln!(text, "\nmissing:");
    }
    for missing in &timeline.missing {
        let _ = writeln!(text, "  {}: {}", missing.label, redaction::line(&missing.reason));
    }
    text
}

/// The moment of the origin, as in `after ...`.
pub(super) fn since(timeline: &Timeline) -> &'static str {
    match timeline.origin.event.as_str() {
        id::LAUNCH => "the launch",
        id::KERNEL => "the start of the kernel",
        id::INITRD => "the start of the initrd",
        _ => "the start of systemd",
    }
}

fn header(timeline: &Timeline) -> String {
    if timeline.events.is_empty() {
        return "nothing is known of this boot\n".to_owned();
    }
    let of_instance = timeline.instance.as_ref().map_or_else(String::new, |instance| {
        let more = [&instance.instance_type, &instance.image_id].into_iter().flatten();
        format!(" of {}", std::iter::once(&instance.instance_id).chain(more).cloned().collect::<Vec<_>>().join(" "))
    });
    let at = humantime::format_rfc3339_millis(
        SystemTime::UNIX_EPOCH + Duration::from_micros(timeline.origin.unix_us.min(MAX_UNIX_US)),
    );
    format!("seconds since {}{of_instance} at {at}\n\n", since(timeline))
}

fn row(event: &Event, timeline: &Timeline) -> [String; 4] {
    let depth = std::iter::successors(event.parent.as_deref(), |parent| timeline.event(parent)?.parent.as_deref());
    let indent = "  ".repeat(depth.count().min(4));
    let took = match event.duration_us() {
        _ if event.is_moment() => String::new(),
        Some(duration) => seconds(duration),
        None => "running".to_owned(),
    };
    let precision = match event.resolution_us {
        0..1_000_000 => String::new(),
        resolution => format!(" (+ up to {} s)", resolution / 1_000_000),
    };
    let waited =
        event.waited_for.as_ref().map_or_else(String::new, |wait| match event.start_us.saturating_sub(wait.until_us) {
            gap if gap >= MIN_GAP_US => format!("{}, {} s before", wait.event, seconds(gap)),
            _ => wait.event.clone(),
        });
    let what = format!("{indent}{}{precision}", redaction::line(&event.label));
    [seconds(event.start_us), took, what, redaction::line(&waited)]
}

/// Seconds with three decimals.
fn seconds(us: u64) -> String {
    let ms = us.saturating_add(500) / 1000;
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::{Lane, MissingEvent, Origin, Wait};

    fn event(id: &str, start_us: u64, end_us: Option<u64>) -> Event {
        Event {
            id: id.to_owned(),
            label: id.to_owned(),
            lane: Lane::System,
            parent: None,
            start_us,
            end_us,
            resolution_us: 0,
            source: "test".to_owned(),
            waited_for: None,
        }
    }

    #[test]
    fn the_table_shows_parents_waits_and_what_is_missing() {
        let docker = Event {
            waited_for: Some(Wait { event: "kernel".to_owned(), until_us: 1_000_400 }),
            ..event("docker", 1_200_000, None)
        };
        let timeline = Timeline {
            version: 1,
            origin: Origin { event: id::KERNEL.to_owned(), unix_us: 1_000_000 },
            instance: None,
            cluster: None,
            events: vec![
                event("kernel", 0, Some(1_000_400)),
                docker,
                Event { parent: Some("docker".to_owned()), ..event("part", 1_300_000, Some(1_300_000)) },
            ],
            missing: vec![MissingEvent {
                id: "initrd".to_owned(),
                label: "initrd".to_owned(),
                lane: Lane::System,
                reason: "there is none".to_owned(),
            }],
            critical_path: vec!["kernel".to_owned(), "docker".to_owned()],
        };
        let expected = "\
seconds since the start of the kernel at 1970-01-01T00:00:01.000Z

     at     took  what    waited for
* 0.000    1.000  kernel
* 1.200  running  docker  kernel, 0.200 s before
  1.300             part

* what `docker` waited for: each step began after the one before it had ended

missing:
  initrd: there is none
";
        assert_eq!(timeline_text(&timeline), expected);
    }
}

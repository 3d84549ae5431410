//! A timeline as metrics in the text format of Prometheus ("Exposition formats"), for the textfile collector of
//! node_exporter.

use std::fmt::Write;

use crate::timeline::{Event, Timeline};

const PREFIX: &str = "ecs_bootstrap_timeline";

/// The metrics. Only events with stable ids are in it: no single requests, and no units that something happened to wait
/// for.
pub fn prometheus_text(timeline: &Timeline) -> String {
    let mut text = String::new();
    let of_origin = [(label("event", &timeline.origin.event), timeline.origin.unix_us)];
    metric(
        &mut text,
        "origin_timestamp_seconds",
        "When the times begin, as unix time, and with which event.",
        of_origin,
    );
    let stable = || timeline.events.iter().filter(|event| is_stable(event));
    let labels = |event: &Event| format!("{},lane=\"{}\"", label("event", &event.id), lane(event));
    metric(
        &mut text,
        "event_start_seconds",
        "When an event began, since the origin.",
        stable().map(|event| (labels(event), event.start_us)),
    );
    metric(
        &mut text,
        "event_duration_seconds",
        "How long an event took that has ended.",
        stable().filter(|event| !event.is_moment()).filter_map(|event| Some((labels(event), event.duration_us()?))),
    );
    let one = 1_000_000;
    metric(
        &mut text,
        "event_missing",
        "1 for an event that was not observed.",
        timeline.missing.iter().map(|missing| (label("event", &missing.id), one)),
    );
    if let Some(instance) = &timeline.instance {
        let labels = [
            label("instance_id", &instance.instance_id),
            label("instance_type", instance.instance_type.as_deref().unwrap_or_default()),
            label("image_id", instance.image_id.as_deref().unwrap_or_default()),
        ];
        metric(&mut text, "info", "The instance.", [(labels.join(","), one)]);
    }
    text
}

/// Whether the event has the same id in each boot in which it happens.
fn is_stable(event: &Event) -> bool {
    let is_stage = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase());
    match event.id.rsplit_once('.') {
        None => true,
        Some((parent, name)) => event.parent.as_deref() == Some(parent) && is_stage(name),
    }
}

fn lane(event: &Event) -> String {
    serde_json::to_value(event.lane).ok().and_then(|lane| lane.as_str().map(str::to_owned)).unwrap_or_default()
}

fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}

/// Writes a gauge with its samples, which are in microseconds. A gauge without samples is left out.
fn metric(text: &mut String, name: &str, help: &str, samples: impl IntoIterator<Item = (String, u64)>) {
    let mut samples = samples.into_iter().peekable();
    if samples.peek().is_none() {
        return;
    }
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {PREFIX}_{name} {help}\n# TYPE {PREFIX}_{name} gauge");
    for (labels, us) in samples {
        let _ = writeln!(text, "{PREFIX}_{name}{{{labels}}} {}", decimal(us));
    }
}

/// Microseconds as seconds, exactly.
fn decimal(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::{Instance, Lane, MissingEvent, Origin};

    #[test]
    fn metrics_have_help_type_and_seconds() {
        let event = |id: &str, parent: Option<&str>, start_us, end_us| Event {
            id: id.to_owned(),
            label: String::new(),
            lane: Lane::CloudInit,
            parent: parent.map(str::to_owned),
            start_us,
            end_us,
            resolution_us: 0,
            source: String::new(),
            waited_for: None,
        };
        let timeline = Timeline {
            version: 1,
            origin: Origin { event: "kernel".to_owned(), unix_us: 1_500_000_000_250_000 },
            instance: Some(Instance { instance_id: "i-1\"\\".to_owned(), ..Instance::default() }),
            cluster: None,
            events: vec![
                event("run", None, 1_000_001, Some(2_000_001)),
                event("run.gather", Some("run"), 1_000_001, None),
                event("run.gather.1", Some("run.gather"), 1_000_001, Some(1_100_000)),
                event("sysinit.target", None, 3, Some(3)),
                event("registered", None, 5_000_000, Some(5_000_000)),
            ],
            missing: vec![MissingEvent {
                id: "initrd".to_owned(),
                label: String::new(),
                lane: Lane::System,
                reason: String::new(),
            }],
            critical_path: Vec::new(),
        };
        let expected = "\
# HELP ecs_bootstrap_timeline_origin_timestamp_seconds When the times begin, as unix time, and with which event.
# TYPE ecs_bootstrap_timeline_origin_timestamp_seconds gauge
ecs_bootstrap_timeline_origin_timestamp_seconds{event=\"kernel\"} 1500000000.25
# HELP ecs_bootstrap_timeline_event_start_seconds When an event began, since the origin.
# TYPE ecs_bootstrap_timeline_event_start_seconds gauge
ecs_bootstrap_timeline_event_start_seconds{event=\"run\",lane=\"cloud-init\"} 1.000001
ecs_bootstrap_timeline_event_start_seconds{event=\"run.gather\",lane=\"cloud-init\"} 1.000001
ecs_bootstrap_timeline_event_start_seconds{event=\"registered\",lane=\"cloud-init\"} 5
# HELP ecs_bootstrap_timeline_event_duration_seconds How long an event took that has ended.
# TYPE ecs_bootstrap_timeline_event_duration_seconds gauge
ecs_bootstrap_timeline_event_duration_seconds{event=\"run\",lane=\"cloud-init\"} 1
# HELP ecs_bootstrap_timeline_event_missing 1 for an event that was not observed.
# TYPE ecs_bootstrap_timeline_event_missing gauge
ecs_bootstrap_timeline_event_missing{event=\"initrd\"} 1
# HELP ecs_bootstrap_timeline_info The instance.
# TYPE ecs_bootstrap_timeline_info gauge
ecs_bootstrap_timeline_info{instance_id=\"i-1\\\"\\\\\",instance_type=\"\",image_id=\"\"} 1
";
        assert_eq!(prometheus_text(&timeline), expected);
    }
}

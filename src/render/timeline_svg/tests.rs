//! Properties of every picture: valid XML, and texts that neither overlap nor leave the picture.

use aws_smithy_xml::decode::{Document, ScopedDecoder, try_data};
use proptest::prelude::*;

use super::picture::{Picture, Text, WIDTH};
use super::{picture, timeline_svg};
use crate::timeline::{Event, Instance, Lane, MissingEvent, Origin, Timeline, Wait, id};

fn event(id: &str, lane: Lane, start_us: u64, end_us: Option<u64>) -> Event {
    Event {
        id: id.to_owned(),
        label: id.to_owned(),
        lane,
        parent: None,
        start_us,
        end_us,
        resolution_us: 0,
        source: "a source".to_owned(),
        waited_for: None,
    }
}

fn after(before: &Event, event: Event) -> Event {
    let until_us = before.end_us.unwrap_or(before.start_us);
    Event { waited_for: Some(Wait { event: before.id.clone(), until_us }), ..event }
}

fn timeline(events: Vec<Event>, critical_path: &[&str]) -> Timeline {
    Timeline {
        version: crate::timeline::VERSION,
        origin: Origin { event: id::LAUNCH.to_owned(), unix_us: 1_795_989_845_000_000 },
        instance: Some(Instance { instance_id: "i-0123456789abcdef0".to_owned(), ..Instance::default() }),
        cluster: Some("prod".to_owned()),
        events,
        missing: Vec::new(),
        critical_path: critical_path.iter().map(|id| (*id).to_owned()).collect(),
    }
}

/// A boot with 20 seconds of user data.
fn with_user_data() -> Timeline {
    let launch = event(id::LAUNCH, Lane::System, 0, Some(0));
    let kernel = after(&launch, event(id::KERNEL, Lane::System, 9_000_000, Some(10_000_000)));
    let cloud_final = after(&kernel, event(id::CLOUD_FINAL, Lane::CloudInit, 10_000_000, Some(30_300_000)));
    let user_data = Event {
        parent: Some(id::CLOUD_FINAL.to_owned()),
        ..event(id::USER_DATA, Lane::CloudInit, 10_100_000, Some(30_200_000))
    };
    let run = event(id::RUN, Lane::Bootstrap, 10_000_000, Some(10_060_000));
    let request =
        Event { parent: Some(id::RUN.to_owned()), ..event("run.1", Lane::Bootstrap, 10_001_000, Some(10_002_000)) };
    let ecs = after(&cloud_final, event(id::ECS, Lane::Agent, 30_300_000, Some(30_500_000)));
    let registered = after(&ecs, event(id::REGISTERED, Lane::Agent, 31_500_000, Some(31_500_000)));
    let events = vec![launch, kernel, cloud_final, user_data, run, request, ecs, registered];
    timeline(events, &[id::LAUNCH, id::KERNEL, id::CLOUD_FINAL, id::ECS, id::REGISTERED])
}

fn texts(timeline: &Timeline) -> Vec<String> {
    picture(timeline).texts.into_iter().map(|text| text.text).collect()
}

fn contains(timeline: &Timeline, wanted: &str) {
    let texts = texts(timeline);
    assert!(texts.iter().any(|text| text == wanted), "no `{wanted}` in {texts:#?}");
}

#[test]
fn the_longest_wait_is_in_the_headline() {
    let timeline = with_user_data();
    contains(&timeline, "i-0123456789abcdef0 in cluster prod: registered 31.5 s after the launch");
    contains(&timeline, "Longest wait: 20.1 s for user data, 64 % of these 31.5 s");
    contains(&timeline, "9.00 s after the launch");
    contains(&timeline, "1.00 s after the start of ecs.service");
}

/// The labels of the rows of one plot, from the top to the bottom.
fn labels(rows: Vec<super::rows::Row<'_>>) -> Vec<String> {
    rows.into_iter().map(|row| row.label).collect()
}

#[test]
fn every_command_has_a_row_also_if_user_data_ran_it() {
    let mut timeline = with_user_data();
    for event in &mut timeline.events {
        if event.id == id::RUN {
            event.parent = Some(id::USER_DATA.to_owned());
        }
    }
    let path = super::rows::path(&timeline);
    let beside = labels(super::rows::beside(&timeline, &path));
    assert_eq!(labels(path), ["launch", "kernel", "cloud-final", "user-data", "ecs", "registered"]);
    assert_eq!(beside, ["run"]);
    contains(&timeline, "run in detail, from 10.0 s");
}

#[test]
fn title_and_percentage_are_about_the_same_time() {
    let mut timeline = with_user_data();
    let registered = timeline.event(id::REGISTERED).unwrap().clone();
    timeline.events.push(after(&registered, event(id::FIRST_TASK, Lane::Task, 40_200_000, Some(40_200_000))));
    timeline.critical_path.push(id::FIRST_TASK.to_owned());
    contains(&timeline, "i-0123456789abcdef0 in cluster prod: the first task ran 40.2 s after the launch");
    contains(&timeline, "Longest wait: 20.1 s for user data, 50 % of these 40.2 s");
}

#[test]
fn a_missing_event_is_listed_with_its_reason_and_not_drawn() {
    let mut timeline = with_user_data();
    timeline.events.retain(|event| event.id != id::REGISTERED);
    timeline.critical_path.pop();
    timeline.missing.push(MissingEvent {
        id: id::REGISTERED.to_owned(),
        label: "registered".to_owned(),
        lane: Lane::Agent,
        reason: "the log does not say so".to_owned(),
    });
    contains(&timeline, "i-0123456789abcdef0 in cluster prod: not registered 30.5 s after the launch");
    contains(&timeline, "registered: the log does not say so");
    assert!(!texts(&timeline).iter().any(|text| text == "registered"));
}

#[test]
fn a_short_request_beside_a_long_bar_is_visible() {
    let picture = picture(&with_user_data());
    for shape in &picture.shapes {
        if let super::Shape::Bar { width, class: "bar" | "path", .. } = shape {
            assert!(*width >= 2.0, "{shape:?}");
        }
    }
}

#[test]
fn many_requests_are_in_one_group_of_rows() {
    let mut timeline = with_user_data();
    for number in 2..=300 {
        let start = 10_001_000 + number * 100;
        let request = event(&format!("run.{number}"), Lane::Bootstrap, start, Some(start + 1_000));
        timeline.events.push(Event { parent: Some(id::RUN.to_owned()), ..request });
    }
    let picture = picture(&timeline);
    assert!(picture.height < 900.0, "{}", picture.height);
    contains(&timeline, "288 more steps");
}

/// The top and the bottom of a text: larger than the letters of every usual font.
fn vertical(text: &Text) -> (f64, f64) {
    (text.y - text.size * 0.95, text.y + text.size * 0.3)
}

/// Asserts that no two texts overlap, and that all are inside of the picture.
fn has_readable_texts(picture: &Picture) -> Result<(), TestCaseError> {
    for (number, text) in picture.texts.iter().enumerate() {
        let ((left, right), (top, bottom)) = (text.extent(), vertical(text));
        let is_inside = left >= 0.0 && right <= WIDTH && top >= 0.0 && bottom <= picture.height;
        prop_assert!(is_inside, "{text:?} leaves the picture");
        for other in &picture.texts[number + 1..] {
            let ((other_left, other_right), (other_top, other_bottom)) = (other.extent(), vertical(other));
            let is_apart = right <= other_left || other_right <= left || bottom <= other_top || other_bottom <= top;
            prop_assert!(is_apart, "{text:?} overlaps {other:?}");
        }
    }
    Ok(())
}

/// Reads all elements of a document.
fn read(mut element: ScopedDecoder<'_, '_>) -> Result<usize, aws_smithy_xml::decode::XmlDecodeError> {
    if ["title", "desc", "style", "text"].contains(&element.start_el().local()) {
        return try_data(&mut element).map(|_| 1);
    }
    let mut elements = 1;
    while let Some(child) = element.next_tag() {
        elements += read(child)?;
    }
    Ok(elements)
}

fn is_valid_xml(svg: &str) -> Result<(), TestCaseError> {
    let mut document = Document::try_from(svg.as_bytes()).map_err(|error| TestCaseError::fail(error.to_string()))?;
    let root = document.root_element().map_err(|error| TestCaseError::fail(error.to_string()))?;
    let elements = read(root).map_err(|error| TestCaseError::fail(error.to_string()))?;
    // Each element that the picture wrote was found, and no text has become an element.
    prop_assert_eq!(elements, svg.matches("</").count() + svg.matches("/>").count());
    let is_allowed = |character: char| !character.is_control() || character == '\n';
    prop_assert!(svg.chars().all(is_allowed));
    Ok(())
}

fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("</text><script>alert(1)</script>".to_owned()),
        Just("]]>&#0;&amp;\u{0}\u{1b}[31m\u{202e}".to_owned()),
        Just("W".repeat(2000)),
        Just("\u{1f600}\u{4e2d}".repeat(40)),
        any::<String>(),
        "[a-z-]{1,40}\\.service",
    ]
}

fn any_time() -> impl Strategy<Value = u64> {
    prop_oneof![0..100_u64, 0..100_000_u64, 0..40_000_000_u64, 0..10_000_000_000_u64, any::<u64>()]
}

/// Events with any times, lanes and names; some of them are those that every timeline has.
fn any_timeline() -> impl Strategy<Value = Timeline> {
    let names = [
        "launch",
        "kernel",
        "cloud-final",
        "user-data",
        "run",
        "ecs",
        "registered",
        "connected",
        "reported",
        "first-task",
    ];
    let one = (prop::sample::select(names.to_vec()), hostile(), 0..7_usize, any_time(), any::<Option<u32>>(), 0..8_u8);
    let events = prop::collection::vec(one, 0..60).prop_map(|all| {
        let mut events: Vec<Event> = Vec::new();
        for (number, (name, label, lane, start, length, link)) in all.into_iter().enumerate() {
            let is_taken = events.iter().any(|event| event.id == name);
            let id = if is_taken { format!("{label}{number}") } else { name.to_owned() };
            let end = length.map(|length| start.saturating_add(u64::from(length)));
            let mut event = Event { label, ..event(&id, Lane::ALL[lane], start, end) };
            if let Some(before) = events.last() {
                match link {
                    0..3 => event = after(before, event),
                    3..5 => event.parent = Some(before.id.clone()),
                    _ => {}
                }
                // What an event waited for ended before it.
                event.waited_for = event.waited_for.filter(|wait| wait.until_us <= event.start_us);
            }
            events.push(event);
        }
        events
    });
    (events, hostile(), hostile(), any_time(), prop::collection::vec(hostile(), 0..40)).prop_map(
        |(events, name, cluster, unix_us, reasons)| {
            let path: Vec<String> = events.iter().step_by(2).map(|event| event.id.clone()).collect();
            let mut timeline = timeline(events, &[]);
            timeline.critical_path = path;
            timeline.cluster = Some(cluster);
            timeline.origin.unix_us = unix_us;
            timeline.instance = Some(Instance { instance_id: name.clone(), image_id: Some(name), instance_type: None });
            let missing =
                |reason: String| MissingEvent { id: "x".into(), label: reason.clone(), lane: Lane::Task, reason };
            timeline.missing = reasons.into_iter().map(missing).collect();
            timeline
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_texts_overlap_or_leave_the_picture(timeline in any_timeline()) {
        has_readable_texts(&picture(&timeline))?;
    }

    #[test]
    fn every_picture_is_valid_xml(timeline in any_timeline()) {
        is_valid_xml(&timeline_svg(&timeline))?;
    }
}

#[test]
fn the_pictures_of_usual_boots_are_readable() {
    for mut timeline in [with_user_data(), timeline(Vec::new(), &[])] {
        has_readable_texts(&picture(&timeline)).unwrap();
        timeline.origin.event = id::KERNEL.to_owned();
        is_valid_xml(&timeline_svg(&timeline)).unwrap();
    }
}

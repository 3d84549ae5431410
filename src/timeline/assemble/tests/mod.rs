//! Assembly by data.

mod unknown;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::timeline::record::{CommandRecord, Step};
use crate::timeline::sources::{AgentContainer, BootTimes, JournalEntry, Launch, LoggedLine, Read, UNITS, UnitTimes};
use crate::timeline::{Instance, Wait, id};

/// Wall clock time of monotonic 0, in microseconds.
const BOOT: i64 = 1_800_000_000_000_000;

/// A moment in milliseconds since the start of the kernel.
fn at(ms: i64) -> Moment {
    Moment { monotonic_us: ms * 1000, unix_us: BOOT + ms * 1000 }
}

fn unit(begun: i64, ended: i64, after: &[&str]) -> UnitTimes {
    UnitTimes {
        inactive_exit: Some(at(begun)),
        active_enter: Some(at(ended)),
        inactive_enter: None,
        after: after.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn entry(ms: i64, message_id: &str, unit: &str) -> JournalEntry {
    JournalEntry { at: at(ms), message_id: message_id.to_owned(), unit: unit.to_owned() }
}

/// A line, in milliseconds.
fn logged(ms: i64, message: &str) -> LoggedLine {
    LoggedLine { unix_us: BOOT + ms * 1000, message: message.to_owned() }
}

fn step(name: &str, start_us: u64, duration_us: u64) -> Step {
    Step { name: name.to_owned(), start_us, duration_us, succeeded: true }
}

/// A host on which everything was seen: the launch 5 s before the kernel, the agent registered at 8.1 s.
fn host() -> Sources {
    let units = [
        ("sysinit.target", unit(2000, 2000, &[])),
        ("cloud-init-local.service", unit(2100, 3000, &["sysinit.target"])),
        ("network.service", unit(3010, 4000, &["cloud-init-local.service"])),
        ("network-online.target", unit(4001, 4001, &["network.service"])),
        ("cloud-init.service", unit(4002, 4500, &["network-online.target", "cloud-init-local.service"])),
        ("cloud-config.service", unit(4510, 5000, &["cloud-init.service", "network-online.target"])),
        ("cloud-final.service", unit(5010, 7000, &["cloud-config.service"])),
        ("docker.service", unit(4600, 5200, &["network-online.target", "sysinit.target"])),
        ("ecs-bootstrap.service", unit(4505, 4590, &["cloud-init.service"])),
        ("ecs.service", unit(7010, 7300, &["cloud-final.service", "docker.service", "ecs-bootstrap.service"])),
    ];
    Sources {
        boot: Ok(BootTimes {
            kernel: Some(at(0)),
            initrd: Some(at(500)),
            userspace: Some(at(1500)),
            finish: Some(at(9000)),
        }),
        units: Ok(units.map(|(name, times)| (name.to_owned(), times)).into()),
        journal: Ok(vec![
            entry(7011, units::UNIT_STARTING, "ecs.service"),
            entry(7300, units::UNIT_STARTED, "ecs.service"),
            entry(8400, commands::READY, ""),
        ]),
        last_of_earlier_boot: Ok(None),
        once_per_instance: Ok(Some(BOOT + 6_000_000)),
        launch: Ok(Launch {
            pending_unix_us: BOOT - 5_000_000,
            instance: Instance { instance_id: "i-1".to_owned(), ..Instance::default() },
            source: "instance metadata".to_owned(),
        }),
        cloud_init_log: Ok(log("2027-01-15 08:00:05,500", "2027-01-15 08:00:06,900", "ran successfully")),
        agent_log: Ok(vec![
            logged(7000, "Starting Amazon ECS Agent"),
            logged(8000, "Registered container instance with cluster!"),
            logged(8000, "Connected to ACS endpoint"),
        ]),
        agent_container: Ok(AgentContainer {
            started_unix_us: BOOT + 7_500_000,
            output: Ok(vec![
                logged(8100, "msg=\"Registered container instance with cluster!\""),
                logged(8300, "msg=\"Connected to ACS endpoint\""),
            ]),
        }),
        task_starts: Ok(vec![BOOT + 9_500_000]),
        records: vec![CommandRecord {
            command: "run".to_owned(),
            started_monotonic_us: 4_506_000,
            duration_us: 80_000,
            stages: vec![step("gather", 1000, 50_000), step("apply", 52_000, 20_000)],
            requests: vec![step("IMDS api/token", 2000, 10_000), step("AWS ecs:ListClusters", 60_000, 9000)],
            ..CommandRecord::default()
        }],
    }
}

fn log(start: &str, finish: &str, end: &str) -> String {
    format!(
        "{start} - handlers.py[DEBUG]: start: modules-final/config-scripts-user: running config-scripts-user\n\
         {finish} - handlers.py[DEBUG]: finish: modules-final/config-scripts-user: SUCCESS: config-scripts-user {end}\n"
    )
}

/// Start and duration in milliseconds since the kernel, with the launch 5 s before it.
fn seen(timeline: &Timeline, id: &str) -> Option<(i64, Option<i64>)> {
    let ms = |us: u64| i64::try_from(us / 1000).unwrap();
    timeline.event(id).map(|event| (ms(event.start_us) - 5000, event.end_us.map(|end| ms(end) - 5000)))
}

fn reason<'t>(timeline: &'t Timeline, id: &str) -> &'t str {
    assert!(timeline.event(id).is_none(), "{id} is not missing");
    timeline.missing.iter().find(|missing| missing.id == id).map_or("", |missing| &missing.reason)
}

#[test]
fn every_event_of_a_host_is_at_its_time() {
    let timeline = timeline(&host());
    assert_eq!(timeline.origin.event, id::LAUNCH);
    assert_eq!(timeline.origin.unix_us, (BOOT - 5_000_000) as u64);
    for (id, start, end) in [
        (id::LAUNCH, -5000, -5000),
        (id::KERNEL, 0, 500),
        (id::INITRD, 500, 1500),
        (id::USERSPACE, 1500, 9000),
        (id::CLOUD_INIT_LOCAL, 2100, 3000),
        (id::NETWORK_ONLINE, 4001, 4001),
        (id::CLOUD_INIT_NETWORK, 4002, 4500),
        (id::CLOUD_CONFIG, 4510, 5000),
        (id::CLOUD_FINAL, 5010, 7000),
        (id::USER_DATA, 5500, 6900),
        (id::DOCKER, 4600, 5200),
        (id::RUN, 4506, 4586),
        ("run.gather", 4507, 4557),
        ("run.gather.1", 4508, 4518),
        ("run.apply.2", 4566, 4575),
        (id::ECS, 7010, 7300),
        (id::AGENT_STARTED, 7500, 7500),
        (id::REGISTERED, 8100, 8100),
        (id::CONNECTED, 8300, 8300),
        (id::REPORTED, 8400, 8400),
        (id::FIRST_TASK, 9500, 9500),
    ] {
        assert_eq!(seen(&timeline, id), Some((start, Some(end))), "{id}");
    }
    let missing: Vec<&str> = timeline.missing.iter().map(|missing| missing.id.as_str()).collect();
    assert_eq!(missing, [id::VERIFY]);
    assert_eq!(timeline.event(id::USER_DATA).unwrap().parent.as_deref(), Some(id::CLOUD_FINAL));
    assert_eq!(timeline.event(id::RUN).unwrap().parent.as_deref(), Some("ecs-bootstrap.service"));
}

#[test]
fn the_critical_path_follows_what_ended_last() {
    let timeline = timeline(&host());
    assert_eq!(
        timeline.critical_path,
        [
            id::LAUNCH,
            id::KERNEL,
            id::INITRD,
            "sysinit.target",
            id::CLOUD_INIT_LOCAL,
            "network.service",
            id::NETWORK_ONLINE,
            id::CLOUD_INIT_NETWORK,
            id::CLOUD_CONFIG,
            id::CLOUD_FINAL,
            id::ECS,
            id::AGENT_STARTED,
            id::REGISTERED,
            id::CONNECTED,
            id::FIRST_TASK,
        ]
    );
    let docker = timeline.event(id::DOCKER).unwrap().waited_for.clone();
    assert_eq!(docker, Some(Wait { event: id::NETWORK_ONLINE.to_owned(), until_us: 9_001_000 }));
}

#[test]
fn after_a_reboot_the_launch_is_missing_and_times_begin_with_the_kernel() {
    for change in [
        |host: &mut Sources| host.last_of_earlier_boot = Ok(Some(BOOT - 1_000_000)),
        |host: &mut Sources| host.once_per_instance = Ok(Some(BOOT - 1_000_000)),
    ] {
        let mut host = host();
        change(&mut host);
        let timeline = timeline(&host);
        assert!(reason(&timeline, id::LAUNCH).contains("earlier boot"), "{timeline:?}");
        assert_eq!((timeline.origin.event.as_str(), timeline.origin.unix_us), (id::KERNEL, BOOT as u64));
        assert_eq!(timeline.event(id::DOCKER).unwrap().start_us, 4_600_000);
    }
}

#[test]
fn the_launch_is_missing_unless_this_is_known_to_be_its_first_boot() {
    let with = |journal, once, pending| {
        let mut host = host();
        host.last_of_earlier_boot = journal;
        host.once_per_instance = once;
        host.launch.as_mut().unwrap().pending_unix_us = pending;
        timeline(&host)
    };
    let unknown = || Err("denied".to_owned());
    // The instance was stopped and started again: all traces are older than its last launch.
    let started_again = with(Ok(Some(BOOT - 9_000_000)), Ok(Some(BOOT - 20_000_000)), BOOT - 5_000_000);
    assert_eq!(started_again.origin.event, id::LAUNCH);
    assert!(reason(&with(Ok(None), Ok(None), BOOT - 5_000_000), id::LAUNCH).starts_with("neither"));
    assert!(reason(&with(unknown(), unknown(), BOOT - 5_000_000), id::LAUNCH).starts_with("neither"));
    assert!(reason(&with(Ok(None), Ok(None), BOOT + 1_000_000), id::LAUNCH).contains("clock"));
}

#[test]
fn a_unit_that_was_started_again_has_its_first_start_from_the_journal() {
    let mut host = host();
    host.units.as_mut().unwrap().insert("ecs.service".to_owned(), unit(90_000, 90_300, &["cloud-final.service"]));
    host.agent_container.as_mut().unwrap().started_unix_us = BOOT + 90_500_000;
    host.agent_container.as_mut().unwrap().output =
        Ok(vec![logged(91_000, "Registered container instance with cluster!")]);
    let timeline = timeline(&host);
    assert_eq!(seen(&timeline, id::ECS), Some((7011, Some(7300))));
    // The container is that of the second start, so the log of the first one has the best times.
    let registered = timeline.event(id::REGISTERED).unwrap();
    assert_eq!((registered.start_us, registered.resolution_us), (13_000_000, 1_000_000));
    // It started after `ecs.service`, within the second that the log has.
    assert_eq!(seen(&timeline, id::AGENT_STARTED), Some((7000, Some(7000))));
    let path = timeline.critical_path.join(" ");
    assert!(path.contains("cloud-final ecs agent-started registered"), "{path}");
    host.agent_log = Err("there is no log".to_owned());
    let timeline = super::timeline(&host);
    assert!(reason(&timeline, id::REGISTERED).contains("started again"));
    assert!(reason(&timeline, id::AGENT_STARTED).contains("started again"));
}

#[test]
fn a_host_that_never_ran_ecs_bootstrap_lacks_only_its_events() {
    let mut host = host();
    host.records.clear();
    host.units.as_mut().unwrap().remove("ecs-bootstrap.service");
    host.journal.as_mut().unwrap().retain(|entry| entry.message_id != commands::READY);
    let timeline = timeline(&host);
    let missing: Vec<&str> = timeline.missing.iter().map(|missing| missing.id.as_str()).collect();
    assert_eq!(missing, [id::RUN, id::VERIFY, id::REPORTED]);
    assert_eq!(reason(&timeline, id::RUN), "ecs-bootstrap has not run in this boot");
}

#[test]
fn lines_of_an_earlier_boot_are_ignored() {
    let mut host = host();
    host.agent_log.as_mut().unwrap().insert(0, logged(-60_000, "Registered container instance with cluster!"));
    host.cloud_init_log = Ok(log("2027-01-15 07:00:05,500", "2027-01-15 07:00:06,900", "ran successfully")
        + &log("2027-01-15 08:00:05,500", "2027-01-15 08:00:05,501", "previously ran"));
    host.task_starts = Ok(vec![BOOT - 60_000_000]);
    let timeline = timeline(&host);
    assert_eq!(seen(&timeline, id::REGISTERED), Some((8100, Some(8100))));
    assert!(reason(&timeline, id::USER_DATA).contains("ran in an earlier boot"));
    assert!(reason(&timeline, id::FIRST_TASK).contains("no container of a task"));
}

#[test]
fn what_has_begun_and_not_ended_has_no_end() {
    let mut host = host();
    host.boot.as_mut().unwrap().finish = None;
    host.units.as_mut().unwrap().get_mut("cloud-final.service").unwrap().active_enter = None;
    host.units.as_mut().unwrap().remove("ecs.service");
    let timeline = timeline(&host);
    assert_eq!(seen(&timeline, id::CLOUD_FINAL), Some((5010, None)));
    assert_eq!(seen(&timeline, id::USERSPACE), Some((1500, None)));
    assert_eq!(reason(&timeline, id::ECS), "systemd has no unit ecs.service");
}

#[test]
fn a_failed_unit_ended_when_it_failed() {
    let mut host = host();
    let failed = host.units.as_mut().unwrap().get_mut("cloud-final.service").unwrap();
    (failed.active_enter, failed.inactive_enter) = (None, Some(at(6500)));
    let timeline = timeline(&host);
    assert_eq!(seen(&timeline, id::CLOUD_FINAL), Some((5010, Some(6500))));
    assert_eq!(timeline.event(id::ECS).unwrap().waited_for.as_ref().unwrap().event, id::CLOUD_FINAL);
}

/// One bit for each source that can be missing.
fn without(mask: u32) -> Sources {
    let mut host = host();
    let gone = |bit: u32| mask & (1 << bit) != 0;
    fn clear<T>(value: &mut Read<T>) {
        *value = Err("not read".to_owned());
    }
    if gone(0) {
        clear(&mut host.boot);
    }
    if gone(1) {
        clear(&mut host.journal);
    }
    if gone(2) {
        clear(&mut host.last_of_earlier_boot);
    }
    if gone(3) {
        clear(&mut host.once_per_instance);
    }
    if gone(4) {
        clear(&mut host.launch);
    }
    if gone(5) {
        clear(&mut host.cloud_init_log);
    }
    if gone(6) {
        clear(&mut host.agent_log);
    }
    if gone(7) {
        clear(&mut host.agent_container);
    }
    if gone(8) {
        clear(&mut host.task_starts);
    }
    if gone(9) {
        host.records.clear();
    }
    for (bit, name) in (10..).zip(UNITS) {
        if gone(bit) {
            host.units.as_mut().unwrap().remove(name);
        }
    }
    host
}

fn moments() -> impl Strategy<Value = Option<Moment>> {
    let moment = (-2_000_000i64..20_000_000, -3_000_000i64..3_000_000);
    prop::option::of(
        moment.prop_map(|(monotonic_us, step)| Moment { monotonic_us, unix_us: BOOT + monotonic_us + step }),
    )
}

fn random_units() -> impl Strategy<Value = BTreeMap<String, UnitTimes>> {
    let name = prop::sample::select(UNITS.to_vec());
    let after = prop::collection::vec(prop::sample::select(UNITS.to_vec()).prop_map(str::to_owned), 0..4);
    let times =
        (moments(), moments(), moments(), after).prop_map(|(inactive_exit, active_enter, inactive_enter, after)| {
            UnitTimes { inactive_exit, active_enter, inactive_enter, after }
        });
    prop::collection::btree_map(name.prop_map(str::to_owned), times, 0..11)
}

/// What holds for every timeline.
fn assert_sound(timeline: &Timeline) {
    let ids: Vec<&str> = timeline.events.iter().map(|event| event.id.as_str()).collect();
    for missing in &timeline.missing {
        assert!(!ids.contains(&missing.id.as_str()), "{} is drawn and missing", missing.id);
        assert!(!missing.reason.is_empty());
    }
    for id in [id::LAUNCH, id::DOCKER, id::REGISTERED, id::FIRST_TASK, id::RUN] {
        assert!(ids.contains(&id) || timeline.missing.iter().any(|missing| missing.id == id), "{id} is nowhere");
    }
    for (number, event) in timeline.events.iter().enumerate() {
        assert!(!ids[..number].contains(&event.id.as_str()), "{} twice", event.id);
        assert!(number == 0 || timeline.events[number - 1].start_us <= event.start_us, "{} is not in order", event.id);
        assert!(event.end_us.is_none_or(|end| end >= event.start_us));
        if let Some(parent) = &event.parent {
            assert!(timeline.event(parent).is_some_and(|parent| parent.start_us <= event.start_us));
        }
        if let Some(wait) = &event.waited_for {
            let before = timeline.event(&wait.event).expect("what it waited for");
            let end = before.end_us.expect("an end");
            assert!(wait.until_us == end.min(event.start_us), "{event:?}");
            assert!(end <= event.start_us + event.resolution_us, "{event:?}");
        }
    }
    for pair in timeline.critical_path.windows(2) {
        let next = timeline.event(&pair[1]).expect("an event of the path");
        assert_eq!(next.waited_for.as_ref().map(|wait| &wait.event), Some(&pair[0]));
    }
}

proptest! {
    #[test]
    fn any_subset_of_the_sources_makes_a_sound_timeline(mask in 0u32..1 << 21) {
        let timeline = timeline(&without(mask));
        assert_sound(&timeline);
        // An event that both have is at the same time, whatever else is missing.
        let whole = super::timeline(&host());
        let zero = |timeline: &Timeline| timeline.origin.unix_us;
        for event in &timeline.events {
            if let Some(known) = whole.event(&event.id).filter(|_| mask & 0b11 == 0) {
                let at = |timeline: &Timeline, event: &Event| zero(timeline) + event.start_us;
                let distance = at(&timeline, event).abs_diff(at(&whole, known));
                prop_assert!(distance <= known.resolution_us.max(event.resolution_us) + 500_000, "{event:?} {known:?}");
            }
        }
    }

    #[test]
    fn any_times_make_a_sound_timeline(units in random_units(), kernel in moments(), userspace in moments(), mask in 0u32..1 << 10) {
        let mut sources = without(mask);
        sources.units = Ok(units);
        if let Ok(boot) = &mut sources.boot {
            (boot.kernel, boot.userspace) = (kernel, userspace);
        }
        assert_sound(&timeline(&sources));
    }
}

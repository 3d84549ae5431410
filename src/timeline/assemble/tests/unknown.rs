//! Events whose time is ambiguous or whose source is incomplete: missing, never estimated.

use super::*;

/// A host whose clock was set back by 2.5 s between 8.4 s and 9 s.
fn host_with_a_clock_that_was_set_back() -> Sources {
    let mut host = host();
    let finish = Moment { monotonic_us: 9_000_000, unix_us: BOOT + 6_500_000 };
    host.boot.as_mut().unwrap().finish = Some(finish);
    host
}

#[test]
fn a_first_line_with_an_ambiguous_time_is_missing_and_no_later_line_takes_its_place() {
    let mut host = host_with_a_clock_that_was_set_back();
    host.agent_log.as_mut().unwrap().push(logged(20_000, "Registered container instance with cluster!"));
    host.agent_container.as_mut().unwrap().output.as_mut().unwrap()[1].unix_us = BOOT + 20_000_000;
    host.task_starts.as_mut().unwrap().push(BOOT + 8_000_000);
    let log_of = |times: [&str; 2]| log(times[0], times[1], "ran successfully");
    host.cloud_init_log = Ok(log_of(["2027-01-15 08:00:08,000", "2027-01-15 08:00:08,100"])
        + &log_of(["2027-01-15 08:00:20,000", "2027-01-15 08:00:20,100"]));
    let timeline = timeline(&host);
    for id in [id::REGISTERED, id::CONNECTED, id::FIRST_TASK, id::USER_DATA] {
        assert!(reason(&timeline, id).contains("ambiguous"), "{id}: {timeline:?}");
    }
}

#[test]
fn user_data_whose_end_is_ambiguous_is_missing_and_not_drawn_as_running() {
    let mut host = host_with_a_clock_that_was_set_back();
    host.cloud_init_log = Ok(log("2027-01-15 08:00:05,500", "2027-01-15 08:00:08,000", "ran successfully"));
    assert!(reason(&timeline(&host), id::USER_DATA).contains("ambiguous"));
}

#[test]
fn a_step_of_the_clock_neither_loses_nor_moves_a_command() {
    let seen_run = |host: &Sources| seen(&timeline(host), id::RUN);
    let mut host = host_with_a_clock_that_was_set_back();
    host.records[0].started_monotonic_us = 8_000_000;
    assert_eq!(
        seen_run(&host),
        Some((5_500, Some(5_580))),
        "8 s after the kernel, which starts 2.5 s after the launch"
    );
}

#[test]
fn the_first_task_is_missing_if_the_agent_may_have_removed_its_container() {
    let mut host = host();
    host.agent_log.as_mut().unwrap().push(logged(9000, "Cleaning up task's containers and data"));
    assert!(reason(&timeline(&host), id::FIRST_TASK).contains("has removed the containers"));
    // The log of a removal in an earlier boot changes nothing.
    host.agent_log.as_mut().unwrap().rotate_right(1);
    host.agent_log.as_mut().unwrap()[0].unix_us = BOOT - 60_000_000;
    assert_eq!(seen(&timeline(&host), id::FIRST_TASK), Some((9500, Some(9500))));
    // The agent keeps its log for a day.
    host.agent_log.as_mut().unwrap().retain(|line| !line.message.starts_with("Starting"));
    assert!(reason(&timeline(&host), id::FIRST_TASK).contains("does not show whether"));
}

#[test]
fn a_verification_by_hand_after_the_boot_is_not_a_part_of_user_data() {
    let mut host = host();
    let verify = |started_monotonic_us| CommandRecord {
        command: "verify".to_owned(),
        started_monotonic_us,
        duration_us: 1000,
        ..CommandRecord::default()
    };
    let parent = |host: &Sources| timeline(host).event(id::VERIFY).unwrap().parent.clone();
    host.records.push(verify(6_000_000));
    assert_eq!(parent(&host).as_deref(), Some(id::USER_DATA));
    host.records[1] = verify(60_000_000);
    assert_eq!(parent(&host), None);
}

#[test]
fn the_start_of_the_agent_is_known_if_its_output_is_not() {
    let mut host = host();
    host.agent_log = Err("there is no log".to_owned());
    host.agent_container.as_mut().unwrap().output = Err("docker did not answer".to_owned());
    let timeline = timeline(&host);
    assert_eq!(seen(&timeline, id::AGENT_STARTED), Some((7500, Some(7500))));
    assert_eq!(reason(&timeline, id::REGISTERED), "docker did not answer");
}

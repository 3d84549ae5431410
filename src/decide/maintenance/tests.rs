use super::*;
use crate::boundary::disk::{EntryType, TreeEntry};
use crate::boundary::systemd::SystemdError;
use crate::cleanup::{Interrupted, NotRemoved};
use crate::facts::{SavedAgent, SavedState, WriteRecord};

const NOW: &str = "2026-11-25T22:31:05Z";
const ASIDE: &str = "/var/lib/ecs/data.2026-11-25T22-31-05Z";

fn now() -> SystemTime {
    humantime::parse_rfc3339(NOW).unwrap()
}

fn unit(active_state: &str) -> AgentRuns {
    AgentRuns::Unit(UnitState {
        name: "ecs.service".to_owned(),
        load_state: Some("loaded".to_owned()),
        active_state: Some(active_state.to_owned()),
        ..UnitState::default()
    })
}

/// A host with these files and a stopped agent.
fn host(paths: &[&str]) -> Leftovers {
    let entry = |path: &&str| TreeEntry { path: (*path).to_owned(), entry_type: EntryType::File, bytes: Some(3) };
    Leftovers {
        root: None,
        found: paths.iter().map(entry).collect(),
        set_aside: paths.iter().filter(|path| path.contains("data.2")).map(|path| (*path).to_owned()).collect(),
        unreadable: Vec::new(),
        elsewhere: Vec::new(),
        data_is_mounted: false,
        ecs_config: Ok(None),
        written: WriteRecord::default(),
        agent: unit("inactive"),
        agent_answers: false,
        port_taken: None,
        registered: None,
        tasks: Fact::Known(Vec::new()),
        saved: None,
        has_container: false,
        interrupted: None,
    }
}

fn task() -> Task {
    let (family, version) = ("web".to_owned(), "3".to_owned());
    Task { arn: "arn:t/1".to_owned(), family, version, known_status: "RUNNING".to_owned() }
}

#[test]
fn hints_name_the_image_and_the_lines_that_stay_in_ecs_config() {
    let mut leftovers = host(&["/var/lib/ecs/data/agent.db"]);
    leftovers.root = Some("/mnt/an image".to_owned());
    leftovers.ecs_config = Ok(Some(b"ECS_CLUSTER=old\nECS_LOGLEVEL=info\nDB_PASS=hunter2\n".to_vec()));
    let hints = cleanup(leftovers, false).hints.join("\n");
    assert!(hints.contains("`truncate -s 0 '/mnt/an image'/etc/machine-id`"), "{hints}");
    assert!(hints.contains("and a copy uses them: DB_PASS, ECS_CLUSTER") && !hints.contains("hunter2"), "{hints}");
}

#[test]
fn every_removed_path_has_its_reason() {
    let paths = [
        "/var/lib/ecs/data/agent.db",
        "/var/lib/ecs/gpu/nvidia-gpu-info.json",
        "/var/log/ecs/ecs-agent.log",
        "/var/lib/ecs-bootstrap/written.json",
        ASIDE,
        "/run/ecs-bootstrap/status.json",
    ];
    let whys: Vec<_> = cleanup(host(&paths), false).remove.into_iter().map(|removal| removal.why).collect();
    let distinct: std::collections::BTreeSet<_> = whys.iter().collect();
    assert_eq!((whys.len(), distinct.len()), (6, 6), "{whys:?}");
}

#[test]
fn an_agent_is_stopped_unless_it_is_known_not_to_run() {
    for (state, stopped) in [("active", true), ("activating", true), ("deactivating", true), ("failed", false)] {
        let leftovers = Leftovers { agent: unit(state), ..host(&[]) };
        assert_eq!(cleanup(leftovers, false).stop.is_some(), stopped, "{state}");
    }
    let queued = UnitState { job: Some(7), active_state: Some("inactive".to_owned()), ..UnitState::default() };
    for agent in [AgentRuns::Unit(queued), AgentRuns::Unit(UnitState::default())] {
        assert!(cleanup(Leftovers { agent, ..host(&[]) }, false).stop.is_some());
    }
    for agent in [AgentRuns::NotBooted, AgentRuns::NotInstalled] {
        let plan = cleanup(Leftovers { agent, ..host(&["/var/log/ecs/a"]) }, false);
        assert!(plan.stop.is_none() && plan.obstacles.is_empty() && plan.remove.len() == 1);
    }
}

#[test]
fn an_unknown_agent_is_an_obstacle_even_with_force() {
    let error = SystemdError::NoManager { message: "none".to_owned() };
    let leftovers = Leftovers { agent: AgentRuns::Unknown(error), ..host(&["/var/lib/ecs/data/agent.db"]) };
    assert!(matches!(cleanup(leftovers, true).obstacles[..], [StageError::Systemd(_)]));
    let outside = Leftovers { agent_answers: true, ..host(&["/var/lib/ecs/data/agent.db"]) };
    assert!(matches!(reset(outside, now(), true).obstacles[..], [StageError::RunsOutside]));
}

#[test]
fn running_or_unknown_tasks_are_an_obstacle_without_force() {
    let with = |tasks| Leftovers { agent: unit("active"), tasks, ..host(&["/var/lib/ecs/data/agent.db"]) };
    let run = || with(Fact::Known(vec![task()]));
    assert!(matches!(&cleanup(run(), false).obstacles[..], [StageError::TasksRun { tasks }]
            if tasks == &["`web:3` is RUNNING: arn:t/1"]));
    assert!(cleanup(run(), true).obstacles.is_empty() && reset(run(), now(), true).obstacles.is_empty());
    let unknown = || with(Fact::Unknown("silent".to_owned()));
    assert!(matches!(reset(unknown(), now(), false).obstacles[..], [StageError::TasksUnknown { .. }]));
    assert!(reset(unknown(), now(), true).obstacles.is_empty());
}

#[test]
fn only_a_link_in_the_path_of_the_state_prevents_a_reset() {
    let link = |path: &str| DiskError::Symlink { doing: "list", path: path.to_owned() };
    for (path, blocked) in [("/var/lib/ecs/data", true), ("/var/lib", true), ("/var/log/ecs", false)] {
        let leftovers = || Leftovers { elsewhere: vec![link(path)], ..host(&["/var/lib/ecs/data/agent.db"]) };
        assert_eq!(!reset(leftovers(), now(), false).obstacles.is_empty(), blocked, "{path}");
        assert_eq!(cleanup(leftovers(), false).obstacles.len(), 1, "{path}");
    }
    let mounted = || Leftovers { data_is_mounted: true, ..host(&["/var/lib/ecs/data/agent.db"]) };
    assert!(matches!(reset(mounted(), now(), true).obstacles[..], [StageError::Elsewhere(_)]));
    assert!(cleanup(mounted(), false).obstacles.is_empty());
}

#[test]
fn a_reset_restarts_a_running_or_failed_unit() {
    let with = |agent| reset(Leftovers { agent, ..host(&["/var/lib/ecs/data/agent.db"]) }, now(), false);
    let units = |reset: &Reset| (reset.stop.is_some(), reset.start.is_some());
    assert_eq!(units(&with(unit("active"))), (true, true));
    assert_eq!(units(&with(unit("activating"))), (true, true));
    assert_eq!(units(&with(unit("failed"))), (false, true));
    assert_eq!(units(&with(unit("inactive"))), (false, false));
    assert_eq!(units(&with(AgentRuns::NotBooted)), (false, false));
    assert_eq!(with(unit("active")).set_aside.unwrap().to, ASIDE);
}

#[test]
fn a_reset_without_saved_state_leaves_the_agent_alone() {
    let reset = reset(Leftovers { agent: unit("active"), ..host(&["/var/log/ecs/a"]) }, now(), false);
    assert!(reset.is_empty() && reset.stop.is_none());
}

#[test]
fn a_second_reset_in_the_same_second_gets_another_name() {
    let reset = reset(host(&["/var/lib/ecs/data/agent.db", ASIDE]), now(), false);
    assert_eq!(reset.set_aside.unwrap().to, "/var/lib/ecs/data.2026-11-25T22-31-06Z");
}

#[test]
fn an_interrupted_reset_is_finished_and_nothing_is_moved_twice() {
    let note = || Some(Interrupted { unit: "ecs.service".to_owned(), to: ASIDE.to_owned() });
    let stopped = Leftovers { interrupted: note(), ..host(&["/var/lib/ecs/data/agent.db"]) };
    let before_the_move = reset(stopped, now(), false);
    assert!(before_the_move.set_aside.is_some() && before_the_move.start.is_some());
    let moved = Leftovers { interrupted: note(), ..host(&["/var/lib/ecs/data/agent.db", ASIDE]) };
    let after_the_move = reset(moved, now(), false);
    assert_eq!((after_the_move.set_aside, after_the_move.was_set_aside.as_deref()), (None, Some(ASIDE)));
    assert_eq!(after_the_move.start.as_deref(), Some("ecs.service"));
    let started = Leftovers { interrupted: note(), agent: unit("active"), ..host(&["/var/lib/ecs/data/x", ASIDE]) };
    let after_the_start = reset(started, now(), false);
    assert!(after_the_start.stop.is_none() && after_the_start.start.is_none() && !after_the_start.is_empty());
}

#[test]
fn unreadable_state_is_moved_too() {
    let unreadable = vec![NotRemoved { path: DATA.to_owned(), why: "denied".to_owned() }];
    let reset = reset(Leftovers { unreadable, ..host(&[]) }, now(), false);
    assert_eq!(reset.set_aside.unwrap().bytes, None);
}

#[test]
fn a_hint_names_the_registration_and_the_command_to_remove_it() {
    let arn = "arn:aws:ecs:eu-west-1:111122223333:container-instance/prod/abc";
    let registered = Registered {
        cluster: "arn:aws:ecs:eu-west-1:111122223333:cluster/prod".to_owned(),
        container_instance_arn: arn.to_owned(),
    };
    let command =
        format!("aws ecs deregister-container-instance --region eu-west-1 --cluster prod --container-instance {arn}");
    let plan = cleanup(Leftovers { registered: Some(registered), ..host(&[]) }, false);
    assert!(plan.hints[0].contains(&command), "{}", plan.hints[0]);
    let state = SavedState {
        cluster: Some("prod".to_owned()),
        container_instance_arn: Some(arn.to_owned()),
        ec2_instance_id: Some("i-1".to_owned()),
        ..SavedState::default()
    };
    let saved = Some(SavedAgent { state: Fact::Known(Some(state)), modified: None, is_damaged: false });
    let plan = cleanup(Leftovers { saved, ..host(&[]) }, false);
    assert!(plan.hints[0].contains(&command) && plan.hints[0].contains("`i-1`"), "{}", plan.hints[0]);
}

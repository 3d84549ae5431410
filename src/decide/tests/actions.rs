//! Tests of the actions on the units, by the state of the units.

use super::*;

fn named() -> Case {
    Case::new().config("cluster = \"prod\"").etc("ECS_CLUSTER=prod\n")
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn starts_units_that_do_not_run() {
    let table = [
        ("loaded", Some("inactive"), None, Action::Start),
        ("loaded", Some("failed"), None, Action::Start),
        ("loaded", Some("deactivating"), None, Action::Start),
        ("loaded", None, None, Action::Start),
        ("loaded", Some("inactive"), Some(7), Action::Leave),
        ("loaded", Some("active"), None, Action::Leave),
        ("loaded", Some("reloading"), None, Action::Leave),
        ("loaded", Some("activating"), Some(7), Action::Leave),
        ("masked", Some("inactive"), None, Action::Leave),
        ("masked", Some("active"), None, Action::Leave),
        ("not-found", Some("inactive"), None, Action::Leave),
    ];
    for (load, active, job, action) in table {
        let change = |unit: &mut UnitState| {
            unit.load_state = Some(load.to_owned());
            unit.active_state = active.map(str::to_owned);
            unit.job = job;
        };
        let units =
            named().units(|units| [&mut units.docker, &mut units.agent].into_iter().for_each(change)).planned().units;
        let [docker, agent] = &units[..] else { panic!("{units:?}") };
        assert_eq!((docker.unit.as_str(), docker.action), ("docker.service", action), "{load} {active:?}");
        assert_eq!((agent.unit.as_str(), agent.action), ("ecs.service", action), "{load} {active:?}");
    }
}

#[test]
fn restarts_an_agent_that_runs_with_another_configuration() {
    let running = |case: Case| case.units(|units| units.agent.active_state = Some("active".to_owned()));
    assert_eq!(running(named()).agent().action, Action::Leave);
    assert_eq!(running(Case::new().config("cluster = \"prod\"")).agent().action, Action::Restart);
    let starting = |units: &mut Units| units.agent.active_state = Some("activating".to_owned());
    assert_eq!(Case::new().config("cluster = \"prod\"").units(starting).agent().action, Action::Restart);
    assert_eq!(Case::new().config("cluster = \"prod\"").agent().action, Action::Start);
}

#[test]
fn leaves_a_running_agent_that_has_registered_in_another_cluster() {
    let case = |state: &str, registered: bool, instance| {
        Case::new()
            .config("cluster = \"prod\"")
            .saved("stage", instance)
            .units(|units| units.agent.active_state = Some(state.to_owned()))
            .facts(|facts| {
                if let Some(SavedAgent { state: Fact::Known(Some(saved)), .. }) = &mut facts.host.saved {
                    saved.container_instance_arn = registered.then(|| "arn".to_owned());
                }
            })
    };
    let left = case("active", true, HERE).agent();
    assert_eq!(left.action, Action::Leave);
    assert!(left.why.contains("registered in cluster `stage`") && left.why.contains("reset-agent"), "{}", left.why);
    assert_eq!(case("active", false, HERE).agent().action, Action::Restart);
    assert_eq!(case("active", true, "i-another").agent().action, Action::Restart);
    assert_eq!(case("inactive", true, HERE).agent().action, Action::Start);
}

#[test]
fn restarts_an_agent_that_started_before_the_file_was_written() {
    let case = |started: u64, written: u64| {
        named()
            .units(|units| {
                units.agent.active_state = Some("active".to_owned());
                units.agent.exec_main_start_usec = Some(started * 1_000_000);
            })
            .facts(|facts| facts.host.etc_config.modified = Some(at(written)))
    };
    assert_eq!(case(100, 200).agent().action, Action::Restart);
    assert_eq!(case(200, 100).agent().action, Action::Leave);
    assert_eq!(case(0, 100).agent().action, Action::Leave);
}

#[test]
fn never_restarts_a_masked_agent() {
    let masked = Case::new().config("cluster = \"prod\"").units(|units| {
        units.agent.load_state = Some("masked".to_owned());
        units.agent.active_state = Some("active".to_owned());
    });
    assert_eq!(masked.agent().action, Action::Leave);
}

#[test]
fn units_that_could_not_be_asked_about_are_unknown() {
    let blind = named().facts(|facts| facts.host.units = Fact::Unknown("there is no bus".to_owned()));
    for unit in blind.planned().units {
        assert_eq!((unit.action, unit.why.as_str()), (Action::Unknown, "there is no bus"));
    }
}

#[test]
fn uses_the_name_of_the_agents_unit_on_this_host() {
    let suse = named().units(|units| units.agent.name = "amazon-ecs.service".to_owned());
    assert_eq!(suse.agent().unit, "amazon-ecs.service");
    assert_eq!(suse.planned().expectation.agent_unit, "amazon-ecs.service");
}

#[test]
fn enables_a_disabled_agent_only_with_units_enable() {
    let disabled = |case: Case| case.units(|units| units.agent.unit_file_state = Some("disabled".to_owned()));
    assert_eq!(disabled(named()).warnings(), ["unit-not-enabled"]);
    assert_eq!(disabled(named()).planned().enable, Vec::<String>::new());
    let asked = || named().config("units.enable = true");
    assert_eq!(disabled(asked()).planned().enable, ["ecs.service"]);
    assert_eq!(disabled(asked()).warnings(), Vec::<&str>::new());
    assert_eq!((asked().planned().enable, asked().warnings()), (Vec::new(), Vec::new()));
}

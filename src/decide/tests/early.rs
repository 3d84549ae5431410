//! Tests of the decision on early start.

use super::*;
use crate::facts::USER_DATA_TARGET;

fn target(job: Option<u32>) -> UnitState {
    UnitState { job, ..unit(USER_DATA_TARGET, "inactive") }
}

/// An instance in whose image early start is installed, while user data runs.
fn installed(case: Case) -> Case {
    case.units(|units| {
        units.agent.after = Some(vec!["docker.service".to_owned(), USER_DATA_TARGET.to_owned()]);
        units.cloud_final.active_state = Some("activating".to_owned());
        units.user_data_target = Some(target(Some(9)));
    })
    .facts(|facts| facts.host.early_unit = Fact::Known(EarlyUnit::Current))
}

fn on() -> Case {
    installed(Case::new().config("units.early = true"))
}

/// Whether the agent starts early, whether it must be released, and the reason.
fn early(case: &Case) -> (bool, bool, String) {
    let early = case.planned().early.unwrap();
    (early.starts, early.release, early.why)
}

#[test]
fn the_agent_starts_early_if_no_line_of_the_file_can_change_the_cluster() {
    for (case, starts) in [
        (on().tag("ecs-bootstrap:cluster", "prod"), true),
        (on().config("cluster = \"prod\""), true),
        (on().setting(Rank::UserData, "cluster = \"prod\""), true),
        (on().setting(Rank::CommandLine, "cluster = \"prod\""), true),
        (on().config("cluster-tags = { env = \"a\" }").cluster("prod", "ACTIVE", &[("env", "a")]), true),
        (on(), false),
        (on().etc("ECS_CLUSTER=prod\n"), false),
        (on().var("ECS_CLUSTER=prod\n"), false),
        (on().config("tags.cluster = \"fallback\"").tag("ecs-bootstrap:cluster", "prod"), false),
    ] {
        let (found, release, why) = early(&case);
        assert_eq!((found, release), (starts, starts), "{why}");
        assert!(!case.warnings().contains(&"early-start"), "{why}");
    }
}

#[test]
fn the_agent_waits_for_user_data_that_mentions_its_configuration() {
    let case = on().config("cluster = \"prod\"").facts(|facts| facts.user_data_mentions_agent = true);
    assert_eq!(
        early(&case),
        (false, false, "user data mentions the agent's configuration, or may stop docker".to_owned())
    );
}

#[test]
fn an_agent_that_was_released_or_need_not_wait_is_not_released_again() {
    let case = on().config("cluster = \"prod\"").units(|units| units.user_data_target = Some(target(None)));
    assert!(!early(&case).1);
    assert!(early(&case).0);
}

#[test]
fn nothing_is_decided_without_early_start() {
    let after_user_data = |units: &mut Units| units.agent.after = Some(vec!["cloud-final.service".to_owned()]);
    assert_eq!(Case::new().config("cluster = \"prod\"").units(after_user_data).planned().early, None);
    // An agent whose unit does not wait for user data.
    assert_eq!(Case::new().config("cluster = \"prod\"\nunits.early = true").planned().early, None);
}

#[test]
fn a_setting_and_a_unit_that_do_not_fit_together_are_reported() {
    let set = || Case::new().config("cluster = \"prod\"\nunits.early = true");
    let after_user_data = |units: &mut Units| {
        units.agent.after.get_or_insert_default().push("cloud-final.service".to_owned());
    };
    let stale = |facts: &mut Facts| facts.host.early_unit = Fact::Known(EarlyUnit::Stale("/lib/a.service".to_owned()));
    let orphan =
        |facts: &mut Facts| facts.host.early_unit = Fact::Known(EarlyUnit::WithoutSource("/lib/a.service".to_owned()));
    for (case, starts, text) in [
        (set().units(after_user_data), false, "is not installed; run `/usr/lib/ecs-bootstrap/early-start install`"),
        (installed(Case::new().config("cluster = \"prod\"")), false, "`units.early` is false"),
        (installed(set()).units(after_user_data), false, "a drop-in of ecs.service orders it after"),
        (installed(set()).facts(stale), true, "made from another version of /lib/a.service; run"),
        (installed(set()).facts(orphan), true, "made from /lib/a.service, which does not exist; run"),
    ] {
        assert_eq!(early(&case).0, starts, "{text}");
        let warnings = case.planned().warnings;
        let found = warnings.iter().any(|warning| warning.id() == "early-start" && warning.text.contains(text));
        assert!(found, "{text}: {warnings:?}");
    }
}

#[test]
fn an_enabled_agent_of_early_start_is_a_cycle_with_debian_s_cloud_final() {
    let debian = |units: &mut Units| units.cloud_final.after = Some(vec!["multi-user.target".to_owned()]);
    assert!(on().config("cluster = \"prod\"").units(debian).warnings().contains(&"unit-ordering-cycle"));
}

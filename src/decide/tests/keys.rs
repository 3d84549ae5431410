//! Ownership of keys in `ecs.config`: a key that ecs-bootstrap wrote is removed with its source, any other key is kept.

use super::*;

fn removed(case: &Case) -> Vec<String> {
    case.planned().ecs_config.removed
}

fn without_tags(case: Case) -> Case {
    case.facts(|facts| facts.tags = Fact::Known(InstanceTags { place: "IMDS", tags: BTreeMap::new() }))
}

#[test]
fn settings_beat_foreign_keys_of_both_files() {
    let case = Case::new().config("cluster = \"prod\"\n[agent]\nECS_LOGLEVEL = \"debug\"");
    let text = case.var("ECS_LOGLEVEL=warn\n").etc("# mine\nECS_LOGLEVEL=error\nECS_DATADIR=/data\n").text();
    assert_eq!(text, "# mine\nECS_LOGLEVEL=debug\nECS_DATADIR=/data\nECS_CLUSTER=prod\n");
}

#[test]
fn foreign_keys_stay_if_no_setting_names_them() {
    let plan = Case::new().etc("ECS_LOGLEVEL=error\nECS_CLUSTER=prod\n").var("ECS_DATADIR=/data\n").planned();
    assert!(!plan.ecs_config.changed() && plan.ecs_config.keys.is_empty());
}

#[test]
fn a_second_plan_changes_nothing() {
    let case = Case::new().tag("ecs-bootstrap:cluster", "prod").tag("ecs-bootstrap:ECS_LOGLEVEL", "debug");
    let first = case.etc("# mine\n").carried_out();
    let second = first.planned();
    assert!(!second.ecs_config.changed());
    assert_eq!(second.ecs_config.written, first.facts.host.written);
}

#[test]
fn the_key_of_a_removed_tag_is_removed() {
    let case = Case::new().config("cluster = \"prod\"").tag("ecs-bootstrap:ECS_LOGLEVEL", "debug").carried_out();
    assert_eq!(case.text(), "ECS_CLUSTER=prod\nECS_LOGLEVEL=debug\n");
    let untagged = without_tags(case);
    assert_eq!(removed(&untagged), ["ECS_LOGLEVEL"]);
    assert_eq!(untagged.text(), "ECS_CLUSTER=prod\n");
}

#[test]
fn a_cluster_that_only_a_removed_tag_named_is_not_a_source() {
    let case = Case::new().tag("ecs-bootstrap:cluster", "prod").carried_out();
    let untagged = without_tags(case);
    assert!(matches!(untagged.plan(), Err(Refusal::NoCluster { .. })));
    let undecided = untagged.units(|units| units.cloud_final.active_state = Some("activating".to_owned()));
    assert_eq!((undecided.text().as_str(), removed(&undecided)), ("", vec!["ECS_CLUSTER".to_owned()]));
}

#[test]
fn below_a_removed_tag_the_vendor_file_names_the_cluster_again() {
    let case = Case::new().var("ECS_CLUSTER=vendor\n").tag("ecs-bootstrap:cluster", "prod").carried_out();
    let untagged = without_tags(case);
    assert_eq!(untagged.chosen(), ("vendor".to_owned(), Rank::EcsConfig));
    assert_eq!((untagged.text().as_str(), removed(&untagged)), ("", vec!["ECS_CLUSTER".to_owned()]));
}

#[test]
fn a_key_changed_by_hand_is_foreign_again() {
    let case = Case::new().tag("ecs-bootstrap:cluster", "prod").carried_out().etc("ECS_CLUSTER=dev\n");
    assert_eq!(case.chosen().0, "prod");
    let untagged = without_tags(case);
    assert_eq!(untagged.chosen(), ("dev".to_owned(), Rank::EcsConfig));
    assert!(!untagged.planned().ecs_config.changed());
}

#[test]
fn another_instance_does_not_inherit_the_cluster_from_an_image() {
    let image = without_tags(Case::new().tag("ecs-bootstrap:cluster", "prod").carried_out());
    let elsewhere = image.facts(|facts| {
        if let Fact::Known(instance) = &mut facts.instance {
            instance.instance_id = "i-another".to_owned();
        }
    });
    assert!(matches!(elsewhere.plan(), Err(Refusal::NoCluster { .. })));
    let named = elsewhere.config("cluster = \"dev\"");
    assert_eq!(named.text(), "ECS_CLUSTER=dev\n");
    assert_eq!(named.planned().ecs_config.written.instance_id, "i-another");
}

#[test]
fn a_foreign_line_with_the_same_value_stays_foreign() {
    let case = Case::new().etc("ECS_CLUSTER=prod\n").tag("ecs-bootstrap:cluster", "prod").carried_out();
    assert!(case.facts.host.written.keys.is_empty());
    assert_eq!(without_tags(case).chosen(), ("prod".to_owned(), Rank::EcsConfig));
}

#[test]
fn the_record_contains_no_value() {
    let case =
        Case::new().config("cluster = \"prod\"\n[agent]\nECS_ENGINE_AUTH_DATA = '{\"r\":{\"password\":\"hunter2\"}}'");
    let written = case.planned().ecs_config.written;
    assert!(!format!("{written:?}").contains("hunter2") && written.keys.contains_key("ECS_ENGINE_AUTH_DATA"));
    assert!(!format!("{:?}", case.planned()).contains("hunter2"));
}

#[test]
fn a_record_of_another_version_is_ignored() {
    let case = Case::new().tag("ecs-bootstrap:cluster", "prod").carried_out();
    let case = without_tags(case.facts(|facts| facts.host.written.version = 2));
    assert_eq!(case.chosen(), ("prod".to_owned(), Rank::EcsConfig));
}

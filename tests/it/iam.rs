//! `plan --iam`: the policy for the settings in force.

use crate::docs::role;
use crate::support::Instance;
use serde_json::Value;
use std::collections::BTreeSet;

/// The policy for these settings.
fn policy(instance: &Instance, settings: &[&str]) -> Value {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let outcome = instance.run(&["plan", "--iam"].into_iter().chain(settings).collect::<Vec<_>>());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    serde_json::from_str(&outcome.stdout).unwrap()
}

fn statements(policy: &Value) -> Vec<(String, BTreeSet<String>)> {
    let texts = |list: &Value| list.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect();
    let statements = policy["Statement"].as_array().unwrap().iter();
    statements.map(|one| (one["Sid"].as_str().unwrap().to_owned(), texts(&one["Action"]))).collect()
}

fn actions(policy: &Value) -> BTreeSet<String> {
    statements(policy).into_iter().flat_map(|(_, actions)| actions).collect()
}

/// What each setting adds to the policy of an instance without settings: the statements, by their ids.
#[test]
fn each_setting_adds_the_statements_that_it_needs() {
    let sids = |policy: &Value| statements(policy).into_iter().map(|(sid, _)| sid).collect::<BTreeSet<_>>();
    let instance = Instance::new();
    let least = sids(&policy(&instance, &["tags.api=never"]));
    let expected = ["DescribeItsContainerInstances", "DescribeThisCluster", "DiscoverPollEndpoint", "JoinThisCluster"];
    assert_eq!(least, expected.into_iter().chain(["ServeThisCluster"]).map(str::to_owned).collect());
    for (setting, added) in [
        ("derive.gpu=off", &[][..]),
        ("tags.api=auto", &["ReadTheTagsOfTheInstance"]),
        ("cluster-tags=stage=prod", &["ListClusters", "ReadTheTagsOfClusters"]),
        ("derive.propagate-tags=on", &["ReadTheTagsToPropagate", "TagOnRegistration"]),
        ("signal.cloudformation=true", &["FindStackAndGroup", "SignalTheStack"]),
        (
            "signal.lifecycle=true",
            &["CompleteTheLaunchHook", "CountInstancesInService", "FindStackAndGroup", "FindTheLaunchHook"],
        ),
        ("signal.unhealthy=true", &["CountInstancesInService", "FindStackAndGroup", "ReportUnhealthy"]),
        ("signal.instance-tags=true", &["TagInstanceWithVerdict"]),
        ("signal.cloudwatch=true", &["StoreTheLaunchMetric"]),
        (
            "ready.daemons=all",
            &[
                "AllowTasksOnTheInstance",
                "EvaluatePlacementConstraints",
                "FindDaemons",
                "ReadDaemons",
                "ReadTaskDefinitions",
                "ReadTasks",
            ],
        ),
        (
            "ready.daemons=mesh",
            &[
                "AllowTasksOnTheInstance",
                "EvaluatePlacementConstraints",
                "ReadDaemons",
                "ReadTaskDefinitions",
                "ReadTasks",
            ],
        ),
        ("ready.attributes=zone", &[]),
        ("ready.attributes=auto,zone", &["ReadWhetherTrunkingIsOn"]),
        ("registry.auth=secretsmanager:team/hub", &["ReadTheCredentialsOfRegistries"]),
        ("config-from=none", &[]),
        ("ready.images=nginx:1", &[]),
        ("ready.images=public.ecr.aws/nginx/nginx:1", &["LogInToThePublicRegistry"]),
        ("ready.images=111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/app:1", &["LogInToRegistries", "PullImages"]),
        (
            "ready.images-of-services=web",
            &["FindTheImagesOfServices", "LogInToRegistries", "PullImages", "ReadTheImagesOfServices"],
        ),
        ("derive.attributes-follow=true", &["ChangeAttributesWithTheTags"]),
        ("drain.on=spot,rebalance", &["DrainTheContainerInstance"]),
        (
            "drain.on=termination",
            &["CompleteTheTerminatingHook", "DrainTheContainerInstance", "FindStackAndGroup", "FindTheTerminatingHook"],
        ),
        ("start-tasks=log-router,mesh:3", &["StartTasksOnTheInstance"]),
    ] {
        let with = sids(&policy(&instance, &["tags.api=never", "derive.attributes=team", setting]));
        let found: Vec<&String> = with.difference(&least).collect();
        assert_eq!(found, added.iter().collect::<Vec<_>>(), "{setting}");
    }
}

#[test]
fn resources_are_named_by_the_facts_of_the_instance() {
    let found = policy(&Instance::new(), &["ready.daemons=mesh", "signal.cloudformation=true", "signal.stack=web"]);
    assert_eq!(found["Version"], "2012-10-17");
    let of = |sid: &str| {
        let statements = found["Statement"].as_array().unwrap();
        statements.iter().find(|one| one["Sid"] == sid).unwrap_or_else(|| panic!("{found:#}")).clone()
    };
    let cluster = "arn:aws:ecs:eu-west-1:111122223333:cluster/prod";
    assert_eq!(of("JoinThisCluster")["Resource"], serde_json::json!([cluster]));
    assert_eq!(of("ServeThisCluster")["Condition"]["ArnEquals"]["ecs:cluster"], cluster);
    let daemon = "arn:aws:ecs:eu-west-1:111122223333:service/prod/mesh";
    assert_eq!(of("ReadDaemons")["Resource"], serde_json::json!([daemon]));
    let stack = "arn:aws:cloudformation:eu-west-1:111122223333:stack/web/*";
    assert_eq!(of("SignalTheStack")["Resource"], serde_json::json!([stack]));
    let found_tags = policy(&Instance::new(), &["signal.instance-tags=true"]);
    let tags = found_tags["Statement"].as_array().unwrap().iter().find(|one| one["Sid"] == "TagInstanceWithVerdict");
    assert_eq!(tags.unwrap()["Condition"]["StringEquals"]["aws:ResourceTag/ecs-bootstrap:cluster"], "prod");
    for (sid, resource) in [
        ("ReadTasks", "arn:aws:ecs:eu-west-1:111122223333:task/prod/*"),
        ("AllowTasksOnTheInstance", "arn:aws:ecs:eu-west-1:111122223333:container-instance/prod/*"),
        ("EvaluatePlacementConstraints", cluster),
    ] {
        assert_eq!(of(sid)["Resource"], serde_json::json!([resource]), "{sid}");
    }
    assert_eq!(of("AllowTasksOnTheInstance")["Condition"]["ArnEquals"]["ecs:cluster"], cluster);
    // The only statements for all resources are those of calls that cannot be limited.
    for statement in found["Statement"].as_array().unwrap() {
        let is_wide = statement["Resource"] == serde_json::json!(["*"]);
        let can_be_wide =
            ["DiscoverPollEndpoint", "FindStackAndGroup", "ReadTaskDefinitions", "ReadTheTagsOfTheInstance"];
        assert_eq!(is_wide, can_be_wide.contains(&statement["Sid"].as_str().unwrap()), "{statement:#}");
    }
}

/// The role of `cluster.yaml` serves every setting except `ready.*`, `derive.attributes-follow` and `start-tasks`; what tasks need is not in the policy.
#[test]
fn with_all_settings_it_has_the_actions_of_the_role_in_the_template() {
    let settings = [
        "cluster-tags=stage=prod",
        "derive.spot=on",
        "derive.propagate-tags=on",
        "signal.cloudformation=true",
        "signal.lifecycle=true",
        "signal.unhealthy=true",
        "signal.instance-tags=true",
        "signal.cloudwatch=true",
    ];
    let found = actions(&policy(&Instance::new(), &settings));
    let is_of_tasks = |action: &String| action.starts_with("ecr:") || action.starts_with("logs:");
    let role: BTreeSet<String> =
        role().into_iter().flat_map(|(_, _, actions)| actions).filter(|action| !is_of_tasks(action)).collect();
    assert_eq!(found, role);
}

#[test]
fn an_image_needs_only_its_own_repository() {
    let image = "444455556666.dkr.ecr.us-east-2.amazonaws.com/team/app:1";
    let found = policy(&Instance::new(), &[&format!("ready.images={image}"), "ready.images-of-services=web"]);
    let statements = found["Statement"].as_array().unwrap();
    let of = |sid: &str| statements.iter().find(|one| one["Sid"] == sid).unwrap()["Resource"].clone();
    let repositories =
        ["arn:aws:ecr:eu-west-1:*:repository/*", "arn:aws:ecr:us-east-2:444455556666:repository/team/app"];
    assert_eq!(of("PullImages"), serde_json::json!(repositories));
    let service = "arn:aws:ecs:eu-west-1:111122223333:service/prod/web";
    assert_eq!(of("FindTheImagesOfServices"), serde_json::json!([service]));
}

//! The table against values that the agent takes and does not take, and the messages.

use std::collections::BTreeSet;

use super::*;

#[test]
fn names_are_unique() {
    let names: BTreeSet<_> = ALL.iter().map(|variable| variable.name).collect();
    assert_eq!(names.len(), ALL.len());
}

/// Name, values that the agent takes, values that it does not.
const CASES: &[(&str, &[&str], &[&str])] = &[
    ("ECS_CHECKPOINT", &["true", "T", "0", "False", " true", "1 "], &["yes", "on", "tRUE", "", "2"]),
    ("ECS_ENABLE_GPU_SUPPORT", &["true", "false"], &["1", "True", "yes"]),
    (
        "ECS_IMAGE_PULL_TIMEOUT",
        &["90s", "1h30m", "0", "1.5h", "+2m", "1000us", ".5h"],
        &["30", " 90s", "", "s", "1d", "-1s", "1 h", "1h30", "1..5s", "9999999999h", ".s", "+"],
    ),
    ("ECS_CONTAINER_STOP_TIMEOUT", &["1s", "1000ms"], &["999ms", "0"]),
    ("ECS_CONTAINER_START_TIMEOUT", &["45s"], &["44s"]),
    ("ECS_IMAGE_CLEANUP_INTERVAL", &["10m"], &["9m59s"]),
    ("ECS_CGROUP_CPU_PERIOD", &["8ms", "100ms"], &["7ms", "101ms"]),
    ("ECS_POLLING_METRICS_WAIT_DURATION", &["5s", "20s"], &["4s", "21s"]),
    ("ECS_RESERVED_MEMORY", &["0", "65535"], &["65536", "70000", "+5", "-1", "1.5", "1G", "", " 5"]),
    ("ECS_TASK_PIDS_LIMIT", &["1", "4194304", "+5", " 5"], &["0", "4194305"]),
    ("ECS_IMAGE_PULL_BEHAVIOR", &["prefer-cached"], &["Always", "never", " once"]),
    ("ECS_LOGLEVEL", &["debug", "error"], &["INFO", "crit", "none"]),
    ("ECS_ENGINE_AUTH_TYPE", &["docker", " dockercfg"], &["Docker", "ecr"]),
    ("ECS_INSTANCE_IP_COMPATIBILITY", &["ipv4", "IPv6", "IPV6"], &["dual", "6"]),
    (
        "ECS_AVAILABLE_LOGGING_DRIVERS",
        &["[]", r#"["json-file","awslogs"]"#, r#" ["none"]"#, r#"["none"] x"#],
        &["json-file", r#"["jsonfile"]"#, "[1]", "{}"],
    ),
    ("ECS_RESERVED_PORTS", &["[22, 51678]", "[]"], &["22", "[65536]", "[-1]", "[\"22\"]"]),
    (
        "ECS_AWSVPC_ADDITIONAL_LOCAL_ROUTES",
        &["[]", r#"["10.0.0.0/8","fd00::/8"]"#],
        &["10.0.0.0/8", r#"["10.0.0.0"]"#, r#"["10.0.0.0/33"]"#, r#"["10.0.0.0/+8"]"#, r#"["x/8"]"#],
    ),
    (
        "ECS_DYNAMIC_HOST_PORT_RANGE",
        &["32768-60999", "80-80", "40000"],
        &["60999-32768", "1-65536", "a-b", "0-1", "+1-+2", "1-", ""],
    ),
    ("ECS_TASK_METADATA_RPS_LIMIT", &["40,60", "40, 60", " 40 ,60 "], &["40", "40,", "0,1", "1,2,3"]),
    ("ECS_LOG_MAX_FILE_SIZE_MB", &["5", "0.5"], &["0", "-1", "5MB", "NaN", "inf"]),
    ("DOCKER_HOST", &["unix:///run/docker.sock"], &["tcp://127.0.0.1:2375", "unix://", "/run/docker.sock"]),
    (
        "AWS_DEFAULT_REGION",
        &["eu-west-1", "us-gov-west-1", "eu-west-1 "],
        &["", "EU-WEST-1", "eu--1", "us-east-1a", "eu-west"],
    ),
    ("ECS_ENGINE_AUTH_DATA", &[r#"{"r":{"username":"u"}}"#, "{}"], &["", "[]", "{", r#"{"auths":{}}"#, r#"{"r":"x"}"#]),
    (
        "ECS_CONTAINER_INSTANCE_TAGS",
        &["{}", r#"{"team":"a b"}"#, r#"{"é":""}"#],
        &[r#"{"AWS:x":"y"}"#, r#"{"":"y"}"#, r#"{"a":1}"#],
    ),
    (
        "ECS_INSTANCE_ATTRIBUTES",
        &["{}", r#"{"stack":"prod","a.b/c":"x y@1:2"}"#, r#"{"a":null}"#],
        &["stack=prod", r#"{"a":1}"#, r#"{"a b":"c"}"#, r#"{"a":" c"}"#, r#"{"a":"ü"}"#, r#"{"":"c"}"#, "[]", ""],
    ),
    (
        "ECS_CLUSTER",
        &["default", "a", "A-b_9", "arn:aws-cn:ecs:cn-north-1:111122223333:cluster/prod"],
        &[
            "",
            "a b",
            "\"prod\"",
            "a.b",
            "arn:aws:ecs:eu-west-1:1:cluster/x",
            "arn:aws:ecs:eu-west-1:111122223333:service/x",
        ],
    ),
];

#[test]
fn takes_what_the_agent_takes() {
    for (name, right, wrong) in CASES {
        right.iter().for_each(|value| assert_eq!(check(name, value), Ok(()), "{name}={value}"));
        wrong.iter().for_each(|value| assert!(check(name, value).is_err(), "{name}={value}"));
    }
}

#[test]
fn attributes_and_cluster_names_have_the_limits_of_the_api() {
    let attributes = |count: usize, name: usize, value: usize| {
        let pair = |index| format!("\"{index:0>name$}\":\"{}\"", "v".repeat(value));
        check("ECS_INSTANCE_ATTRIBUTES", &format!("{{{}}}", (0..count).map(pair).collect::<Vec<_>>().join(",")))
    };
    assert_eq!(attributes(10, 128, 128), Ok(()));
    for (count, name, value) in [(11, 3, 1), (1, 129, 1), (1, 1, 129)] {
        assert!(attributes(count, name, value).is_err(), "{count} {name} {value}");
    }
    assert!(check("ECS_CLUSTER", &"a".repeat(255)).is_ok());
    assert!(check("ECS_CLUSTER", &"a".repeat(256)).is_err());
}

#[test]
fn a_value_with_a_control_character_is_refused() {
    for name in ["ECS_DATADIR", "SOME_OTHER", "HTTP_PROXY"] {
        assert!(check(name, "a\nECS_CLUSTER=evil").is_err());
        assert_eq!(check(name, "any text"), Ok(()));
    }
}

#[test]
fn an_error_has_the_expected_values_and_no_secret() {
    let wrong = |name, value| check(name, value).unwrap_err().to_string();
    assert_eq!(
        wrong("ECS_CONTAINER_STOP_TIMEOUT", "30"),
        "`ECS_CONTAINER_STOP_TIMEOUT` takes a duration such as `90s` or `1h30m`, 1s or more; `30` has no unit"
    );
    assert_eq!(
        wrong("ECS_RESERVED_MEMORY", "1G"),
        "`ECS_RESERVED_MEMORY` takes a whole number from 0 to 65535; the agent does not take a unit after the number"
    );
    assert_eq!(
        wrong("ECS_ENGINE_AUTH_DATA", "hunter2"),
        "`ECS_ENGINE_AUTH_DATA` takes a JSON object with an object for each registry; it is not JSON"
    );
}

#[test]
fn a_misspelt_name_gives_a_suggestion() {
    assert_eq!(suggest("ECS_CLUTSER"), Some("ECS_CLUSTER"));
    assert_eq!(suggest("ecs_cluster"), Some("ECS_CLUSTER"));
    assert_eq!(suggest("ecs-reserved-memory"), Some("ECS_RESERVED_MEMORY"));
    assert_eq!(suggest("ECS_ENABLE_SPOT_DRAINING"), Some("ECS_ENABLE_SPOT_INSTANCE_DRAINING"));
    assert_eq!(suggest("ECS_CLUSTER"), None);
    assert_eq!(suggest("DD_SITE"), None);
    assert_eq!(suggest(""), None);
}

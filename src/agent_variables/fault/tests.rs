//! Each reason with its suggestion.

use super::super::check;
use super::Consequence::{Exits, Ignored, NotRegistered};

#[test]
fn a_wrong_value_gives_reason_suggestion_and_consequence() {
    for (name, value, why, meant, consequence) in [
        ("ECS_INSTANCE_ATTRIBUTES", "{role:worker}", "double quotes are missing", None, Exits),
        ("ECS_INSTANCE_ATTRIBUTES", "{'a':'b'}", "are single", Some(r#"{"a":"b"}"#), Exits),
        ("ECS_INSTANCE_ATTRIBUTES", r#"{\"a\":\"b\"}"#, "a backslash", None, Exits),
        ("ECS_INSTANCE_ATTRIBUTES", "{\u{201c}a\u{201d}:\u{201c}b\u{201d}}", "typographic", None, Exits),
        ("ECS_INSTANCE_ATTRIBUTES", r#"["a"]"#, "a list, not an object", None, Exits),
        ("ECS_INSTANCE_ATTRIBUTES", "7", "a number without quotes, not an object", None, Exits),
        ("ECS_INSTANCE_ATTRIBUTES", r#"{"a":1}"#, "the value of `a` is a number", None, Exits),
        ("ECS_INSTANCE_ATTRIBUTES", r#"{"a":{"b":"c"}}"#, "the value of `a` is an object", None, Exits),
        ("ECS_INSTANCE_ATTRIBUTES", r#"{"a":"b",}"#, "comma", None, Exits),
        ("ECS_INSTANCE_ATTRIBUTES", r#"{"a":"#, "does not end on this line", None, Exits),
        ("ECS_INSTANCE_ATTRIBUTES", "stack=prod", "not JSON", Some(r#"{"stack":"prod"}"#), Exits),
        ("ECS_INSTANCE_ATTRIBUTES", r#"{"a b":"c"}"#, "`a b` or its value", None, NotRegistered),
        ("ECS_INSTANCE_ATTRIBUTES", r#"{"a":"b"} # x"#, "a comment cannot follow", None, Exits),
        ("ECS_CONTAINER_INSTANCE_TAGS", r#"{"aws:x":"y"}"#, "reserved", None, NotRegistered),
        ("ECS_AVAILABLE_LOGGING_DRIVERS", "[json-file,awslogs]", "quotes", Some(r#"["json-file","awslogs"]"#), Ignored),
        ("ECS_AVAILABLE_LOGGING_DRIVERS", "fluentd", "", Some(r#"["fluentd"]"#), Ignored),
        ("ECS_AVAILABLE_LOGGING_DRIVERS", r#""awslogs""#, "a string, not a list", Some(r#"["awslogs"]"#), Ignored),
        ("ECS_AVAILABLE_LOGGING_DRIVERS", r#"["awslog"]"#, "the driver `awslog`", Some(r#"["awslogs"]"#), Exits),
        ("ECS_AVAILABLE_LOGGING_DRIVERS", r#"["carrierpigeon"]"#, "the driver `carrierpigeon`", None, Exits),
        ("ECS_RESERVED_PORTS", "22,80", "not JSON", Some("[22,80]"), Ignored),
        ("ECS_RESERVED_PORTS", r#"["22"]"#, "without quotes", Some("[22]"), Ignored),
        ("ECS_CONTAINER_STOP_TIMEOUT", "120", "no unit", Some("120s"), Ignored),
        ("ECS_CONTAINER_STOP_TIMEOUT", "2 min", "takes the units", Some("2m"), Ignored),
        ("ECS_CONTAINER_STOP_TIMEOUT", "500ms", "too short", Some("1s"), Ignored),
        ("ECS_IMAGE_MINIMUM_CLEANUP_AGE", "1d", "takes the units", Some("24h"), Ignored),
        ("ECS_LOGLEVEL", "DEBUG", "upper and lower case", Some("debug"), Ignored),
        ("ECS_LOGLEVEL", "warning", "not one of them", Some("warn"), Ignored),
        ("ECS_LOGLEVEL", "banana", "`banana` is not one of them", None, Ignored),
        ("ECS_LOGLEVEL", "debug # x", "a comment cannot follow", Some("debug"), Ignored),
        ("ECS_CHECKPOINT", "yes # x", "a comment cannot follow", Some("true"), Ignored),
        ("ECS_IMAGE_PULL_BEHAVIOR", " once", "blanks", Some("once"), Ignored),
        ("ECS_CHECKPOINT", "yes", "does not know `yes`", Some("true"), Ignored),
        ("ECS_CHECKPOINT", "off", "does not know `off`", Some("false"), Ignored),
        ("ECS_ENABLE_GPU_SUPPORT", "True", "ecs-init does not know `True`", Some("true"), Ignored),
        ("ECS_RESERVED_MEMORY", "+5", "not take a sign", Some("5"), Ignored),
        ("ECS_RESERVED_MEMORY", "70000", "out of range", None, Ignored),
        ("ECS_RESERVED_MEMORY", "256MB", "not take a unit", Some("256"), Ignored),
        ("ECS_RESERVED_MEMORY", "1G", "not take a unit", None, Ignored),
        ("AWS_DEFAULT_REGION", "us-east-1a", "an Availability Zone", Some("us-east-1"), NotRegistered),
        ("AWS_DEFAULT_REGION", "US-EAST-1", "lower case", Some("us-east-1"), NotRegistered),
        ("ECS_CLUSTER", "a b", "contains a blank", None, NotRegistered),
        ("ECS_CLUSTER", "prodECS_LOGLEVEL=debug", "two settings", Some("prod"), NotRegistered),
        ("ECS_CLUSTER", "arn:aws:ecs:eu-west-1:111122223333:service/x", "a service", None, NotRegistered),
        ("ECS_AWSVPC_ADDITIONAL_LOCAL_ROUTES", r#"["10.0.0.0"]"#, "no prefix length", None, Exits),
        ("ECS_AWSVPC_ADDITIONAL_LOCAL_ROUTES", "10.0.0.0/8", "not JSON", Some(r#"["10.0.0.0/8"]"#), Exits),
        ("ECS_ENGINE_AUTH_DATA", r#"{"auths":{"r":{"auth":"hunter2"}}}"#, "docker's `config.json`", None, Ignored),
        ("ECS_ENGINE_AUTH_DATA", r#"{"auth":"hunter2"}"#, "the value of a registry", None, Ignored),
        ("ECS_ENGINE_AUTH_DATA", "{'r':{'auth':'hunter2'}}", "are single", None, Ignored),
    ] {
        let wrong = check(name, value).unwrap_err();
        assert!(wrong.why.clone().unwrap_or_default().contains(why), "{name}={value}: {wrong:?}");
        assert_eq!(wrong.suggestion.as_deref(), meant, "{name}={value}: {wrong:?}");
        assert_eq!(wrong.consequence, consequence, "{name}={value}");
        assert!(!format!("{wrong} {wrong:?}").contains("hunter2"), "{wrong:?}");
        if let Some(meant) = meant {
            assert_eq!(check(name, meant), Ok(()), "{name}={meant}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_value_makes_it_panic(value in "([a-z0-9]|\\{|\\}|\\[|\\]|\"|'|,|:|=| |#|\\\\|ECS_|é|-|\\+|/){0,20}") {
        for variable in super::super::ALL {
            if let Err(wrong) = check(variable.name, &value) {
                assert!(wrong.to_string().len() < 1024);
            }
        }
    }
}

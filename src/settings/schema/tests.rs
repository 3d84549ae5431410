use std::collections::BTreeMap;

use super::*;
use crate::settings::{Daemons, ReservedMemory};

#[test]
fn names_are_unique() {
    for setting in ALL {
        assert_eq!(ALL.iter().filter(|other| other.name == setting.name).count(), 1, "{}", setting.name);
    }
}

#[test]
fn a_duration_is_at_most_a_day() {
    for (text, seconds) in [("0s", Some(0)), ("10m", Some(600)), ("1day", Some(86_400)), ("24h", Some(86_400))] {
        assert_eq!(duration(&Raw::Text(text.to_owned())).map(|duration| duration.as_secs()), seconds, "{text}");
    }
    let endless = ["9".repeat(1000) + "s", "1s ".repeat(1000)];
    for text in [
        "",
        "-1s",
        "1d 1s",
        "86401s",
        "584942417355y",
        "18446744073709551615s",
        "18446744073709551616s",
        "18446744073709551615y",
        "9999999999999999999999h",
        "1e30s",
        "inf",
        &endless[0],
        &endless[1],
    ] {
        assert_eq!(duration(&Raw::Text(text.to_owned())), None, "{text}");
    }
}

#[test]
fn cluster_tags_are_read_from_a_tag_value() {
    let tags = tag_pairs(&Raw::Text("env=prod, team = core".to_owned())).unwrap();
    assert_eq!(tags, BTreeMap::from([("env".to_owned(), "prod".to_owned()), ("team".to_owned(), "core".to_owned())]));
    assert_eq!(tag_pairs(&Raw::Text("env".to_owned())), None);
    assert_eq!(tag_pairs(&Raw::Text("env=a\nb".to_owned())), None);
}

#[test]
fn reserved_memory_takes_what_the_agent_takes() {
    for (raw, value) in [
        (Raw::Integer(65_535), Some(ReservedMemory::Mib(65_535))),
        (Raw::Integer(65_536), None),
        (Raw::Integer(-1), None),
        (Raw::Text("512".to_owned()), Some(ReservedMemory::Mib(512))),
        (Raw::Text("auto".to_owned()), Some(ReservedMemory::Auto)),
        (Raw::Bool(true), None),
    ] {
        assert_eq!(reserved_memory(&raw), value, "{raw:?}");
    }
}

#[test]
fn daemons_are_named_or_all_or_none() {
    let named = |names: &[&str]| Some(Daemons::Named(names.iter().map(|name| (*name).to_owned()).collect()));
    let text = |text: &str| Raw::Text(text.to_owned());
    for (raw, value) in [
        (text("none"), Some(Daemons::None)),
        (text("all"), Some(Daemons::All)),
        (text("mesh, log-router,mesh"), named(&["log-router", "mesh"])),
        (Raw::List(vec![text("all"), text("mesh")]), None),
        (text("ALL"), None),
        (text("none,mesh"), None),
        (text(""), None),
        (Raw::List(Vec::new()), None),
        (text("a service"), None),
        (text("arn:aws:ecs:eu-west-1:1:service/prod/mesh"), None),
        (Raw::List(vec![text(&"a".repeat(256))]), None),
        (Raw::Bool(true), None),
    ] {
        assert_eq!(daemons(&raw), value, "{raw:?}");
    }
}

//! The issues of lines of each kind, and lines without an issue.

use super::*;
use crate::agent_variables::check;

fn found(text: &str) -> Vec<(usize, String, IssueKind, Option<String>)> {
    let found = issues(text.as_bytes(), &Context::default()).into_iter();
    found.map(|issue| (issue.line, issue.key, issue.kind, issue.cluster)).collect()
}

fn one(text: &str) -> (IssueKind, Option<String>) {
    let mut all = found(text);
    assert_eq!(all.len(), 1, "{text:?}: {all:?}");
    let (_, _, what, cluster) = all.remove(0);
    (what, cluster)
}

#[test]
fn an_issue_has_its_kind_and_the_cluster_that_was_meant() {
    let prod = || Some("prod".to_owned());
    let wrong = |key: &str, value: &str| IssueKind::Value(check(key, value).unwrap_err());
    let misspelt = |written: &str| IssueKind::Misspelt { written: written.to_owned() };
    for (text, what) in [
        ("ECS_CLUSTER=\"prod\"", IssueKind::Quoted),
        ("ECS_CLUSTER='prod'\r\n", IssueKind::Quoted),
        ("ECS_CLUSTER=\u{201c}prod\u{201d}", IssueKind::Quoted),
        ("ECS_CLUSTR =prod", misspelt("ECS_CLUSTR")),
        ("export ECS_CLUSTR=prod", misspelt("export ECS_CLUSTR")),
        ("ECS_CLUSTER =prod", IssueKind::Blanks),
        ("ECS_CLUSTER\t= prod", IssueKind::Blanks),
        ("export ECS_CLUSTER=prod", IssueKind::Export),
        ("  export  ECS_CLUSTER = \"prod\"", IssueKind::Export),
        ("Ecs_Cluster=prod", misspelt("Ecs_Cluster")),
        ("ECS_CLUSTR=prod", misspelt("ECS_CLUSTR")),
        ("ECS-CLUSTER=prod", misspelt("ECS-CLUSTER")),
        ("CLUSTER=prod", misspelt("CLUSTER")),
        ("ECS_CLUSTER_NAME=prod", misspelt("ECS_CLUSTER_NAME")),
        ("\u{feff}ECS_CLUSTER=prod", IssueKind::Unreadable("a byte order mark is part of the key")),
        ("\u{200b}ECS_CLUSTER=prod", IssueKind::Unreadable("the key contains characters that no variable has")),
        ("\"ECS_CLUSTER\"=prod", IssueKind::Unreadable("the key contains characters that no variable has")),
        ("ECS_CLUSTER: prod", IssueKind::Unreadable("the line has no `=`")),
        ("ECS_CLUSTER prod", IssueKind::Unreadable("the line has no `=`")),
        ("ECS_CLUSTER=prodECS_ENGINE_AUTH_DATA={}", IssueKind::TwoSettings),
        ("ECS_CLUSTER=prod # mine", wrong("ECS_CLUSTER", "prod # mine")),
    ] {
        assert_eq!(one(text), (what, prod()), "{text:?}");
    }
}

#[test]
fn a_login_without_type_or_data_is_an_issue() {
    let (kind, data) = ("ECS_ENGINE_AUTH_TYPE", "ECS_ENGINE_AUTH_DATA");
    for (text, expected) in [
        ("ECS_ENGINE_AUTH_TYPE=docker\n", vec![(1, kind, IssueKind::HalfLogin(data), None)]),
        ("\nECS_ENGINE_AUTH_DATA={}\n", vec![(2, data, IssueKind::HalfLogin(kind), None)]),
        ("ECS_ENGINE_AUTH_TYPE=docker\n{{ login }}\n", vec![]),
        ("#ECS_ENGINE_AUTH_TYPE=docker\n", vec![]),
    ] {
        let found = found(text).into_iter().filter(|(_, key, ..)| !key.is_empty()).collect::<Vec<_>>();
        assert_eq!(
            found.iter().map(|(l, k, w, c)| (*l, k.as_str(), w.clone(), c.clone())).collect::<Vec<_>>(),
            expected,
            "{text:?}"
        );
    }
}

#[test]
fn valid_lines_and_lines_for_other_programs_give_no_issue() {
    for text in [
        "",
        "ECS_CLUSTER=prod\n",
        "# ECS_CLUSTER=prod\n#ECS_CLUSTER=prod\n; ECS_CLUSTR=x\n//ECS_CLUSTR=x",
        "CLUSTER=x\nECS_CLUSTER=prod\nCLUSTER_NAME=y",
        "ECS_CLUSTER=prod\r\nECS_LOGLEVEL=debug\r\n",
        "ECS_BACKEND_HOST=\nECS_CHECKPOINT= true\nECS_DATADIR=/data#1",
        "HTTP_PROXY=http://u:p$w@proxy:1",
        "ECS_ENGINE_AUTH_TYPE=docker\nECS_ENGINE_AUTH_DATA={\"r\":{\"username\":\"u\",\"password\":\"a$b\"}}",
        "ECS_SOMETHING_NEW=1\nFTP_PROXY=x\nMY_KEY=\"quoted\"\nhttp_proxy=a\nHTTP_PROXY=a",
        "ECS_INSTANCE_ATTRIBUTES={\"a\":\"b\"}",
        "\u{1f}=\0\n\u{0}",
    ] {
        assert_eq!(found(text), [], "{text:?}");
    }
}

#[test]
fn the_last_line_of_a_key_wins() {
    let text = "ECS_CLUSTER=old\nECS_LOGLEVEL=info\nECS_CLUSTER=new\nECS_LOGLEVEL=info\n";
    let old = (1, CLUSTER_KEY.to_owned(), IssueKind::Overridden { by: 3 }, Some("old".to_owned()));
    assert_eq!(found(text), [old, (2, "ECS_LOGLEVEL".to_owned(), IssueKind::Repeated { by: 4 }, None)]);
}

#[test]
fn utf_16_and_cr_lf_are_recognised() {
    let utf_16: Vec<u8> = "\u{feff}ECS_CLUSTER=prod\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [&utf_16[..], &utf_16[2..]] {
        let all = issues(bytes, &Context::default());
        assert_eq!((all.len(), all[0].cluster.as_deref()), (1, Some("prod")));
    }
    assert_eq!(first_crlf(b"A=1\nB=2\r\n"), Some(2));
    assert_eq!(first_crlf(b"A=1\nB=2\n"), None);
}

#[test]
fn a_secret_is_never_kept() {
    let text =
        "export AWS_SECRET_ACCESS_KEY=hunter2\nECS_ENGINE_AUTH_DATA=\"hunter2\"\nECS_ENGINE_AUTH_DATTA=hunter2\n";
    let text_of_issues = format!("{:?}", issues(text.as_bytes(), &Context::default()));
    let (name, value) = ("AWS_SECRET_ACCESS_KEY", "hunter2");
    assert!(text_of_issues.contains(name) && !text_of_issues.contains(value), "{text_of_issues}");
}

/// Pieces of an `ecs.config`, as a regular expression.
const PIECES: &str = "\
    (\u{feff}|export |ECS_CLUSTER|ecs|=|\"|'|\r|\n| |:|#|\0|x){0,40}";

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, text in PIECES) {
        for bytes in [&bytes[..], text.as_bytes()] {
            issues(bytes, &Context::default());
            first_crlf(bytes);
        }
    }
}

/// Level, line and column, id, a part of the message, and the suggestion of each issue.
type Case = (&'static str, Level, usize, usize, &'static str, &'static str, Option<&'static str>);
const CASES: &[Case] = &[
    ("ECS_INSTANCE_ATTRIBUTES={role:worker}", Level::Error, 1, 25, "config-bad-json", "double quotes", None),
    (
        "ECS_AVAILABLE_LOGGING_DRIVERS=[json-file,awslogs]",
        Level::Warning,
        1,
        31,
        "config-value-ignored",
        "quotes",
        Some("[\"json-file\",\"awslogs\"]"),
    ),
    (
        "ECS_AVAILABLE_LOGGING_DRIVERS=[\u{201c}awslogs\u{201d}]",
        Level::Warning,
        1,
        31,
        "config-value-ignored",
        "typographic",
        None,
    ),
    (
        "ECS_AVAILABLE_LOGGING_DRIVERS=fluentd",
        Level::Warning,
        1,
        31,
        "config-value-ignored",
        "not JSON",
        Some("[\"fluentd\"]"),
    ),
    ("ECS_AVAILABLE_LOGGING_DRIVERS=[\"pigeon\"]", Level::Error, 1, 31, "config-bad-json", "the driver `pigeon`", None),
    ("# x\n ECS_CONTAINER_STOP_TIMEOUT=120", Level::Warning, 2, 29, "config-value-ignored", "no unit", Some("120s")),
    ("ECS_LOGLEVEL=DEBUG", Level::Warning, 1, 14, "config-value-ignored", "case", Some("debug")),
    (
        "ECS_CONTAINER_INSTANCE_PROPAGATE_TAGS=",
        Level::Warning,
        1,
        1,
        "config-key-misspelt",
        "not know the variable",
        Some("ECS_CONTAINER_INSTANCE_PROPAGATE_TAGS_FROM"),
    ),
    (
        "AWS_DEFAULT_REGION=us-east-1a",
        Level::Error,
        1,
        20,
        "config-value-ignored",
        "Availability Zone",
        Some("us-east-1"),
    ),
    ("ECS_CHECKPOINT=yes", Level::Warning, 1, 16, "config-value-ignored", "`yes`", Some("true")),
    ("ECS_ENABLE_GPU_SUPPORT=True", Level::Warning, 1, 24, "config-value-ignored", "`True`", Some("true")),
    ("export ECS_LOGLEVEL=debug", Level::Warning, 1, 1, "config-export", "`export`", None),
    ("export DD_SITE=eu", Level::Warning, 1, 1, "config-export", "`DD_SITE`", None),
    ("export ECS_CLUSTER=prod", Level::Error, 1, 1, "config-export", "`export`", None),
    ("ECS_LOGLEVEL=\"debug\"", Level::Warning, 1, 14, "config-quoted", "in quotes", None),
    ("ECS_CLUSTER='prod'", Level::Error, 1, 13, "config-quoted", "in quotes", Some("prod")),
    ("ECS_INSTANCE_ATTRIBUTES='{\"a\":\"b\"}'", Level::Error, 1, 25, "config-quoted", "in quotes", None),
    ("ECS_LOGLEVEL=debug # x", Level::Warning, 1, 14, "config-value-ignored", "comment", Some("debug")),
    ("ECS_DATADIR=/data # x", Level::Warning, 1, 13, "config-value-ignored", "comment", None),
    ("ECS_CLUSTER=None", Level::Error, 1, 13, "cluster-name-invalid", "unset", None),
    ("ECS_CLUSTER=null", Level::Error, 1, 13, "cluster-name-invalid", "unset", None),
    ("ECS_CLUSTER=${cluster}", Level::Error, 1, 13, "cluster-name-invalid", "placeholder", None),
    ("ECS_CLUSTER={{ cluster }}", Level::Error, 1, 13, "cluster-name-invalid", "placeholder", None),
    ("ECS_CLUSTER=$CLUSTER", Level::Error, 1, 13, "cluster-name-invalid", "placeholder", None),
    ("ECS_CLUSTER=<your-cluster>", Level::Error, 1, 13, "cluster-name-invalid", "placeholder", None),
    ("ECS_DATADIR=${DATA}", Level::Warning, 1, 13, "config-value-ignored", "placeholder", None),
    ("ECS_CLUSTER=", Level::Warning, 1, 13, "no-cluster-named", "joins the cluster `default`", None),
    (
        "ECS_CLUSTER=arn:aws:ecs:us-east-1:111122223333:cluster/prod",
        Level::Error,
        1,
        13,
        "wrong-region",
        "region `us-east-1`",
        None,
    ),
    (
        "ECS_CLUSTER=arn:aws:ecs:eu-west-1:999922223333:cluster/prod",
        Level::Error,
        1,
        13,
        "wrong-region",
        "account `999922223333`",
        None,
    ),
    (
        "ECS_ENGINE_AUTH_DATA={\"auths\":{\"r\":{\"auth\":\"hunter2\"}}}",
        Level::Warning,
        1,
        22,
        "config-value-ignored",
        "config.json",
        None,
    ),
    ("{\n  \"Cluster\": \"prod\"\n}", Level::Error, 1, 1, "config-wrong-file", "ecs.config.json", None),
    (
        "ECS_ENGINE_AUTH_DATA: {\"r\":{\"auth\":\"aHVudGVyMg==\"}}",
        Level::Warning,
        1,
        1,
        "config-unreadable-key",
        "no `=`",
        None,
    ),
    ("docker login -u ci -p hunter2", Level::Warning, 1, 1, "config-unreadable-key", "not an assignment", None),
    (
        "echo ECS_CLUSTER=prod >> /etc/ecs/ecs.config",
        Level::Warning,
        1,
        1,
        "config-unreadable-key",
        "not an assignment",
        None,
    ),
    ("ECS_RESERVED_MEMORY=70000", Level::Warning, 1, 21, "config-value-ignored", "out of range", None),
    (
        "ECS_AWSVPC_ADDITIONAL_LOCAL_ROUTES=[\"10.0.0.0\"]",
        Level::Error,
        1,
        36,
        "config-bad-json",
        "prefix length",
        None,
    ),
    (
        "ECS_LOGLEVEL=infoECS_ENGINE_AUTH_DATA={\"p\":\"hunter2\"}",
        Level::Warning,
        1,
        14,
        "config-value-ignored",
        "two settings",
        None,
    ),
    ("ECS_DATADIR=/dataECS_LOGLEVEL=info", Level::Warning, 1, 13, "config-value-ignored", "two settings", None),
];

#[test]
fn an_issue_has_level_place_id_message_and_suggestion() {
    let context = Context { region: Some("eu-west-1"), account: Some("111122223333"), ..Context::default() };
    for (text, level, line, column, id, message, suggestion) in CASES {
        let all = issues(text.as_bytes(), &context);
        assert_eq!(all.len(), 1, "{text:?}: {all:?}");
        let issue = &all[0];
        assert_eq!((issue.level, issue.line, issue.column, issue.id()), (*level, *line, *column, *id), "{text:?}");
        assert!(issue.message().contains(message), "{text:?}: {}", issue.message());
        assert_eq!(issue.suggestion(), *suggestion, "{text:?}");
        assert!(!format!("{issue:?} {}", issue.message()).contains("hunter2"), "{issue:?}");
    }
}

#[test]
fn a_template_may_have_placeholders_and_other_mistakes_are_still_found() {
    let context = Context { is_template: true, ..Context::default() };
    let text =
        "ECS_CLUSTER=${cluster}\n%{ if spot ~}\nECS_ENABLE_SPOT_INSTANCE_DRAINING=true\n%{ endif ~}\n{{ extra }}\n";
    assert_eq!(issues(text.as_bytes(), &context), []);
    let clean = "ECS_INSTANCE_ATTRIBUTES={\"a\":\"${x}\",\"b\":${jsonencode({c = \"d\"})}}\n\
                 ECS_CONTAINER_INSTANCE_TAGS=${tags}\nECS_CLUSTER=a\n";
    assert_eq!(issues(clean.as_bytes(), &context), []);
    assert_eq!(issues(b"ECS_CLUSTER=\"${cluster}\"\n", &context).len(), 1);
    assert_eq!(issues(b"ECS_CLUSTER=a\nECS_INSTANCE_ATTRIBUTES={\\\"a\\\":\\\"${x}\\\"}\n", &context).len(), 1);
}

#[test]
fn unknown_text_gives_no_issue() {
    let judge = |text: &str| {
        let line = SourceLine { line: 1, text: text.replace('?', &OPAQUE.to_string()), ..SourceLine::default() };
        issues_of(&[line], &Context::default()).len()
    };
    for text in [
        "ECS_CLUSTER=?",
        "ECS_CLUSTER=?-prod",
        "?=x",
        "?",
        "ECS_INSTANCE_ATTRIBUTES={\"a\":\"?\"}",
        "ECS_INSTANCE_ATTRIBUTES={?}",
        "ECS_INSTANCE_ATTRIBUTES=?",
        "ECS_RESERVED_MEMORY=?",
    ] {
        assert_eq!(judge(text), 0, "{text}");
    }
    for text in ["ECS_CLUSTER=\"?\"", "ECS_INSTANCE_ATTRIBUTES={role:?}", "export ECS_CLUSTER=?"] {
        assert_eq!(judge(text), 1, "{text}");
    }
}

//! `check` on files and standard input, without a simulated instance.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const PRODUCT: &str = env!("CARGO_BIN_EXE_ecs-bootstrap");
/// Files of `tests/fixtures/public_files` that have a mistake or an unknown type.
const WITH_MISTAKES: [&str; 13] = [
    "appended-twice",
    "binary",
    "blanks-around-the-sign",
    "byte-order-mark",
    "continued-lines",
    "exported",
    "gzip-cut-short",
    "shell-heredoc",
    "mime-wrong-boundary",
    "quoted",
    "registry-login-over-lines",
    "unexpanded-template",
    "utf-16",
];

/// Runs `check` with an empty environment, so that it can read only the files.
#[expect(clippy::disallowed_methods, reason = "the test runs the product like a user")]
fn check(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(PRODUCT);
    command.arg("check").args(arguments).env_clear().current_dir(env!("CARGO_MANIFEST_DIR"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_mistake_is_one_line_in_the_format_that_editors_parse() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ecs.config");
    std::fs::write(&file, "ECS_CLUSTER=prod\nECS_LOGLEVL=debug\nECS_INSTANCE_ATTRIBUTES={role:web}\n").unwrap();
    let name = file.to_str().unwrap();
    let output = check(&[name], b"");
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(20), "{printed}");
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines[0].starts_with(&format!("{name}:2:1: warning: ")), "{printed}");
    assert!(lines[0].ends_with("did you mean `ECS_LOGLEVEL`? [config-key-misspelt]"), "{printed}");
    assert!(lines[1].starts_with(&format!("{name}:3:25: error: ")), "{printed}");
    assert!(text(&output.stderr).contains("1 error, 1 warning"), "{output:?}");
}

#[test]
fn standard_input_is_read_if_no_file_is_given() {
    for arguments in [&[][..], &["-"]] {
        let output = check(arguments, b"#!/bin/sh\necho ECS_CLUSTER='\"x\"' >> /etc/ecs/ecs.config\n");
        assert_eq!(output.status.code(), Some(20));
        assert!(text(&output.stdout).starts_with("<stdin>:2:19: error: "), "{output:?}");
    }
    let output = check(&["--type", "ecs-config"], b"ECS_CLUSTER=prod\n");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), String::new()));
}

#[test]
fn json_has_the_same_findings() {
    let output = check(&["--json"], b"ECS_CLUSTER=prod\nECS_CONTAINER_STOP_TIMEOUT=120\n");
    assert_eq!(output.status.code(), Some(0), "a warning is not an error");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["version"], 1);
    assert_eq!(document["inputs"][0]["type"], "ecs-config");
    let finding = &document["findings"][0];
    let of = |key: &str| finding[key].clone();
    assert_eq!((of("line"), of("column"), of("level")), (2.into(), 28.into(), "warning".into()));
    assert_eq!((of("id"), of("suggestion")), ("config-value-ignored".into(), "120s".into()));
}

#[test]
fn an_unreadable_input_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    for arguments in [&["/nowhere/at/all"][..], &[path], &["--type", "nonsense"]] {
        assert_eq!(check(arguments, b"").status.code(), Some(2), "{arguments:?}");
    }
    let output = check(&[], b"Some words.\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("`--type`"), "{output:?}");
}

#[test]
fn the_output_for_many_files_is_limited() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("ecs.config"), "ECS_LOGLEVEL=loud\n".repeat(400) + "ECS_CLUSTER=a b\n").unwrap();
    let same = vec![path("ecs.config"); 300];
    let output = check(&same.iter().map(String::as_str).collect::<Vec<_>>(), b"");
    assert_eq!(output.status.code(), Some(20));
    assert!(text(&output.stdout).lines().count() <= 200 && text(&output.stderr).lines().count() <= 51, "{output:?}");
    assert!(text(&output.stdout).contains(": error: "), "errors before warnings");
    let absent: Vec<String> = (0..300).map(|number| path(&number.to_string())).collect();
    let output = check(&absent.iter().map(String::as_str).collect::<Vec<_>>(), b"");
    assert_eq!((output.status.code(), text(&output.stderr).lines().count()), (Some(2), 21));
}

#[test]
fn shows_no_secret_no_control_character_and_no_long_line() {
    let long = "x".repeat(100_000);
    for input in [
        "ECS_CLUSTER=prodECS_ENGINE_AUTH_DATA={\"r\":{\"auth\":\"hunter2\"}}\n".to_owned(),
        "ECS_ENGINE_AUTH_DATA: {\"r\":\"hunter2\"}\nECS_ENGINE_AUTHDATA={\"r\":\"hunter2\"}\n".to_owned(),
        "ECS_CLUSTER=prod\ndocker login -u ci -p hunter2\nexport DB_PASS=hunter2\nDB_PASS=hunter2 # x\n".to_owned(),
        format!("ECS_CLUSTER=\u{1b}[31m{long}\nECS_LOGLEVEL={long}\nECS_{long}=1\n"),
        format!("ECS_CLUSTER=x\nECS_INSTANCE_ATTRIBUTES={{'\u{1b}[2J{long}':'a'}}\n"),
        format!("ECS_CLUSTER=x\nECS_INSTANCE_ATTRIBUTES={{\"\u{202e}{long}\":1}}\n"),
        format!("cluster = \"\u{1b}[2J{long}\"\n[agent]\nECS_ENGINE_AUTH_DATA = \"hunter2\"\nDB_PASS = 'hunter2\\'\n"),
    ] {
        for input_type in ["ecs-config", "user-data", "settings", "ecs-config-json"] {
            for arguments in [&["--type", input_type][..], &["--type", input_type, "--json"]] {
                let output = check(arguments, input.as_bytes());
                let printed = text(&output.stdout) + &text(&output.stderr);
                assert!(!printed.contains("hunter2"), "{printed}");
                assert!(!printed.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'), "{printed:?}");
                assert!(printed.lines().all(|line| line.len() <= 1100), "{}", printed.len());
            }
        }
    }
}

#[test]
fn public_files_have_only_the_known_mistakes() {
    for kind in ["ecs-config", "user-data"] {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/public_files").join(kind);
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let output = check(&[path.to_str().unwrap()], b"");
            let is_clean = output.status.code() == Some(0) && output.stdout.is_empty();
            assert_eq!(is_clean, !WITH_MISTAKES.contains(&name.as_str()), "{kind}/{name}: {output:?}");
            assert!(!text(&output.stdout).contains("hunter2"), "{name}");
        }
    }
    let samples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("packaging/cloud-init");
    for entry in samples.read_dir().unwrap() {
        let output = check(&[entry.unwrap().path().to_str().unwrap()], b"");
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), String::new()));
    }
}

//! Files like those in public repositories: `plan` reads each of them, changes none, and quotes no user data.
//!
//! They are written by hand, below `tests/fixtures/public_files`. Their secrets contain `hunter2`, plain or as base64.

use std::path::PathBuf;

use crate::support::{Instance, Outcome};

/// Files that cannot be edited so that systemd reads them: it ignores a whole file with a NUL, or with an assignment
/// that is not UTF-8.
const NOT_EDITABLE: [&str; 3] = ["binary", "latin-1", "utf-16"];
/// Files from which the agent reads no valid cluster name, and the cause that is reported.
const NO_NAME: [(&str, &str); 9] = [
    ("binary", "user-data-absent"),
    ("blanks-around-the-sign", "config-spaces"),
    ("byte-order-mark", "config-unreadable-key"),
    ("empty", "user-data-absent"),
    ("exported", "config-export"),
    ("only-comments", "user-data-absent"),
    ("quoted", "config-quoted"),
    ("unexpanded-template", "cluster-name-invalid"),
    ("utf-16", "config-unreadable-key"),
];

fn public_files(kind: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/public_files").join(kind);
    let files =
        folder.read_dir().expect("tests/fixtures/public_files has the folder").map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .map(|path| {
            let bytes = std::fs::read(&path).unwrap();
            (path.file_name().unwrap().to_string_lossy().into_owned(), bytes)
        })
        .collect();
    files.sort();
    assert!(files.len() >= 20, "{} files in {}", files.len(), folder.display());
    files
}

fn shows(outcome: &Outcome, secret: &str) -> bool {
    outcome.stdout.contains(secret) || outcome.stderr.contains(secret)
}

#[test]
fn reads_every_ecs_config_and_shows_no_secret() {
    let instance = Instance::new();
    for (name, bytes) in public_files("ecs-config") {
        instance.disk.write("etc/ecs/ecs.config", &bytes);
        for arguments in [["plan", "-vv"], ["plan", "--json"]] {
            let outcome = instance.run(&arguments);
            let expected = if NOT_EDITABLE.contains(&name.as_str()) { 20 } else { 0 };
            assert_eq!(outcome.code, Some(expected), "{name}\n{}\n{}", outcome.stdout, outcome.stderr);
            for secret in ["hunter2", "aHVudGVyMg"] {
                assert!(!shows(&outcome, secret), "{name}\n{}\n{}", outcome.stdout, outcome.stderr);
            }
        }
        assert_eq!(instance.disk.read("etc/ecs/ecs.config").unwrap(), bytes, "{name}");
    }
}

#[test]
fn finds_the_same_cluster_in_a_file_as_the_agent() {
    let instance = Instance::new().without_tags().tag("Name", "web");
    for (name, bytes) in public_files("ecs-config") {
        instance.disk.write("etc/ecs/ecs.config", &bytes);
        let outcome = instance.run(&["plan", "--json"]);
        if let Some((_, id)) = NO_NAME.iter().find(|(file, _)| *file == name) {
            assert!(outcome.stdout.contains(&format!("\"{id}\"")), "{name}\n{}", outcome.stdout);
        } else {
            assert_eq!(outcome.code, Some(0), "{name}\n{}", outcome.stderr);
            let plan: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
            assert_eq!(plan["cluster"]["value"], "web-cluster", "{name}");
        }
    }
}

#[test]
fn reads_all_user_data_and_quotes_none_of_it() {
    let instance = Instance::new();
    for (name, bytes) in public_files("user-data") {
        instance.imds.change(|imds| imds.user_data = Some(bytes));
        for arguments in [["plan", "-vvv"], ["plan", "--json"]] {
            let outcome = instance.run(&arguments);
            assert_eq!(outcome.code, Some(0), "{name}\n{}", outcome.stderr);
            assert!(!shows(&outcome, "hunter2"), "{name}\n{}\n{}", outcome.stdout, outcome.stderr);
            assert!(outcome.stdout.contains("prod"), "{name}\n{}", outcome.stdout);
        }
    }
}

//! Variables: where their values may come from, and that each one that is used is reported.

use super::Site;
use serde_json::{Value, json};

/// A task definition whose command and image tag use these references.
fn site(tag: &str, command: &str) -> Site {
    let site = Site::new();
    let container =
        json!({"name": "web", "image": format!("web:{tag}"), "memory": 128, "command": ["sh", "-c", command]});
    site.write("task.json", &json!({"family": "web", "containerDefinitions": [container]}));
    site
}

fn sent(site: &Site) -> Value {
    site.ecs.bodies("RegisterTaskDefinition").pop().unwrap()["containerDefinitions"][0].clone()
}

/// The runner sets HOME, and the command means the one of the container.
#[test]
fn a_variable_of_the_environment_that_is_not_listed_is_refused() {
    for command in ["ls ${HOME}", "ls ${HOME:-/root}", "ls ${HOME-/root}", "ls ${HOME:?}"] {
        let site = site("1", command);
        for more in [&[][..], &["--json"]] {
            site.deploy("deploy", more).ends(
                35,
                &[
                    "[variable-not-listed]",
                    "`task.json`, line ",
                    "`--vars-from HOME`",
                    "`$${HOME}`",
                    "`--no-variables`",
                ][usize::from(!more.is_empty())..],
            );
        }
        assert_eq!(site.ecs.calls(), [""; 0]);
        let plan = site.deploy("plan", &["--vars-from", "HOME", "--show-values"]);
        plan.ends(0, &["ls /nonexistent", "variables: HOME from the environment"]);
    }
    let site = site("1", "ls $${HOME} $HOME");
    site.deploy("deploy", &[]).ends(0, &["deployed web:1"]);
    assert_eq!(sent(&site)["command"][2], "ls ${HOME} $HOME");
}

#[test]
fn without_variables_the_files_are_sent_as_they_are() {
    let site = site("1", "ls ${HOME} $${HOME} ${UNSET:-x}");
    let outcome = site.deploy_without_variables("deploy", &["--no-variables"]);
    outcome.ends(0, &["deployed web:1"]);
    assert!(!outcome.stderr.contains("variables:"), "{outcome:#?}");
    assert_eq!(sent(&site)["command"][2], "ls ${HOME} $${HOME} ${UNSET:-x}");
    site.deploy("plan", &["--no-variables"]).ends(2, &["cannot be used with"]);
}

#[test]
fn each_variable_that_is_used_is_reported_with_its_source() {
    let site = site("${TAG}", "run ${MODE:-fast} ${DB} ${OPTION}");
    std::fs::write(site.folder.path().join("ci.env"), "# of the CI\nexport DB='pg \"1\"'\nUNUSED=2\n").unwrap();
    let more = ["--env-file", "ci.env", "--var", "OPTION=a\"b"];
    site.deploy("plan", &more).ends(
        0,
        &["variables: DB from `ci.env`, MODE from its default, OPTION from `--var`, TAG from the environment\n"],
    );
    let expected = json!([
        {"name": "DB", "source": "env-file", "file": "ci.env"},
        {"name": "MODE", "source": "default", "file": null},
        {"name": "OPTION", "source": "option", "file": null},
        {"name": "TAG", "source": "environment", "file": null},
    ]);
    for command in ["plan", "deploy"] {
        let document = site.deploy(command, &[&more[..], &["--json"]].concat()).json();
        assert_eq!(document["variables"], expected, "{document:#}");
    }
    assert_eq!(sent(&site)["command"][2], "run fast pg \"1\" a\"b");
}

#[test]
fn the_value_of_a_variable_is_shown_only_in_a_member_that_is_shown() {
    let site = site("${TAG}", "--token=${TOKEN}");
    let more = ["--var", "TOKEN=correct-horse-battery"];
    let plan = site.deploy("plan", &more);
    plan.ends(0, &["web:1"]);
    assert!(!plan.stdout.contains("correct-horse"), "{plan:#?}");
    let faulty = json!({"family": "web", "containerDefinitions": [{"name": "web", "${TOKEN}": 1}]});
    site.write("task.json", &faulty);
    let refused = site.deploy("plan", &more);
    refused.ends(35, &["is not a member of the ECS API"]);
    assert!(!refused.stderr.contains("correct-horse"), "{refused:#?}");
}

#[test]
fn a_fault_in_an_environment_file_is_named_without_its_text() {
    let site = site("1", "x");
    std::fs::write(site.folder.path().join("ci.env"), "A=1\nhunter2\n").unwrap();
    let outcome = site.deploy("plan", &["--env-file", "ci.env"]);
    outcome.ends(
        35,
        &[
            "[bad-option]",
            "remedy: correct the option or the file that the message names",
            "`ci.env`, line 2: expected NAME=VALUE",
        ],
    );
    assert!(!outcome.stderr.contains("hunter2"), "{outcome:#?}");
    site.deploy("plan", &["--env-file", "absent.env"]).ends(35, &["[bad-option]", "`absent.env` cannot be read"]);
}

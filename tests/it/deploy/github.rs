//! What GitHub Actions gets from `ecs-rollout`: annotations, the summary and the outputs of the step. Text from outside
//! must not become a command of the runner.

use super::Site;
use crate::support::rollout::{Course, Stopped};
use std::path::PathBuf;

const SUMMARY: &str = "summary.md";
const OUTPUTS: &str = "outputs";

/// A site whose runs are steps of a job in GitHub Actions.
fn in_github(site: Site) -> Site {
    let file = |name: &str| site.folder.path().join(name).display().to_string();
    let (summary, outputs) = (file(SUMMARY), file(OUTPUTS));
    site.variable("GITHUB_ACTIONS", "true")
        .variable("GITHUB_STEP_SUMMARY", &summary)
        .variable("GITHUB_OUTPUT", &outputs)
}

fn path(site: &Site, name: &str) -> PathBuf {
    site.folder.path().join(name)
}

fn text(site: &Site, name: &str) -> String {
    std::fs::read_to_string(path(site, name)).unwrap()
}

/// The outputs that the runner reads from the file.
fn outputs(site: &Site) -> Vec<(String, String)> {
    let text = text(site, OUTPUTS);
    let mut lines = text.lines();
    let mut found = Vec::new();
    while let Some((name, delimiter)) = lines.next().and_then(|line| line.split_once("<<")) {
        let value: Vec<&str> = lines.by_ref().take_while(|line| *line != delimiter).collect();
        found.push((name.to_owned(), value.join("\n")));
    }
    found
}

fn output(site: &Site, name: &str) -> String {
    let found = outputs(site);
    let value = found.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    value.unwrap_or_else(|| panic!("no output `{name}` in {found:?}"))
}

/// The commands of the runner in the text, that is, lines with `::NAME` at their beginning or `##[NAME]` anywhere.
fn commands(text: &str) -> Vec<&str> {
    text.split(['\n', '\r']).filter(|line| line.trim_start().starts_with("::") || line.contains("##[")).collect()
}

#[test]
fn a_deployment_has_a_summary_and_outputs() {
    let site = in_github(Site::new());
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(0, &["deployed web:1"]);
    assert_eq!(commands(&outcome.stderr), Vec::<&str>::new());
    for (name, value) in [
        ("result", "deployed"),
        ("exit-code", "0"),
        ("cause", ""),
        ("cluster", "prod"),
        ("service", "web"),
        ("registered", "true"),
        ("action", "create"),
        ("rolled-back-to", ""),
    ] {
        assert_eq!(output(&site, name), value, "{name}");
    }
    assert!(output(&site, "task-definition-arn").ends_with(":task-definition/web:1"), "{:?}", outputs(&site));
    assert!(output(&site, "deployment").starts_with("ecs-svc/"), "{:?}", outputs(&site));
    let summary = text(&site, SUMMARY);
    for part in
        ["### `ecs-rollout deploy`: deployed\n", "- service: `web`\n", "deployed web:1", "+  \"family\": \"web\""]
    {
        assert!(summary.contains(part), "no {part:?} in {summary}");
    }
    // A second command of the same step appends.
    let before = (summary, text(&site, OUTPUTS));
    site.deploy("plan", &["--json"]).ends(0, &[]);
    let (summary, written) = (text(&site, SUMMARY), text(&site, OUTPUTS));
    assert!(summary.starts_with(&before.0) && written.starts_with(&before.1), "{summary}{written}");
    assert!(summary.contains("### `ecs-rollout plan`: planned\n"), "{summary}");
    assert_eq!((output(&site, "registers"), output(&site, "action")), ("false".into(), "nothing".into()));
    site.run(&["status", "--cluster", "prod", "--service", "web"]).ends(0, &[]);
    assert_eq!(output(&site, "result"), "stable");
}

#[test]
fn a_failure_is_annotated_with_its_cause_and_its_remedy() {
    let site = in_github(Site::new());
    site.ecs.change(|ecs| {
        let task = Stopped::not_started("CannotPullContainerError: manifest for web:1 not found: 100%, sure");
        ecs.courses.push_back(Course::Fails { at: 2, task });
    });
    let outcome = site.deploy("deploy", &["--circuit-breaker", "--json"]);
    assert_eq!(outcome.json()["cause"]["id"], "image-not-found", "stdout is still the document");
    let found = commands(&outcome.stderr);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("::error title=[image-not-found] "), "{found:?}");
    for part in ["100%25, sure%0A", "%0Aremedy: ", "%0Anothing was rolled back: the service is new", "%0Achanged: "] {
        assert!(found[0].contains(part), "no {part} in {found:?}");
    }
    assert_eq!(output(&site, "cause"), "image-not-found");
    assert_eq!(output(&site, "exit-code"), "33");
    let summary = text(&site, SUMMARY);
    assert!(summary.contains("error: [image-not-found]") && summary.contains("\nremedy: "), "{summary}");
}

#[test]
fn a_refused_command_is_reported_too() {
    let site = in_github(Site::new());
    site.run(&["deploy", "--task-definition", "absent.json"]).ends(35, &["::error title=[bad-option]"]);
    assert_eq!((output(&site, "result"), output(&site, "exit-code")), ("refused".into(), "35".into()));
    site.run(&["status", "--cluster", "prod", "--service", "absent"]).ends(36, &["::error title=[service-not-found]"]);
    assert_eq!(output(&site, "cause"), "service-not-found");
}

#[test]
fn text_from_outside_is_not_a_command_of_the_runner() {
    const HOSTILE: &str = "::add-mask::web\n  ::set-output name=result::deployed\r::stop-commands::x\n##[error]a \
                           ##[add-mask]b\n```\nresult<<x\ndeployed\nx";
    let site = in_github(Site::new());
    site.ecs.change(|ecs| {
        for id in 0..40 {
            ecs.logs.insert(
                format!("/ecs/web:ecs/web/{id:032x}"),
                HOSTILE.lines().map(|line| format!("{line}\n")).collect(),
            );
        }
        for _ in 0..2 {
            let task = Stopped { container_reason: HOSTILE.into(), ..Stopped::exited(1) };
            ecs.courses.push_back(Course::Fails { at: 1, task });
        }
    });
    let hostile = ["--circuit-breaker", "--build", HOSTILE, "--var", "X=::add-mask::y"];
    for more in [&[][..], &["--json"]] {
        let outcome = site.deploy("deploy", &[&hostile[..], more].concat());
        let others = commands(&outcome.stderr);
        let others: Vec<_> = others.into_iter().filter(|line| !line.starts_with("::error title=[")).collect();
        assert_eq!((others, commands(&outcome.stdout)), (Vec::new(), Vec::new()));
        let names: Vec<_> = outputs(&site).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.iter().filter(|name| *name == "result").count() * 10, names.len(), "{names:?}");
        assert_ne!(output(&site, "result"), "deployed");
    }
    // An error of the command line.
    let outcome = site.run(&["deploy", HOSTILE]);
    assert_eq!((outcome.code, commands(&outcome.stderr)), (2, Vec::new()));
}

#[test]
fn files_that_cannot_be_written_are_warnings() {
    let site = in_github(Site::new());
    for name in [SUMMARY, OUTPUTS] {
        std::fs::create_dir(path(&site, name)).unwrap();
    }
    let outcome = site.deploy("deploy", &["--json"]);
    outcome.ends(0, &["outputs` cannot be written: ", "summary.md` cannot be written: "]);
    assert_eq!(outcome.json()["result"], "deployed");
    // The runner may set neither.
    let site = Site::new().variable("GITHUB_ACTIONS", "true").variable("GITHUB_OUTPUT", "");
    site.deploy("deploy", &[]).ends(0, &["deployed web:1"]);
}

#[test]
fn elsewhere_there_are_no_annotations_and_no_files() {
    for value in ["", "false", "1"] {
        let mut site = in_github(Site::new());
        site.set("GITHUB_ACTIONS", value);
        let outcome = site.run(&["deploy", "--task-definition", "absent.json"]);
        assert_eq!((outcome.code, commands(&outcome.stderr)), (35, Vec::new()));
        assert!(!path(&site, SUMMARY).exists() && !path(&site, OUTPUTS).exists());
    }
}

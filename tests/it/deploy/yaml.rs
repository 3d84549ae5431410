//! Definitions in YAML: the same deployment as with JSON, and messages that name the place and the way out.

use super::Site;
use serde_json::json;

const TASK: &str = r#"
# The web service.
family: web
containerDefinitions:
  - name: web
    image: web:${TAG:?the tag of the image}  # replaced, a comment with ${ANYTHING} is not
    memory: 128
    portMappings: [{containerPort: 80}]
    environment:
      - {name: VERSION, value: "1.10"}
      - name: BANNER
        value: "${BANNER}"
    logConfiguration: &log
      logDriver: awslogs
      options: {awslogs-group: /ecs/web, awslogs-region: eu-west-1, awslogs-stream-prefix: ecs}
  - name: side
    image: side:1
    memory: 64
    logConfiguration: *log
"#;
const SERVICE: &str = "cluster: prod\nserviceName: web\ndesiredCount: ${COUNT:-2}\n";
const FILES: [&str; 4] = ["--task-definition", "task.yaml", "--service-definition", "service.yml"];

fn site(task: &str) -> Site {
    let site = Site::new().variable("BANNER", "a: b # \"c\"\n- d");
    std::fs::write(site.folder.path().join("task.yaml"), task).unwrap();
    std::fs::write(site.folder.path().join("service.yml"), SERVICE).unwrap();
    site
}

#[test]
fn a_definition_in_yaml_is_deployed_as_one_in_json() {
    let site = site(TASK);
    let more = ["--vars-from", "TAG,BANNER"];
    site.run(&[&["deploy"], &FILES[..], &more].concat()).ends(0, &["deployed web:1", "2 of 2 running"]);
    let sent = &site.ecs.bodies("RegisterTaskDefinition")[0]["containerDefinitions"];
    assert_eq!(sent[0]["image"], "web:1");
    assert_eq!(sent[0]["environment"][0]["value"], "1.10");
    assert_eq!(sent[0]["environment"][1]["value"], "a: b # \"c\"\n- d");
    assert_eq!(sent[1]["logConfiguration"], sent[0]["logConfiguration"]);
    site.run(&[&["deploy"], &FILES[..], &more].concat()).ends(0, &["unchanged"]);
}

#[test]
fn a_fault_in_yaml_names_the_place_and_the_way_out() {
    for (from, to, expected) in [
        (
            "value: \"1.10\"",
            "value: 1.10",
            "`containerDefinitions[0].environment[0].value` must be a string, but is a number; in YAML, put it in quotes (line 10)",
        ),
        (
            "image: web:${TAG:?the tag of the image}",
            "image: web:${NOPE}",
            "`task.yaml`, line 6, column 12: the variable `NOPE` is not set",
        ),
        ("memory: 128", "memory: 128\n    essential: yes", "in YAML 1.2, `yes` and `on` are text"),
        (
            "value: \"1.10\"",
            "value: 12e4567",
            "not valid YAML: infinity and `.nan` are not allowed; text must be in quotes",
        ),
        (
            "value: \"1.10\"",
            "value: ",
            "`containerDefinitions[0].environment[0]`, the variable `VERSION`, has no value",
        ),
        ("value: \"1.10\"", "value: null", "the variable `VERSION`, has no value; an empty value is `\"\"`"),
        (", value: \"1.10\"", "", "the variable `VERSION`, has no value; an empty value is `\"\"`"),
        ("memory: 128", "memory: [", "not valid YAML"),
        ("image: side:1", "image: !Ref Image", "a tag such as `!Ref` or `!Sub` has no meaning here at line"),
        ("memory: 128", "memmory: 128", "did you mean `memory`?"),
    ] {
        let site = site(&TASK.replacen(from, to, 1));
        let outcome = site.run(&[&["deploy"], &FILES[..], &["--vars-from", "TAG,BANNER"]].concat());
        outcome.ends(35, &[expected]);
        assert_eq!(site.ecs.calls(), [""; 0]);
    }
}

#[test]
fn json_with_a_comment_is_told_about_yaml() {
    let site = Site::new();
    let text = format!("// the service\n{}", json!({"family": "web"}));
    std::fs::write(site.folder.path().join("task.json"), text).unwrap();
    site.deploy("plan", &[]).ends(35, &["JSON has no comments: a file in YAML (`.yaml`) may have them"]);
}

/// A commit or version can look like a number, and an empty one like null.
#[test]
fn the_value_of_a_variable_is_sent_as_text_without_quotes_too() {
    let site = Site::new();
    let task = r"
family: web
containerDefinitions:
- name: web
  image: web:1
  memory: ${MEMORY}
  essential: ${YES}
  environment:
  - name: VERSION
    value: ${VERSION}
  command:
  - run
  - ${VERSION}
  dockerLabels:
    version: ${VERSION}
";
    std::fs::write(site.folder.path().join("task.yaml"), task).unwrap();
    std::fs::write(site.folder.path().join("service.yml"), SERVICE).unwrap();
    for value in ["", "null", "~", "true", "1234567", "0123456", "12e4567", "0x10", ".nan", "1.10", "a: b #c"] {
        let variable = format!("VERSION={value}");
        let more = ["--var", &variable, "--var", "MEMORY=128", "--var", "YES=true"];
        site.run(&[&["deploy"], &FILES[..], &more].concat()).ends(0, &[]);
        let sent = site.ecs.bodies("RegisterTaskDefinition").pop().unwrap()["containerDefinitions"][0].clone();
        assert_eq!(sent["environment"], json!([{"name": "VERSION", "value": value}]), "{value:?}");
        assert_eq!(sent["command"], json!(["run", value]));
        assert_eq!(sent["dockerLabels"], json!({"version": value}));
        assert_eq!((&sent["memory"], &sent["essential"]), (&json!(128), &json!(true)));
        // Overrides of a one-off task have the same rule.
        let overrides = r"
containerOverrides:
- name: web
  cpu: ${CPU}
  environment:
  - name: V
    value: ${VERSION}
";
        std::fs::write(site.folder.path().join("overrides.yaml"), overrides).unwrap();
        std::fs::write(site.folder.path().join("command.yaml"), "- run\n- ${VERSION}\n").unwrap();
        for file in ["overrides.yaml", "command.yaml"] {
            let more = ["--overrides", file, "--var", &variable, "--var", "CPU=7"];
            site.run(&[&["run", "--cluster", "prod", "--service", "web"], &more[..]].concat());
            let sent = site.ecs.bodies("RunTask").pop().unwrap()["overrides"]["containerOverrides"][0].clone();
            let expected = match file {
                "command.yaml" => json!({"name": "web", "command": ["run", value]}),
                _ => json!({"name": "web", "cpu": 7, "environment": [{"name": "V", "value": value}]}),
            };
            assert_eq!(sent, expected, "{value:?}");
        }
    }
    let more = ["--var", "VERSION=1", "--var", "MEMORY=", "--var", "YES=true"];
    site.run(&[&["plan"], &FILES[..], &more].concat())
        .ends(0, &["ignored empty members: containerDefinitions[0].memory"]);
}

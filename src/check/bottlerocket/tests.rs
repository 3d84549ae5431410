//! User data for Bottlerocket with and without mistakes.

use super::super::tests::{checked, found};
use super::super::{Options, check};

const HEALTHY: &str = r#"# mine
[settings.ecs]
cluster = "${var.c != null ? var.c : "none"}"
allow-privileged-containers = true
instance-attributes = { a = "b" }
reserved-memory = ${memory}
%{ if spot ~}
enable-spot-instance-draining = true
%{ endif ~}
${extra}
[settings.host-containers.${name}]
enabled = true
"#;

fn is(name: &str, text: &str, expected: &[&str]) {
    assert_eq!(found(&checked(name, text)), expected, "{name}\n{text}");
}

#[test]
fn user_data_without_a_mistake_has_no_finding() {
    for text in [
        HEALTHY,
        "[settings.ecs]\ncluster = \"a\"\n",
        "settings.ecs.cluster = \"a\"\n",
        "[settings]\necs = { loglevel = \"info\" }\n[settings.kernel]\nlockdown = \"none\"\n",
        "[settings.ecs]\ncluster = {{ name }}\n",
        "[settings.ecs]\nlogging-drivers = [\n  ${first},\n  \"awslogs\",\n]\n",
        "[settings.ecs]\n\"${name}\" = 1\n",
    ] {
        is("user-data.toml", text, &[]);
        is("user-data.toml", &text.replace('\n', "\r\n"), &[]);
    }
}

#[test]
fn a_finding_has_the_place_of_the_mistake() {
    is("u.toml", "[settings.ecs]\ncluster = my-cluster\n", &["2:11 error user-data-not-recognised"]);
    is("u.toml", "[settings.ecs]\ncluster = \"a\"\ncluster = \"b\"\n", &["3:1 error user-data-not-recognised"]);
    is("u.toml", "[settings.ecs\ncluster = \"a\"\n", &["1:14 error user-data-not-recognised"]);
    is("u.toml", &HEALTHY.replace("spot-instance", "spot-instances"), &["8:1 warning config-key-misspelt"]);
    let heredoc = "user_data = base64encode(<<EOT\n  [settings.ecs]\n  clustr = \"x\"\n  EOT\n)\n";
    is("user-data.tf", heredoc, &["3:3 warning config-key-misspelt"]);
    let string = "u = \"[settings.ecs]\\ncluster = \\\"${x}\\\"\\nclustr = \\\"x\\\"\\n\"\n";
    is("user-data.tf", string, &["1:42 warning config-key-misspelt"]);
    for (name, meant) in [
        ("container_stop_timeout", Some("container-stop-timeout")),
        ("Cluster", Some("cluster")),
        ("ECS_CLUSTER", Some("cluster")),
        ("log-level", Some("loglevel")),
        ("something-else", None),
    ] {
        let checked = checked("u.toml", format!("[settings.ecs]\n{name} = \"x\"\n"));
        assert_eq!(found(&checked), ["2:1 warning config-key-misspelt"], "{name}");
        assert_eq!(checked.findings[0].suggestion.as_deref(), meant, "{name}");
    }
}

#[test]
fn a_placeholder_in_a_rendered_file_is_a_mistake() {
    let text = "[settings.ecs]\ncluster = ${name}\n";
    is("u.toml", text, &[]);
    let rendered = check("u.toml", text.as_bytes(), Options { is_rendered: true, ..Options::default() }).unwrap();
    assert_eq!(found(&rendered), ["2:12 error user-data-not-recognised"]);
}

/// Pieces of user data for Bottlerocket, as a regular expression.
const PIECES: &str = "\
    \\[settings.ecs\\]\n(cluster|clustr| = |\"|'|\\$\\{x\\}|\\$\\{|\\{\\{|\\}\\}|%\\{ if x \\}|\n|\\[\
    |\\]|\\{|\\}|,|#|é|x|\\.|1|\u{e000}){0,30}";

proptest::proptest! {
    #[test]
    fn every_finding_has_a_place_in_the_file(
        text in PIECES,
    ) {
        for is_rendered in [false, true] {
            let options = Options { is_rendered, ..Options::default() };
            let checked = check("u.toml", text.as_bytes(), options).unwrap();
            let lines: Vec<&str> = text.split('\n').collect();
            for finding in checked.findings {
                let line = lines.get(finding.line as usize - 1);
                let is_inside = line.is_some_and(|line| finding.column as usize <= line.chars().count() + 2);
                assert!(is_inside, "{finding:?}\n{text}");
            }
        }
    }
}

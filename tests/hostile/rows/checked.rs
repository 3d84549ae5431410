//! Files for `check` that are long, deeply nested, or leave many quotes and brackets open: 250 KiB each.
//!
//! In: nothing. Out: rows.

use crate::payload;
use crate::row::{JOINS, Row};

const MAX_LENGTH: usize = 250 * 1024;

fn many(begin: &str, part: &str) -> String {
    let mut text = begin.to_owned();
    while text.len() + part.len() <= MAX_LENGTH {
        text.push_str(part);
    }
    text
}

pub fn rows() -> Vec<Row> {
    const SH: &str = "#!/bin/sh\n";
    const CLOUD: &str = "#cloud-config\n";
    let numbered = |line: fn(usize) -> String| (0..6000).map(line).collect::<String>();
    let mime = |number| format!("Content-Type: multipart/mixed; boundary=\"b{number}\"\n\n--b{number}\n");
    let secret = format!("{}\n", payload::SECRET);
    [
        ("documents", many(SH, "cat <<EOF >>/etc/ecs/ecs.config\nECS_LOGLEVEL=x\nEOF\n")),
        ("open-documents", many(SH, "cat <<A >>/etc/ecs/ecs.config\n")),
        ("echo", many(SH, "echo ECS_LOGLEVEL=x >> /etc/ecs/ecs.config\n")),
        ("secrets", many(SH, &format!("echo '{secret}' >> /etc/ecs/ecs.config\n"))),
        ("open-quotes", many(SH, "echo '")),
        ("substitutions", many(SH, "$(")),
        ("groups", many(SH, "{ ")),
        ("continued", many(SH, "echo a \\\n")),
        ("escapes", many(SH, &format!("echo ECS_CLUSTER='{}' >> /etc/ecs/ecs.config\n", payload::ESCAPES))),
        ("flow", many(CLOUD, "[")),
        ("dashes", many(CLOUD, "- ")),
        ("indented", CLOUD.to_owned() + &(0..700).map(|depth| " ".repeat(depth) + "a:\n").collect::<String>()),
        ("aliases", format!("{CLOUD}a: &a [x]\n") + &numbered(|at| format!("b{at}: &b{at} [*a, *a, *a, *a]\n"))),
        (
            "files",
            many(&format!("{CLOUD}write_files:\n"), "- {path: /etc/ecs/ecs.config, content: \"ECS_LOGLEVEL=x\\n\"}\n"),
        ),
        (
            "secret-key",
            many(&format!("{CLOUD}write_files:\n"), &format!("- {{\"{}\": [}}\n", payload::LOGIN.replace('"', "'"))),
        ),
        (
            "parts",
            many(
                "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"b\"\n\n",
                "--b\nContent-Type: text/x-shellscript\n\n#!/bin/sh\n",
            ),
        ),
        ("parts-in-parts", "MIME-Version: 1.0\n".to_owned() + &(0..3000).map(mime).collect::<String>()),
        ("keys", numbered(|at| format!("ECS_FOO{at}=1\n"))),
        ("one-key", many("", "ECS_CLUSTER=a\n")),
        ("one-line", many("ECS_CLUSTER=", "ECS_CLUSTER=hunter2")),
        ("json", many("{\"ECSAgentConfiguration\":", "{\"a\":")),
        ("toml", many("cluster = \"x\"\n", "[agent]\n")),
    ]
    .into_iter()
    .map(|(name, text)| {
        let row = Row::new(format!("check/{name}"), JOINS, move |instance| instance.file("home/given", &text));
        row.only(&["check", "ROOT/home/given"], &[0, 2, 20])
            .only(&["check", "--json", "ROOT/home/given"], &[0, 2, 20])
            .only(&["check", "--type", "user-data", "--rendered", "ROOT/home/given"], &[0, 2, 20])
            .only(&["check", "--type", "ecs-config", "ROOT/home/given"], &[0, 2, 20])
            .seconds(2)
    })
    .collect()
}

//! Hostile settings files, environment variables and command lines.
//!
//! In: texts of `payload`. Out: rows. Texts in the environment and on the command line have no NUL and at most 100 kB.

use super::{TextInput, quoted, text_input};
use crate::payload;
use crate::row::{ExpectedCodes, JOINS, Row, SETTINGS};
use crate::support::Instance;

const FILES: [&str; 3] =
    ["etc/ecs-bootstrap/config.toml", "etc/ecs-bootstrap/config.d/10.toml", "usr/lib/ecs-bootstrap/config.d/10.toml"];
/// Every command except guard, which reads no settings, fails with an invalid setting.
const REFUSED: ExpectedCodes = ExpectedCodes::all(SETTINGS).clean(SETTINGS);
/// The kernel refuses longer arguments (execve(2), MAX_ARG_STRLEN).
const MAX_LENGTH: usize = 100_000;

const DURATIONS: [&str; 12] = [
    "99999999999999999999s",
    "18446744073709551615s",
    "18446744073709551616s",
    "9223372036854775807s",
    "584942417355y",
    "300000y",
    "1e400s",
    "-1s",
    "0s 0s",
    "1000000000000000000000000000000000000000ns",
    "\u{661}s",
    "292y 299d 1ms",
];
const DEADLINES: [&str; 5] = ["verify.deadline", "imds.deadline", "run.deadline", "tags.wait", "verify.window"];

fn text_inputs() -> Vec<TextInput> {
    [of_files(), of_environment()].into_iter().flatten().collect()
}

fn of_files() -> Vec<TextInput> {
    vec![
        text_input("toml/cluster", REFUSED, |instance, text| toml(instance, &format!("cluster = {}\n", quoted(text)))),
        text_input("toml/unknown-key", REFUSED, |instance, text| toml(instance, &format!("{} = 1\n", quoted(text)))),
        text_input("toml/unknown-table", REFUSED, |instance, text| {
            toml(instance, &format!("[{}]\nx = 1\n", quoted(text)))
        }),
        text_input("toml/not-toml", REFUSED, |instance, text| toml(instance, &format!("cluster = {text}\n"))),
        text_input("toml/comment", JOINS, |instance, text| {
            toml(instance, &format!("# {}\ncluster = \"prod\"\n", text.replace(char::is_control, " ")))
        }),
        text_input("toml/agent-value", REFUSED, |instance, text| {
            toml(instance, &format!("[agent]\nECS_LOGLEVEL = {}\n", quoted(text)))
        }),
        text_input("toml/agent-unknown", JOINS, |instance, text| {
            toml(instance, &format!("[agent]\nECS_SOMETHING_NEW = {}\n", quoted(text)))
        })
        .expected([JOINS, REFUSED, JOINS]),
        text_input("toml/agent-key", REFUSED, |instance, text| {
            toml(instance, &format!("[agent]\n{} = \"x\"\n", quoted(text)))
        }),
        text_input("toml/agent-tags", REFUSED, |instance, text| {
            let tags = serde_json::json!({"password": text}).to_string();
            toml(instance, &format!("[agent]\nECS_CONTAINER_INSTANCE_TAGS = {}\n", quoted(&tags)))
        }),
        text_input("toml/cluster-tags", REFUSED, |instance, text| {
            toml(instance, &format!("[cluster-tags]\nenv = {}\n", quoted(text)))
        })
        .expected([JOINS, REFUSED, JOINS]),
        text_input("toml/prefix", REFUSED, |instance, text| {
            toml(instance, &format!("[tags]\nprefix = {}\n", quoted(text)))
        }),
        text_input("toml/deadline", REFUSED, |instance, text| {
            toml(instance, &format!("[verify]\ndeadline = {}\n", quoted(text)))
        }),
        text_input("toml/hook", REFUSED, |instance, text| {
            toml(instance, &format!("[signal]\nhook = {}\n", quoted(text)))
        }),
        text_input("toml/stack", REFUSED, |instance, text| {
            toml(instance, &format!("[signal]\nstack = {}\n", quoted(text)))
        }),
        text_input("toml/wait-url", REFUSED, |instance, text| {
            toml(instance, &format!("[signal]\nwait-url = {}\n", quoted(text)))
        }),
        text_input("toml/attributes", JOINS, |instance, text| {
            toml(instance, &format!("[derive]\nattributes = [{}]\n", quoted(text)))
        })
        .expected([JOINS, REFUSED, JOINS]),
    ]
}

fn of_environment() -> Vec<TextInput> {
    vec![
        text_input("env/cluster", REFUSED, |instance, text| instance.env("ECS_BOOTSTRAP_CLUSTER", text)),
        text_input("env/unknown", REFUSED, |instance, text| instance.env("ECS_BOOTSTRAP_NOTHING", text)),
        text_input("env/unknown-name", REFUSED, |instance, text| {
            let name: String = text.chars().filter(|c| *c != '=').collect();
            instance.env(&format!("ECS_BOOTSTRAP_{name}"), "1")
        }),
        text_input("env/agent-value", REFUSED, |instance, text| {
            instance.env("ECS_BOOTSTRAP_AGENT__ECS_LOGLEVEL", text)
        }),
        text_input("env/log", REFUSED, |instance, text| instance.env("ECS_BOOTSTRAP_LOG", format!("x=y={text}")))
            .expected([REFUSED.guard(&[0]); 3]),
        text_input("env/ca-bundle", JOINS, |instance, text| instance.env("AWS_CA_BUNDLE", text)),
        text_input("env/profile", JOINS, |instance, text| instance.env("AWS_PROFILE", text)),
        text_input("env/foreign", JOINS, |instance, text| instance.env("DB_PASS", text)),
        text_input("env/no-proxy", JOINS, |instance, text| instance.env("NO_PROXY", format!("127.0.0.1,{text}"))),
    ]
}

fn toml(instance: Instance, text: &str) -> Instance {
    instance.setting_file(FILES[0], text)
}

/// Options and arguments of the command line.
fn command_line() -> Vec<Row> {
    let texts = [
        // The simulated instance refuses URLs that are not on loopback.
        ("secret", payload::SECRET.replace("https://", "")),
        ("escapes", payload::ESCAPES.to_owned()),
        ("long", payload::long(MAX_LENGTH)),
        ("run-together", payload::RUN_TOGETHER.to_owned()),
    ];
    let mut rows = Vec::new();
    for (kind, text) in texts {
        let same = |instance| instance;
        for (option, value) in [
            ("--cluster", text.clone()),
            ("--cluster-tag", format!("env={text}")),
            ("--set", format!("verify.deadline={text}")),
            ("--set", format!("{}=1", text.replace('=', "-"))),
            ("--set", format!("agent.ECS_LOGLEVEL={text}")),
        ] {
            let what: String = value.split(&text).next().unwrap_or_default().trim_end_matches('=').into();
            let what = if what.len() > 40 { "unknown" } else { &what };
            let expected = if option == "--cluster-tag" && kind != "escapes" { JOINS } else { REFUSED };
            let row = Row::new(format!("option/{option} {what}/{kind}"), expected, same).arguments(&[option, &value]);
            rows.push(if kind == "secret" { row } else { row.brief() });
        }
        for words in [
            vec!["explain", &text],
            vec![&text],
            vec!["plan", &text],
            vec!["generate", &text],
            vec!["--set", &text],
            vec!["run", "--agent-endpoint", &text],
        ] {
            let name = format!("words/{}/{kind}", words[..words.len() - 1].join(" "));
            let expected: &'static [i32] = if words[0] == "--set" && text.contains('=') { &[2, 20] } else { &[2] };
            rows.push(Row::new(name, JOINS, same).only(&words, expected));
        }
        let unknown = format!("--{text}");
        rows.push(Row::new(format!("words/option/{kind}"), JOINS, same).only(&["plan", &unknown], &[2]));
        let bundle = format!("ROOT/absent/{text}");
        rows.push(
            Row::new(format!("words/bundle/{kind}"), JOINS, same)
                .only(&["run", "--wait"], &[0])
                .only(&["doctor", "--bundle", &bundle], &[24]),
        );
    }
    rows
}

fn duration_rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for duration in DURATIONS {
        for setting in DEADLINES {
            // Each setting gets several of the durations.
            let index = DURATIONS.iter().position(|one| *one == duration).unwrap_or_default();
            if index % DEADLINES.len() != DEADLINES.iter().position(|one| *one == setting).unwrap_or_default() % 5 {
                continue;
            }
            let option = format!("{setting}={duration}");
            let expected = ExpectedCodes::all(&[0, 20]).clean(&[0, 20]);
            rows.push(
                Row::new(format!("duration/{option}"), expected, |instance| instance).arguments(&["--set", &option]),
            );
        }
    }
    rows
}

pub fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> =
        text_inputs().into_iter().flat_map(|text_input| text_input.long(MAX_LENGTH).rows()).collect();
    rows.extend(command_line());
    rows.push(Row::new("toml/run-together", REFUSED, |instance| {
        toml(instance, &format!("cluster = {}\n", quoted(payload::RUN_TOGETHER)))
    }));
    rows.push(Row::new("toml/unknown-secret", REFUSED, |instance| toml(instance, "password = \"hunter2\"\n")));
    rows.push(Row::new("toml/open-string", REFUSED, |instance| {
        toml(instance, "[agent]\nECS_ENGINE_AUTH_DATA = \"hunter2\n")
    }));
    rows.push(Row::new("toml/login", JOINS, |instance| {
        toml(
            instance,
            &format!("[agent]\nECS_ENGINE_AUTH_TYPE = \"dockercfg\"\nECS_ENGINE_AUTH_DATA = '{}'\n", payload::LOGIN),
        )
    }));
    rows.push(Row::new("toml/proxy", JOINS, |instance| {
        toml(
            instance,
            "[agent]\nHTTP_PROXY = \"http://u:hunter2@127.0.0.1:9\"\nNO_PROXY = \"169.254.169.254,127.0.0.1\"\n",
        )
    }));
    for file in FILES {
        for (name, text) in [
            ("nested-arrays", (|| format!("cluster = {}", "[".repeat(200_000))) as fn() -> String),
            ("nested-tables", || format!("cluster = {}", "{a=".repeat(100_000))),
            ("nested-keys", || format!("{}a = 1\n", "a.".repeat(100_000))),
            ("binary", || "\u{0}\u{1}\u{2}".into()),
            ("huge", || format!("# {}\n", "x".repeat(3_000_000))),
            ("many-keys", || (0..32_000).map(|number| format!("key-{number} = 1\n")).collect()),
        ] {
            let row =
                Row::new(format!("toml/{file}/{name}"), REFUSED, move |instance| instance.setting_file(file, &text()));
            rows.push(row.brief());
        }
    }
    rows.push(Row::new("toml/many-agent-keys", REFUSED, |instance| {
        let keys: String = (0..32_000).map(|number| format!("ECS_X{number} = \"1\"\n")).collect();
        toml(instance, &format!("[agent]\n{keys}"))
    }));
    rows.push(Row::new("config/many-keys", JOINS, |instance| {
        instance.ecs_config((0..32_000).map(|number| format!("ECS_X{number}=1\n")).collect::<String>())
    }));
    rows.extend(duration_rows());
    for value in ["99999999999999999999", "-1", "1e9", "0xffffff"] {
        rows.push(Row::new(format!("number/reserved-memory={value}"), REFUSED, move |instance| {
            toml(instance, &format!("[derive]\nreserved-memory = {value}\n"))
        }));
    }
    rows
}

//! The generated parts of the reference: each is made from the code that it describes.
//!
//! In: tables of the library, the help and the causes of both programs, the schemas, files of the tree. Out: Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use ecs_bootstrap::agent_variables::{self, TagRefusal, permitted_from_tags};
use ecs_bootstrap::exit::Exit;
use ecs_bootstrap::journal;
use ecs_bootstrap::settings::fragment::{Fragment, Name};
use ecs_bootstrap::settings::precedence::LOWEST_FIRST;
use ecs_bootstrap::settings::schema::{self, Raw, Setting};
use ecs_bootstrap::settings::warning::{self, WarningType};
use ecs_bootstrap::settings::{Rank, Settings, TagsSettings};
use serde_json::Value;

use super::json;
use crate::scenario;

const PROGRAMS: [(&str, &str); 2] =
    [("ecs-bootstrap", env!("CARGO_BIN_EXE_ecs-bootstrap")), ("ecs-rollout", env!("CARGO_BIN_EXE_ecs-rollout"))];

/// Every part by its name.
pub(super) fn all() -> BTreeMap<String, String> {
    let mut parts: BTreeMap<String, String> = [
        ("precedence", precedence()),
        ("settings", settings()),
        ("agent-variables", agent_variables()),
        ("tag-variables", tag_variables()),
        ("cli-ecs-bootstrap", cli("ecs-bootstrap")),
        ("cli-ecs-rollout", cli("ecs-rollout")),
        ("scenarios", scenarios()),
        ("exit-codes", exit_codes(Exit::ALL)),
        ("deploy-exit-codes", exit_codes(Exit::DEPLOY)),
        ("causes-index", causes_index()),
        ("causes", causes()),
        ("deploy-causes", deploy_causes()),
        ("message-ids", message_ids()),
        ("warnings", warnings()),
        ("installed-files", installed_files("ecs-bootstrap")),
        ("installed-files-deploy", installed_files("ecs-rollout")),
        ("iam-role", iam_role()),
        ("limits-of-size", limits_of_size()),
        ("limits-of-time", limits_of_time()),
        ("size-of-the-binary", size_of_the_binary()),
    ]
    .map(|(name, text)| (name.to_owned(), text))
    .into();
    parts.extend(json::parts());
    parts
}

/// A table of Markdown.
pub(super) fn table<const N: usize>(heads: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut text = format!("| {} |\n|{}\n", heads.join(" | "), " --- |".repeat(N));
    for row in rows {
        let cells = row.map(|cell| prose(&cell).replace('|', "\\|"));
        writeln!(text, "| {} |", cells.join(" | ")).unwrap();
    }
    text
}

/// Escapes text for Markdown. Outside of code spans, `<` and `*` are escaped, and a URL becomes a code span, because it
/// may be an example that must not become a link.
pub(super) fn prose(text: &str) -> String {
    let mut escaped = String::new();
    for (at, part) in text.split('`').enumerate() {
        if at % 2 == 1 {
            write!(escaped, "`{part}`").unwrap();
            continue;
        }
        for (at, word) in part.split(' ').enumerate() {
            let space = if at == 0 { "" } else { " " };
            let url = word.trim_matches(['(', ')', ',', '.', ';', ':']);
            let word = if url.starts_with("http") && url.contains("://") {
                word.replace(url, &format!("`{url}`"))
            } else {
                word.replace('<', "&lt;").replace('*', "\\*")
            };
            write!(escaped, "{space}{word}").unwrap();
        }
    }
    escaped
}

/// A file of the tree.
fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The output of `explain` or `--help`. Other commands are refused, because they would ask the real metadata service.
fn printed(program: &str, arguments: &[&str]) -> String {
    let (_, path) = PROGRAMS.iter().find(|(name, _)| *name == program).unwrap();
    assert!(arguments.first() == Some(&"explain") || arguments.last() == Some(&"--help"), "{arguments:?}");
    let output = Command::new(path).args(arguments).env_clear().output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn word(rank: Rank) -> String {
    serde_json::to_value(rank).unwrap().as_str().unwrap().to_owned()
}

fn precedence() -> String {
    let rows = LOWEST_FIRST.iter();
    let rows = rows.map(|(rank, number, what)| [number.to_string(), format!("`{}`", word(*rank)), (*what).to_owned()]);
    table(["rank", "`kind` in JSON", "source"], rows)
}

/// The default of a setting, from the defaults as JSON.
pub(super) fn default_of(name: &str, defaults: &Value) -> String {
    let path = name.replace('-', "_");
    let value = match path.split_once('.') {
        Some((table @ ("derive" | "ready" | "watch" | "drain" | "signal"), inner)) => &defaults[table][inner]["value"],
        _ => &defaults[path.replace('.', "_")]["value"],
    };
    match value {
        Value::Bool(value) => format!("`{value}`"),
        Value::String(value) => format!("`{value}`"),
        Value::Object(duration) if duration.contains_key("secs") => {
            let seconds = std::time::Duration::from_secs(duration["secs"].as_u64().unwrap());
            format!("`{}`", humantime::format_duration(seconds))
        }
        _ => "none".to_owned(),
    }
}

fn settings() -> String {
    let defaults = serde_json::to_value(Settings::default()).unwrap();
    let rows = schema::ALL.iter().map(|setting| {
        let default = default_of(setting.name, &defaults);
        let name = format!("`{}`", setting.name);
        [name, default, setting.about.to_owned(), setting.expects.to_owned(), ranks(setting)]
    });
    table(["setting", "default", "what it does", "accepted values", "ranks"], rows)
}

/// The numbers of the ranks that can set it, found by setting it from each.
fn ranks(setting: &'static Setting) -> String {
    let numbers: BTreeSet<u8> =
        LOWEST_FIRST.iter().filter(|(rank, ..)| is_set_by(setting, *rank)).map(|(_, number, _)| *number).collect();
    numbers.iter().map(u8::to_string).collect::<Vec<_>>().join(" ")
}

fn is_set_by(setting: &'static Setting, rank: Rank) -> bool {
    const VALUES: [&str; 10] =
        ["prod", "env=prod", "1m", "true", "auto", "any", "allow", "https://example.com/", "ssm:prod", "spot"];
    let is_taken = |value: &&&str| {
        let source = ecs_bootstrap::settings::Source::new(Rank::Config, "here", setting.name);
        setting.apply(&mut Settings::default(), &Raw::Text((**value).to_owned()), source).is_some()
    };
    let all = || panic!("no value of the list fits `{}`", setting.name);
    let value = VALUES.iter().find(is_taken).copied().or_else(|| (setting.name == "tags.settings").then_some("all"));
    let value = value.unwrap_or_else(all);
    let read = match rank {
        Rank::Default | Rank::ClusterTags => return false,
        Rank::EcsConfig => Ok(Fragment::from_ecs_config([("ecs.config", "ECS_CLUSTER", "prod")])),
        Rank::Vendor | Rank::Config | Rank::UserData => {
            Fragment::from_toml(&format!("{} = \"{value}\"\n", setting.name), rank, "here")
        }
        Rank::ClusterTag | Rank::InstanceTag => {
            let tags = [(format!("ecs-bootstrap:{}", setting.name), value.to_owned())].into();
            Fragment::from_tags(&tags, "ecs-bootstrap:", TagsSettings::All, rank, "here")
        }
        Rank::Environment => {
            let name = setting.name.to_ascii_uppercase().replace('.', "__").replace('-', "_");
            Fragment::from_environment([(format!("ECS_BOOTSTRAP_{name}").as_str(), value)])
        }
        Rank::CommandLine => {
            Fragment::from_command_line(&[("--set".to_owned(), setting.name.to_owned(), value.to_owned())])
        }
    };
    let sets = |name: &Name| matches!(name, Name::Setting(found) if found.name == setting.name);
    read.is_ok_and(|fragment| fragment.entries.iter().any(|entry| sets(&entry.name)))
}

fn agent_variables() -> String {
    let rows = agent_variables::ALL.iter().map(|variable| {
        let secret = if variable.secret { "yes" } else { "" };
        [format!("`{}`", variable.name), variable.variable_type.to_string(), secret.to_owned()]
    });
    table(["variable", "accepted values", "secret"], rows)
}

fn tag_variables() -> String {
    // Values of every type; those that a variable does not take are skipped.
    const VALUES: [&str; 18] = [
        "true",
        "false",
        "default",
        "always",
        "once",
        "none",
        "ec2_instance",
        "debug",
        "crit",
        "json",
        "{}",
        "[]",
        "64",
        "1h",
        "1m",
        "10s",
        "4,5",
        "prod",
    ];
    let rows = agent_variables::ALL.iter().filter_map(|variable| {
        let tried = VALUES.iter().map(|value| permitted_from_tags(variable.name, value));
        let answers: Vec<_> = tried.filter(|answer| !matches!(answer, Err(TagRefusal::Wrong(_)))).collect();
        assert!(!answers.is_empty(), "no value of the list fits `{}`", variable.name);
        if answers.iter().any(|answer| matches!(answer, Err(TagRefusal::NotPermitted { .. } | TagRefusal::Cluster))) {
            return None;
        }
        let limit = answers.into_iter().find_map(|answer| match answer {
            Err(TagRefusal::ValueNotPermitted { permitted, why, .. }) => Some((format!("only {permitted}"), why)),
            _ => None,
        });
        let (values, why) = limit.unwrap_or_else(|| ("all that the agent accepts".to_owned(), ""));
        Some([format!("`{}`", variable.name), values, why.to_owned()])
    });
    table(["variable", "values from a tag", "risk of other values"], rows)
}

/// The help of each command; options of every command are shown once.
fn cli(program: &str) -> String {
    let root = printed(program, &["--help"]);
    let commands: Vec<&str> = root
        .split_once("\nCommands:\n")
        .and_then(|(_, rest)| rest.split_once("\n\n"))
        .unwrap()
        .0
        .lines()
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    let helps: Vec<Help> = commands.iter().map(|command| Help::of(&printed(program, &[command, "--help"]))).collect();
    let is_common = |option: &str| {
        let same = |other: &String| other.split_whitespace().eq(option.split_whitespace());
        helps.iter().all(|help| help.options.iter().any(same))
    };
    let mut text = String::new();
    let common: String = helps[0].options.iter().filter(|option| is_common(option)).cloned().collect();
    if !common.is_empty() {
        writeln!(text, "### Options of every command\n\n```text\n{common}```\n").unwrap();
    }
    for (command, help) in commands.iter().zip(&helps) {
        let own: String = help.options.iter().filter(|option| !is_common(option)).cloned().collect();
        let own = if own.is_empty() { own } else { format!("\nOptions:\n{own}") };
        writeln!(text, "### {program} {command}\n\n```text\n{}\n{own}```\n", help.before.trim_end()).unwrap();
    }
    text.truncate(text.trim_end().len() + 1);
    text
}

/// The help of a command: what stands before its options, and each option with its lines.
struct Help {
    before: String,
    options: Vec<String>,
}

impl Help {
    fn of(text: &str) -> Help {
        let (before, block) = text.split_once("\nOptions:\n").unwrap_or((text, ""));
        let mut options: Vec<String> = Vec::new();
        for line in block.lines().take_while(|line| line.is_empty() || line.starts_with("  ")) {
            match options.last_mut().filter(|_| !line.trim_start().starts_with('-')) {
                Some(last) => *last += &format!("{line}\n"),
                None => options.push(format!("{line}\n")),
            }
        }
        // It is the same for every command.
        options.retain(|option| !option.trim_start().starts_with("-h, --help"));
        Help { before: before.to_owned(), options }
    }
}

fn scenarios() -> String {
    let rows = scenario::list().map(|(name, subject)| [format!("`{name}`"), subject.to_owned()]);
    table(["scenario", "what it shows"], rows)
}

fn message_ids() -> String {
    let ids = [
        ("the instance is ready", journal::MESSAGE_ID_READY),
        ("the instance is waiting", journal::MESSAGE_ID_WAITING),
        ("the instance has failed to register, or `watch` reports a fault", journal::MESSAGE_ID_FAILED),
        ("the instance did not register, and no cause has evidence", journal::MESSAGE_ID_UNKNOWN),
        ("another unit continues with the verification", journal::MESSAGE_ID_HANDED_OVER),
        ("the fault that `watch` reported is over", journal::MESSAGE_ID_RECOVERED),
        ("the draining begins or has ended", journal::MESSAGE_ID_DRAIN),
        ("a step of the draining failed, or tasks were left", journal::MESSAGE_ID_DRAIN_FAILED),
        ("`ecs.config` is written, or was already correct", journal::MESSAGE_ID_CONFIGURED),
    ];
    table(["entry", "`MESSAGE_ID`"], ids.map(|(entry, id)| [entry.to_owned(), format!("`{id}`")]))
}

fn warnings() -> String {
    let row = |of: &&WarningType| [format!("`{}`", of.id), of.meaning.to_owned(), of.remedy.to_owned()];
    table(["id", "meaning", "what to do"], warning::ALL.iter().map(row))
}

fn exit_codes(codes: &[(Exit, &str)]) -> String {
    let rows = codes.iter().map(|(exit, meaning)| [exit.code().to_string(), (*meaning).to_owned()]);
    table(["code", "meaning"], rows)
}

fn catalogue(program: &str) -> Vec<Value> {
    serde_json::from_str(&printed(program, &["explain", "--json"])).unwrap()
}

fn text_of<'a>(cause: &'a Value, field: &str) -> &'a str {
    cause[field].as_str().unwrap_or_else(|| panic!("no text `{field}` in {cause}"))
}

fn exit_of(cause: &Value) -> String {
    match (&cause["exit_code"], &cause["exit_code_after_deadline"]) {
        _ if cause["is_only_note"] == true => "none, it is a note".to_owned(),
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}, then {last}"),
    }
}

fn causes_index() -> String {
    let causes = catalogue("ecs-bootstrap");
    let rows = causes.iter().map(|cause| {
        let id = text_of(cause, "id");
        [
            text_of(cause, "layer").to_owned(),
            format!("[`{id}`](#{id})"),
            text_of(cause, "title").to_owned(),
            exit_of(cause),
        ]
    });
    table(["layer", "id", "what is wrong", "exit code"], rows)
}

/// A heading for each cause, and below it a line for each field.
fn causes() -> String {
    let mut text = String::new();
    let mut layer = String::new();
    for cause in catalogue("ecs-bootstrap") {
        if layer != text_of(&cause, "layer") {
            text_of(&cause, "layer").clone_into(&mut layer);
            writeln!(text, "## Layer {layer}\n").unwrap();
        }
        let alike = cause["look_alikes"].as_array().unwrap().iter();
        let alike: Vec<String> = alike.map(|id| id.as_str().unwrap()).map(|id| format!("[`{id}`](#{id})")).collect();
        let exit = match exit_of(&cause).split_once(", then ") {
            Some((first, last)) => format!("{first} while it can resolve itself, then {last}"),
            None => exit_of(&cause),
        };
        let fields = [
            ("What is wrong", text_of(&cause, "title").to_owned()),
            ("Symptoms", text_of(&cause, "symptoms").to_owned()),
            ("Proof", text_of(&cause, "proof").to_owned()),
            ("Look-alikes", alike.join(", ")),
            ("Remedy", text_of(&cause, "remedy").to_owned()),
            ("Class", text_of(&cause, "class").to_owned()),
            ("Exit code", exit),
            ("Source", text_of(&cause, "source").to_owned()),
        ];
        section(&mut text, text_of(&cause, "id"), &fields);
    }
    text.truncate(text.trim_end().len() + 1);
    text
}

fn deploy_causes() -> String {
    let mut text = String::new();
    for cause in catalogue("ecs-rollout") {
        let fields = [
            ("What is wrong", text_of(&cause, "title").to_owned()),
            ("Symptoms", text_of(&cause, "symptoms").to_owned()),
            ("Remedy", text_of(&cause, "remedy").to_owned()),
            ("Exit code", cause["exit_code"].to_string()),
            ("Source", text_of(&cause, "source").to_owned()),
        ];
        section(&mut text, text_of(&cause, "id"), &fields);
    }
    text.truncate(text.trim_end().len() + 1);
    text
}

fn section(text: &mut String, id: &str, fields: &[(&str, String)]) {
    writeln!(text, "### `{id}`\n").unwrap();
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        writeln!(text, "- **{name}**: {}", prose(value)).unwrap();
    }
    text.push('\n');
}

fn installed_files(package: &str) -> String {
    let manifest = file(&format!("packaging/manifest/{package}"));
    let lines = manifest.lines().filter(|line| line.starts_with('0'));
    let rows = lines.filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let kinds = fields.get(3).map_or_else(|| "all".to_owned(), |kinds| kinds.replace(',', ", "));
        (!fields[1].ends_with('/')).then(|| [format!("`{}`", fields[1]), fields[0].to_owned(), kinds])
    });
    table(["path", "mode", "packages"], rows)
}

/// The policies of the instances' role in cluster.yaml: policy, statement and actions.
pub(crate) fn role() -> Vec<(String, String, Vec<String>)> {
    let template = file("packaging/cloudformation/cluster.yaml");
    let begin =
        template.find("Description: !Sub Role of the agent and ecs-bootstrap on the instances").expect("the role");
    let role = template[begin..].split("\n\n").next().unwrap();
    let (mut policy, mut found) = (String::new(), Vec::new());
    let mut in_actions = false;
    for line in role.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("- PolicyName: ") {
            name.clone_into(&mut policy);
        } else if let Some(sid) = line.strip_prefix("- Sid: ") {
            found.push((policy.clone(), sid.to_owned(), Vec::new()));
        } else if let (Some(action), Some(last)) = (line.strip_prefix("Action:"), found.last_mut()) {
            in_actions = action.is_empty();
            last.2.extend(Some(action.trim().to_owned()).filter(|action| !action.is_empty()));
        } else if let (Some(action), Some(last), true) = (line.strip_prefix("- "), found.last_mut(), in_actions) {
            last.2.push(action.to_owned());
        } else {
            in_actions = false;
        }
    }
    assert!(found.iter().all(|(_, _, actions)| !actions.is_empty()), "{found:?}");
    found
}

fn iam_role() -> String {
    let rows = role().into_iter().map(|(policy, sid, actions)| {
        let actions: Vec<String> = actions.iter().map(|action| format!("`{action}`")).collect();
        [format!("`{policy}`"), format!("`{sid}`"), actions.join(", ")]
    });
    table(["policy", "statement", "actions"], rows)
}

/// Reads the value of a constant from a source file: a product, a shift, or a duration in seconds. Most of these
/// constants are private to their module.
fn constant(path: &str, name: &str) -> u64 {
    let text = file(path);
    let line = text.lines().find(|line| line.contains(&format!("const {name}:")));
    let line = line.unwrap_or_else(|| panic!("{path} has no constant `{name}`"));
    let expression = line.split_once(" = ").unwrap().1.trim_end_matches(';');
    let number = |text: &str| text.trim().replace('_', "").parse::<u64>().unwrap_or_else(|_| panic!("{line}"));
    if let Some(seconds) = expression.strip_prefix("Duration::from_secs(") {
        return seconds.trim_end_matches(')').split('*').map(number).product();
    }
    match expression.split_once("<<") {
        Some((value, bits)) => number(value) << number(bits),
        None => expression.split('*').map(number).product(),
    }
}

fn limits_of_size() -> String {
    let rows = [
        ("`/etc/ecs/ecs.config`, or one settings file", "src/host.rs", "MAX_FILE_LENGTH"),
        ("the saved state of the agent", "src/host.rs", "MAX_STATE_LENGTH"),
        ("settings in user data, after decompression", "src/mime/decode.rs", "MAX_BYTES"),
        ("a file that `check` reads", "src/boundary/input_file.rs", "MAX_BYTES"),
        ("a response of instance metadata", "src/boundary/imds/connections.rs", "MAX_ANSWER_LENGTH"),
        ("a response of an AWS API", "src/boundary/aws/response_body.rs", "MAX_ANSWER_LENGTH"),
        ("a CA bundle (`AWS_CA_BUNDLE`)", "src/boundary/aws/http.rs", "MAX_BUNDLE_LENGTH"),
        ("`/etc/hosts`", "src/boundary/dns.rs", "MAX_HOSTS_LENGTH"),
        ("`/etc/resolv.conf`", "src/boundary/dns.rs", "MAX_RESOLV_CONF_LENGTH"),
    ];
    let shown = |bytes: u64| match bytes >> 20 {
        0 => format!("{} KiB", bytes >> 10),
        mebibytes => format!("{mebibytes} MiB"),
    };
    table(["what is read", "at most"], rows.map(|(what, path, name)| [what.to_owned(), shown(constant(path, name))]))
}

fn limits_of_time() -> String {
    let defaults = serde_json::to_value(Settings::default()).unwrap();
    let deadline = |name: &str| default_of(name, &defaults).trim_matches('`').to_owned();
    let seconds = |path: &str, name: &str| format!("{} s", constant(path, name));
    let day = humantime::format_duration(schema::MAX_DURATION).to_string();
    let hang = constant("src/retry.rs", "HANG_GRACE") + constant("src/commands/watchdog.rs", "STARTUP");
    let row = |what: &str, limit: String, setting: &str| [what.to_owned(), limit, setting.to_owned()];
    table(
        ["what", "limit", "setting"],
        [
            row("instance metadata is not reachable", deadline("imds.deadline"), "`imds.deadline`"),
            row("a tag that `ec2:DescribeTags` does not show yet", deadline("tags.wait"), "`tags.wait`"),
            row("gather, decide and apply together", deadline("run.deadline"), "`run.deadline`"),
            row("the instance has not registered", deadline("verify.deadline"), "`verify.deadline`"),
            row("a registered agent is disconnected", deadline("verify.window"), "`verify.window`"),
            row(
                "the conditions of `ready.*` are not fulfilled after the registration",
                deadline("ready.deadline"),
                "`ready.deadline`",
            ),
            row("`prepare-image` and `reset-agent`", deadline("run.deadline"), "`run.deadline`"),
            row("`guard` waits for the lock of a run", seconds("src/commands/guard.rs", "LOCK_WAIT"), ""),
            row("`guard` waits for a GPU device", seconds("src/commands/guard.rs", "GPU_WAIT"), ""),
            row("the signals of a verdict", seconds("src/commands/watchdog.rs", "SIGNALS"), ""),
            row("signals after the deadline of the command", seconds("src/commands/watchdog.rs", "LATE_SIGNALS"), ""),
            row("a blocked system call, after the deadline of the command", format!("{hang} s"), ""),
            row("the longest duration that a setting accepts", day, ""),
        ],
    )
}

fn size_of_the_binary() -> String {
    let text = file("tests/run");
    let line = text.lines().find(|line| line.contains("largest_binary=")).expect("largest_binary in tests/run");
    let bytes: String = line.split('=').nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
    let bytes: u64 = bytes.parse().unwrap();
    assert_eq!(bytes % 100_000, 0, "shown with one digit");
    format!("`ecs-bootstrap` has at most {}.{} MB ({bytes} bytes).\n", bytes / 1_000_000, bytes / 100_000 % 10)
}

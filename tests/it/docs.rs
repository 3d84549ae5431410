//! The README and the file of default settings say what the code says: tables and defaults are compared with those of the
//! code, examples are parsed, samples are those that are shipped.
//!
//! A table that differs fails with the text that belongs there.

use std::fmt::Write;
use std::path::Path;

use ecs_bootstrap::causes;
use ecs_bootstrap::exit::Exit;
use ecs_bootstrap::settings::fragment::{Fragment, Name};
use ecs_bootstrap::settings::{Rank, Settings, schema, user_data};
use serde_json::Value;

use crate::scene;

const README: &str = include_str!("../../README.md");
const DEFAULTS: &str = include_str!("../../packaging/config.d/10-defaults.toml");

/// What stands between `<!-- NAME -->` and `<!-- end -->`.
fn marked(name: &str) -> &'static str {
    let marker = format!("<!-- {name} -->\n");
    let begin = README.find(&marker).unwrap_or_else(|| panic!("README.md has no `{marker}`")) + marker.len();
    let end = README[begin..].find("<!-- end -->").expect("`<!-- end -->` after it");
    &README[begin..begin + end]
}

fn table_is(name: &str, expected: &str) {
    assert!(marked(name) == expected, "the table `{name}` of README.md differs; this belongs there:\n{expected}");
}

/// The fenced blocks with this info string.
fn examples(info: &str) -> impl Iterator<Item = &'static str> {
    let fence = format!("```{info}\n");
    README
        .match_indices(&fence)
        .map(|(at, fence)| README[at + fence.len()..].split("```").next().unwrap())
        .collect::<Vec<_>>()
        .into_iter()
}

/// The default of a setting, from the defaults as JSON.
fn default_of(name: &str, defaults: &Value) -> String {
    let path = name.replace('-', "_");
    let value = match path.split_once('.') {
        Some((table @ ("derive" | "signal"), inner)) => &defaults[table][inner]["value"],
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

#[test]
fn the_table_of_settings_is_that_of_the_schema() {
    let defaults = serde_json::to_value(Settings::default()).unwrap();
    let mut table =
        "| setting | default | what it does | takes | ranks |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for setting in schema::ALL {
        let ranks = match setting.name {
            "cluster" => "2 3 4 6 7 8 9",
            "cluster-tags" => "3 4 6 7 8 9",
            "tags.settings" | "tags.cluster" => "3 4",
            _ if setting.early => "3 4 8 9",
            _ => "3 4 7 8 9",
        };
        let (name, default) = (setting.name, default_of(setting.name, &defaults));
        writeln!(table, "| `{name}` | {default} | {} | {} | {ranks} |", setting.about, setting.expects).unwrap();
    }
    table_is("settings", &table);
}

#[test]
fn the_table_of_exit_codes_is_that_of_the_code() {
    for (name, codes) in [("exit-codes", Exit::ALL), ("deploy-exit-codes", Exit::DEPLOY)] {
        let mut table = "| code | meaning |\n| --- | --- |\n".to_owned();
        for (exit, meaning) in codes {
            writeln!(table, "| {} | {meaning} |", exit.code()).unwrap();
        }
        table_is(name, &table);
    }
}

#[test]
fn the_table_of_causes_is_the_catalogue() {
    let mut table = "| id | what is wrong | exit code |\n| --- | --- | --- |\n".to_owned();
    for cause in causes::ALL.iter().copied().chain([&causes::UNKNOWN]) {
        let exit = match (cause.exit.code(), cause.exit_after_deadline.code()) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}, then {last}"),
        };
        writeln!(table, "| `{}` | {} | {exit} |", cause.id, cause.title).unwrap();
    }
    table_is("causes", &table);
}

#[test]
fn the_examples_of_settings_are_settings() {
    let files: Vec<_> = examples("toml").collect();
    assert!(!files.is_empty());
    for text in files {
        Fragment::from_toml(text, Rank::Config, "README.md").map_err(|error| format!("{error}:\n{text}")).unwrap();
    }
}

#[test]
fn the_examples_of_user_data_hold_settings_of_ours() {
    let documents: Vec<_> = examples("toml user-data").chain(examples("mime user-data")).collect();
    assert!(documents.len() >= 2);
    for document in documents {
        let text = user_data::settings_in(document.as_bytes())
            .unwrap()
            .unwrap_or_else(|| panic!("no settings in:\n{document}"));
        let read = Fragment::from_toml(&text, Rank::UserData, "README.md");
        read.map_err(|error| format!("{error}:\n{document}")).unwrap();
    }
}

#[test]
fn the_samples_of_user_data_are_shown_as_they_are_shipped() {
    let mut samples = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/cloud-init")).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap();
        let marker = format!("<!-- packaging/cloud-init/{name} -->\n```");
        let (_, block) = README.split_once(&marker).unwrap_or_else(|| panic!("README.md has no `{marker}`"));
        let (_, text) = block.split_once('\n').unwrap();
        assert_eq!(text.split("```").next().unwrap(), std::fs::read_to_string(&file).unwrap(), "{name}");
        samples += 1;
    }
    assert!(samples >= 7);
}

#[test]
fn the_shipped_settings_file_sets_nothing() {
    let shipped = Fragment::from_toml(DEFAULTS, Rank::Vendor, "10-defaults.toml").unwrap();
    assert!(shipped.entries.is_empty());
}

#[test]
fn the_shipped_settings_file_shows_every_setting_with_its_meaning_and_default() {
    for setting in schema::ALL {
        let entry = format!("\n# {}\n#{} = ", setting.about, setting.name);
        assert!(DEFAULTS.contains(&entry), "10-defaults.toml lacks:{entry}");
    }

    // A setting is commented out by `#` alone, prose by `# `.
    let is_setting = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase());
    let uncommented: String = DEFAULTS
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| is_setting(rest)).unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n");
    let read = Fragment::from_toml(&uncommented, Rank::Vendor, "10-defaults.toml");
    let fragment = read.map_err(|error| format!("{error}:\n{uncommented}")).unwrap();
    assert!(fragment.warnings.is_empty(), "{:?}", fragment.warnings);

    let mut settings = Settings::default();
    let defaults = serde_json::to_value(&settings).unwrap();
    let mut said = Vec::new();
    for entry in &fragment.entries {
        if let Name::Setting(setting) = &entry.name {
            setting.apply(&mut settings, &entry.raw, entry.source.clone()).unwrap();
            said.push(setting.name);
        }
    }
    assert_eq!(said.len(), schema::ALL.len(), "{said:?}");
    let settings = serde_json::to_value(&settings).unwrap();
    for setting in schema::ALL {
        let default = default_of(setting.name, &defaults);
        if default != "none" {
            assert_eq!(default_of(setting.name, &settings), default, "{}", setting.name);
        }
    }
}

#[test]
fn every_scene_is_in_the_readme() {
    for (name, _) in scene::list() {
        assert!(README.contains(&format!("`{name}`")), "{name}");
    }
}

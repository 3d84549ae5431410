//! Recognises the type of a file by its content and its name.

use super::agent_json;
use super::finding::InputType;
use crate::agent_variables::{find, suggest};
use crate::evidence::user_data::{PartType, of_other_system, read};
use crate::settings::schema;
use crate::settings::user_data::unwrapped;

/// The recognised type of a file.
pub(super) struct Detected {
    pub(super) input_type: InputType,
    /// A description of the file and its content.
    pub(super) what: &'static str,
    /// Whether the name is that of a template, so that a program replaces the placeholders in it.
    pub(super) is_template: bool,
}

/// Endings of the names of templates.
const TEMPLATES: [&str; 9] = [".tpl", ".tftpl", ".tmpl", ".template", ".j2", ".jinja", ".jinja2", ".erb", ".mustache"];
/// Endings of the names of files in another language that can contain user data.
const WITH_USER_DATA: [&str; 7] = [".tf", ".hcl", ".yaml", ".yml", ".sh", ".cfg", ".txt"];

/// Endings of the names of files in another language. Lines that look like settings are not settings in these files.
const SOURCES: [&str; 15] =
    [".tf", ".hcl", ".yaml", ".yml", ".json", ".py", ".ts", ".js", ".go", ".java", ".rb", ".sh", ".pp", ".sls", ".md"];
/// The description of a file in another language.
pub(super) const FILE_WITH_USER_DATA: &str = "a file that can contain user data";

/// The type of the file. `None` if it is not recognised. `given` is the type that the options give.
pub(super) fn detect(file: &str, bytes: &[u8], given: Option<InputType>) -> Option<Detected> {
    let name = file.rsplit('/').next().unwrap_or(file).to_ascii_lowercase();
    let bare = TEMPLATES.iter().find_map(|end| name.strip_suffix(end));
    let is_template = bare.is_some();
    let name = bare.unwrap_or(&name);
    let (input_type, what) = match given {
        Some(InputType::UserData) => (InputType::UserData, of_user_data(bytes).unwrap_or("user data")),
        Some(InputType::EcsConfig) => (InputType::EcsConfig, "ecs.config"),
        Some(InputType::Settings) => (InputType::Settings, "settings of ecs-bootstrap"),
        Some(InputType::EcsConfigJson) => (InputType::EcsConfigJson, "ecs.config.json"),
        None => guess(name, bytes)?,
    };
    Some(Detected { input_type, what, is_template })
}

fn guess(name: &str, bytes: &[u8]) -> Option<(InputType, &'static str)> {
    let text = String::from_utf8_lossy(bytes);
    if name.ends_with("ecs.config.json") {
        return Some((InputType::EcsConfigJson, "ecs.config.json"));
    }
    if name.ends_with("ecs.config") {
        return Some((InputType::EcsConfig, "ecs.config"));
    }
    if let Some(what) = of_user_data(bytes) {
        return Some((InputType::UserData, what));
    }
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return Some((InputType::UserData, "gzip"));
    }
    if let Some(first) = utf_16(bytes) {
        return Some(match first {
            '#' | '<' => (InputType::UserData, "user data in UTF-16"),
            _ => (InputType::EcsConfig, "ecs.config in UTF-16"),
        });
    }
    let json = || serde_json::from_str::<serde_json::Value>(&text).ok();
    if text.trim_start().starts_with('{') && json().is_some_and(|json| agent_json::is_agents(&json)) {
        return Some((InputType::EcsConfigJson, "ecs.config.json"));
    }
    let is_source = SOURCES.iter().any(|end| name.ends_with(end));
    if name.ends_with(".toml") || (!is_source && is_settings(&text)) {
        return Some((InputType::Settings, "settings of ecs-bootstrap"));
    }
    let is_named_user_data = ["user-data", "user_data", "userdata"].iter().any(|word| name.contains(word));
    if !is_named_user_data && !is_source && is_config(&text) {
        return Some((InputType::EcsConfig, "ecs.config"));
    }
    let mentions_config = text.contains("ecs.config") || text.contains("ECS_CLUSTER") || text.contains("ecs-bootstrap");
    if is_named_user_data {
        return Some((InputType::UserData, "user data"));
    }
    if mentions_config || WITH_USER_DATA.iter().any(|end| name.ends_with(end)) {
        return Some((InputType::UserData, FILE_WITH_USER_DATA));
    }
    text.trim().is_empty().then_some((InputType::EcsConfig, "an empty file"))
}

/// The first character of a text in UTF-16.
fn utf_16(bytes: &[u8]) -> Option<char> {
    match bytes {
        [0xff, 0xfe, first, 0, ..] | [0xfe, 0xff, 0, first, ..] => Some(char::from(*first)),
        [first, 0, second, 0, ..] if first.is_ascii_graphic() && second.is_ascii_graphic() => Some(char::from(*first)),
        _ => None,
    }
}

/// The description of user data that is recognised by its first bytes.
fn of_user_data(bytes: &[u8]) -> Option<&'static str> {
    let document = unwrapped(bytes)?;
    if let Some(what) = of_other_system(&document) {
        return Some(what.trim_start_matches("it is ").split(", which").next().unwrap_or(what));
    }
    match read(Some(bytes)).part_type {
        PartType::Known(what) | PartType::TwiceEncoded(what) => Some(what),
        PartType::Unknown(why) if why.contains("before its first line") => Some("user data"),
        _ => None,
    }
}

/// Whether at least one line is a setting of ecs-bootstrap in TOML, or the header of a table of settings.
fn is_settings(text: &str) -> bool {
    let is_table = |name: &str| name == "agent" || schema::ALL.iter().any(|s| s.name.starts_with(&format!("{name}.")));
    text.lines().map(str::trim).any(|line| match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
        Some(table) => is_table(table.trim()),
        None => line.split_once('=').is_some_and(|(key, _)| schema::find(key.trim()).is_some()),
    })
}

/// Whether most lines are assignments, and at least one of them of a variable of the agent.
fn is_config(text: &str) -> bool {
    // Only the variables of proxies have lower case names.
    let is_name = |key: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-\u{feff}".contains(c);
        let is_upper = !key.contains(|c: char| c.is_ascii_lowercase()) || key.ends_with("_proxy");
        !key.is_empty() && key.chars().all(is_plain) && (is_upper || suggest(key).is_some())
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (mut assigned, mut others, mut known) = (0, 0, false);
    let mut begins = false;
    for line in lines {
        let bare = line.trim_start_matches('\u{feff}');
        let bare = bare.strip_prefix("export ").unwrap_or(bare);
        let key = bare.split(['=', ':']).next().unwrap_or_default().trim();
        let is_assigned = bare.contains(['=', ':']) && is_name(key);
        known |= find(key).is_some() || suggest(key).is_some() || key.starts_with("ECS_");
        begins |= assigned + others == 0 && bare.contains('=') && find(key).is_some() && !bare.contains(">>");
        if is_assigned { assigned += 1 } else { others += 1 }
    }
    begins || (known && assigned > others)
}

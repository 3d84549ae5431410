//! The documentation agrees with the code: generated parts are current, examples are valid, samples are the shipped
//! files, and the schemas contain every value.
//!
//! A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`. `docs/generate` writes all of them.

mod json;
mod parts;
pub(crate) use parts::role;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use ecs_bootstrap::causes::Layer;
use ecs_bootstrap::exit::Exit;
use ecs_bootstrap::settings::fragment::{Fragment, Name};
use ecs_bootstrap::settings::precedence::LOWEST_FIRST;
use ecs_bootstrap::settings::{Rank, Settings, schema as settings_schema, user_data};
use serde_json::{Value, json};

use self::parts::default_of;
use crate::support::schema;

const DEFAULTS: &str = include_str!("../../../packaging/config.d/10-defaults.toml");
/// If this variable is set, the generated parts are written instead of compared.
const UPDATE: &str = "ECS_BOOTSTRAP_UPDATE_DOCS";

/// A page of the documentation.
struct Page {
    /// Below the root of the tree.
    name: String,
    text: String,
}

/// README.md and every page below `docs`.
fn pages() -> Vec<Page> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut files, mut folders) = (vec![root.join("README.md")], vec![root.join("docs")]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                files.push(path);
            }
        }
    }
    files.sort();
    let name = |path: &Path| path.strip_prefix(root).unwrap().display().to_string();
    files.iter().map(|path| Page { name: name(path), text: std::fs::read_to_string(path).unwrap() }).collect()
}

/// A fenced block.
struct Block {
    page: String,
    /// The last line before it that is not empty.
    before: String,
    info: String,
    text: String,
}

/// The fenced blocks of all pages; a block in a list is indented.
fn blocks() -> Vec<Block> {
    let mut found = Vec::new();
    for page in pages() {
        let mut lines = page.text.lines();
        let mut before = String::new();
        while let Some(line) = lines.next() {
            let indent = line.len() - line.trim_start().len();
            let Some(info) = line.trim_start().strip_prefix("```") else {
                if !line.trim().is_empty() {
                    line.trim().clone_into(&mut before);
                }
                continue;
            };
            let inside = lines.by_ref().take_while(|line| line.trim() != "```");
            let inside = inside.map(|line| line.get(indent..).unwrap_or_default().to_owned() + "\n");
            let text = inside.collect();
            found.push(Block { page: page.name.clone(), before: std::mem::take(&mut before), info: info.into(), text });
        }
    }
    found
}

#[test]
fn generated_parts_are_current() {
    let update = std::env::var_os(UPDATE).is_some();
    let mut missing = parts::all();
    let parts = missing.clone();
    let mut stale = Vec::new();
    for page in pages() {
        let mut rest = page.text.as_str();
        let mut current = String::new();
        while let Some((before, after)) = rest.split_once("<!-- generated: ") {
            let (name, after) = after.split_once(" -->\n").expect("the end of a marker");
            let (old, after) = after.split_once("<!-- end -->").expect("`<!-- end -->` after a generated part");
            let new = parts.get(name).unwrap_or_else(|| panic!("{} has an unknown part `{name}`", page.name));
            if old != new {
                stale.push(format!("{}: {name}", page.name));
            }
            missing.remove(name);
            write!(current, "{before}<!-- generated: {name} -->\n{new}<!-- end -->").unwrap();
            rest = after;
        }
        current.push_str(rest);
        if update && current != page.text {
            std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(&page.name), current).unwrap();
        }
    }
    let missing: Vec<_> = missing.keys().collect();
    assert!(missing.is_empty(), "no page has the generated parts {missing:?}");
    assert!(update || stale.is_empty(), "stale generated parts, to be written by `docs/generate`: {stale:#?}");
}

/// docs/images/timeline.svg is made from docs/images/timeline.json, which has the form of `timeline --json`.
#[test]
fn generated_pictures_are_current() {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images");
    let timeline = std::fs::read_to_string(images.join("timeline.json")).unwrap();
    let picture = ecs_bootstrap::render::timeline_svg(&serde_json::from_str(&timeline).unwrap());
    let file = images.join("timeline.svg");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&file, &picture).unwrap();
    }
    assert!(
        std::fs::read_to_string(&file).unwrap() == picture,
        "stale: {}, written by `docs/generate`",
        file.display()
    );
}

#[test]
fn the_page_about_iam_has_the_actions_of_the_role() {
    let page = pages().into_iter().find(|page| page.name == "docs/reference/iam.md").unwrap();
    let by_hand = page.text.split("<!-- generated: iam-role -->").next().unwrap();
    let role = parts::role();
    let of_role: BTreeSet<&str> = role.iter().flat_map(|(_, _, actions)| actions).map(String::as_str).collect();
    let of_ecs_bootstrap = role.iter().filter(|(policy, ..)| policy == "ecs-bootstrap");
    for action in of_ecs_bootstrap.flat_map(|(_, _, actions)| actions) {
        assert!(by_hand.contains(&format!("`{action}`")), "iam.md does not explain {action}");
    }
    let is_action = |word: &&str| word.split_once(':').is_some_and(|(service, _)| !service.contains(['/', '.', ' ']));
    let rows = by_hand.lines().filter(|line| line.starts_with("| `"));
    for action in rows.filter_map(|row| row.split('|').nth(1)).flat_map(|cell| cell.split('`')).filter(is_action) {
        assert!(of_role.contains(action), "{action} is not in the role of cluster.yaml");
    }
}

#[test]
fn schemas_name_every_value_of_the_code() {
    let read = |name: &str| -> Value {
        serde_json::from_str(schema::ALL.iter().find(|(known, _)| *known == name).unwrap().1).unwrap()
    };
    let is = |schema: &str, pointer: &str, expected: Value| {
        assert_eq!(read(schema).pointer(pointer).unwrap(), &expected, "{schema} {pointer}");
    };
    let layers = Layer::ALL.into_iter().chain([Layer::Tasks, Layer::Lifecycle]).map(|layer| json!(layer));
    let checks: Vec<Value> = layers.collect();
    is("doctor", "/properties/checks/items/properties/layer/enum", json!(checks));
    let all: Vec<Value> = checks.into_iter().chain([json!(Layer::Unknown)]).collect();
    is("explain", "/$defs/explanation/properties/layer/enum", json!(all));
    let codes = |codes: &[(Exit, &str)]| json!(codes.iter().map(|(exit, _)| exit).collect::<Vec<_>>());
    is("verdict", "/properties/exit_code/enum", codes(Exit::ALL));
    is("explain", "/$defs/explanation/properties/exit_code/enum", codes(Exit::ALL));
    is("ecs-rollout-outcome", "/properties/exit_code/enum", codes(Exit::DEPLOY));
    let ranks: Vec<Rank> = LOWEST_FIRST.iter().map(|(rank, ..)| *rank).collect();
    is("plan", "/$defs/source/properties/kind/enum", json!(ranks));
}

#[test]
fn schemas_describe_every_field() {
    fn described(of: &Value, path: &str) {
        for (name, field) in of["properties"].as_object().into_iter().flatten() {
            assert!(field["description"].is_string(), "{path}.{name}");
        }
        if of.get("properties").is_some() {
            assert_eq!(of["additionalProperties"], false, "{path}");
        }
        match of {
            Value::Object(all) => all.iter().for_each(|(name, inner)| described(inner, &format!("{path}.{name}"))),
            Value::Array(all) => all.iter().for_each(|inner| described(inner, path)),
            _ => {}
        }
    }
    for (name, text) in schema::ALL {
        described(&serde_json::from_str(text).unwrap(), name);
    }
}

#[test]
fn a_document_with_an_unknown_field_or_value_is_refused() {
    let valid = json!({
        "version": 1, "verdict": "waiting", "exit_code": 0, "cause": null, "also": [], "text": "waiting",
        "cluster": null, "container_instance_arn": null, "agent_connected": null, "phases": [],
    });
    assert_eq!(schema::validate("verdict", &valid), Ok(()));
    for (field, value) in
        [("planted", json!(1)), ("verdict", json!("fine")), ("exit_code", json!(3)), ("also", json!([{}]))]
    {
        let mut wrong = valid.clone();
        wrong[field] = value;
        let error = schema::validate("verdict", &wrong).expect_err(field);
        assert!(error.contains(field), "{error}");
        let printed = schema::validate_stdout(&["status", "--json"], &wrong.to_string());
        assert_eq!(printed, Err(error), "{field}");
    }
}

#[test]
fn the_examples_of_settings_are_settings() {
    let files: Vec<_> = blocks().into_iter().filter(|block| block.info == "toml").collect();
    assert!(!files.is_empty());
    for Block { page, text, .. } in files {
        Fragment::from_toml(&text, Rank::Config, &page).map_err(|error| format!("{error}:\n{text}")).unwrap();
    }
}

#[test]
fn the_examples_of_user_data_hold_settings() {
    let is_user_data = |block: &Block| ["toml user-data", "mime user-data"].contains(&block.info.as_str());
    let documents: Vec<_> = blocks().into_iter().filter(is_user_data).collect();
    assert!(documents.len() >= 2);
    for Block { page, text: document, .. } in documents {
        let text = user_data::settings_in(document.as_bytes()).unwrap();
        let text = text.unwrap_or_else(|| panic!("{page}: no settings in\n{document}"));
        let read = Fragment::from_toml(&text, Rank::UserData, &page);
        read.map_err(|error| format!("{error}:\n{document}")).unwrap();
    }
}

#[test]
fn the_samples_of_user_data_are_shown_as_they_are_shipped() {
    let blocks = blocks();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/cloud-init");
    let mut shipped = BTreeSet::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let marker = format!("<!-- packaging/cloud-init/{name} -->");
        let shown: Vec<&Block> = blocks.iter().filter(|block| block.before == marker).collect();
        assert!(!shown.is_empty(), "no page has a block after `{marker}`");
        for block in shown {
            assert_eq!(block.text, std::fs::read_to_string(&path).unwrap(), "{name} in {}", block.page);
        }
        shipped.insert(marker);
    }
    assert!(shipped.len() >= 7);
    for block in blocks.iter().filter(|block| block.before.starts_with("<!-- packaging/cloud-init/")) {
        assert!(shipped.contains(&block.before), "{} shows a sample that is not shipped: {}", block.page, block.before);
    }
}

#[test]
fn the_shipped_settings_file_sets_nothing() {
    let shipped = Fragment::from_toml(DEFAULTS, Rank::Vendor, "10-defaults.toml").unwrap();
    assert!(shipped.entries.is_empty());
}

#[test]
fn the_shipped_settings_file_shows_every_setting_with_its_meaning_and_default() {
    for setting in settings_schema::ALL {
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
    assert_eq!(said.len(), settings_schema::ALL.len(), "{said:?}");
    let settings = serde_json::to_value(&settings).unwrap();
    for setting in settings_schema::ALL {
        let default = default_of(setting.name, &defaults);
        if default != "none" {
            assert_eq!(default_of(setting.name, &settings), default, "{}", setting.name);
        }
    }
}

//! The tables of JSON fields, from the schemas.

use std::collections::BTreeMap;

use serde_json::Value;

use super::parts::table;
use crate::support::schema;

/// A part `json-NAME` for each schema, and a part `json-def-NAME` for each definition in them.
pub(super) fn parts() -> BTreeMap<String, String> {
    let mut parts = BTreeMap::new();
    let verdict = read("verdict");
    for (name, _) in schema::ALL {
        let schema = read(name);
        for (definition, of) in schema["$defs"].as_object().into_iter().flatten() {
            let text = fields(of, |_, _| true);
            let before = parts.insert(format!("json-def-{definition}"), text.clone());
            assert!(before.is_none_or(|before| before == text), "two definitions of `{definition}`");
        }
        if schema.get("properties").is_some() {
            // A doctor's document is a verdict with more fields.
            let is_own = |field: &str, of: &Value| name != "doctor" || verdict["properties"].get(field) != Some(of);
            parts.insert(format!("json-{name}"), fields(&schema, is_own));
        }
    }
    parts
}

fn read(name: &str) -> Value {
    let (_, text) = schema::ALL.iter().find(|(known, _)| *known == name).unwrap();
    serde_json::from_str(text).unwrap()
}

fn fields(schema: &Value, is_shown: impl Fn(&str, &Value) -> bool) -> String {
    let mut rows = Vec::new();
    add(&mut rows, "", schema, &is_shown);
    table(["field", "type", "meaning"], rows)
}

/// The rows of an object, those of objects inside it after each field.
fn add(rows: &mut Vec<[String; 3]>, path: &str, object: &Value, is_shown: &dyn Fn(&str, &Value) -> bool) {
    let required: Vec<&str> = object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut fields: Vec<(&String, &Value)> = object["properties"].as_object().into_iter().flatten().collect();
    // A parsed object is sorted by name; `required` keeps the order of the document.
    fields.sort_by_key(|(name, _)| required.iter().position(|known| known == name).unwrap_or(usize::MAX));
    for (name, of) in fields {
        if path.is_empty() && !is_shown(name, of) {
            continue;
        }
        let path = format!("{path}{name}");
        let deprecated = if of["deprecated"] == true { "Deprecated. " } else { "" };
        let optional = if required.contains(&name.as_str()) { "" } else { ", optional" };
        let meaning = of["description"].as_str().unwrap_or_else(|| panic!("`{path}` has no description"));
        rows.push([format!("`{path}`"), format!("{}{optional}", type_of(of)), format!("{deprecated}{meaning}")]);
        if let Some((suffix, inner)) = inner(of) {
            add(rows, &format!("{path}{suffix}."), inner, is_shown);
        }
    }
}

/// The object that a field holds, as itself, as an element, or beside null.
fn inner(of: &Value) -> Option<(&'static str, &Value)> {
    if of.get("properties").is_some() {
        return Some(("", of));
    }
    if let Some(object) = of["oneOf"].as_array().and_then(|all| all.iter().find(|one| one.get("properties").is_some()))
    {
        return Some(("", object));
    }
    of["items"].get("properties").map(|_| ("[]", &of["items"]))
}

fn type_of(of: &Value) -> String {
    if let Some(reference) = of["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return format!("[{name}](#{name})");
    }
    if let Some(value) = of.get("const") {
        return format!("`{}`", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    if let Some(values) = of["enum"].as_array() {
        if values.iter().all(Value::is_number) {
            return "integer".to_owned();
        }
        let shown = |value: &Value| match value.as_str() {
            Some("") => "empty".to_owned(),
            value => format!("`{}`", value.unwrap()),
        };
        return values.iter().map(shown).collect::<Vec<_>>().join(", ");
    }
    if let Some(all) = of["oneOf"].as_array() {
        return all.iter().rev().map(type_of).collect::<Vec<_>>().join(" or ");
    }
    match &of["type"] {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        Value::String(name) if name == "array" => format!("array of {}", type_of(&of["items"])),
        name => name.as_str().unwrap_or_else(|| panic!("no type in {of}")).to_owned(),
    }
}

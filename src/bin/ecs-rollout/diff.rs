//! Shows the difference between two task definitions, without secrets.

use serde_json::{Value, json};

/// A unified diff with three lines of context; empty if nothing differs.
pub(crate) fn unified(before: &Value, after: &Value, names: (&str, &str)) -> String {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        // Without the commas at the end of lines, an added member is one line of the diff.
        value => format!("{:#}\n", redacted(value)).replace(",\n", "\n"),
    };
    let (old, new) = (text(before), text(after));
    let shown = similar::TextDiff::from_lines(&old, &new).unified_diff().header(names.0, names.1).to_string();
    // Only a redacted value may differ.
    if shown.is_empty() && before != after {
        return "  (only redacted values differ)\n".to_owned();
    }
    shown
}

/// Redacts values of environment variables with a name that suggests a secret, because many people can read a CI log.
fn redacted(value: &Value) -> Value {
    const SECRET: [&str; 9] =
        ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "PRIVATE", "CREDENTIAL", "API_KEY", "APIKEY", "ACCESS_KEY"];
    match value {
        Value::Array(list) => Value::Array(list.iter().map(redacted).collect()),
        Value::Object(members) => {
            let name = members.get("name").and_then(Value::as_str).unwrap_or_default().to_ascii_uppercase();
            let is_variable = members.contains_key("value") && members.len() == 2;
            let is_secret = is_variable && SECRET.iter().any(|word| name.contains(word));
            let shown = members.iter().map(|(key, value)| match (key.as_str(), value) {
                ("value", _) if is_secret => (key.clone(), json!("<redacted>")),
                (_, Value::String(text)) => (key.clone(), json!(redact_password(text))),
                _ => (key.clone(), redacted(value)),
            });
            Value::Object(shown.collect())
        }
        other => other.clone(),
    }
}

/// Redacts the password in `scheme://user:password@host`.
fn redact_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => {
            let user_name = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user_name}:<redacted>{}", &rest[user.len()..])
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_shows_changes_but_no_secret() {
        let task = |tag: &str, password: &str| {
            json!({"image": format!("web:{tag}"), "environment": [
                {"name": "DB_PASSWORD", "value": password}, {"name": "DB", "value": "postgres://web:hunter2@db/web"}]})
        };
        let shown = unified(&task("1", "old"), &task("2", "new"), ("web:1", "new"));
        assert!(shown.contains("-  \"image\": \"web:1\"\n+  \"image\": \"web:2\"\n"), "{shown}");
        let all = unified(&Value::Null, &task("1", "s3cret"), ("nothing", "new"));
        for secret in ["s3cret", "hunter2"] {
            assert!(!all.contains(secret), "{all}");
        }
        assert!(all.contains("postgres://web:<redacted>@db/web"), "{all}");
        assert!(unified(&task("1", "old"), &task("1", "new"), ("a", "b")).contains("only redacted values differ"));
        assert_eq!(unified(&task("1", "old"), &task("1", "old"), ("a", "b")), "");
    }
}

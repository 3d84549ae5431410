//! Names the values of a task definition that may be secrets, because its file may be committed.
//!
//! In: the body of RegisterTaskDefinition. Out: notes with names, never with values. A name or value can only suggest
//! that it is a secret, so nothing is removed.

use serde_json::Value;

/// Words inside a name that suggest a secret.
const WORDS: [&str; 9] =
    ["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "PRIVATE", "CREDENTIAL", "APIKEY", "ACCESSKEY"];
/// Words that suggest a secret only if they stand alone, as in `DB_PASS`.
const WHOLE_WORDS: [&str; 7] = ["PASS", "PWD", "PW", "KEY", "DSN", "AUTH", "CREDS"];

/// The notes for a task definition in this file.
pub(super) fn notes(task: &Value, file: &str) -> Vec<String> {
    let (mut variables, mut likely) = (0, Vec::new());
    for container in task["containerDefinitions"].as_array().into_iter().flatten() {
        let place = format!("of container `{}`", container["name"].as_str().unwrap_or_default());
        for variable in container["environment"].as_array().into_iter().flatten() {
            variables += 1;
            let text = |member: &str| variable[member].as_str().unwrap_or_default();
            if is_likely(text("name"), text("value")) {
                likely.push(format!("`{}` {place}", text("name")));
            }
        }
        for (members, what) in
            [(&container["logConfiguration"]["options"], "log option"), (&container["dockerLabels"], "label")]
        {
            let members = members.as_object().into_iter().flatten();
            let found = members.filter(|(name, value)| is_likely(name, value.as_str().unwrap_or_default()));
            likely.extend(found.map(|(name, _)| format!("{what} `{name}` {place}")));
        }
    }
    let mut notes = Vec::new();
    if variables > 0 {
        notes.push(format!("`{file}` has the values of {variables} environment variables"));
    }
    if !likely.is_empty() {
        notes.push(format!(
            "before `{file}` is committed, move values that are secret to Secrets Manager or Parameter Store, and refer \
             to them with `secrets` (or `secretOptions`); by their names or form, these may be secret: {}",
            likely.join(", ")
        ));
    }
    notes
}

fn is_likely(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let joined: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
    !value.is_empty()
        && (WORDS.iter().any(|word| joined.contains(word))
            || words.any(|word| WHOLE_WORDS.contains(&word))
            || has_password(value))
}

/// Whether a value is a URL with a password (RFC 3986, 3.2.1).
fn has_password(value: &str) -> bool {
    let Some((_, rest)) = value.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').is_some_and(|(user, _)| user.split_once(':').is_some_and(|(_, word)| !word.is_empty()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_and_urls_that_suggest_a_secret_are_named_without_their_value() {
        let variable = |name: &str, value: &str| json!({"name": name, "value": value});
        let task = json!({"containerDefinitions": [{"name": "web", "environment": [
            variable("DB_PASS", "v1"), variable("apiKey", "v1"), variable("SENTRY_DSN", "v1"), variable("EMPTY_TOKEN", ""),
            variable("DATABASE_URL", "postgres://web:v1@db/web"), variable("PASSENGER_COUNT", "3"), variable("MODE", "x"),
            variable("HOME_URL", "https://user@host/a:b@c"), variable("MONKEY", "x")],
            "logConfiguration": {"options": {"splunk-token": "v1", "splunk-url": "https://x"}},
            "dockerLabels": {"team": "a", "traefik.auth": "v1"}}]});
        let notes = notes(&task, "task-definition.json");
        assert_eq!(notes[0], "`task-definition.json` has the values of 9 environment variables");
        let expected = "may be secret: `DB_PASS` of container `web`, `apiKey` of container `web`, `SENTRY_DSN` of \
                        container `web`, `DATABASE_URL` of container `web`, log option `splunk-token` of container \
                        `web`, label `traefik.auth` of container `web`";
        assert!(notes[1].ends_with(expected), "{notes:?}");
        assert!(!notes.concat().contains("v1"), "{notes:?}");
        assert_eq!(super::notes(&json!({}), "x"), [""; 0]);
    }
}

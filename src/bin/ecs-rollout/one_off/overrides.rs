//! What a one-off task overrides in its task definition, and which of its containers decide whether it succeeded.
//!
//! In: JSON in the form of `aws ecs run-task --overrides`, or the command of a container as a list of strings. Out: the
//! `overrides` of RunTask. Values are never shown: an environment variable or an argument may be a secret.

use serde_json::{Map, Value, json};

use crate::cause::FoundCause;
use crate::{api_model, causes, environment_entries};

/// The most characters of the overrides as JSON (ECS API Reference, "RunTask").
const MAX_CHARACTERS: usize = 8192;

/// The overrides of a task, as they were given.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Overrides {
    /// The task runs as its task definition says.
    #[default]
    None,
    /// The command of one container: this one, or the first essential one.
    Command { container: Option<String>, command: Vec<String> },
    /// `overrides` of RunTask.
    Api(Value),
}

/// The overrides for one task definition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ResolvedOverrides {
    /// `overrides` of RunTask; null if there are none.
    pub(crate) api: Value,
    /// The containers that decide whether the task succeeded, at least one.
    pub(crate) deciding: Vec<String>,
    /// What is overridden, without values.
    pub(crate) summary: String,
}

impl Overrides {
    /// Reads the overrides. `from` names where they are from, for messages.
    pub(crate) fn read(value: Value, from: &str, allow_unknown: bool) -> Result<Overrides, FoundCause> {
        match value {
            Value::Array(words) => {
                let command = words.iter().map(|word| word.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
                match command.filter(|command| !command.is_empty()) {
                    Some(command) => Ok(Overrides::Command { container: None, command }),
                    None => Err(bad(from, "a command must be a list of strings that is not empty")),
                }
            }
            Value::Object(_) => {
                let outcome = api_model::check_run_task(&json!({"overrides": value}), allow_unknown);
                let place = "overrides.containerOverrides";
                let incomplete = || environment_entries::faults(place, &value["containerOverrides"]);
                let faults = outcome.err().unwrap_or_else(incomplete);
                if let Some(finding) = faults.into_iter().map(|fault| bad(from, &fault)).reduce(join) {
                    return Err(finding);
                }
                match value.to_string().chars().count() {
                    characters if characters > MAX_CHARACTERS => {
                        let text = format!("{characters} characters, but RunTask accepts at most {MAX_CHARACTERS}");
                        Err(bad(from, &text))
                    }
                    _ => Ok(Overrides::Api(value)),
                }
            }
            _ => Err(bad(from, "expected an object (`aws ecs run-task --overrides`) or a list of strings (a command)")),
        }
    }

    /// A task definition with the commands and environments of the overrides, whose values are hidden as those of any
    /// other.
    pub(crate) fn as_definition(&self) -> Value {
        let containers = match self {
            Overrides::None => Vec::new(),
            Overrides::Command { command, .. } => vec![json!({"command": command})],
            Overrides::Api(value) => value["containerOverrides"].as_array().cloned().unwrap_or_default(),
        };
        let part = |one: &Value| json!({"command": one["command"], "environment": one["environment"]});
        json!({"containerDefinitions": containers.iter().map(part).collect::<Vec<_>>()})
    }

    /// Applies the overrides to a task definition, whose containers they must name.
    pub(crate) fn resolve(&self, task_definition: &Value) -> Result<ResolvedOverrides, FoundCause> {
        let definitions = task_definition["containerDefinitions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let name = |definition: &Value| definition["name"].as_str().unwrap_or_default().to_owned();
        // A container is essential by default (ECS API Reference, "ContainerDefinition").
        let is_essential = |definition: &&Value| definition["essential"] != Value::Bool(false);
        let essential: Vec<String> = definitions.iter().filter(is_essential).map(name).collect();
        let api = match self {
            Overrides::None => Value::Null,
            Overrides::Api(value) => value.clone(),
            Overrides::Command { container, command } => {
                let container = container.as_ref().or(essential.first());
                let override_ = json!({"name": container, "command": command});
                json!({"containerOverrides": [override_]})
            }
        };
        let overridden = api["containerOverrides"].as_array().map(Vec::as_slice).unwrap_or_default();
        let names: Vec<String> = definitions.iter().map(name).collect();
        for one in overridden.iter().map(name) {
            if !names.contains(&one) {
                let text = format!("the task definition has no container `{one}`; it has {names:?}");
                return Err(bad("the overrides", &text));
            }
        }
        let with_command: Vec<String> = overridden.iter().filter(|one| !one["command"].is_null()).map(name).collect();
        let named: Vec<String> = overridden.iter().map(name).filter(|name| essential.contains(name)).collect();
        let deciding = [with_command, named, essential].into_iter().find(|names| !names.is_empty());
        let summary = match overridden.iter().filter_map(summary).collect::<Vec<_>>().join("; ") {
            text if text.is_empty() => "without overrides of its containers".to_owned(),
            text => text,
        };
        Ok(ResolvedOverrides { api, deciding: deciding.unwrap_or(names), summary })
    }
}

/// What is overridden in a container, without values.
fn summary(container: &Value) -> Option<String> {
    let members: &Map<String, Value> = container.as_object()?;
    let members = members.keys().filter(|member| *member != "name").map(String::as_str).collect::<Vec<_>>();
    Some(format!("`{}` with another {}", container["name"].as_str()?, members.join(", ")))
}

fn bad(from: &str, what: &str) -> FoundCause {
    causes::BAD_INPUT.finding(format!("{from}: {what}"))
}

fn join(first: FoundCause, second: FoundCause) -> FoundCause {
    second.evidence.into_iter().fold(first, FoundCause::and)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> Value {
        json!({"containerDefinitions": [
            {"name": "init", "essential": false}, {"name": "web"}, {"name": "proxy", "essential": true},
        ]})
    }

    fn resolved(overrides: Value) -> ResolvedOverrides {
        Overrides::read(overrides, "x", false).unwrap().resolve(&definition()).unwrap()
    }

    #[test]
    fn a_list_is_the_command_of_the_first_essential_container() {
        let resolved = resolved(json!(["php", "artisan", "migrate"]));
        let container = json!({"name": "web", "command": ["php", "artisan", "migrate"]});
        assert_eq!(resolved.api, json!({"containerOverrides": [container]}));
        assert_eq!(resolved.deciding, ["web"]);
    }

    #[test]
    fn the_containers_with_an_overridden_command_decide_then_those_that_are_named_then_the_essential_ones() {
        let web = json!({"name": "web", "command": ["x"]});
        let proxy = json!({"name": "proxy", "environment": [{"name": "A", "value": "b"}]});
        let init = json!({"name": "init", "command": ["x"]});
        for (containers, deciding) in [
            (json!([proxy.clone(), web.clone()]), &["web"][..]),
            (json!([proxy]), &["proxy"]),
            (json!([init]), &["init"]),
            (json!([{"name": "init", "cpu": 1}]), &["web", "proxy"]),
            (json!([]), &["web", "proxy"]),
        ] {
            assert_eq!(resolved(json!({"containerOverrides": containers})).deciding, deciding, "{containers}");
        }
        assert_eq!(resolved(json!({"taskRoleArn": "arn:aws:iam::1:role/x"})).deciding, ["web", "proxy"]);
        let none = Overrides::None.resolve(&definition()).unwrap();
        assert_eq!((none.api, none.deciding), (Value::Null, vec!["web".to_owned(), "proxy".to_owned()]));
    }

    #[test]
    fn no_message_and_no_summary_has_a_value() {
        let environment = json!([{"name": "URL", "value": "hunter2"}]);
        let valid = json!({"containerOverrides": [
            {"name": "web", "command": ["migrate", "--password=hunter2"], "environment": environment}]});
        let resolved = resolved(valid);
        assert_eq!(resolved.summary, "`web` with another command, environment");
        for invalid in [
            json!({"containerOverrides": [{"name": "web", "environment": {"URL": "hunter2"}}]}),
            json!({"containerOverrides": [{"name": "web", "environment": [{"name": "URL"}], "command": ["hunter2"]}]}),
            json!({"containerOverrides": [{"name": "web", "comand": ["hunter2"]}]}),
            json!({"containerOverrides": [{"name": "web", "command": "hunter2"}]}),
            json!({"containerOverrides": [{"name": "web", "command": ["hunter2".repeat(2000)]}]}),
            json!(["hunter2", 1]),
            json!([]),
            json!("hunter2"),
        ] {
            let finding = Overrides::read(invalid, "`--before`", false).unwrap_err();
            assert_eq!(finding.cause.id, "bad-input");
            assert!(!format!("{finding:?}").contains("hunter2"), "{finding:?}");
        }
        let typo = json!({"containerOverrides": [{"name": "wep", "command": ["x"]}]});
        let finding = Overrides::read(typo, "x", false).unwrap().resolve(&definition()).unwrap_err();
        assert!(finding.evidence[0].contains("no container `wep`"), "{finding:?}");
    }
}

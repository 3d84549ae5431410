//! Writes a definition as the text of a file.
//!
//! In: the body of RegisterTaskDefinition or CreateService. Out: JSON with the members in the order of the ECS API, and
//! with `${` escaped, so that reading the file yields the same body whatever variables are set.

use serde_json::{Map, Value};

use crate::api_model::schema::{self, Members};

/// The text of a task definition.
pub(crate) fn task_definition(body: &Value) -> String {
    text(body, schema::task_definition())
}

/// The text of a service definition.
pub(crate) fn service(body: &Value) -> String {
    text(body, schema::service())
}

fn text(body: &Value, model: &Members) -> String {
    let mut text = String::new();
    write(&mut text, body, "", 0, model);
    text.push('\n');
    text.replace("${", "$${")
}

/// `path` is the place of the value in the model.
fn write(text: &mut String, value: &Value, path: &str, depth: usize, model: &Members) {
    let new_line = |text: &mut String, depth: usize| {
        text.push('\n');
        (0..depth).for_each(|_| text.push_str("  "));
    };
    match value {
        Value::Object(members) if !members.is_empty() => {
            text.push('{');
            for (index, (name, value)) in in_order(members, model.names(path)).into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                new_line(text, depth + 1);
                *text += &format!("{}: ", Value::from(name));
                write(text, value, &model.step(path, name), depth + 1, model);
            }
            new_line(text, depth);
            text.push('}');
        }
        Value::Array(list) if !list.is_empty() => {
            text.push('[');
            for (index, value) in list.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                new_line(text, depth + 1);
                write(text, value, &format!("{path}[]"), depth + 1, model);
            }
            new_line(text, depth);
            text.push(']');
        }
        other => *text += &other.to_string(),
    }
}

/// The members in the order of the API; those that it does not know are last.
fn in_order<'a>(members: &'a Map<String, Value>, order: &[String]) -> Vec<(&'a str, &'a Value)> {
    let position = |name: &str| order.iter().position(|known| known == name);
    let mut members: Vec<_> = members.iter().map(|(name, value)| (name.as_str(), value)).collect();
    members.sort_by_key(|(name, _)| position(name).unwrap_or(usize::MAX));
    members
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::template;
    use crate::variables::Variables;

    #[test]
    fn members_are_in_the_order_of_the_api_and_unknown_ones_are_last() {
        let body = json!({
            "volumes": [], "aNewMember": 1, "family": "web", "taskRoleArn": "arn:aws:iam::1:role/web",
            "containerDefinitions": [
                {"memory": 128, "aNewMember": {"b": 1, "a": 2}, "image": "web:1", "name": "web",
                 "dockerLabels": {"b": "1", "a": "2"},
                 "portMappings": [{"protocol": "tcp", "hostPort": 0, "containerPort": 80}]},
            ],
        });
        let text = task_definition(&body);
        let names: Vec<&str> = text.lines().filter_map(|line| line.trim().split_once("\":")).map(|(a, _)| a).collect();
        let expected = [
            "family",
            "taskRoleArn",
            "containerDefinitions",
            "name",
            "image",
            "memory",
            "portMappings",
            "containerPort",
            "hostPort",
            "protocol",
            "dockerLabels",
            "a",
            "b",
            "aNewMember",
            "a",
            "b",
            "volumes",
            "aNewMember",
        ];
        assert!(names.iter().map(|name| name.trim_start_matches('"')).eq(expected), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), body);
    }

    #[test]
    fn values_that_the_model_does_not_expect_are_written_unchanged() {
        for body in [json!({"family": 7, "containerDefinitions": {"a": [1, null]}}), json!({}), json!([1]), json!(null)]
        {
            let text = task_definition(&body);
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), body, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_file_is_read_as_it_was_written_whatever_variables_are_set(
            value in "[${}A-Z:?\\\\\"\n é-]{0,24}",
            key in "[${}A-Z:?\\\\\"-]{0,12}",
        ) {
            let body = json!({"family": "web", "containerDefinitions": [{
                "name": "web", "command": [value], "dockerLabels": {key: value}}]});
            let text = task_definition(&body);
            let options = [("A".to_owned(), "replaced".to_owned())];
            let environment = |_: &str| Some("replaced".to_owned());
            let read = template::render(&text, &Variables::new(&options, Vec::new(), &[], &environment)).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&read).unwrap(), body);
        }
    }
}

//! Writes a definition as the text of a file.
//!
//! In: the body of RegisterTaskDefinition or CreateService. Out: JSON with the members in the order of the ECS API, and
//! with `${` escaped, so that reading the file yields the same body whatever variables are set.

use std::cell::RefCell;
use std::collections::BTreeMap;

use aws_sdk_ecs::operation::create_service::CreateServiceInput;
use aws_sdk_ecs::operation::register_task_definition::RegisterTaskDefinitionInput;
use aws_smithy_schema::Schema;
use aws_smithy_schema::serde::{SerdeError, ShapeDeserializer};
use aws_smithy_types::{BigDecimal, BigInteger, Blob, DateTime, Document};
use serde_json::{Map, Value};

/// The text of a task definition.
pub(crate) fn task_definition(body: &Value) -> String {
    text(body, |reader| RegisterTaskDefinitionInput::deserialize(reader).map(drop))
}

/// The text of a service definition.
pub(crate) fn service(body: &Value) -> String {
    text(body, |reader| CreateServiceInput::deserialize(reader).map(drop))
}

fn text(body: &Value, read: impl Fn(&mut dyn ShapeDeserializer) -> Result<(), SerdeError>) -> String {
    let orders = RefCell::default();
    // An error ends the visit early; then the remaining members are in alphabetical order.
    if let Err(error) = read(&mut OrderReader { value: body, path: String::new(), orders: &orders }) {
        tracing::debug!(%error, "the model cannot read the definition");
    }
    let mut text = String::new();
    write(&mut text, body, "", 0, &orders.into_inner());
    text.push('\n');
    text.replace("${", "$${")
}

/// The names of the members of each structure, by its path.
type Orders = BTreeMap<String, Vec<String>>;

fn write(text: &mut String, value: &Value, path: &str, depth: usize, orders: &Orders) {
    let new_line = |text: &mut String, depth: usize| {
        text.push('\n');
        (0..depth).for_each(|_| text.push_str("  "));
    };
    match value {
        Value::Object(members) if !members.is_empty() => {
            text.push('{');
            for (index, (name, value)) in in_order(members, orders.get(path)).into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                new_line(text, depth + 1);
                *text += &format!("{}: ", Value::from(name));
                write(text, value, &format!("{path}.{name}"), depth + 1, orders);
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
                write(text, value, &format!("{path}[]"), depth + 1, orders);
            }
            new_line(text, depth);
            text.push(']');
        }
        other => *text += &other.to_string(),
    }
}

/// The members in the order of the API; those that it does not know are last.
fn in_order<'a>(members: &'a Map<String, Value>, order: Option<&Vec<String>>) -> Vec<(&'a str, &'a Value)> {
    let position = |name: &str| order.and_then(|order| order.iter().position(|known| known == name));
    let mut members: Vec<_> = members.iter().map(|(name, value)| (name.as_str(), value)).collect();
    members.sort_by_key(|(name, _)| position(name).unwrap_or(usize::MAX));
    members
}

/// Visits a value the way the model reads it, and records the order of the members of each structure.
struct OrderReader<'a> {
    value: &'a Value,
    path: String,
    orders: &'a RefCell<Orders>,
}

impl<'a> OrderReader<'a> {
    fn at<'b>(&self, value: &'b Value, step: &str) -> OrderReader<'b>
    where
        'a: 'b,
    {
        OrderReader { value, path: format!("{}{step}", self.path), orders: self.orders }
    }
}

impl ShapeDeserializer for OrderReader<'_> {
    fn read_struct(
        &mut self,
        schema: &Schema<'_>,
        member: &mut dyn FnMut(&Schema<'_>, &mut dyn ShapeDeserializer) -> Result<(), SerdeError>,
    ) -> Result<(), SerdeError> {
        let names = schema.members().iter().filter_map(|known| known.member_name().map(str::to_owned));
        self.orders.borrow_mut().insert(self.path.clone(), names.collect());
        for known in schema.members() {
            let name = known.member_name().unwrap_or_default();
            if let Some(value) = self.value.get(name).filter(|value| !value.is_null()) {
                member(known, &mut self.at(value, &format!(".{name}")))?;
            }
        }
        Ok(())
    }

    fn read_list(
        &mut self,
        _schema: &Schema<'_>,
        element: &mut dyn FnMut(&mut dyn ShapeDeserializer) -> Result<(), SerdeError>,
    ) -> Result<(), SerdeError> {
        for value in self.value.as_array().into_iter().flatten() {
            element(&mut self.at(value, "[]"))?;
        }
        Ok(())
    }

    fn read_map(
        &mut self,
        _schema: &Schema<'_>,
        entry: &mut dyn FnMut(String, &mut dyn ShapeDeserializer) -> Result<(), SerdeError>,
    ) -> Result<(), SerdeError> {
        for (key, value) in self.value.as_object().into_iter().flatten() {
            entry(key.clone(), &mut self.at(value, &format!(".{key}")))?;
        }
        Ok(())
    }

    fn read_boolean(&mut self, _schema: &Schema<'_>) -> Result<bool, SerdeError> {
        Ok(false)
    }

    fn read_byte(&mut self, _schema: &Schema<'_>) -> Result<i8, SerdeError> {
        Ok(0)
    }

    fn read_short(&mut self, _schema: &Schema<'_>) -> Result<i16, SerdeError> {
        Ok(0)
    }

    fn read_integer(&mut self, _schema: &Schema<'_>) -> Result<i32, SerdeError> {
        Ok(0)
    }

    fn read_long(&mut self, _schema: &Schema<'_>) -> Result<i64, SerdeError> {
        Ok(0)
    }

    fn read_float(&mut self, _schema: &Schema<'_>) -> Result<f32, SerdeError> {
        Ok(0.0)
    }

    fn read_double(&mut self, _schema: &Schema<'_>) -> Result<f64, SerdeError> {
        Ok(0.0)
    }

    fn read_big_integer(&mut self, _schema: &Schema<'_>) -> Result<BigInteger, SerdeError> {
        Err(SerdeError::unsupported("the API has no big integers"))
    }

    fn read_big_decimal(&mut self, _schema: &Schema<'_>) -> Result<BigDecimal, SerdeError> {
        Err(SerdeError::unsupported("the API has no big decimals"))
    }

    fn read_string(&mut self, _schema: &Schema<'_>) -> Result<String, SerdeError> {
        Ok(String::new())
    }

    fn read_blob(&mut self, _schema: &Schema<'_>) -> Result<Blob, SerdeError> {
        Ok(Blob::new(Vec::new()))
    }

    fn read_timestamp(&mut self, _schema: &Schema<'_>) -> Result<DateTime, SerdeError> {
        Ok(DateTime::from_secs(0))
    }

    fn read_document(&mut self, _schema: &Schema<'_>) -> Result<Document, SerdeError> {
        Ok(Document::Null)
    }

    fn is_null(&self) -> bool {
        self.value.is_null()
    }

    fn container_size(&self) -> Option<usize> {
        None
    }
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

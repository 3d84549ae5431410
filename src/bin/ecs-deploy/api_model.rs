//! Whether JSON has the shape that the ECS API takes, by the SDK's own model of it.
//!
//! In: the JSON of a file. Out: every member that the model does not know, with the one that may have been meant, and
//! every value of another type. ECS itself is_transient over a member that it does not know: a typo would go unnoticed. What
//! values a member may have is for ECS to say.

use std::cell::RefCell;

use aws_sdk_ecs::operation::create_service::CreateServiceInput;
use aws_sdk_ecs::operation::register_task_definition::RegisterTaskDefinitionInput;
use aws_sdk_ecs::operation::update_service::UpdateServiceInput;
use aws_smithy_schema::Schema;
use aws_smithy_schema::serde::{SerdeError, ShapeDeserializer};
use aws_smithy_types::{BigDecimal, BigInteger, Blob, DateTime, Document};
use serde_json::Value;

/// Faults of a task definition as RegisterTaskDefinition takes it.
pub(crate) fn of_task_definition(value: &Value) -> Vec<String> {
    check(value, |deserializer| RegisterTaskDefinitionInput::deserialize(deserializer).map(drop))
}

/// Faults of a service as CreateService takes it.
pub(crate) fn of_service(value: &Value) -> Vec<String> {
    check(value, |deserializer| CreateServiceInput::deserialize(deserializer).map(drop))
}

/// Whether UpdateService takes this member of CreateService too.
pub(crate) fn can_be_updated(member: &str) -> bool {
    UpdateServiceInput::SCHEMA.member_schema(member).is_some()
}

fn check(value: &Value, read: impl Fn(&mut dyn ShapeDeserializer) -> Result<(), SerdeError>) -> Vec<String> {
    let faults = RefCell::default();
    let outcome = read(&mut Reader { value, path: String::new(), faults: &faults });
    let mut faults = faults.into_inner();
    // What the model misses for another reason than these, as a member that must be there.
    if let (Err(error), true) = (outcome, faults.is_empty()) {
        faults.push(error.to_string());
    }
    faults
}

/// Reads a JSON value as the model asks for it, and notes what does not fit in place of stopping there.
struct Reader<'a> {
    value: &'a Value,
    path: String,
    faults: &'a RefCell<Vec<String>>,
}

impl<'a> Reader<'a> {
    fn at<'b>(&self, value: &'b Value, step: &str) -> Reader<'b>
    where
        'a: 'b,
    {
        let dot = if self.path.is_empty() || step.starts_with('[') { "" } else { "." };
        Reader { value, path: format!("{}{dot}{step}", self.path), faults: self.faults }
    }

    fn fault(&self, text: String) {
        self.faults.borrow_mut().push(text);
    }

    fn expect<T: Default>(&self, read: Option<T>, expected: &str) -> T {
        read.unwrap_or_else(|| {
            let is = match self.value {
                Value::Null => "null",
                Value::Bool(_) => "a boolean",
                Value::Number(_) => "a number",
                Value::String(_) => "a string",
                Value::Array(_) => "a list",
                Value::Object(_) => "an object",
            };
            let path = if self.path.is_empty() { "the document" } else { &self.path };
            self.fault(format!("`{path}` takes {expected}, and is {is}"));
            T::default()
        })
    }

    fn integer<T: TryFrom<i64> + Default>(&self) -> T {
        self.expect(self.value.as_i64().and_then(|number| T::try_from(number).ok()), "an integer")
    }
}

impl ShapeDeserializer for Reader<'_> {
    fn read_struct(
        &mut self,
        schema: &Schema<'_>,
        member: &mut dyn FnMut(&Schema<'_>, &mut dyn ShapeDeserializer) -> Result<(), SerdeError>,
    ) -> Result<(), SerdeError> {
        for (key, value) in self.expect(self.value.as_object().cloned(), "an object") {
            let mut inner = self.at(&value, &key);
            match schema.member_schema(&key) {
                Some(known) => member(known, &mut inner)?,
                None => {
                    let names = schema.members().iter().filter_map(|known| known.member_name());
                    let nearest = names.map(|name| (strsim::damerau_levenshtein(&key, name), name)).min();
                    let meant = nearest.filter(|(distance, name)| *distance <= 2 || name.eq_ignore_ascii_case(&key));
                    let meant = meant.map(|(_, name)| format!("; did you mean `{name}`?")).unwrap_or_default();
                    self.fault(format!("`{}` is no member that ECS knows{meant}", inner.path));
                }
            }
        }
        Ok(())
    }

    fn read_list(
        &mut self,
        _schema: &Schema<'_>,
        element: &mut dyn FnMut(&mut dyn ShapeDeserializer) -> Result<(), SerdeError>,
    ) -> Result<(), SerdeError> {
        for (index, value) in self.expect(self.value.as_array().cloned(), "a list").iter().enumerate() {
            element(&mut self.at(value, &format!("[{index}]")))?;
        }
        Ok(())
    }

    fn read_map(
        &mut self,
        _schema: &Schema<'_>,
        entry: &mut dyn FnMut(String, &mut dyn ShapeDeserializer) -> Result<(), SerdeError>,
    ) -> Result<(), SerdeError> {
        for (key, value) in self.expect(self.value.as_object().cloned(), "an object") {
            let mut inner = self.at(&value, &key);
            entry(key, &mut inner)?;
        }
        Ok(())
    }

    fn read_boolean(&mut self, _schema: &Schema<'_>) -> Result<bool, SerdeError> {
        Ok(self.expect(self.value.as_bool(), "`true` or `false`"))
    }

    fn read_byte(&mut self, _schema: &Schema<'_>) -> Result<i8, SerdeError> {
        Ok(self.integer())
    }

    fn read_short(&mut self, _schema: &Schema<'_>) -> Result<i16, SerdeError> {
        Ok(self.integer())
    }

    fn read_integer(&mut self, _schema: &Schema<'_>) -> Result<i32, SerdeError> {
        Ok(self.integer())
    }

    fn read_long(&mut self, _schema: &Schema<'_>) -> Result<i64, SerdeError> {
        Ok(self.integer())
    }

    fn read_float(&mut self, _schema: &Schema<'_>) -> Result<f32, SerdeError> {
        Ok(self.expect(self.value.as_f64(), "a number") as f32)
    }

    fn read_double(&mut self, _schema: &Schema<'_>) -> Result<f64, SerdeError> {
        Ok(self.expect(self.value.as_f64(), "a number"))
    }

    fn read_big_integer(&mut self, _schema: &Schema<'_>) -> Result<BigInteger, SerdeError> {
        Err(SerdeError::unsupported("the API has no big integers"))
    }

    fn read_big_decimal(&mut self, _schema: &Schema<'_>) -> Result<BigDecimal, SerdeError> {
        Err(SerdeError::unsupported("the API has no big decimals"))
    }

    fn read_string(&mut self, _schema: &Schema<'_>) -> Result<String, SerdeError> {
        Ok(self.expect(self.value.as_str().map(str::to_owned), "a string"))
    }

    fn read_blob(&mut self, schema: &Schema<'_>) -> Result<Blob, SerdeError> {
        Ok(Blob::new(self.read_string(schema)?))
    }

    fn read_timestamp(&mut self, _schema: &Schema<'_>) -> Result<DateTime, SerdeError> {
        Ok(DateTime::from_secs_f64(self.expect(self.value.as_f64(), "seconds since 1970")))
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
    use serde_json::json;

    use super::*;

    #[test]
    fn takes_what_the_api_takes() {
        let task = json!({
            "family": "web",
            "cpu": "256",
            "containerDefinitions": [{
                "name": "web", "image": "web:1", "memory": 128, "essential": true, "dockerLabels": {"any key": "x"},
                "portMappings": [{"containerPort": 80, "hostPort": 0}],
                "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "web"}},
                "healthCheck": {"command": ["CMD", "true"], "interval": 30},
                "ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": 2}],
            }],
            "volumes": [{"name": "data", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}],
            "taskRoleArn": null,
            "tags": [{"key": "team", "value": "a"}],
        });
        assert_eq!(of_task_definition(&task), [""; 0]);
        let service = json!({
            "serviceName": "web", "desiredCount": 2,
            "deploymentConfiguration": {
                "deploymentCircuitBreaker": {"enable": true, "rollback": true}, "minimumHealthyPercent": 50
            },
            "capacityProviderStrategy": [{"capacityProvider": "main", "weight": 1, "base": 0}],
        });
        assert_eq!(of_service(&service), [""; 0]);
    }

    #[test]
    fn names_every_unknown_member_and_the_one_that_was_meant() {
        let task = json!({
            "family": "web",
            "containerDefinitions": [{"name": "web", "Image": "web:1", "memmory": 128, "portMappings": [{"port": 80}]}],
        });
        assert_eq!(
            of_task_definition(&task),
            [
                "`containerDefinitions[0].Image` is no member that ECS knows; did you mean `image`?",
                "`containerDefinitions[0].memmory` is no member that ECS knows; did you mean `memory`?",
                "`containerDefinitions[0].portMappings[0].port` is no member that ECS knows",
            ]
        );
        assert_eq!(
            of_service(&json!({"desiredcount": 1})),
            ["`desiredcount` is no member that ECS knows; did you mean `desiredCount`?"]
        );
    }

    #[test]
    fn names_every_value_of_another_type() {
        let task = json!({
            "family": 7,
            "containerDefinitions": [{"name": "web", "memory": "128", "essential": "yes", "command": "ls", "cpu": 1.5}, 3],
        });
        assert_eq!(
            of_task_definition(&task),
            [
                "`containerDefinitions[0].command` takes a list, and is a string",
                "`containerDefinitions[0].cpu` takes an integer, and is a number",
                "`containerDefinitions[0].essential` takes `true` or `false`, and is a string",
                "`containerDefinitions[0].memory` takes an integer, and is a string",
                "`containerDefinitions[1]` takes an object, and is a number",
                "`family` takes a string, and is a number",
            ]
        );
        assert_eq!(of_service(&json!([])), ["`the document` takes an object, and is a list"]);
    }

    #[test]
    fn knows_what_an_update_takes() {
        for member in ["desiredCount", "taskDefinition", "networkConfiguration", "loadBalancers", "propagateTags"] {
            assert!(can_be_updated(member), "{member}");
        }
        for member in ["schedulingStrategy", "launchType", "role", "tags", "clientToken"] {
            assert!(!can_be_updated(member), "{member}");
        }
    }
}

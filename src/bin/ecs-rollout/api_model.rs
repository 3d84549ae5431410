//! Checks JSON against the model of the ECS API that the AWS SDK has.
//!
//! In: the JSON of a file. Out: every unknown member, with the member that was probably meant, and every value of the
//! wrong type. ECS ignores unknown members, so without this check a typo would have no effect and give no error.
//! Whether a value is valid is left to ECS.

use ecs_bootstrap::suggestion;
use std::cell::RefCell;

use aws_sdk_ecs::operation::create_service::CreateServiceInput;
use aws_sdk_ecs::operation::register_task_definition::RegisterTaskDefinitionInput;
use aws_sdk_ecs::operation::update_service::UpdateServiceInput;
use aws_smithy_schema::Schema;
use aws_smithy_schema::serde::{SerdeError, ShapeDeserializer};
use aws_smithy_types::{BigDecimal, BigInteger, Blob, DateTime, Document};
use serde_json::Value;

/// Checks the body of RegisterTaskDefinition, and returns its faults.
pub(crate) fn check_task_definition(value: &Value) -> Vec<String> {
    check(value, |deserializer| RegisterTaskDefinitionInput::deserialize(deserializer).map(drop))
}

/// Checks the body of CreateService, and returns its faults.
pub(crate) fn check_service(value: &Value) -> Vec<String> {
    check(value, |deserializer| CreateServiceInput::deserialize(deserializer).map(drop))
}

/// Whether UpdateService accepts this member of CreateService too.
pub(crate) fn can_be_updated(member: &str) -> bool {
    UpdateServiceInput::SCHEMA.member_schema(member).is_some()
}

fn check(value: &Value, read: impl Fn(&mut dyn ShapeDeserializer) -> Result<(), SerdeError>) -> Vec<String> {
    let faults = RefCell::default();
    let outcome = read(&mut Reader { value, path: String::new(), faults: &faults });
    let mut faults = faults.into_inner();
    // The model can also fail for a reason of its own, such as a required member that is missing.
    if let Err(error) = outcome
        && faults.is_empty()
    {
        faults.push(error.to_string());
    }
    faults
}

/// Reads a JSON value the way the model asks for it. It collects faults instead of stopping at the first.
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
            let actual = match self.value {
                Value::Null => "null",
                Value::Bool(_) => "a boolean",
                Value::Number(_) => "a number",
                Value::String(_) => "a string",
                Value::Array(_) => "a list",
                Value::Object(_) => "an object",
            };
            let path = if self.path.is_empty() { "the document" } else { &self.path };
            self.fault(format!("`{path}` must be {expected}, but is {actual}"));
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
                    let nearest = suggestion::nearest(&key, names);
                    let hint = nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
                    self.fault(format!("`{}` is not a member of the ECS API{hint}", inner.path));
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
        Ok(DateTime::from_secs_f64(self.expect(self.value.as_f64(), "a number of seconds since 1970")))
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
    fn members_of_the_api_have_no_fault() {
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
        assert_eq!(check_task_definition(&task), [""; 0]);
        let service = json!({
            "serviceName": "web", "desiredCount": 2,
            "deploymentConfiguration": {
                "deploymentCircuitBreaker": {"enable": true, "rollback": true}, "minimumHealthyPercent": 50
            },
            "capacityProviderStrategy": [{"capacityProvider": "main", "weight": 1, "base": 0}],
        });
        assert_eq!(check_service(&service), [""; 0]);
    }

    #[test]
    fn every_unknown_member_is_a_fault_with_a_suggestion() {
        let task = json!({
            "family": "web",
            "containerDefinitions": [{"name": "web", "Image": "web:1", "memmory": 128, "portMappings": [{"port": 80}]}],
        });
        assert_eq!(
            check_task_definition(&task),
            [
                "`containerDefinitions[0].Image` is not a member of the ECS API; did you mean `image`?",
                "`containerDefinitions[0].memmory` is not a member of the ECS API; did you mean `memory`?",
                "`containerDefinitions[0].portMappings[0].port` is not a member of the ECS API",
            ]
        );
        assert_eq!(
            check_service(&json!({"desiredcount": 1})),
            ["`desiredcount` is not a member of the ECS API; did you mean `desiredCount`?"]
        );
    }

    #[test]
    fn every_value_of_another_type_is_a_fault() {
        let task = json!({
            "family": 7,
            "containerDefinitions": [
                {"name": "web", "memory": "128", "essential": "yes", "command": "ls", "cpu": 1.5},
                3,
            ],
        });
        assert_eq!(
            check_task_definition(&task),
            [
                "`containerDefinitions[0].command` must be a list, but is a string",
                "`containerDefinitions[0].cpu` must be an integer, but is a number",
                "`containerDefinitions[0].essential` must be `true` or `false`, but is a string",
                "`containerDefinitions[0].memory` must be an integer, but is a string",
                "`containerDefinitions[1]` must be an object, but is a number",
                "`family` must be a string, but is a number",
            ]
        );
        assert_eq!(check_service(&json!([])), ["`the document` must be an object, but is a list"]);
    }

    #[test]
    fn members_of_update_service_are_known() {
        for member in ["desiredCount", "taskDefinition", "networkConfiguration", "loadBalancers", "propagateTags"] {
            assert!(can_be_updated(member), "{member}");
        }
        for member in ["schedulingStrategy", "launchType", "role", "tags", "clientToken"] {
            assert!(!can_be_updated(member), "{member}");
        }
    }
}

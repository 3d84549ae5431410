//! Checks JSON against the model of the ECS API that the AWS SDK has.
//!
//! In: the JSON of a file. Out: every unknown member, with the member that was probably meant, and every value of the
//! wrong type. ECS ignores unknown members, so without this check a typo would have no effect and give no error. With
//! `--allow-unknown` they are warnings. Whether a value is valid is left to ECS.

pub(crate) mod schema;

use ecs_bootstrap::suggestion;
use std::cell::RefCell;

use aws_sdk_ecs::operation::create_service::CreateServiceInput;
use aws_sdk_ecs::operation::register_task_definition::RegisterTaskDefinitionInput;
use aws_sdk_ecs::operation::run_task::RunTaskInput;
use aws_smithy_schema::Schema;
use aws_smithy_schema::serde::{SerdeError, ShapeDeserializer};
use aws_smithy_types::{BigDecimal, BigInteger, Blob, DateTime, Document};
use serde_json::Value;

/// Follows the unknown members.
const NEWER: &str = "a member that is newer than this version of ecs-rollout is sent with `--allow-unknown`";

/// Checks the body of RegisterTaskDefinition. Returns a warning for each unknown member if they are allowed, or the
/// faults.
pub(crate) fn check_task_definition(value: &Value, allow_unknown: bool) -> Result<Vec<String>, Vec<String>> {
    check(value, allow_unknown, |deserializer| RegisterTaskDefinitionInput::deserialize(deserializer).map(drop))
}

/// Checks the body of CreateService. Returns a warning for each unknown member if they are allowed, or the faults.
pub(crate) fn check_service(value: &Value, allow_unknown: bool) -> Result<Vec<String>, Vec<String>> {
    check(value, allow_unknown, |deserializer| CreateServiceInput::deserialize(deserializer).map(drop))
}

/// Checks the body of RunTask. Returns a warning for each unknown member if they are allowed, or the faults.
pub(crate) fn check_run_task(value: &Value, allow_unknown: bool) -> Result<Vec<String>, Vec<String>> {
    check(value, allow_unknown, |deserializer| RunTaskInput::deserialize(deserializer).map(drop))
}

fn check(
    value: &Value,
    allow_unknown: bool,
    read: impl Fn(&mut dyn ShapeDeserializer) -> Result<(), SerdeError>,
) -> Result<Vec<String>, Vec<String>> {
    let (faults, unknown) = (RefCell::default(), RefCell::default());
    let outcome = read(&mut Reader { value, path: String::new(), faults: &faults, unknown: &unknown });
    let (mut faults, unknown) = (faults.into_inner(), unknown.into_inner());
    // The model can also fail for a reason of its own, such as a required member that is missing.
    if let Err(error) = outcome
        && faults.is_empty()
        && unknown.is_empty()
    {
        faults.push(error.to_string());
    }
    if allow_unknown && faults.is_empty() {
        return Ok(unknown.iter().map(|text| format!("{text}; it is sent as it is")).collect());
    }
    let refused = !unknown.is_empty() && !allow_unknown;
    let mut all: Vec<String> = if refused { unknown } else { Vec::new() };
    all.append(&mut faults);
    if refused {
        all.push(NEWER.to_owned());
    }
    if all.is_empty() { Ok(Vec::new()) } else { Err(all) }
}

/// Reads a JSON value the way the model asks for it. It collects faults instead of stopping at the first.
struct Reader<'a> {
    value: &'a Value,
    path: String,
    faults: &'a RefCell<Vec<String>>,
    unknown: &'a RefCell<Vec<String>>,
}

impl<'a> Reader<'a> {
    fn at<'b>(&self, value: &'b Value, step: &str) -> Reader<'b>
    where
        'a: 'b,
    {
        let dot = if self.path.is_empty() || step.starts_with('[') { "" } else { "." };
        Reader { value, path: format!("{}{dot}{step}", self.path), faults: self.faults, unknown: self.unknown }
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
                    let text = format!("`{}` is not a member of the ECS API{hint}", inner.path);
                    self.unknown.borrow_mut().push(text);
                    // A union must have one member; the model accepts an unknown one.
                    if schema.is_union() {
                        member(schema, &mut inner)?;
                    }
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
        assert_eq!(check_task_definition(&task, false), Ok(Vec::new()));
        let service = json!({
            "serviceName": "web", "desiredCount": 2,
            "deploymentConfiguration": {
                "deploymentCircuitBreaker": {"enable": true, "rollback": true}, "minimumHealthyPercent": 50
            },
            "capacityProviderStrategy": [{"capacityProvider": "main", "weight": 1, "base": 0}],
        });
        assert_eq!(check_service(&service, false), Ok(Vec::new()));
    }

    #[test]
    fn every_unknown_member_is_a_fault_with_a_suggestion() {
        let task = json!({
            "family": "web",
            "containerDefinitions": [{"name": "web", "Image": "web:1", "memmory": 128, "portMappings": [{"port": 80}]}],
        });
        assert_eq!(
            check_task_definition(&task, false).unwrap_err(),
            [
                "`containerDefinitions[0].Image` is not a member of the ECS API; did you mean `image`?",
                "`containerDefinitions[0].memmory` is not a member of the ECS API; did you mean `memory`?",
                "`containerDefinitions[0].portMappings[0].port` is not a member of the ECS API",
                NEWER,
            ]
        );
        let expected = "`desiredcount` is not a member of the ECS API; did you mean `desiredCount`?";
        assert_eq!(check_service(&json!({"desiredcount": 1}), false), Err(vec![expected.to_owned(), NEWER.to_owned()]));
    }

    #[test]
    fn unknown_members_are_warnings_if_they_are_allowed_but_wrong_types_are_not() {
        let task = json!({"family": "web", "newer": {"a": 1},
                          "containerDefinitions": [{"name": "web", "memmory": 1, "healthCheck": {"grace": 3}}]});
        let warnings = check_task_definition(&task, true).unwrap();
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(
            warnings[0].contains("containerDefinitions[0].healthCheck.grace") && warnings[0].contains("sent as it is")
        );
        let service = json!({"serviceConnectConfiguration": {"containerConfigurations": [{"newer": 1}]}});
        assert_eq!(check_service(&service, true).unwrap().len(), 1, "an unknown member of a union");
        assert_eq!(
            check_task_definition(&json!({"family": 7, "newer": 1}), true).unwrap_err(),
            ["`family` must be a string, but is a number"]
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
            check_task_definition(&task, false).unwrap_err(),
            [
                "`containerDefinitions[0].command` must be a list, but is a string",
                "`containerDefinitions[0].cpu` must be an integer, but is a number",
                "`containerDefinitions[0].essential` must be `true` or `false`, but is a string",
                "`containerDefinitions[0].memory` must be an integer, but is a string",
                "`containerDefinitions[1]` must be an object, but is a number",
                "`family` must be a string, but is a number",
            ]
        );
        let expected = "`the document` must be an object, but is a list";
        assert_eq!(check_service(&json!([]), false).unwrap_err(), [expected]);
    }
}

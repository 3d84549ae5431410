//! The members of the ECS API, as the AWS SDK's schemas have them.
//!
//! No list of names here has to be extended: with a newer SDK the new members are known, compared and sent.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use aws_sdk_ecs::operation::create_service::CreateServiceInput;
use aws_sdk_ecs::operation::register_task_definition::RegisterTaskDefinitionInput;
use aws_sdk_ecs::operation::run_task::RunTaskInput;
use aws_sdk_ecs::operation::update_service::UpdateServiceInput;
use aws_sdk_ecs::types::{Deployment, Service, TaskDefinition};
use aws_smithy_schema::Schema;
use aws_smithy_schema::serde::{SerdeError, ShapeDeserializer};
use aws_smithy_types::{BigDecimal, BigInteger, Blob, DateTime, Document};

/// The type of a member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum MemberType {
    Object,
    List,
    /// An object whose names are chosen by the user, such as `dockerLabels`.
    Map,
    Text,
    Integer,
    Decimal,
    Boolean,
    /// Any JSON.
    Any,
}

/// All members of an operation's input, at any depth, by their path: `containerDefinitions[].portMappings[].protocol`.
/// `[]` stands for each element of a list, `{}` for each value of a map.
#[derive(Default)]
pub(crate) struct Members {
    types: BTreeMap<String, MemberType>,
    /// The names of the members of each object, by its path, in the order of the API.
    names: BTreeMap<String, Vec<String>>,
}

impl Members {
    fn of(read: impl Fn(&mut dyn ShapeDeserializer) -> Result<(), SerdeError>) -> Members {
        let members = RefCell::default();
        // The values that the walk invents can be refused, for example in a union, but every member was visited before.
        let _ = read(&mut Walk { path: String::new(), members: &members });
        members.into_inner()
    }

    /// The type of a member; `None` if the SDK does not know it.
    pub(crate) fn get(&self, path: &str) -> Option<MemberType> {
        self.types.get(path).copied()
    }

    /// The path of a member of the value at `path`, or of an element if `name` is a name in a map.
    pub(crate) fn step(&self, path: &str, name: &str) -> String {
        match (path, self.get(path)) {
            ("", _) => name.to_owned(),
            (path, Some(MemberType::Map)) => format!("{path}{{}}"),
            (path, _) => format!("{path}.{name}"),
        }
    }

    /// The names of the members of the object at `path`, which is empty for the whole document, in the order of the API.
    pub(crate) fn names(&self, path: &str) -> &[String] {
        self.names.get(path).map(Vec::as_slice).unwrap_or_default()
    }

    /// Every path with its type, sorted.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, MemberType)> {
        self.types.iter().map(|(path, kind)| (path.as_str(), *kind))
    }
}

/// The members of RegisterTaskDefinition.
pub(crate) fn task_definition() -> &'static Members {
    static MEMBERS: LazyLock<Members> =
        LazyLock::new(|| Members::of(|reader| RegisterTaskDefinitionInput::deserialize(reader).map(drop)));
    &MEMBERS
}

/// The members of CreateService.
pub(crate) fn service() -> &'static Members {
    static MEMBERS: LazyLock<Members> =
        LazyLock::new(|| Members::of(|reader| CreateServiceInput::deserialize(reader).map(drop)));
    &MEMBERS
}

/// The members of RunTask.
pub(crate) fn run_task() -> &'static Members {
    static MEMBERS: LazyLock<Members> =
        LazyLock::new(|| Members::of(|reader| RunTaskInput::deserialize(reader).map(drop)));
    &MEMBERS
}

/// Whether UpdateService accepts this member of CreateService too.
pub(crate) fn can_be_updated(member: &str) -> bool {
    UpdateServiceInput::SCHEMA.member_schema(member).is_some()
}

/// The members of UpdateService.
#[cfg(test)]
pub(crate) fn of_update() -> Vec<&'static str> {
    UpdateServiceInput::SCHEMA.members().iter().filter_map(|member| member.member_name()).collect()
}

/// The members that DescribeTaskDefinition adds to what was registered.
pub(crate) fn read_only() -> impl Iterator<Item = &'static str> {
    let all = TaskDefinition::SCHEMA.members().iter().filter_map(|member| member.member_name());
    all.filter(|name| RegisterTaskDefinitionInput::SCHEMA.member_schema(name).is_none())
}

/// Whether DescribeServices has the member of CreateService in the service itself.
pub(crate) fn is_in_service(member: &str) -> bool {
    Service::SCHEMA.member_schema(member).is_some()
}

/// Whether DescribeServices has the member of CreateService in the deployments of the service.
pub(crate) fn is_in_deployment(member: &str) -> bool {
    Deployment::SCHEMA.member_schema(member).is_some()
}

/// A deserializer that visits every member instead of reading a value.
struct Walk<'a> {
    path: String,
    members: &'a RefCell<Members>,
}

impl Walk<'_> {
    fn record(&self, kind: MemberType) {
        if !self.path.is_empty() {
            self.members.borrow_mut().types.insert(self.path.clone(), kind);
        }
    }

    fn inside(&self, step: &str) -> Self {
        let dot = if self.path.is_empty() || step.starts_with(['[', '{']) { "" } else { "." };
        Walk { path: format!("{}{dot}{step}", self.path), members: self.members }
    }

    fn leaf<T: Default>(&self, kind: MemberType) -> Result<T, SerdeError> {
        self.record(kind);
        Ok(T::default())
    }
}

impl ShapeDeserializer for Walk<'_> {
    fn read_struct(
        &mut self,
        schema: &Schema<'_>,
        member: &mut dyn FnMut(&Schema<'_>, &mut dyn ShapeDeserializer) -> Result<(), SerdeError>,
    ) -> Result<(), SerdeError> {
        self.record(MemberType::Object);
        let names = schema.members().iter().filter_map(|known| known.member_name().map(str::to_owned)).collect();
        self.members.borrow_mut().names.insert(self.path.clone(), names);
        for known in schema.members() {
            let mut inner = self.inside(known.member_name().unwrap_or_default());
            // A union accepts only its first member; the others are recorded without what is inside them.
            if member(known, &mut inner).is_err() {
                inner.record(MemberType::Any);
            }
        }
        Ok(())
    }

    fn read_list(
        &mut self,
        _schema: &Schema<'_>,
        element: &mut dyn FnMut(&mut dyn ShapeDeserializer) -> Result<(), SerdeError>,
    ) -> Result<(), SerdeError> {
        self.record(MemberType::List);
        element(&mut self.inside("[]"))
    }

    fn read_map(
        &mut self,
        _schema: &Schema<'_>,
        entry: &mut dyn FnMut(String, &mut dyn ShapeDeserializer) -> Result<(), SerdeError>,
    ) -> Result<(), SerdeError> {
        self.record(MemberType::Map);
        entry(String::new(), &mut self.inside("{}"))
    }

    fn read_boolean(&mut self, _schema: &Schema<'_>) -> Result<bool, SerdeError> {
        self.leaf(MemberType::Boolean)
    }

    fn read_byte(&mut self, _schema: &Schema<'_>) -> Result<i8, SerdeError> {
        self.leaf(MemberType::Integer)
    }

    fn read_short(&mut self, _schema: &Schema<'_>) -> Result<i16, SerdeError> {
        self.leaf(MemberType::Integer)
    }

    fn read_integer(&mut self, _schema: &Schema<'_>) -> Result<i32, SerdeError> {
        self.leaf(MemberType::Integer)
    }

    fn read_long(&mut self, _schema: &Schema<'_>) -> Result<i64, SerdeError> {
        self.leaf(MemberType::Integer)
    }

    fn read_float(&mut self, _schema: &Schema<'_>) -> Result<f32, SerdeError> {
        self.leaf(MemberType::Decimal)
    }

    fn read_double(&mut self, _schema: &Schema<'_>) -> Result<f64, SerdeError> {
        self.leaf(MemberType::Decimal)
    }

    fn read_big_integer(&mut self, _schema: &Schema<'_>) -> Result<BigInteger, SerdeError> {
        Err(SerdeError::unsupported("the API has no big integers"))
    }

    fn read_big_decimal(&mut self, _schema: &Schema<'_>) -> Result<BigDecimal, SerdeError> {
        Err(SerdeError::unsupported("the API has no big decimals"))
    }

    fn read_string(&mut self, _schema: &Schema<'_>) -> Result<String, SerdeError> {
        self.leaf(MemberType::Text)
    }

    fn read_blob(&mut self, _schema: &Schema<'_>) -> Result<Blob, SerdeError> {
        self.record(MemberType::Text);
        Ok(Blob::new(""))
    }

    fn read_timestamp(&mut self, _schema: &Schema<'_>) -> Result<DateTime, SerdeError> {
        self.record(MemberType::Decimal);
        Ok(DateTime::from_secs(0))
    }

    fn read_document(&mut self, _schema: &Schema<'_>) -> Result<Document, SerdeError> {
        self.record(MemberType::Any);
        Ok(Document::Null)
    }

    fn is_null(&self) -> bool {
        false
    }

    fn container_size(&self) -> Option<usize> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_at_any_depth_are_found_with_their_types() {
        for (path, kind) in [
            ("family", MemberType::Text),
            ("containerDefinitions", MemberType::List),
            ("containerDefinitions[]", MemberType::Object),
            ("containerDefinitions[].portMappings[].hostPort", MemberType::Integer),
            ("containerDefinitions[].command[]", MemberType::Text),
            ("containerDefinitions[].dockerLabels", MemberType::Map),
            ("containerDefinitions[].dockerLabels{}", MemberType::Text),
            ("volumes[].efsVolumeConfiguration.authorizationConfig.iam", MemberType::Text),
        ] {
            assert_eq!(task_definition().get(path), Some(kind), "{path}");
        }
        for (path, kind) in [
            ("networkConfiguration.awsvpcConfiguration.subnets[]", MemberType::Text),
            ("deploymentConfiguration.lifecycleHooks[].hookDetails", MemberType::Any),
            ("deploymentConfiguration.linearConfiguration.stepPercent", MemberType::Decimal),
            ("serviceConnectConfiguration.containerConfigurations[].logLevel", MemberType::Text),
            ("enableECSManagedTags", MemberType::Boolean),
        ] {
            assert_eq!(service().get(path), Some(kind), "{path}");
        }
        assert_eq!(task_definition().get("containerDefinitions[].nothing"), None);
    }

    #[test]
    fn members_that_only_ecs_sets_are_those_that_cannot_be_registered() {
        let mut names: Vec<_> = read_only().collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "compatibilities",
                "deleteRequestedAt",
                "deregisteredAt",
                "registeredAt",
                "registeredBy",
                "requiresAttributes",
                "revision",
                "status",
                "taskDefinitionArn",
            ]
        );
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

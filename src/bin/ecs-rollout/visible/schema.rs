//! Walks the model of the ECS API that the AWS SDK has.
//!
//! In: the SDK's types of the two definitions. Out: the path of every member that is a value, for example
//! `containerDefinitions[].image` or `containerDefinitions[].dockerLabels{}`, and whether it is text.

use std::cell::RefCell;
use std::collections::BTreeMap;

use aws_sdk_ecs::operation::create_service::CreateServiceInput;
use aws_sdk_ecs::operation::register_task_definition::RegisterTaskDefinitionInput;
use aws_smithy_schema::Schema;
use aws_smithy_schema::serde::{SerdeError, ShapeDeserializer};
use aws_smithy_types::{BigDecimal, BigInteger, Blob, DateTime, Document};

use super::place::{Definition, joined};

/// What a member holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueKind {
    Text,
    Boolean,
    /// A number or a time.
    Number,
    /// JSON of any form.
    Any,
}

/// The members of a definition that are values.
pub(crate) fn members(definition: Definition) -> BTreeMap<String, ValueKind> {
    let found = RefCell::default();
    let mut walker = Walker { path: String::new(), found: &found };
    // Every member is present, so the SDK has nothing to refuse.
    let _ = match definition {
        Definition::Task => RegisterTaskDefinitionInput::deserialize(&mut walker).map(drop),
        Definition::Service => CreateServiceInput::deserialize(&mut walker).map(drop),
    };
    found.into_inner()
}

/// Has every member that the SDK asks for, and records its path.
struct Walker<'a> {
    path: String,
    found: &'a RefCell<BTreeMap<String, ValueKind>>,
}

impl<'a> Walker<'a> {
    fn at(&self, step: &str) -> Walker<'a> {
        Walker { path: joined(&self.path, step), found: self.found }
    }

    fn record(&self, kind: ValueKind) {
        self.found.borrow_mut().insert(self.path.clone(), kind);
    }

    fn number<T: Default>(&self) -> Result<T, SerdeError> {
        self.record(ValueKind::Number);
        Ok(T::default())
    }
}

impl ShapeDeserializer for Walker<'_> {
    fn read_struct(
        &mut self,
        schema: &Schema<'_>,
        member: &mut dyn FnMut(&Schema<'_>, &mut dyn ShapeDeserializer) -> Result<(), SerdeError>,
    ) -> Result<(), SerdeError> {
        for known in schema.members() {
            member(known, &mut self.at(known.member_name().unwrap_or_default()))?;
        }
        Ok(())
    }

    fn read_list(
        &mut self,
        _schema: &Schema<'_>,
        element: &mut dyn FnMut(&mut dyn ShapeDeserializer) -> Result<(), SerdeError>,
    ) -> Result<(), SerdeError> {
        element(&mut self.at("[]"))
    }

    fn read_map(
        &mut self,
        _schema: &Schema<'_>,
        entry: &mut dyn FnMut(String, &mut dyn ShapeDeserializer) -> Result<(), SerdeError>,
    ) -> Result<(), SerdeError> {
        entry(String::new(), &mut self.at("{}"))
    }

    fn read_boolean(&mut self, _schema: &Schema<'_>) -> Result<bool, SerdeError> {
        self.record(ValueKind::Boolean);
        Ok(false)
    }

    fn read_byte(&mut self, _schema: &Schema<'_>) -> Result<i8, SerdeError> {
        self.number()
    }

    fn read_short(&mut self, _schema: &Schema<'_>) -> Result<i16, SerdeError> {
        self.number()
    }

    fn read_integer(&mut self, _schema: &Schema<'_>) -> Result<i32, SerdeError> {
        self.number()
    }

    fn read_long(&mut self, _schema: &Schema<'_>) -> Result<i64, SerdeError> {
        self.number()
    }

    fn read_float(&mut self, _schema: &Schema<'_>) -> Result<f32, SerdeError> {
        self.number()
    }

    fn read_double(&mut self, _schema: &Schema<'_>) -> Result<f64, SerdeError> {
        self.number()
    }

    fn read_big_integer(&mut self, _schema: &Schema<'_>) -> Result<BigInteger, SerdeError> {
        Err(SerdeError::unsupported("the API has no big integers"))
    }

    fn read_big_decimal(&mut self, _schema: &Schema<'_>) -> Result<BigDecimal, SerdeError> {
        Err(SerdeError::unsupported("the API has no big decimals"))
    }

    fn read_string(&mut self, _schema: &Schema<'_>) -> Result<String, SerdeError> {
        self.record(ValueKind::Text);
        Ok(String::new())
    }

    fn read_blob(&mut self, _schema: &Schema<'_>) -> Result<Blob, SerdeError> {
        self.record(ValueKind::Text);
        Ok(Blob::new(Vec::new()))
    }

    fn read_timestamp(&mut self, _schema: &Schema<'_>) -> Result<DateTime, SerdeError> {
        self.record(ValueKind::Number);
        Ok(DateTime::from_secs(0))
    }

    fn read_document(&mut self, _schema: &Schema<'_>) -> Result<Document, SerdeError> {
        self.record(ValueKind::Any);
        Ok(Document::Null)
    }

    fn is_null(&self) -> bool {
        false
    }

    fn container_size(&self) -> Option<usize> {
        None
    }
}

//! The members of a definition that are values, by their place in the model of the ECS API.

use std::collections::BTreeMap;

use super::place::Definition;
use crate::api_model::schema::{self, MemberType};

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

/// The members of a definition that are values, for example `containerDefinitions[].image` or
/// `containerDefinitions[].dockerLabels{}`.
pub(crate) fn members(definition: Definition) -> BTreeMap<String, ValueKind> {
    let all = match definition {
        Definition::Task => schema::task_definition(),
        Definition::Service => schema::service(),
    };
    let values = all.iter().filter_map(|(path, member)| {
        let kind = match member {
            MemberType::Text => ValueKind::Text,
            MemberType::Boolean => ValueKind::Boolean,
            MemberType::Integer | MemberType::Decimal => ValueKind::Number,
            MemberType::Any => ValueKind::Any,
            MemberType::Object | MemberType::List | MemberType::Map => return None,
        };
        Some((path.to_owned(), kind))
    });
    values.collect()
}

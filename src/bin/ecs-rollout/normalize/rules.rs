//! How ECS changes what it is given, as data: one row for each fact, with its source.
//!
//! The rows are in `task_definition.rs` and `service.rs`. A member without a row is compared as it is, so a new member
//! of the API is compared without a change here.

use serde_json::{Map, Value};

/// One fact about a member.
pub(crate) struct Rule {
    /// The path of the member, as in [`crate::api_model::schema::Members`].
    pub(crate) path: &'static str,
    pub(crate) effect: Effect,
    /// Where the fact is documented. Where ECS does it without documentation: the tool that had to learn it.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reader, and for the test that each row has one"))]
    pub(crate) source: &'static str,
}

/// What ECS does with a member, or what its value means.
#[derive(Clone, Copy)]
pub(crate) enum Effect {
    /// An absent member means this value, and ECS returns either of the two.
    Default(Literal),
    /// As `Default`, but only in an object that has another member: the object itself has a meaning.
    Filled(Literal),
    /// The order of the list has no meaning, and ECS may return another one. The members identify an element; an empty
    /// list stands for the whole element.
    Unordered(&'static [&'static str]),
    /// The order of the list has a meaning, and ECS returns it as it was sent.
    Ordered,
    /// An empty text or object is a value. Everywhere else in an object it means the same as an absent member.
    CanBeEmpty,
    /// ECS rewrites the text.
    Rewritten(fn(&str) -> Option<String>),
    /// ECS fills in or ignores members of this object, depending on other members. The second argument is the whole
    /// document.
    Computed(fn(&mut Map<String, Value>, &Value)),
    /// The name or the ARN of an IAM role; ECS returns the ARN.
    Role,
}

/// A value in a table.
#[derive(Clone, Copy)]
pub(crate) enum Literal {
    Boolean(bool),
    Number(i64),
    Text(&'static str),
    Texts(&'static [&'static str]),
}

impl Literal {
    pub(crate) fn value(self) -> Value {
        match self {
            Literal::Boolean(value) => value.into(),
            Literal::Number(value) => value.into(),
            Literal::Text(value) => value.into(),
            Literal::Texts(values) => values.into(),
        }
    }
}

/// A row whose default is a boolean.
pub(crate) const fn boolean(path: &'static str, value: bool, source: &'static str) -> Rule {
    Rule { path, effect: Effect::Default(Literal::Boolean(value)), source }
}

/// A row whose default is a number.
pub(crate) const fn number(path: &'static str, value: i64, source: &'static str) -> Rule {
    Rule { path, effect: Effect::Default(Literal::Number(value)), source }
}

/// A row whose default is a text.
pub(crate) const fn text(path: &'static str, value: &'static str, source: &'static str) -> Rule {
    Rule { path, effect: Effect::Default(Literal::Text(value)), source }
}

/// A row of a list whose order has no meaning.
pub(crate) const fn unordered(path: &'static str, keys: &'static [&'static str], source: &'static str) -> Rule {
    Rule { path, effect: Effect::Unordered(keys), source }
}

/// A row of a list whose order has a meaning.
pub(crate) const fn ordered(path: &'static str, source: &'static str) -> Rule {
    Rule { path, effect: Effect::Ordered, source }
}

/// A row of a text that may be empty.
pub(crate) const fn can_be_empty(path: &'static str, source: &'static str) -> Rule {
    Rule { path, effect: Effect::CanBeEmpty, source }
}

/// A row of the remaining kinds.
pub(crate) const fn rule(path: &'static str, effect: Effect, source: &'static str) -> Rule {
    Rule { path, effect, source }
}

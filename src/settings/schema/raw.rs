//! A value before it is checked.

use std::collections::BTreeMap;

/// A value as it was written, before it is checked against its setting.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    /// A string. Every value of the environment, the command line and tags is one.
    Text(String),
    /// A boolean.
    Bool(bool),
    /// An integer.
    Integer(i64),
    /// An array.
    List(Vec<Raw>),
    /// A table.
    Table(BTreeMap<String, Raw>),
    /// A TOML value of a type that no setting takes; the name of the type.
    Other(&'static str),
}

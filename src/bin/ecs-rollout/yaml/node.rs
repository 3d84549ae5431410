//! A document of YAML before its types are known: the type of a reference such as `${VERSION}` depends on its place.
//!
//! In: the nodes of a document and the model of the definition. Out: its value as JSON, and the lines of the scalars
//! that are not text where the model has text.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api_model::schema::{MemberType, Members};

/// A value whose type may depend on its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(BTreeMap<String, Node>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scalar {
    /// The value by the rules of YAML.
    pub(crate) value: Value,
    /// For a plain scalar that is a reference: its text, with the variable replaced.
    pub(crate) replaced: Option<String>,
    /// From 1.
    pub(crate) line: usize,
}

impl Node {
    /// The number of values below a value, and the value itself.
    pub(crate) fn count(&self) -> usize {
        match self {
            Node::Scalar(_) => 1,
            Node::List(list) => 1 + list.iter().map(Node::count).sum::<usize>(),
            Node::Map(members) => 1 + members.values().map(Node::count).sum::<usize>(),
        }
    }

    /// The bytes of all keys and texts of a value.
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Node::Scalar(scalar) => scalar.value.as_str().map_or(0, str::len),
            Node::List(list) => list.iter().map(Node::text_bytes).sum(),
            Node::Map(members) => members.iter().map(|(name, value)| name.len() + value.text_bytes()).sum(),
        }
    }
}

/// Gives each node the type of its place in a model.
pub(crate) struct Typing {
    members: &'static Members,
    /// The lines of scalars that are a number, a boolean or null where the model has text, by their place.
    pub(crate) lines: BTreeMap<String, usize>,
}

impl Typing {
    pub(crate) fn of(members: &'static Members) -> Typing {
        Typing { members, lines: BTreeMap::new() }
    }

    /// The value of a node. `path` is its place in the model, `place` the same with the numbers of list elements.
    pub(crate) fn value(&mut self, node: Node, path: &str, place: &str) -> Value {
        match node {
            Node::Scalar(scalar) => self.scalar(scalar, self.members.get(path) == Some(MemberType::Text), place),
            Node::List(list) => {
                let path = format!("{path}[]");
                let elements = list.into_iter().enumerate();
                elements.map(|(index, element)| self.value(element, &path, &format!("{place}[{index}]"))).collect()
            }
            Node::Map(members) => Value::Object(
                members
                    .into_iter()
                    .map(|(name, member)| {
                        let path = self.members.step(path, &name);
                        let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                        let value = self.value(member, &path, &place);
                        (name, value)
                    })
                    .collect(),
            ),
        }
    }

    /// The value of a scalar. The value of a variable is data, so where the model has text it never becomes a number, a
    /// boolean or null. An empty one is never null, which would remove the member without a note.
    pub(crate) fn scalar(&mut self, scalar: Scalar, is_text: bool, place: &str) -> Value {
        match scalar.replaced {
            Some(text) if is_text || text.is_empty() => Value::String(text),
            _ => {
                if is_text && !scalar.value.is_string() {
                    self.lines.insert(place.to_owned(), scalar.line);
                }
                scalar.value
            }
        }
    }
}

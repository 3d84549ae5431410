//! Evaluates the functions `Fn::Join`, `Fn::Sub` and `Fn::Base64` in a CloudFormation template in YAML.
//!
//! In: the scalars of the document. Out: the scalars, with one scalar in place of the arguments of each `Fn::Join`. It
//! has the key whose value is the function. [`OPAQUE`] replaces a reference.

use saphyr_parser::Tag;

use super::scalar::Scalar;
use super::text::At;
use crate::ecs_config::issue::OPAQUE;

const JOIN: &str = "Fn::Join";
const SUB: &str = "Fn::Sub";
const BASE64: &str = "Fn::Base64";

/// The name of a tag such as `!Sub`. `None` for a tag that YAML defines.
pub(super) fn own_tag(tag: Option<&Tag>) -> Option<&str> {
    tag.filter(|tag| tag.handle == "!").map(|tag| tag.suffix.as_str())
}

/// The function of a tag: `Fn::Join` for `!Join`.
pub(super) fn function(tag: &str) -> String {
    match tag {
        "Ref" | "Condition" => tag.to_owned(),
        _ => format!("Fn::{tag}"),
    }
}

/// Whether a scalar with this tag is a reference and not text.
pub(super) fn is_reference(tag: &str) -> bool {
    !["Sub", "Base64", ""].contains(&tag)
}

/// The scalars after the functions are applied. Arguments that are not literals become [`OPAQUE`].
pub(super) fn applied(scalars: Vec<Scalar>) -> Vec<Scalar> {
    let mut applied: Vec<Scalar> = Vec::with_capacity(scalars.len());
    let mut rest = scalars.into_iter().peekable();
    while let Some(mut scalar) = rest.next() {
        let Some(at) = scalar.path.iter().position(|key| key == JOIN) else {
            scalar.path = without_functions(scalar.path);
            applied.push(scalar);
            continue;
        };
        let path = scalar.path[..=at].to_vec();
        let mut arguments = vec![scalar];
        while let Some(next) = rest.next_if(|next| next.path.starts_with(&path)) {
            arguments.push(next);
        }
        if let Some(chars) = joined(&arguments, at + 1) {
            applied.push(Scalar { path: without_functions(path), chars });
        }
    }
    applied
}

/// The path without the functions at its end.
fn without_functions(mut path: Vec<String>) -> Vec<String> {
    // `Fn::Sub` with variables has a list as argument, and its first element is the text.
    if path.len() > 1 && path[path.len() - 2] == SUB && path[path.len() - 1] == "0" {
        path.pop();
    }
    while path.len() > 1 && path.last().is_some_and(|key| [JOIN, SUB, BASE64].contains(&key.as_str())) {
        path.pop();
    }
    path
}

/// The text that `Fn::Join` makes of these arguments. `from` is the length of the path of the function. `None` if the
/// arguments do not have the form of the function.
fn joined(arguments: &[Scalar], from: usize) -> Option<Vec<At>> {
    let (first, items) = arguments.split_first()?;
    if first.path[from..] != ["0"] {
        return None;
    }
    let mut text: Vec<At> = Vec::new();
    let mut last = None;
    for item in items {
        let [list, number, inside @ ..] = &item.path[from..] else { return None };
        if list != "1" {
            return None;
        }
        let is_new = last != Some(number);
        let near = text.last().or(item.chars.first()).or(first.chars.first()).copied();
        let near = near.unwrap_or(At { c: OPAQUE, line: 1, column: 1 });
        if is_new && last.is_some() {
            text.extend(first.chars.iter().map(|at| At { c: at.c, ..near }));
        }
        let is_text = match inside {
            [] => true,
            [function] => function == SUB,
            [function, index] => function == SUB && index == "0",
            _ => false,
        };
        if is_text {
            text.extend(&item.chars);
        } else if is_new {
            text.push(At { c: OPAQUE, ..near });
        }
        last = Some(number);
    }
    (!items.is_empty()).then_some(text)
}

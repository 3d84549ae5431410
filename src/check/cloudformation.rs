//! The functions of CloudFormation in a template in YAML: `Fn::Join`, `Fn::Sub` and `Fn::Base64`.
//!
//! In: the scalars of the document. Out: the same with one scalar in place of each list that is joined, under the key that
//! the function is the value of. [`OPAQUE`] stands for a reference.

use saphyr_parser::Tag;

use super::scalar::Scalar;
use super::text::At;
use crate::ecs_config::issue::OPAQUE;

const JOIN: &str = "Fn::Join";
const SUB: &str = "Fn::Sub";
const BASE64: &str = "Fn::Base64";

/// The name of a tag that YAML itself does not define.
pub(super) fn own_tag(tag: Option<&Tag>) -> Option<&str> {
    tag.filter(|tag| tag.handle == "!").map(|tag| tag.suffix.as_str())
}

/// The name of the function that the tag of a collection stands for.
pub(super) fn function(tag: &str) -> String {
    match tag {
        "Ref" | "Condition" => tag.to_owned(),
        _ => format!("Fn::{tag}"),
    }
}

/// Whether a scalar with this tag is a reference, and not the text itself.
pub(super) fn is_reference(tag: &str) -> bool {
    !["Sub", "Base64", ""].contains(&tag)
}

/// The scalars with the functions applied, as far as their arguments are literals.
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

/// The key that the functions at the end of the path are the value of.
fn without_functions(mut path: Vec<String>) -> Vec<String> {
    // The text of `Fn::Sub` with variables is the first element of a list.
    if path.len() > 1 && path[path.len() - 2] == SUB && path[path.len() - 1] == "0" {
        path.pop();
    }
    while path.len() > 1 && path.last().is_some_and(|key| [JOIN, SUB, BASE64].contains(&key.as_str())) {
        path.pop();
    }
    path
}

/// The text that the arguments make; `from` is the length of the function's path.
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
        match is_text {
            true => text.extend(&item.chars),
            false if is_new => text.push(At { c: OPAQUE, ..near }),
            false => {}
        }
        last = Some(number);
    }
    (!items.is_empty()).then_some(text)
}

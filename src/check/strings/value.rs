//! The values of expressions of string literals.

use super::super::text::{At, string};
use crate::ecs_config::issue::OPAQUE;

/// The known part of the value of an expression.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A text.
    Text {
        /// Its characters, decoded.
        chars: Vec<At>,
        /// Whether the source file joins it from a list with a separator.
        is_joined: bool,
    },
    /// A list.
    List(Vec<Value>),
    /// Nothing is known; the place of the expression.
    Unknown(At),
}

impl Value {
    /// The value, or the first element if it is a list. `Fn::Sub` takes both.
    pub(super) fn first(self) -> Value {
        match self {
            Value::List(items) if !items.is_empty() => items.into_iter().next().unwrap_or(Value::List(Vec::new())),
            value => value,
        }
    }

    /// The result of `join` for this list of arguments: a separator and one or more lists.
    pub(super) fn into_call_of_join(self) -> Option<Value> {
        let Value::List(arguments) = self else { return None };
        let mut arguments = arguments.into_iter();
        let Some(Value::Text { chars: separator, .. }) = arguments.next() else { return None };
        let is_list = |value: &Value| matches!(value, Value::List(_));
        let lists: Vec<Value> = arguments.collect();
        (lists.iter().any(is_list)).then(|| joined(&separator, &lines_of(lists)))
    }
}

/// The elements, with nested lists flattened by one level.
pub(super) fn lines_of(values: Vec<Value>) -> Vec<Value> {
    let flat = values.into_iter().flat_map(|value| match value {
        Value::List(items) => items,
        value => vec![value],
    });
    flat.collect()
}

/// The value of the parts of one element. `None` if there are no parts.
pub(super) fn of_parts(mut parts: Vec<Value>, is_unknown: bool) -> Option<Value> {
    let place = match parts.first()? {
        Value::Unknown(place) => *place,
        Value::Text { chars, .. } => chars.first().copied().unwrap_or(At { c: OPAQUE, line: 1, column: 1 }),
        Value::List(_) => At { c: OPAQUE, line: 1, column: 1 },
    };
    if is_unknown {
        return Some(Value::Unknown(place));
    }
    if parts.len() == 1 {
        return parts.pop();
    }
    if parts.iter().any(|part| matches!(part, Value::List(_))) {
        return Some(Value::List(lines_of(parts)));
    }
    if !parts.iter().any(|part| matches!(part, Value::Text { .. })) {
        return Some(Value::Unknown(place));
    }
    let mut whole: Vec<At> = Vec::new();
    for part in parts {
        match part {
            Value::Text { chars, .. } => whole.extend(chars),
            Value::Unknown(place) => whole.push(At { c: OPAQUE, ..place }),
            Value::List(_) => {}
        }
    }
    Some(Value::Text { chars: whole, is_joined: false })
}

/// The elements of a list, joined with a separator.
pub(super) fn joined(separator: &[At], items: &[Value]) -> Value {
    let mut whole: Vec<At> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if let Some(last) = whole.last().copied().filter(|_| index > 0) {
            whole.extend(separator.iter().map(|at| At { c: at.c, ..last }));
        }
        match item {
            Value::Text { chars, .. } => whole.extend(chars),
            Value::Unknown(place) => whole.push(At { c: OPAQUE, ..*place }),
            Value::List(_) => {}
        }
    }
    Value::Text { chars: whole, is_joined: true }
}

/// The elements of a list as lines, if the source file does not join them.
pub(super) fn as_lines(items: &[Value]) -> Value {
    let ends_line =
        |item: &Value| matches!(item, Value::Text { chars, .. } if chars.last().is_some_and(|at| at.c == '\n'));
    let is_unknown = |item: &Value| matches!(item, Value::Unknown(_));
    let mut whole: Vec<At> = Vec::new();
    let has_ends = items.iter().any(ends_line) && items.iter().any(is_unknown);
    for item in items {
        match item {
            Value::Text { chars, .. } => whole.extend(chars),
            Value::Unknown(place) => whole.push(At { c: OPAQUE, ..*place }),
            Value::List(_) => {}
        }
        if let Some(last) = whole.last().copied().filter(|last| !has_ends && last.c != '\n') {
            whole.push(At { c: '\n', ..last });
        }
    }
    Value::Text { chars: whole, is_joined: false }
}

/// The placeholders that a function replaces.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Filling {
    /// `%s`, as in `printf`.
    Percent,
    /// `{}` and `{name}`; `{{` is an escaped brace.
    Braces,
    /// `%s`, `{}` and `{0}`, if the function is not known.
    Either,
}

/// The text with [`OPAQUE`] in place of placeholders.
pub(super) fn filled(chars: &[At], filling: Filling) -> Vec<At> {
    let mut result = Vec::with_capacity(chars.len());
    let mut index = 0;
    while let Some(here) = chars.get(index) {
        let rest = &chars[index + 1..];
        let is_double = rest.first().is_some_and(|next| next.c == here.c);
        let length = match here.c {
            '{' | '}' if filling == Filling::Braces && is_double => {
                result.push(*here);
                index += 2;
                continue;
            }
            '%' if filling != Filling::Braces => directive(rest),
            '{' if filling != Filling::Percent => argument(rest, filling == Filling::Either),
            _ => None,
        };
        result.push(if length.is_some() { At { c: OPAQUE, ..*here } } else { *here });
        index += 1 + length.unwrap_or(0);
    }
    result
}

/// A literal of code with [`OPAQUE`] in place of `%s`, `{}` and `{0}`. A text with `printf` is not changed, because the
/// `%s` in it belong to the script.
pub(super) fn filled_in_code(chars: &[At]) -> Vec<At> {
    let text = string(chars);
    if text.contains("printf") { chars.to_vec() } else { filled(chars, Filling::Either) }
}

/// A literal of code without blank lines at its start and without the common indentation of its lines. Java removes the
/// indentation of a text block, and in other languages a function may do so.
pub(super) fn dedented(chars: &[At]) -> Vec<At> {
    let is_blank = |line: &&[At]| line.iter().all(|at| at.c.is_whitespace());
    let lines = || chars.split_inclusive(|at| at.c == '\n').skip_while(is_blank);
    let indent = |line: &[At]| line.iter().take_while(|at| at.c == ' ' || at.c == '\t').count();
    let least = lines().filter(|line| !is_blank(line)).map(indent).min().unwrap_or(0);
    lines().flat_map(|line| &line[least.min(indent(line))..]).copied().collect()
}

/// The length of `s`, `1$s`, `[1]s` or `-5d` after a `%`.
fn directive(rest: &[At]) -> Option<usize> {
    let flags = rest.iter().take(8).take_while(|at| at.c.is_ascii_digit() || "$[]-.".contains(at.c)).count();
    rest.get(flags).filter(|at| "sdvq".contains(at.c)).map(|_| flags + 1)
}

/// The length of `}`, `0}` or, unless only numbers are allowed, `name}` after a `{`.
fn argument(rest: &[At], only_numbers: bool) -> Option<usize> {
    let is_of_name =
        |at: &&At| at.c.is_ascii_digit() || (!only_numbers && (at.c.is_ascii_alphabetic() || "_.".contains(at.c)));
    let name = rest.iter().take(64).take_while(is_of_name).count();
    rest.get(name).filter(|at| at.c == '}').map(|_| name + 1)
}

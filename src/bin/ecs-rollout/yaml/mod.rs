//! Reads a definition that is written in YAML.
//!
//! In: the text of a file, and the variables. Out: its nodes, or the first fault with its place. Types are
//! those of the core schema (YAML 1.2.2, 10.3.2): `yes`, `on` and `0123a` are text, `1.10` is a number. Anchors, aliases
//! and merge keys (`<<`) are supported. Variables are replaced after parsing, so that a value can never be structure.
//! Whether a reference is text or a number depends on its place: see [`Typing`].

mod node;

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Number, Value};

use crate::template::{self, Fault, Lookup};

pub(crate) use node::{Node, Scalar, Typing};

/// The most nested levels, about as many as the parser of JSON accepts.
const MAX_DEPTH: usize = 100;
/// The most values. A small file with aliases of aliases can stand for billions of them.
const MAX_VALUES: usize = 100_000;
/// The most bytes of text that aliases may repeat.
const MAX_ALIASED_BYTES: usize = 1024 * 1024;

/// What is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct YamlError {
    /// From 1.
    pub(crate) line: usize,
    /// In characters, from 1.
    pub(crate) column: usize,
    pub(crate) what: YamlFault,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum YamlFault {
    Syntax(String),
    Variable(Fault),
}

/// The nodes of a document. Without `variables`, none is replaced.
pub(crate) fn read(text: &str, variables: Option<&dyn Lookup>) -> Result<Node, YamlError> {
    let mut reader =
        Reader { variables, open: Vec::new(), anchors: BTreeMap::new(), values: 0, aliased_bytes: 0, document: None };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let marker = error.marker();
            // A plain scalar inside of a flow collection cannot contain `{` (YAML 1.2.2, 7.3.3).
            let line = text.lines().nth(marker.line().saturating_sub(1)).unwrap_or_default();
            let hint = if variables.is_some() && line.contains("${") {
                "; a `${...}` inside of `[]` or `{}` must be in quotes"
            } else {
                ""
            };
            let what = YamlFault::Syntax(format!("{}{hint}", error.info()));
            YamlError { line: marker.line(), column: marker.col() + 1, what }
        })?;
        let (line, column) = (span.start.line(), span.start.col() + 1);
        reader.event(event, line).map_err(|what| YamlError { line, column, what })?;
    }
    Ok(reader.document.unwrap_or(Node::Scalar(Scalar { value: Value::Null, replaced: None, line: 1 })))
}

/// A mapping or list whose end has not been read.
enum Open {
    Map {
        members: BTreeMap<String, Node>,
        /// The key whose value comes next.
        key: Option<Key>,
        /// The mappings of merge keys.
        merged: Vec<Node>,
    },
    List(Vec<Node>),
}

enum Key {
    Name(String),
    /// `<<`.
    Merge,
}

struct Reader<'a> {
    variables: Option<&'a dyn Lookup>,
    /// The open mappings and lists, each with the id of its anchor; 0 if it has none.
    open: Vec<(Open, usize)>,
    anchors: BTreeMap<usize, Node>,
    /// The number of values so far.
    values: usize,
    /// The bytes of text that aliases have repeated.
    aliased_bytes: usize,
    document: Option<Node>,
}

fn syntax<T>(what: &str) -> Result<T, YamlFault> {
    Err(YamlFault::Syntax(what.to_owned()))
}

impl Reader<'_> {
    fn event(&mut self, event: Event<'_>, line: usize) -> Result<(), YamlFault> {
        match event {
            Event::DocumentStart(_) if self.document.is_some() => syntax("there is more than one document"),
            Event::Scalar(text, style, anchor, tag) => {
                if let Some((Open::Map { members, key: key @ None, .. }, _)) = self.open.last_mut() {
                    *key = Some(new_key(&text, style, self.variables, members)?);
                    return Ok(());
                }
                let (value, replaced) = self.scalar(&text, style, tag.as_deref())?;
                self.add(Node::Scalar(Scalar { value, replaced, line }), anchor)
            }
            Event::MappingStart(anchor, tag) => self.begin(
                Open::Map { members: BTreeMap::new(), key: None, merged: Vec::new() },
                anchor,
                tag.as_deref(),
            ),
            Event::SequenceStart(anchor, tag) => self.begin(Open::List(Vec::new()), anchor, tag.as_deref()),
            Event::MappingEnd | Event::SequenceEnd => match self.open.pop() {
                Some((Open::Map { members, merged, .. }, anchor)) => {
                    let members = merged_members(members, merged)?;
                    self.add(Node::Map(members), anchor)
                }
                Some((Open::List(list), anchor)) => self.add(Node::List(list), anchor),
                None => syntax("there is an end without a beginning"),
            },
            Event::Alias(anchor) => {
                let Some(value) = self.anchors.get(&anchor).cloned() else {
                    return syntax("an alias is used inside of its own anchor");
                };
                self.values += value.count();
                self.aliased_bytes += value.text_bytes();
                if self.aliased_bytes > MAX_ALIASED_BYTES {
                    return syntax("aliases repeat more than 1 MiB of text");
                }
                self.add(value, 0)
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, open: Open, anchor: usize, tag: Option<&Tag>) -> Result<(), YamlFault> {
        if let Some((Open::Map { key: None, .. }, _)) = self.open.last() {
            return syntax("a key is a mapping or a list; a key must be text");
        }
        if self.open.len() >= MAX_DEPTH {
            return syntax("there are too many nested levels");
        }
        if tag.is_some_and(|tag| !tag.is_yaml_core_schema()) {
            return syntax(UNKNOWN_TAG);
        }
        self.open.push((open, anchor));
        Ok(())
    }

    /// Adds a complete value to what is open.
    fn add(&mut self, value: Node, anchor: usize) -> Result<(), YamlFault> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return syntax("there are too many values; aliases are counted each time");
        }
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        match self.open.last_mut() {
            None => self.document = Some(value),
            Some((Open::List(list), _)) => list.push(value),
            Some((Open::Map { members, key, merged }, _)) => match key.take() {
                Some(Key::Name(name)) => drop(members.insert(name, value)),
                Some(Key::Merge) => merged.push(value),
                None => return syntax("a key is an alias; a key must be text"),
            },
        }
        Ok(())
    }

    /// The value by the rules of YAML, and the text if it is a plain scalar that is a reference.
    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<(Value, Option<String>), YamlFault> {
        let rendered = rendered(text, self.variables)?;
        match tag {
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => {
                return Ok((Value::String(rendered), None));
            }
            Some(tag) if tag.is_yaml_core_schema() => {}
            // `!` alone makes any scalar text.
            Some(tag) if format!("{}{}", tag.handle, tag.suffix) == "!" => return Ok((Value::String(rendered), None)),
            Some(_) => return syntax(UNKNOWN_TAG),
            None if style != ScalarStyle::Plain => return Ok((Value::String(rendered), None)),
            None if self.variables.is_some() && text.contains("${") => {
                // A reference with other text around it is text, as in JSON.
                if !is_one_reference(text) {
                    return Ok((Value::String(rendered), None));
                }
                let value = plain(&rendered).unwrap_or_else(|| Value::String(rendered.clone()));
                return Ok((value, Some(rendered)));
            }
            None => {}
        }
        match plain(&rendered) {
            Some(value) => Ok((value, None)),
            None => syntax("infinity and `.nan` are not allowed; text must be in quotes"),
        }
    }
}

const UNKNOWN_TAG: &str = "a tag such as `!Ref` or `!Sub` has no meaning here";

fn new_key(
    text: &str,
    style: ScalarStyle,
    variables: Option<&dyn Lookup>,
    members: &BTreeMap<String, Node>,
) -> Result<Key, YamlFault> {
    if style == ScalarStyle::Plain && text == "<<" {
        return Ok(Key::Merge);
    }
    let name = rendered(text, variables)?;
    if members.contains_key(&name) {
        return syntax(&format!("the key `{name}` is there twice"));
    }
    Ok(Key::Name(name))
}

fn rendered(text: &str, variables: Option<&dyn Lookup>) -> Result<String, YamlFault> {
    match variables {
        Some(variables) => template::render_plain(text, variables).map_err(YamlFault::Variable),
        None => Ok(text.to_owned()),
    }
}

/// The members with those of the merge keys. The mapping's own members, and then earlier ones, take precedence
/// (<https://yaml.org/type/merge.html>).
fn merged_members(mut members: BTreeMap<String, Node>, merged: Vec<Node>) -> Result<BTreeMap<String, Node>, YamlFault> {
    let sources = merged.into_iter().flat_map(|value| match value {
        Node::List(list) => list,
        one => vec![one],
    });
    for source in sources {
        let Node::Map(source) = source else {
            return syntax("the value of `<<` must be a mapping or a list of mappings");
        };
        for (name, value) in source {
            members.entry(name).or_insert(value);
        }
    }
    Ok(members)
}

/// Whether the text is one reference and nothing else.
fn is_one_reference(text: &str) -> bool {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' if text[..at].ends_with('$') => depth += 1,
            '}' if depth == 1 => return at + 1 == text.len() && text.starts_with("${"),
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// The value of a plain scalar; `None` for a number that JSON does not have.
fn plain(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "true" | "True" | "TRUE" => return Some(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Some(Value::Bool(false)),
        ".nan" | ".NaN" | ".NAN" => return None,
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if [".inf", ".Inf", ".INF"].contains(&unsigned) {
        return None;
    }
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let of_base = |prefix: &str, base: u32| {
        let digits = text.strip_prefix(prefix).filter(|digits| digits.chars().all(|c| c.is_digit(base)))?;
        u64::from_str_radix(digits, base).ok()
    };
    if let Some(number) = of_base("0o", 8).or_else(|| of_base("0x", 16)) {
        return Some(number.into());
    }
    if is_digits(unsigned)
        && let Ok(number) = text.strip_prefix('+').unwrap_or(text).parse::<i64>()
    {
        return Some(number.into());
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let is_mantissa = match mantissa.split_once('.') {
        Some((whole, fraction)) => {
            (is_digits(whole) || (whole.is_empty() && !fraction.is_empty()))
                && (fraction.is_empty() || is_digits(fraction))
        }
        None => is_digits(mantissa),
    };
    if is_mantissa && exponent.is_none_or(is_digits) {
        return text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number);
    }
    Some(Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests;

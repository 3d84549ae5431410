//! Finds user data in the string literals of a source file: Terraform, JSON, Packer, and code that uses the CDK or an
//! SDK.
//!
//! In: the file. Out: texts that are user data, scripts or lines of `ecs.config`, with the place of each character. The
//! literals of one list, or of one call that takes lines, become one text. [`OPAQUE`] replaces every part that is not a
//! literal, so that nothing is assumed about it.

mod value;

use self::value::{Filling, Value, as_lines, dedented, filled, filled_in_code, joined, lines_of, of_parts};
use super::lexer::{Lexer, Rules, Token};
use super::text::{At, Text, string};
use crate::agent_variables::find;
use crate::ecs_config::issue::OPAQUE;

/// The most brackets inside of each other that are read.
const MAX_DEPTH: usize = 200;
/// The most characters of a key that are kept.
const MAX_KEY_LENGTH: usize = 200;
/// The beginnings of user data, in lower case.
const MARKERS: [&str; 9] = [
    "#!",
    "#cloud-config",
    "#cloud-boothook",
    "#ecs-bootstrap",
    "## template: jinja",
    "mime-version:",
    "content-type: multipart",
    "[settings",
    "settings.",
];
/// Functions that return their first argument. Names are in lower case and without `_`.
const WRAPPERS: [&str; 20] = [
    "base64encode",
    "base64",
    "b64encode",
    "textencodebase64",
    "sub",
    "fnsub",
    "dedent",
    "outdent",
    "string",
    "format",
    "sprintf",
    "format!",
    "custom",
    "bytes",
    "b",
    "f",
    "trimspace",
    "chomp",
    "multipartbodyfromrawbody",
    "rawuserdata",
];
/// Functions that return the list of their arguments.
const LISTS: [&str; 9] = ["of", "aslist", "listof", "list", "tuple", "concat", "flatten", "compact", "strings"];
/// Functions whose arguments are lines of a script.
const LINES: [&str; 5] = ["addcommands", "addcommand", "adduserdata", "addonexitcommands", "addlines"];
/// Methods that do not change the meaning of a text.
const UNCHANGED: [&str; 16] = [
    "encode",
    "decode",
    "strip",
    "lstrip",
    "rstrip",
    "trim",
    "trimindent",
    "trimmargin",
    "stripindent",
    "stripmargin",
    "dedent",
    "format",
    "formatted",
    "tostring",
    "toowned",
    "getbytes",
];
/// Keywords that can precede a bracket and are not the name of a function.
const KEYWORDS: [&str; 12] =
    ["if", "for", "while", "switch", "return", "in", "and", "or", "not", "await", "yield", "else"];

/// A text that was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It begins like user data.
    Document(Vec<At>),
    /// It contains `/etc/ecs/ecs.config`.
    Script(Vec<At>),
    /// It consists of lines of an `ecs.config`.
    Config(Vec<At>),
}

/// The texts in a source file whose language has these rules.
pub(super) fn texts(text: &Text, rules: Rules) -> Vec<Found> {
    let lexer = Lexer::new(&text.chars, rules);
    let mut reader =
        StringsReader { lexer, formats: rules.formats, frames: Vec::new(), too_deep: 0, found: Vec::new() };
    reader.frames.push(OpenBracket::default());
    reader.read();
    reader.found
}

/// The tokens between two commas or line breaks.
#[derive(Default)]
struct ItemTokens {
    key: String,
    parts: Vec<Value>,
    /// Whether an operator makes its value unknown.
    is_unknown: bool,
    /// Whether the following tokens do not belong to its value.
    is_ended: bool,
    /// The last name, in lower case and without `_`.
    word: String,
}

/// An open bracket.
#[derive(Default)]
struct OpenBracket {
    open: char,
    /// The name of the function or method that is called.
    call: Option<String>,
    is_list: bool,
    is_index: bool,
    /// The key whose value is the bracket.
    key: String,
    elements: Vec<(String, Value)>,
    element: ItemTokens,
    /// The value of a function of CloudFormation.
    function: Option<Value>,
}

struct StringsReader<'t> {
    lexer: Lexer<'t>,
    formats: bool,
    frames: Vec<OpenBracket>,
    too_deep: usize,
    found: Vec<Found>,
}

impl StringsReader<'_> {
    fn element(&mut self) -> Option<&mut ItemTokens> {
        self.frames.last_mut().map(|frame| &mut frame.element)
    }

    fn read(&mut self) {
        let mut last = Token::Newline;
        while let Some(token) = self.lexer.next() {
            match &token {
                Token::Literal(chars) => self.literal(chars, &last),
                Token::Word(word) => self.word(word, &last),
                Token::Open(c) => self.open(*c, &last),
                Token::Close(c) => self.close(*c),
                Token::Newline => {
                    let continues = matches!(last, Token::Assign | Token::Arrow | Token::Open(_))
                        || matches!(last, Token::Mark(c) if "+:,.%".contains(c));
                    let is_block = self.frames.last().is_some_and(|frame| !matches!(frame.open, '(' | '['));
                    if is_block && !continues && !self.lexer.following().is_some_and(|c| "+.?:|&".contains(c)) {
                        self.end_element();
                    }
                    continue;
                }
                Token::Assign | Token::Arrow => self.begin_value(),
                Token::Mark(c) => self.mark(*c),
            }
            last = token;
        }
        while !self.frames.is_empty() {
            self.close_last();
        }
    }

    fn literal(&mut self, chars: &[At], last: &Token) {
        let Some(element) = self.element() else { return };
        if element.is_ended {
            return;
        }
        // `return "text"`, or a tag before a template literal.
        if matches!(last, Token::Word(_)) && matches!(element.parts.last(), Some(Value::Unknown(_))) {
            element.parts.pop();
        }
        element.parts.push(Value::Text { chars: chars.to_vec(), is_joined: false });
    }

    fn word(&mut self, word: &str, last: &Token) {
        let place = self.lexer.place;
        let Some(element) = self.element() else { return };
        match word {
            "if" | "else" | "and" | "or" | "in" | "not" | "is" => element.is_unknown |= !element.parts.is_empty(),
            "for" | "as" => element.is_ended |= !element.parts.is_empty(),
            _ => {}
        }
        element.word = word.chars().filter(|c| *c != '_').collect::<String>().to_lowercase();
        let is_member = *last == Token::Mark('.') && !element.parts.is_empty();
        if !element.is_ended && !is_member && !matches!(last, Token::Word(_)) {
            element.parts.push(Value::Unknown(place));
        }
    }

    fn mark(&mut self, c: char) {
        match c {
            ',' | ';' => return self.end_element(),
            ':' => return self.colon(),
            _ => {}
        }
        let Some(element) = self.element() else { return };
        match c {
            '%' => {
                if let Some(Value::Text { chars, .. }) = element.parts.last_mut() {
                    *chars = filled(chars, Filling::Percent);
                }
                element.is_ended = true;
            }
            '?' | '|' | '&' | '<' | '>' | '-' | '*' | '/' => element.is_unknown |= !element.parts.is_empty(),
            _ => {}
        }
    }

    /// Handles a `:`, after the key of an object or in a conditional expression.
    fn colon(&mut self) {
        if self.element().is_some_and(|element| !element.is_unknown && !element.is_ended) {
            self.begin_value();
        }
    }

    /// Takes the tokens before as a key, whose value follows.
    fn begin_value(&mut self) {
        let Some(element) = self.element() else { return };
        let word = std::mem::take(&mut element.word);
        let key = match element.parts.as_slice() {
            [Value::Text { chars, .. }] => string(&chars[..chars.len().min(MAX_KEY_LENGTH)]),
            _ => word,
        };
        *element = ItemTokens { key, ..ItemTokens::default() };
    }

    fn open(&mut self, c: char, last: &Token) {
        if self.frames.len() >= MAX_DEPTH {
            self.too_deep += 1;
            return;
        }
        let is_spaced = self.lexer.is_spaced;
        let Some(OpenBracket { element, .. }) = self.frames.last() else { return };
        let follows_name = matches!(last, Token::Word(word) if !KEYWORDS.contains(&word.as_str())) && !is_spaced;
        let follows_value = follows_name || matches!(last, Token::Close(_) | Token::Literal(_)) && !is_spaced;
        let call = match c {
            '(' if follows_name => Some(element.word.clone()),
            '(' if follows_value || *last == Token::Mark('>') => Some(String::new()),
            _ => None,
        };
        let is_array = *last == Token::Close(']') || element.word == "string";
        let frame = OpenBracket {
            open: c,
            call,
            is_list: (c == '[' && !follows_value) || (c == '{' && is_array),
            is_index: c == '[' && follows_value,
            key: element.key.clone(),
            ..OpenBracket::default()
        };
        self.frames.push(frame);
    }

    fn close(&mut self, c: char) {
        if self.too_deep > 0 {
            self.too_deep -= 1;
            return;
        }
        let open = match c {
            ')' => '(',
            ']' => '[',
            _ => '{',
        };
        if self.frames.iter().skip(1).any(|frame| frame.open == open) {
            while self.close_last() != open {}
        }
    }
}

/// The values of closed brackets, and the texts that are found.
impl StringsReader<'_> {
    fn end_element(&mut self) {
        let Some(frame) = self.frames.last_mut() else { return };
        let ItemTokens { key, parts, is_unknown, .. } = std::mem::take(&mut frame.element);
        let Some(value) = of_parts(parts, is_unknown) else { return };
        match frame.open {
            '(' | '[' => frame.elements.push((key, value)),
            _ if frame.is_list => frame.elements.push((key, value)),
            _ => match key.as_str() {
                "Fn::Join" => frame.function = value.into_call_of_join(),
                "Fn::Sub" => frame.function = Some(value.first()),
                "Fn::Base64" => frame.function = Some(value),
                _ => {
                    let is_content = key == "content" && frame.key.ends_with("ecs.config");
                    self.emit(value, is_content);
                }
            },
        }
    }

    /// Closes the innermost bracket and returns it.
    fn close_last(&mut self) -> char {
        self.end_element();
        let Some(mut frame) = self.frames.pop() else { return '\0' };
        let open = frame.open;
        let place = self.lexer.place;
        if frame.is_index {
            self.replace_last(Value::Unknown(place));
        } else if frame.is_list {
            self.push(Value::List(frame.elements.into_iter().map(|(_, value)| value).collect()));
        } else if frame.open == '{' {
            self.push(frame.function.take().unwrap_or(Value::Unknown(place)));
        } else if frame.open == '(' {
            match frame.call.take() {
                Some(name) => self.call(&name, frame, place),
                None if frame.elements.len() == 1 => {
                    let (_, value) = frame.elements.swap_remove(0);
                    self.push(value);
                }
                None => {
                    self.emit_all(frame.elements);
                    self.push(Value::Unknown(place));
                }
            }
        }
        open
    }

    fn push(&mut self, value: Value) {
        if let Some(element) = self.element().filter(|element| !element.is_ended) {
            element.parts.push(value);
        }
    }

    fn replace_last(&mut self, value: Value) {
        if let Some(element) = self.element().filter(|element| !element.is_ended) {
            element.parts.pop();
            element.parts.push(value);
        }
    }

    fn call(&mut self, name: &str, frame: OpenBracket, place: At) {
        let receiver = self.element().and_then(|element| element.parts.last());
        let is_method = matches!(receiver, Some(Value::Text { .. } | Value::List(_)));
        let mut values: Vec<Value> = Vec::new();
        if name == "join" && is_method {
            let receiver = self.element().and_then(|element| element.parts.pop());
            let argument = frame.elements.into_iter().next().map(|(_, value)| value);
            let value = match (receiver, argument) {
                (Some(Value::Text { chars, .. }), Some(Value::List(items))) => joined(&chars, &items),
                (Some(Value::List(items)), Some(Value::Text { chars, .. })) => joined(&chars, &items),
                _ => Value::Unknown(place),
            };
            return self.push(value);
        }
        if is_method {
            if UNCHANGED.contains(&name) {
                if let Some(Value::Text { chars, .. }) = self.element().and_then(|element| element.parts.last_mut())
                    && name.starts_with("format")
                {
                    *chars = filled(chars, if name == "format" { Filling::Braces } else { Filling::Percent });
                }
                return;
            }
            self.emit_all(frame.elements);
            return self.replace_last(Value::Unknown(place));
        }
        if WRAPPERS.contains(&name) || LISTS.contains(&name) || LINES.contains(&name) || name == "join" {
            values.extend(frame.elements.into_iter().map(|(_, value)| value));
        } else {
            self.emit_all(frame.elements);
        }
        let value = match name {
            "join" => Value::List(values).into_call_of_join().unwrap_or(Value::Unknown(place)),
            _ if WRAPPERS.contains(&name) && !values.is_empty() => match values.swap_remove(0).first() {
                Value::Text { chars, .. } if name == "format" || name == "sprintf" => {
                    Value::Text { chars: filled(&chars, Filling::Percent), is_joined: false }
                }
                Value::Text { chars, .. } if name == "format!" => {
                    Value::Text { chars: filled(&chars, Filling::Braces), is_joined: false }
                }
                value => value,
            },
            _ if LISTS.contains(&name) => Value::List(lines_of(values)),
            _ if LINES.contains(&name) => {
                self.emit(Value::List(lines_of(values)), false);
                Value::Unknown(place)
            }
            _ => Value::Unknown(place),
        };
        self.replace_last(value);
    }

    fn emit_all(&mut self, elements: Vec<(String, Value)>) {
        for (_, value) in elements {
            self.emit(value, false);
        }
    }

    /// Records the texts of a complete value.
    fn emit(&mut self, value: Value, is_content: bool) {
        match value {
            Value::Unknown(_) => {}
            Value::Text { chars, is_joined } => {
                let chars = if self.formats { dedented(&filled_in_code(&chars)) } else { chars };
                self.found.extend(classified(chars, is_joined, is_content));
            }
            Value::List(items) => {
                let marked = |value: &&Value| matches!(value, Value::Text { chars, .. } if is_marked(chars));
                if items.iter().filter(marked).count() > 1 {
                    return items.into_iter().for_each(|item| self.emit(item, false));
                }
                let (nested, items): (Vec<Value>, Vec<Value>) =
                    items.into_iter().partition(|item| matches!(item, Value::List(_)));
                self.emit(as_lines(&items), false);
                nested.into_iter().for_each(|list| self.emit(list, false));
            }
        }
    }
}

fn is_marked(chars: &[At]) -> bool {
    let start: String = chars.iter().skip_while(|at| at.c.is_whitespace()).take(32).map(|at| at.c).collect();
    let start = start.to_ascii_lowercase();
    MARKERS.iter().any(|marker| start.starts_with(marker))
}

fn classified(chars: Vec<At>, is_joined: bool, is_content: bool) -> Option<Found> {
    if is_marked(&chars) {
        // A text of one line is part of the program and not user data.
        let has_lines = chars.iter().skip_while(|at| at.c.is_whitespace()).any(|at| at.c == '\n');
        return has_lines.then_some(Found::Document(chars));
    }
    let text = string(&chars);
    if is_content || (is_joined && is_config(&text)) {
        return Some(Found::Config(chars));
    }
    text.contains("/etc/ecs/ecs.config").then_some(Found::Script(chars))
}

/// Whether every line is an assignment, and at least one of a variable of the agent.
fn is_config(text: &str) -> bool {
    let is_name = |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', OPAQUE]));
    let mut keys = lines().map(|line| line.split_once('=').map_or("", |(key, _)| key));
    keys.clone().all(is_name) && keys.any(|key| find(key).is_some())
}

#[cfg(test)]
mod tests;

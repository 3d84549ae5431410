//! Fills variables into a text, JSON or other.
//!
//! In: the text of a file, and the value of each variable. Out: the text with every reference replaced, or the place
//! and name of the first reference that cannot be. The output never contains a reference, or a part of one. The value
//! of a variable is data: references in it are not replaced.
//!
//! The forms are those of the shell (POSIX.1-2017, Shell Command Language, 2.6.2) that say what happens without a
//! value: `${NAME}` must be set; `${NAME:-default}` uses the default if NAME is unset or empty, `${NAME-default}` if it
//! is unset; `${NAME:?message}` must be set and not empty. `$${` is replaced by `${`. Any other `$` is kept, so that
//! the `$HOME` of a command reaches its container.

use std::fmt;

/// Why the variables of a text could not be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TemplateError {
    /// From 1.
    pub(crate) line: usize,
    /// In characters, from 1.
    pub(crate) column: usize,
    pub(crate) fault: Fault,
}

/// What is wrong with a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `${NAME}`, and the variable is not set.
    Unset(String),
    /// `${NAME:?message}`, and the variable is not set or empty.
    Required(String, String),
    /// The environment sets the variable, but it is not listed.
    NotListed(String),
    /// The reference has none of the forms.
    Malformed(&'static str),
    /// The reference is outside a string, and the value is not a number, `true`, `false` or `null`.
    NotScalar(String),
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Unset(name) => write!(f, "the variable `{name}` is not set"),
            Fault::Required(name, message) if message.is_empty() => write!(f, "the variable `{name}` must be set"),
            Fault::Required(name, message) => write!(f, "the variable `{name}` must be set: {message}"),
            Fault::NotListed(name) => write!(
                f,
                "the environment sets `{name}`, but `--vars-from` does not list it; use `--vars-from {name}`, or write \
                 `$${{{name}}}` if the container itself must see `${{{name}}}`, or use `--no-variables`"
            ),
            Fault::Malformed(what) => f.write_str(what),
            Fault::NotScalar(name) => write!(
                f,
                "the variable `{name}` is used outside a string, so it must be a number, `true`, `false` or `null`"
            ),
        }
    }
}

impl std::error::Error for TemplateError {}

/// The variables that a text may use.
pub(crate) trait Lookup {
    /// The value of a variable, `None` if it is not set, or why it must not be used.
    fn value(&self, name: &str) -> Result<Option<String>, Fault>;

    /// Records that the default of a reference is used.
    fn uses_default(&self, name: &str);
}

/// Replaces every reference in a JSON text.
pub(crate) fn render(text: &str, variables: &dyn Lookup) -> Result<String, TemplateError> {
    let mut renderer = Renderer { text, at: 0, is_plain: false, variables };
    renderer.document().map_err(|(at, fault)| {
        let (line, column) = place(text, at);
        TemplateError { line, column, fault }
    })
}

/// Replaces every reference in a text that is not JSON, such as a string of YAML.
pub(crate) fn render_plain(text: &str, variables: &dyn Lookup) -> Result<String, Fault> {
    let mut renderer = Renderer { text, at: 0, is_plain: true, variables };
    renderer.document().map_err(|(_, fault)| fault)
}

/// Line and column of a byte, both from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

struct Renderer<'a> {
    text: &'a str,
    /// The next byte; always at the start of a character.
    at: usize,
    /// Whether the text is not JSON: it has no quotes and no escapes.
    is_plain: bool,
    variables: &'a dyn Lookup,
}

/// The position of the fault, in bytes, and the fault.
type Failure = (usize, Fault);

/// The form of a reference, by what follows the name.
enum Form {
    Plain,
    Default { default: String, also_if_empty: bool },
    Required(String),
}

impl Renderer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest().chars().next()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn document(&mut self) -> Result<String, Failure> {
        let mut out = String::with_capacity(self.text.len());
        let mut in_string = false;
        while !self.rest().is_empty() {
            if let Some(replaced) = self.reference(in_string)? {
                out += &replaced;
                continue;
            }
            let Some(next) = self.next() else { break };
            out.push(next);
            match next {
                _ if self.is_plain => {}
                '"' => in_string = !in_string,
                // The escaped character never ends the string.
                '\\' if in_string && !self.rest().starts_with('$') => out.extend(self.next()),
                _ => {}
            }
        }
        Ok(out)
    }

    /// The replacement, if a reference or `$${` starts here.
    fn reference(&mut self, in_string: bool) -> Result<Option<String>, Failure> {
        if self.rest().starts_with("$${") {
            self.at += 3;
            return Ok(Some("${".to_owned()));
        }
        if !self.rest().starts_with("${") {
            return Ok(None);
        }
        let begin = self.at;
        self.at += 2;
        let name = self.name().map_err(|what| (begin, Fault::Malformed(what)))?;
        let form = self.form(begin, in_string)?;
        let value = self.variables.value(&name).map_err(|fault| (begin, fault))?;
        let value = match (form, value) {
            (Form::Plain, Some(value)) => escaped(&value, in_string),
            (Form::Plain, None) => return Err((begin, Fault::Unset(name))),
            (Form::Default { also_if_empty, .. }, Some(value)) if !(also_if_empty && value.is_empty()) => {
                escaped(&value, in_string)
            }
            // The default is text of the file, so it is JSON already.
            (Form::Default { default, .. }, _) => {
                self.variables.uses_default(&name);
                default
            }
            (Form::Required(_), Some(value)) if !value.is_empty() => escaped(&value, in_string),
            (Form::Required(message), _) => return Err((begin, Fault::Required(name, message))),
        };
        if !in_string && !self.is_plain && !is_scalar(&value) {
            return Err((begin, Fault::NotScalar(name)));
        }
        Ok(Some(value))
    }

    fn name(&mut self) -> Result<String, &'static str> {
        let length = self.rest().find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest().len());
        let name = self.rest()[..length].to_owned();
        self.at += length;
        match name.chars().next() {
            None => Err("`${` is not followed by a name; write `$${` for a literal `${`"),
            Some(first) if first.is_ascii_digit() => Err("the name of a variable cannot start with a digit"),
            Some(_) => Ok(name),
        }
    }

    fn form(&mut self, begin: usize, in_string: bool) -> Result<Form, Failure> {
        if self.rest().starts_with('}') {
            self.at += 1;
            return Ok(Form::Plain);
        }
        for sign in [":-", "-", ":?"] {
            if self.rest().starts_with(sign) {
                self.at += sign.len();
                let word = self.word(begin, in_string)?;
                return Ok(match sign {
                    ":?" => Form::Required(word),
                    _ => Form::Default { default: word, also_if_empty: sign == ":-" },
                });
            }
        }
        let what = if self.rest().is_empty() {
            UNCLOSED
        } else {
            "the name in `${...}` must be followed by `}`, `:-`, `-` or `:?`; write `$${` for a literal `${`"
        };
        Err((begin, Fault::Malformed(what)))
    }

    /// The text up to the `}` of the reference that starts at `begin`, with its own references replaced.
    fn word(&mut self, begin: usize, in_string: bool) -> Result<String, Failure> {
        let mut out = String::new();
        loop {
            if let Some(replaced) = self.reference(in_string)? {
                out += &replaced;
                continue;
            }
            match self.next() {
                Some('}') => return Ok(out),
                Some('\n') if self.is_plain => return Err((begin, Fault::Malformed(UNCLOSED))),
                Some('"' | '\n') if in_string => return Err((begin, Fault::Malformed(UNCLOSED))),
                Some('\\') if in_string => {
                    out.push('\\');
                    out.extend(self.next());
                }
                Some(other) => out.push(other),
                None => return Err((begin, Fault::Malformed(UNCLOSED))),
            }
        }
    }
}

const UNCLOSED: &str = "`${` is not closed by `}`";

fn escaped(value: &str, in_string: bool) -> String {
    if !in_string {
        return value.to_owned();
    }
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn is_scalar(text: &str) -> bool {
    use serde_json::Value;
    matches!(serde_json::from_str(text), Ok(Value::Null | Value::Bool(_) | Value::Number(_)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SET: [(&str, &str); 5] =
        [("IMAGE", "repo/web:42"), ("PORT", "8080"), ("EMPTY", ""), ("ODD", "a\"b\\c\n${IMAGE}"), ("LIST", "[1]")];

    /// Variables without a source.
    impl<F: Fn(&str) -> Option<String>> Lookup for F {
        fn value(&self, name: &str) -> Result<Option<String>, Fault> {
            Ok(self(name))
        }

        fn uses_default(&self, _name: &str) {}
    }

    fn filled(text: &str) -> Result<String, Fault> {
        let variable = |name: &str| SET.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        render(text, &variable).map_err(|error| error.fault)
    }

    #[test]
    fn each_form_has_the_meaning_of_the_shell() {
        for (text, expected) in [
            (r#"{"image": "${IMAGE}"}"#, r#"{"image": "repo/web:42"}"#),
            (
                r#"{"a": "${UNSET:-x}", "b": "${EMPTY:-x}", "c": "${EMPTY-x}", "d": "${UNSET-x}"}"#,
                r#"{"a": "x", "b": "x", "c": "", "d": "x"}"#,
            ),
            (
                r#"{"a": "${EMPTY}", "b": "${IMAGE:?must be}", "c": "${UNSET:-}"}"#,
                r#"{"a": "", "b": "repo/web:42", "c": ""}"#,
            ),
            (r#"{"p": ${PORT}, "q": ${UNSET:-80}, "r": ${UNSET:-null}}"#, r#"{"p": 8080, "q": 80, "r": null}"#),
            (r#"{"a": "${UNSET:-${IMAGE}}", "b": "${UNSET:-${ALSO:-x}-y}"}"#, r#"{"a": "repo/web:42", "b": "x-y"}"#),
            (
                r#"{"a": "$HOME $1 $$ $", "b": "$${RUNTIME}", "c": "\\${PORT}"}"#,
                r#"{"a": "$HOME $1 $$ $", "b": "${RUNTIME}", "c": "\\8080"}"#,
            ),
            (r#"{"${IMAGE}": 1}"#, r#"{"repo/web:42": 1}"#),
        ] {
            assert_eq!(filled(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn plain_text_has_no_escapes() {
        let set = |name: &str| (name == "A").then(|| "x\"\\\n: y".to_owned());
        for (text, expected) in [
            ("say \"${A}\" \\${A}", "say \"x\"\\\n: y\" \\x\"\\\n: y"),
            ("${B:-a \"b\"}", "a \"b\""),
            ("$${A} $A", "${A} $A"),
        ] {
            assert_eq!(render_plain(text, &set).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(render_plain("${B}", &set), Err(Fault::Unset("B".to_owned())));
        assert!(matches!(render_plain("${A\n}", &set), Err(Fault::Malformed(_))));
    }

    #[test]
    fn a_value_is_escaped_and_not_filled_in_again() {
        let text = filled(r#"{"a": "${ODD}"}"#).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["a"], "a\"b\\c\n${IMAGE}");
    }

    #[test]
    fn a_reference_that_cannot_be_replaced_is_an_error_with_name_and_place() {
        let unset = |name: &str| Err(Fault::Unset(name.to_owned()));
        assert_eq!(filled(r#""${NOPE}""#), unset("NOPE"));
        assert_eq!(filled(r#""${image}""#), unset("image"));
        assert_eq!(filled(r#""${UNSET:-${NOPE}}""#), unset("NOPE"));
        let required = |name: &str, message: &str| Err(Fault::Required(name.to_owned(), message.to_owned()));
        assert_eq!(filled(r#""${NOPE:?the tag of the image}""#), required("NOPE", "the tag of the image"));
        assert_eq!(filled(r#""${EMPTY:?}""#), required("EMPTY", ""));
        for (text, name) in [("${IMAGE}", "IMAGE"), ("${EMPTY}", "EMPTY"), ("${LIST}", "LIST"), ("${U:-x}", "U")] {
            assert_eq!(filled(text), Err(Fault::NotScalar(name.to_owned())), "{text}");
        }
        for text in [
            r#""${""#,
            r#""${}""#,
            r#""${IMAGE""#,
            r#""${IMAGE:-x""#,
            r#""${1}""#,
            r#""${IMAGE:x}""#,
            "\"${A B}\"",
            "${",
        ] {
            assert!(matches!(filled(text), Err(Fault::Malformed(_))), "{text}: {:?}", filled(text));
        }
        let error = render("{\n  \"ä\": \"${NOPE}\"\n}", &|_: &str| None).unwrap_err();
        assert_eq!((error.line, error.column), (2, 9));
        assert_eq!(error.to_string(), "line 2, column 9: the variable `NOPE` is not set");
    }

    /// A piece of a string, and its replacement; `None` if it cannot be replaced.
    fn piece() -> impl Strategy<Value = (String, Option<String>)> {
        let name = "[A-C]{1,2}";
        prop_oneof![
            "[a-z $#%é]{0,6}".prop_map(|text| (text.replace('$', "$ "), Some(text.replace('$', "$ ")))),
            name.prop_map(|name| (format!("${{{name}}}"), value_of(&name))),
            (name, "[a-z ]{0,4}").prop_map(|(name, default)| {
                let set = value_of(&name).filter(|value| !value.is_empty());
                (format!("${{{name}:-{default}}}"), Some(set.unwrap_or(default)))
            }),
            name.prop_map(|name| (format!("${{{name}:?why}}"), value_of(&name).filter(|value| !value.is_empty()))),
            name.prop_map(|name| (format!("$${{{name}}}"), Some(format!("${{{name}}}")))),
        ]
    }

    /// Some names are set: one is empty, one contains a reference. The others are not set.
    fn value_of(name: &str) -> Option<String> {
        match name {
            "A" => Some("x\"\\${B}".to_owned()),
            "B" => Some(String::new()),
            "AB" => Some("\u{1F600}\n".to_owned()),
            _ => None,
        }
    }

    proptest! {
        #[test]
        fn the_output_has_no_reference_or_part_of_one(pieces in proptest::collection::vec(piece(), 0..8)) {
            let text: String = pieces.iter().map(|(text, _)| text.as_str()).collect();
            let expected: Option<String> = pieces.iter().map(|(_, value)| value.clone()).collect();
            let rendered = render(&format!("\"{text}\""), &value_of);
            match expected {
                Some(expected) => {
                    let value: serde_json::Value = serde_json::from_str(&rendered.unwrap()).unwrap();
                    prop_assert_eq!(value, serde_json::Value::from(expected));
                }
                None => prop_assert!(rendered.is_err()),
            }
        }

        #[test]
        fn text_without_a_reference_is_unchanged(text in "[^$]{0,80}") {
            prop_assert_eq!(render(&text, &|_: &str| None), Ok(text));
        }

        #[test]
        fn no_text_causes_a_panic_or_a_reference_in_the_output(text in "[${}a-zA-Z:?\\-\"\\\\ \n]{0,40}") {
            if let Ok(rendered) = render(&text, &|_: &str| Some(String::new())) {
                // Only an escaped reference may be left.
                prop_assert!(rendered.matches("${").count() <= text.matches("$${").count(), "{text:?} -> {rendered:?}");
            }
        }
    }
}

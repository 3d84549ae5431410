//! Fills variables into a JSON text.
//!
//! In: the text of a file and what each variable is. Out: the text with every reference replaced, or the place and the
//! name of the first that cannot be. It never emits a reference, or a part of one; what a variable holds is data and is
//! not looked at again.
//!
//! The forms are those of the shell (POSIX.1-2017, Shell Command Language, 2.6.2) that name what is to happen when
//! nothing is set: `${NAME}` must be set, `${NAME:-default}` takes the default for an unset or empty one,
//! `${NAME-default}` for an unset one, `${NAME:?message}` must be set and not empty. `$${` stands for `${`; a `$` before
//! anything else is itself, so that a command's `$HOME` reaches its container.

use std::fmt;

/// Why a text could not be filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TemplateError {
    /// Line, from 1.
    pub(crate) line: usize,
    /// Column in characters, from 1.
    pub(crate) column: usize,
    /// What is wrong there.
    pub(crate) fault: Fault,
}

/// What is wrong with a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `${NAME}` of a variable that is not set.
    Unset(String),
    /// `${NAME:?message}` of one that is not set, or empty.
    Required(String, String),
    /// Not one of the forms.
    Malformed(&'static str),
    /// Outside a string only a number, `true`, `false` or `null` can stand.
    NotScalar(String),
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        match &self.fault {
            Fault::Unset(name) => write!(f, "the variable `{name}` is not set"),
            Fault::Required(name, message) if message.is_empty() => write!(f, "the variable `{name}` must be set"),
            Fault::Required(name, message) => write!(f, "the variable `{name}` must be set: {message}"),
            Fault::Malformed(what) => f.write_str(what),
            Fault::NotScalar(name) => write!(
                f,
                "the variable `{name}` stands outside a string, where only a number, `true`, `false` or `null` can"
            ),
        }
    }
}

impl std::error::Error for TemplateError {}

/// Replaces every reference in a JSON text. `variable` gives the value of a name, `None` where it is not set.
pub(crate) fn render(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, TemplateError> {
    let mut renderer = Renderer { text, at: 0, variable };
    renderer.document().map_err(|(at, fault)| {
        let before = &text[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        TemplateError { line, column, fault }
    })
}

struct Renderer<'a> {
    text: &'a str,
    /// The next byte; always at the start of a character.
    at: usize,
    variable: &'a dyn Fn(&str) -> Option<String>,
}

/// Where, and what.
type Failure = (usize, Fault);

/// What follows a name.
enum Form {
    Plain,
    /// The default, and whether an empty value takes it too.
    Default(String, bool),
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
                '"' => in_string = !in_string,
                // The character after it is never the end of the string.
                '\\' if in_string && !self.rest().starts_with('$') => out.extend(self.next()),
                _ => {}
            }
        }
        Ok(out)
    }

    /// What stands here when a reference, or an escaped one, begins here.
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
        let value = (self.variable)(&name);
        let value = match (form, value) {
            (Form::Plain, Some(value)) => escaped(&value, in_string),
            (Form::Plain, None) => return Err((begin, Fault::Unset(name))),
            (Form::Default(_, false), Some(value)) => escaped(&value, in_string),
            (Form::Default(_, true), Some(value)) if !value.is_empty() => escaped(&value, in_string),
            // It is text of the file: written as JSON has it.
            (Form::Default(default, _), _) => default,
            (Form::Required(_), Some(value)) if !value.is_empty() => escaped(&value, in_string),
            (Form::Required(message), _) => return Err((begin, Fault::Required(name, message))),
        };
        if !in_string && !is_scalar(&value) {
            return Err((begin, Fault::NotScalar(name)));
        }
        Ok(Some(value))
    }

    fn name(&mut self) -> Result<String, &'static str> {
        let length = self.rest().find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest().len());
        let name = self.rest()[..length].to_owned();
        self.at += length;
        match name.chars().next() {
            None => Err("`${` is not followed by a name; `$${` stands for `${` itself"),
            Some(first) if first.is_ascii_digit() => Err("a variable's name does not begin with a digit"),
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
                return Ok(if sign == ":?" { Form::Required(word) } else { Form::Default(word, sign == ":-") });
            }
        }
        let what = match self.rest().is_empty() {
            true => UNCLOSED,
            false => "a name in `${...}` is followed by `}`, `:-`, `-` or `:?`; `$${` stands for `${` itself",
        };
        Err((begin, Fault::Malformed(what)))
    }

    /// Up to the `}` that closes the reference which began at `begin`, with its own references replaced.
    fn word(&mut self, begin: usize, in_string: bool) -> Result<String, Failure> {
        let mut out = String::new();
        loop {
            if let Some(replaced) = self.reference(in_string)? {
                out += &replaced;
                continue;
            }
            match self.next() {
                Some('}') => return Ok(out),
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

    fn filled(text: &str) -> Result<String, Fault> {
        let variable = |name: &str| SET.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        render(text, &variable).map_err(|error| error.fault)
    }

    #[test]
    fn each_form_means_what_the_shell_means() {
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
    fn a_value_is_data_and_stays_within_its_string() {
        let text = filled(r#"{"a": "${ODD}"}"#).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["a"], "a\"b\\c\n${IMAGE}");
    }

    #[test]
    fn what_cannot_be_resolved_is_told_with_its_name_and_place() {
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
        let error = render("{\n  \"ä\": \"${NOPE}\"\n}", &|_| None).unwrap_err();
        assert_eq!((error.line, error.column), (2, 9));
        assert_eq!(error.to_string(), "line 2, column 9: the variable `NOPE` is not set");
    }

    /// Pieces of a string, and what each must become; `None` where it cannot be resolved.
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

    /// Some names are set, one to nothing, one to what looks like a reference; the others are not.
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
        fn never_emits_an_unresolved_or_partly_resolved_variable(pieces in proptest::collection::vec(piece(), 0..8)) {
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
        fn without_a_reference_nothing_is_changed(text in "[^$]{0,80}") {
            prop_assert_eq!(render(&text, &|_| None), Ok(text));
        }

        #[test]
        fn no_text_makes_it_panic_and_what_it_emits_was_resolved(text in "[${}a-zA-Z:?\\-\"\\\\ \n]{0,40}") {
            if let Ok(rendered) = render(&text, &|_| Some(String::new())) {
                // Only an escaped one may be left.
                prop_assert!(rendered.matches("${").count() <= text.matches("$${").count(), "{text:?} -> {rendered:?}");
            }
        }
    }
}

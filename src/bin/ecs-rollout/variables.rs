//! The variables that the files may use, and where each value comes from.
//!
//! In: options, environment files, and the environment. Out: the value of a variable, and the list of those that were
//! used. Pure: the caller reads files and the environment.
//!
//! A variable of the environment is used only if `--vars-from` lists it. A runner has `HOME`, `PATH` and many others,
//! and a command such as `echo ${HOME}` means the one of the container.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::template::{Fault, Lookup};

/// Where the value of a variable comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `--var`.
    Option,
    /// `--env-file`, with the name of the file.
    File(String),
    /// The environment, listed with `--vars-from`.
    Environment,
    /// The reference itself: `${NAME:-default}`.
    Default,
}

/// A variable that a file uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsedVariable {
    pub(crate) name: String,
    pub(crate) source: Source,
}

impl UsedVariable {
    /// For the JSON documents.
    pub(crate) fn json(&self) -> Value {
        let (source, file) = match &self.source {
            Source::Option => ("option", None),
            Source::File(file) => ("env-file", Some(file)),
            Source::Environment => ("environment", None),
            Source::Default => ("default", None),
        };
        json!({"name": self.name, "source": source, "file": file})
    }

    /// For example `TAG from the environment`.
    pub(crate) fn label(&self) -> String {
        let name = &self.name;
        match &self.source {
            Source::Option => format!("{name} from `--var`"),
            Source::File(file) => format!("{name} from `{file}`"),
            Source::Environment => format!("{name} from the environment"),
            Source::Default => format!("{name} from its default"),
        }
    }
}

/// An environment file: its name, and its variables in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EnvironmentFile {
    pub(crate) name: String,
    pub(crate) variables: Vec<(String, String)>,
}

/// The variables of a command.
pub(crate) struct Variables<'a> {
    /// `--var`. The last one of a name is used.
    pub(crate) options: &'a [(String, String)],
    /// `--env-file`. The last file with a name is used.
    pub(crate) files: Vec<EnvironmentFile>,
    /// `--vars-from`.
    pub(crate) listed: &'a [String],
    pub(crate) environment: &'a dyn Fn(&str) -> Option<String>,
    /// The variables that were used, with their values.
    used: RefCell<BTreeMap<String, (Source, String)>>,
}

impl<'a> Variables<'a> {
    pub(crate) fn new(
        options: &'a [(String, String)],
        files: Vec<EnvironmentFile>,
        listed: &'a [String],
        environment: &'a dyn Fn(&str) -> Option<String>,
    ) -> Variables<'a> {
        Variables { options, files, listed, environment, used: RefCell::default() }
    }

    /// The variables that the files use, by name.
    pub(crate) fn used(&self) -> Vec<UsedVariable> {
        let used = self.used.borrow();
        used.iter().map(|(name, (source, _))| UsedVariable { name: name.clone(), source: source.clone() }).collect()
    }

    /// The values of the variables that the files use, without defaults.
    pub(crate) fn values(&self) -> Vec<String> {
        self.used.borrow().values().map(|(_, value)| value.clone()).filter(|value| !value.is_empty()).collect()
    }

    fn find(&self, name: &str) -> Option<(Source, String)> {
        fn last<'v>(all: &'v [(String, String)], name: &str) -> Option<&'v String> {
            all.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value)
        }
        if let Some(value) = last(self.options, name) {
            return Some((Source::Option, value.clone()));
        }
        let of_file =
            |file: &EnvironmentFile| Some((Source::File(file.name.clone()), last(&file.variables, name)?.clone()));
        let found = self.files.iter().rev().find_map(of_file);
        let listed = || self.listed.iter().any(|listed| listed == name).then(|| (self.environment)(name)).flatten();
        found.or_else(|| listed().map(|value| (Source::Environment, value)))
    }
}

impl Lookup for Variables<'_> {
    fn value(&self, name: &str) -> Result<Option<String>, Fault> {
        match self.find(name) {
            Some((source, value)) => {
                self.used.borrow_mut().insert(name.to_owned(), (source, value.clone()));
                Ok(Some(value))
            }
            // Its default would silently replace a value that the caller may have meant.
            None if (self.environment)(name).is_some() => Err(Fault::NotListed(name.to_owned())),
            None => Ok(None),
        }
    }

    fn uses_default(&self, name: &str) {
        self.used.borrow_mut().insert(name.to_owned(), (Source::Default, String::new()));
    }
}

/// Reads an environment file. The error names the line, and quotes nothing of it.
///
/// Each line is `NAME=VALUE`, and may begin with `export`. Empty lines and lines that begin with `#` are ignored. A value
/// without quotes ends at ` #` or at the end of the line, and has no blanks around it. A value in single quotes is taken
/// as it is; in double quotes, `\n`, `\r`, `\t`, `\"`, `\\` and `\$` are escapes. Values in quotes may have several lines.
/// References to other variables are not replaced.
pub(crate) fn parse_file(text: &str) -> Result<Vec<(String, String)>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut variables = Vec::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let number = text[..text.len() - rest.len()].matches('\n').count() + 1;
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            rest = after;
            continue;
        }
        let fault = |what: &str| format!("line {number}: {what}");
        let line = line.trim_start();
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        let (name, value) = line.split_once('=').ok_or_else(|| fault("expected NAME=VALUE"))?;
        let name = name.trim();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(is_name) {
            return Err(fault(
                "the name before `=` must consist of letters, digits and `_`, and not begin with a digit",
            ));
        }
        // A value in quotes may end on a later line.
        let (_, begin) = rest.split_once('=').unwrap_or_default();
        let begin = begin.trim_start_matches([' ', '\t']);
        let (value, remaining) = match begin.chars().next() {
            Some(quote @ ('"' | '\'')) => quoted(begin, quote).map_err(fault)?,
            _ => (unquoted(value), after),
        };
        variables.push((name.to_owned(), value));
        rest = remaining;
    }
    Ok(variables)
}

fn unquoted(value: &str) -> String {
    let comment = value.char_indices().find(|(at, c)| *c == '#' && (*at == 0 || value[..*at].ends_with([' ', '\t'])));
    value[..comment.map_or(value.len(), |(at, _)| at)].trim().to_owned()
}

/// The value that begins with this quote, and the text after its line.
fn quoted(text: &str, quote: char) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if quote == '"' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, 't')) => value.push('\t'),
                Some((_, escaped @ ('"' | '\\' | '$'))) => value.push(escaped),
                Some((_, other)) => value.extend(['\\', other]),
                None => break,
            },
            c if c == quote => {
                let (end, after) = text[at + 1..].split_once('\n').unwrap_or((&text[at + 1..], ""));
                return match end.trim() {
                    end if end.is_empty() || end.starts_with('#') => Ok((value, after)),
                    _ => Err("only a comment may follow the closing quote"),
                };
            }
            c => value.push(c),
        }
    }
    Err("the quote is not closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_line_is_read() {
        for (text, expected) in [
            ("A=1", &[("A", "1")][..]),
            ("# comment\n\n  A = one two  # why\nB=x#y\r\nC=\n", &[("A", "one two"), ("B", "x#y"), ("C", "")]),
            ("export A='$B \\n # x' # y\nB=\"a\\n\\\"\\$\\\\ \\d\"", &[("A", "$B \\n # x"), ("B", "a\n\"$\\ \\d")]),
            (
                "A=\"-----BEGIN\nx=1\n# no comment\n-----END\"\nB=2",
                &[("A", "-----BEGIN\nx=1\n# no comment\n-----END"), ("B", "2")],
            ),
            ("A=''\nB=#x\nC=a=b", &[("A", ""), ("B", ""), ("C", "a=b")]),
            ("A=it's\nB='größe'", &[("A", "it's"), ("B", "größe")]),
            ("\u{feff}A=${B}", &[("A", "${B}")]),
            ("", &[]),
        ] {
            let expected: Vec<_> =
                expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(parse_file(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn a_fault_names_its_line_and_quotes_nothing() {
        for (text, line) in [
            ("A=1\nhunter2", 2),
            ("1A=hunter2", 1),
            ("A B=hunter2", 1),
            ("=hunter2", 1),
            ("\n\nA='hunter2", 3),
            ("A=\"hunter2\\", 1),
            ("A=\"x\ny\"\nB='1' hunter2", 3),
        ] {
            let fault = parse_file(text).unwrap_err();
            assert!(fault.starts_with(&format!("line {line}: ")) && !fault.contains("hunter2"), "{text:?}: {fault}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_value_can_be_written_in_double_quotes(value in "[ -~\n\tä]{0,30}") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let expected = vec![("A".to_owned(), value), ("B".to_owned(), "1".to_owned())];
            proptest::prop_assert_eq!(parse_file(&format!("A=\"{escaped}\"\nB=1\n")), Ok(expected));
        }

        #[test]
        fn no_text_causes_a_panic(text in "[A \"'\\\\#=\nä]{0,40}") {
            let _ = parse_file(&text);
        }
    }

    #[test]
    fn an_option_precedes_a_file_and_a_file_the_environment() {
        let options = [("A", "option"), ("A", "last option")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let file = |name: &str, value: &str| EnvironmentFile {
            name: name.to_owned(),
            variables: ["A", "B"].map(|name| (name.to_owned(), value.to_owned())).to_vec(),
        };
        let listed = ["A", "B", "C", "UNSET"].map(str::to_owned);
        let environment = |name: &str| (name != "UNSET" && name != "OTHER").then(|| "environment".to_owned());
        let files = vec![file("first", "of first"), file("second", "of second")];
        let variables = Variables::new(&options, files, &listed, &environment);
        for (name, expected) in [("A", "last option"), ("B", "of second"), ("C", "environment")] {
            assert_eq!(variables.value(name), Ok(Some(expected.to_owned())));
        }
        for name in ["UNSET", "OTHER"] {
            assert_eq!(variables.value(name), Ok(None));
        }
        assert_eq!(variables.value("HOME"), Err(Fault::NotListed("HOME".to_owned())));
        variables.uses_default("UNSET");
        let labels: Vec<_> = variables.used().iter().map(UsedVariable::label).collect();
        let expected = ["A from `--var`", "B from `second`", "C from the environment", "UNSET from its default"];
        assert_eq!(labels, expected);
        assert_eq!(variables.values(), ["last option", "of second", "environment"]);
    }
}

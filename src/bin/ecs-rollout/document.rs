//! Reads a definition in JSON or YAML, with its variables replaced.
//!
//! In: a file and the variables. Out: its value, or a [`FoundCause`] with the name of the file and the place.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::api_model::schema;
use crate::cause::FoundCause;
use crate::causes;
use crate::json_text;
use crate::template::{self, Fault, Lookup};
use crate::variables::Variables;
use crate::yaml::{self, Node, Typing, YamlFault};

/// A file that the command line names.
pub(crate) struct InputFile {
    /// The name, for messages.
    pub(crate) name: String,
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Yaml,
}

impl Format {
    /// By the name of the file, or else by its first character.
    fn of(file: &InputFile) -> Format {
        let extension = Path::new(&file.name).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Format::Yaml,
            "json" => Format::Json,
            _ if ["{", "[", "//", "/*"].iter().any(|begin| text_of(file).trim_start().starts_with(begin)) => {
                Format::Json
            }
            _ if text_of(file).trim().is_empty() => Format::Json,
            _ => Format::Yaml,
        }
    }
}

/// What a file describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    TaskDefinition,
    Service,
    /// What a one-off task overrides.
    Overrides,
}

/// How a value was written, for messages about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    format: Format,
    /// The lines of values that YAML does not read as text, although the model has text there, by their place.
    lines: BTreeMap<String, usize>,
}

/// The value of a file. Without `variables`, none is replaced.
pub(crate) fn parse(
    file: &InputFile,
    kind: Kind,
    variables: Option<&Variables<'_>>,
) -> Result<(Value, Written), FoundCause> {
    let variables = variables.map(|variables| variables as &dyn Lookup);
    let format = Format::of(file);
    let (value, lines) = match format {
        Format::Json => (parse_json(file, variables)?, BTreeMap::new()),
        Format::Yaml => parse_yaml(file, kind, variables)?,
    };
    Ok((value, Written { format, lines }))
}

fn text_of(file: &InputFile) -> &str {
    file.text.strip_prefix('\u{feff}').unwrap_or(&file.text)
}

fn parse_json(file: &InputFile, variables: Option<&dyn Lookup>) -> Result<Value, FoundCause> {
    let written = text_of(file);
    let invalid = |text: &str, error: &serde_json::Error| {
        let hint =
            if is_comment(text, error) { "; JSON has no comments: a file in YAML (`.yaml`) may have them" } else { "" };
        // A duplicate key is not a fault of the syntax.
        let what = if error.is_data() { "" } else { "not valid JSON: " };
        causes::BAD_INPUT.finding(format!("`{}`: {what}{error}{hint}", file.name))
    };
    let rendered = variables.map_or(Ok(written.to_owned()), |variables| template::render(written, variables));
    let text = rendered.map_err(|error| match serde_json::from_str::<Value>(written) {
        // The reference can be in the comment.
        Err(of_json) if is_comment(written, &of_json) => invalid(written, &of_json),
        _ => cause_of(&error.fault).finding(format!("`{}`, {error}", file.name)),
    })?;
    json_text::read(&text).map_err(|error| invalid(&text, &error))
}

/// Whether there is a comment where the parser stopped.
fn is_comment(text: &str, error: &serde_json::Error) -> bool {
    let line = error.line().checked_sub(1).and_then(|line| text.lines().nth(line)).unwrap_or_default();
    let rest = line.get(error.column().saturating_sub(1)..).unwrap_or_default();
    ["//", "/*", "#"].iter().any(|begin| rest.starts_with(begin))
}

fn parse_yaml(
    file: &InputFile,
    kind: Kind,
    variables: Option<&dyn Lookup>,
) -> Result<(Value, BTreeMap<String, usize>), FoundCause> {
    let node = yaml::read(text_of(file), variables).map_err(|error| {
        let place = format!("line {}, column {}", error.line, error.column);
        match &error.what {
            YamlFault::Syntax(what) => {
                causes::BAD_INPUT.finding(format!("`{}`: not valid YAML: {what} at {place}", file.name))
            }
            YamlFault::Variable(fault) => cause_of(fault).finding(format!("`{}`, {place}: {fault}", file.name)),
        }
    })?;
    Ok(typed(node, kind))
}

/// The value of a document, and the lines of values that are not text, although the model has text there.
fn typed(node: Node, kind: Kind) -> (Value, BTreeMap<String, usize>) {
    let mut typing = Typing::of(match kind {
        Kind::TaskDefinition => schema::task_definition(),
        Kind::Service => schema::service(),
        Kind::Overrides => schema::run_task(),
    });
    let value = match (kind, node) {
        // The output of a command of the AWS CLI has the definition inside.
        (Kind::TaskDefinition | Kind::Service, Node::Map(mut members)) => {
            let (name, is_list) = match kind {
                Kind::TaskDefinition => ("taskDefinition", false),
                _ if members.contains_key("services") => ("services", true),
                _ => ("service", false),
            };
            let inside = match members.remove(name) {
                Some(Node::List(list)) if is_list => {
                    Some(list.into_iter().map(|one| typing.value(one, "", "")).collect())
                }
                Some(one @ Node::Map(_)) if !is_list => Some(typing.value(one, "", "")),
                other => {
                    members.extend(other.map(|other| (name.to_owned(), other)));
                    None
                }
            };
            let mut value = typing.value(Node::Map(members), "", "");
            if let Some(inside) = inside {
                value[name] = inside;
            }
            value
        }
        // A list of overrides is a command.
        (Kind::Overrides, Node::List(list)) => list
            .into_iter()
            .map(|word| match word {
                Node::Scalar(scalar) => typing.scalar(scalar, true, ""),
                other => typing.value(other, "", ""),
            })
            .collect(),
        (Kind::Overrides, node) => typing.value(node, "overrides", "overrides"),
        (_, node) => typing.value(node, "", ""),
    };
    (value, typing.lines)
}

fn cause_of(fault: &Fault) -> &'static crate::cause::Cause {
    match fault {
        Fault::Unset(_) | Fault::Required(..) => &causes::VARIABLE_UNSET,
        Fault::NotListed(_) => &causes::VARIABLE_NOT_LISTED,
        Fault::Malformed(_) | Fault::NotScalar(_) => &causes::BAD_INPUT,
    }
}

impl Written {
    /// A fault of the model check, with the reason why a value of YAML has another type than its text suggests.
    pub(crate) fn explained(&self, fault: String) -> String {
        let is_type = |expected: &str, actual: &str| fault.ends_with(&format!("must be {expected}, but is {actual}"));
        match self.format {
            Format::Yaml if ["a number", "a boolean", "null"].iter().any(|actual| is_type("a string", actual)) => {
                let line = self.lines.iter().find(|(place, _)| fault.contains(&format!("`{place}` must be")));
                let line = line.map(|(_, line)| format!(" (line {line})")).unwrap_or_default();
                format!("{fault}; in YAML, put it in quotes{line}")
            }
            Format::Yaml if is_type("`true` or `false`", "a string") => {
                format!("{fault}; in YAML 1.2, `yes` and `on` are text")
            }
            _ => fault,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(name: &str, text: &str) -> Format {
        Format::of(&InputFile { name: name.to_owned(), text: text.to_owned() })
    }

    #[test]
    fn the_format_is_that_of_the_name_or_else_of_the_content() {
        for (name, text, expected) in [
            ("a.yaml", "{}", Format::Yaml),
            ("a.YML", "a: 1", Format::Yaml),
            ("a.json", "a: 1", Format::Json),
            ("-", " \n{\"a\": 1}", Format::Json),
            ("-", "\u{feff}[1]", Format::Json),
            ("-", "// comment\n{}", Format::Json),
            ("-", "", Format::Json),
            ("-", "# comment\nfamily: web", Format::Yaml),
            ("-", "---\nfamily: web", Format::Yaml),
            ("task.json.tmpl", "{}", Format::Json),
            ("task", "family: web", Format::Yaml),
        ] {
            assert_eq!(format(name, text), expected, "{name} {text:?}");
        }
    }

    #[test]
    fn json_with_comments_is_told_about_yaml() {
        for text in ["{\n  // a comment\n  \"a\": 1}", "{\"a\": 1, /* x */ \"b\": 2}", "{\"a\": # x\n1}", "// x\n{}"] {
            let file = InputFile { name: "task.json".to_owned(), text: text.to_owned() };
            let finding = parse(&file, Kind::TaskDefinition, None).unwrap_err();
            assert!(finding.evidence[0].contains("JSON has no comments"), "{text:?}: {finding:?}");
        }
        let text = "{ // the tag ${TAG}\n  \"a\": 1}".to_owned();
        let file = InputFile { name: "task.json".to_owned(), text };
        let variables = Variables::new(&[], Vec::new(), &[], &|_| None);
        let finding = parse(&file, Kind::TaskDefinition, Some(&variables)).unwrap_err();
        assert!(finding.evidence[0].contains("JSON has no comments"), "{finding:?}");
        let file = InputFile { name: "task.json".to_owned(), text: "{\"a\": }".to_owned() };
        assert!(!parse(&file, Kind::TaskDefinition, None).unwrap_err().evidence[0].contains("comments"));
    }

    #[test]
    fn a_type_of_yaml_that_surprises_is_explained() {
        let written = |format| Written { format, lines: [("family".to_owned(), 3)].into() };
        let explained = |fault: &str, format| written(format).explained(fault.to_owned());
        for (fault, note) in [
            ("`family` must be a string, but is a number", "put it in quotes (line 3)"),
            ("`family` must be a string, but is null", "put it in quotes (line 3)"),
            ("`cpu` must be a string, but is a boolean", "put it in quotes"),
            ("`essential` must be `true` or `false`, but is a string", "`yes` and `on` are text"),
        ] {
            assert!(explained(fault, Format::Yaml).ends_with(note), "{fault}");
            assert_eq!(explained(fault, Format::Json), fault);
        }
        for fault in ["`family` must be a string, but is a list", "`cpu` must be an integer, but is a string"] {
            assert_eq!(explained(fault, Format::Yaml), fault);
        }
    }
}

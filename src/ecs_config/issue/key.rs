//! Finds the variable that a key of `ecs.config` was meant to be, and recognises comments and placeholders.

use super::{Context, IssueKind};
use crate::agent_variables::{find, suggest};

/// The variable that names the cluster of an instance.
pub const CLUSTER_KEY: &str = "ECS_CLUSTER";
pub(super) const BOM: char = '\u{feff}';

/// The variable that an unknown key was meant to be. `None` for a key that is commented out.
pub(super) fn meant(key: &str, context: &Context<'_>) -> Option<(String, IssueKind)> {
    let name = key.trim_matches([' ', '\t']);
    if find(key).is_some() || is_comment(name) {
        return None;
    }
    let known = |name: &str| find(name).map(|variable| variable.name.to_owned());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name = |text: &str| !text.is_empty() && text.len() <= 128 && text.chars().all(is_plain);
    if let Some(rest) = name.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])) {
        return Some(rest.trim()).filter(|key| is_name(key)).map(|key| with_mistake(key, name, IssueKind::Export));
    }
    if name.len() < key.len() && is_name(name) {
        return Some(with_mistake(name, name, IssueKind::Blanks));
    }
    if let Some(key) = yaml_key(name) {
        return Some((key.to_owned(), IssueKind::Unreadable("the line has no `=` after the key")));
    }
    let bare: String = name.chars().filter(|c| is_plain(*c)).collect();
    if let Some(key) = known(&bare) {
        let why = if name.starts_with(BOM) {
            "a byte order mark is part of the key"
        } else {
            "the key contains characters that no variable has"
        };
        return Some((key, IssueKind::Unreadable(why)));
    }
    if name.contains([' ', '\t']) || name.is_empty() {
        // The placeholder may contain the `=`.
        let is_open = has_placeholder(name, true) || ["${", "{{", "<%"].iter().any(|open| name.contains(open));
        return (!(context.is_template && is_open)).then(|| (String::new(), IssueKind::NotAssignment));
    }
    let is_written = name.len() <= 128 && name.chars().all(|c| is_plain(c) || c == '-' || c == '.');
    let near = suggest(name).filter(|_| is_written)?;
    // If the file also sets `ECS_CLUSTER`, a similar key is probably for another program.
    let is_other = near == CLUSTER_KEY && context.is_cluster_named && !name.to_ascii_uppercase().starts_with("ECS");
    (!is_other).then(|| (near.to_owned(), IssueKind::Misspelt { written: name.to_owned() }))
}

/// The variable that a key with this mistake was meant to be. A key that is also misspelt is reported as that, because it
/// stays unknown without the other mistake.
fn with_mistake(key: &str, written: &str, kind: IssueKind) -> (String, IssueKind) {
    match suggest(key).filter(|_| find(key).is_none()) {
        Some(near) => (near.to_owned(), IssueKind::Misspelt { written: written.to_owned() }),
        None => (key.to_owned(), kind),
    }
}

/// The variable of a line such as `KEY: value`, which is YAML.
fn yaml_key(line: &str) -> Option<&'static str> {
    let (key, _) = line.split_once(':')?;
    find(key.trim()).map(|variable| variable.name)
}

pub(super) fn is_comment(text: &str) -> bool {
    text.starts_with(['#', ';']) || text.starts_with("//")
}

/// Whether the text contains a placeholder that a template engine or a shell should have replaced.
pub fn has_placeholder(text: &str, with_dollars: bool) -> bool {
    const PAIRS: [(&str, &str); 7] =
        [("${", "}"), ("{{", "}}"), ("<%", "%>"), ("%{", "}"), ("#{", "}"), ("@@", "@@"), ("[[", "]]")];
    let is_pair =
        |(open, close): &(&str, &str)| text.find(open).is_some_and(|at| text[at + open.len()..].contains(close));
    let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    let within = |open: char, close: char| {
        let (_, rest) = text.split_once(open)?;
        rest.split_once(close).map(|(inside, _)| is_word(inside))
    };
    // `<NAME>`, `{NAME}`, `__NAME__`, `%s`.
    let is_angled = || within('<', '>') == Some(true);
    let is_braced = || !text.starts_with("{\"") && within('{', '}') == Some(true);
    let is_marked = || text.starts_with("__") && text.ends_with("__") && text.len() > 4;
    let is_name = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let has_name = || text.match_indices('$').any(|(at, _)| is_name(&text[at + 1..]));
    // Nested JSON objects end in `}}`, but JSON never begins with `{{`.
    PAIRS.iter().any(is_pair)
        || is_angled()
        || is_braced()
        || is_marked()
        || text.contains("%s")
        || (with_dollars && has_name())
        || text.contains("$(")
}

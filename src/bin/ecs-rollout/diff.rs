//! Shows the difference between two task definitions, without values that may be secret.

use serde_json::Value;
use similar::udiff::UnifiedHunkHeader;
use similar::{ChangeTag, DiffOp, TextDiff};

use crate::visible::{self, Definition, HIDDEN, HIDDEN_CHANGED};

/// Unchanged lines around a change.
const CONTEXT: usize = 3;

/// A definition as lines: as they are compared, and as they are shown.
struct Lines {
    compared: Vec<String>,
    shown: Vec<String>,
}

impl Lines {
    fn of(value: &Value, show_values: bool) -> Lines {
        let lines = |value: &Value| match value {
            Value::Null => Vec::new(),
            value => format!("{value:#}").lines().map(str::to_owned).collect(),
        };
        let shown = if show_values { value.clone() } else { visible::shown(Definition::Task, "", value) };
        // Without the comma, a member stays the same line if another one is added after it.
        let compared = lines(value).into_iter().map(|line| line.trim_end_matches(',').to_owned()).collect();
        Lines { compared, shown: lines(&shown) }
    }
}

/// A unified diff with three lines of context; empty if nothing differs. A hidden value that differs is a changed line,
/// as any other.
pub(crate) fn unified(before: &Value, after: &Value, names: (&str, &str), show_values: bool) -> String {
    let (old, new) = (Lines::of(before, show_values), Lines::of(after, show_values));
    let (old_lines, new_lines): (Vec<&str>, Vec<&str>) =
        (old.compared.iter().map(String::as_str).collect(), new.compared.iter().map(String::as_str).collect());
    let diff = TextDiff::from_slices(&old_lines, &new_lines);
    let mut text = String::new();
    for group in diff.grouped_ops(CONTEXT) {
        if text.is_empty() {
            text = format!("--- {}\n+++ {}\n", names.0, names.1);
        }
        text += &format!("{}\n", UnifiedHunkHeader::new(&group));
        for op in &group {
            let removed = &old.shown[op.old_range()];
            for change in diff.iter_changes(op) {
                text += &line(change.tag(), change.old_index(), change.new_index(), (&old, &new), (op, removed));
            }
        }
    }
    text
}

/// One line of the diff. `removed` are the lines that `op` removes.
fn line(
    tag: ChangeTag,
    old_index: Option<usize>,
    new_index: Option<usize>,
    (old, new): (&Lines, &Lines),
    (op, removed): (&DiffOp, &[String]),
) -> String {
    let at = |lines: &Lines, index: Option<usize>| index.and_then(|index| lines.shown.get(index).cloned());
    let shown = at(new, new_index).or_else(|| at(old, old_index)).unwrap_or_default();
    let bare = |line: &str| line.trim_end_matches(',').to_owned();
    let replaces_hidden = matches!(op, DiffOp::Replace { .. })
        && tag == ChangeTag::Insert
        && shown.contains(HIDDEN)
        && removed.iter().any(|line| bare(line) == bare(&shown));
    match tag {
        ChangeTag::Insert if replaces_hidden => format!("+{}\n", shown.replace(HIDDEN, HIDDEN_CHANGED)),
        ChangeTag::Insert => format!("+{shown}\n"),
        ChangeTag::Delete => format!("-{shown}\n"),
        ChangeTag::Equal => format!(" {shown}\n"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changed(diff: &str) -> Vec<&str> {
        let is_header = |line: &&str| line.starts_with("---") || line.starts_with("+++");
        diff.lines().filter(|line| line.starts_with(['+', '-']) && !is_header(line)).collect()
    }

    fn task(tag: &str, environment: Value, command: Value) -> Value {
        json!({"family": "web", "containerDefinitions": [
            {"name": "web", "image": format!("web:{tag}"), "environment": environment, "command": command}]})
    }

    #[test]
    fn each_changed_value_is_one_line_and_a_hidden_one_is_marked() {
        let before =
            task("1", json!([{"name": "A", "value": "one"}, {"name": "B", "value": "two"}]), json!(["x", "y"]));
        for (after, expected) in [
            (
                task("2", json!([{"name": "A", "value": "one"}, {"name": "B", "value": "two"}]), json!(["x", "y"])),
                &["-      \"image\": \"web:1\",", "+      \"image\": \"web:2\","][..],
            ),
            (
                task("1", json!([{"name": "A", "value": "one"}, {"name": "B", "value": "new"}]), json!(["x", "y"])),
                &["-          \"value\": \"<hidden>\"", "+          \"value\": \"<hidden, changed>\""],
            ),
            (
                task("1", json!([{"name": "A", "value": "one"}, {"name": "B", "value": "two"}]), json!(["x", "z"])),
                &["-        \"<hidden>\"", "+        \"<hidden, changed>\""],
            ),
            (
                task(
                    "1",
                    json!([{"name": "A", "value": "one"}, {"name": "B", "value": "two"}]),
                    json!(["x", "y", "z"]),
                ),
                &["+        \"<hidden>\""],
            ),
        ] {
            let diff = unified(&before, &after, ("web:1", "new"), false);
            assert!(diff.starts_with("--- web:1\n+++ new\n@@ -"), "{diff}");
            assert_eq!(changed(&diff), expected, "{diff}");
        }
        assert_eq!(unified(&before, &before, ("a", "b"), false), "");
    }

    #[test]
    fn a_member_that_is_added_last_changes_no_other_line() {
        let before = json!({"family": "web"});
        let after = json!({"family": "web", "memory": "512"});
        assert_eq!(changed(&unified(&before, &after, ("a", "b"), false)), ["+  \"memory\": \"512\""]);
    }

    #[test]
    fn values_are_shown_on_request() {
        let [before, after] =
            ["hunter2", "hunter3"].map(|value| task("1", json!([{"name": "A", "value": value}]), json!([])));
        let diff = unified(&before, &after, ("a", "b"), true);
        let value = |sign: &str, value: &str| format!("{sign}          \"value\": \"{value}\"");
        assert_eq!(changed(&diff), [value("-", "hunter2"), value("+", "hunter3")]);
    }
}

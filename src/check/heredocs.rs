//! Finds here-documents in Terraform files.

use super::text::{At, Text, string, trimmed};

/// The bodies of the here-documents: `<<EOF` and `<<-EOF` at the end of a line.
pub(super) fn heredocs(text: &Text) -> Vec<Text> {
    let lines: Vec<&[At]> = text.chars.split_inclusive(|at| at.c == '\n').collect();
    let mut found = Vec::new();
    let mut next = 0;
    while let Some(line) = lines.get(next) {
        next += 1;
        let written = string(line);
        let Some((before, word)) = written.trim_end().rsplit_once("<<") else { continue };
        let is_indented = word.starts_with('-');
        let word = word.trim_start_matches('-');
        let is_word = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let before = before.trim_end();
        // It may be alone on a line below `base64encode(`.
        let above = || next.checked_sub(2).map(|above| string(lines[above])).unwrap_or_default();
        let is_argument =
            |text: &str| text.trim_end().ends_with(['=', '(', ':', ',', '[', '?']) || text.ends_with("=>");
        if !is_word || !is_argument(if before.is_empty() { above() } else { before.to_owned() }.as_str()) {
            continue;
        }
        let end =
            lines[next..].iter().position(|line| string(line).trim() == word).map_or(lines.len(), |end| next + end);
        let body = &lines[next..end];
        let blank = |line: &&&[At]| !trimmed(line).is_empty();
        let indent = |line: &&[At]| line.iter().take_while(|at| at.c == ' ').count();
        // `<<-` removes the smallest indentation of all lines.
        let least = if is_indented { body.iter().filter(blank).map(indent).min().unwrap_or(0) } else { 0 };
        let chars: Vec<At> =
            body.iter().flat_map(|line| line.get(least..).unwrap_or(&line[line.len() - 1..])).copied().collect();
        found.push(text.part(&chars));
        next = end;
    }
    found
}

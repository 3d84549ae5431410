//! Expansions of the shell: variables, commands and the bodies of here-documents.
//!
//! In: the characters from the start of the expansion. Out: its length, or the expanded text.

use super::super::text::{At, string};
use crate::ecs_config::issue::OPAQUE;

/// A here-document whose last line is missing or indented.
#[derive(Clone, Debug)]
pub(in crate::check) struct Unended {
    pub(in crate::check) word: Vec<At>,
    /// The number of the indented line that was meant as its end.
    pub(in crate::check) indented: Option<u32>,
    /// Whether lines that are not settings become part of it.
    pub(in crate::check) swallows: bool,
}

/// A here-document whose body has not been read yet.
pub(super) struct Pending {
    pub(super) command: usize,
    pub(super) word: Vec<At>,
    pub(super) end: String,
    pub(super) is_literal: bool,
    pub(super) strips_tabs: bool,
}

/// The name of the variable if the word is `$X` or `${X}`, with or without quotes.
pub(super) fn name(word: &str) -> Option<String> {
    let bare = word.trim_matches('"').strip_prefix('$')?;
    let bare = bare.strip_prefix('{').and_then(|bare| bare.strip_suffix('}')).unwrap_or(bare);
    let is_name = !bare.is_empty() && bare.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then(|| bare.to_owned())
}

/// The length of the expansion that begins here. 0 if the `$` does not begin one.
pub(super) fn expansion(chars: &[At]) -> usize {
    let at = |index: usize| chars.get(index).map(|at| at.c);
    match (at(0), at(1)) {
        (Some('`'), _) => chars[1..].iter().position(|at| at.c == '`').map_or(chars.len(), |end| end + 2),
        (Some('$'), Some('{')) => 1 + balanced(&chars[1..], '{', '}'),
        (Some('$'), Some('(')) => 1 + balanced(&chars[1..], '(', ')'),
        (Some('$'), Some(c)) if c.is_ascii_alphabetic() || c == '_' => {
            1 + chars[1..].iter().take_while(|at| at.c.is_ascii_alphanumeric() || at.c == '_').count()
        }
        (Some('$'), Some(c)) if c.is_ascii_digit() || "?!#@*$-".contains(c) => 2,
        _ => 0,
    }
}

/// The length up to the closing bracket. Brackets in quoted text are ignored.
pub(super) fn balanced(chars: &[At], open: char, close: char) -> usize {
    let (mut depth, mut quote) = (0, None);
    let mut index = 0;
    while let Some(at) = chars.get(index) {
        match (quote, at.c) {
            (_, '\\') if quote != Some('\'') => index += 1,
            (Some(with), c) if c == with => quote = None,
            (Some(_), _) => {}
            (None, c @ ('\'' | '"')) => quote = Some(c),
            (None, c) if c == open => depth += 1,
            (None, c) if c == close => {
                depth -= 1;
                if depth == 0 {
                    return index + 1;
                }
            }
            _ => {}
        }
        index += 1;
    }
    chars.len()
}

/// The length of the body of a here-document, the length of its last line, and the mistake of that line.
pub(super) fn body(rest: &[At], pending: &Pending) -> (usize, usize, Option<Unended>) {
    let find = |is_end: &dyn Fn(&str) -> bool| {
        let mut length = 0;
        for line in rest.split_inclusive(|at| at.c == '\n') {
            let text = string(line);
            if is_end(text.trim_end_matches(['\n', '\r'])) {
                return Some((length, line.len()));
            }
            length += line.len();
        }
        None
    };
    let exact =
        |line: &str| line == pending.end || (pending.strips_tabs && line.trim_start_matches('\t') == pending.end);
    // Without its last line, a here-document ends at the end of the script, and the shell prints a warning.
    let swallows =
        |after: usize| string(&rest[after..]).lines().any(|line| !line.trim().is_empty() && !is_config(line));
    let unended = |indented, after| Some(Unended { word: pending.word.clone(), indented, swallows: swallows(after) });
    match (find(&exact), find(&|line| line.trim() == pending.end)) {
        (Some((length, skipped)), _) => (length, skipped, None),
        // The body is read as it was meant, so that other mistakes are found too.
        (None, Some((length, skipped))) => {
            (length, skipped, unended(rest.get(length).map(|at| at.line), length + skipped))
        }
        (None, None) => (rest.len(), 0, unended(None, 0)),
    }
}

/// The text without the tabs at the start of its lines, as `<<-` reads it.
pub(super) fn without_tabs(text: &[At]) -> Vec<At> {
    let lines = text.split_inclusive(|at| at.c == '\n');
    lines.flat_map(|line| &line[line.iter().take_while(|at| at.c == '\t').count()..]).copied().collect()
}

/// The text after expansions, for a here-document whose end word is not quoted.
pub(super) fn expanded(text: &[At]) -> Vec<At> {
    let mut result = Vec::with_capacity(text.len());
    let mut index = 0;
    while let Some(here) = text.get(index) {
        let next = text.get(index + 1).map(|at| at.c);
        match here.c {
            '\\' if next == Some('\n') => index += 2,
            '\\' if next.is_some_and(|next| "\\$`".contains(next)) => {
                result.push(text[index + 1]);
                index += 2;
            }
            '$' | '`' => {
                let length = expansion(&text[index..]);
                result.push(if length == 0 { *here } else { At { c: OPAQUE, ..*here } });
                index += length.max(1);
            }
            _ => {
                result.push(*here);
                index += 1;
            }
        }
    }
    result
}

/// Whether a line has the form of a line of `ecs.config`.
fn is_config(line: &str) -> bool {
    let line = line.trim();
    let key = line.split('=').next().unwrap_or_default();
    line.starts_with('#') || (line.contains('=') && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

//! Finds user data in the here-document of a command substitution: `--user-data "$(cat <<'EOF'`.
//!
//! In: a script. Out: the bodies that begin like user data, after the expansions of the shell.

use super::shell::commands;
use super::text::{Text, string};

/// The bodies in the order of the script.
pub(super) fn documents(script: &Text) -> Vec<Text> {
    let mut found = Vec::new();
    let mut begin = 0;
    let lines: Vec<(usize, usize)> = script
        .chars
        .split_inclusive(|at| at.c == '\n')
        .map(|line| {
            begin += line.len();
            (begin - line.len(), begin)
        })
        .collect();
    let mut next = 0;
    while let Some((start, end)) = lines.get(next).copied() {
        next += 1;
        let Some((before, word)) = opened(&string(&script.chars[start..end])) else { continue };
        let is_last = |(start, end): &(usize, usize)| {
            string(&script.chars[*start..*end]).trim_matches(['\t', '\n', '\r']) == word
        };
        // If the end is missing, the rest of the script cannot be read correctly.
        let Some(length) = lines[next..].iter().position(is_last) else { return found };
        let (_, last) = lines[next + length];
        let first = script.chars[end..].iter().take(64).skip_while(|at| at.c.is_whitespace()).map(|at| at.c);
        if is_marker(&first.collect::<String>()) {
            let input = commands(&script.chars[start + before..last]).into_iter().next().and_then(|cat| cat.input);
            found.extend(input.map(|chars| script.part(&chars)));
        }
        next += length + 1;
    }
    found
}

/// The position of the `cat` of a substitution in its line, in characters, and the word that ends its here-document.
fn opened(line: &str) -> Option<(usize, String)> {
    let mut from = 0;
    while let Some(found) = line[from..].find("$(") {
        from += found + 2;
        let rest = line[from..].trim_start();
        let Some(word) = rest.strip_prefix("cat").and_then(|rest| rest.trim_start().strip_prefix("<<")) else {
            continue;
        };
        let word = word.trim_start_matches('-').trim_start().trim_start_matches(['"', '\'', '\\']);
        let word: String = word.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let before = line[..line.len() - rest.len()].chars().count();
        return (!word.is_empty()).then_some((before, word));
    }
    None
}

/// Whether a text begins like user data.
fn is_marker(start: &str) -> bool {
    let start = start.to_ascii_lowercase();
    ["#!", "#cloud-config", "#ecs-bootstrap", "mime-version:"].iter().any(|marker| start.starts_with(marker))
}

//! The scalars of a YAML document, each with the keys above it.
//!
//! It reads what cloud-configs and CloudFormation templates are made of: block and flow collections, plain, quoted and
//! block scalars. It is not a validator: what it does not understand becomes a scalar in which nothing is found.

use super::text::{At, string, trimmed};

/// A scalar and the keys above it; a list's element has its number.
#[derive(Debug)]
pub(super) struct Scalar {
    pub(super) path: Vec<String>,
    pub(super) chars: Vec<At>,
}

impl Scalar {
    /// The key that it is the value of.
    pub(super) fn key(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }
}

/// Every scalar, in the order of the document.
pub(super) fn scalars(chars: &[At]) -> Vec<Scalar> {
    let lines: Vec<&[At]> = chars.split(|at| at.c == '\n').collect();
    let mut reader = Reader { lines, next: 0, stack: Vec::new(), found: Vec::new() };
    while reader.next < reader.lines.len() {
        reader.line();
    }
    reader.found
}

struct Reader<'t> {
    lines: Vec<&'t [At]>,
    next: usize,
    /// The indent of each key or dash above, its name, and for a dash its number.
    stack: Vec<(usize, String, Option<usize>)>,
    found: Vec<Scalar>,
}

fn indent(line: &[At]) -> usize {
    line.iter().take_while(|at| at.c == ' ').count()
}

fn is_blank(line: &[At]) -> bool {
    let text = trimmed(line);
    text.is_empty() || text[0].c == '#'
}

impl<'t> Reader<'t> {
    fn path(&self) -> Vec<String> {
        self.stack.iter().map(|(_, name, _)| name.clone()).collect()
    }

    fn line(&mut self) {
        let line = self.lines[self.next];
        self.next += 1;
        let text = string(trimmed(line));
        if is_blank(line) || text.starts_with("---") || text == "..." {
            return;
        }
        let (mut at, mut rest) = (indent(line), &line[indent(line)..]);
        while rest[0].c == '-' && rest.get(1).is_none_or(|next| next.c == ' ') {
            self.dash(at);
            let skipped = 1 + rest[1..].iter().take_while(|at| at.c == ' ').count();
            (at, rest) = (at + skipped, &rest[skipped.min(rest.len())..]);
            if trimmed(rest).is_empty() {
                return;
            }
        }
        match key_end(rest) {
            Some(end) => {
                self.stack.retain(|(indent, _, number)| *indent < at || (*indent == at && number.is_some()));
                let name = string(trimmed(&rest[..end])).trim_matches(['"', '\'']).to_owned();
                self.stack.push((at, name, None));
                self.value(&rest[end + 1..], at);
            }
            None => self.value(rest, at.saturating_sub(1)),
        }
    }

    fn dash(&mut self, at: usize) {
        let number =
            self.stack.iter().find(|(indent, _, number)| *indent == at && number.is_some()).and_then(|top| top.2);
        self.stack.retain(|(indent, _, number)| *indent < at || (*indent == at && number.is_none()));
        let number = number.map_or(0, |number| number + 1);
        self.stack.push((at, number.to_string(), Some(number)));
    }

    fn push(&mut self, chars: Vec<At>) {
        self.found.push(Scalar { path: self.path(), chars });
    }

    /// The value of a key or an element that is indented by `at`.
    fn value(&mut self, rest: &'t [At], at: usize) {
        let mut rest = trimmed(rest);
        // `!Sub |`, `&anchor "text"`.
        while rest.first().is_some_and(|first| matches!(first.c, '!' | '&')) {
            let end = rest.iter().position(|at| at.c.is_whitespace()).unwrap_or(rest.len());
            rest = trimmed(&rest[end..]);
        }
        match rest.first().map(|first| first.c) {
            None | Some('#') => {}
            Some('|' | '>') => self.block(at),
            Some(quote @ ('"' | '\'')) => {
                let whole = self.until_closed(rest, |chars| quoted_end(chars, quote).is_some());
                let end = quoted_end(&whole, quote).unwrap_or(whole.len());
                self.push(unquoted(&whole[1..end.max(1)], quote));
            }
            Some('[' | '{') => {
                let whole = self.until_closed(rest, is_closed);
                for scalar in flow(&whole) {
                    self.push(scalar);
                }
            }
            Some(_) => {
                let mut whole = without_comment(rest).to_vec();
                while let Some(line) = self.lines.get(self.next).filter(|line| !is_blank(line) && indent(line) > at + 1)
                {
                    if key_end(trimmed(line)).is_some() || trimmed(line)[0].c == '-' {
                        break;
                    }
                    whole.push(At { c: ' ', ..trimmed(line)[0] });
                    whole.extend(without_comment(trimmed(line)));
                    self.next += 1;
                }
                self.push(whole);
            }
        }
    }

    fn block(&mut self, at: usize) {
        let mut lines: Vec<&[At]> = Vec::new();
        while let Some(line) = self.lines.get(self.next) {
            if !trimmed(line).is_empty() && indent(line) <= at {
                break;
            }
            lines.push(line);
            self.next += 1;
        }
        let least = lines.iter().filter(|line| !trimmed(line).is_empty()).map(|line| indent(line)).min().unwrap_or(0);
        let mut chars = Vec::new();
        for line in lines {
            let text = line.get(least..).unwrap_or_default();
            chars.extend(text);
            chars.extend(line.last().map(|last| At { c: '\n', ..*last }));
        }
        self.push(chars);
    }

    /// The text, with following lines while it is not closed.
    fn until_closed(&mut self, rest: &[At], closed: impl Fn(&[At]) -> bool) -> Vec<At> {
        const MOST_LINES: usize = 200;
        let mut whole = rest.to_vec();
        for _ in 0..MOST_LINES {
            let Some(line) = self.lines.get(self.next).filter(|_| !closed(&whole)) else { break };
            whole.extend(whole.last().map(|last| At { c: ' ', ..*last }));
            whole.extend(trimmed(line));
            self.next += 1;
        }
        whole
    }
}

/// Where the `:` of `key: value` is.
fn key_end(chars: &[At]) -> Option<usize> {
    let first = chars.first()?.c;
    let start = if first == '"' || first == '\'' { quoted_end(chars, first)? + 1 } else { 0 };
    if start == 0 && "[{|>!&*#%@`".contains(first) {
        return None;
    }
    let mut ends = (start..chars.len()).filter(|index| chars[*index].c == ':');
    let end = ends.find(|index| chars.get(index + 1).is_none_or(|next| next.c.is_whitespace()))?;
    let is_key = |c: char| c.is_ascii_alphanumeric() || "-_./:\"' ".contains(c);
    let key = &chars[..end];
    // `- echo "a: b"` is a text: a key has one word.
    (key.iter().all(|at| is_key(at.c)) && (start > 0 || !trimmed(key).iter().any(|at| at.c == ' '))).then_some(end)
}

fn quoted_end(chars: &[At], quote: char) -> Option<usize> {
    let mut index = 1;
    while let Some(at) = chars.get(index) {
        match at.c {
            '\\' if quote == '"' => index += 1,
            c if c == quote && quote == '\'' && chars.get(index + 1).is_some_and(|next| next.c == quote) => index += 1,
            c if c == quote => return Some(index),
            _ => {}
        }
        index += 1;
    }
    None
}

fn unquoted(chars: &[At], quote: char) -> Vec<At> {
    let mut result = Vec::with_capacity(chars.len());
    let mut index = 0;
    while let Some(here) = chars.get(index) {
        let next = chars.get(index + 1).map(|at| at.c);
        let c = match (quote, here.c, next) {
            ('\'', '\'', Some('\'')) => Some('\''),
            ('"', '\\', Some('n')) => Some('\n'),
            ('"', '\\', Some('t')) => Some('\t'),
            ('"', '\\', Some(c @ ('"' | '\\' | '/'))) => Some(c),
            _ => None,
        };
        result.push(At { c: c.unwrap_or(here.c), ..*here });
        index += if c.is_some() { 2 } else { 1 };
    }
    result
}

fn without_comment(chars: &[At]) -> &[At] {
    let comment = (1..chars.len()).find(|index| chars[*index].c == '#' && chars[index - 1].c.is_whitespace());
    trimmed(&chars[..comment.unwrap_or(chars.len())])
}

fn is_closed(chars: &[At]) -> bool {
    let (mut depth, mut index) = (0_i32, 0);
    while let Some(at) = chars.get(index) {
        match at.c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            quote @ ('"' | '\'') => index += quoted_end(&chars[index..], quote).unwrap_or(chars.len()),
            _ => {}
        }
        index += 1;
        if depth == 0 {
            return true;
        }
    }
    false
}

/// The scalars of a flow collection.
fn flow(chars: &[At]) -> Vec<Vec<At>> {
    let mut found = Vec::new();
    let mut index = 0;
    let mut plain: Vec<At> = Vec::new();
    while let Some(at) = chars.get(index) {
        match at.c {
            quote @ ('"' | '\'') if trimmed(&plain).is_empty() => {
                let end = quoted_end(&chars[index..], quote).unwrap_or(chars.len() - index - 1);
                found.push(unquoted(&chars[index + 1..index + end.max(1)], quote));
                plain.clear();
                index += end;
            }
            '[' | ']' | '{' | '}' | ',' => {
                if !trimmed(&plain).is_empty() {
                    found.push(trimmed(&plain).to_vec());
                }
                plain.clear();
            }
            _ => plain.push(*at),
        }
        index += 1;
    }
    found
}

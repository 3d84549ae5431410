//! A text with the place of each of its characters in the checked file.
//!
//! Parts of messages, block scalars and here-documents are cut out of a text and keep their places. Decoded text has
//! places of its own, and records where the encoded text begins in the file.

use std::rc::Rc;

use crate::ecs_config::issue::SourceLine;

/// A character and its place. Line and column begin at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) c: char,
    pub(super) line: u32,
    pub(super) column: u32,
}

impl At {
    /// Line and column.
    pub(super) fn place(self) -> (u32, u32) {
        (self.line, self.column)
    }
}

/// The place of the encoded text in the file, and its encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Encoded {
    pub(super) line: u32,
    pub(super) column: u32,
    /// `gzip` or `base64`.
    pub(super) what: &'static str,
}

/// A text with the place of each character.
#[derive(Clone, Debug, Default)]
pub(super) struct Text {
    pub(super) chars: Vec<At>,
    pub(super) encoded: Option<Rc<Encoded>>,
}

impl Text {
    /// A whole file. CR LF becomes LF.
    pub(super) fn of(text: &str) -> Text {
        let (mut line, mut column) = (1, 1);
        let mut chars = Vec::with_capacity(text.len());
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            if !(c == '\r' && rest.peek() == Some(&'\n')) {
                chars.push(At { c, line, column });
            }
            column += 1;
            if c == '\n' {
                (line, column) = (line + 1, 1);
            }
        }
        Text { chars, encoded: None }
    }

    /// The decoded text of `self`.
    pub(super) fn decoded(&self, text: &str, what: &'static str) -> Text {
        let first = self.chars.first().map_or((1, 1), |at| at.place());
        let here = || Rc::new(Encoded { line: first.0, column: first.1, what });
        Text { encoded: Some(self.encoded.clone().unwrap_or_else(here)), ..Text::of(text) }
    }

    /// A part of the text.
    pub(super) fn part(&self, chars: &[At]) -> Text {
        Text { chars: chars.to_vec(), encoded: self.encoded.clone() }
    }

    pub(super) fn string(&self) -> String {
        string(&self.chars)
    }

    /// The lines without their line breaks.
    pub(super) fn lines(&self) -> impl Iterator<Item = &[At]> {
        self.chars.split(|at| at.c == '\n')
    }

    /// The place in the file of a line and column of this text.
    pub(super) fn place(&self, line: usize, column: usize) -> (u32, u32) {
        let chars = self.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        let past = |at: &At| (at.line, at.column + 1);
        let inside = chars.get(column.saturating_sub(1)).map(|at| at.place());
        inside.or(chars.last().map(past)).or(self.chars.last().map(|at| at.place())).unwrap_or((1, 1))
    }
}

pub(super) fn string(chars: &[At]) -> String {
    chars.iter().map(|at| at.c).collect()
}

pub(super) fn trimmed(chars: &[At]) -> &[At] {
    let is_text = |at: &At| !at.c.is_whitespace();
    let start = chars.iter().position(is_text).unwrap_or(chars.len());
    let end = chars.iter().rposition(is_text).map_or(start, |last| last + 1);
    &chars[start..end]
}

/// These characters as lines of an `ecs.config`.
pub(super) fn config_lines(chars: &[At]) -> Vec<SourceLine> {
    let lines = chars.split(|at| at.c == '\n').filter(|line| !line.is_empty());
    let line = |line: &[At]| SourceLine {
        line: line[0].line as usize,
        text: string(line),
        columns: line.iter().map(|at| at.column as usize).collect(),
        is_final: false,
    };
    lines.map(line).collect()
}

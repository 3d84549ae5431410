//! Reads and edits `ecs.config` so that its two readers agree on every key that ecs-bootstrap writes.
//!
//! In: the bytes of the file, and the keys to set or to remove. Out: the bytes to write. It never changes a line that
//! ecs-bootstrap did not write. If one of the readers would misread the result, it refuses the edit.
//!
//! The readers are ecs-init (`ecs-init/docker/docker.go`, `getEnvVars`), which builds the agent's environment from the
//! file, and systemd, for which the file is an `EnvironmentFile=` of `ecs.service` (systemd.exec(5);
//! `src/basic/env-file.c`). ecs-init reads line by line. systemd also reads quotes, continued lines and comments, so
//! one line can make the following lines part of its value. The file is therefore cut into blocks. A block ends where
//! both readers are at the start of a line and nothing continues. Only blocks that contain the changed keys and nothing
//! else are changed or removed.

mod agent_cluster;
pub mod issue;
#[cfg(test)]
mod oracles;
mod redacted;

pub use self::agent_cluster::{agent_cluster, json_fault, json_region, may_join_other};
pub use self::redacted::{has_hidden, shown};

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// One assignment as ecs-init reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The text before the first `=`, so `#ECS_CLUSTER` and `export ECS_CLUSTER` are keys too. U+FFFD replaces bytes
    /// that are not UTF-8.
    pub key: String,
    /// The text after it, with quotes and leading blanks. U+FFFD replaces bytes that are not UTF-8.
    pub value: String,
    /// The line of the file, from 1.
    pub line: usize,
}

/// Why an edit is refused. It never repeats the value, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditRefusal {
    /// The key cannot be the name of an environment variable, and systemd ignores such keys.
    #[error(
        "`{key}` is not a name of an environment variable: only letters, digits and `_` are allowed, and no digit first"
    )]
    WrongKey {
        /// The key to change.
        key: String,
    },
    /// There is no spelling of the value that both readers read correctly.
    #[error(
        "the value of `{key}` cannot be written to `ecs.config`, because ecs-init and systemd would read it \
         differently: it has a backslash, a control character, a quote at its start, or blanks around it"
    )]
    NeedsQuoting {
        /// The key to change.
        key: String,
    },
    /// For one reader the key is inside text that ecs-bootstrap did not write, and no line can be added after it.
    #[error(
        "`{key}` cannot be changed: it is inside a quoted value, a continued line or a comment that ecs-bootstrap did \
         not write and that begins on line {line}"
    )]
    Swallowed {
        /// The key to change.
        key: String,
        /// The line where that text begins, from 1.
        line: usize,
    },
    /// The file has a NUL byte, so systemd does not read the file (`read_full_file` returns EBADMSG).
    #[error("line {line} has a NUL byte, so systemd does not read this file")]
    Nul {
        /// The line, from 1.
        line: usize,
    },
    /// An assignment is not UTF-8, so systemd does not read the file (`load_env_file` returns EINVAL).
    #[error("the assignment on line {line} is not UTF-8, so systemd does not read this file")]
    NotUtf8 {
        /// The line, from 1.
        line: usize,
    },
}

/// Reads a file as ecs-init does. The assignments are in the order of the file, with duplicates.
pub fn read(bytes: &[u8]) -> Vec<Assignment> {
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    lines
        .filter_map(|(index, line)| {
            let (key, value) = ecs_init_assignment(line)?;
            let text = |part| String::from_utf8_lossy(part).into_owned();
            Some(Assignment { key: text(key), value: text(value), line: index + 1 })
        })
        .collect()
}

/// The last assignment of each key, which is the one that the agent uses.
pub fn effective(assignments: &[Assignment]) -> BTreeMap<&str, &Assignment> {
    assignments.iter().map(|assignment| (assignment.key.as_str(), assignment)).collect()
}

/// Returns the file with `changes` applied. `Some` sets a key to this value, on one line. `None` removes a key.
///
/// Then both readers read the new value of each key that is set, no value of each key that is removed, and the old
/// value of every other key. A line that already has the new value is not changed, and a second edit returns the same
/// bytes.
pub fn edit(old: &[u8], changes: &BTreeMap<String, Option<String>>) -> Result<Vec<u8>, EditRefusal> {
    for (key, value) in changes {
        check_writable(key, value.as_deref())?;
    }
    let blocks = cut(old, changes);
    let end = end_of_writable(&blocks);
    let mut places: BTreeMap<usize, Vec<(&str, &str)>> = BTreeMap::new();
    let mentions = mentions(&blocks);
    for (key, value) in changes {
        let mentioned = mentions.get(key.as_str()).map_or(&[][..], Vec::as_slice);
        if let Some(place) = place(old, &blocks, mentioned, end, key, value.as_deref())? {
            places.entry(place.0).or_default().push((key, place.1));
        }
    }
    let new = put_together(old, &blocks, &places);
    if changes.values().any(Option::is_some) {
        check_readable(&new, changes)?;
    }
    Ok(new)
}

/// The key and the value of one line as ecs-init reads it. `None` if the line is not an assignment.
fn ecs_init_assignment(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = trim_space(line);
    let equals = line.iter().position(|byte| *byte == b'=')?;
    Some((&line[..equals], &line[equals + 1..]))
}

/// Go's `strings.TrimSpace`: removes Unicode white space. A byte that is not UTF-8 is not a space.
fn trim_space(mut bytes: &[u8]) -> &[u8] {
    let is_space = |part: &[u8]| {
        std::str::from_utf8(part).is_ok_and(|text| {
            let mut chars = text.chars();
            chars.next().is_some_and(char::is_whitespace) && chars.next().is_none()
        })
    };
    while let Some(length) = (1..=bytes.len().min(3)).find(|length| is_space(&bytes[..*length])) {
        bytes = &bytes[length..];
    }
    while let Some(length) = (1..=bytes.len().min(3)).find(|length| is_space(&bytes[bytes.len() - length..])) {
        bytes = &bytes[..bytes.len() - length];
    }
    bytes
}

/// Checks whether both readers would read this value of this key correctly.
pub fn writable(key: &str, value: &str) -> Result<(), EditRefusal> {
    check_writable(key, Some(value))
}

fn check_writable(key: &str, value: Option<&str>) -> Result<(), EditRefusal> {
    let name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if key.is_empty() || !key.bytes().all(name) || key.as_bytes()[0].is_ascii_digit() {
        return Err(EditRefusal::WrongKey { key: key.to_owned() });
    }
    // A quote is special to systemd only at the start of a value, so JSON that begins with a bracket needs no escape.
    let is_misread = |value: &str| {
        value.trim() != value || value.starts_with(['"', '\'']) || value.contains(|c: char| c == '\\' || c.is_control())
    };
    if value.is_some_and(is_misread) {
        return Err(EditRefusal::NeedsQuoting { key: key.to_owned() });
    }
    Ok(())
}

/// The rules of one systemd version. They changed twice, and each change moved the end of a value or of a comment. A
/// file must be safe on all hosts, so a line is only added where all versions are at the start of a line.
#[derive(Clone, Copy)]
struct Dialect {
    /// A backslash at the end of a comment continues it on the next line (before v254).
    comments_continue: bool,
    /// A backslash escapes the closing single quote (before v239).
    single_quotes_escape: bool,
}

const DIALECTS: [Dialect; 3] = [
    Dialect { comments_continue: true, single_quotes_escape: true },
    Dialect { comments_continue: true, single_quotes_escape: false },
    Dialect { comments_continue: false, single_quotes_escape: false },
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum ParserState {
    LineStart,
    Key,
    BeforeValue,
    Value,
    ValueEscape,
    SingleQuotes,
    SingleQuotesEscape,
    DoubleQuotes,
    DoubleQuotesEscape,
    Comment,
    CommentEscape,
}

impl ParserState {
    /// The state after `byte`.
    fn after(self, byte: u8, dialect: Dialect) -> ParserState {
        let newline = matches!(byte, b'\n' | b'\r');
        let blank = matches!(byte, b' ' | b'\t');
        match self {
            ParserState::LineStart if newline || blank => ParserState::LineStart,
            ParserState::LineStart if matches!(byte, b'#' | b';') => ParserState::Comment,
            ParserState::LineStart => ParserState::Key,
            ParserState::Key | ParserState::BeforeValue | ParserState::Value | ParserState::Comment if newline => {
                ParserState::LineStart
            }
            ParserState::Key if byte == b'=' => ParserState::BeforeValue,
            ParserState::BeforeValue if byte == b'\'' => ParserState::SingleQuotes,
            ParserState::BeforeValue if byte == b'"' => ParserState::DoubleQuotes,
            ParserState::BeforeValue if blank => ParserState::BeforeValue,
            ParserState::BeforeValue | ParserState::Value if byte == b'\\' => ParserState::ValueEscape,
            ParserState::BeforeValue | ParserState::Value | ParserState::ValueEscape => ParserState::Value,
            ParserState::SingleQuotes if byte == b'\'' => ParserState::BeforeValue,
            ParserState::SingleQuotes if byte == b'\\' && dialect.single_quotes_escape => {
                ParserState::SingleQuotesEscape
            }
            ParserState::SingleQuotesEscape => ParserState::SingleQuotes,
            ParserState::DoubleQuotes if byte == b'"' => ParserState::BeforeValue,
            ParserState::DoubleQuotes if byte == b'\\' => ParserState::DoubleQuotesEscape,
            ParserState::DoubleQuotesEscape => ParserState::DoubleQuotes,
            ParserState::Comment if byte == b'\\' => ParserState::CommentEscape,
            ParserState::CommentEscape if newline && !dialect.comments_continue => ParserState::LineStart,
            ParserState::CommentEscape => ParserState::Comment,
            ParserState::Key | ParserState::SingleQuotes | ParserState::DoubleQuotes | ParserState::Comment => self,
        }
    }
}

/// The state of one systemd version while it reads the file.
struct FileReader {
    dialect: Dialect,
    state: ParserState,
    key_start: usize,
}

/// Lines between two places where every reader is at the start of a line and nothing continues.
struct Block<'c> {
    bytes: Range<usize>,
    first_line: usize,
    /// The keys of `changes` that at least one reader reads here.
    changed: BTreeSet<&'c str>,
    /// Whether at least one reader reads another key or a comment here.
    has_other: bool,
    /// Whether systemd reads an assignment here.
    assigns: bool,
    /// Whether every reader is at the start of a line after this block.
    closed: bool,
}

impl Block<'_> {
    /// Whether the block can be replaced or removed.
    fn is_replaceable(&self) -> bool {
        !self.changed.is_empty() && !self.has_other
    }
}

/// Cuts the file into the smallest blocks. Each reader reads each byte once.
fn cut<'c>(text: &[u8], changes: &'c BTreeMap<String, Option<String>>) -> Vec<Block<'c>> {
    let mut readers = DIALECTS.map(|dialect| FileReader { dialect, state: ParserState::LineStart, key_start: 0 });
    let mut blocks: Vec<Block> = Vec::new();
    let mut start = 0;
    for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if blocks.last().is_none_or(|block| block.closed) {
            let bytes = start..start;
            let changed = BTreeSet::new();
            blocks.push(Block {
                bytes,
                first_line: index + 1,
                changed,
                has_other: false,
                assigns: false,
                closed: false,
            });
        }
        let Some(block) = blocks.last_mut() else { break };
        let mut note = |key: &[u8]| {
            // systemd removes blanks before the `=`. ecs-init keeps them, but the author of the line did not mean that.
            let key = std::str::from_utf8(key).ok().map(|key| key.trim_end_matches([' ', '\t']));
            let known = key.and_then(|key| changes.get_key_value(key));
            match known {
                Some((key, _)) => drop(block.changed.insert(key.as_str())),
                None => block.has_other = true,
            }
        };
        if let Some((key, _)) = ecs_init_assignment(line) {
            note(key);
        }
        let (mut comment, mut assigns) = (false, false);
        for reader in &mut readers {
            for (offset, byte) in line.iter().enumerate() {
                let before = reader.state;
                reader.state = before.after(*byte, reader.dialect);
                match (before, reader.state) {
                    (ParserState::LineStart, ParserState::Key) => reader.key_start = start + offset,
                    (ParserState::Key, ParserState::BeforeValue) => {
                        assigns = true;
                        note(&text[reader.key_start..start + offset]);
                    }
                    (_, ParserState::Comment) => comment = true,
                    _ => {}
                }
            }
        }
        block.has_other |= comment;
        block.assigns |= assigns;
        start += line.len();
        block.bytes.end = start;
        // If the last line has no newline, an edit adds one before it adds a line.
        let newline = |reader: &FileReader| reader.state.after(b'\n', reader.dialect);
        let ended = line.ends_with(b"\n");
        let at_line_start =
            |reader: &FileReader| (if ended { reader.state } else { newline(reader) }) == ParserState::LineStart;
        block.closed = readers.iter().all(at_line_start);
    }
    blocks
}

/// The index of the block before which a new line is added: at the end of the file, unless its last block is not
/// closed.
fn end_of_writable(blocks: &[Block]) -> usize {
    match blocks.last() {
        Some(last) if !last.closed && !last.is_replaceable() => blocks.len() - 1,
        _ => blocks.len(),
    }
}

/// The blocks of each changed key.
fn mentions<'c>(blocks: &[Block<'c>]) -> BTreeMap<&'c str, Vec<usize>> {
    let mut mentions: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, block) in blocks.iter().enumerate() {
        for key in &block.changed {
            mentions.entry(key).or_default().push(index);
        }
    }
    mentions
}

/// The block of the only line of `key`, and its value. `None` for a key that is removed.
///
/// The line replaces a block that can be replaced, or it is added at `end`. It comes after every block that contains
/// the key and must stay, because the last assignment wins.
fn place<'v>(
    text: &[u8],
    blocks: &[Block],
    mentions: &[usize],
    end: usize,
    key: &str,
    value: Option<&'v str>,
) -> Result<Option<(usize, &'v str)>, EditRefusal> {
    let staying = mentions.iter().rev().find(|index| !blocks[**index].is_replaceable());
    let swallowed = |index: usize| EditRefusal::Swallowed { key: key.to_owned(), line: blocks[index].first_line };
    let Some(value) = value else {
        return staying.map_or(Ok(None), |index| Err(swallowed(*index)));
    };
    let replaceable =
        || mentions.iter().rev().filter(|index| blocks[**index].is_replaceable() && Some(*index) > staying);
    let unchanged = replaceable().find(|index| is_line(&text[blocks[**index].bytes.clone()], key, value));
    match (unchanged.or(replaceable().next()), staying) {
        (Some(index), _) => Ok(Some((*index, value))),
        (None, Some(index)) if *index >= end => Err(swallowed(*index)),
        (None, _) => Ok(Some((end, value))),
    }
}

/// Whether every reader reads `key=value` in this block and nothing else.
fn is_line(block: &[u8], key: &str, value: &str) -> bool {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = block.iter().position(|byte| !blank(byte)).unwrap_or(block.len());
    let end = block.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    let old_value = block[start..end].strip_prefix(key.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
    old_value == Some(value.as_bytes())
}

/// The new file: the blocks that stay, and the new lines in their places.
fn put_together(text: &[u8], blocks: &[Block], places: &BTreeMap<usize, Vec<(&str, &str)>>) -> Vec<u8> {
    let mut new = Vec::with_capacity(text.len() + 256);
    for index in 0..=blocks.len() {
        let lines = places.get(&index).map_or(&[][..], Vec::as_slice);
        let block = blocks.get(index);
        let old = block.map_or(&[][..], |block| &text[block.bytes.clone()]);
        let replaced = block.is_some_and(Block::is_replaceable);
        if replaced && matches!(lines, [(key, value)] if is_line(old, key, value)) {
            new.extend_from_slice(old);
            continue;
        }
        for (key, value) in lines {
            if new.last().is_some_and(|byte| *byte != b'\n') {
                new.push(b'\n');
            }
            new.extend_from_slice(format!("{key}={value}\n").as_bytes());
        }
        if !replaced {
            new.extend_from_slice(old);
        }
    }
    new
}

/// Checks that systemd reads the file at all: one bad byte makes it ignore every line.
fn check_readable(text: &[u8], changes: &BTreeMap<String, Option<String>>) -> Result<(), EditRefusal> {
    let line_of = |position: usize| 1 + text[..position].iter().filter(|byte| **byte == b'\n').count();
    if let Some(position) = text.iter().position(|byte| *byte == 0) {
        return Err(EditRefusal::Nul { line: line_of(position) });
    }
    if std::str::from_utf8(text).is_ok() {
        return Ok(());
    }
    for block in cut(text, changes).iter().filter(|block| block.assigns) {
        if let Err(error) = std::str::from_utf8(&text[block.bytes.clone()]) {
            return Err(EditRefusal::NotUtf8 { line: line_of(block.bytes.start + error.valid_up_to()) });
        }
    }
    Ok(())
}

//! The text of `ecs.config`, edited so that its two readers agree on every key that we write.
//!
//! In go the bytes of the file and the keys to set or to remove, out come the bytes to write. It never touches a byte
//! that belongs to somebody else, and it refuses rather than write what one of the readers would misread.
//!
//! The readers are ecs-init (`ecs-init/docker/docker.go`, `getEnvVars`), which makes the agent's environment of it, and
//! systemd, where the file is an `EnvironmentFile=` of `ecs.service` (systemd.exec(5); `src/basic/env-file.c`). ecs-init
//! goes line by line; systemd knows quotes, continued lines and comments, so that one foreign line may swallow those
//! after it. The file is therefore cut into blocks: a block ends where both readers stand at the start of a line and
//! neither carries anything over. Blocks that hold nothing but keys of ours may go or change; all others stay.

pub mod issue;
mod joined;
#[cfg(test)]
mod oracles;
mod shown;

pub use self::joined::{joined, json_region, may_join_other};
pub use self::shown::{has_hidden, shown};

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// One assignment as ecs-init reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// All that stands before the first `=`, so `#ECS_CLUSTER` and `export ECS_CLUSTER` are keys too. Bytes that are not
    /// UTF-8 are replaced by U+FFFD.
    pub key: String,
    /// All that follows, quotes and leading blanks included. Bytes that are not UTF-8 are replaced by U+FFFD.
    pub value: String,
    /// The line of the file, the first being 1.
    pub line: usize,
}

/// Why the file is not edited. The value asked for is never repeated: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditRefusal {
    /// Not the name of an environment variable; systemd would drop it.
    #[error("`{key}` is no name of an environment variable: letters, digits and `_` only, no digit first")]
    WrongKey {
        /// The key asked for.
        key: String,
    },
    /// A value that the two readers cannot read alike in any spelling.
    #[error(
        "the value of `{key}` cannot be written so that ecs-init and systemd read the same: it has a backslash, a control \
         character, a quote at its start, or blanks around it"
    )]
    NeedsQuoting {
        /// The key asked for.
        key: String,
    },
    /// One reader sees the key where the other sees a part of something foreign, and no line of ours can come after it.
    #[error(
        "`{key}` cannot be changed: it stands inside somebody else's quoted value, continued line or comment, which begins \
         on line {line}"
    )]
    Swallowed {
        /// The key asked for.
        key: String,
        /// Where the foreign text begins, the first line being 1.
        line: usize,
    },
    /// systemd reads nothing of a file with such a byte (`read_full_file` gives EBADMSG).
    #[error("line {line} has a NUL byte, so systemd reads nothing of this file")]
    Nul {
        /// The line, the first being 1.
        line: usize,
    },
    /// systemd reads nothing of a file with such an assignment (`load_env_file` gives EINVAL).
    #[error("the assignment on line {line} is not UTF-8, so systemd reads nothing of this file")]
    NotUtf8 {
        /// The line, the first being 1.
        line: usize,
    },
}

/// Reads one file as ecs-init does, in the order of the file; duplicates are kept, so that the caller can see them.
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

/// What is in force of one file: the last assignment of each key.
pub fn effective(assignments: &[Assignment]) -> BTreeMap<&str, &Assignment> {
    assignments.iter().map(|assignment| (assignment.key.as_str(), assignment)).collect()
}

/// The file with `changes` made: `Some` is set to exactly this value on one line, `None` is removed.
///
/// Afterwards both readers read the same value for each key set, none for each key removed, and for every other key what
/// they read before. A line that already says so is kept as it is, and a second edit gives the same bytes.
pub fn edit(old: &[u8], changes: &BTreeMap<String, Option<String>>) -> Result<Vec<u8>, EditRefusal> {
    for (key, value) in changes {
        check_writable(key, value.as_deref())?;
    }
    let blocks = cut(old, changes);
    let end = end_of_writable(&blocks);
    let mut places: BTreeMap<usize, Vec<(&str, &str)>> = BTreeMap::new();
    let mentions = mentions(&blocks);
    for (key, value) in changes {
        let seen = mentions.get(key.as_str()).map_or(&[][..], Vec::as_slice);
        if let Some(place) = place(old, &blocks, seen, end, key, value.as_deref())? {
            places.entry(place.0).or_default().push((key, place.1));
        }
    }
    let new = put_together(old, &blocks, &places);
    if changes.values().any(Option::is_some) {
        check_readable(&new, changes)?;
    }
    Ok(new)
}

/// The key and the value of one line, if ecs-init reads one there.
fn ecs_init_assignment(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = trim_space(line);
    let equals = line.iter().position(|byte| *byte == b'=')?;
    Some((&line[..equals], &line[equals + 1..]))
}

/// Go's `strings.TrimSpace`: Unicode white space, where a byte that is not UTF-8 is no space.
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

/// Whether this key can be set to this value so that both readers see the same.
pub fn writable(key: &str, value: &str) -> Result<(), EditRefusal> {
    check_writable(key, Some(value))
}

fn check_writable(key: &str, value: Option<&str>) -> Result<(), EditRefusal> {
    let name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if key.is_empty() || !key.bytes().all(name) || key.as_bytes()[0].is_ascii_digit() {
        return Err(EditRefusal::WrongKey { key: key.to_owned() });
    }
    // A quote is special to systemd only where a value begins, so JSON that begins with a bracket is written as it is.
    let misread = |value: &str| {
        value.trim() != value || value.starts_with(['"', '\'']) || value.contains(|c: char| c == '\\' || c.is_control())
    };
    if value.is_some_and(misread) {
        return Err(EditRefusal::NeedsQuoting { key: key.to_owned() });
    }
    Ok(())
}

/// How systemd reads. Its rules changed twice in ways that move the end of a value or of a comment, and a file must be
/// safe on all hosts: the place of a line of ours is one where all of them agree.
#[derive(Clone, Copy)]
struct Dialect {
    /// Before v254 a backslash at the end of a comment continues it on the next line.
    comments_continue: bool,
    /// Before v239 a backslash hides the closing one of single quotes.
    single_quotes_escape: bool,
}

const DIALECTS: [Dialect; 3] = [
    Dialect { comments_continue: true, single_quotes_escape: true },
    Dialect { comments_continue: true, single_quotes_escape: false },
    Dialect { comments_continue: false, single_quotes_escape: false },
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
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

impl State {
    /// The state after `byte`.
    fn after(self, byte: u8, dialect: Dialect) -> State {
        let newline = matches!(byte, b'\n' | b'\r');
        let blank = matches!(byte, b' ' | b'\t');
        match self {
            State::LineStart if newline || blank => State::LineStart,
            State::LineStart if matches!(byte, b'#' | b';') => State::Comment,
            State::LineStart => State::Key,
            State::Key | State::BeforeValue | State::Value | State::Comment if newline => State::LineStart,
            State::Key if byte == b'=' => State::BeforeValue,
            State::BeforeValue if byte == b'\'' => State::SingleQuotes,
            State::BeforeValue if byte == b'"' => State::DoubleQuotes,
            State::BeforeValue if blank => State::BeforeValue,
            State::BeforeValue | State::Value if byte == b'\\' => State::ValueEscape,
            State::BeforeValue | State::Value | State::ValueEscape => State::Value,
            State::SingleQuotes if byte == b'\'' => State::BeforeValue,
            State::SingleQuotes if byte == b'\\' && dialect.single_quotes_escape => State::SingleQuotesEscape,
            State::SingleQuotesEscape => State::SingleQuotes,
            State::DoubleQuotes if byte == b'"' => State::BeforeValue,
            State::DoubleQuotes if byte == b'\\' => State::DoubleQuotesEscape,
            State::DoubleQuotesEscape => State::DoubleQuotes,
            State::Comment if byte == b'\\' => State::CommentEscape,
            State::CommentEscape if newline && !dialect.comments_continue => State::LineStart,
            State::CommentEscape => State::Comment,
            State::Key | State::SingleQuotes | State::DoubleQuotes | State::Comment => self,
        }
    }
}

/// One systemd on its way through the file.
struct Reader {
    dialect: Dialect,
    state: State,
    key_start: usize,
}

/// The lines between two places where every reader stands at the start of a line and carries nothing over.
struct Block<'c> {
    bytes: Range<usize>,
    first_line: usize,
    /// The keys of `changes` that some reader reads here.
    ours: BTreeSet<&'c str>,
    /// Whether some reader reads another key here, or a comment.
    foreign: bool,
    /// Whether systemd reads any assignment here.
    assigns: bool,
    /// Whether a line put after this block stands at the start of a line for every reader.
    closed: bool,
}

impl Block<'_> {
    fn only_ours(&self) -> bool {
        !self.ours.is_empty() && !self.foreign
    }
}

/// Cuts the file into the smallest blocks; all readers go over each byte once.
fn cut<'c>(text: &[u8], changes: &'c BTreeMap<String, Option<String>>) -> Vec<Block<'c>> {
    let mut readers = DIALECTS.map(|dialect| Reader { dialect, state: State::LineStart, key_start: 0 });
    let mut blocks: Vec<Block> = Vec::new();
    let mut start = 0;
    for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if blocks.last().is_none_or(|block| block.closed) {
            let bytes = start..start;
            let ours = BTreeSet::new();
            blocks.push(Block { bytes, first_line: index + 1, ours, foreign: false, assigns: false, closed: false });
        }
        let Some(block) = blocks.last_mut() else { break };
        let mut note = |key: &[u8]| {
            // Blanks before the `=` are no part of the key for systemd, and ecs-init's user meant none.
            let key = std::str::from_utf8(key).ok().map(|key| key.trim_end_matches([' ', '\t']));
            let known = key.and_then(|key| changes.get_key_value(key));
            match known {
                Some((key, _)) => drop(block.ours.insert(key.as_str())),
                None => block.foreign = true,
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
                    (State::LineStart, State::Key) => reader.key_start = start + offset,
                    (State::Key, State::BeforeValue) => {
                        assigns = true;
                        note(&text[reader.key_start..start + offset]);
                    }
                    (_, State::Comment) => comment = true,
                    _ => {}
                }
            }
        }
        block.foreign |= comment;
        block.assigns |= assigns;
        start += line.len();
        block.bytes.end = start;
        // A last line without its newline gets one when something is put after it.
        let newline = |reader: &Reader| reader.state.after(b'\n', reader.dialect);
        let ended = line.ends_with(b"\n");
        let at_line_start = |reader: &Reader| (if ended { reader.state } else { newline(reader) }) == State::LineStart;
        block.closed = readers.iter().all(at_line_start);
    }
    blocks
}

/// The block before which a new line goes, at the end of the file where that is possible.
fn end_of_writable(blocks: &[Block]) -> usize {
    match blocks.last() {
        Some(last) if !last.closed && !last.only_ours() => blocks.len() - 1,
        _ => blocks.len(),
    }
}

fn mentions<'c>(blocks: &[Block<'c>]) -> BTreeMap<&'c str, Vec<usize>> {
    let mut mentions: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, block) in blocks.iter().enumerate() {
        for key in &block.ours {
            mentions.entry(key).or_default().push(index);
        }
    }
    mentions
}

/// Where the one line of `key` goes and its value: in the place of a block of ours, else at `end`; `None` for a key that
/// is removed. It comes after everything that mentions the key and has to stay, since the last assignment wins.
fn place<'v>(
    text: &[u8],
    blocks: &[Block],
    mentions: &[usize],
    end: usize,
    key: &str,
    value: Option<&'v str>,
) -> Result<Option<(usize, &'v str)>, EditRefusal> {
    let staying = mentions.iter().rev().find(|index| !blocks[**index].only_ours());
    let swallowed = |index: usize| EditRefusal::Swallowed { key: key.to_owned(), line: blocks[index].first_line };
    let Some(value) = value else {
        return staying.map_or(Ok(None), |index| Err(swallowed(*index)));
    };
    let own = || mentions.iter().rev().filter(|index| blocks[**index].only_ours() && Some(*index) > staying);
    let right = own().find(|index| is_line(&text[blocks[**index].bytes.clone()], key, value));
    match (right.or(own().next()), staying) {
        (Some(index), _) => Ok(Some((*index, value))),
        (None, Some(index)) if *index >= end => Err(swallowed(*index)),
        (None, _) => Ok(Some((end, value))),
    }
}

/// Whether a block says `key=value` and nothing else to every reader.
fn is_line(block: &[u8], key: &str, value: &str) -> bool {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = block.iter().position(|byte| !blank(byte)).unwrap_or(block.len());
    let end = block.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    let said = block[start..end].strip_prefix(key.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
    said == Some(value.as_bytes())
}

fn put_together(text: &[u8], blocks: &[Block], places: &BTreeMap<usize, Vec<(&str, &str)>>) -> Vec<u8> {
    let mut new = Vec::with_capacity(text.len() + 256);
    for index in 0..=blocks.len() {
        let lines = places.get(&index).map_or(&[][..], Vec::as_slice);
        let block = blocks.get(index);
        let old = block.map_or(&[][..], |block| &text[block.bytes.clone()]);
        let replaced = block.is_some_and(Block::only_ours);
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

/// systemd drops the whole file for one bad byte, the lines that we wrote too.
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

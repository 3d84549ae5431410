//! Splits a message into its parts as Python's `email.feedparser.FeedParser` does.
//!
//! The parser reads lines. A line that is a boundary of an outer part ends all parts inside of it. Lines can be put back,
//! and so can the end of the text, which some loops of the original do.

use std::ops::Range;

use super::headers::{Headers, PLAIN_TYPE, is_blank};
use super::part::{Ignored, IgnoredReason, Message, MessageError, Part};
use super::types;

/// The most levels of parts inside of parts. Python reads about 900 before it raises an exception. The content of a part at
/// this level is taken as its text.
const MAX_DEPTH: usize = 100;
/// The type of a part without a header in a `multipart/digest`.
const MESSAGE_TYPE: &str = "message/rfc822";

/// Where the text of a part ends.
enum End {
    /// At a line with this separator.
    Separator(Vec<u8>),
    /// At an empty line.
    EmptyLine,
}

/// A part, in the order in which the parts begin.
struct Node {
    headers: Headers,
    content_type: String,
    /// The ranges of its text. `None` if it consists of other parts.
    body: Option<Vec<Range<usize>>>,
    /// Whether no empty line ends its headers.
    is_unseparated: bool,
    /// Whether it is in a part that is a message.
    is_in_message: bool,
}

impl Node {
    fn is(&self, main_type: &str) -> bool {
        self.content_type.split('/').next() == Some(main_type)
    }
}

struct Feed<'m> {
    text: &'m [u8],
    /// The number of bytes that were read.
    at: usize,
    /// Lines that were put back, the next one last. An empty range is an end of the text.
    put_back: Vec<Range<usize>>,
    ends: Vec<End>,
    nodes: Vec<Node>,
    /// The part that the line break before a boundary is removed from.
    last: usize,
    message: Message,
}

/// Reads a message.
pub fn read(text: &[u8]) -> Message {
    let mut feed = Feed {
        text,
        at: 0,
        put_back: Vec::new(),
        ends: Vec::new(),
        nodes: Vec::new(),
        last: 0,
        message: Message::default(),
    };
    feed.part(None, 0);
    let mut message = feed.message;
    message.is_multipart = feed.nodes.first().is_some_and(|root| root.is("multipart"));
    for (index, node) in feed.nodes.into_iter().enumerate() {
        if node.is("multipart") {
            // Its text was noted as ignored.
            continue;
        }
        let Some(body) = node.body else {
            let error = node.headers.file_name(true).err();
            message.error = message.error.or(error.map(MessageError::from));
            continue;
        };
        let mut part = Part::new(text, &node.headers, body);
        let type_error = part.set_type(node.content_type).err();
        let name_error = part.set_file_name(&node.headers, index == 0, node.is_in_message).err();
        message.error = message.error.or(type_error).or(name_error.map(MessageError::from));
        part.has_text_in_headers &= node.is_unseparated || part.body.iter().all(|range| is_blank(&text[range.clone()]));
        message.parts.push(part);
    }
    if std::str::from_utf8(text).is_err() {
        message.error = Some(MessageError::NotUtf8);
    }
    message
}

impl Feed<'_> {
    /// The next line, or `None` at the end of the current part.
    fn next(&mut self) -> Option<Range<usize>> {
        let line = self.put_back.pop().unwrap_or_else(|| self.cut());
        let text = &self.text[line.clone()];
        let ends = |end: &End| match end {
            End::Separator(separator) => separates(text, separator).is_some(),
            End::EmptyLine => text.starts_with(b"\n") || text.starts_with(b"\r"),
        };
        if self.ends.iter().any(ends) {
            self.put_back.push(line);
            return None;
        }
        (!line.is_empty()).then_some(line)
    }

    /// Cuts the next line off the text, with its line break.
    fn cut(&mut self) -> Range<usize> {
        let start = self.at;
        let rest = &self.text[start..];
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let is_pair = |end: usize| rest[end..].starts_with(b"\r\n");
        self.at += end.map_or(rest.len(), |end| end + 1 + usize::from(is_pair(end)));
        start..self.at
    }

    /// The other lines of the current part.
    fn rest(&mut self) -> Vec<Range<usize>> {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        while let Some(line) = self.next() {
            append(&mut ranges, line);
        }
        ranges
    }

    fn ignore(&mut self, reason: IgnoredReason, ranges: &[Range<usize>]) {
        let first = ranges.iter().find(|range| !is_blank(&self.text[(*range).clone()]));
        if let Some(first) = first {
            let blanks = self.text[first.clone()].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.message.ignored.push(Ignored { reason, at: first.start + blanks });
        }
    }

    /// Reads a part and what is in it.
    fn part(&mut self, parent: Option<usize>, depth: usize) {
        let parent = parent.map(|parent| &self.nodes[parent]);
        let is_in_digest = parent.is_some_and(|parent| parent.content_type == "multipart/digest");
        let default = if is_in_digest { MESSAGE_TYPE } else { PLAIN_TYPE };
        let is_in_message = parent.is_some_and(|parent| parent.is_in_message || parent.is("message"));
        let index = self.nodes.len();
        self.nodes.push(Node {
            headers: Headers::default(),
            content_type: default.to_owned(),
            body: None,
            is_unseparated: false,
            is_in_message,
        });
        self.last = index;
        self.headers(index);
        let node = &mut self.nodes[index];
        if let Some(content_type) = node.headers.content_type() {
            node.content_type = content_type;
        }
        let node = &self.nodes[index];
        if depth >= MAX_DEPTH {
            self.nodes[index].body = Some(self.rest());
        } else if node.content_type == "message/delivery-status" {
            self.header_blocks(index, depth);
        } else if node.is("message") {
            self.part(Some(index), depth + 1);
        } else if node.is("multipart") {
            self.multipart(index, depth);
        } else {
            self.nodes[index].body = Some(self.rest());
        }
    }

    /// Reads the headers of a part and the empty line after them.
    fn headers(&mut self, index: usize) {
        let mut lines = Vec::new();
        while let Some(line) = self.next() {
            let text = &self.text[line.clone()];
            if !is_header(text) {
                if !matches!(text.first(), Some(b'\r' | b'\n')) {
                    self.nodes[index].is_unseparated = true;
                    self.put_back.push(line);
                }
                break;
            }
            lines.push(line);
        }
        // The lines of the current header, if it is not ignored.
        let mut open: Option<Range<usize>> = None;
        let mut headers = Headers::default();
        let count = lines.len();
        for (number, line) in lines.into_iter().enumerate() {
            let text = &self.text[line.clone()];
            if matches!(text.first(), Some(b' ' | b'\t')) {
                open = open.map(|open| open.start..line.end);
                continue;
            }
            if let Some(whole) = open.take() {
                headers.push(&self.text[whole]);
            }
            if text.starts_with(b"From ") {
                if number > 0 && number + 1 == count {
                    // It is probably the first line of the text.
                    self.put_back.push(line);
                }
            } else if !text.starts_with(b":") {
                open = Some(line);
            }
        }
        if let Some(whole) = open {
            headers.push(&self.text[whole]);
        }
        self.nodes[index].headers = headers;
    }

    /// Reads a `message/delivery-status`: blocks of headers with empty lines between them.
    fn header_blocks(&mut self, index: usize, depth: usize) {
        loop {
            self.ends.push(End::EmptyLine);
            self.part(Some(index), depth + 1);
            self.ends.pop();
            self.next();
            match self.next() {
                Some(line) => self.put_back.push(line),
                None => break,
            }
        }
    }

    /// Reads a `multipart/*`.
    fn multipart(&mut self, index: usize, depth: usize) {
        let boundary = self.nodes[index].headers.boundary().unwrap_or_else(|_| {
            self.message.error = Some(MessageError::InvalidParameter);
            None
        });
        let Some(boundary) = boundary else {
            let rest = self.rest();
            self.ignore(IgnoredReason::NoBoundary, &rest);
            self.nodes[index].body = Some(rest);
            return;
        };
        let separator = [b"--", boundary.as_bytes()].concat();
        let mut preamble = Vec::new();
        let mut has_parts = false;
        let mut is_closed = false;
        while let Some(line) = self.next() {
            match separates(&self.text[line.clone()], &separator) {
                Some(Separator::Closing) => {
                    is_closed = true;
                    break;
                }
                Some(Separator::Between) => {
                    has_parts = true;
                    // Python takes a closing boundary right after another boundary for one between parts.
                    let next = loop {
                        match self.next() {
                            Some(line) if separates(&self.text[line.clone()], &separator).is_some() => {}
                            other => break other,
                        }
                    };
                    self.put_back.push(next.unwrap_or(self.at..self.at));
                    self.ends.push(End::Separator(separator.clone()));
                    self.part(Some(index), depth + 1);
                    self.remove_line_break();
                    self.ends.pop();
                    self.last = index;
                }
                None => append(&mut preamble, line),
            }
        }
        if !has_parts {
            let rest = self.rest();
            preamble.extend(rest);
            self.ignore(IgnoredReason::NoPart, &preamble);
            self.nodes[index].body = Some(preamble);
            return;
        }
        if preamble.iter().any(|range| types::has_marker(&self.text[range.clone()])) {
            self.ignore(IgnoredReason::BeforeFirstPart, &preamble);
        }
        if is_closed {
            let rest = self.rest();
            self.ignore(IgnoredReason::AfterLastPart, &rest);
        }
    }

    /// Removes the last line break of the last part, because it belongs to the boundary.
    fn remove_line_break(&mut self) {
        let node = &mut self.nodes[self.last];
        if node.is("multipart") {
            return;
        }
        let Some(range) = node.body.iter_mut().flatten().last() else { return };
        let text = &self.text[range.clone()];
        let end = [b"\r\n".as_slice(), b"\r", b"\n"].into_iter().find(|end| text.ends_with(end));
        range.end -= end.map_or(0, <[u8]>::len);
    }
}

/// Adds a range, as a part of the last one if it follows it.
fn append(ranges: &mut Vec<Range<usize>>, line: Range<usize>) {
    match ranges.last_mut() {
        Some(last) if last.end == line.start => last.end = line.end,
        _ => ranges.push(line),
    }
}

/// Whether the line can be one of the headers.
fn is_header(line: &[u8]) -> bool {
    let name = line.iter().position(|byte| !(0x21..=0x7e).contains(byte) || *byte == b':');
    line.starts_with(b"From ")
        || matches!(line.first(), Some(b' ' | b'\t'))
        || name.is_some_and(|end| line[end] == b':')
}

enum Separator {
    Between,
    Closing,
}

/// Whether a line is this separator.
fn separates(line: &[u8], separator: &[u8]) -> Option<Separator> {
    let rest = line.strip_prefix(separator)?;
    let (rest, kind) = match rest.strip_prefix(b"--") {
        Some(rest) => (rest, Separator::Closing),
        None => (rest, Separator::Between),
    };
    let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    matches!(&rest[blanks..], b"" | b"\n" | b"\r" | b"\r\n").then_some(kind)
}

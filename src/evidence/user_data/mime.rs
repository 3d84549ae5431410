//! Finds faults in user data that is a MIME message, by the rules of cloud-init and of Python's parser, which it uses.
//!
//! In: the text. Out: its faults with the number of the part, and the decoded text of base64 parts, for a search for
//! words. No fault contains a byte of the message.

use super::part_type::{PartType, plain_part_type};
use crate::settings::user_data::decoded;

/// The content types that cloud-init's handlers (cloud-init, "User data formats") or ecs-bootstrap read. `multipart`
/// and `message` contain other parts.
const HANDLED: [&str; 17] = [
    "text/x-shellscript",
    "text/x-shellscript-per-boot",
    "text/x-shellscript-per-instance",
    "text/x-shellscript-per-once",
    "text/cloud-config",
    "text/cloud-config-archive",
    "text/cloud-config-jsonp",
    "text/cloud-boothook",
    "text/x-include-url",
    "text/x-include-once-url",
    "text/part-handler",
    "text/upstart-job",
    "text/jinja2",
    "text/x-ecs-bootstrap",
    "multipart/",
    "message/",
    "application/",
];
/// Content types for which cloud-init detects the type by the first line of the part.
const BY_TEXT: [&str; 3] = ["", "text/plain", "text/x-not-multipart"];

/// The result of parsing a message.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) faults: Vec<String>,
    /// The decoded text of the base64 parts.
    pub(super) decoded: String,
    /// Whether the message has a part that ecs-bootstrap cannot read.
    pub(super) is_opaque: bool,
}

/// Parses a message.
pub(super) fn read(text: &str) -> Parts {
    let text = text.replace("\r\n", "\n");
    let mut parts = Parts::default();
    let (head, body) = split(&text);
    if text.starts_with(['\n', ' ', '\t']) {
        parts.faults.push("spaces or an empty line before its headers".to_owned());
        return parts;
    }
    let content_type = header(head, "content-type");
    if !content_type.starts_with("multipart/") {
        parts.check_part("the message", head, body);
        return parts;
    }
    let Some(boundary) = boundary(head) else {
        parts.faults.push("its `Content-Type:` has no boundary".to_owned());
        return parts;
    };
    let (bodies, rest) = cut(body, &boundary);
    if bodies.is_empty() {
        parts.faults.push("no part begins with the boundary from its header".to_owned());
    } else if rest.is_some_and(|rest| !rest.trim().is_empty()) {
        parts.faults.push("text after the closing boundary is ignored".to_owned());
    }
    // A part handler can add content types.
    let has_part_handler =
        bodies.iter().any(|part| header(split(part).0, "content-type").starts_with("text/part-handler"));
    let before = parts.faults.len();
    for (index, part) in bodies.iter().enumerate() {
        let (head, body) = split(part);
        parts.check_part(&format!("part {}", index + 1), head, body);
    }
    if has_part_handler {
        parts.faults.truncate(before);
    }
    parts
}

impl Parts {
    fn check_part(&mut self, name: &str, head: &str, body: &str) {
        let content_type = header(head, "content-type");
        let content_type = content_type.split(';').next().unwrap_or_default().trim();
        let encoding = header(head, "content-transfer-encoding");
        let mut body = std::borrow::Cow::Borrowed(body);
        if encoding == "base64" {
            match decoded(body.as_bytes()).map(String::from_utf8) {
                Some(Ok(text)) => body = text.into(),
                _ => self.is_opaque = true,
            }
            self.decoded.push_str(&body);
        } else if encoding == "quoted-printable" {
            self.is_opaque = true;
        }
        self.is_opaque |= content_type.starts_with("application/");
        let is_marked = || matches!(plain_part_type(body.as_bytes()), Some(PartType::Known(_)));
        if BY_TEXT.contains(&content_type) {
            if !self.is_opaque && !body.trim().is_empty() && !is_marked() {
                self.faults.push(format!("{name} has no type and does not begin with a marker that cloud-init knows"));
            }
        } else if !HANDLED
            .iter()
            .any(|known| content_type == *known || (known.ends_with('/') && content_type.starts_with(known)))
        {
            self.faults.push(format!("{name} has a type that cloud-init does not know"));
        } else if content_type.starts_with("text/x-shellscript")
            && body.starts_with(['\n', ' ', '\t'])
            && !self.is_opaque
        {
            self.faults.push(format!("spaces or an empty line before the script of {name}"));
        }
    }
}

/// Splits headers from body. The headers end at the first empty line, or before the first line that is not a header
/// (Python, `email.feedparser`: `MissingHeaderBodySeparatorDefect`, which keeps the whole body).
pub(crate) fn split(text: &str) -> (&str, &str) {
    let is_header = |line: &str| {
        let name = line.split_once(':').map(|(name, _)| name);
        name.is_some_and(|name| !name.is_empty() && !name.contains([' ', '\t'])) || line.starts_with([' ', '\t'])
    };
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line == "\n" {
            return (&text[..at], &text[at + 1..]);
        }
        if !is_header(line) {
            return text.split_at(at);
        }
        at += line.len();
    }
    (text, "")
}

/// The value of a header in lower case, with folded lines joined; empty if there is none.
fn header(head: &str, name: &str) -> String {
    raw_header(head, name).to_ascii_lowercase()
}

fn raw_header(head: &str, name: &str) -> String {
    let mut lines = head
        .lines()
        .skip_while(|line| !line.split_once(':').is_some_and(|(found, _)| found.trim_end().eq_ignore_ascii_case(name)));
    let first = lines.next().and_then(|line| line.split_once(':')).map(|(_, value)| value).unwrap_or_default();
    let folded = lines.take_while(|line| line.starts_with([' ', '\t']));
    let whole = std::iter::once(first).chain(folded).collect::<Vec<_>>().join(" ");
    whole.trim().to_owned()
}

fn boundary(head: &str) -> Option<String> {
    let content_type = raw_header(head, "content-type");
    let at = content_type.to_ascii_lowercase().find("boundary=")? + "boundary=".len();
    let rest = &content_type[at..];
    let value = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().unwrap_or_default(),
        None => rest.split([';', ' ', '\t']).next().unwrap_or_default(),
    };
    (!value.is_empty()).then(|| value.to_owned())
}

/// The parts between the boundaries, and the text after the closing boundary if there is one.
fn cut(body: &str, boundary: &str) -> (Vec<String>, Option<String>) {
    let (open, close) = (format!("--{boundary}"), format!("--{boundary}--"));
    let mut parts: Vec<String> = Vec::new();
    let mut lines = body.lines();
    while let Some(line) = lines.next() {
        if line.trim_end() == close {
            return (parts, Some(lines.collect::<Vec<_>>().join("\n")));
        }
        if line.trim_end() == open {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push_str(line);
            part.push('\n');
        }
    }
    (parts, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Content-Type: multipart/mixed; boundary=\"==B==\"\nMIME-Version: 1.0\n\n";
    const SCRIPT: &str = "--==B==\nContent-Type: text/x-shellscript; charset=\"us-ascii\"\n\n#!/bin/sh\necho\n";
    const CLOSE: &str = "--==B==--\n";

    fn faults(text: &str) -> Vec<String> {
        read(text).faults
    }

    #[test]
    fn a_well_formed_message_has_no_fault() {
        let config =
            "--==B==\nContent-Type: text/cloud-config\nContent-Transfer-Encoding: base64\n\nI2Nsb3VkLWNvbmZpZwo=\n";
        let plain = "--==B==\nContent-Type: text/plain\n\n#cloud-config\n";
        let folded = HEAD.replace("; boundary", ";\n boundary");
        for text in [
            format!("{HEAD}{SCRIPT}{CLOSE}"),
            // Python's parser accepts these.
            format!("{HEAD}{SCRIPT}"),
            format!("{}{SCRIPT}{CLOSE}", HEAD.replace("\n\n", "\n")),
            format!("{HEAD}{}{CLOSE}", SCRIPT.replace("\n\n#!", "\n#!")),
            format!("{HEAD}preamble\n{SCRIPT}{config}{plain}{CLOSE}\n\n"),
            format!("{folded}{SCRIPT}{CLOSE}").replace('\n', "\r\n"),
            "Content-Type: text/x-shellscript\nMIME-Version: 1.0\n\n#!/bin/sh\n".to_owned(),
            format!(
                "{HEAD}{SCRIPT}--==B==\nContent-Type: text/part-handler\n\n#part-handler\n\
                 --==B==\nContent-Type: text/own\n\nx\n{CLOSE}"
            ),
        ] {
            assert_eq!(faults(&text), Vec::<String>::new(), "{text}");
        }
        assert_eq!(read(&format!("{HEAD}{config}{CLOSE}")).decoded, "#cloud-config\n");
    }

    #[test]
    fn names_each_fault() {
        for (text, fault) in [
            (format!("{HEAD}{SCRIPT}{CLOSE}#!/bin/sh\nmore\n"), "text after the closing boundary is ignored"),
            (format!("{HEAD}{CLOSE}"), "no part begins with the boundary from its header"),
            (format!("{HEAD}--other\n\n#!/bin/sh\n"), "no part begins with the boundary from its header"),
            (HEAD.replace("; boundary=\"==B==\"", "") + SCRIPT, "its `Content-Type:` has no boundary"),
            (format!("\n{HEAD}{SCRIPT}{CLOSE}"), "spaces or an empty line before its headers"),
            (
                format!("{HEAD}{SCRIPT}{CLOSE}").replace("x-shellscript", "x-sh"),
                "part 1 has a type that cloud-init does not know",
            ),
            (
                format!("{HEAD}{SCRIPT}--==B==\n\nECS_CLUSTER=x\n{CLOSE}"),
                "part 2 has no type and does not begin with a marker that cloud-init knows",
            ),
            (
                format!("{HEAD}{SCRIPT}{CLOSE}").replace("\n\n#!", "\n\n\n#!"),
                "spaces or an empty line before the script of part 1",
            ),
        ] {
            assert_eq!(faults(&text), [fault], "{text}");
        }
    }
}

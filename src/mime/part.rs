//! The parts of a message, and the text that belongs to none.
//!
//! A part is made from its headers and the place of its content, as by cloud-init's `UserDataProcessor` and Python's
//! `Message.get_payload`.

use std::ops::Range;

use super::decode::{self, MAX_BYTES, gunzip, quoted_printable};
use super::headers::{Headers, InvalidParameter, PLAIN_TYPE};
use super::types::{self, SCRIPT_TYPE, SETTINGS_TYPE, is_settings};

/// A message.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The parts with content: neither `multipart/*` nor messages that contain other parts.
    pub parts: Vec<Part>,
    /// Text that belongs to no part.
    pub ignored: Vec<Ignored>,
    /// Why cloud-init gives up the whole message.
    pub error: Option<MessageError>,
    /// Whether the message itself is of type `multipart/*`.
    pub is_multipart: bool,
}

/// Why cloud-init raises an exception for a message and reads none of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// The message is not UTF-8.
    NotUtf8,
    /// A parameter of a header has pieces with and without a number.
    InvalidParameter,
    /// A part of a gzip type is not gzip, or its text is not UTF-8.
    BrokenGzip,
}

/// Text that cloud-init ignores, because it belongs to no part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Why it belongs to no part.
    pub reason: IgnoredReason,
    /// Where it begins: the number of bytes before it.
    pub at: usize,
}

/// Why text belongs to no part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IgnoredReason {
    /// The type is `multipart/*`, and its header has no boundary.
    NoBoundary,
    /// No line is the boundary.
    NoPart,
    /// It begins like user data, and comes before the first boundary.
    BeforeFirstPart,
    /// It comes after the closing boundary.
    AfterLastPart,
}

/// How the content of a part is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    #[default]
    Plain,
    /// base64 (RFC 2045).
    Base64,
    /// Quoted-printable (RFC 2045).
    QuotedPrintable,
    /// An encoding that is not decoded here.
    Other,
}

/// A part with content.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// The type by the header, in lower case; [`PLAIN_TYPE`] if there is none.
    pub content_type: String,
    /// The type that chooses the handler: that of the first line, if it decides.
    pub handler_type: String,
    /// The file name in the header.
    pub file_name: Option<String>,
    /// How the content is encoded.
    pub encoding: Encoding,
    /// Where the content is in the message, before it is decoded. There are two ranges only if a line `From ` ends the
    /// headers.
    pub body: Vec<Range<usize>>,
    /// The content, decoded and decompressed.
    pub payload: Vec<u8>,
    /// The content as handlers get it, if that differs: cloud-init damages characters that are not ASCII, except in base64.
    pub damaged: Option<Vec<u8>>,
    /// Whether the header names an encoding that is decoded only without the blanks or signs around it.
    pub has_misspelt_encoding: bool,
    /// Whether all of the content is base64, if it must be.
    pub is_whole: bool,
    /// Whether text without an empty line before it was read as headers.
    pub has_text_in_headers: bool,
}

impl Part {
    /// The content as handlers get it.
    pub fn handed_over(&self) -> &[u8] {
        self.damaged.as_deref().unwrap_or(&self.payload)
    }

    /// Whether the part holds settings of ecs-bootstrap: by its type, or by its first line if that decides.
    pub fn has_settings(&self) -> bool {
        let decides = types::is_gzip(&self.content_type)
            || (types::depends_on_text(&self.content_type) && self.content_type != SCRIPT_TYPE);
        self.content_type == SETTINGS_TYPE || (decides && is_settings(&self.payload))
    }

    /// The part from its headers and the ranges of its content.
    pub(super) fn new(message: &[u8], headers: &Headers, body: Vec<Range<usize>>) -> Part {
        let raw: Vec<u8> = body.iter().flat_map(|range| &message[range.clone()]).copied().collect();
        let header = headers.get("content-transfer-encoding").unwrap_or_default().to_lowercase();
        let encoding = match header.as_str() {
            "base64" => Encoding::Base64,
            "quoted-printable" => Encoding::QuotedPrintable,
            "x-uuencode" | "uuencode" | "uue" | "x-uue" => Encoding::Other,
            _ => Encoding::Plain,
        };
        let bare = header.trim_matches([' ', '\t', ';', '"', '\'']);
        let mut part = Part {
            encoding,
            body,
            has_misspelt_encoding: bare != header && ["base64", "quoted-printable"].contains(&bare),
            is_whole: true,
            has_text_in_headers: headers.fields.iter().any(|(name, _)| !is_mail_header(name)),
            ..Part::default()
        };
        let text = std::str::from_utf8(&raw).ok().filter(|_| !raw.is_ascii());
        let damaged = text.map(|text| part.decoded(&decode::raw_unicode_escape(text)));
        (part.payload, part.damaged) = match damaged {
            // Such characters are not base64, but the escape sequences that cloud-init makes of them are.
            Some(damaged) if encoding == Encoding::Base64 => (damaged, None),
            damaged => (part.decoded(&raw), damaged),
        };
        part
    }

    /// Sets the type by the header and that by the first line. A compressed part is decompressed.
    pub(super) fn set_type(&mut self, content_type: String) -> Result<(), MessageError> {
        let mut text_type = types::of_text(self.handed_over());
        let is_gzip = types::is_gzip(&content_type);
        if is_gzip {
            let plain = gunzip(self.handed_over()).ok_or(MessageError::BrokenGzip)?;
            // Longer text is cut off, perhaps within a character.
            let is_cut = plain.len() as u64 > MAX_BYTES;
            let text = std::str::from_utf8(if is_cut { b"" } else { &plain }).map_err(|_| MessageError::BrokenGzip)?;
            text_type = types::of_text(&plain);
            // What cloud-init unpacks at once is not damaged.
            let is_kept = !text_type.is_some_and(types::is_unpacked);
            self.damaged = (is_kept && !text.is_ascii()).then(|| decode::raw_unicode_escape(text));
            self.payload = plain;
        }
        let declared = if is_gzip { PLAIN_TYPE } else { content_type.as_str() };
        let by_text = text_type.filter(|_| types::depends_on_text(declared));
        self.handler_type = by_text.unwrap_or(declared).to_owned();
        self.content_type = content_type;
        Ok(())
    }

    /// Sets the file name. `is_root`: whether the part is the whole message. `is_in_message`: whether it is in a part that
    /// is a message.
    pub(super) fn set_file_name(
        &mut self,
        headers: &Headers,
        is_root: bool,
        is_in_message: bool,
    ) -> Result<(), InvalidParameter> {
        let is_gzip = types::is_gzip(&self.content_type);
        // cloud-init replaces the content type of the message, and one that the first line changed.
        let has_name = is_gzip || (!is_root && self.content_type == self.handler_type);
        // It does not ask for the name of a part that it unpacks.
        let is_named = is_gzip || is_in_message || !types::is_unpacked(&self.handler_type);
        self.file_name = headers.file_name(has_name).or_else(|error| if is_named { Err(error) } else { Ok(None) })?;
        Ok(())
    }

    /// Decodes the content by its encoding.
    fn decoded(&mut self, raw: &[u8]) -> Vec<u8> {
        match self.encoding {
            Encoding::Plain | Encoding::Other => raw.to_vec(),
            Encoding::QuotedPrintable => quoted_printable(raw).into_iter().map(|(_, byte)| byte).collect(),
            Encoding::Base64 => {
                let decoded = decode::base64(raw);
                self.is_whole &= decoded.is_valid;
                decoded.bytes
            }
        }
    }
}

/// Whether the header is one of mail or of cloud-init, and not text that looks like a header.
fn is_mail_header(name: &str) -> bool {
    const NAMES: [&str; 11] = [
        "mime-version",
        "merge-type",
        "launch-index",
        "number-attachments",
        "subject",
        "from",
        "to",
        "cc",
        "date",
        "message-id",
        "filename",
    ];
    let name = name.to_ascii_lowercase();
    name.starts_with("content-") || name.starts_with("x-") || NAMES.contains(&name.as_str())
}

impl From<InvalidParameter> for MessageError {
    fn from(_: InvalidParameter) -> MessageError {
        MessageError::InvalidParameter
    }
}

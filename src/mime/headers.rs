//! The headers of a part, read as by Python's `email.message.Message`.
//!
//! In: header lines. Out: the content type, and parameters such as `boundary`. Values may be quoted or be in pieces
//! (RFC 2231). Python knows no comments in them.

use std::cmp::Ordering;

/// The content type of a part whose header has none, or has one that is not of the form `type/subtype`.
pub const PLAIN_TYPE: &str = "text/plain";

/// A parameter in pieces with and without a number, or with NUL in its charset. Python raises an exception on it, and
/// cloud-init gives up all of the user data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidParameter;

/// The headers of a part in the order of the message.
#[derive(Clone, Debug, Default)]
pub(super) struct Headers {
    pub(super) fields: Vec<(String, String)>,
}

impl Headers {
    /// Adds a header from its first line and the lines that continue it, with their line breaks.
    pub(super) fn push(&mut self, lines: &[u8]) {
        let lines = String::from_utf8_lossy(lines);
        let (name, value) = lines.split_once(':').unwrap_or((&lines, ""));
        let value = value.trim_start_matches([' ', '\t']).trim_end_matches(['\r', '\n']);
        self.fields.push((name.to_owned(), value.to_owned()));
    }

    /// The first header with this name. It has no blanks before it, but can have blanks after it.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_str())
    }

    /// The content type in lower case, without parameters. `None` if there is no such header.
    pub(super) fn content_type(&self) -> Option<String> {
        let value = self.get("content-type")?;
        let content_type = strip(value.split(';').next().unwrap_or_default()).to_lowercase();
        Some(if content_type.matches('/').count() == 1 { content_type } else { PLAIN_TYPE.to_owned() })
    }

    /// The boundary between the parts of a multipart message.
    pub(super) fn boundary(&self) -> Result<Option<String>, InvalidParameter> {
        let boundary = self.get("content-type").map_or(Ok(None), |value| parameter(value, "boundary"))?;
        Ok(boundary.map(|boundary| boundary.trim_end_matches(is_space).to_owned()))
    }

    /// The file name, which cloud-init gives to a script. `has_name`: whether the content type can hold it.
    pub(super) fn file_name(&self, has_name: bool) -> Result<Option<String>, InvalidParameter> {
        let named = |header, name| self.get(header).map_or(Ok(None), |value| parameter(value, name));
        let name = match named("content-disposition", "filename")? {
            None if has_name => named("content-type", "name")?,
            name => name,
        };
        Ok(name.map(|name| strip(&name).to_owned()))
    }
}

/// Python's `str.isspace`, which has four control characters more than Unicode.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// Whether the text consists of blanks and empty lines, by Python's rule.
pub fn is_blank(text: &[u8]) -> bool {
    String::from_utf8_lossy(text).chars().all(is_space)
}

/// Python's `str.strip`.
fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// The value of a parameter of a header (`email.message.Message.get_param`, `email.utils.decode_params`).
fn parameter(header: &str, wanted: &str) -> Result<Option<String>, InvalidParameter> {
    let mut found = None;
    let mut pieces: Vec<Piece> = Vec::new();
    for (index, (name, value)) in parameters(header).enumerate() {
        match Piece::of(&name, &value).filter(|_| index > 0) {
            Some(piece) => pieces.push(piece),
            None if found.is_none() && name == wanted => found = Some(unquoted(unquoted(&value)).into_owned()),
            None => {}
        }
    }
    // A value in pieces comes after all others.
    pieces.sort_by(Piece::order);
    for pieces in pieces.chunk_by(|one, other| one.name == other.name) {
        let numbered = pieces.iter().filter(|piece| piece.number.is_some()).count();
        if numbered != 0 && numbered != pieces.len() {
            return Err(InvalidParameter);
        }
        if pieces[0].name == wanted && found.is_none() {
            found = Some(joined(pieces)?);
        }
    }
    Ok(found)
}

/// The parameters of a header: names in lower case, and values as they are written. The first one is the value before
/// the first `;`. A `;` in quotes does not separate.
fn parameters(header: &str) -> impl Iterator<Item = (String, String)> {
    let mut is_quoted = false;
    let mut last = ';';
    let pieces = header.split(move |c: char| {
        let separates = c == ';' && !is_quoted;
        is_quoted = !separates && (is_quoted ^ (c == '"' && last != '\\'));
        last = c;
        separates
    });
    pieces.map(|piece| {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        (strip(name).to_lowercase(), strip(value).to_owned())
    })
}

/// A parameter whose name ends in `*`, a number, or both (RFC 2231).
struct Piece {
    name: String,
    number: Option<String>,
    value: String,
    is_encoded: bool,
}

impl Piece {
    fn of(name: &str, value: &str) -> Option<Piece> {
        let (base, rest) = name.split_once('*')?;
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let number = rest.strip_suffix('*').unwrap_or(rest);
        if base.is_empty() || !base.chars().all(is_word) || !number.chars().all(|c| c.is_ascii_digit()) {
            return None;
        }
        let number = (!number.is_empty()).then(|| number.trim_start_matches('0').to_owned());
        // `name**` is not one.
        (number.is_some() || rest.is_empty()).then(|| Piece {
            name: base.to_owned(),
            number,
            value: unquoted(value).into_owned(),
            is_encoded: name.ends_with('*'),
        })
    }

    fn order(&self, other: &Piece) -> Ordering {
        let key = |piece: &Piece| {
            let number = piece.number.clone().unwrap_or_default();
            (piece.name.clone(), number.len(), number, piece.value.clone(), piece.is_encoded)
        };
        key(self).cmp(&key(other))
    }
}

/// A value from its pieces, with `%XX` and the charset decoded.
fn joined(pieces: &[Piece]) -> Result<String, InvalidParameter> {
    let value: String = pieces.iter().map(percent_decoded).collect();
    if !pieces.iter().any(|piece| piece.is_encoded) {
        return Ok(unquoted(&value).into_owned());
    }
    let mut marks = value.splitn(3, '\'');
    let (charset, text) = match (marks.next(), marks.next(), marks.next()) {
        (Some(charset), Some(_), Some(text)) => (charset.to_lowercase(), text),
        _ => ("ascii".to_owned(), value.as_str()),
    };
    if charset.contains('\0') {
        return Err(InvalidParameter);
    }
    // Python takes all signs for the same one.
    let charset = charset.replace(|c: char| c.is_alphanumeric() && !c.is_ascii(), "");
    let words = charset.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let bytes = super::decode::raw_unicode_escape(text);
    let ascii = |byte: &u8| if byte.is_ascii() { char::from(*byte) } else { char::REPLACEMENT_CHARACTER };
    Ok(match words.collect::<Vec<_>>().join("_").as_str() {
        "utf_8" | "utf8" => String::from_utf8_lossy(&bytes).into_owned(),
        "us_ascii" | "ascii" => bytes.iter().map(ascii).collect(),
        "iso_8859_1" | "latin_1" | "latin1" => bytes.iter().copied().map(char::from).collect(),
        _ => unquoted(text).into_owned(),
    })
}

/// The value with each `%XX` replaced by the character of that number, if it is encoded.
fn percent_decoded(piece: &Piece) -> String {
    let mut parts = piece.value.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| piece.is_encoded) {
            Some(byte) => {
                decoded.push(char::from(byte));
                decoded.push_str(&part[2..]);
            }
            None => {
                decoded.push('%');
                decoded.push_str(part);
            }
        }
    }
    decoded
}

/// Python's `email.utils.unquote`.
fn unquoted<'t>(text: impl Into<std::borrow::Cow<'t, str>>) -> std::borrow::Cow<'t, str> {
    let text = text.into();
    let inside = |open, close| text.strip_prefix(open).and_then(|rest: &str| rest.strip_suffix(close));
    if let Some(inner) = inside('"', '"') {
        return inner.replace("\\\\", "\\").replace("\\\"", "\"").into();
    }
    match inside('<', '>') {
        Some(inner) => inner.to_owned().into(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_parameters_as_python_does() {
        for (header, boundary) in [
            ("multipart/mixed", None),
            ("multipart/mixed; boundary=b", Some("b")),
            ("multipart/mixed; BOUNDARY = \"a b\" ; x", Some("a b")),
            ("multipart/mixed;\n\tboundary=\"b;c\"; charset=x", Some("b;c")),
            ("multipart/mixed; boundary=\"a\\\"b\"", Some("a\"b")),
            ("multipart/mixed; boundary=b; boundary=c", Some("b")),
            ("multipart/mixed; boundary=", Some("")),
            ("multipart/mixed; boundary", Some("")),
            ("multipart/mixed; boundary=<b>", Some("b")),
            ("multipart/mixed; boundary=\"<b>\"", Some("b")),
            ("multipart/mixed; boundary=b (comment)", Some("b (comment)")),
            ("multipart/mixed; boundary=\"b", Some("\"b")),
            ("multipart/mixed; boundary*=utf-8''a%20b", Some("a b")),
            ("multipart/mixed; boundary*1=b; boundary*0=a", Some("ab")),
            ("multipart/mixed; boundary*0*=us-ascii'en'%41; boundary*1=%42", Some("A%42")),
            ("multipart/mixed; boundary*=ab", Some("ab")),
        ] {
            assert_eq!(parameter(header, "boundary"), Ok(boundary.map(str::to_owned)), "{header}");
        }
        assert_eq!(parameter("multipart/mixed; boundary*=a; boundary*0=b", "boundary"), Err(InvalidParameter));
    }

    #[test]
    fn a_type_with_a_comment_is_another_type() {
        let content_type = |line: &str| {
            let mut headers = Headers::default();
            headers.push(line.as_bytes());
            headers.content_type()
        };
        assert_eq!(
            content_type("Content-Type: Text/X-ShellScript ; charset=x\r\n").as_deref(),
            Some("text/x-shellscript")
        );
        assert_eq!(content_type("content-type: text/x (script)\n").as_deref(), Some("text/x (script)"));
        assert_eq!(content_type("Content-Type: script\n").as_deref(), Some(PLAIN_TYPE));
        assert_eq!(content_type("X-Type: text/html\n"), None);
    }
}

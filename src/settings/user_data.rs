//! The settings that an instance's user data carries for us.
//!
//! In go the bytes that IMDS gives, out comes our TOML text, if there is any. It follows cloud-init, which reads the same
//! bytes (`cloudinit/user_data.py`, `convert_string` and `UserDataProcessor`), and never quotes what is not ours: whatever
//! it cannot read is somebody else's, and no error.

use std::borrow::Cow;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;
use mail_parser::{MessageParser, MessagePart, MimeHeaders};

/// The first line of a document that is ours as a whole; to TOML it is a comment.
const MARKER: &[u8] = b"#ecs-bootstrap";
/// The MIME type of a part that is ours.
const PART_TYPE: (&str, &str) = ("text", "x-ecs-bootstrap");
/// The type of a part whose first line says what it is.
const PLAIN_TYPE: (&str, &str) = ("text", "plain");
/// User data is at most 16 KiB before decompression (EC2 User Guide, "Instance user data"); more than this out of it is
/// no settings file.
const MOST_BYTES: u64 = 512 * 1024;
/// base64 around gzip around the document; a launch template encoded twice has one more.
const MOST_LAYERS: usize = 4;
/// Subtypes of `application` that cloud-init decompresses (`DECOMP_TYPES`).
const GZIP_TYPES: [&str; 8] =
    ["gzip", "gzip-compressed", "gzipped", "x-compress", "x-compressed", "x-gunzip", "x-gzip", "x-gzip-compressed"];

/// Why settings that are ours are not read. Never holds the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserDataError {
    /// Which of them wins would be a guess.
    #[error("the user data has {count} parts of type `text/x-ecs-bootstrap`, one is allowed")]
    SeveralParts {
        /// How many there are.
        count: usize,
    },
    /// TOML is UTF-8.
    #[error("the settings in the user data are not UTF-8 after byte {valid_up_to}")]
    NotUtf8 {
        /// How many bytes of the settings are UTF-8.
        valid_up_to: usize,
    },
    /// Compressed settings that grow without measure.
    #[error("the settings in the user data are longer than {MOST_BYTES} bytes once decompressed")]
    TooLong,
}

/// Our settings in the user data: the whole document when its first line is `#ecs-bootstrap`, else its one MIME part of
/// type `text/x-ecs-bootstrap` (or `text/plain` with that first line), wherever it is nested; each of them plain, gzip or base64. `None` when there is neither.
pub fn ours(bytes: &[u8]) -> Result<Option<String>, UserDataError> {
    let Some(document) = unwrapped(bytes) else { return Ok(None) };
    if is_marked(&document) {
        return text(&document).map(Some);
    }
    if !is_mime(&document) {
        return Ok(None);
    }
    let Some(message) = MessageParser::new().parse(document.as_ref()) else { return Ok(None) };
    let mut parts = message.parts.iter().filter_map(our_part);
    match (parts.next(), parts.count()) {
        (None, _) => Ok(None),
        (Some(part), 0) => text(&part).map(Some),
        (Some(_), more) => Err(UserDataError::SeveralParts { count: more + 1 }),
    }
}

fn our_part<'p>(part: &'p MessagePart) -> Option<Cow<'p, [u8]>> {
    // Without a type, a part is text/plain (RFC 2045, 5.2), and cloud-init looks at what it begins with.
    let Some(kind) = part.content_type() else { return marked_part(part) };
    let is = |(main, sub): (&str, &str)| {
        kind.ctype().eq_ignore_ascii_case(main)
            && kind.subtype().is_some_and(|subtype| subtype.eq_ignore_ascii_case(sub))
    };
    if is(PART_TYPE) {
        return Some(unwrapped(part.contents()).unwrap_or(Cow::Borrowed(part.contents())));
    }
    if is(PLAIN_TYPE) {
        return marked_part(part);
    }
    // What a compressed part is, only its text can say.
    let compressed = GZIP_TYPES.iter().any(|subtype| is(("application", subtype)));
    compressed.then(|| unwrapped(part.contents())).flatten().filter(|text| is_marked(text))
}

/// A part of no particular type that begins with our marker.
fn marked_part<'p>(part: &'p MessagePart) -> Option<Cow<'p, [u8]>> {
    Some(Cow::Borrowed(part.contents())).filter(|text| is_marked(text))
}

/// The document below gzip and base64; `None` where gzip is broken.
pub(crate) fn unwrapped(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut document = Cow::Borrowed(bytes);
    for _ in 0..MOST_LAYERS {
        if document.starts_with(&[0x1f, 0x8b]) {
            document = Cow::Owned(decompressed(&document)?);
        } else if is_marked(&document) || is_mime(&document) {
            break;
        } else if let Some(decoded) = decoded(&document) {
            document = Cow::Owned(decoded);
        } else {
            break;
        }
    }
    Some(document)
}

/// One byte more than allowed shows that there was more.
fn decompressed(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    MultiGzDecoder::new(bytes).take(MOST_BYTES + 1).read_to_end(&mut plain).ok()?;
    Some(plain)
}

/// Base64 in one line or wrapped.
pub(crate) fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
    let symbol =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=') || byte.is_ascii_whitespace();
    if !bytes.iter().all(symbol) {
        return None;
    }
    let symbols: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(symbols).ok().filter(|plain| !plain.is_empty())
}

fn without_bom(document: &[u8]) -> &[u8] {
    document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document)
}

fn is_marked(document: &[u8]) -> bool {
    let first_line = without_bom(document).split(|byte| *byte == b'\n').next().unwrap_or_default();
    first_line.trim_ascii_end().eq_ignore_ascii_case(MARKER)
}

/// Settings that are in user data and are not read, by what holds them: `None` where there are none.
pub fn skipped(bytes: &[u8]) -> Option<&'static str> {
    const ARCHIVE: &[u8] = b"#cloud-config-archive";
    let document = unwrapped(bytes)?;
    let text = without_bom(&document).trim_ascii_start();
    let is_archive = text.get(..ARCHIVE.len()).is_some_and(|start| start.eq_ignore_ascii_case(ARCHIVE));
    let holds = |word: &[u8]| text.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word));
    let speaks = is_archive && (holds(MARKER) || holds(PART_TYPE.1.as_bytes()));
    speaks.then_some("`#cloud-config-archive`; use a MIME part of type `text/x-ecs-bootstrap`")
}

/// cloud-init's own test.
fn is_mime(document: &[u8]) -> bool {
    const HEADER: &[u8] = b"mime-version:";
    let head = &document[..document.len().min(4096)];
    head.windows(HEADER.len()).any(|window| window.eq_ignore_ascii_case(HEADER))
}

fn text(ours: &[u8]) -> Result<String, UserDataError> {
    if ours.len() as u64 > MOST_BYTES {
        return Err(UserDataError::TooLong);
    }
    let text = std::str::from_utf8(without_bom(ours));
    text.map(str::to_owned).map_err(|error| UserDataError::NotUtf8 { valid_up_to: error.valid_up_to() })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    const WHOLE: &str = "#ecs-bootstrap\ncluster = \"prod\"\n";
    const TOML: &str = "cluster = \"prod\"\n";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn base64(bytes: &[u8]) -> Vec<u8> {
        let wrapped = STANDARD.encode(bytes).into_bytes();
        wrapped.chunks(76).flat_map(|line| [line, b"\n"].concat()).collect()
    }

    fn mime(parts: &[(&str, &str, &str)]) -> String {
        let mut text = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"//\"\n\n".to_owned();
        for (kind, encoding, body) in parts {
            text += &format!("--//\nContent-Type: {kind}\nContent-Transfer-Encoding: {encoding}\n\n{body}\n");
        }
        text + "--//--\n"
    }

    fn trimmed(bytes: &[u8]) -> Option<String> {
        ours(bytes).unwrap().map(|text| text.trim().to_owned())
    }

    #[test]
    fn takes_the_whole_document_in_every_wrapping() {
        let whole = WHOLE.as_bytes();
        let wrapped = [
            whole.to_vec(),
            gzip(whole),
            base64(whole),
            base64(&gzip(whole)),
            gzip(&base64(whole)),
            base64(&base64(&gzip(whole))),
        ];
        for bytes in wrapped {
            assert_eq!(ours(&bytes), Ok(Some(WHOLE.to_owned())));
        }
        assert_eq!(ours(b"\xef\xbb\xbf#ecs-bootstrap\r\n"), Ok(Some("#ecs-bootstrap\r\n".to_owned())));
        assert_eq!(ours(b"#ECS-Bootstrap\n"), Ok(Some("#ECS-Bootstrap\n".to_owned())));
        assert_eq!(ours(b"#ecs-bootstrap"), Ok(Some("#ecs-bootstrap".to_owned())));
    }

    #[test]
    fn takes_the_part_of_our_type() {
        let script = ("text/x-shellscript; charset=\"us-ascii\"", "7bit", "#!/bin/sh\ncluster=evil\n");
        let encoded = STANDARD.encode(TOML);
        for part in [
            ("text/x-ecs-bootstrap", "7bit", TOML),
            ("Text/X-ECS-Bootstrap; charset=\"utf-8\"", "8bit", TOML),
            ("text/x-ecs-bootstrap", "base64", encoded.as_str()),
            ("text/x-ecs-bootstrap", "quoted-printable", "cluster =3D \"prod\"\n"),
            ("text/plain", "7bit", WHOLE),
            ("TEXT/Plain; charset=\"us-ascii\"", "7bit", "#ECS-Bootstrap\ncluster = \"prod\"\n"),
        ] {
            let message = mime(&[script, part, script]);
            for bytes in [message.clone().into_bytes(), gzip(message.as_bytes()), base64(message.as_bytes())] {
                let text = trimmed(&bytes).unwrap_or_default();
                let text = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
                assert_eq!(text, TOML.trim(), "{part:?}");
            }
        }
    }

    #[test]
    fn takes_a_compressed_part_and_a_nested_one() {
        let compressed = STANDARD.encode(gzip(WHOLE.as_bytes()));
        let message = mime(&[("application/x-gzip", "base64", &compressed)]);
        assert_eq!(trimmed(message.as_bytes()).as_deref(), Some(WHOLE.trim()));
        let inner = "--in\nContent-Type: text/x-ecs-bootstrap\n\ncluster = \"prod\"\n--in--\n";
        let nested = mime(&[("multipart/mixed; boundary=in", "7bit", inner)]);
        assert_eq!(trimmed(nested.as_bytes()).as_deref(), Some(TOML.trim()));
    }

    #[test]
    fn a_single_message_may_be_ours() {
        let message = "Content-Type: text/x-ecs-bootstrap\nMIME-Version: 1.0\n\ncluster = \"prod\"\n";
        assert_eq!(trimmed(message.as_bytes()).as_deref(), Some(TOML.trim()));
    }

    #[test]
    fn leaves_alone_what_is_somebody_elses() {
        let others = mime(&[("text/cloud-config", "7bit", "#cloud-config\n"), ("text/plain", "7bit", TOML)]);
        let broken = &gzip(WHOLE.as_bytes())[..20];
        let documents: [&[u8]; 12] = [
            b"",
            b"\n",
            b"#!/bin/bash\necho ECS_CLUSTER=x >> /etc/ecs/ecs.config\n",
            b"#cloud-config\nruncmd: []\n",
            b"{\"ECSAgentConfiguration\":{}}",
            b"#ecs-bootstrapper\n",
            b" #ecs-bootstrap\n",
            b"Content-Type: text/x-ecs-bootstrap\n\ncluster = 1\n",
            b"\xff\xfe\x00",
            b"MIME-Version: 1.0",
            others.as_bytes(),
            broken,
        ];
        for document in documents {
            assert_eq!(ours(document), Ok(None), "{:?}", String::from_utf8_lossy(document));
        }
    }

    #[test]
    fn settings_in_an_archive_are_skipped_and_that_is_told() {
        let archive = b"#cloud-config-archive\n- type: text/x-ecs-bootstrap\n  content: |\n    cluster = \"prod\"\n";
        assert_eq!(ours(archive), Ok(None));
        assert!(skipped(archive).is_some() && skipped(&gzip(archive)).is_some());
        assert_eq!(skipped(b"#cloud-config-archive\n- type: text/cloud-config\n"), None);
        assert_eq!(skipped(WHOLE.as_bytes()), None);
    }

    #[test]
    fn refuses_two_parts_of_ours() {
        let part = ("text/x-ecs-bootstrap", "7bit", TOML);
        assert_eq!(ours(mime(&[part, part, part]).as_bytes()), Err(UserDataError::SeveralParts { count: 3 }));
    }

    #[test]
    fn says_what_is_wrong_with_settings_of_ours() {
        assert_eq!(ours(b"#ecs-bootstrap\n\xff"), Err(UserDataError::NotUtf8 { valid_up_to: 15 }));
        let bomb = gzip(&[WHOLE.as_bytes(), &vec![b'\n'; 8 << 20]].concat());
        assert_eq!(ours(&bomb), Err(UserDataError::TooLong));
        assert_eq!(ours(&gzip(&vec![b'\n'; 8 << 20])), Ok(None));
    }

    fn header_like() -> impl Strategy<Value = Vec<u8>> {
        let pieces: &[&[u8]] = &[
            b"MIME-Version: 1.0\n",
            b"Content-Type: multipart/mixed; boundary=b\n",
            b"Content-Type: text/x-ecs-bootstrap\n",
            b"Content-Type: message/rfc822\n",
            b"Content-Transfer-Encoding: base64\n",
            b"\n",
            b"\r\n",
            b"--b\n",
            b"--b--\n",
            b"=",
            b"\xff",
            b"\0",
            b";",
            b"\"",
            b"charset=utf-7",
            b"=?utf-8?b?",
            b"\x1f\x8b\x08\0",
            b"#ecs-bootstrap\n",
            b"YQ==",
            b"a",
        ];
        proptest::collection::vec(proptest::sample::select(pieces), 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = ours(&bytes);
            let _ = ours(&gzip(&bytes));
        }

        #[test]
        fn no_broken_message_makes_it_panic(bytes in header_like()) {
            let _ = ours(&bytes);
        }
    }
}

//! Decodes the content of a part as Python does: base64, quoted-printable and gzip.

use std::io::Read;

use flate2::bufread::GzDecoder;

/// The most bytes of decompressed text. EC2 allows 16 KiB before decompression (EC2 User Guide, "Instance user data"),
/// and no settings file decompresses to more than this.
pub const MAX_BYTES: u64 = 512 * 1024;

/// Text that was base64, and whether all of it was.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Base64 {
    pub(super) bytes: Vec<u8>,
    pub(super) is_valid: bool,
}

/// Decodes base64 as Python's `Message.get_payload(decode=True)`: it skips other characters, stops at the first complete
/// padding, and returns text that it cannot decode without its line breaks.
pub(super) fn base64(text: &[u8]) -> Base64 {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count, mut pads) = (0_u32, 0_u32, 0_u32);
    let (mut is_valid, mut has_ended) = (true, false);
    for byte in text {
        let Some(value) = value_of(*byte) else {
            is_valid &= *byte == b'=' || byte.is_ascii_whitespace() || *byte == 0x0b;
            if *byte == b'=' && count >= 2 {
                pads += 1;
                has_ended |= count + pads >= 4;
            }
            continue;
        };
        if has_ended {
            is_valid = false;
            break;
        }
        pads = 0;
        bits = bits << 6 | u32::from(value);
        count = (count + 1) % 4;
        if count != 1 {
            // The upper eight of the bits that were not used yet.
            bytes.push((bits >> [0, 0, 4, 2][count as usize]) as u8);
        }
    }
    if count == 1 && !has_ended {
        let bytes = text.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
        return Base64 { bytes, is_valid: false };
    }
    Base64 { bytes, is_valid }
}

fn value_of(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Decodes quoted-printable as Python's `binascii.a2b_qp`. Each byte comes with its place in the text.
pub fn quoted_printable(text: &[u8]) -> Vec<(usize, u8)> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16)).map(|digit| digit as u8);
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at).copied() {
        let place = at;
        at += 1;
        if byte != b'=' {
            decoded.push((place, byte));
            continue;
        }
        match text.get(at) {
            None => {}
            Some(b'\n' | b'\r') => {
                // A line break of another form ends at the next line feed.
                let length = text[at..].iter().position(|byte| *byte == b'\n');
                at = length.map_or(text.len(), |length| at + length + 1);
            }
            Some(b'=') => {
                decoded.push((place, b'='));
                at += 1;
            }
            Some(_) => match (digit(at), digit(at + 1)) {
                (Some(high), Some(low)) => {
                    decoded.push((place, high << 4 | low));
                    at += 2;
                }
                _ => decoded.push((place, b'=')),
            },
        }
    }
    decoded
}

/// Python's codec `raw-unicode-escape`, with which a part of other characters than ASCII becomes bytes.
pub(super) fn raw_unicode_escape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match u32::from(c) {
            code @ 0..=0xff => bytes.push(code as u8),
            code @ 0x100..=0xffff => bytes.extend(format!("\\u{code:04x}").bytes()),
            code => bytes.extend(format!("\\U{code:08x}").bytes()),
        }
    }
    bytes
}

/// Decompresses gzip, with one byte more than [`MAX_BYTES`] at most, so that the caller can see that the text is too long.
/// `None` if it is broken, or if something else than zeros follows it.
pub fn gunzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let left = (MAX_BYTES + 1).saturating_sub(plain.len() as u64);
        let mut member = GzDecoder::new(rest).take(left);
        member.read_to_end(&mut plain).ok()?;
        rest = member.into_inner().into_inner();
        if plain.len() as u64 > MAX_BYTES {
            return Some(plain);
        }
        rest = &rest[rest.iter().take_while(|byte| **byte == 0).count()..];
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    #[test]
    fn decodes_base64_as_python_does() {
        for (text, bytes, is_valid) in [
            ("YWJj", "abc", true),
            ("YW\r\nJj\n", "abc", true),
            ("YWI=", "ab", true),
            ("YWI", "ab", true),
            ("YQ", "a", true),
            ("YQ==\n", "a", true),
            ("YWJj====", "abc", true),
            ("=YQ==", "a", true),
            ("", "", true),
            ("YQ==YQ==", "a", false),
            ("Y!WJj", "abc", false),
            ("YW=Jj", "abc", true),
            ("YWJjY", "YWJjY", false),
            ("YWJj\nY", "YWJjY", false),
        ] {
            let decoded = base64(text.as_bytes());
            assert_eq!(
                (String::from_utf8(decoded.bytes).unwrap().as_str(), decoded.is_valid),
                (bytes, is_valid),
                "{text}"
            );
        }
    }

    #[test]
    fn decodes_quoted_printable_as_python_does() {
        let decoded = |text: &str| -> String {
            quoted_printable(text.as_bytes()).into_iter().map(|(_, byte)| char::from(byte)).collect()
        };
        for (text, plain) in [
            ("a =3D \"b\"\n", "a = \"b\"\n"),
            ("a=\nb", "ab"),
            ("a=\r\nb", "ab"),
            ("a=\rb\nc", "ac"),
            ("a==3D", "a=3D"),
            ("a=3", "a=3"),
            ("a=zz", "a=zz"),
            ("a=", "a"),
            ("a_b ", "a_b "),
        ] {
            assert_eq!(decoded(text), plain, "{text:?}");
        }
    }

    #[test]
    fn decompresses_as_python_does() {
        let gzip = |bytes: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let one = gzip(b"one ");
        assert_eq!(gunzip(&one).as_deref(), Some(b"one ".as_slice()));
        assert_eq!(gunzip(&[&one[..], &[0; 9], &gzip(b"two")].concat()).as_deref(), Some(b"one two".as_slice()));
        assert_eq!(gunzip(&[&one[..], &[0; 9]].concat()).as_deref(), Some(b"one ".as_slice()));
        assert_eq!(gunzip(b"").as_deref(), Some(b"".as_slice()));
        for broken in [&one[..9], &[&one[..], b"x"].concat(), b"\0", b"\x1f\x8b"] {
            assert_eq!(gunzip(broken), None, "{broken:?}");
        }
        assert_eq!(gunzip(&gzip(&vec![b'\n'; 8 << 20])).map(|plain| plain.len() as u64), Some(MAX_BYTES + 1));
    }
}

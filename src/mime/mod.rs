//! Reads a MIME message as cloud-init does: Python's `email.feedparser` and cloud-init's `UserDataProcessor`.
//!
//! In: the bytes of a message. Out: the parts that cloud-init hands to handlers, in their order, with their decoded
//! content, and the text of the message that belongs to no part. It accepts what they accept: no closing boundary, no
//! empty line after the headers of a part, broken base64. `tests/it/contract/cloud_init` compares it with cloud-init.
//!
//! It does not fetch what an `#include` names, does not unpack an archive, and leaves `x-uuencode` encoded.

mod decode;
mod feed;
mod headers;
mod part;
mod types;

pub use self::decode::{MAX_BYTES, gunzip, quoted_printable};
pub use self::feed::read;
pub use self::headers::{PLAIN_TYPE, is_blank};
pub use self::part::{Encoding, Ignored, IgnoredReason, Message, MessageError, Part};
pub use self::types::{PART_HANDLER_TYPE, SCRIPT_TYPE, SETTINGS_TYPE, is_handled, is_message, is_settings};

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    /// Type and content of each part.
    fn parts(message: &str) -> Vec<(String, String)> {
        let parts = read(message.as_bytes()).parts.into_iter();
        parts.map(|part| (part.handler_type.clone(), String::from_utf8(part.payload).unwrap())).collect()
    }

    fn script(text: &str) -> Vec<(String, String)> {
        vec![(SCRIPT_TYPE.to_owned(), text.to_owned())]
    }

    const HEAD: &str = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n";

    #[test]
    fn reads_shapes_that_are_not_of_the_standard() {
        let whole = format!("{HEAD}--b\nContent-Type: text/x-shellscript\n\n#!/bin/sh\nls\n--b--\n");
        for message in [
            whole.clone(),
            whole.replace("--b--\n", ""),
            whole.replace("\n--b--\n", ""),
            whole.replace("shellscript\n\n", "shellscript\n"),
            whole.replace("--b\n", "--b \t\n").replace("--b--\n", "--b-- \n"),
            whole.replace("1.0\n", "1.0\n folded\n\tagain\n"),
            whole.replace("--b\n", "before\n--b\n--b\n"),
            whole.replace("Content-Type: text/x-shellscript\n", ""),
            whole.replace("text/x-shellscript", "text/plain; charset=x"),
            whole.replace("text/x-shellscript", "script"),
            format!("From me\n{whole}after\n--b\n\n#!\n"),
            format!("MIME-Version: 1.0\nContent-Type: message/rfc822\n\n{whole}"),
        ] {
            assert_eq!(parts(&message), script("#!/bin/sh\nls"), "{message}");
        }
        assert_eq!(parts(&whole.replace('\n', "\r\n")), script("#!/bin/sh\r\nls"));
        assert_eq!(parts(&whole.replace('\n', "\r")), script("#!/bin/sh\rls"));
    }

    #[test]
    fn a_header_with_a_blank_before_its_colon_begins_the_text() {
        let text = format!("{HEAD}--b\nContent-Type : text/x-shellscript\n\n#!/bin/sh\n--b--\n");
        let part = ("text/plain".to_owned(), "Content-Type : text/x-shellscript\n\n#!/bin/sh".to_owned());
        assert_eq!(parts(&text), [part]);
    }

    #[test]
    fn a_closing_boundary_right_after_a_boundary_closes_nothing() {
        assert_eq!(parts(&format!("{HEAD}--b\n--b--\n\n#!/bin/sh\n")), script("#!/bin/sh"));
    }

    #[test]
    fn text_that_belongs_to_no_part_is_noted() {
        for (text, reason) in [
            ("--b\n\n#!\n--b--\nafter\n", IgnoredReason::AfterLastPart),
            ("#!\n--b\n\n#!\n--b--\n", IgnoredReason::BeforeFirstPart),
            ("--c\n\n#!\n", IgnoredReason::NoPart),
        ] {
            let ignored = read(format!("{HEAD}{text}").as_bytes()).ignored;
            assert_eq!(ignored.iter().map(|ignored| ignored.reason).collect::<Vec<_>>(), [reason], "{text}");
        }
        let ignored = read(format!("{}--b\n", HEAD.replace("; boundary=b", "")).as_bytes()).ignored;
        assert_eq!(ignored.iter().map(|ignored| ignored.reason).collect::<Vec<_>>(), [IgnoredReason::NoBoundary]);
    }

    #[test]
    fn characters_that_are_not_ascii_are_damaged_as_by_python() {
        let part = |header: &str, text: &str| {
            let message = format!("MIME-Version: 1.0\nContent-Transfer-Encoding: {header}\n\n{text}");
            read(message.as_bytes()).parts.remove(0)
        };
        let plain = part("8bit", "\u{e9}\u{20ac}\u{1f600}");
        assert_eq!(plain.payload, "\u{e9}\u{20ac}\u{1f600}".as_bytes());
        assert_eq!(plain.handed_over(), b"\xe9\\u20ac\\U0001f600");
        assert_eq!(part("base64", "w6k=").handed_over(), "\u{e9}".as_bytes());
    }

    #[test]
    fn many_lines_parts_and_levels_take_linear_time() {
        let nested: String =
            (0..4000).map(|level| format!("Content-Type: multipart/x; boundary={level}\n\n--{level}\n")).collect();
        for text in [
            "--b\n\n".repeat(100_000),
            "Content-Type: message/rfc822\n\n".repeat(15_000),
            format!("--b\n{nested}{}", "--x\n".repeat(50_000)),
            format!("--b\nContent-Type: x; {}\n", "a*=\";".repeat(100_000)),
            format!("--b\nContent-Disposition: x{}\n", ";a*0=b;c*1=d".repeat(40_000)),
            format!("--b\n{}", "a: b\n c\n".repeat(50_000)),
            format!("--b\n{}", "--b--\n".repeat(80_000)),
            format!("--b\nContent-Transfer-Encoding: quoted-printable\n\n{}", "=\r".repeat(200_000)),
            format!("--b\nContent-Type: message/delivery-status\n\n{}", "a: b\n\n".repeat(80_000)),
        ] {
            let message = format!("{HEAD}{text}");
            let start = Instant::now();
            read(message.as_bytes());
            // Without optimization it is 0.3 s. Quadratic time would be minutes.
            assert!(start.elapsed() < Duration::from_secs(10), "{:?}: {}", start.elapsed(), &text[..40]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

        #[test]
        fn no_bytes_make_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            text in concat!(
                "(MIME-Version: 1.0\n|Content-Type: (multipart/mixed; boundary=|multipart/digest; boundary=|message/x|",
                "message/delivery-status|application/gzip|text/plain; name)|Content-Disposition: x; filename\\*|",
                "Content-Transfer-Encoding: (base64|quoted-printable)\n|--b|b|--|From |\n|\r| |\"|=|'|%C3|\u{e9}|;|:|#!){0,60}"
            ),
        ) {
            for message in [bytes.as_slice(), text.as_bytes(), &[text.as_bytes(), &bytes].concat()] {
                for part in read(message).parts {
                    prop_assert!(part.body.iter().all(|range| message.get(range.clone()).is_some()));
                }
            }
        }
    }
}

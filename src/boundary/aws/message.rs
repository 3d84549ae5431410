//! The message of an error answer of an AWS service, without secrets.
//!
//! In: the service's text. It may quote the request: a signature error repeats the headers with the session token. Out:
//! only words, principals, actions, resources and numbers; all other parts become `...`.

use std::fmt;
use std::ops::Deref;

/// The most bytes of a message that are used.
const MAX_LENGTH: usize = 4096;
/// Words in AWS's messages that do not consist of letters only.
const WORDS: [&str; 8] = ["EC2", "S3", "IPv4", "IPv6", "SHA256", "AWS4-HMAC-SHA256", "x509", "400"];
/// The most bytes of a word.
const MAX_WORD_LENGTH: usize = 40;
/// The most bytes of an ARN.
const MAX_ARN_LENGTH: usize = 400;

/// A message. Comparisons use the service's text; `Display` and `Debug` show only its safe parts.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Message(String);

impl Message {
    /// Keeps the first paragraph of the service's text. Later paragraphs quote the request.
    pub fn new(text: &str) -> Message {
        let first = text.split(['\n', '\r']).find(|line| !line.trim().is_empty()).unwrap_or_default();
        let end = (0..=MAX_LENGTH.min(first.len())).rev().find(|at| first.is_char_boundary(*at)).unwrap_or(0);
        Message(first[..end].trim().replace(char::is_control, " "))
    }

    /// The service's text without omissions, for a tool whose user wrote the request.
    pub fn verbatim(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Message {
        Message::new(text)
    }
}

/// For comparisons with texts in AWS's documentation.
impl Deref for Message {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left_out = false;
        for (at, token) in self.0.split_whitespace().enumerate() {
            let is_shown = is_shown(token);
            if is_shown || !left_out {
                let blank = if at > 0 { " " } else { "" };
                write!(f, "{blank}{}", if is_shown { token } else { "..." })?;
            }
            left_out = !is_shown;
        }
        Ok(())
    }
}

/// An error code such as `AccessDeniedException` or `AutoScaling.ValidationError`. Another text is replaced.
pub(super) fn error_code(text: String) -> String {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    if (1..=100).contains(&text.len()) && text.bytes().all(is_allowed) {
        text
    } else {
        "an invalid error code".to_owned()
    }
}

/// Whether a token may be shown: a word, a number, an action, an ARN or the name of an endpoint, with punctuation.
fn is_shown(token: &str) -> bool {
    let core = token.trim_matches(|c: char| ".,;:!?()[]'\"".contains(c));
    let parts = || core.split(['-', '/', '\'', '_']);
    let is_word = |part: &str| part.len() <= MAX_WORD_LENGTH && part.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_number = core.bytes().all(|byte| byte.is_ascii_digit() || b"-:.+%TZ".contains(&byte)) && core.len() <= 32;
    let is_action = core.split_once(':').is_some_and(|(service, action)| {
        let is_service = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        service.len() <= MAX_WORD_LENGTH && service.bytes().all(is_service) && is_word(action.trim_end_matches('*'))
    });
    let is_arn = core.len() <= MAX_ARN_LENGTH
        && core.starts_with("arn:")
        && core.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":/_+,.@-*=".contains(&byte));
    let is_endpoint = core.len() <= 100
        && [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"].iter().any(|end| core.ends_with(end))
        && core.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    // `eu-west-1`, `i-0123456789abcdef0`, `vpce-...`.
    let is_region = core.len() <= 20
        && core.split_once('-').is_some_and(|(area, rest)| {
            area.len() == 2 && is_word(area) && rest.split('-').all(|part| is_word(part) || part.len() == 1)
        });
    let is_id = core.rsplit_once('-').is_some_and(|(kind, id)| {
        is_word(kind)
            && (8..=17).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    });
    parts().all(is_word)
        || core == "*"
        || is_region
        || is_id
        || is_number
        || is_action
        || is_arn
        || is_endpoint
        || WORDS.contains(&core)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_shown_without_quoted_parts_of_the_request() {
        for (text, expected) in [
            (
                "User: arn:aws:sts::111122223333:assumed-role/app-1/i-0123456789abcdef0 is not authorized to perform: ecs:DescribeClusters on resource: arn:aws:ecs:eu-west-1:111122223333:cluster/prod because no identity-based policy allows the ecs:DescribeClusters action",
                "User: arn:aws:sts::111122223333:assumed-role/app-1/i-0123456789abcdef0 is not authorized to perform: ecs:DescribeClusters on resource: arn:aws:ecs:eu-west-1:111122223333:cluster/prod because no identity-based policy allows the ecs:DescribeClusters action",
            ),
            (
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.\n\nThe Canonical String for this request should have been\n'POST\n/\n\nx-amz-security-token:hunter2",
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.",
            ),
            (
                "Signature expired: 20261128T101010Z is now earlier than 20261128T102010Z (20261128T102510Z - 5 min.)",
                "Signature expired: 20261128T101010Z is now earlier than 20261128T102010Z (20261128T102510Z - 5 min.)",
            ),
            (
                "Authorization header requires 'Credential' parameter. Authorization=AWS4-HMAC-SHA256 Signature=hunter2",
                "Authorization header requires 'Credential' parameter. ...",
            ),
            (
                "1 validation error detected: Value 'hunter2' at 'clusters' failed to satisfy constraint",
                "1 validation error detected: Value ... at 'clusters' failed to satisfy constraint",
            ),
            (
                "You are not authorized to perform this operation. Encoded authorization failure message: Zm9v-hunter2_x",
                "You are not authorized to perform this operation. Encoded authorization failure message: ...",
            ),
            (
                "The security token included in the request is expired",
                "The security token included in the request is expired",
            ),
            ("Rate exceeded", "Rate exceeded"),
            (
                "Stack web-2 of i-0123456789abcdef0 in eu-west-1 is in CREATE_COMPLETE state and cannot be signaled, resource: *",
                "Stack ... of i-0123456789abcdef0 in eu-west-1 is in CREATE_COMPLETE state and cannot be signaled, resource: *",
            ),
            ("a\u{1b}[2J b", "a ... b"),
            ("", ""),
        ] {
            assert_eq!(Message::new(text).to_string(), expected);
        }
    }

    #[test]
    fn the_length_of_a_message_is_limited() {
        assert!(Message::new(&"word ".repeat(1 << 20)).to_string().len() <= MAX_LENGTH);
        assert_eq!(Message::new(&"x".repeat(1 << 20)).to_string(), "...");
    }

    proptest::proptest! {
        #[test]
        fn no_text_causes_a_panic(text: String) {
            let shown = Message::new(&text).to_string();
            proptest::prop_assert!(shown.is_ascii());
        }
    }
}

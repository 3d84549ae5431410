//! Compares the reader of MIME messages with cloud-init.
//!
//! In: generated messages. Out: assertions that `mime` finds the same parts, that a fault is reported exactly if
//! cloud-init loses something, and that the settings are the part of their type. `tests/run contract` fetches cloud-init.

mod grammar;
mod oracle;

use self::oracle::{Oracle, ReadPart, Reading};
use ecs_bootstrap::evidence::user_data;
use ecs_bootstrap::mime::{self, Message, SETTINGS_TYPE};
use ecs_bootstrap::settings::user_data::{UserDataError, settings_in};

/// The number of generated messages.
const MESSAGES: u64 = 4000;

#[test]
fn mime_messages_are_read_as_cloud_init_reads_them() {
    let messages: Vec<_> = (0..MESSAGES).map(grammar::message).collect();
    let readings = Oracle::start().read(&messages);
    let mut differences = Vec::new();
    let mut seen = Seen::default();
    for (number, (message, reading)) in messages.iter().zip(&readings).enumerate() {
        let found = seen.differences(message, reading);
        if !found.is_empty() {
            let text = String::from_utf8_lossy(message);
            differences.push(format!("message {number}: {}\n{text:?}\n{reading:?}", found.join("; ")));
        }
    }
    let first: Vec<_> = differences.iter().take(5).map(String::as_str).collect();
    assert!(differences.is_empty(), "{} of {MESSAGES} differ\n{}", differences.len(), first.join("\n\n"));
    println!("{seen:?}");
    // Each kind of message is generated often enough to show a difference.
    let counts = [seen.faultless, seen.with_fault, seen.given_up, seen.settings, seen.no_message];
    assert!(counts.iter().all(|count| *count >= MESSAGES as usize / 100), "{seen:?}");
}

/// How many messages of each kind were compared.
#[derive(Debug, Default)]
struct Seen {
    faultless: usize,
    with_fault: usize,
    given_up: usize,
    settings: usize,
    no_message: usize,
}

impl Seen {
    /// The differences between the product and cloud-init for a message.
    fn differences(&mut self, document: &[u8], reading: &Reading) -> Vec<String> {
        let mut differences = Vec::new();
        let faults: Vec<_> = user_data::read(Some(document)).mime.into_iter().map(|fault| fault.text).collect();
        if !mime::is_message(document) {
            self.no_message += 1;
            if !faults.is_empty() && reading.losses.is_empty() {
                differences.push(format!("{faults:?} without a loss"));
            }
            return differences;
        }
        let message = mime::read(document);
        if message.error.is_some() != reading.error.is_some() {
            differences.push(format!("{:?} and {:?}", message.error, reading.error));
        }
        if faults.is_empty() != reading.losses.is_empty() {
            differences.push(format!("faults {faults:?}, losses {:?}", reading.losses));
        }
        if reading.error.is_some() {
            self.given_up += 1;
            return differences;
        }
        *(if faults.is_empty() { &mut self.faultless } else { &mut self.with_fault }) += 1;
        let parts = parts(&message, &reading.parts);
        if parts != reading.parts {
            differences.push(format!("parts {parts:?}"));
        }
        differences.extend(self.settings(document, &reading.parts));
        differences
    }

    /// The difference between the settings and the parts of their type.
    fn settings(&mut self, document: &[u8], parts: &[ReadPart]) -> Option<String> {
        let has_marker = |part: &&ReadPart| {
            let untyped = ["text/plain", "text/x-not-multipart"].contains(&part.content_type.as_str());
            part.content_type == SETTINGS_TYPE || (untyped && mime::is_settings(without_bom(&part.payload)))
        };
        let mut expected = parts.iter().filter(has_marker);
        let settings = settings_in(document);
        let is_right = match (expected.next(), expected.count(), &settings) {
            (None, _, Ok(None)) => true,
            (Some(part), 0, Ok(Some(text))) => {
                self.settings += 1;
                // The settings are read from the message, in which no character is damaged yet.
                let payload = without_bom(&part.payload);
                text.as_bytes() == payload || escaped(text) == payload || is_encoded(payload)
            }
            (Some(part), 0, Err(UserDataError::NotUtf8 { .. })) => std::str::from_utf8(&part.payload).is_err(),
            (Some(_), more, Err(UserDataError::SeveralParts { count })) => more + 1 == *count,
            _ => false,
        };
        (!is_right).then(|| format!("settings {settings:?}"))
    }
}

/// The parts that `mime` finds, in the form of the oracle.
fn parts(message: &Message, expected: &[ReadPart]) -> Vec<ReadPart> {
    let part = |(index, part): (usize, &mime::Part)| {
        let content_type = part.handler_type.replace("-once-url", "-url");
        let default = expected.get(index).and_then(|part| part.name.clone());
        // cloud-init names a part without a name by its number, and an address list not at all.
        let name = part.file_name.clone().filter(|name| !name.is_empty() && default.is_some()).or(default);
        ReadPart { content_type, name, payload: part.handed_over().to_vec() }
    };
    message.parts.iter().enumerate().map(part).collect()
}

/// The content without a byte order mark, or what cloud-init makes of it.
fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").or(bytes.strip_prefix(b"\\ufeff")).unwrap_or(bytes)
}

/// Python's codec `raw-unicode-escape`, or UTF-8 if cloud-init got that.
fn escaped(text: &str) -> Vec<u8> {
    text.chars()
        .flat_map(|c| match u32::from(c) {
            code @ 0..=0xff => vec![code as u8],
            code @ 0x100..=0xffff => format!("\\u{code:04x}").into_bytes(),
            code => format!("\\U{code:08x}").into_bytes(),
        })
        .collect()
}

/// Whether the content of a part may be base64 or gzip again, which ecs-bootstrap decodes and cloud-init does not.
fn is_encoded(payload: &[u8]) -> bool {
    let symbol = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/= \t\r\n".contains(byte);
    payload.iter().all(symbol) || payload.starts_with(&[0x1f, 0x8b])
}

//! Redaction: the only place that decides which text may leave this process or become evidence.
//!
//! In: any text, trusted or not. Out: text without secrets and without characters that control a terminal or fake a new
//! line. A line has at most [`MAX_LINE`] bytes, and the evidence of a finding at most [`MAX_LINES`] lines. Every output
//! is redacted here: stdout, stderr, the journal, `STATUS=`, `status.json`, the support bundle, signals and tags. Every
//! finding is redacted before it is stored.
//!
//! - `forms` finds secrets in free text by their form.
//! - `names` decides which names belong to secrets.
//! - `variables` has a stricter rule for the variables of `ecs.config`: only values of known variables without secrets
//!   are shown.

mod forms;
mod names;
mod variables;

pub use names::{REDACTED, is_secret_name};
pub use variables::{cluster, is_plain_comment, is_shown_whole, variable, variable_name};

use std::borrow::Cow;

use serde_json::Value;

/// The longest line, in bytes. With its label (`seen: ` or a JSON key), a printed line fits into 1 KiB.
pub const MAX_LINE: usize = 900;
/// The most lines of evidence of one finding.
pub const MAX_LINES: usize = 20;
/// The most bytes of a text of several lines, for example of the `ecs.config` in `plan --json`.
pub const MAX_TEXT: usize = 8 << 10;
/// The most bytes of a line that are searched for secrets. The rest of a longer line is not shown.
const MAX_READ: usize = 16 << 10;
/// The bytes kept of the end of a line that is cut. The end often holds the important part, so it gets a third.
const KEPT_END: usize = MAX_LINE / 3;
/// The longest name, for example of a cluster, in bytes.
const MAX_NAME_LENGTH: usize = 255;
/// The longest key of a JSON document, in bytes.
const MAX_KEY_LENGTH: usize = 100;
/// The bytes reserved for the note on how much is left out.
const MARK: usize = 40;

/// Redacts a text and makes it one line. A line break becomes a blank.
pub fn line(text: &str) -> String {
    let head = head(text);
    let note = match text.len() - head.len() {
        0 => String::new(),
        more => format!("<{more} more bytes>"),
    };
    clipped(&printable(&forms::without_secrets(head), |_| ' '), MAX_LINE - note.len()).into_owned() + &note
}

/// The message of an error with the messages of its sources, as one redacted line without repetitions.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    // The message of a JSON error can contain a part of the document.
    let message = |error: &(dyn std::error::Error + 'static)| match error.downcast_ref::<serde_json::Error>() {
        Some(error) => json_error(error),
        None => error.to_string(),
    };
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let part = message(error);
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        source = error.source();
    }
    line(&text)
}

/// Redacts the lines of a finding.
pub fn lines(texts: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut texts = texts.into_iter();
    let mut kept: Vec<String> = texts.by_ref().take(MAX_LINES).map(|text| line(&text)).collect();
    let more = texts.count();
    if more > 0 {
        kept.truncate(MAX_LINES - 1);
        kept.push(format!("{} more lines are not shown", more + 1));
    }
    kept
}

/// Redacts a text of several lines, each as [`line`] does, and notes how many lines are not shown.
pub fn text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(MAX_TEXT));
    let mut rest = text.split_inclusive('\n');
    for part in rest.by_ref() {
        let (body, end) = part.strip_suffix('\n').map_or((part, ""), |body| (body, "\n"));
        let body = line(body.strip_suffix('\r').unwrap_or(body));
        if shown.len() + body.len() > MAX_TEXT {
            shown.push_str(&format!("{} more lines are not shown{end}", rest.count() + 1));
            break;
        }
        shown.push_str(&body);
        shown.push_str(end);
    }
    shown
}

/// Redacts every string of a JSON document, keys too, as [`text`] does. Each is short enough for one line of indented
/// JSON.
pub fn json(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(cut_for_json(self::text(&text), MAX_LINE)),
        Value::Array(items) => Value::Array(items.into_iter().map(json).collect()),
        Value::Object(members) => Value::Object(
            members.into_iter().map(|(key, value)| (cut_for_json(line(&key), MAX_KEY_LENGTH), json(value))).collect(),
        ),
        other => other,
    }
}

/// The text, cut so that it takes at most `longest` bytes in JSON, where quotes, backslashes and line breaks take two.
fn cut_for_json(text: String, longest: usize) -> String {
    let is_doubled = |byte: &u8| matches!(byte, b'"' | b'\\' | b'\n');
    let more = text.bytes().filter(|byte| is_doubled(byte)).count();
    if text.len() + more <= longest {
        return text;
    }
    // The rest may consist of doubled bytes only, so half of `longest` always fits.
    clipped(&text, longest.saturating_sub(more).max(longest / 2)).into_owned()
}

/// The first items whose lengths add up to at most `bytes`.
pub fn at_most<T>(bytes: usize, items: impl IntoIterator<Item = T>, length: impl Fn(&T) -> usize) -> Vec<T> {
    let mut left = bytes;
    let fits = |item: &T| {
        let rest = left.checked_sub(length(item));
        left = rest.unwrap_or(left);
        rest.is_some()
    };
    items.into_iter().take_while(fits).collect()
}

/// The reason of a JSON error, without a part of the document.
pub fn json_error(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Io => "cannot be read",
        serde_json::error::Category::Syntax => "is not JSON",
        serde_json::error::Category::Data => "is not JSON of the expected form",
        serde_json::error::Category::Eof => "is incomplete JSON",
    };
    match error.line() {
        0 => format!("it {what}"),
        line => format!("it {what} (line {line}, column {})", error.column()),
    }
}

/// The last check of all printed text. It keeps line breaks, replaces control characters and cuts long lines. It does
/// not search for secrets.
pub fn printed(text: &str) -> Cow<'_, str> {
    const MAX_BYTES: usize = 1024;
    let is_clean = |c: char| c == '\n' || !is_unprintable(c);
    if text.chars().all(is_clean) && text.split('\n').all(|line| line.len() <= MAX_BYTES) {
        return Cow::Borrowed(text);
    }
    let lines: Vec<_> =
        text.split('\n').map(|line| clipped(&printable(line, |_| ' '), MAX_BYTES).into_owned()).collect();
    Cow::Owned(lines.join("\n"))
}

/// The name at the start of a value. It ends before the first character that `is_part` refuses, and the number of the
/// remaining bytes follows. If a value holds two settings by mistake, the second one may be secret.
pub fn name(value: &str, is_part: impl Fn(char) -> bool) -> String {
    let end = value.find(|c| !is_part(c)).unwrap_or(value.len()).min(floor(value, MAX_NAME_LENGTH));
    if end == value.len() { value.to_owned() } else { cut(value, end) }
}

fn cut(value: &str, end: usize) -> String {
    let end = floor(value, end);
    format!("{}<{} more bytes>", &value[..end], value.len() - end)
}

/// A word of a command that a person copies into a shell, quoted so that the shell expands nothing in it (sh(1),
/// quoting).
pub fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) && !word.starts_with('-') {
        word.to_owned()
    } else {
        format!("'{}'", printable(word, |_| ' ').replace('\'', r"'\''"))
    }
}

/// Whether a terminal or a program that reads lines would do more than print the character: control characters, line
/// separators, and invisible characters, for example those that change the direction of text (Unicode, category Cf).
pub fn is_unprintable(c: char) -> bool {
    // Almost all characters are ASCII.
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Replaces unprintable characters: white space by the result of `space`, others by their escape, such as `\u{1b}`.
fn printable(text: &str, space: impl Fn(char) -> char) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if !is_unprintable(c) => shown.push(c),
            c if c.is_whitespace() => shown.push(space(c)),
            c => shown.extend(c.escape_unicode()),
        }
    }
    shown
}

/// The part of a text that is searched for secrets. It ends between two words, because the end of a word may show that
/// it is a secret.
fn head(text: &str) -> &str {
    if text.len() <= MAX_READ {
        return text;
    }
    let head = &text[..floor(text, MAX_READ)];
    &head[..head.rfind(char::is_whitespace).unwrap_or(0)]
}

/// The text, or, if it is longer than `longest` bytes, its beginning and its end with a note on the bytes between them.
fn clipped(text: &str, longest: usize) -> Cow<'_, str> {
    if text.len() <= longest {
        return Cow::Borrowed(text);
    }
    let end = text.len() - KEPT_END.min(longest / 3);
    let end = (end..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let begin = floor(text, longest.saturating_sub(text.len() - end + MARK));
    Cow::Owned(format!("{}... {} bytes left out ...{}", &text[..begin], end - begin, &text[end..]))
}

/// The last character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printed` must not cut a JSON document inside an escape.
    #[test]
    fn the_lines_of_a_document_need_no_cutting() {
        for part in ["a", "\"", "\\", "\n", "a\n", "\u{1b}", "é\n\"", "ECS_X=<1 bytes>\n", "password=hunter2 "] {
            for times in [1, 99, 449, 450, 451, 899, 900, 901, 5000] {
                let text = part.repeat(times);
                let document = json(serde_json::json!({ text.clone(): [{ "x": text.clone() }] }));
                let pretty = serde_json::to_string_pretty(&document).unwrap();
                assert_eq!(printed(&pretty), pretty, "{part:?} {times} times");
            }
        }
    }

    #[test]
    fn a_line_has_no_control_characters() {
        for (text, expected) in [
            ("prod", "prod"),
            ("größe 東京 naïve", "größe 東京 naïve"),
            ("a\nerror: [forged] b", "a error: [forged] b"),
            ("a\r\nb\tc\u{85}d\u{2028}e", "a  b c d e"),
            ("\u{1b}[2J\u{9b}31m\u{7}x\u{0}", r"\u{1b}[2J\u{9b}31m\u{7}x\u{0}"),
            ("abc\u{202e}fed\u{200b}\u{feff}", r"abc\u{202e}fed\u{200b}\u{feff}"),
        ] {
            assert_eq!(line(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_long_line_keeps_its_beginning_and_its_end() {
        let long = format!("begin {} end", "é".repeat(400_000));
        let shown = line(&long[..]);
        assert!(shown.len() <= MAX_LINE && shown == "begin<800005 more bytes>", "{shown}");
        let shown = line(&format!("begin {} the deciding end", "a ".repeat(2000)));
        assert!(shown.len() <= MAX_LINE && shown.ends_with("the deciding end"), "{shown}");
    }

    #[test]
    fn lines_over_the_limit_are_counted() {
        let shown = lines((0..1203).map(|number| format!("cluster {number}")));
        assert_eq!((shown.len(), shown[MAX_LINES - 1].as_str()), (MAX_LINES, "1184 more lines are not shown"));
        assert_eq!(lines((0..20).map(|number| number.to_string())).len(), 20);
        let shown = text(&"x".repeat(80).add_line().repeat(10_000));
        assert!(shown.len() < MAX_TEXT + 100 && shown.ends_with("more lines are not shown\n"), "{shown}");
    }

    trait AddLine {
        fn add_line(self) -> String;
    }
    impl AddLine for String {
        fn add_line(self) -> String {
            self + "\n"
        }
    }

    #[test]
    fn a_value_is_cut_at_the_end_of_its_name() {
        let part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert_eq!(name("shop-prod", part), "shop-prod");
        let glued = r#"shop-prodECS_ENGINE_AUTH_DATA={"r":{"auth":"hunter2"}}"#;
        assert_eq!(name(glued, part), "shop-prodECS_ENGINE_AUTH_DATA<25 more bytes>");
    }

    #[test]
    fn a_shell_word_is_quoted_if_necessary() {
        for (word, expected) in [
            ("prod", "prod"),
            ("arn:aws:ecs:eu-west-1:111122223333:cluster/prod", "arn:aws:ecs:eu-west-1:111122223333:cluster/prod"),
            ("", "''"),
            ("--all", "'--all'"),
            ("a;rm -rf /", "'a;rm -rf /'"),
            ("$(reboot)`x`", "'$(reboot)`x`'"),
            ("it's", r"'it'\''s'"),
            ("a\nb", "'a b'"),
            ("~root", "'~root'"),
        ] {
            assert_eq!(shell_word(word), expected, "{word:?}");
        }
    }

    #[test]
    fn printed_text_has_no_control_characters_and_no_long_lines() {
        assert!(matches!(printed("ready\nseen: x\n"), Cow::Borrowed(_)));
        assert_eq!(printed("a\u{1b}[2J\n\rb\n"), "a\\u{1b}[2J\n b\n");
        let long = format!("{}\nshort\n", "x".repeat(1 << 20));
        assert!(printed(&long).split('\n').all(|line| line.len() <= 1024));
    }

    proptest::proptest! {
        #[test]
        fn no_text_exceeds_a_limit(text: String, count in 0usize..3000) {
            let long = text.repeat(count.min(1 << 16));
            let shown = line(&long);
            proptest::prop_assert!(shown.len() <= MAX_LINE, "{}", shown.len());
            proptest::prop_assert!(!shown.contains(is_unprintable));
            proptest::prop_assert!(!self::text(&long).contains(|c| c != '\n' && is_unprintable(c)));
        }
    }
}

//! The one place that decides which text may leave this process, or become evidence.
//!
//! In: any text, trusted or not. Out: text without secrets, without characters that control a terminal or forge a line,
//! at most [`MAX_LINE`] bytes a line and [`MAX_LINES`] lines. Every output passes here: stdout, stderr, the journal,
//! `STATUS=`, `status.json`, the support bundle, signals and tags; and every finding, before it is stored.
//!
//! What a secret looks like in free text is in `forms`. The variables of `ecs.config` have a stricter rule, in
//! `variables`: only values of known variables without secrets are shown.

mod forms;
mod variables;

pub use forms::REDACTED;
pub use variables::{cluster, is_shown_whole, variable, variable_name};

use std::borrow::Cow;

use serde_json::Value;

/// The longest line, in bytes. The rest of a line that is printed with a label (`seen: `, JSON keys) fits into 1 KiB.
pub const MAX_LINE: usize = 900;
/// The most lines of evidence of one finding.
pub const MAX_LINES: usize = 20;
/// The most bytes of one text of several lines, for example of the `ecs.config` in `plan --json`.
pub const MAX_TEXT: usize = 8 << 10;
/// The most bytes of a line that are looked at: a secret is found by its form, and what follows a megabyte is not read.
const MAX_READ: usize = 16 << 10;
/// Where a line is cut: its end often holds the part that decides, so a third of the space is kept for it.
const KEPT_END: usize = MAX_LINE / 3;
/// The longest name, for example of a cluster, in bytes.
const LONGEST_NAME: usize = 255;
/// The longest key of a document.
const LONGEST_KEY: usize = 100;
/// The room for the words that say how much is left out.
const MARK: usize = 40;

/// One line: a line break becomes a blank.
pub fn line(text: &str) -> String {
    let head = head(text);
    let more = match text.len() - head.len() {
        0 => String::new(),
        more => format!("<{more} more bytes>"),
    };
    clipped(&printable(&forms::without_secrets(head), |_| ' '), MAX_LINE - more.len()).into_owned() + &more
}

/// An error with its sources as one line, without repetitions and without secrets.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    // The text of a JSON error can quote the document.
    let words = |error: &(dyn std::error::Error + 'static)| match error.downcast_ref::<serde_json::Error>() {
        Some(error) => json_error(error),
        None => error.to_string(),
    };
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let part = words(error);
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        source = error.source();
    }
    line(&text)
}

/// The lines of one finding.
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

/// A text of several lines, each of them as [`line`] has it, and a note on how many are not shown.
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

/// Every string of a document, keys included, as [`text`] has it, and short enough to be one line of indented JSON.
pub fn json(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(escaped(self::text(&text), MAX_LINE)),
        Value::Array(items) => Value::Array(items.into_iter().map(json).collect()),
        Value::Object(members) => Value::Object(
            members.into_iter().map(|(key, value)| (escaped(line(&key), LONGEST_KEY), json(value))).collect(),
        ),
        other => other,
    }
}

/// The text, cut where JSON needs more than `longest` bytes for it: quotes, backslashes and line breaks take two.
fn escaped(text: String, longest: usize) -> String {
    let is_doubled = |byte: &u8| matches!(byte, b'"' | b'\\' | b'\n');
    let more = text.bytes().filter(|byte| is_doubled(byte)).count();
    match text.len() + more <= longest {
        true => text,
        // What is left may hold nothing but what is doubled.
        false => clipped(&text, longest.saturating_sub(more).max(longest / 2)).into_owned(),
    }
}

/// The first of them that take at most `bytes` together.
pub fn at_most<T>(bytes: usize, items: impl IntoIterator<Item = T>, length: impl Fn(&T) -> usize) -> Vec<T> {
    let mut left = bytes;
    let fits = |item: &T| {
        let rest = left.checked_sub(length(item));
        left = rest.unwrap_or(left);
        rest.is_some()
    };
    items.into_iter().take_while(fits).collect()
}

/// Why something is not the JSON that was expected, without a part of it.
pub fn json_error(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Io => "cannot be read",
        serde_json::error::Category::Syntax => "is not JSON",
        serde_json::error::Category::Data => "is not JSON of the expected form",
        serde_json::error::Category::Eof => "is JSON that breaks off",
    };
    match error.line() {
        0 => format!("it {what}"),
        line => format!("it {what} (line {line}, column {})", error.column()),
    }
}

/// What is printed, whatever it is: the last check, which cannot tell secrets any more. Line breaks stay.
pub fn printed(text: &str) -> Cow<'_, str> {
    const LONGEST: usize = 1024;
    let is_clean = |c: char| c == '\n' || !is_unprintable(c);
    if text.chars().all(is_clean) && text.split('\n').all(|line| line.len() <= LONGEST) {
        return Cow::Borrowed(text);
    }
    let lines: Vec<_> = text.split('\n').map(|line| clipped(&printable(line, |_| ' '), LONGEST).into_owned()).collect();
    Cow::Owned(lines.join("\n"))
}

/// The name that a value begins with, where the value is not a name as a whole: it ends at the first character that
/// `is_part` refuses, and what is left out is only counted. Two settings on one line look like this.
pub fn name(value: &str, is_part: impl Fn(char) -> bool) -> String {
    let end = value.find(|c| !is_part(c)).unwrap_or(value.len()).min(floor(value, LONGEST_NAME));
    match end == value.len() {
        true => value.to_owned(),
        false => cut(value, end),
    }
}

fn cut(value: &str, end: usize) -> String {
    let end = floor(value, end);
    format!("{}<{} more bytes>", &value[..end], value.len() - end)
}

/// A word of a command that a person copies into a shell (sh(1), quoting): nothing in it is expanded.
pub fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,=".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) && !word.starts_with('-') {
        true => word.to_owned(),
        false => format!("'{}'", printable(word, |_| ' ').replace('\'', r"'\''")),
    }
}

/// Whether a terminal, a pager or a reader of lines takes the character for more than a mark on the screen: control
/// characters, line separators, and the invisible ones that change the direction of text (Unicode, category Cf).
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// White space that controls is what `space` makes of it; anything else that controls is U+FFFD.
fn printable(text: &str, space: impl Fn(char) -> char) -> String {
    let visible = |c: char| match c {
        c if !is_unprintable(c) => c,
        c if c.is_whitespace() => space(c),
        _ => char::REPLACEMENT_CHARACTER,
    };
    text.chars().map(visible).collect()
}

/// What of a text is looked at: whole words, since the end of a word may show that it is a secret.
fn head(text: &str) -> &str {
    if text.len() <= MAX_READ {
        return text;
    }
    let head = &text[..floor(text, MAX_READ)];
    &head[..head.rfind(char::is_whitespace).unwrap_or(0)]
}

/// The beginning and the end of a text that is too long, and how much is between them.
fn clipped(text: &str, longest: usize) -> Cow<'_, str> {
    if text.len() <= longest {
        return Cow::Borrowed(text);
    }
    let end = text.len() - KEPT_END.min(longest / 3);
    let end = (end..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let begin = floor(text, longest.saturating_sub(text.len() - end + MARK));
    Cow::Owned(format!("{}... {} bytes left out ...{}", &text[..begin], end - begin, &text[end..]))
}

/// The last place at or before `at` where the text may be cut.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printing must not cut a document inside an escape.
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
    fn a_line_is_one_line_that_drives_no_terminal() {
        for (text, expected) in [
            ("prod", "prod"),
            ("größe 東京 naïve", "größe 東京 naïve"),
            ("a\nerror: [forged] b", "a error: [forged] b"),
            ("a\r\nb\tc\u{85}d\u{2028}e", "a  b c d e"),
            ("\u{1b}[2J\u{9b}31m\u{7}x\u{0}", "\u{fffd}[2J\u{fffd}31m\u{fffd}x\u{fffd}"),
            ("abc\u{202e}fed\u{200b}\u{feff}", "abc\u{fffd}fed\u{fffd}\u{fffd}"),
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
    fn many_lines_are_counted() {
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
    fn what_is_no_name_is_cut_where_the_name_ends() {
        let part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert_eq!(name("shop-prod", part), "shop-prod");
        let glued = r#"shop-prodECS_ENGINE_AUTH_DATA={"r":{"auth":"hunter2"}}"#;
        assert_eq!(name(glued, part), "shop-prodECS_ENGINE_AUTH_DATA<25 more bytes>");
    }

    #[test]
    fn a_word_of_a_command_is_one_word() {
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
    fn what_is_printed_is_checked_once_more() {
        assert!(matches!(printed("ready\nseen: x\n"), Cow::Borrowed(_)));
        assert_eq!(printed("a\u{1b}[2J\n\rb\n"), "a\u{fffd}[2J\n b\n");
        let long = format!("{}\nshort\n", "x".repeat(1 << 20));
        assert!(printed(&long).split('\n').all(|line| line.len() <= 1024));
    }

    proptest::proptest! {
        #[test]
        fn no_text_can_break_a_bound(text: String, count in 0usize..3000) {
            let long = text.repeat(count.min(1 << 16));
            let shown = line(&long);
            proptest::prop_assert!(shown.len() <= MAX_LINE, "{}", shown.len());
            proptest::prop_assert!(!shown.contains(is_unprintable));
            proptest::prop_assert!(!self::text(&long).contains(|c| c != '\n' && is_unprintable(c)));
        }
    }
}

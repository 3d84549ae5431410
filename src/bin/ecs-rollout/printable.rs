//! Makes text from outside printable: messages of ECS, log lines of containers, and parts of files.

/// The text without characters by which it could control a terminal or hide a part of itself. Each line after the first
/// begins with `indent`; other control characters and invisible ones are shown as escapes, for example `\u{1b}`.
pub(crate) fn printable(text: &str, indent: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let lines = text.trim_end_matches(['\r', '\n']).split('\n');
    for (index, line) in lines.enumerate() {
        if index > 0 {
            shown.push('\n');
            shown.push_str(indent);
        }
        for c in line.strip_suffix('\r').unwrap_or(line).chars() {
            if is_printable(c) {
                shown.push(c);
            } else {
                shown.extend(c.escape_unicode());
            }
        }
    }
    shown
}

/// Control characters, line separators and characters that change the direction of text are not printable (Unicode,
/// categories Cc, Zl, Zp and Cf).
fn is_printable(c: char) -> bool {
    c == '\t'
        || !(c.is_control()
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{feff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_break_continues_on_an_indented_line_and_other_control_characters_are_escaped() {
        for (text, expected) in [
            ("plain größe 東京", "plain größe 東京"),
            ("one\ntwo\r\nthree\n", "one\n  two\n  three"),
            ("one\n\ntwo", "one\n  \n  two"),
            ("a\tb\u{1b}[31mc\u{0}\u{9b}", "a\tb\\u{1b}[31mc\\u{0}\\u{9b}"),
            ("half\rover", r"half\u{d}over"),
            ("abc\u{202e}fed\u{2028}", r"abc\u{202e}fed\u{2028}"),
            ("kept \u{fffd}", "kept \u{fffd}"),
        ] {
            assert_eq!(printable(text, "  "), expected, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_character_is_lost_or_replaced(text: String) {
            let shown = printable(&text, "> ");
            proptest::prop_assert!(shown.chars().all(|c| c == '\n' || is_printable(c)), "{shown:?}");
            proptest::prop_assert_eq!(shown.matches('\u{fffd}').count(), text.matches('\u{fffd}').count());
            for line in shown.split('\n').skip(1) {
                proptest::prop_assert!(line.starts_with("> "), "{shown:?}");
            }
        }
    }
}

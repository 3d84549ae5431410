//! Reads a YAML document: its scalars with the keys above them, and the faults because of which cloud-init cannot read
//! it.
//!
//! In: a cloud-config or a template in YAML. Out: scalars, with the place of each character in the file.
//! `saphyr-parser` parses the structure. The scalars that it returns, with decoded escapes and joined lines, are
//! aligned with the text.
//!
//! In a template, placeholders are hidden from the parser, because `{{ name }}` or `%{ if x }` are seldom valid YAML.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::cloudformation::{applied, function, is_reference, own_tag};
use super::scalar::Scalar;
use super::text::At;
use crate::ecs_config::issue::OPAQUE;

/// Deeper documents are refused, as cloud-init's parser refuses them (the recursion limit of Python is 1,000).
const MAX_DEPTH: usize = 100;
/// The most characters of the text between two characters of a value.
const FARTHEST: usize = 400;
/// The replacement of each character of a placeholder.
const HIDDEN: char = 'x';
/// Sections of a cloud-config that are lists of commands.
pub(super) const COMMANDS: [&str; 2] = ["runcmd", "bootcmd"];

/// A YAML document.
#[derive(Debug, Default)]
pub(super) struct YamlDocument {
    /// Every scalar that is a value, in the order of the text.
    pub(super) scalars: Vec<Scalar>,
    /// The reasons why cloud-init cannot read it, each with its place.
    pub(super) faults: Vec<((u32, u32), String)>,
}

/// An open mapping or list.
enum OpenCollection {
    /// A mapping, with the key of the next value.
    Map(Option<String>),
    /// A list, with the number of the next element.
    List(usize),
}

/// Reads a document up to its first error.
pub(super) fn read(chars: &[At], is_template: bool) -> YamlDocument {
    let parsed = masked(chars, is_template);
    let text: String = parsed.iter().collect();
    let mut reader = YamlReader {
        chars,
        parsed: &parsed,
        frames: Vec::new(),
        tags: Vec::new(),
        scalar_end: 0,
        found: YamlDocument::default(),
    };
    for event in Parser::new_from_str(&text) {
        match event {
            Ok((event, span)) if reader.frames.len() < MAX_DEPTH => reader.event(event, span),
            Ok((_, span)) => {
                reader.fault(span.start.index(), format!("it has more than {MAX_DEPTH} nested levels"));
                break;
            }
            Err(error) => {
                reader.fault(error.marker().index(), error.info().to_owned());
                break;
            }
        }
    }
    reader.found.scalars = applied(reader.found.scalars);
    reader.found
}

struct YamlReader<'t> {
    chars: &'t [At],
    parsed: &'t [char],
    frames: Vec<OpenCollection>,
    /// The function of the tag of each frame: `Fn::Join` for `!Join`.
    tags: Vec<Option<String>>,
    /// The end of the last scalar.
    scalar_end: usize,
    found: YamlDocument,
}

impl YamlReader<'_> {
    fn fault(&mut self, index: usize, what: String) {
        let past = |at: &At| (at.line, at.column + 1);
        let at = self.chars.get(index).map(|at| at.place());
        self.found.faults.push((at.or(self.chars.last().map(past)).unwrap_or((1, 1)), what));
    }

    /// Reports a tab between scalars. cloud-init's parser (PyYAML, YAML 1.1) does not allow it; `saphyr-parser` may.
    fn find_tab(&mut self, until: usize) {
        let between = self.parsed.get(self.scalar_end..until).unwrap_or_default();
        let mut is_comment = false;
        let mut before = '\n';
        for (at, c) in between.iter().enumerate() {
            is_comment = *c != '\n' && (is_comment || (*c == '#' && before.is_whitespace()));
            if *c == '\t' && !is_comment {
                return self.fault(self.scalar_end + at, "there is a tab where only spaces are allowed".to_owned());
            }
            before = *c;
        }
    }

    fn event(&mut self, event: Event<'_>, span: Span) {
        // A plain scalar is checked together with the text between scalars: it must not contain a tab either.
        if !matches!(event, Event::Scalar(_, ScalarStyle::Plain, ..))
            && let Event::Scalar(..) | Event::StreamEnd = event
            && self.found.faults.is_empty()
        {
            self.find_tab(span.start.index());
            self.scalar_end = span.end.index();
        }
        match event {
            Event::Scalar(value, style, _, tag) => {
                if let Some(OpenCollection::Map(key @ None)) = self.frames.last_mut() {
                    *key = Some(value.into_owned());
                    return;
                }
                if self.frames.is_empty() && !value.is_empty() {
                    self.fault(span.start.index(), "it is text, not a mapping".to_owned());
                }
                let mut chars = self.aligned(&value, style, span);
                if own_tag(tag.as_deref()).is_some_and(is_reference) {
                    chars.truncate(1);
                    chars.iter_mut().for_each(|at| at.c = OPAQUE);
                }
                self.found.scalars.push(Scalar { path: self.path(), chars });
                self.end_value();
            }
            Event::MappingStart(_, tag) => {
                if let [OpenCollection::Map(Some(section)), OpenCollection::List(_)] = self.frames.as_slice()
                    && COMMANDS.contains(&section.as_str())
                {
                    let what = format!(
                        "this entry of `{section}` is a mapping because it contains `: `; put the command in quotes"
                    );
                    self.fault(span.start.index(), what);
                }
                self.begin(OpenCollection::Map(None), own_tag(tag.as_deref()));
            }
            Event::SequenceStart(_, tag) => {
                if self.frames.is_empty() {
                    self.fault(span.start.index(), "it is a list, not a mapping".to_owned());
                }
                self.begin(OpenCollection::List(0), own_tag(tag.as_deref()));
            }
            Event::MappingEnd | Event::SequenceEnd => {
                self.frames.pop();
                self.tags.pop();
                self.end_value();
            }
            Event::Alias(_) => match self.frames.last_mut() {
                Some(OpenCollection::Map(key @ None)) => *key = Some(String::new()),
                _ => self.end_value(),
            },
            _ => {}
        }
    }

    /// Begins a mapping or a list. If it is itself a key, the key has no name.
    fn begin(&mut self, frame: OpenCollection, tag: Option<&str>) {
        if let Some(OpenCollection::Map(key @ None)) = self.frames.last_mut() {
            *key = Some(String::new());
        }
        self.frames.push(frame);
        self.tags.push(tag.map(function));
    }

    fn end_value(&mut self) {
        match self.frames.last_mut() {
            Some(OpenCollection::Map(key)) => *key = None,
            Some(OpenCollection::List(number)) => *number += 1,
            None => {}
        }
    }

    fn path(&self) -> Vec<String> {
        let name = |frame: &OpenCollection| match frame {
            OpenCollection::Map(key) => key.clone().unwrap_or_default(),
            OpenCollection::List(number) => number.to_string(),
        };
        let names = self.frames.iter().map(name).zip(&self.tags);
        names.flat_map(|(name, tag)| tag.clone().into_iter().chain([name])).collect()
    }

    fn begins_line(&self, index: usize) -> bool {
        self.parsed[..index].iter().rev().find(|c| **c != ' ').is_none_or(|c| *c == '\n')
    }

    /// The characters of a value, each with its place in the file.
    fn aligned(&self, value: &str, style: ScalarStyle, span: Span) -> Vec<At> {
        let mut next = span.start.index();
        let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        if is_block && self.parsed.get(next).is_some_and(|first| matches!(first, '|' | '>')) && !self.begins_line(next)
        {
            next += self.parsed.iter().skip(next).position(|c| *c == '\n').map_or(0, |end| end + 1);
        }
        let mut aligned = Vec::with_capacity(value.len());
        for c in value.chars() {
            let rest = self.parsed.get(next..).unwrap_or_default();
            let is_escape = style == ScalarStyle::DoubleQuoted && rest.first() == Some(&'\\') && c != '\\';
            let is_folded = c.is_whitespace() && rest.first().is_some_and(|found| *found == '\n' && c != '\n');
            let skipped =
                if is_escape || is_folded { Some(0) } else { rest.iter().take(FARTHEST).position(|found| *found == c) };
            let index = (next + skipped.unwrap_or(0)).min(self.parsed.len().saturating_sub(1));
            let Some(at) = self.chars.get(index) else { break };
            let is_masked = self.parsed[index] != at.c;
            // The characters of a line of placeholders only are left out.
            if !is_masked || self.parsed[index] == HIDDEN {
                aligned.push(At { c: if is_masked { at.c } else { c }, ..*at });
            }
            next = match skipped {
                None => next,
                Some(_) if is_escape => index + 2,
                Some(_) => index + 1,
            };
        }
        aligned
    }
}

/// Which characters belong to a placeholder: [`OPAQUE`], and in a template those of template engines.
pub(super) fn hidden(text: &[char], is_template: bool) -> Vec<bool> {
    const MARKS: [([char; 2], &str); 5] =
        [(['{', '{'], "}}"), (['{', '%'], "%}"), (['<', '%'], "%>"), (['%', '{'], "}"), (['$', '{'], "}")];
    let mut is_hidden: Vec<bool> = text.iter().map(|c| *c == OPAQUE).collect();
    let mut next = 0;
    while is_template && next + 1 < text.len() {
        let mark = MARKS.into_iter().find(|(begin, _)| text[next..].starts_with(begin));
        match mark.and_then(|(_, end)| placeholder_end(&text[next..], end)) {
            Some(length) => {
                is_hidden[next..next + length].fill(true);
                next += length;
            }
            None => next += 1,
        }
    }
    is_hidden
}

/// The text with its placeholders replaced by words. A line of placeholders only becomes blank. If the file is not a
/// template, only [`OPAQUE`] is a placeholder.
fn masked(chars: &[At], is_template: bool) -> Vec<char> {
    let mut text: Vec<char> = chars.iter().map(|at| at.c).collect();
    let is_hidden = hidden(&text, is_template);
    let mut begin = 0;
    for line in text.clone().split_inclusive(|c| *c == '\n') {
        let lines = begin..begin + line.len();
        let is_alone = lines.clone().all(|at| is_hidden[at] || text[at].is_whitespace());
        for at in lines.filter(|at| is_hidden[*at]) {
            text[at] = if is_alone { ' ' } else { HIDDEN };
        }
        begin += line.len();
    }
    text
}

/// The length of a placeholder, which must end on the same line. Braces in it are matched.
fn placeholder_end(text: &[char], end: &str) -> Option<usize> {
    let end: Vec<char> = end.chars().collect();
    let mut depth = 0_i32;
    for at in 2..text.len().min(FARTHEST) {
        match text[at] {
            '\n' => return None,
            _ if depth <= 0 && text[at..].starts_with(&end) => return Some(at + end.len()),
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::text::{Text, string};
    use super::*;

    fn found(text: &str) -> Vec<(String, String, (u32, u32))> {
        let document = read(&Text::of(text).chars, true);
        assert_eq!(document.faults, [], "{text}");
        let one = |scalar: &Scalar| {
            let first = scalar.chars.first().map_or((0, 0), |at| (at.line, at.column));
            (scalar.path.join("/"), string(&scalar.chars), first)
        };
        document.scalars.iter().map(one).collect()
    }

    #[test]
    fn a_value_has_its_keys_and_its_place() {
        for (text, path, value, at) in [
            ("a: b\n", "a", "b", (1, 4)),
            ("a:\n  - x: 1\n  - x: two words\n", "a/1/x", "two words", (3, 8)),
            ("a: {path: /x, content: \"l\\nm\"}\n", "a/content", "l\nm", (1, 25)),
            ("a:\n  b: |\n    X=1\n      Y=2\n", "a/b", "X=1\n  Y=2\n", (3, 5)),
            ("a: !Sub |\n  X=1\n", "a", "X=1\n", (2, 3)),
            ("a: 'it''s'\n", "a", "it's", (1, 5)),
            ("a: >-\n  x\n  y\n", "a", "x y", (2, 3)),
            ("a: [sh, -c, \"q\"]\n", "a/2", "q", (1, 14)),
            ("a: {{ b }}-c\n", "a", "{{ b }}-c", (1, 4)),
            ("%{ if x }\na: 1\n%{ endif }\n", "a", "1", (2, 4)),
            ("a: |\n  X=1\n  {% if y %}\n  Y=2\n", "a", "X=1\n     \nY=2\n", (2, 3)),
            ("a: \"${x[\"y\"]}z\"\n", "a", "${x[\"y\"]}z", (1, 5)),
        ] {
            let found = found(text);
            assert!(found.contains(&(path.to_owned(), value.to_owned(), at)), "{text:?} gave {found:?}");
        }
    }

    #[test]
    fn each_character_of_a_block_has_its_own_line() {
        let document = read(&Text::of("a:\n  b: |\n    X=1\n\n    Y=2\n").chars, false);
        let lines: Vec<_> = document.scalars[0].chars.iter().map(|at| (at.c, at.line)).collect();
        let expected = [('X', 3), ('=', 3), ('1', 3), ('\n', 3), ('\n', 4), ('Y', 5), ('=', 5), ('2', 5), ('\n', 5)];
        assert_eq!(lines, expected);
    }

    #[test]
    fn text_that_cloud_init_cannot_read_is_a_fault_at_its_place() {
        for (text, line) in [
            ("runcmd:\n\t- x\n", 2),
            ("a:\tb\n", 1),
            ("a: b\n\t\nc: d\n", 2),
            ("a: b\tc\n", 1),
            ("a: [1\n", 1),
            ("a: \"x\n", 1),
            ("a: b: c\n", 1),
            ("a: 1\n b: 2\n", 2),
            ("a: @x\n", 1),
            ("- a\n", 1),
            ("a text\n", 1),
            ("runcmd:\n- echo a: b\n", 2),
            ("a: *x\n", 1),
            ("a: {{ b }}-c\n", 1),
        ] {
            let faults = read(&Text::of(text).chars, false).faults;
            assert!(faults.iter().any(|((at, _), _)| *at == line), "{text:?} gave {faults:?}");
        }
        for text in [
            "a: b # \t\n",
            "a: |\n  b\n  \tc\n",
            "a: \"\t\"\n#\tx\n",
            "",
            "\n",
            "# only a comment\n",
            "runcmd:\n- [sh, -c, 'a: b']\n- 'echo a: b'\n",
            "a: &x 1\nb: *x\n",
        ] {
            assert_eq!(read(&Text::of(text).chars, false).faults, [], "{text:?}");
        }
        for open in ["[", "{a: ", "- "] {
            assert!(!read(&Text::of(&open.repeat(50_000)).chars, false).faults.is_empty(), "{open}");
        }
    }
}

//! Tests an edit against models of the two readers of `ecs.config`, which follow the sources of the readers.
//!
//! The models share no code with the edit, so that both cannot have the same mistake.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{EditRefusal, edit, effective, read};

type Read = BTreeMap<String, String>;
type Changes = BTreeMap<String, Option<String>>;

/// The bytes as text. Each byte that is not UTF-8 becomes its own private character, so that no two bytes are mixed up.
fn text(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| char::from_u32(0xF700 + u32::from(*byte)).unwrap()));
    }
    text
}

/// `ecs-init/docker/docker.go`, `getEnvVars`.
fn ecs_init(bytes: &[u8]) -> Read {
    let file = text(bytes);
    let parts = file.trim().split('\n').filter_map(|line| line.trim().split_once('='));
    parts.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[derive(Clone, Copy, Debug)]
enum SystemdParser {
    V219,
    V252,
    V254,
}

/// systemd's `src/basic/env-file.c`, `parse_env_file_internal` and `load_env_file_push`, with its names of the states.
struct EnvFile {
    version: SystemdParser,
    state: &'static str,
    key: Vec<u8>,
    key_blank: Option<usize>,
    value: Vec<u8>,
    value_blank: Option<usize>,
    read: Read,
}

/// The assignments that systemd reads. `None` if it ignores the whole file.
fn systemd(bytes: &[u8], version: SystemdParser) -> Option<Read> {
    if bytes.contains(&0) {
        return None;
    }
    let (key, value) = (Vec::new(), Vec::new());
    let (key_blank, value_blank) = (None, None);
    let mut file = EnvFile { version, state: "PRE_KEY", key, key_blank, value, value_blank, read: Read::new() };
    for c in bytes {
        match file.state {
            "PRE_KEY" | "KEY" | "COMMENT" | "COMMENT_ESCAPE" => file.outside(*c),
            "PRE_VALUE" | "VALUE" | "VALUE_ESCAPE" => file.unquoted(*c)?,
            _ => file.quoted(*c),
        }
    }
    if !matches!(file.state, "PRE_KEY" | "KEY" | "COMMENT" | "COMMENT_ESCAPE") {
        file.push()?;
    }
    Some(file.read)
}

impl EnvFile {
    fn outside(&mut self, c: u8) {
        let newline = b"\n\r".contains(&c);
        let white = b" \t\n\r".contains(&c);
        match self.state {
            "PRE_KEY" if b"#;".contains(&c) => self.state = "COMMENT",
            "PRE_KEY" if !white => {
                self.state = "KEY";
                self.key_blank = None;
                self.key = vec![c];
            }
            "KEY" if newline => self.state = "PRE_KEY",
            "KEY" if c == b'=' => {
                self.state = "PRE_VALUE";
                self.value = Vec::new();
                self.value_blank = None;
            }
            "KEY" => {
                self.key_blank = if white { self.key_blank.or(Some(self.key.len())) } else { None };
                self.key.push(c);
            }
            "COMMENT" if c == b'\\' => self.state = "COMMENT_ESCAPE",
            "COMMENT" if newline => self.state = "PRE_KEY",
            "COMMENT_ESCAPE" if newline && matches!(self.version, SystemdParser::V254) => self.state = "PRE_KEY",
            "COMMENT_ESCAPE" => self.state = "COMMENT",
            _ => {}
        }
    }

    fn unquoted(&mut self, c: u8) -> Option<()> {
        let newline = b"\n\r".contains(&c);
        let white = b" \t\n\r".contains(&c);
        match self.state {
            "PRE_VALUE" | "VALUE" if newline => {
                self.push()?;
                self.state = "PRE_KEY";
            }
            "PRE_VALUE" if c == b'\'' => self.state = "SINGLE_QUOTE_VALUE",
            "PRE_VALUE" if c == b'"' => self.state = "DOUBLE_QUOTE_VALUE",
            "PRE_VALUE" if c == b'\\' => self.state = "VALUE_ESCAPE",
            "PRE_VALUE" if white => {}
            "PRE_VALUE" => {
                self.state = "VALUE";
                self.value.push(c);
            }
            "VALUE" if c == b'\\' => {
                self.state = "VALUE_ESCAPE";
                self.value_blank = None;
            }
            "VALUE" => {
                self.value_blank = if white { self.value_blank.or(Some(self.value.len())) } else { None };
                self.value.push(c);
            }
            _ => {
                self.state = "VALUE";
                self.value.extend((!newline).then_some(c));
            }
        }
        Some(())
    }

    fn quoted(&mut self, c: u8) {
        let newline = b"\n\r".contains(&c);
        match (self.state, self.version) {
            ("SINGLE_QUOTE_VALUE", _) if c == b'\'' => self.state = "PRE_VALUE",
            ("SINGLE_QUOTE_VALUE", SystemdParser::V219) if c == b'\\' => self.state = "SINGLE_QUOTE_VALUE_ESCAPE",
            ("SINGLE_QUOTE_VALUE_ESCAPE", _) => {
                self.state = "SINGLE_QUOTE_VALUE";
                self.value.extend((!newline).then_some(c));
            }
            ("DOUBLE_QUOTE_VALUE", _) if c == b'"' => self.state = "PRE_VALUE",
            ("DOUBLE_QUOTE_VALUE", _) if c == b'\\' => self.state = "DOUBLE_QUOTE_VALUE_ESCAPE",
            ("DOUBLE_QUOTE_VALUE_ESCAPE", version) => {
                self.state = "DOUBLE_QUOTE_VALUE";
                match version {
                    SystemdParser::V219 => self.value.extend((!newline).then_some(c)),
                    _ if b"\"\\`$".contains(&c) => self.value.push(c),
                    _ if c != b'\n' => self.value.extend([b'\\', c]),
                    _ => {}
                }
            }
            _ => self.value.push(c),
        }
    }

    /// Removes blanks at the end of a key, and at the end of a value without quotes.
    fn push(&mut self) -> Option<()> {
        self.key.truncate(self.key_blank.unwrap_or(usize::MAX));
        if self.state == "VALUE" {
            self.value.truncate(self.value_blank.unwrap_or(usize::MAX));
        }
        let key = String::from_utf8(std::mem::take(&mut self.key)).ok()?;
        self.read.insert(key, String::from_utf8(std::mem::take(&mut self.value)).ok()?);
        Some(())
    }
}

const VERSIONS: [SystemdParser; 3] = [SystemdParser::V219, SystemdParser::V252, SystemdParser::V254];

/// The assignments of the keys that do not change. Blanks between a key and its `=` are ignored: systemd removes them,
/// and a line for which ecs-init keeps them was meant for that key too.
fn others(read: &Read, changes: &Changes) -> Read {
    let other = |key: &str| !changes.contains_key(key.trim_end_matches([' ', '\t']));
    read.iter().filter(|(key, _)| other(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn assert_promises(old: &[u8], changes: &Changes) {
    let new = match edit(old, changes) {
        Ok(new) => new,
        Err(refusal) => return assert!(!refusal.to_string().is_empty()),
    };
    let shown = || format!("{:?} -> {:?}", text(old), text(&new));
    assert_eq!(text(&edit(&new, changes).unwrap()), text(&new), "a second edit: {}", shown());
    let assert_changes = |read: &Read, reader: &str| {
        for (key, value) in changes {
            assert_eq!(read.get(key), value.as_ref(), "`{key}` for {reader}: {}", shown());
        }
    };
    let (before, after) = (ecs_init(old), ecs_init(&new));
    assert_changes(&after, "ecs-init");
    assert_eq!(others(&after, changes), others(&before, changes), "other keys for ecs-init: {}", shown());
    for version in VERSIONS {
        let (before, after) = (systemd(old, version), systemd(&new, version));
        if let Some(after) = &after {
            assert_changes(after, &format!("systemd {version:?}"));
        }
        if changes.values().any(Option::is_some) {
            assert!(after.is_some(), "systemd {version:?} drops the file: {}", shown());
        }
        if let (Some(before), Some(after)) = (before, after) {
            assert_eq!(others(&after, changes), others(&before, changes), "other keys for {version:?}: {}", shown());
        }
    }
}

fn dangerous_bytes() -> impl Strategy<Value = Vec<u8>> {
    let pieces: &[&[u8]] = &[
        b"=",
        b"\"",
        b"'",
        b"\\",
        b"#",
        b";",
        b"\r",
        b"\n",
        b"\n",
        b"\n",
        b"\r\n",
        b" ",
        b"\t",
        b"\x0b",
        b"\x0c",
        b"\xff",
        b"\xc2\xa0",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"\xef\xbb\xbf",
        b"A",
        b"B",
        b"A=1",
        b"B=2",
        b"C=3",
        b"A=",
        b"B=",
        b"\nA=1\n",
        b"\nB=\"",
        b"\nC='",
        b"\\\n",
        b"export ",
        b"{\"a\":\"b\"}",
        b"x",
        b"\0",
    ];
    let piece = (0..pieces.len() * 8).prop_map(|draw| pieces[draw.min(8 * pieces.len() - 8) / 8]);
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// Without the bytes that make the edit refuse at once, so that few cases are wasted.
fn readable_bytes() -> impl Strategy<Value = Vec<u8>> {
    dangerous_bytes().prop_map(|bytes| bytes.into_iter().filter(|byte| !matches!(byte, 0 | 0xff)).collect())
}

fn changes() -> impl Strategy<Value = Changes> {
    let value = prop_oneof!["1", "2", "", r#"\{"a":"b c"\}"#, "#x", "x'y\"", "[!-~]{0,6}"];
    let change = prop_oneof![3 => value.prop_map(Some), 1 => Just(None)];
    proptest::collection::btree_map("[ABD]", change, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_readers_agree_after_an_edit_of_dangerous_bytes(old in dangerous_bytes(), changes in changes()) {
        assert_promises(&old, &changes);
    }

    #[test]
    fn both_readers_agree_after_an_edit_of_readable_bytes(old in readable_bytes(), changes in changes()) {
        assert_promises(&old, &changes);
    }

    #[test]
    fn both_readers_agree_after_an_edit_of_any_bytes(
        old in proptest::collection::vec(any::<u8>(), 0..200), changes in changes()
    ) {
        assert_promises(&old, &changes);
    }

    #[test]
    fn reads_what_ecs_init_reads(old in readable_bytes()) {
        let assignments = read(&old);
        let read: Read = effective(&assignments).into_iter().map(|(k, a)| (k.to_owned(), a.value.clone())).collect();
        prop_assert_eq!(read, ecs_init(&old));
    }
}

fn set(pairs: &[(&str, &str)]) -> Changes {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned()))).collect()
}

fn edited(old: &str, changes: &Changes) -> String {
    assert_promises(old.as_bytes(), changes);
    String::from_utf8(edit(old.as_bytes(), changes).unwrap()).unwrap()
}

#[test]
fn edits_usual_files() {
    let cluster = set(&[("ECS_CLUSTER", "prod")]);
    let cases = [
        ("", "ECS_CLUSTER=prod\n"),
        ("\n", "\nECS_CLUSTER=prod\n"),
        ("ECS_CLUSTER=prod", "ECS_CLUSTER=prod"),
        ("ECS_CLUSTER=prod\r\n", "ECS_CLUSTER=prod\r\n"),
        ("ECS_CLUSTER=old", "ECS_CLUSTER=prod\n"),
        ("ECS_CLUSTER=\n", "ECS_CLUSTER=prod\n"),
        ("ECS_CLUSTER=\"prod\"\n", "ECS_CLUSTER=prod\n"),
        ("ECS_CLUSTER = prod\n", "ECS_CLUSTER=prod\n"),
        ("A=1\nECS_CLUSTER=old\nB=2", "A=1\nECS_CLUSTER=prod\nB=2"),
        ("# the cluster\nECS_CLUSTER=old\n\n# end", "# the cluster\nECS_CLUSTER=prod\n\n# end"),
        ("ECS_CLUSTER=a\nA=1\nECS_CLUSTER=b\n", "A=1\nECS_CLUSTER=prod\n"),
        ("ECS_CLUSTER=prod\nA=1\nECS_CLUSTER=b\n", "ECS_CLUSTER=prod\nA=1\n"),
        ("A=\"x y\"\nB='z'\n", "A=\"x y\"\nB='z'\nECS_CLUSTER=prod\n"),
        ("A=1\r\nB=2\r\n", "A=1\r\nB=2\r\nECS_CLUSTER=prod\n"),
        ("export A=1\nexport ECS_CLUSTER=x\n", "export A=1\nexport ECS_CLUSTER=x\nECS_CLUSTER=prod\n"),
        ("#ECS_CLUSTER=x", "#ECS_CLUSTER=x\nECS_CLUSTER=prod\n"),
        ("\u{feff}ECS_CLUSTER=x\n", "\u{feff}ECS_CLUSTER=x\nECS_CLUSTER=prod\n"),
        (
            "ECS_ENGINE_AUTH_DATA={\"r\":{\"auth\":\"zq==\"}}\n",
            "ECS_ENGINE_AUTH_DATA={\"r\":{\"auth\":\"zq==\"}}\nECS_CLUSTER=prod\n",
        ),
        ("just words\n", "just words\nECS_CLUSTER=prod\n"),
    ];
    for (old, new) in cases {
        assert_eq!(edited(old, &cluster), new, "{old:?}");
    }
}

#[test]
fn the_new_line_is_above_a_line_that_continues() {
    let cluster = set(&[("ECS_CLUSTER", "prod")]);
    for continued in ["A=\"open\nB=1\n", "A='open\n", "A=x\\", "# a path: C:\\", "A=1\\\nECS=x\\\n"] {
        let old = format!("X=1\n{continued}");
        assert_eq!(edited(&old, &cluster), format!("X=1\nECS_CLUSTER=prod\n{continued}"));
    }
}

#[test]
fn writes_json_as_it_is() {
    let attributes = set(&[("ECS_INSTANCE_ATTRIBUTES", r#"{"stack":"a b","tier":"web"}"#)]);
    assert_eq!(edited("A=1\n", &attributes), "A=1\nECS_INSTANCE_ATTRIBUTES={\"stack\":\"a b\",\"tier\":\"web\"}\n");
}

#[test]
fn the_new_line_comes_after_a_quoted_line_of_the_same_key() {
    let cluster = set(&[("ECS_CLUSTER", "prod")]);
    let old = "A=\"\nECS_CLUSTER=old\n\"\nB=1\n";
    assert_eq!(edited(old, &cluster), format!("{old}ECS_CLUSTER=prod\n"));
}

#[test]
fn a_removed_key_leaves_other_lines_unchanged() {
    let changes = Changes::from([("B".to_owned(), None)]);
    assert_eq!(edited("A=1\nB=2\n# c\nB = 3\n C=4", &changes), "A=1\n# c\n C=4");
    assert_eq!(edited("A=1\nB=\"unclosed\n", &changes), "A=1\n");
}

#[test]
fn each_refusal_has_its_reason() {
    let cluster = set(&[("ECS_CLUSTER", "prod")]);
    let refusal = |old: &[u8], changes: &Changes| edit(old, changes).unwrap_err();
    let key = || "ECS_CLUSTER".to_owned();
    assert_eq!(refusal(b"A=1\nB=\"\nECS_CLUSTER=x\n", &cluster), EditRefusal::Swallowed { key: key(), line: 2 });
    let gone = Changes::from([(key(), None)]);
    assert_eq!(refusal(b"B=\"\nECS_CLUSTER=x\n\"\n", &gone), EditRefusal::Swallowed { key: key(), line: 1 });
    assert_eq!(refusal(b"A=1\nB=\0\n", &cluster), EditRefusal::Nul { line: 2 });
    assert_eq!(refusal(b"# caf\xe9\nB=caf\xe9\n", &cluster), EditRefusal::NotUtf8 { line: 2 });
    for value in ["\"q\"", "'q", "a\\b", "a\nb", " a", "a ", "a\u{a0}", "a\u{7f}"] {
        assert_eq!(
            refusal(b"", &set(&[("ECS_CLUSTER", value)])),
            EditRefusal::NeedsQuoting { key: key() },
            "{value:?}"
        );
    }
    for key in ["", "1A", "A B", "A=B", "É", "A\n"] {
        assert_eq!(refusal(b"", &set(&[(key, "1")])), EditRefusal::WrongKey { key: key.to_owned() });
    }
}

#[test]
fn a_comment_in_latin_1_does_not_stop_an_edit() {
    let new = edit(b"# caf\xe9\nA=1\n", &set(&[("ECS_CLUSTER", "prod")])).unwrap();
    assert_eq!(new, b"# caf\xe9\nA=1\nECS_CLUSTER=prod\n");
}

#[test]
fn a_refusal_does_not_hold_the_value() {
    let refusal = edit(b"", &set(&[("ECS_ENGINE_AUTH_DATA", "'hunter2")])).unwrap_err();
    assert!(!format!("{refusal} {refusal:?}").contains("hunter2"));
}

#[test]
fn a_huge_file_takes_one_pass() {
    let changes = set(&[("A", "1"), ("B", "2")]);
    for piece in ["A=2\n", "B=\"\nA=3\n", "x", "# \\\n", "\n", "A=\r", "\u{2028}"] {
        let old = piece.repeat((1 << 18) / piece.len());
        let _ = edit(old.as_bytes(), &changes).map(|new| assert_eq!(edit(&new, &changes), Ok(new.clone())));
    }
}

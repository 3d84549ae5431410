//! Finds the lines of an `ecs.config` that look right and that the agent reads as something else.
//!
//! In: the bytes of one file. Out: each such line by its number, the key that was meant, and what is odd about it. Of
//! values only the name of a cluster is kept, for no other is needed, and some are secret.

use super::{Assignment, effective, read};
use crate::settings::agent_variables::{check, find, near_miss};

/// The variable that says where an instance belongs.
pub const CLUSTER: &str = "ECS_CLUSTER";
const BOM: char = '\u{feff}';

/// One line that is not what it looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oddity {
    /// The line, the first being 1.
    pub line: usize,
    /// The variable that was meant.
    pub key: &'static str,
    /// What is odd.
    pub what: What,
    /// The cluster that it would name, were it as it was meant.
    pub cluster: Option<String>,
}

/// What is odd about a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The value stands in quotes, which ecs-init passes on.
    Quoted,
    /// Blanks stand before the `=`, and belong to the key.
    Blanks,
    /// It begins with `export`, which belongs to the key.
    Export,
    /// The key is nearly that of a variable.
    Misspelt {
        /// As it is written: letters, digits, `_`, `-` and `.` only.
        written: String,
    },
    /// Something sticks to the key, or there is no assignment at all.
    Unreadable(&'static str),
    /// A later line gives the same key another value.
    Overridden {
        /// That line.
        by: usize,
    },
    /// A later line says the same again.
    Repeated {
        /// That line.
        by: usize,
    },
}

/// Every odd line, in the order of the file.
pub fn oddities(bytes: &[u8]) -> Vec<Oddity> {
    if let Some(text) = utf_16(bytes) {
        let lines = read(text.as_bytes());
        let named = effective(&lines).get(CLUSTER).map(|line| (line.line, cluster(&line.value)));
        let what = What::Unreadable("the whole file is UTF-16, of which ecs-init reads nothing");
        return named.into_iter().map(|(line, cluster)| odd(line, CLUSTER, what.clone(), cluster)).collect();
    }
    let lines = read(bytes);
    let mut found: Vec<Oddity> = lines.iter().filter_map(of_key).collect();
    found.extend(lines.iter().filter_map(of_value));
    found.extend(overridden(&lines));
    found.extend(unassigned(bytes));
    found.sort_by_key(|oddity| oddity.line);
    found
}

/// The first line that ends in CR LF.
pub fn first_crlf(bytes: &[u8]) -> Option<usize> {
    bytes.split(|byte| *byte == b'\n').position(|line| line.ends_with(b"\r")).map(|index| index + 1)
}

/// The value without quotes around it, where there are some.
pub fn unquoted(value: &str) -> Option<&str> {
    const QUOTES: [(char, char); 5] =
        [('"', '"'), ('\'', '\''), ('`', '`'), ('\u{201c}', '\u{201d}'), ('\u{2018}', '\u{2019}')];
    let value = value.trim();
    QUOTES.iter().find_map(|(open, close)| value.strip_prefix(*open)?.strip_suffix(*close))
}

/// The name of a cluster as it was meant: without quotes, and nothing where it cannot be one.
pub fn cluster(value: &str) -> Option<String> {
    let bare = unquoted(value).unwrap_or(value).trim();
    (!bare.is_empty() && check(CLUSTER, bare).is_ok()).then(|| bare.to_owned())
}

fn odd(line: usize, key: &'static str, what: What, cluster: Option<String>) -> Oddity {
    Oddity { line, key, what, cluster: cluster.filter(|_| key == CLUSTER) }
}

fn of_key(line: &Assignment) -> Option<Oddity> {
    let (key, what) = meant(&line.key)?;
    Some(odd(line.line, key, what, cluster(&line.value)))
}

/// The variable that an unknown key was meant to be. What is commented out was meant to be no key.
fn meant(key: &str) -> Option<(&'static str, What)> {
    let name = key.trim_matches([' ', '\t']);
    if find(key).is_some() || name.starts_with(['#', ';', '/']) {
        return None;
    }
    let known = |name: &str| find(name).map(|variable| variable.name);
    if let Some(rest) = name.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])) {
        return known(rest.trim()).map(|key| (key, What::Export));
    }
    if let Some(key) = known(name) {
        return Some((key, What::Blanks));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let bare: String = name.chars().filter(|c| is_plain(*c)).collect();
    if let Some(key) = known(&bare) {
        let what = match name.starts_with(BOM) {
            true => "a byte order mark sticks to the key",
            false => "the key has characters that no variable has",
        };
        return Some((key, What::Unreadable(what)));
    }
    let is_written = name.chars().all(|c| is_plain(c) || c == '-' || c == '.');
    let near = near_miss(name).filter(|_| is_written)?;
    Some((near, What::Misspelt { written: name.to_owned() }))
}

fn of_value(line: &Assignment) -> Option<Oddity> {
    let key = find(&line.key)?.name;
    unquoted(&line.value)?;
    Some(odd(line.line, key, What::Quoted, cluster(&line.value)))
}

/// What a later line of the same key takes back.
fn overridden(lines: &[Assignment]) -> impl Iterator<Item = Oddity> {
    let last = effective(lines);
    lines.iter().filter_map(move |line| {
        let by = last.get(line.key.as_str()).filter(|last| last.line != line.line)?;
        let key = find(&line.key)?.name;
        let what = match by.value.trim() == line.value.trim() {
            true => What::Repeated { by: by.line },
            false => What::Overridden { by: by.line },
        };
        Some(odd(line.line, key, what, cluster(&line.value)))
    })
}

/// `ECS_CLUSTER: prod` and `ECS_CLUSTER prod`: without a `=` ecs-init drops the line.
fn unassigned(bytes: &[u8]) -> impl Iterator<Item = Oddity> {
    bytes.split(|byte| *byte == b'\n').enumerate().filter_map(|(index, line)| {
        let line = std::str::from_utf8(line).ok()?.trim().trim_start_matches(BOM);
        let rest = line.strip_prefix("export ").unwrap_or(line).strip_prefix(CLUSTER)?;
        let value = rest.strip_prefix([':', ' ', '\t']).filter(|_| !line.contains('='))?;
        let named = cluster(value.trim_start_matches([':', ' ', '\t']))?;
        Some(odd(index + 1, CLUSTER, What::Unreadable("the line has no `=`"), Some(named)))
    })
}

/// What some editors and shells of Windows write; by its mark, or by the NUL after each letter.
fn utf_16(bytes: &[u8]) -> Option<String> {
    let (big, body) = match bytes {
        [0xff, 0xfe, body @ ..] => (false, body),
        [0xfe, 0xff, body @ ..] => (true, body),
        [first, 0, second, 0, ..] if first.is_ascii_graphic() && second.is_ascii_graphic() => (false, bytes),
        _ => return None,
    };
    let unit =
        |pair: &[u8]| if big { u16::from_be_bytes([pair[0], pair[1]]) } else { u16::from_le_bytes([pair[0], pair[1]]) };
    let units: Vec<u16> = body.chunks_exact(2).map(unit).collect();
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(usize, &'static str, What, Option<String>)> {
        oddities(text.as_bytes()).into_iter().map(|o| (o.line, o.key, o.what, o.cluster)).collect()
    }

    fn one(text: &str) -> (What, Option<String>) {
        let mut all = found(text);
        assert_eq!(all.len(), 1, "{text:?}: {all:?}");
        let (_, _, what, cluster) = all.remove(0);
        (what, cluster)
    }

    #[test]
    fn names_what_is_odd_and_the_cluster_that_was_meant() {
        let prod = || Some("prod".to_owned());
        let misspelt = |written: &str| What::Misspelt { written: written.to_owned() };
        for (text, what) in [
            ("ECS_CLUSTER=\"prod\"", What::Quoted),
            ("ECS_CLUSTER='prod'\r\n", What::Quoted),
            ("ECS_CLUSTER=\u{201c}prod\u{201d}", What::Quoted),
            ("ECS_CLUSTER =prod", What::Blanks),
            ("ECS_CLUSTER\t= prod", What::Blanks),
            ("export ECS_CLUSTER=prod", What::Export),
            ("  export  ECS_CLUSTER = \"prod\"", What::Export),
            ("Ecs_Cluster=prod", misspelt("Ecs_Cluster")),
            ("ECS_CLUSTR=prod", misspelt("ECS_CLUSTR")),
            ("ECS-CLUSTER=prod", misspelt("ECS-CLUSTER")),
            ("CLUSTER=prod", misspelt("CLUSTER")),
            ("ECS_CLUSTER_NAME=prod", misspelt("ECS_CLUSTER_NAME")),
            ("\u{feff}ECS_CLUSTER=prod", What::Unreadable("a byte order mark sticks to the key")),
            ("\u{200b}ECS_CLUSTER=prod", What::Unreadable("the key has characters that no variable has")),
            ("\"ECS_CLUSTER\"=prod", What::Unreadable("the key has characters that no variable has")),
            ("ECS_CLUSTER: prod", What::Unreadable("the line has no `=`")),
            ("ECS_CLUSTER prod", What::Unreadable("the line has no `=`")),
        ] {
            assert_eq!(one(text), (what, prod()), "{text:?}");
        }
    }

    #[test]
    fn leaves_alone_what_is_right_or_nothing_to_the_agent() {
        for text in [
            "",
            "ECS_CLUSTER=prod\n",
            "# ECS_CLUSTER=prod\n#ECS_CLUSTER=prod\n; ECS_CLUSTR=x\n//ECS_CLUSTR=x",
            "ECS_SOMETHING_NEW=1\nFTP_PROXY=x\nMY_KEY=\"quoted\"\nhttp_proxy=a\nHTTP_PROXY=a",
            "ECS_INSTANCE_ATTRIBUTES={\"a\":\"b\"}",
            "text about ECS_CLUSTER\nECS_CLUSTER\n",
            "\u{1f}=\0\n\u{0}",
        ] {
            assert_eq!(found(text), [], "{text:?}");
        }
    }

    #[test]
    fn the_last_line_of_a_key_wins() {
        let text = "ECS_CLUSTER=old\nECS_LOGLEVEL=info\nECS_CLUSTER=new\nECS_LOGLEVEL=info\n";
        let old = (1, CLUSTER, What::Overridden { by: 3 }, Some("old".to_owned()));
        assert_eq!(found(text), [old, (2, "ECS_LOGLEVEL", What::Repeated { by: 4 }, None)]);
    }

    #[test]
    fn reads_what_windows_writes() {
        let utf_16: Vec<u8> = "\u{feff}ECS_CLUSTER=prod\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in [&utf_16[..], &utf_16[2..]] {
            let all = oddities(bytes);
            assert_eq!((all.len(), all[0].cluster.as_deref()), (1, Some("prod")));
        }
        assert_eq!(first_crlf(b"A=1\nB=2\r\n"), Some(2));
        assert_eq!(first_crlf(b"A=1\nB=2\n"), None);
    }

    #[test]
    fn a_secret_is_never_kept() {
        let text =
            "export AWS_SECRET_ACCESS_KEY=hunter2\nECS_ENGINE_AUTH_DATA=\"hunter2\"\nECS_ENGINE_AUTH_DATTA=hunter2\n";
        let told = format!("{:?}", oddities(text.as_bytes()));
        assert!(told.contains("AWS_SECRET_ACCESS_KEY") && !told.contains("hunter2"), "{told}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_can_break_it(bytes: Vec<u8>, text in "(\u{feff}|export |ECS_CLUSTER|ecs|=|\"|'|\r|\n| |:|#|\0|x){0,40}") {
            for bytes in [&bytes[..], text.as_bytes()] {
                oddities(bytes);
                first_crlf(bytes);
            }
        }
    }
}

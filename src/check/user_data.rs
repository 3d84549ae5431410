//! Checks user data of every type: unpacks it, and checks each part by its own type.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Read;

use flate2::read::MultiGzDecoder;

use super::finding::{CheckNote, InputType, Options};
use super::heredocs::heredocs;
use super::lexer::Rules;
use super::mistakes;
use super::scalar::Scalar;
use super::strings::Found;
use super::text::{At, Text, config_lines, string, trimmed};
use super::{agent_json, bottlerocket, runs, script, settings, strings, substitution, yaml};
use crate::ecs_config::issue::{Level, SourceLine};
use crate::evidence::user_data::{PartType, of_other_system, read};
use crate::mime::{self, Encoding, Part, SCRIPT_TYPE, SETTINGS_TYPE};
use crate::settings::user_data::{decoded, skipped, unwrapped};

/// The most scalars between two values of one entry of `write_files`.
const MAX_BETWEEN: usize = 16;
/// The most faults of a YAML document or a MIME message that are reported.
const MAX_FAULTS: usize = 20;
/// The most documents inside of each other that are checked.
const MAX_DEPTH: usize = 3;
/// The most bytes of a decompressed text.
const MAX_TEXT_LENGTH: u64 = 1 << 20;

/// The state of one check.
struct Checker {
    notes: Vec<CheckNote>,
    runs: Vec<(Vec<SourceLine>, Text)>,
    settings: usize,
    /// Whether a program may still replace placeholders.
    is_template: bool,
    /// The quoting rules of the language of the file.
    rules: Rules,
    /// Whether a document, a script or lines of `ecs.config` were found in the file.
    has_found: bool,
    /// Whether the current text is in a command substitution of a script.
    is_substituted: bool,
}

/// Checks user data, or a file that contains user data. Returns the mistakes, and whether user data was found.
pub(super) fn check(file: &str, bytes: &[u8], options: Options) -> (Vec<CheckNote>, bool) {
    let whole = Text::of(&String::from_utf8_lossy(bytes));
    let (text, what) = match unwrapped(bytes) {
        Some(document) => (document, if bytes.starts_with(&[0x1f, 0x8b]) { "gzip" } else { "base64" }),
        None => (Cow::Borrowed(bytes), "gzip"),
    };
    let text = if text.as_ref() == bytes {
        whole
    } else {
        Text { encoded: whole_file(what), ..Text::of(&String::from_utf8_lossy(&text)) }
    };
    let name = file.rsplit('/').next().unwrap_or(file).to_ascii_lowercase();
    let is_named = ["user-data", "user_data", "userdata"].iter().any(|word| name.contains(word));
    let mut checker = Checker {
        notes: Vec::new(),
        runs: Vec::new(),
        settings: 0,
        is_template: !options.is_rendered,
        rules: Rules::of(&name, &text.chars),
        has_found: false,
        is_substituted: false,
    };
    let must_be_taken = is_named || options.input_type == Some(InputType::UserData);
    checker.whole(bytes, &text, must_be_taken && !name.ends_with(".tf"));
    checker.document(&text, "", 0);
    let mut notes = checker.notes;
    notes.extend(runs::check(&checker.runs, !options.is_rendered));
    let mut known = BTreeSet::new();
    notes.retain(|note| known.insert((note.at, note.id)));
    (notes, checker.has_found)
}

/// The place of text that was the whole file before it was decoded.
fn whole_file(what: &'static str) -> Option<std::rc::Rc<super::text::Encoded>> {
    Some(std::rc::Rc::new(super::text::Encoded { line: 1, column: 1, what }))
}

impl Checker {
    fn note(&mut self, text: &Text, at: (u32, u32), level: Level, id: &'static str, message: impl Into<String>) {
        self.notes.push(CheckNote::new(at, level, id, message.into()).within(text));
    }

    /// Checks the encoding, the beginning and the MIME structure of the whole file.
    fn whole(&mut self, bytes: &[u8], text: &Text, must_be_taken: bool) {
        let read = read(Some(bytes));
        if let Some(what) = skipped(bytes) {
            let message = format!("these settings are not read, because they are in a {what}");
            self.note(text, text.place(1, 1), Level::Warning, "user-data-not-recognised", message);
        }
        if unwrapped(bytes).is_none() {
            self.note(text, (1, 1), Level::Error, "user-data-not-recognised", "the gzip data is broken or too long");
        }
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) || bytes.get(1) == Some(&0) {
            return self.note(
                text,
                (1, 1),
                Level::Error,
                "user-data-not-recognised",
                "the user data is UTF-16, which cloud-init does not read",
            );
        }
        match read.part_type {
            PartType::Unknown(why) if of_other_system(bytes).is_none() => {
                let is_first_line = why.contains("before its first line");
                if (is_first_line || must_be_taken) && !text.string().trim().is_empty() {
                    let message = format!("cloud-init does not recognise this user data: {why}");
                    self.note(text, (1, 1), Level::Error, "user-data-not-recognised", message);
                }
            }
            _ => {}
        }
        // In a file in another language, a message is inside of a string.
        let begins = text.string().trim_start().to_ascii_lowercase();
        let is_message = ["content-type:", "mime-version:"].iter().any(|header| begins.starts_with(header));
        let document = unwrapped(bytes).unwrap_or(Cow::Borrowed(bytes));
        for fault in read.mime.into_iter().filter(|_| is_message || must_be_taken).take(MAX_FAULTS) {
            let (before, after) = document.split_at(fault.at);
            let placeholders = [b"${".as_slice(), b"{{", b"{%", b"%{", b"<%", b"$"];
            if self.is_template && placeholders.iter().any(|start| after.trim_ascii_start().starts_with(start)) {
                continue;
            }
            let before = Text::of(&String::from_utf8_lossy(before));
            let at = text.chars.get(before.chars.len()).map_or((1, 1), |at| at.place());
            self.note(text, at, Level::Error, "user-data-mime-broken", format!("the MIME message: {}", fault.text));
        }
    }

    /// Checks a document, or a part of a message with this type.
    fn document(&mut self, text: &Text, part_type: &str, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        let all = text.string();
        let lower: String = all.chars().take(4096).collect::<String>().to_ascii_lowercase();
        let begins = |marker: &str| lower.trim_start_matches(['\u{feff}', ' ', '\n', '\t']).starts_with(marker);
        if let Some(first) = trimmed(&text.chars).first()
            && all.trim_start().starts_with("#!")
            && !all.starts_with("#!")
            && depth > 0
        {
            let message = "there are blanks or an empty line before `#!`, so the script does not run";
            self.note(text, first.place(), Level::Error, "user-data-not-recognised", message);
        }
        match part_type {
            SETTINGS_TYPE => return self.settings(text),
            _ if part_type.starts_with(SCRIPT_TYPE) || part_type == "text/cloud-boothook" => {
                return self.script(text);
            }
            "text/cloud-config" => return self.cloud_config(text, depth),
            "text/cloud-config-archive" => return self.yaml(text, &yaml::read(&text.chars, self.is_template), depth),
            _ => {}
        }
        // In a file in another language, a message is inside of a string, and is found there.
        let is_message = lower.contains("mime-version:") && !(depth == 0 && self.rules.is_known);
        if begins("#ecs-bootstrap") && lower.lines().next().is_some_and(|line| line.trim() == "#ecs-bootstrap") {
            self.settings(text);
        } else if part_type.is_empty() && is_message {
            let starts: Vec<usize> = all.char_indices().map(|(at, _)| at).collect();
            for part in mime::read(all.as_bytes()).parts {
                self.part(text, &starts, &part, depth);
            }
        } else if let Some(system) = of_other_system(all.as_bytes()) {
            // PowerShell and Ignition are not checked.
            if system.contains("Bottlerocket") {
                self.notes.extend(bottlerocket::check(text, self.is_template));
            }
        } else if begins("#cloud-config-archive") || begins("## template: jinja") || part_type == "text/jinja2" {
            self.yaml(text, &yaml::read(&text.chars, true), depth);
        } else if begins("#cloud-config") {
            self.cloud_config(text, depth);
        } else if begins("{") && all.contains("ECSAgentConfiguration") {
            self.notes.extend(agent_json::check(text).into_iter().map(|note| note.within(text)));
        } else if depth == 0
            && begins("#!")
            && self.rules.is_known
            && !lower.lines().next().unwrap_or("").contains("sh")
        {
            // The file is a program that generates user data.
            self.unmarked(text);
        } else if begins("#!") || begins("#cloud-boothook") || begins("#upstart-job") {
            self.script(text);
        } else if depth == 0 {
            self.unmarked(text);
        }
    }

    /// Checks a file that does not begin like user data: a script without its first line, a template in YAML, or a file
    /// in another language.
    fn unmarked(&mut self, text: &Text) {
        let heredocs = heredocs(text);
        for body in &heredocs {
            let text = body.string();
            if text.trim_start().starts_with(['#', 'M', 'C']) || of_other_system(text.as_bytes()).is_some() {
                self.inner_document(body);
            } else if text.contains("ecs.config") {
                self.inner_script(body);
            }
        }
        if heredocs.is_empty() && !self.rules.is_known {
            let document = yaml::read(&text.chars, self.is_template);
            let is_yaml = document.faults.is_empty() && document.scalars.iter().any(|scalar| scalar.path.len() > 1);
            if is_yaml {
                self.yaml(text, &document, 0);
            } else {
                self.script(text);
            }
        }
        // A script without its first line may contain quotes that look like those of other languages.
        if !self.has_found || !heredocs.is_empty() {
            for found in strings::texts(text, self.rules) {
                self.string(text, &found);
            }
        }
    }

    fn string(&mut self, text: &Text, found: &Found) {
        match found {
            Found::Document(chars) => self.inner_document(&text.part(chars)),
            Found::Script(chars) => self.inner_script(&text.part(chars)),
            Found::Config(chars) => {
                self.has_found = true;
                self.runs.push((config_lines(chars), text.part(&[])));
            }
        }
    }

    fn inner_document(&mut self, text: &Text) {
        self.has_found = true;
        self.document(text, "", 1);
    }

    fn inner_script(&mut self, text: &Text) {
        self.has_found = true;
        self.script(text);
    }

    fn settings(&mut self, text: &Text) {
        self.settings += 1;
        if self.settings > 1 {
            let message = "this user data has settings of ecs-bootstrap twice; only one part with settings is allowed";
            self.note(text, text.place(1, 1), Level::Error, "setting-invalid", message);
        }
        self.notes.extend(settings::check(text, crate::settings::Rank::UserData, self.is_template));
    }

    fn script(&mut self, text: &Text) {
        self.script_begins(text);
        let written = script::written(text);
        self.notes.extend(written.notes.into_iter().map(|note| note.within(text)));
        for lines in written.runs {
            self.has_found = true;
            self.runs.push((lines, text.part(&[])));
        }
        if !std::mem::replace(&mut self.is_substituted, true) {
            for body in substitution::documents(text) {
                self.inner_document(&body);
            }
            self.is_substituted = false;
        }
    }

    /// Checks the first lines of a script for a cloud-config that is part of the script by mistake.
    fn script_begins(&mut self, text: &Text) {
        let mut lines = text.lines();
        let first = string(lines.next().unwrap_or_default());
        if let Some(line) = lines.take(4).find(|line| string(line).trim() == "#cloud-config")
            && first.starts_with("#!")
        {
            let message =
                "this is a comment of the script above; a cloud-config must be a document or a MIME part of its own";
            let at = line.first().map_or((1, 1), |at| at.place());
            self.note(text, at, Level::Error, "user-data-not-recognised", message);
        }
    }

    /// Checks a part of a message. `starts`: the place of each character of the message in bytes.
    fn part(&mut self, message: &Text, starts: &[usize], part: &Part, depth: usize) {
        let index = |byte: usize| starts.partition_point(|start| *start < byte);
        let body: Vec<At> =
            part.body.iter().flat_map(|range| &message.chars[index(range.start)..index(range.end)]).copied().collect();
        let text = message.part(&body);
        let text = match part.encoding {
            Encoding::Base64 if part.is_whole => unzipped(&text, &part.payload, "base64"),
            Encoding::QuotedPrintable => text.part(&quoted_printable(&body)),
            Encoding::Plain => text,
            Encoding::Base64 | Encoding::Other => return,
        };
        let decides = part.handler_type.starts_with("application/") || part.handler_type == mime::PLAIN_TYPE;
        self.document(&text, if decides { "" } else { &part.handler_type }, depth + 1);
    }

    fn cloud_config(&mut self, text: &Text, depth: usize) {
        let document = yaml::read(&text.chars, self.is_template);
        for (at, fault) in document.faults.iter().take(MAX_FAULTS) {
            let message = format!("cloud-init cannot read this cloud-config: {fault}");
            self.note(text, *at, Level::Error, "cloud-init-failed", message);
        }
        self.yaml(text, &document, depth);
    }

    /// Checks a cloud-config, or a template in YAML.
    fn yaml(&mut self, text: &Text, document: &yaml::YamlDocument, depth: usize) {
        let scalars = &document.scalars;
        for (index, scalar) in scalars.iter().enumerate() {
            let parent = &scalar.path[..scalar.path.len().saturating_sub(1)];
            let near = &scalars[index.saturating_sub(MAX_BETWEEN)..scalars.len().min(index + MAX_BETWEEN)];
            let beside = |key: &str| {
                let is_beside =
                    |other: &&Scalar| other.path.len() == scalar.path.len() && other.path.starts_with(parent);
                near.iter().filter(is_beside).find(|other| other.key() == key).map(|other| string(&other.chars))
            };
            let top = scalar.path.first().map_or("", String::as_str);
            let is_command =
                yaml::COMMANDS.contains(&top) || scalar.path.iter().any(|key| key == "command" || key == "commands");
            if scalar.key() == "content" {
                let is_written = beside("path").is_some_and(|path| mistakes::is_config_file(path.trim()));
                let is_written = is_written || parent.last().is_some_and(|key| mistakes::is_config_file(key));
                let encoding = beside("encoding").unwrap_or_default();
                let content = content(text, &scalar.chars, encoding.trim());
                let other = beside("path").filter(|path| mistakes::is_other_file(path.trim()));
                if let (Some(path), Some(content)) = (&other, &content) {
                    let note = mistakes::of_other_output(&content.chars, Some(path.trim()));
                    self.notes.extend(note.map(|note| note.within(content)));
                }
                match (is_written, content) {
                    (true, Some(content)) => {
                        let mut lines = config_lines(&content.chars);
                        for line in &mut lines {
                            line.is_final = has_bare_dollar(&line.text);
                        }
                        self.has_found = true;
                        self.runs.push((lines, content.part(&[])));
                    }
                    (false, Some(content)) => self.embedded(&content, depth),
                    _ => {}
                }
            } else if is_command {
                self.script(&text.part(&scalar.chars));
            } else if index < scalars.len() {
                self.embedded(&text.part(&scalar.chars), depth);
            }
        }
    }

    /// Checks a scalar that is user data by its first line.
    fn embedded(&mut self, text: &Text, depth: usize) {
        let first = trimmed(text.lines().next().unwrap_or_default());
        let first = string(first).to_ascii_lowercase();
        let markers = ["#!", "#cloud-config", "#ecs-bootstrap", "mime-version:", "content-type: multipart"];
        if markers.iter().any(|marker| first.starts_with(marker)) {
            self.has_found = true;
            self.document(text, "", depth + 1);
        }
    }
}

/// Whether the text contains `$NAME`, which no template engine replaces.
fn has_bare_dollar(text: &str) -> bool {
    text.match_indices('$').any(|(at, _)| text[at + 1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
}

/// The decoded content of a file of `write_files`. `None` if the encoding is unknown or the content is not valid.
fn content(text: &Text, chars: &[At], encoding: &str) -> Option<Text> {
    let plain = text.part(chars);
    match encoding {
        "" | "text/plain" => Some(plain),
        "b64" | "base64" | "gz+base64" | "gzip+base64" | "gz+b64" | "gzip+b64" => {
            Some(unzipped(&plain, &decoded(plain.string().as_bytes())?, "base64"))
        }
        _ => None,
    }
}

fn unzipped(text: &Text, bytes: &[u8], what: &'static str) -> Text {
    let mut plain = Vec::new();
    let is_zipped = bytes.starts_with(&[0x1f, 0x8b]);
    let read = MultiGzDecoder::new(bytes).take(MAX_TEXT_LENGTH).read_to_end(&mut plain);
    let bytes = if is_zipped && read.is_ok() { &plain } else { bytes };
    text.decoded(&String::from_utf8_lossy(bytes), what)
}

/// Decodes quoted-printable. Each character has the place of its first byte.
fn quoted_printable(chars: &[At]) -> Vec<At> {
    let text = string(chars);
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let (places, bytes): (Vec<usize>, Vec<u8>) = mime::quoted_printable(text.as_bytes()).into_iter().unzip();
    let decoded = String::from_utf8_lossy(&bytes);
    // A wrong byte became a character of three.
    let is_same = decoded.len() == bytes.len();
    let place = |at: usize| {
        let byte = places.get(at).copied().unwrap_or_default();
        chars[starts.partition_point(|start| *start <= byte) - 1]
    };
    decoded.char_indices().map(|(at, c)| At { c, ..place(if is_same { at } else { 0 }) }).collect()
}

//! Finds the lines that a shell script writes to `ecs.config`.
//!
//! In: a script. Out: runs of lines, one run for each command that writes. Commands whose output is not known from the
//! script are ignored.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::CheckNote;
use super::mistakes::{self, Write};
use super::shell::{ShellCommand, Unended, Word, commands, tee_files};
use super::text::{At, Text, config_lines, string};
use crate::ecs_config::issue::{Level, OPAQUE, SourceLine};

/// The most characters that one `printf` writes here.
const MAX_OUTPUT_LENGTH: usize = 64 * 1024;
/// The most `sh -c` inside of each other that are read.
const MAX_DEPTH: usize = 3;

/// The lines that a script writes to `ecs.config`, and the mistakes of the script.
#[derive(Default)]
pub(super) struct WrittenLines {
    /// The lines, one run for each command that writes.
    pub(super) runs: Vec<Vec<SourceLine>>,
    pub(super) notes: Vec<CheckNote>,
}

/// Reads a script.
pub(super) fn written(script: &Text) -> WrittenLines {
    let first = script.lines().next().map(string).unwrap_or_default();
    let is_shell = ["sh", "bash", "dash", "zsh", "ksh", "ash"];
    if let Some(interpreter) = first.strip_prefix("#!") {
        let names = interpreter.split([' ', '/', '\t', '\r']);
        if !names.into_iter().any(|name| is_shell.contains(&name)) {
            return WrittenLines::default();
        }
    }
    let interprets = first.starts_with("#!") && !first.contains("bash") && !first.contains("zsh");
    let mut scanner = Scanner { interprets, ..Scanner::default() };
    scanner.scan(&script.chars, 0);
    let mut notes = scanner.notes;
    notes.extend(mistakes::of_writes(&scanner.writes));
    let is_written =
        |setting: &str| scanner.runs.iter().flatten().any(|line| mistakes::setting(&line.text) == Some(setting));
    if !scanner.runs.is_empty() {
        let printed = scanner.printed.iter().filter(|text| !mistakes::setting(&string(text)).is_some_and(is_written));
        notes.extend(printed.filter_map(|text| mistakes::of_other_output(text, None)));
    }
    WrittenLines { runs: scanner.runs, notes }
}

#[derive(Default)]
struct Scanner {
    /// Whether `echo` decodes backslashes without `-e`.
    interprets: bool,
    variables: BTreeMap<String, String>,
    assigned: BTreeSet<String>,
    runs: Vec<Vec<SourceLine>>,
    writes: Vec<Write>,
    /// The texts that are printed and not written to a file.
    printed: Vec<Vec<At>>,
    notes: Vec<CheckNote>,
}

impl Scanner {
    fn scan(&mut self, chars: &[At], depth: usize) {
        let commands = commands(chars);
        for command in &commands {
            self.assignments(command);
        }
        for (index, command) in commands.iter().enumerate() {
            let name = name(command);
            if depth < MAX_DEPTH && ["sh", "bash", "su", "sudo", "eval"].contains(&name.as_str()) {
                let after =
                    command.words.iter().skip_while(|word| word.string() != "-c" && word.string() != "-lc").nth(1);
                if let Some(script) = after {
                    self.scan(&script.chars, depth + 1);
                }
            }
            self.command(command, &name, command.is_piped.then(|| commands.get(index + 1)).flatten());
        }
    }

    /// Checks one command. `next` is the command that its output is piped to.
    fn command(&mut self, command: &ShellCommand, name: &str, next: Option<&ShellCommand>) {
        let piped = next.map(tee_files).unwrap_or_default();
        let teed = tee_files(command);
        let files: Vec<&Word> = command.outputs.iter().chain(&piped).chain(&teed).collect();
        let output = self.output(command, name);
        if !files.iter().any(|file| self.is_ecs_config(file)) {
            let other = files.iter().map(|file| file.string()).find(|file| mistakes::is_other_file(file));
            let Some(text) = output else { return };
            if other.is_some() {
                self.notes.extend(mistakes::of_other_output(&text, other.as_deref()));
            } else if files.is_empty() && !command.is_piped && !command.is_grouped {
                self.printed.push(text);
            }
            return;
        }
        if let Some(unended) = &command.unended {
            self.notes.extend(unended_note(unended));
        }
        if let Some(at) = command.words.iter().find_map(|word| word.braces) {
            let message = "the shell expands these braces into several words; put the text in single quotes".to_owned();
            self.notes.push(CheckNote::new(at.place(), Level::Error, "config-bad-json", message));
        }
        let is_assignment = !command.words.is_empty() && command.words.iter().all(|word| word.string().contains('='));
        if let Some(first) = command.words.first().and_then(|word| word.chars.first()).filter(|_| is_assignment) {
            let message = "this sets a shell variable and does not write to `ecs.config`; `echo` is missing";
            self.notes.push(CheckNote::new(
                (first.line, first.column),
                Level::Error,
                "config-unreadable-key",
                message.to_owned(),
            ));
        }
        let Some(text) = output else { return };
        let appends = command.appends || next.into_iter().chain([command]).any(ShellCommand::has_append_option);
        if let Some(at) = command.words.first().and_then(|word| word.chars.first()).or(text.first()) {
            self.writes.push(Write { text: text.clone(), replaces: !appends, at: *at });
        }
        let is_echo =
            name == "echo" && !self.interprets && !command.words.iter().any(|word| is_echo_option(&word.string()));
        if let Some(note) = mistakes::of_text(&text, is_echo) {
            return self.notes.push(note);
        }
        let mut lines = config_lines(&text);
        for line in &mut lines {
            line.is_final = self.has_shell_variable(&line.text);
        }
        self.runs.push(lines);
    }

    /// Records the shell variables that a command sets.
    fn assignments(&mut self, command: &ShellCommand) {
        let is_name = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let mut declares = true;
        for word in &command.words {
            let text = word.string();
            match text.split_once('=') {
                Some((name, value)) if declares && is_name(name) => {
                    self.assigned.insert(name.to_owned());
                    self.variables.insert(name.to_owned(), value.to_owned());
                }
                _ if ["export", "local", "declare", "readonly", "typeset", "read", "for"].contains(&text.as_str()) => {}
                _ => declares = false,
            }
        }
    }

    fn is_ecs_config(&self, word: &Word) -> bool {
        let text = word.string();
        let text = word.variable.as_ref().and_then(|name| self.variables.get(name)).unwrap_or(&text);
        !mistakes::is_other_file(text) && (mistakes::is_config_file(text) || *text == format!("{OPAQUE}ecs.config"))
    }

    /// Whether a text that no shell expands contains a shell variable.
    fn has_shell_variable(&self, text: &str) -> bool {
        text.match_indices('$').any(|(at, _)| {
            let rest = &text[at + 1..];
            match rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
                Some((name, _)) => self.assigned.contains(name),
                None => rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '('),
            }
        })
    }

    /// The output of the command, if it is known from the script.
    fn output(&self, command: &ShellCommand, name: &str) -> Option<Vec<At>> {
        let mut words = command.words.iter().skip_while(|word| word.string() != name).skip(1).peekable();
        match name.rsplit('/').next().unwrap_or(name) {
            "echo" => {
                let (mut escapes, mut ends) = (self.interprets, true);
                while let Some(option) = words.next_if(|word| is_echo_option(&word.string())) {
                    escapes |= option.string().contains('e');
                    ends &= !option.string().contains('n');
                }
                let mut text: Vec<At> = Vec::new();
                for word in words {
                    if let Some(last) = text.last().copied() {
                        text.push(At { c: ' ', ..last });
                    }
                    text.extend(&word.chars);
                }
                let mut text = if escapes { unescaped(&text) } else { text };
                if let Some(last) = text.last().copied().filter(|_| ends) {
                    text.push(At { c: '\n', ..last });
                }
                Some(text)
            }
            "printf" => {
                let format = words.next_if(|word| word.string() != "--").or_else(|| words.nth(1))?;
                Some(printed(&unescaped(&format.chars), words.map(|word| word.chars.as_slice())))
            }
            "cat" | "tee" => command.input.clone(),
            _ => None,
        }
    }
}

fn unended_note(unended: &Unended) -> Option<CheckNote> {
    let first = unended.word.first()?;
    let end = string(&unended.word);
    let message = match unended.indented {
        Some(line) => format!(
            "this here-document does not end at line {line}, because there are blanks before `{end}`; the lines after \
             it are written to `ecs.config` too"
        ),
        None => format!("this here-document does not end: there is no line `{end}`"),
    };
    let level = if unended.swallows { Level::Error } else { Level::Warning };
    Some(CheckNote::new(first.place(), level, "config-unreadable-key", message))
}

/// The name of the program: the first word after assignments, `sudo` and its options.
fn name(command: &ShellCommand) -> String {
    let texts = command.words.iter().map(Word::string);
    let mut texts = texts.skip_while(|text| text.contains('=') && !text.starts_with('='));
    let first = texts.next().unwrap_or_default();
    match first.as_str() {
        "sudo" => {
            let is_shell =
                |text: &String| ["sh", "bash", "tee", "cat", "echo", "printf", "su"].contains(&text.as_str());
            texts.find(is_shell).unwrap_or(first)
        }
        _ => first,
    }
}

fn is_echo_option(text: &str) -> bool {
    text.len() > 1 && text.starts_with('-') && text[1..].chars().all(|c| "neE".contains(c))
}

/// The text with `\n`, `\t`, `\r`, `\\` and escaped quotes decoded, as `echo -e` and `printf` do.
fn unescaped(text: &[At]) -> Vec<At> {
    let mut result = Vec::with_capacity(text.len());
    let mut index = 0;
    while let Some(here) = text.get(index) {
        let escaped = (here.c == '\\').then(|| text.get(index + 1)).flatten().and_then(|next| match next.c {
            'n' => Some('\n'),
            't' => Some('\t'),
            'r' => Some('\r'),
            '\\' | '"' | '\'' => Some(next.c),
            _ => None,
        });
        result.push(At { c: escaped.unwrap_or(here.c), ..*here });
        index += if escaped.is_some() { 2 } else { 1 };
    }
    result
}

/// The output of `printf`, which repeats its format as long as there are words.
fn printed<'w>(format: &[At], words: impl Iterator<Item = &'w [At]>) -> Vec<At> {
    let mut words = words.peekable();
    let mut result = Vec::new();
    loop {
        let mut index = 0;
        let mut takes = false;
        while let Some(here) = format.get(index) {
            match (here.c, format.get(index + 1).map(|at| at.c)) {
                ('%', Some('%')) => {
                    result.push(*here);
                    index += 2;
                }
                ('%', Some('s' | 'b' | 'd' | 'i' | 'u')) => {
                    result.extend(words.next().unwrap_or_default());
                    (takes, index) = (true, index + 2);
                }
                ('%', Some(_)) => {
                    result.push(At { c: OPAQUE, ..*here });
                    words.next();
                    (takes, index) = (true, index + 2);
                }
                _ => {
                    result.push(*here);
                    index += 1;
                }
            }
        }
        if !takes || words.peek().is_none() || result.len() > MAX_OUTPUT_LENGTH {
            return result;
        }
    }
}

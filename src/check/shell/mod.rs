//! Splits a shell script into commands with their words, input and output.
//!
//! In: the characters of a script. Out: its simple commands. Words are as the command receives them: without quotes,
//! and with [`OPAQUE`] in place of each expansion. Unknown syntax becomes commands that do not write to a file, so that
//! no mistake is reported there.

mod expansion;

pub(super) use self::expansion::Unended;
use self::expansion::{Pending, balanced, body, expanded, expansion, name, without_tabs};
use super::text::{At, string};
use crate::ecs_config::issue::OPAQUE;

/// The most groups inside of each other that are read.
const MAX_GROUP_DEPTH: usize = 32;
/// The most here-documents that are read.
const MAX_DOCUMENTS: usize = 100;
/// The longest here-document that is read, in characters.
const MAX_DOCUMENT_LENGTH: usize = 32 * 1024;

/// A word after the removal of quotes.
#[derive(Clone, Debug, Default)]
pub(super) struct Word {
    pub(super) chars: Vec<At>,
    /// The variable, if the word is only its value.
    pub(super) variable: Option<String>,
    /// The first of the braces that the shell expands into several words.
    pub(super) braces: Option<At>,
    quoted: bool,
}

impl Word {
    pub(super) fn string(&self) -> String {
        string(&self.chars)
    }
}

/// A command with its redirections.
#[derive(Clone, Debug, Default)]
pub(super) struct ShellCommand {
    pub(super) words: Vec<Word>,
    /// The files that it writes its output to.
    pub(super) outputs: Vec<Word>,
    /// Whether it appends the output to them.
    pub(super) appends: bool,
    /// Whether it is inside braces, parentheses or a function.
    pub(super) is_grouped: bool,
    /// The text of its here-document or here-string.
    pub(super) input: Option<Vec<At>>,
    /// Its here-document, if that does not end or if its last line is indented.
    pub(super) unended: Option<Unended>,
    /// Whether its output is piped to the next command.
    pub(super) is_piped: bool,
}

impl ShellCommand {
    /// Whether it has the option with which `tee` appends.
    pub(super) fn has_append_option(&self) -> bool {
        self.words.iter().any(|word| ["-a", "--append"].contains(&word.string().as_str()))
    }

    fn is_empty(&self) -> bool {
        self.words.is_empty() && self.outputs.is_empty() && self.input.is_none()
    }
}

struct ShellLexer<'t> {
    chars: &'t [At],
    at: usize,
    commands: Vec<ShellCommand>,
    current: ShellCommand,
    pending: Vec<Pending>,
    documents: usize,
    /// Each open `{` or `(`, with the index of the first command in it.
    groups: Vec<(char, usize)>,
}

/// The commands of a script in their order.
pub(super) fn commands(chars: &[At]) -> Vec<ShellCommand> {
    let mut lexer = ShellLexer {
        chars,
        at: 0,
        commands: Vec::new(),
        current: ShellCommand::default(),
        pending: Vec::new(),
        documents: 0,
        groups: Vec::new(),
    };
    while lexer.step() {}
    lexer.end_command();
    lexer.bodies();
    lexer.commands
}

impl ShellLexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).map(|at| at.c)
    }

    fn step(&mut self) -> bool {
        let Some(c) = self.peek(0) else { return false };
        match c {
            c if c.is_whitespace() && c != '\n' => self.at += 1,
            '\\' if self.peek(1) == Some('\n') => self.at += 2,
            '\n' => {
                self.at += 1;
                self.end_command();
                self.bodies();
            }
            '#' => self.at += self.chars[self.at..].iter().take_while(|at| at.c != '\n').count(),
            '|' | '&' | ';' => self.operator(c),
            '(' | ')' => {
                self.at += 1;
                self.end_command();
                self.group(c);
            }
            '<' | '>' => self.redirection(None),
            _ => self.word_or_group(c),
        }
        true
    }

    fn operator(&mut self, c: char) {
        let is_double = self.peek(1) == Some(c);
        if c == '&' && self.peek(1) == Some('>') {
            self.at += 1;
            return self.redirection(None);
        }
        self.at += if is_double || (c == '|' && self.peek(1) == Some('&')) { 2 } else { 1 };
        self.current.is_piped = c == '|' && !is_double;
        self.end_command();
    }

    fn end_command(&mut self) {
        let mut command = std::mem::take(&mut self.current);
        if !command.is_empty() {
            command.is_grouped = !self.groups.is_empty();
            self.commands.push(command);
        }
    }

    fn group(&mut self, c: char) {
        match c {
            '{' | '(' if self.groups.len() < MAX_GROUP_DEPTH => self.groups.push((c, self.commands.len())),
            '{' | '(' => {}
            _ => {
                let opens = if c == '}' { '{' } else { '(' };
                let Some((_, start)) = self.groups.pop_if(|(open, _)| *open == opens) else { return };
                self.redirect_group(start);
            }
        }
    }

    /// Applies the redirections after `}` or `)` to every command of the group.
    fn redirect_group(&mut self, start: usize) {
        loop {
            match self.peek(0) {
                Some(' ' | '\t') => self.at += 1,
                Some('<' | '>') => self.redirection(None),
                _ => break,
            }
        }
        let (outputs, appends) = (std::mem::take(&mut self.current.outputs), self.current.appends);
        let is_piped = self.peek(0) == Some('|') && self.peek(1) != Some('|');
        let (to, appends) = if is_piped { self.tee_after_pipe() } else { (outputs, appends) };
        if to.is_empty() {
            return;
        }
        let of_group = self.commands.iter_mut().skip(start).filter(|of| of.outputs.is_empty() && !of.is_piped);
        for (number, command) in of_group.enumerate() {
            command.outputs.extend(to.iter().cloned());
            // The shell opens the file once for all commands, so later ones append.
            command.appends = appends || number > 0;
        }
    }

    /// The files of the `tee` that a group is piped to, and whether it appends.
    fn tee_after_pipe(&mut self) -> (Vec<Word>, bool) {
        let rest = &self.chars[self.at + 1..];
        let end = rest.iter().position(|at| "\n|&;()".contains(at.c)).unwrap_or(rest.len());
        let next = commands(&rest[..end]).into_iter().next();
        next.map(|command| (tee_files(&command), command.has_append_option())).unwrap_or_default()
    }

    fn word_or_group(&mut self, c: char) {
        let is_alone = self.peek(1).is_none_or(|next| next.is_whitespace() || next == ';');
        let begins = self.current.words.is_empty();
        if (c == '{' || c == '}') && begins && (is_alone || c == '}') {
            self.at += 1;
            return self.group(c);
        }
        let digits = self.chars[self.at..].iter().take_while(|at| at.c.is_ascii_digit()).count();
        if digits > 0 && matches!(self.peek(digits), Some('<' | '>')) {
            let number = self.chars[self.at].c;
            self.at += digits;
            return self.redirection(Some(number));
        }
        let word = self.word();
        // Keywords that are followed by a command.
        const BEFORE: [&str; 9] = ["if", "then", "else", "elif", "do", "while", "until", "!", "time"];
        if begins && BEFORE.contains(&word.string().as_str()) && !word.quoted {
            return;
        }
        self.current.words.push(word);
    }

    fn blanks(&mut self) {
        while matches!(self.peek(0), Some(' ' | '\t')) {
            self.at += 1;
        }
    }

    fn redirection(&mut self, number: Option<char>) {
        let operator: String =
            self.chars[self.at..].iter().map(|at| at.c).take_while(|c| "<>&|".contains(*c)).take(3).collect();
        if operator.starts_with("<<<") {
            self.at += 3;
            self.blanks();
            let mut word = self.word().chars;
            let end = word.last().copied();
            word.extend(end.map(|at| At { c: '\n', ..at }));
            self.current.input = Some(word);
        } else if operator.starts_with("<<") {
            self.at += 2;
            let strips_tabs = self.peek(0) == Some('-');
            self.at += usize::from(strips_tabs || self.peek(0) == Some('~'));
            self.blanks();
            let word = self.word();
            if !word.chars.is_empty() && self.documents < MAX_DOCUMENTS {
                self.documents += 1;
                let (end, is_literal) = (word.string(), word.quoted);
                let command = self.commands.len();
                self.pending.push(Pending { command, word: word.chars, end, is_literal, strips_tabs });
                self.current.input = Some(Vec::new());
            }
        } else if operator.starts_with('>') {
            let is_copy = operator.starts_with(">&");
            self.at += if operator.starts_with(">>") || is_copy || operator.starts_with(">|") { 2 } else { 1 };
            self.blanks();
            if self.peek(0) == Some('(') {
                return;
            }
            let word = self.word();
            let is_stdout = number.is_none_or(|number| number == '1');
            if is_stdout && !(is_copy && word.string().chars().all(|c| c.is_ascii_digit() || c == '-')) {
                self.current.outputs.push(word);
                self.current.appends = operator.starts_with(">>");
            }
        } else {
            self.at += 1;
            if self.peek(0) == Some('(') {
                return;
            }
            self.blanks();
            self.word();
        }
    }

    /// Reads the bodies of the here-documents of the last line.
    fn bodies(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            let rest = &self.chars[self.at..];
            let rest = &rest[..rest.len().min(MAX_DOCUMENT_LENGTH)];
            let (length, skipped, unended) = body(rest, &pending);
            // The end of a longer one is after the part that was read.
            let unended = unended.filter(|_| rest.len() < MAX_DOCUMENT_LENGTH);
            let mut text = rest[..length].to_vec();
            if pending.strips_tabs {
                text = without_tabs(&text);
            }
            self.at += length + skipped;
            let text = if pending.is_literal { text } else { expanded(&text) };
            if let Some(command) = self.commands.get_mut(pending.command) {
                command.input = Some(text);
                command.unended = unended;
            }
        }
    }

    fn word(&mut self) -> Word {
        let mut word = Word::default();
        let mut braces: Vec<(At, bool)> = Vec::new();
        let start = self.at;
        while let Some(c) = self.peek(0) {
            let here = self.chars[self.at];
            match c {
                '\'' => {
                    word.quoted = true;
                    self.at += 1;
                    while self.peek(0).is_some_and(|c| c != '\'') {
                        word.chars.push(self.chars[self.at]);
                        self.at += 1;
                    }
                    self.at += 1;
                }
                '"' => {
                    word.quoted = true;
                    self.at += 1;
                    self.double_quoted(&mut word);
                }
                '\\' => {
                    if let Some(next) = self.chars.get(self.at + 1).filter(|next| next.c != '\n') {
                        word.chars.push(*next);
                        word.quoted = true;
                    }
                    self.at += 2;
                }
                '$' | '`' => self.expansion(&mut word, here),
                '(' if word.chars.last().is_some_and(|last| last.c == '=') => {
                    // An array.
                    self.at += balanced(&self.chars[self.at..], '(', ')');
                    word.chars.push(At { c: OPAQUE, ..here });
                }
                '<' if word.chars.last().is_some_and(|last| last.c == '=') && self.placeholder() > 0 => {
                    let length = self.placeholder();
                    word.chars.extend(&self.chars[self.at..self.at + length]);
                    self.at += length;
                }
                c if c.is_whitespace() || "|&;()<>".contains(c) => break,
                _ => {
                    match c {
                        '{' => braces.push((here, false)),
                        ',' => braces.last_mut().into_iter().for_each(|(_, has_comma)| *has_comma = true),
                        '}' => {
                            word.braces =
                                braces.pop().filter(|(_, has_comma)| *has_comma).map(|(at, _)| at).or(word.braces)
                        }
                        _ => {}
                    }
                    word.chars.push(here);
                    self.at += 1;
                }
            }
        }
        self.at = self.at.min(self.chars.len());
        let is_lone = word.chars.len() == 1 && word.chars[0].c == OPAQUE;
        word.variable = is_lone.then(|| name(&string(&self.chars[start..self.at]))).flatten();
        word
    }

    /// The length of a placeholder such as `<NAME>` or `<%= name %>`. 0 if there is none.
    fn placeholder(&self) -> usize {
        let rest = &self.chars[self.at..];
        let length =
            rest.iter().take(200).take_while(|at| at.c != '\n').position(|at| at.c == '>').map_or(0, |end| end + 1);
        let text = string(&rest[..length]);
        let is_name =
            |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_- .".contains(c));
        let is_engine = text.starts_with("<%") && text.ends_with("%>");
        let is_named = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).is_some_and(is_name);
        if is_engine || is_named { length } else { 0 }
    }

    fn double_quoted(&mut self, word: &mut Word) {
        while let Some(c) = self.peek(0) {
            let here = self.chars[self.at];
            match c {
                '"' => {
                    self.at += 1;
                    return;
                }
                '\\' if self.peek(1) == Some('\n') => self.at += 2,
                '\\' if self.peek(1).is_some_and(|next| "\"\\$`".contains(next)) => {
                    word.chars.push(self.chars[self.at + 1]);
                    self.at += 2;
                }
                '$' | '`' => self.expansion(word, here),
                _ => {
                    word.chars.push(here);
                    self.at += 1;
                }
            }
        }
    }

    fn expansion(&mut self, word: &mut Word, here: At) {
        let length = expansion(&self.chars[self.at..]);
        self.at += length.max(1);
        word.chars.push(if length == 0 { here } else { At { c: OPAQUE, ..here } });
    }
}

/// The files that a `tee` writes, also after other words such as `sudo`.
pub(super) fn tee_files(command: &ShellCommand) -> Vec<Word> {
    let mut words = command.words.iter();
    if words.any(|word| word.string() == "tee" || word.string().ends_with("/tee")) {
        words.filter(|word| !word.string().starts_with('-')).cloned().collect()
    } else {
        Vec::new()
    }
}

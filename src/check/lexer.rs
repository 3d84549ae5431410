//! Splits a source file in another language into tokens: string literals with decoded escapes, brackets, names and
//! operators.
//!
//! In: the characters of the file, and the quoting rules of its language. Out: tokens whose characters keep their
//! places. It knows how Terraform, JSON, Python, TypeScript, Java, C#, Rust and Go write strings, and does not parse
//! any of these languages. It reads each character a limited number of times.

use super::text::{At, string};
use crate::ecs_config::issue::OPAQUE;

/// The longest placeholder in a literal, in characters.
const MAX_PLACEHOLDER_LENGTH: usize = 1000;
/// The most characters of a name that are kept.
const MAX_WORD_LENGTH: usize = 64;

/// How a language writes strings and comments.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    /// Whether the language is known from the name of the file.
    pub(super) is_known: bool,
    /// Whether functions of the language replace `%s` and `{}`.
    pub(super) formats: bool,
    /// Whether `'text'` is a string and not a character.
    single: bool,
    /// Whether `` `text` `` is a string.
    backtick: bool,
    /// Whether `"""text"""` is a string. So is `'''text'''` if `single` is set.
    triple: bool,
    /// Whether `#` begins a comment.
    hash: bool,
    /// Whether `//` and `/*` begin comments.
    slashes: bool,
    /// Whether `${name}` in double quotes is replaced.
    dollar: bool,
    /// Whether a backtick literal has no escapes (Go).
    raw_backtick: bool,
    /// Whether an unknown escape keeps its backslash (Python).
    keeps_escapes: bool,
    /// Whether a backslash at the end of a line also removes the blanks at the start of the next line (Rust).
    joins_lines: bool,
    /// Whether `<<EOF` at the end of a line begins a here-document.
    heredocs: bool,
}

impl Rules {
    /// The rules for a file, by the ending of its name. JSON is also recognised by its first character.
    pub(super) fn of(name: &str, text: &[At]) -> Rules {
        let none = Rules { is_known: true, ..Rules::default() };
        let code = Rules { slashes: true, formats: true, ..none };
        let end = name.rsplit('.').next().unwrap_or_default();
        match end {
            "tf" | "hcl" | "tfvars" | "nomad" => {
                Rules { hash: true, slashes: true, dollar: true, heredocs: true, ..none }
            }
            "py" => Rules { single: true, triple: true, hash: true, keeps_escapes: true, slashes: false, ..code },
            "ts" | "tsx" | "js" | "jsx" | "mjs" | "cjs" => Rules { single: true, backtick: true, ..code },
            "go" => Rules { backtick: true, raw_backtick: true, ..code },
            "rs" => Rules { joins_lines: true, ..code },
            "java" | "cs" | "scala" => Rules { triple: true, ..code },
            "kt" | "kts" => Rules { triple: true, dollar: true, ..code },
            "json" => none,
            _ if text.iter().find(|at| !at.c.is_whitespace()).is_some_and(|at| at.c == '{') => none,
            _ => Rules {
                is_known: false,
                single: true,
                backtick: true,
                triple: true,
                hash: true,
                dollar: true,
                keeps_escapes: true,
                heredocs: true,
                ..code
            },
        }
    }
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A decoded string literal. [`OPAQUE`] replaces placeholders.
    Literal(Vec<At>),
    /// A name, a keyword or a number.
    Word(String),
    Open(char),
    Close(char),
    /// One or more line breaks.
    Newline,
    /// `=`, `+=` or `:=`.
    Assign,
    Arrow,
    /// Any other character.
    Mark(char),
}

/// The rules for one literal.
#[derive(Clone, Copy, Default)]
struct Style {
    is_raw: bool,
    dollar: bool,
    /// Whether `{name}` is replaced.
    braces: bool,
    is_multiline: bool,
}

/// The tokens of a file, read one by one.
pub(super) struct Lexer<'t> {
    chars: &'t [At],
    at: usize,
    rules: Rules,
    /// Quotes, and their number, whose closing quotes were not found once. They are not searched again.
    unclosed: Vec<(char, usize)>,
    begins_line: bool,
    /// Whether there are blanks before the last token.
    pub(super) is_spaced: bool,
    /// The first character of the last token.
    pub(super) place: At,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(chars: &'t [At], rules: Rules) -> Lexer<'t> {
        let place = chars.first().copied().unwrap_or(At { c: OPAQUE, line: 1, column: 1 });
        Lexer { chars, at: 0, rules, unclosed: Vec::new(), begins_line: false, is_spaced: false, place }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).map(|at| at.c)
    }

    /// The character after the last token. After a [`Token::Newline`] it is the first one that is not blank or a
    /// comment.
    pub(super) fn following(&self) -> Option<char> {
        self.peek(0)
    }

    pub(super) fn next(&mut self) -> Option<Token> {
        let start = self.at;
        let has_newline = self.blanks();
        self.is_spaced = self.at > start || std::mem::take(&mut self.begins_line);
        if has_newline {
            self.begins_line = true;
            return Some(Token::Newline);
        }
        self.place = *self.chars.get(self.at)?;
        let c = self.place.c;
        let next = self.peek(1);
        Some(match c {
            '"' | '\'' | '`' => self.quoted(c, Style::default()),
            '$' if next == Some('"') => {
                self.at += 1;
                self.quoted('"', Style { braces: true, ..Style::default() })
            }
            '<' if next == Some('<') && self.rules.heredocs && self.skip_heredoc() => Token::Word(String::new()),
            '(' | '[' | '{' => self.take(1, Token::Open(c)),
            ')' | ']' | '}' => self.take(1, Token::Close(c)),
            '=' if next == Some('>') => self.take(2, Token::Arrow),
            '=' | '!' | '<' | '>' if next == Some('=') => self.take(2, Token::Mark('<')),
            '=' => self.take(1, Token::Assign),
            '+' | ':' if next == Some('=') => self.take(2, Token::Assign),
            _ if is_of_word(c) => self.word(),
            _ => self.take(1, Token::Mark(c)),
        })
    }

    fn take(&mut self, length: usize, token: Token) -> Token {
        self.at += length;
        token
    }

    /// Skips blanks and comments. Returns whether there was a line break.
    fn blanks(&mut self) -> bool {
        let mut has_newline = false;
        while let Some(c) = self.peek(0) {
            match (c, self.peek(1)) {
                ('\\', Some('\n')) => self.at += 2,
                ('#', _) if self.rules.hash => self.skip_line(),
                ('/', Some('/')) if self.rules.slashes => self.skip_line(),
                ('/', Some('*')) if self.rules.slashes => {
                    self.at += 2;
                    while self.peek(0).is_some() && !(self.peek(0) == Some('*') && self.peek(1) == Some('/')) {
                        self.at += 1;
                    }
                    self.at = (self.at + 2).min(self.chars.len());
                }
                _ if c.is_whitespace() => {
                    has_newline |= c == '\n';
                    self.at += 1;
                }
                _ => break,
            }
        }
        has_newline
    }

    fn skip_line(&mut self) {
        while self.peek(0).is_some_and(|c| c != '\n') {
            self.at += 1;
        }
    }

    /// A name, or the prefix of a literal: `f"text"`, `r'text'`.
    fn word(&mut self) -> Token {
        let rest = &self.chars[self.at..];
        let length = rest.iter().take_while(|at| is_of_word(at.c)).count();
        let mut text = string(&rest[..length.min(MAX_WORD_LENGTH)]);
        self.at += length;
        if let Some(quote @ ('"' | '\'')) = self.peek(0) {
            let prefix = text.to_ascii_lowercase();
            if prefix.len() <= 2 && prefix.chars().all(|c| "frbu".contains(c)) && (quote == '"' || self.rules.single) {
                let style = Style { is_raw: prefix.contains('r'), braces: prefix.contains('f'), ..Style::default() };
                return self.quoted(quote, style);
            }
        }
        // A call of a macro in Rust.
        if self.peek(0) == Some('!') && self.peek(1) == Some('(') {
            self.at += 1;
            text.push('!');
        }
        Token::Word(text)
    }

    fn quoted(&mut self, quote: char, style: Style) -> Token {
        let is_string = match quote {
            '\'' => self.rules.single,
            '`' => self.rules.backtick,
            _ => true,
        };
        if !is_string {
            // A character such as `'"'`. For a lifetime of Rust, only the quote is skipped.
            let length = if self.peek(1) == Some('\\') { 4 } else { 3 };
            let is_character = quote == '\'' && self.peek(length - 1) == Some('\'');
            return self.take(if is_character { length } else { 1 }, Token::Mark('\''));
        }
        let is_triple = self.rules.triple && quote != '`' && self.peek(1) == Some(quote) && self.peek(2) == Some(quote);
        let width = if is_triple { 3 } else { 1 };
        let is_multiline = is_triple || quote == '`';
        let style = Style {
            is_multiline,
            is_raw: style.is_raw || (quote == '`' && self.rules.raw_backtick),
            dollar: (quote == '`' && !self.rules.raw_backtick) || (quote == '"' && self.rules.dollar),
            ..style
        };
        if is_multiline && self.unclosed.contains(&(quote, width)) {
            return self.take(1, Token::Mark(quote));
        }
        let start = self.at;
        self.at += width;
        match self.literal(quote, width, style) {
            Some(chars) => Token::Literal(chars),
            None if is_multiline => {
                self.unclosed.push((quote, width));
                self.at = start + 1;
                Token::Mark(quote)
            }
            None => {
                self.skip_line();
                Token::Mark(quote)
            }
        }
    }

    /// The text before the closing quotes. `None` if they are missing.
    fn literal(&mut self, quote: char, width: usize, style: Style) -> Option<Vec<At>> {
        let mut text = Vec::new();
        loop {
            let here = *self.chars.get(self.at)?;
            let next = self.peek(1);
            let opens = next == Some('{');
            match here.c {
                c if c == quote && (width == 1 || (next == Some(quote) && self.peek(2) == Some(quote))) => {
                    self.at += width;
                    return Some(text);
                }
                '\n' if !style.is_multiline => return None,
                '\\' if !style.is_raw => self.escape(&mut text),
                '$' | '%' if style.dollar && next == Some(here.c) && self.peek(2) == Some('{') => {
                    // In Terraform, `$${` is an escaped `${`.
                    text.extend([here, self.chars[self.at + 2]]);
                    self.at += 3;
                }
                '$' | '%' if style.dollar && opens && (here.c == '$' || quote != '`') => {
                    self.at += self.placeholder(1)?;
                    text.push(At { c: OPAQUE, ..here });
                }
                '{' | '}' if style.braces && next == Some(here.c) => {
                    text.push(here);
                    self.at += 2;
                }
                '{' if style.braces => {
                    self.at += self.placeholder(0)?;
                    text.push(At { c: OPAQUE, ..here });
                }
                _ => {
                    text.push(here);
                    self.at += 1;
                }
            }
        }
    }

    /// The length of a placeholder whose brace is `brace` characters ahead. Braces inside of quotes are not counted.
    fn placeholder(&self, brace: usize) -> Option<usize> {
        let mut depth = 0_usize;
        let mut quote = None;
        let mut is_escaped = false;
        for (index, at) in self.chars[self.at..].iter().enumerate().skip(brace).take(MAX_PLACEHOLDER_LENGTH) {
            match at.c {
                _ if is_escaped => is_escaped = false,
                '\\' if quote.is_some() => is_escaped = true,
                c if quote == Some(c) => quote = None,
                _ if quote.is_some() => {}
                '"' | '\'' | '`' => quote = Some(at.c),
                '{' => depth += 1,
                '}' if depth == 1 => return Some(index + 1),
                '}' => depth -= 1,
                _ => {}
            }
        }
        None
    }

    /// Decodes an escape.
    fn escape(&mut self, text: &mut Vec<At>) {
        let here = self.chars[self.at];
        let Some(next) = self.chars.get(self.at + 1) else {
            self.at += 1;
            return;
        };
        self.at += 2;
        let c = match next.c {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            '\n' => {
                while self.rules.joins_lines && self.peek(0).is_some_and(char::is_whitespace) {
                    self.at += 1;
                }
                return;
            }
            'x' => self.number(2),
            'u' => self.number(4),
            'U' => self.number(8),
            c if "\\\"'".contains(c) => c,
            c if self.rules.keeps_escapes => {
                text.push(here);
                c
            }
            c => c,
        };
        text.push(At { c, ..here });
    }

    /// The character whose number follows in hexadecimal: in `digits` digits, or in braces.
    fn number(&mut self, digits: usize) -> char {
        let is_braced = self.peek(0) == Some('{');
        let start = self.at + usize::from(is_braced);
        let most = if is_braced { 8 } else { digits };
        let rest = self.chars.get(start..).unwrap_or_default();
        let length = rest.iter().take(most).take_while(|at| at.c.is_ascii_hexdigit()).count();
        let written = string(&rest[..length]);
        let is_closed = is_braced && rest.get(length).is_some_and(|at| at.c == '}');
        self.at = start + length + usize::from(is_closed);
        u32::from_str_radix(&written, 16).ok().and_then(char::from_u32).unwrap_or('\u{fffd}')
    }

    /// Skips a here-document, which `heredocs` reads. Returns whether there is one.
    fn skip_heredoc(&mut self) -> bool {
        let rest = &self.chars[self.at + 2..];
        let line = &rest[..rest.iter().take(MAX_WORD_LENGTH).position(|at| at.c == '\n').unwrap_or(rest.len().min(1))];
        let written = string(line);
        let word = written.trim_start_matches(['-', '~']).trim_end().to_owned();
        if word.is_empty() || !word.chars().all(is_of_word) {
            return false;
        }
        self.at += 2 + line.len();
        while self.at < self.chars.len() {
            self.at += 1;
            let start = self.at;
            self.skip_line();
            if string(&self.chars[start.min(self.at)..self.at]).trim() == word {
                break;
            }
        }
        true
    }
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

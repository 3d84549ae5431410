//! What the command lines of both programs share: their output, options of the form `KEY=VALUE`, and the generated man
//! page and shell completions.

use std::io::Write;
use std::process::ExitCode;

use clap::ValueEnum;

use crate::exit::Exit;
use crate::terminal;

/// What a command prints, and its exit code.
#[derive(Debug)]
pub struct CommandOutput {
    /// Data.
    pub stdout: String,
    /// Messages.
    pub stderr: String,
    /// The exit code.
    pub exit: Exit,
}

impl CommandOutput {
    /// A command that succeeded and prints this text.
    pub fn success(stdout: impl Into<String>) -> CommandOutput {
        CommandOutput { stdout: stdout.into(), stderr: String::new(), exit: Exit::Done }
    }

    /// A command that failed with this error, which is one line without `error: `.
    pub fn error(exit: Exit, text: &str) -> CommandOutput {
        CommandOutput { stdout: String::new(), stderr: format!("error: {text}\n"), exit }
    }

    /// A result of clap that is not a command: `--help`, `--version`, or a wrong command line.
    pub fn of_clap(error: &clap::Error) -> CommandOutput {
        let text = error.render().to_string();
        if error.use_stderr() {
            CommandOutput { stdout: String::new(), stderr: text, exit: Exit::Usage }
        } else {
            CommandOutput::success(text)
        }
    }

    /// Writes the output, with colours on a terminal. Only the `main` of a program calls it.
    pub fn print(self) -> ExitCode {
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        // A reader that has closed its end is not an error of the command. Nothing is written to an empty stream: a reader
        // of stdout that does not read must not delay stderr.
        if !self.stdout.is_empty() {
            let _ = (&stdout).write_all(terminal::coloured(&self.stdout, &stdout).as_bytes());
        }
        let _ = (&stderr).write_all(terminal::coloured(&self.stderr, &stderr).as_bytes());
        self.exit.into()
    }
}

/// What `generate` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Generated {
    /// The man page in roff
    Man,
    /// Completions for bash
    Bash,
    /// Completions for zsh
    Zsh,
    /// Completions for fish
    Fish,
}

/// Parses `KEY=VALUE`. The key must not be empty.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// The man page of this section of the manual, or completions. `add_sections` adds what clap does not know.
pub fn generate(
    mut command: clap::Command,
    what: Generated,
    section: &str,
    add_sections: impl FnOnce(&mut ManPage),
) -> CommandOutput {
    let shell = match what {
        Generated::Man => {
            return match ManPage::new(&command, section) {
                Ok(mut page) => {
                    add_sections(&mut page);
                    CommandOutput::success(page.0)
                }
                Err(error) => CommandOutput::error(Exit::Internal, &error.to_string()),
            };
        }
        Generated::Bash => clap_complete::Shell::Bash,
        Generated::Zsh => clap_complete::Shell::Zsh,
        Generated::Fish => clap_complete::Shell::Fish,
    };
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut text);
    CommandOutput::success(String::from_utf8_lossy(&text))
}

/// A man page in roff.
pub struct ManPage(String);

impl ManPage {
    fn new(command: &clap::Command, section: &str) -> std::io::Result<ManPage> {
        let mut text = Vec::new();
        let page = clap_mangen::Man::new(command.clone()).section(section);
        page.render_title(&mut text)?;
        page.render_name_section(&mut text)?;
        page.render_synopsis_section(&mut text)?;
        page.render_description_section(&mut text)?;
        page.render_options_section(&mut text)?;
        let mut page = ManPage(String::from_utf8_lossy(&text).into_owned());
        page.heading("commands", "");
        for command in command.get_subcommands() {
            page.entry(command.get_name(), &command.get_about().unwrap_or_default().to_string());
            for option in command.get_arguments().filter(|option| !option.is_global_set()) {
                if let (Some(name), Some(about)) = (option.get_long(), option.get_help()) {
                    page.0.push_str(".RS\n");
                    page.entry(&format!("--{name}"), &about.to_string());
                    page.0.push_str(".RE\n");
                }
            }
        }
        Ok(page)
    }

    /// Begins a section. The introduction may be empty.
    pub fn heading(&mut self, title: &str, introduction: &str) {
        self.0.push_str(&format!(".SH {}\n", title.to_uppercase()));
        if !introduction.is_empty() {
            self.0.push_str(&format!("{}\n", roff(introduction)));
        }
    }

    /// Adds a term and its description.
    pub fn entry(&mut self, term: &str, text: &str) {
        self.0.push_str(&format!(".TP\n\\fB{}\\fR\n{}\n", roff(term), roff(text)));
    }

    /// Adds a field to the last entry.
    pub fn field(&mut self, name: &str, text: &str) {
        self.0.push_str(&format!(".br\n\\fI{}\\fR: {}\n", roff(name), roff(text)));
    }

    /// Adds the section of exit codes.
    pub fn exit_codes(&mut self, codes: &[(Exit, &str)]) {
        self.heading("exit status", "");
        for (exit, meaning) in codes {
            self.entry(&exit.code().to_string(), meaning);
        }
    }
}

fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('-', "\\-").replace('`', "");
    // A line that begins with a dot or an apostrophe is a roff command.
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

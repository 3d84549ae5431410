//! What the command lines of both programs share: their output, options of the form `KEY=VALUE`, and the generated man
//! page and shell completions.

use std::io::Write;
use std::process::ExitCode;

use clap::ValueEnum;
use clap::error::{ContextKind, ContextValue};

use crate::exit::Exit;
use crate::{suggestion, terminal};

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
    pub fn of_clap(mut error: clap::Error) -> CommandOutput {
        keep_near_suggestions(&mut error);
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

/// Removes suggestions of clap that [`suggestion::nearest`] does not support. clap suggests `deploy` for `delete`, which
/// is not a typo.
fn keep_near_suggestions(error: &mut clap::Error) {
    const SUGGESTIONS: [(ContextKind, ContextKind); 3] = [
        (ContextKind::SuggestedSubcommand, ContextKind::InvalidSubcommand),
        (ContextKind::SuggestedArg, ContextKind::InvalidArg),
        (ContextKind::SuggestedValue, ContextKind::InvalidValue),
    ];
    for (suggested, written) in SUGGESTIONS {
        let names = match error.remove(suggested) {
            Some(ContextValue::String(name)) => vec![name],
            Some(ContextValue::Strings(names)) => names,
            _ => continue,
        };
        let near = match error.get(written) {
            Some(ContextValue::String(written)) => nearest_of(written, &names),
            _ => None,
        };
        if let Some(near) = near.map(|name| ContextValue::String(name.to_owned())) {
            error.insert(suggested, near);
        }
    }
    // The option of another command is suggested as text: `'deploy --timeout' exists`.
    if let (Some(ContextValue::StyledStrs(mut tips)), Some(ContextValue::String(written))) =
        (error.remove(ContextKind::Suggested), error.get(ContextKind::InvalidArg).cloned())
    {
        tips.retain(|tip| {
            let tip = tip.to_string();
            let option = tip.strip_suffix("' exists").and_then(|named| named.split_whitespace().next_back());
            option.is_none_or(|option| nearest_of(&written, &[option.to_owned()]).is_some())
        });
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
}

/// The most similar name. The dashes of an option are no letters of its name.
fn nearest_of<'n>(written: &str, names: &'n [String]) -> Option<&'n str> {
    let bare = |name: &str| name.trim_start_matches('-').to_owned();
    let bare_names: Vec<String> = names.iter().map(|name| bare(name)).collect();
    let near = suggestion::nearest(&bare(written), bare_names.iter().map(String::as_str))?;
    names.iter().find(|name| bare(name) == near).map(String::as_str)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> clap::Command {
        let deploy = clap::Command::new("deploy").arg(clap::Arg::new("timeout").long("timeout"));
        let explain = clap::Command::new("explain")
            .arg(clap::Arg::new("format").long("format").value_parser(["markdown", "json"]));
        clap::Command::new("tool").subcommand(deploy).subcommand(explain).subcommand(clap::Command::new("status"))
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        for (written, suggested) in [
            (&["delpoy"][..], Some("'deploy'")),
            (&["deplo"], Some("'deploy'")),
            (&["statsu"], Some("'status'")),
            (&["deploy", "--timout"], Some("'--timeout'")),
            (&["deploy", "--time-out"], Some("'--timeout'")),
            (&["explain", "--format", "markdwn"], Some("'markdown'")),
            // clap alone has a suggestion for each of these.
            (&["delete"], None),
            (&["destroy"], None),
            (&["state"], None),
            (&["expand"], None),
            (&["deploy", "--time"], None),
            (&["explain", "--format", "marking"], None),
        ] {
            let error = command().try_get_matches_from(["tool"].iter().chain(written)).unwrap_err();
            let text = CommandOutput::of_clap(error).stderr;
            let tip = text.lines().find(|line| line.contains("tip:"));
            match suggested {
                Some(name) => assert!(tip.is_some_and(|tip| tip.contains(name)), "{written:?}: {text}"),
                None => assert_eq!(tip, None, "{written:?}: {text}"),
            }
        }
    }
}

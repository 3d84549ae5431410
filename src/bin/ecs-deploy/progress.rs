//! What is said while it goes on: lines on stderr, and below them, at a terminal, one that says what is waited for.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// stderr, while a command runs.
pub(crate) struct Progress {
    start: Instant,
    bar: Option<ProgressBar>,
    said: String,
}

impl Progress {
    /// With a line of progress where a person watches; elsewhere each change of it is a line of its own.
    pub(crate) fn new(start: Instant) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{spinner} {elapsed:>4}  {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Progress { start, bar, said: String::new() }
    }

    /// Something that happened.
    pub(crate) fn event(&mut self, text: &str) {
        self.print(&format!("{:>5}s  {}\n", self.start.elapsed().as_secs(), printable(text)));
    }

    /// Lines that belong together, as they are.
    pub(crate) fn block(&self, text: &str) {
        self.print(text);
    }

    fn print(&self, text: &str) {
        // A reader that has gone away is no reason to break off a rollout.
        let print = || drop(std::io::stderr().write_all(text.as_bytes()));
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// What is waited for now.
    pub(crate) fn waiting(&mut self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(printable(text));
        } else if self.said != text {
            text.clone_into(&mut self.said);
            self.event(text);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Without control characters: a log line of a container must not steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

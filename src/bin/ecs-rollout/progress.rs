//! Shows the progress of a command on stderr: a line for each event, and at a terminal below them one line for what the
//! command waits for.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::printable::printable;

pub(crate) struct Progress {
    start: Instant,
    /// The line at the terminal.
    bar: Option<ProgressBar>,
    last_waiting: String,
}

impl Progress {
    /// `start` is the time that the times of events count from.
    pub(crate) fn new(start: Instant) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{spinner} {elapsed:>4}  {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Progress { start, bar, last_waiting: String::new() }
    }

    /// Prints a line for something that happened.
    pub(crate) fn event(&mut self, text: &str) {
        let text = printable(text, "        ");
        self.print(&format!("{:>5}s  {text}\n", self.start.elapsed().as_secs()));
    }

    /// Prints several lines unchanged.
    pub(crate) fn block(&self, text: &str) {
        self.print(text);
    }

    fn print(&self, text: &str) {
        // The rollout continues even if stderr is closed.
        let print = || drop(std::io::stderr().write_all(text.as_bytes()));
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Shows what the command waits for. Without a terminal, each change of it is printed as an event.
    pub(crate) fn waiting(&mut self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(printable(text, " ").replace('\n', ""));
        } else if self.last_waiting != text {
            text.clone_into(&mut self.last_waiting);
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

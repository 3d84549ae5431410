//! A line at a terminal that says what is being waited for; nothing where nobody watches. The one part of `report`
//! that writes.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::redaction;

/// The line.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// A line on stderr, where a person watches.
    pub fn new(watched: bool) -> Progress {
        let bar = watched.then(|| {
            let bar = ProgressBar::new_spinner();
            // Cut to the terminal's width: a log line takes off one line, not what a longer one wrapped into.
            let style = ProgressStyle::with_template("{spinner} {elapsed:>3}  {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Progress(bar)
    }

    /// What is being done now.
    pub fn say(&self, text: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(redaction::line(text));
        }
    }

    /// Takes the line away.
    pub fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

//! The progress line: what the command waits for, on a terminal. This is the only file of `render/` that writes.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::redaction;

/// A progress line on stderr, or nothing if stderr is not a terminal.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// Shows an empty line if `is_shown`.
    pub fn new(is_shown: bool) -> Progress {
        let bar = is_shown.then(|| {
            let bar = ProgressBar::new_spinner();
            // `wide_msg` cuts the text at the width of the terminal: a log line removes one line, not a wrapped text.
            let style = ProgressStyle::with_template("{spinner} {elapsed:>3}  {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Progress(bar)
    }

    /// Replaces the text.
    pub fn say(&self, text: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(redaction::line(text));
        }
    }

    /// Removes the line.
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

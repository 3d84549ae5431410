//! Shows the progress of a command on stderr: a line for each event, and at a terminal below them one line for what the
//! command waits for. Without a terminal, a silent wait is shown by a line after a while.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io::{IsTerminal, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ecs_bootstrap::retry::pause_for;
use indicatif::{ProgressBar, ProgressStyle};

use crate::github::neutral;
use crate::printable::printable;
use crate::visible::hidden::HiddenValues;

/// A handle of the progress. Clones share it.
#[derive(Clone)]
pub(crate) struct Progress(Rc<RefCell<State>>);

struct State {
    /// The time that the times of events count from.
    start: Instant,
    is_terminal: bool,
    /// The line at the terminal, once the command waits for something.
    bar: Option<ProgressBar>,
    /// What the command waits for.
    waiting: String,
    /// When the wait with a time limit began, and the time that it may take.
    limit: Option<(Instant, Duration)>,
    /// When the last line was printed.
    last_line: Instant,
    output: Box<dyn Write>,
    /// Whether the output must contain no command of the runner of GitHub Actions.
    is_neutral: bool,
    hidden: HiddenValues,
}

impl Progress {
    /// `start` is the time that the times of events count from.
    pub(crate) fn new(start: Instant) -> Progress {
        Progress::with_output(start, std::io::stderr().is_terminal(), Box::new(std::io::stderr()))
    }

    fn with_output(start: Instant, is_terminal: bool, output: Box<dyn Write>) -> Progress {
        Progress(Rc::new(RefCell::new(State {
            start,
            is_terminal,
            bar: None,
            waiting: "waiting for AWS".to_owned(),
            limit: None,
            last_line: Instant::now(),
            output,
            is_neutral: false,
            hidden: HiddenValues::default(),
        })))
    }

    /// Hides these values in the output from now on, also in that of the clones.
    pub(crate) fn hide(&self, hidden: &HiddenValues) {
        self.0.borrow_mut().hidden = hidden.clone();
    }

    /// Prints no line that the runner of GitHub Actions takes for a command, if `is_neutral` is true.
    pub(crate) fn neutral(self, is_neutral: bool) -> Progress {
        self.0.borrow_mut().is_neutral = is_neutral;
        self
    }

    /// Prints a line for something that happened.
    pub(crate) fn event(&mut self, text: &str) {
        let text = printable(&self.0.borrow().hidden.without(text), "        ");
        let seconds = self.elapsed().as_secs();
        self.print(&format!("{seconds:>5}s  {text}\n"));
    }

    /// Prints several lines unchanged.
    pub(crate) fn block(&self, text: &str) {
        self.print(text);
    }

    fn print(&self, text: &str) {
        let mut state = self.0.borrow_mut();
        state.last_line = Instant::now();
        let text = if state.is_neutral { neutral(text) } else { text.to_owned() };
        let State { bar, output, .. } = &mut *state;
        // The rollout continues even if stderr is closed.
        let mut print = || drop(output.write_all(text.as_bytes()));
        match bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Shows what the command waits for. Without a terminal, each change of it is printed as an event.
    pub(crate) fn waiting(&mut self, text: &str) {
        let mut state = self.0.borrow_mut();
        let prints = !state.is_terminal && state.waiting != text;
        state.set(text);
        drop(state);
        if prints {
            self.event(text);
        }
    }

    /// Sets what the command waits for, without a line for the change.
    pub(crate) fn doing(&mut self, text: &str) {
        self.0.borrow_mut().set(text);
    }

    /// Shows a wait from now on as one that may take `allowed`.
    pub(crate) fn limit(&mut self, allowed: Duration) {
        self.0.borrow_mut().limit = Some((Instant::now(), allowed));
    }

    /// Changes the time that the current wait may take.
    pub(crate) fn change_limit(&mut self, allowed: Duration) {
        if let Some(limit) = &mut self.0.borrow_mut().limit {
            limit.1 = allowed;
        }
    }

    /// Ends a wait with a time limit.
    pub(crate) fn no_limit(&mut self) {
        self.0.borrow_mut().limit = None;
    }

    /// The time since the start of the command.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.borrow().start.elapsed()
    }

    /// Without a terminal, prints a line whenever nothing was printed for `interval`. Never returns.
    pub(crate) async fn heartbeat(&self, interval: Duration) -> Infallible {
        loop {
            let silent = self.0.borrow().last_line.elapsed();
            match interval.checked_sub(silent).filter(|left| !left.is_zero()) {
                Some(left) => pause_for(left).await,
                None => self.still_waiting(),
            }
        }
    }

    fn still_waiting(&self) {
        let mut state = self.0.borrow_mut();
        if state.is_terminal {
            state.last_line = Instant::now();
            return;
        }
        let whole = |time: Duration| humantime::format_duration(Duration::from_secs(time.as_secs()));
        let since = match state.limit {
            Some((start, allowed)) => format!(" ({} of {})", whole(start.elapsed()), whole(allowed)),
            None => String::new(),
        };
        let text = format!("still waiting{since}: {}", state.waiting);
        drop(state);
        self.clone().event(&text);
    }

    /// Removes the line at the terminal.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.0.borrow().bar {
            bar.finish_and_clear();
        }
    }
}

impl State {
    fn set(&mut self, waiting: &str) {
        waiting.clone_into(&mut self.waiting);
        if self.is_terminal {
            let start = self.start;
            let bar = self.bar.get_or_insert_with(|| spinner().with_elapsed(start.elapsed()));
            bar.set_message(printable(&self.hidden.without(waiting), " ").replace('\n', ""));
        }
    }
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {elapsed:>4}  {wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use ecs_bootstrap::retry::{Deadline, within};

    use super::*;

    /// What is printed, shared with the progress.
    #[derive(Clone, Default)]
    struct Lines(Rc<RefCell<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn progress() -> (Progress, impl Fn() -> String) {
        let lines = Lines::default();
        let progress = Progress::with_output(Instant::now(), false, Box::new(lines.clone()));
        (progress, move || String::from_utf8(lines.0.borrow().clone()).unwrap())
    }

    #[tokio::test]
    async fn a_silent_wait_prints_its_state_and_limit_again_and_again() {
        let (mut progress, printed) = progress();
        progress.waiting("web:2 as ecs-svc/1: 0 of 2 running");
        progress.limit(Duration::from_secs(900));
        let heartbeat = progress.heartbeat(Duration::from_millis(10));
        assert!(within(Deadline::after(Duration::from_millis(400)), heartbeat).await.is_err());
        let line = "    0s  still waiting (0s of 15m): web:2 as ecs-svc/1: 0 of 2 running\n";
        assert!(printed().matches(line).count() >= 3, "{}", printed());
        progress.no_limit();
        let heartbeat = progress.heartbeat(Duration::from_millis(10));
        assert!(within(Deadline::after(Duration::from_millis(400)), heartbeat).await.is_err());
        assert!(printed().contains("still waiting: web:2"), "{}", printed());
    }

    #[tokio::test]
    async fn other_lines_postpone_the_next_one_and_a_repeated_state_is_not_printed() {
        let (mut progress, printed) = progress();
        let heartbeat = progress.clone();
        let heartbeat = async move { heartbeat.heartbeat(Duration::from_secs(3600)).await };
        let lines = async {
            for _ in 0..3 {
                progress.waiting("the same");
                progress.event("an event");
                pause_for(Duration::from_millis(2)).await;
            }
        };
        tokio::select! { never = heartbeat => match never {}, () = lines => {} }
        assert_eq!(printed(), "    0s  the same\n    0s  an event\n    0s  an event\n    0s  an event\n");
    }
}

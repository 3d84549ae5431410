//! The duration of each stage: in milliseconds since the start of this program for the verdict, and exactly for
//! `timeline`.

use std::time::{Duration, Instant as StdInstant};

use tokio::time::Instant;

use crate::render::Phase;

pub(super) struct Phases {
    start: Instant,
    /// The stages of the verdict, which may begin with those of the run that left the verification.
    pub(super) done: Vec<Phase>,
    /// The stages of this process: name, beginning and duration.
    pub(super) measured: Vec<(String, StdInstant, Duration)>,
}

impl Phases {
    pub(super) fn new(start: Instant) -> Phases {
        Phases { start, done: Vec::new(), measured: Vec::new() }
    }

    pub(super) fn begin(&self) -> Instant {
        Instant::now()
    }

    pub(super) fn end(&mut self, name: &str, begun: Instant) {
        let duration = begun.elapsed();
        self.measured.push((name.to_owned(), begun.into_std(), duration));
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.done.push(Phase {
            name: name.to_owned(),
            start_ms: ms(begun.duration_since(self.start)),
            duration_ms: ms(duration),
        });
    }
}

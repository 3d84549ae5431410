//! The duration of each stage, in milliseconds since the start of this program.

use std::time::Duration;

use tokio::time::Instant;

use crate::render::Phase;

pub(super) struct Phases {
    start: Instant,
    pub(super) done: Vec<Phase>,
}

impl Phases {
    pub(super) fn new(start: Instant) -> Phases {
        Phases { start, done: Vec::new() }
    }

    pub(super) fn begin(&self) -> Instant {
        Instant::now()
    }

    pub(super) fn end(&mut self, name: &str, begun: Instant) {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.done.push(Phase {
            name: name.to_owned(),
            start_ms: ms(begun.duration_since(self.start)),
            duration_ms: ms(begun.elapsed()),
        });
    }
}

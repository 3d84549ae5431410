//! The lines of a log since a start, and the results of the searches in them.
//!
//! Each cause searches the same lines at every diagnosis, several times a second. A search is therefore made once: the cost
//! of a diagnosis with unchanged logs does not depend on the number of lines, and hardly on the number of causes.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;

use super::line::Line;

/// The lines that are searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lines {
    /// All lines.
    All,
    /// Errors: after a warning the agent goes on.
    Errors,
    /// Lines that report a refused registration.
    Refusals,
    /// Failed attempts to connect to ACS.
    FailedConnections,
}

/// The lines of a log since a start.
#[derive(Clone, Debug, Default)]
pub struct Log {
    lines: Vec<Line>,
    /// The results of searches, by the hash of what was searched.
    found: RefCell<HashMap<u64, Option<usize>>>,
    exit_codes: OnceCell<Vec<i64>>,
}

impl From<Vec<Line>> for Log {
    fn from(lines: Vec<Line>) -> Log {
        Log { lines, ..Log::default() }
    }
}

impl Deref for Log {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        &self.lines
    }
}

impl Log {
    /// The index of the last of these lines whose text contains one of the fragments. An empty fragment is in each line.
    pub fn last_with(&self, lines: Lines, fragments: &[&str]) -> Option<usize> {
        let mut hasher = DefaultHasher::new();
        (lines, fragments).hash(&mut hasher);
        let key = hasher.finish();
        if let Some(known) = self.found.borrow().get(&key) {
            return *known;
        }
        let is_found =
            |line: &Line| lines.contains(line) && fragments.iter().any(|fragment| line.text().contains(fragment));
        let found = self.lines.iter().rposition(is_found);
        self.found.borrow_mut().insert(key, found);
        found
    }

    /// The exit codes of the agent that ecs-init logged, in their order.
    pub fn exit_codes(&self) -> &[i64] {
        self.exit_codes.get_or_init(|| self.lines.iter().filter_map(|line| exit_code(&line.message)).collect())
    }
}

impl Lines {
    fn contains(self, line: &Line) -> bool {
        match self {
            Lines::All => true,
            Lines::Errors => line.is_error(),
            Lines::Refusals => line.is_refusal(),
            Lines::FailedConnections => line.is_failed_connection(),
        }
    }
}

/// The exit code in ecs-init's message about the end of the agent.
pub(super) fn exit_code(message: &str) -> Option<i64> {
    let (_, rest) = message.split_once("Agent exited with code ")?;
    rest.split(|c: char| !c.is_ascii_digit() && c != '-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::agent_log::last_attempt;

    #[test]
    fn a_repeated_search_has_the_result_of_the_first() {
        let log = last_attempt(b"level=info msg=\"one two\"\nlevel=error msg=\"two\"\nlevel=info msg=\"three\"\n");
        for _ in 0..2 {
            assert_eq!(log.last_with(Lines::All, &["one", "two"]), Some(1));
            assert_eq!(log.last_with(Lines::All, &["one"]), Some(0));
            assert_eq!(log.last_with(Lines::Errors, &["one"]), None);
            assert_eq!(log.last_with(Lines::Errors, &[""]), Some(1));
        }
        assert_eq!(log.found.borrow().len(), 4);
    }

    #[test]
    fn reads_the_exit_codes() {
        let log = last_attempt(
            b"level=info msg=\"Agent exited with code 1\"\nlevel=info msg=\"Agent exited with code -1\"\n",
        );
        assert_eq!(log.exit_codes(), [1, -1]);
    }
}

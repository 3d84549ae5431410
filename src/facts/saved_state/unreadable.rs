//! Why the agent's saved state cannot be read. No error holds a byte of the files: they can hold secrets of tasks.

use thiserror::Error;

/// The version of the bolt file format that the agent writes (bbolt `internal/common/types.go`).
pub(super) const VERSION: u32 = 2;

/// Why saved state tells nothing. What is torn by a write of the agent reads well at the next attempt.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// Neither of the two meta pages is whole.
    #[error("the {size} bytes of the agent's database hold no valid meta page of bolt format {VERSION}")]
    NotBolt {
        /// The size of the file in bytes.
        size: u64,
    },
    /// The database does not fit together.
    #[error("page {page} of the agent's database {problem}")]
    Page {
        /// The number of the page in the file.
        page: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A value of the database is not what the agent writes.
    #[error("`{key}` in the agent's database is not a JSON string")]
    Value {
        /// The agent's name of the value.
        key: &'static str,
    },
    /// The state file is not what the agent writes.
    #[error("the agent's state file is not its JSON at line {line}, column {column}")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1; 0 at the start of a line.
        column: usize,
    },
}

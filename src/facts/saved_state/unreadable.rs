//! Why the agent's saved state cannot be read. No error contains a byte of the files, because they can contain secrets
//! of tasks.

use thiserror::Error;

/// The version of the bolt file format that the agent writes (bbolt `internal/common/types.go`).
pub(super) const VERSION: u32 = 2;

/// Why saved state cannot be read. If the agent wrote to the file during the read, the next attempt succeeds.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// Neither of the two meta pages is valid.
    #[error("the agent's database ({size} bytes) has no valid meta page of bolt format {VERSION}")]
    NotBolt {
        /// The size of the file in bytes.
        size: u64,
    },
    /// A page of the database is damaged.
    #[error("page {page} of the agent's database {problem}")]
    Page {
        /// The number of the page in the file.
        page: u64,
        /// The fault, as a predicate of the page.
        problem: &'static str,
    },
    /// A value of the database is not what the agent writes.
    #[error("`{key}` in the agent's database is not a JSON string")]
    Value {
        /// The agent's name for the value.
        key: &'static str,
    },
    /// The state file is not what the agent writes.
    #[error("the agent's state file has invalid JSON at line {line}, column {column}")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1; 0 at the start of a line.
        column: usize,
    },
}

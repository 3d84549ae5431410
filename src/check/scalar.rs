//! A scalar of a YAML document with the keys above it.

use super::text::At;

/// A scalar and the keys above it. An element of a list has its number as key.
#[derive(Debug)]
pub(super) struct Scalar {
    pub(super) path: Vec<String>,
    pub(super) chars: Vec<At>,
}

impl Scalar {
    /// The last key of the path.
    pub(super) fn key(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }
}

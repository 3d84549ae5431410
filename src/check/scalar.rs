//! A scalar of a YAML document with the keys above it.

use super::text::At;

/// A scalar and the keys above it; a list's element has its number.
#[derive(Debug)]
pub(super) struct Scalar {
    pub(super) path: Vec<String>,
    pub(super) chars: Vec<At>,
}

impl Scalar {
    /// The key that it is the value of.
    pub(super) fn key(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }
}

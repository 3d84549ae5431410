//! The retry rule of instance metadata: which errors are retried, and with which pauses.
//!
//! Until the caller's deadline, these are retried: no connection, no answer, a broken answer, status 429 and 5xx.
//! Status 404 is an answer. Status 401 renews the token once (`Imds::attempt`). Status 403 is final.

use std::time::Duration;

use super::error::{FailedAttempt, ImdsError};
use crate::retry::Policy;

/// The first pause is short, because at boot the route to the service often appears a fraction of a second after
/// ecs-bootstrap has started.
pub(super) const POLICY: Policy = Policy { first: Duration::from_millis(100), longest: Duration::from_secs(3) };

impl ImdsError {
    /// Whether the same request may succeed later without a change of the instance's metadata options.
    pub fn is_retryable(&self) -> bool {
        match self {
            ImdsError::TokenLost { .. }
            | ImdsError::Unreachable { .. }
            | ImdsError::NoAnswer { .. }
            | ImdsError::InvalidResponse { .. } => true,
            ImdsError::Status { status, .. } => *status == 429 || *status >= 500,
            ImdsError::Disabled { .. } | ImdsError::Forbidden { .. } | ImdsError::BadEndpoint { .. } => false,
        }
    }
}

impl FailedAttempt {
    /// Applies [`ImdsError::is_retryable`] to one attempt.
    pub(super) fn is_retryable(&self) -> bool {
        self.clone().into_error(1, Duration::ZERO).is_retryable()
    }
}

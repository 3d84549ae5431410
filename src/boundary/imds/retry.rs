//! The retry rule of instance metadata: which errors are retried, and with which pauses.
//!
//! Retried are missing connections, missing and broken answers, 429 and 5xx, until the deadline of the caller. A 404 is an
//! answer; a 401 renews the token once (`Imds::attempt`); 403 and errors of the client are final.

use std::time::Duration;

use super::error::{FailedAttempt, ImdsError};
use crate::retry::Policy;

/// The first pause is short: at boot the route to the service often appears fractions of a second after ecs-bootstrap.
pub(super) const POLICY: Policy = Policy { first: Duration::from_millis(100), longest: Duration::from_secs(3) };

impl ImdsError {
    /// Whether the same request may succeed later although nobody changes the metadata options of the instance.
    pub fn is_retryable(&self) -> bool {
        match self {
            ImdsError::TokenLost { .. }
            | ImdsError::Unreachable { .. }
            | ImdsError::NoAnswer { .. }
            | ImdsError::Garbled { .. } => true,
            ImdsError::Status { status, .. } => *status == 429 || *status >= 500,
            ImdsError::Disabled { .. }
            | ImdsError::Forbidden { .. }
            | ImdsError::BadEndpoint { .. }
            | ImdsError::Setup { .. } => false,
        }
    }
}

impl FailedAttempt {
    /// The same rule for one attempt.
    pub(super) fn is_retryable(&self) -> bool {
        self.clone().into_error(1, Duration::ZERO).is_retryable()
    }
}

//! A log of the requests to instance metadata and AWS, for the timeline of the boot.
//!
//! In: each request when it has ended. Out: the first [`MAX`] of them. It costs a clone of a short string for each request.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most requests that are kept. A run makes about ten; a verification that waits for hours makes thousands.
const MAX: usize = 64;

/// A log that its clones share.
#[derive(Clone, Debug, Default)]
pub struct RequestLog(Arc<Mutex<Requests>>);

/// The requests of a command so far.
#[derive(Debug, Default)]
pub struct Requests {
    /// The first requests, in the order in which they ended.
    pub first: Vec<Request>,
    /// How many more there were.
    pub dropped: usize,
}

/// A request that has ended.
#[derive(Debug)]
pub struct Request {
    /// `IMDS` or `AWS`.
    pub service: &'static str,
    /// The path below `/latest/`, or the IAM action.
    pub operation: String,
    /// When it began.
    pub start: Instant,
    /// How long it took, with its retries if the client makes them.
    pub duration: Duration,
    /// Whether the service answered and did not refuse.
    pub succeeded: bool,
}

impl RequestLog {
    /// Notes a request that has just ended.
    pub(super) fn ended(&self, service: &'static str, operation: &str, start: Instant, succeeded: bool) {
        let mut requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.first.len() >= MAX {
            requests.dropped += 1;
            return;
        }
        let operation = operation.to_owned();
        requests.first.push(Request { service, operation, start, duration: start.elapsed(), succeeded });
    }

    /// The requests so far. The log is empty afterwards.
    pub fn take(&self) -> Requests {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_requests_are_kept_and_the_others_counted() {
        let log = RequestLog::default();
        for number in 0..MAX + 3 {
            log.clone().ended("IMDS", &number.to_string(), Instant::now(), true);
        }
        let requests = log.take();
        assert_eq!((requests.first.len(), requests.dropped), (MAX, 3));
        assert_eq!(requests.first[MAX - 1].operation, (MAX - 1).to_string());
    }
}

//! How far this host's clock is from that of whoever answers.
//!
//! In goes the `Date` header of an answer, out comes the difference. It never sets a clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use aws_sdk_ecs::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_ecs::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ecs::error::BoxError;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

/// Nobody has answered yet.
const UNKNOWN: i64 = i64::MIN;

/// The difference that the last answer showed; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Drift(Arc<AtomicI64>);

impl Default for Drift {
    fn default() -> Drift {
        Drift(Arc::new(AtomicI64::new(UNKNOWN)))
    }
}

impl Drift {
    /// Takes an answer's `Date` (RFC 9110, section 6.6.1) at the moment of its arrival; one that cannot be read counts
    /// as none.
    pub(crate) fn note(&self, date: &str) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        if let (Ok(date), Ok(now)) = (DateTime::from_str(date, Format::HttpDate), now) {
            let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            self.0.store(now.saturating_sub(date.secs()), Ordering::Relaxed);
        }
    }

    /// This host's clock minus theirs, in seconds.
    pub(crate) fn seconds(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|seconds| *seconds != UNKNOWN)
    }
}

impl Intercept for Drift {
    fn name(&self) -> &'static str {
        "Drift"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = context.response().headers().get("date") {
            self.note(date);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_date_is_a_clock_that_is_ahead() {
        let drift = Drift::default();
        drift.note("yesterday");
        assert_eq!(drift.seconds(), None);
        drift.note("Thu, 01 Jan 1970 00:00:00 GMT");
        assert!(drift.seconds().unwrap() > 1_700_000_000);
        drift.note("Fri, 01 Jan 2100 00:00:00 GMT");
        assert!(drift.seconds().unwrap() < -1_000_000_000);
    }

    proptest::proptest! {
        #[test]
        fn no_header_can_break_it(date: String) {
            Drift::default().note(&date);
        }
    }
}

//! The difference between this host's clock and the clock of a service.
//!
//! In: the `Date` header of an answer. Out: the difference in seconds. It never sets a clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_sdk_ecs::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_ecs::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ecs::error::BoxError;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

/// If wall clock and monotonic clock differ by more than this since the last answer, the clock was set or the host was
/// suspended, and the measurement is no longer valid.
const STEP: Duration = Duration::from_secs(2);

/// The clock skew according to the last answer. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClockSkew(Arc<Mutex<Option<Measurement>>>);

/// The skew that an answer's `Date` showed, and when the answer arrived.
#[derive(Clone, Copy, Debug)]
struct Measurement {
    /// This host's clock minus `Date`, in seconds.
    ahead: i64,
    at: SystemTime,
    since: Instant,
}

impl ClockSkew {
    /// Measures the skew with the `Date` header of an answer that has just arrived (RFC 9110, section 6.6.1). An
    /// invalid date is ignored.
    pub(crate) fn note(&self, date: &str) {
        self.note_at(date, SystemTime::now());
    }

    fn note_at(&self, date: &str, at: SystemTime) {
        let now = at.duration_since(SystemTime::UNIX_EPOCH);
        if let (Ok(date), Ok(now)) = (DateTime::from_str(date, Format::HttpDate), now) {
            let ahead = i64::try_from(now.as_secs()).unwrap_or(i64::MAX).saturating_sub(date.secs());
            let measurement = Measurement { ahead, at, since: Instant::now() };
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(measurement);
        }
    }

    /// This host's clock minus the service's clock, in seconds; `None` without an answer, and if the clock was set
    /// after the answer.
    pub(crate) fn seconds(&self) -> Option<i64> {
        let measurement = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let by_clock = SystemTime::now().duration_since(measurement.at).ok()?;
        (by_clock.abs_diff(measurement.since.elapsed()) < STEP).then_some(measurement.ahead)
    }
}

impl Intercept for ClockSkew {
    fn name(&self) -> &'static str {
        "ClockSkew"
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
    fn an_old_date_means_that_the_clock_is_ahead() {
        let clock_skew = ClockSkew::default();
        clock_skew.note("yesterday");
        assert_eq!(clock_skew.seconds(), None);
        clock_skew.note("Thu, 01 Jan 1970 00:00:00 GMT");
        assert!(clock_skew.seconds().unwrap() > 1_700_000_000);
        clock_skew.note("Fri, 01 Jan 2100 00:00:00 GMT");
        assert!(clock_skew.seconds().unwrap() < -1_000_000_000);
    }

    #[test]
    fn the_skew_is_unknown_if_the_clock_was_set_after_the_answer() {
        let hour = Duration::from_secs(3600);
        for at in [SystemTime::now() - hour, SystemTime::now() + hour] {
            let clock_skew = ClockSkew::default();
            clock_skew.note_at("Thu, 01 Jan 1970 00:00:00 GMT", at);
            assert_eq!(clock_skew.seconds(), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_causes_a_panic(date: String) {
            ClockSkew::default().note(&date);
        }
    }
}

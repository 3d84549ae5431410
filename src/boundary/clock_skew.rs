//! How far this host's clock is from that of whoever answers.
//!
//! In goes the `Date` header of an answer, out comes the difference. It never sets a clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_sdk_ecs::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_ecs::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ecs::error::BoxError;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

/// A clock that has moved against the time that passed by more than this was set meanwhile, or the host slept.
const STEP: Duration = Duration::from_secs(2);

/// The difference that the last answer showed; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClockSkew(Arc<Mutex<Option<Seen>>>);

/// An answer's `Date`, and when it came.
#[derive(Clone, Copy, Debug)]
struct Seen {
    ahead: i64,
    at: SystemTime,
    since: Instant,
}

impl ClockSkew {
    /// Takes an answer's `Date` (RFC 9110, section 6.6.1) at the moment of its arrival; one that cannot be read counts
    /// as none.
    pub(crate) fn note(&self, date: &str) {
        self.note_at(date, SystemTime::now());
    }

    fn note_at(&self, date: &str, at: SystemTime) {
        let now = at.duration_since(SystemTime::UNIX_EPOCH);
        if let (Ok(date), Ok(now)) = (DateTime::from_str(date, Format::HttpDate), now) {
            let ahead = i64::try_from(now.as_secs()).unwrap_or(i64::MAX).saturating_sub(date.secs());
            let seen = Seen { ahead, at, since: Instant::now() };
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        }
    }

    /// This host's clock minus theirs, in seconds; unknown once the clock was set after the answer.
    pub(crate) fn seconds(&self) -> Option<i64> {
        let seen = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let by_clock = SystemTime::now().duration_since(seen.at).ok()?;
        (by_clock.abs_diff(seen.since.elapsed()) < STEP).then_some(seen.ahead)
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
    fn an_old_date_is_a_clock_that_is_ahead() {
        let clock_skew = ClockSkew::default();
        clock_skew.note("yesterday");
        assert_eq!(clock_skew.seconds(), None);
        clock_skew.note("Thu, 01 Jan 1970 00:00:00 GMT");
        assert!(clock_skew.seconds().unwrap() > 1_700_000_000);
        clock_skew.note("Fri, 01 Jan 2100 00:00:00 GMT");
        assert!(clock_skew.seconds().unwrap() < -1_000_000_000);
    }

    #[test]
    fn a_clock_that_was_set_after_the_answer_is_not_judged_by_it() {
        let hour = Duration::from_secs(3600);
        for at in [SystemTime::now() - hour, SystemTime::now() + hour] {
            let clock_skew = ClockSkew::default();
            clock_skew.note_at("Thu, 01 Jan 1970 00:00:00 GMT", at);
            assert_eq!(clock_skew.seconds(), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_can_break_it(date: String) {
            ClockSkew::default().note(&date);
        }
    }
}

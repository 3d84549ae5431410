//! Converts wall clock time to monotonic time.
//!
//! In: moments that systemd and the journal noted with both clocks. Out: the monotonic time of a wall clock time, or the
//! reason why it is ambiguous. chrony sets the clock during the boot of an instance if it is far off, so one difference
//! between the clocks does not hold for the whole boot.

use super::sources::Moment;

/// Two differences between the clocks that are nearer than this are the same: chrony changes the speed of the clock by
/// little, and systemd reads one clock after the other.
const MAX_JITTER_US: i64 = 5_000;

/// The differences between the two clocks over the boot.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock {
    /// Ordered by monotonic time.
    pairs: Vec<Moment>,
}

impl Clock {
    pub(super) fn new(mut pairs: Vec<Moment>) -> Clock {
        pairs.sort_by_key(|pair| pair.monotonic_us);
        Clock { pairs }
    }

    /// The wall clock time of monotonic 0, by the clock as it was set at the last known moment.
    pub(super) fn last_offset(&self) -> Option<i64> {
        self.pairs.last().map(offset)
    }

    /// The monotonic time, in microseconds, of a wall clock time in microseconds since 1970. It is negative before the
    /// start of the kernel.
    pub(super) fn monotonic(&self, unix_us: i64) -> Result<i64, String> {
        let (Some(first), Some(last)) = (self.pairs.first(), self.pairs.last()) else {
            return Err("neither systemd nor the journal relates the clock to the time since the start".to_owned());
        };
        let mut found: Vec<i64> = Vec::new();
        let mut consider = |by: &Moment, from: i64, to: i64| {
            let at = unix_us.saturating_sub(offset(by));
            if (from..=to).contains(&at) {
                found.push(at);
            }
        };
        consider(first, i64::MIN, first.monotonic_us);
        for pair in self.pairs.windows(2) {
            let from = pair[0].monotonic_us.saturating_sub(MAX_JITTER_US);
            let to = pair[1].monotonic_us.saturating_add(MAX_JITTER_US);
            consider(&pair[0], from, to);
            consider(&pair[1], from, to);
        }
        consider(last, last.monotonic_us, i64::MAX);
        match (found.iter().min(), found.iter().max()) {
            (Some(least), Some(most)) if most - least <= 2 * MAX_JITTER_US => Ok(*least),
            (Some(_), _) => Err("the clock was set back at about that time, so its time is ambiguous".to_owned()),
            _ => Err("the clock was set at about that time and never showed its time".to_owned()),
        }
    }
}

fn offset(moment: &Moment) -> i64 {
    moment.unix_us.saturating_sub(moment.monotonic_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of seconds: monotonic, and wall clock.
    fn clock(pairs: &[(i64, i64)]) -> Clock {
        let pair =
            |(monotonic, unix): &(i64, i64)| Moment { monotonic_us: monotonic * 1_000_000, unix_us: unix * 1_000_000 };
        Clock::new(pairs.iter().map(pair).collect())
    }

    fn seconds(clock: &Clock, unix: i64) -> Option<i64> {
        clock.monotonic(unix * 1_000_000).ok().map(|at| at / 1_000_000)
    }

    #[test]
    fn a_steady_clock_converts_also_before_and_after_the_known_moments() {
        let clock = clock(&[(10, 1010), (20, 1020)]);
        assert_eq!([995, 1010, 1015, 1020, 1100].map(|at| seconds(&clock, at)), [-5, 10, 15, 20, 100].map(Some));
    }

    #[test]
    fn a_clock_set_forward_converts_on_both_sides_and_not_in_the_gap() {
        let clock = clock(&[(0, 1000), (10, 1010), (12, 5012), (20, 5020)]);
        assert_eq!([1005, 1011, 5011, 5015, 5030].map(|at| seconds(&clock, at)), [5, 11, 11, 15, 30].map(Some));
        assert_eq!(seconds(&clock, 3000), None);
    }

    #[test]
    fn a_clock_set_back_is_ambiguous_where_it_showed_a_time_twice() {
        let clock = clock(&[(0, 1000), (10, 1010), (12, 1002), (20, 1010)]);
        assert_eq!(seconds(&clock, 1005), None);
        assert_eq!(seconds(&clock, 1015), Some(25));
        assert_eq!(Clock::default().monotonic(5).ok(), None);
    }
}

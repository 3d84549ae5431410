//! Durations as short texts, and the scale and ticks of a time axis.
//!
//! In: times in microseconds. Out: text of at most [`LONGEST`] characters, and positions in pixels.

use super::picture::{FONT, width};

/// The most characters of a duration.
#[cfg(test)]
pub(super) const LONGEST: usize = 11;

const MILLISECOND: u64 = 1_000;
const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A duration with its unit, rounded to at most three digits.
pub(super) fn duration(us: u64) -> String {
    let in_unit = |unit: u64| us as f64 / unit as f64;
    match us {
        0 => "0 s".to_owned(),
        // The limits are where rounding would add a digit.
        1..9_950 => format!("{:.1} ms", in_unit(MILLISECOND)),
        9_950..99_500 => format!("{:.0} ms", in_unit(MILLISECOND)),
        99_500..9_995_000 => format!("{:.2} s", in_unit(SECOND)),
        9_995_000..99_950_000 => format!("{:.1} s", in_unit(SECOND)),
        99_950_000..600_000_000 => format!("{:.0} s", in_unit(SECOND)),
        600_000_000..7_200_000_000 => format!("{:.1} min", in_unit(MINUTE)),
        7_200_000_000..172_800_000_000 => format!("{:.1} h", in_unit(HOUR)),
        172_800_000_000..864_000_000_000_000 => format!("{:.1} d", in_unit(DAY)),
        _ => "> 9999 d".to_owned(),
    }
}

/// The time axis of a plot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// The first and the last time, in microseconds.
    pub(super) first: u64,
    pub(super) last: u64,
    /// Their positions.
    pub(super) left: f64,
    pub(super) right: f64,
}

impl Scale {
    /// The position of a time. A time outside of the axis is at its nearer end.
    pub(super) fn x(&self, us: u64) -> f64 {
        let part = (us.clamp(self.first, self.last) - self.first) as f64 / self.length() as f64;
        self.left + part * (self.right - self.left)
    }

    /// The length of the axis, in microseconds; never 0.
    pub(super) fn length(&self) -> u64 {
        (self.last - self.first).max(1)
    }

    /// The position and text of each tick. Times are from the start of the axis.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        const NARROWEST: f64 = 62.0;
        const GAP: f64 = 8.0;
        let most = ((self.right - self.left) / NARROWEST).max(1.0) as u64;
        let fits = |step: &u64| {
            let pixels = *step as f64 / self.length() as f64 * (self.right - self.left);
            self.length() / step <= most && width(&tick(self.length(), *step), FONT) + GAP <= pixels
        };
        let Some(step) = STEPS.into_iter().find(fits) else { return vec![(self.left, tick(0, DAY))] };
        let times = (0..=most).map(|number| number.saturating_mul(step)).take_while(|us| *us <= self.length());
        times.map(|us| (self.x(self.first.saturating_add(us)), tick(us, step))).collect()
    }
}

/// The steps between two ticks, in microseconds.
const STEPS: [u64; 31] = [
    100,
    200,
    500,
    MILLISECOND,
    2 * MILLISECOND,
    5 * MILLISECOND,
    10 * MILLISECOND,
    20 * MILLISECOND,
    50 * MILLISECOND,
    100 * MILLISECOND,
    200 * MILLISECOND,
    500 * MILLISECOND,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    20 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    7 * DAY,
    30 * DAY,
    365 * DAY,
];

/// A tick in the unit of its step.
fn tick(us: u64, step: u64) -> String {
    match step {
        ..MILLISECOND => format!("{:.1} ms", us as f64 / MILLISECOND as f64),
        MILLISECOND..100_000 => format!("{} ms", us / MILLISECOND),
        100_000..SECOND => format!("{:.1} s", us as f64 / SECOND as f64),
        SECOND..MINUTE => format!("{} s", us / SECOND),
        MINUTE..HOUR => format!("{} min", us / MINUTE),
        HOUR..DAY => format!("{} h", us / HOUR),
        _ => format!("{} d", us / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_at_most_three_digits_and_a_unit() {
        for (us, text) in [
            (0, "0 s"),
            (140, "0.1 ms"),
            (9_949, "9.9 ms"),
            (61_400, "61 ms"),
            (250_000, "0.25 s"),
            (999_999, "1.00 s"),
            (1_500_000, "1.50 s"),
            (9_994_999, "9.99 s"),
            (9_995_000, "10.0 s"),
            (20_100_000, "20.1 s"),
            (250_000_000, "250 s"),
            (660_000_000, "11.0 min"),
            (10_800_000_000, "3.0 h"),
            (u64::MAX, "> 9999 d"),
        ] {
            assert_eq!(duration(us), text);
        }
    }

    #[test]
    fn no_duration_is_too_long_for_its_place() {
        for exponent in 0..64 {
            for us in [1_u64 << exponent, (1_u64 << exponent) - 1, u64::MAX >> exponent] {
                assert!(duration(us).len() <= LONGEST, "{}", duration(us));
            }
        }
    }

    #[test]
    fn ticks_are_at_round_times_and_do_not_touch() {
        let ticks = |last: u64| Scale { first: 0, last, left: 0.0, right: 600.0 }.ticks();
        let labels = |last: u64| ticks(last).into_iter().map(|(_, label)| label).collect::<Vec<_>>();
        assert_eq!(labels(26_000_000), ["0 s", "5 s", "10 s", "15 s", "20 s", "25 s"]);
        assert_eq!(labels(5_500_000), ["0 s", "1 s", "2 s", "3 s", "4 s", "5 s"]);
        assert_eq!(labels(61_000), ["0 ms", "10 ms", "20 ms", "30 ms", "40 ms", "50 ms", "60 ms"]);
        assert_eq!(labels(184_000).len(), 10);
        for length in (0..2000).map(|number| 1.012_f64.powi(number) * 200.0).take_while(|us| *us < 3e13) {
            assert!(ticks(length as u64).len() >= 2, "{length} us");
        }
        for exponent in 0..64 {
            let ticks = ticks(u64::MAX >> exponent);
            for pair in ticks.windows(2) {
                let [(left, first), (right, second)] = pair else { unreachable!("windows of two") };
                assert!(left + width(first, FONT) / 2.0 < right - width(second, FONT) / 2.0, "{ticks:?}");
            }
        }
    }
}

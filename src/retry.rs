//! The only place that waits.
//!
//! Everything that may take time takes a [`Deadline`], made in `boot.rs` from the settings. What is asked again and
//! how often is a [`Policy`]; whether an error may heal is said by the operation itself ([`Step`]). The last error and
//! the number of attempts are always kept. Where a deadline cannot be kept, since a system call does not return, the
//! [`Watchdog`] ends the process.

use std::future::Future;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A point in time after which nobody waits any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline `duration` from now. A duration too long for the clock means a century.
    pub fn after(duration: Duration) -> Deadline {
        const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
        let now = Instant::now();
        Deadline(now.checked_add(duration).unwrap_or(now + CENTURY))
    }

    /// The earlier of the two.
    pub fn earliest(self, other: Deadline) -> Deadline {
        self.min(other)
    }

    /// The deadline `duration` later.
    pub fn plus(self, duration: Duration) -> Deadline {
        Deadline(self.0.checked_add(duration).unwrap_or(self.0))
    }

    /// What is left; zero once it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    pub fn passed(self) -> bool {
        self.remaining().is_zero()
    }
}

/// How long to pause between attempts: `first`, doubling up to `longest`, each shortened by up to a half at random so
/// that instances launched together do not ask together.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The first pause.
    pub first: Duration,
    /// No pause is longer.
    pub longest: Duration,
}

impl Policy {
    /// The pause after this many attempts.
    pub fn pause(self, attempt: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << attempt.saturating_sub(1).min(16));
        doubled.min(self.longest).mul_f64(0.5 + fraction() / 2.0)
    }
}

/// A number in `0.0..1.0`, of no cryptographic worth: the hasher's per-instance random keys.
fn fraction() -> f64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1u64 << 53) as f64
}

/// What one attempt came to.
#[derive(Debug)]
pub enum Step<T, E> {
    /// The answer.
    Done(T),
    /// Failed; trying again may help.
    Again(E),
    /// Failed for good.
    Stop(E),
}

/// Why [`until`] ended without an answer.
#[derive(Debug)]
pub struct GaveUp<E> {
    /// How many attempts were made, at least one.
    pub attempts: u32,
    /// How long it all took.
    pub elapsed: Duration,
    /// The last attempt's error.
    pub last: E,
    /// Whether the deadline ended it, rather than an error that cannot heal.
    pub timed_out: bool,
}

/// Calls `op` until it is done, says that it cannot heal, or the deadline passes. At least one attempt is made, and no
/// attempt is begun after the deadline. `op` must bound its own duration (see [`within`]).
pub async fn until<T, E>(
    deadline: Deadline,
    policy: Policy,
    mut op: impl AsyncFnMut(u32) -> Step<T, E>,
) -> Result<T, GaveUp<E>> {
    let start = Instant::now();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let (last, timed_out) = match op(attempts).await {
            Step::Done(value) => return Ok(value),
            Step::Stop(error) => (error, false),
            Step::Again(error) => {
                let pause = policy.pause(attempts);
                if pause < deadline.remaining() {
                    pause_for(pause).await;
                    continue;
                }
                (error, true)
            }
        };
        return Err(GaveUp { attempts, elapsed: start.elapsed(), last, timed_out });
    }
}

/// The deadline passed before the future was ready.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no answer in time")]
pub struct Late;

/// The future's value, or [`Late`] at the deadline.
#[expect(clippy::disallowed_methods, reason = "the one place that waits")]
pub async fn within<T>(deadline: Deadline, future: impl Future<Output = T>) -> Result<T, Late> {
    tokio::time::timeout(deadline.remaining(), future).await.map_err(|_| Late)
}

/// Waits `duration`.
#[expect(clippy::disallowed_methods, reason = "the one place that waits")]
pub async fn pause_for(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// What is said of a command before it is ended.
pub type LastWord = Box<dyn FnOnce() + Send>;

/// Ends a command that its own deadline did not end: a system call can block the one thread on which everything else
/// waits. A thread of its own waits for the last time that was allowed.
#[derive(Clone, Debug)]
pub struct Watchdog {
    until: Arc<(Mutex<Deadline>, Condvar)>,
}

impl Watchdog {
    /// So long after the deadline a command that has not ended is ended.
    pub const GRACE: Duration = Duration::from_secs(8);
    /// How long the last words may take: they may be told to the very disk or pipe that hangs.
    const LAST_WORDS: Duration = Duration::from_millis(1500);

    /// Watches from now on, and allows so long. Once what was allowed last has passed, each of the last words is said on
    /// a thread of its own, and then `end` is called, whether they were said or not.
    pub fn start(allowed: Duration, last_words: Vec<LastWord>, end: impl FnOnce() + Send + 'static) -> Watchdog {
        Watchdog::with(allowed, Watchdog::GRACE, last_words, end)
    }

    fn with(
        allowed: Duration,
        grace: Duration,
        last_words: Vec<LastWord>,
        end: impl FnOnce() + Send + 'static,
    ) -> Watchdog {
        let watchdog = Watchdog { until: Arc::new((Mutex::new(Deadline::after(allowed)), Condvar::new())) };
        let watched = watchdog.clone();
        let watch = move || {
            watched.wait(grace);
            let (said, heard) = mpsc::channel();
            for word in last_words {
                let said = said.clone();
                thread(move || {
                    word();
                    let _ = said.send(());
                });
            }
            drop(said);
            // All are said once nobody is left to say one.
            let until = Deadline::after(Watchdog::LAST_WORDS);
            while heard.recv_timeout(until.remaining()).is_ok() {}
            end();
        };
        if !thread(watch) {
            tracing::warn!("no thread watches over the time that this command takes");
        }
        watchdog
    }

    /// The command may take so long from now on, whatever was allowed before.
    pub fn allow(&self, duration: Duration) {
        let (until, changed) = &*self.until;
        *until.lock().unwrap_or_else(PoisonError::into_inner) = Deadline::after(duration);
        changed.notify_all();
    }

    /// Until when the command may run; it is ended [`Watchdog::GRACE`] later.
    pub fn deadline(&self) -> Deadline {
        *self.until.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until so long after the deadline, wherever that moves meanwhile.
    fn wait(&self, grace: Duration) {
        let (until, changed) = &*self.until;
        let mut deadline = until.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = deadline.plus(grace).remaining();
            if left.is_zero() {
                return;
            }
            deadline = changed.wait_timeout(deadline, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Whether a thread was started. It needs little of a stack.
fn thread(run: impl FnOnce() + Send + 'static) -> bool {
    const STACK: usize = 512 * 1024;
    std::thread::Builder::new().stack_size(STACK).spawn(run).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Policy = Policy { first: Duration::from_millis(1), longest: Duration::from_millis(4) };

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn keeps_the_last_error_and_counts_the_attempts() {
        let gave_up = run(until::<(), _>(Deadline::after(Duration::from_secs(5)), QUICK, async |n| match n {
            1 | 2 => Step::Again(n),
            _ => Step::Stop(n),
        }))
        .unwrap_err();
        assert_eq!((gave_up.attempts, gave_up.last, gave_up.timed_out), (3, 3, false));
    }

    #[test]
    fn tries_once_even_when_the_deadline_has_passed() {
        let gave_up =
            run(until::<(), _>(Deadline::after(Duration::ZERO), QUICK, async |_| Step::Again("late"))).unwrap_err();
        assert_eq!((gave_up.attempts, gave_up.timed_out), (1, true));
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_differ() {
        let policy = Policy { first: Duration::from_millis(100), longest: Duration::from_millis(300) };
        for (attempt, most) in [(1, 100), (2, 200), (3, 300), (40, 300)] {
            let pause = policy.pause(attempt);
            assert!(pause <= Duration::from_millis(most) && pause >= Duration::from_millis(most / 2), "{pause:?}");
        }
        let pauses: std::collections::HashSet<_> = (0..8).map(|_| policy.pause(3)).collect();
        assert!(pauses.len() > 1);
    }

    #[test]
    fn a_future_that_never_ends_is_late() {
        assert!(run(within(Deadline::after(Duration::from_millis(5)), std::future::pending::<()>())).is_err());
    }

    #[test]
    fn the_watchdog_ends_what_is_late_and_nothing_before() {
        let (said, heard) = mpsc::channel();
        let also = said.clone();
        let end = move || also.send("end").unwrap();
        let words: Vec<LastWord> = vec![Box::new(move || said.send("words").unwrap())];
        let start = Instant::now();
        let watchdog = Watchdog::with(Duration::from_millis(20), Duration::from_millis(50), words, end);
        watchdog.allow(Duration::from_secs(3600));
        watchdog.allow(Duration::from_millis(300));
        let next = || heard.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!((next(), next()), ("words", "end"));
        assert!(start.elapsed() >= Duration::from_millis(350), "{:?}", start.elapsed());
    }

    #[test]
    fn the_watchdog_does_not_wait_for_its_last_words() {
        let (said, heard) = mpsc::channel();
        let also = said.clone();
        let forever: LastWord = Box::new(|| {
            loop {
                std::thread::park()
            }
        });
        let words = vec![forever, Box::new(move || also.send("words").unwrap())];
        let _watchdog = Watchdog::with(Duration::ZERO, Duration::ZERO, words, move || said.send("end").unwrap());
        let next = || heard.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!((next(), next()), ("words", "end"));
    }
}

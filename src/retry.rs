//! Deadlines, retries and pauses: the only module that waits.
//!
//! In: a [`Deadline`], which `commands` computes from the settings; an operation, which decides after each error whether a
//! retry may help ([`Step`]); and a [`Policy`] for the pauses. Out: the result, or the last error with the number of
//! attempts. If a system call blocks past the deadline the [`Watchdog`] ends the process.

use std::future::Future;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The point in time at which waiting ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline `duration` from now. A duration that is too long for the clock counts as a century.
    pub fn after(duration: Duration) -> Deadline {
        const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
        let now = Instant::now();
        Deadline(now.checked_add(duration).unwrap_or(now + CENTURY))
    }

    /// The earlier of two deadlines.
    pub fn earliest(self, other: Deadline) -> Deadline {
        self.min(other)
    }

    /// The deadline `duration` later.
    pub fn plus(self, duration: Duration) -> Deadline {
        Deadline(self.0.checked_add(duration).unwrap_or(self.0))
    }

    /// The time until the deadline; zero after it.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether the deadline has passed.
    pub fn passed(self) -> bool {
        self.remaining().is_zero()
    }
}

/// The pauses between attempts: `first`, doubled after each attempt up to `longest`. Each pause is shortened at random
/// by up to a half, so that instances that were launched together do not send their requests together.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Policy {
    /// The pause after the attempt with this number, counted from 1.
    pub fn pause(self, attempt: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << attempt.saturating_sub(1).min(16));
        jittered(doubled.min(self.longest))
    }
}

/// The shortest pause after a throttled call. Throttling means that other instances call too: a retry within a second
/// would rarely succeed, and would cost all of them an attempt.
const SHORTEST_THROTTLED: Duration = Duration::from_secs(4);
/// The longest pause after a throttled call.
const LONGEST_THROTTLED: Duration = Duration::from_secs(30);
/// The pause after a throttled call, as a share of the time since the first attempt. A service admits a fixed number of
/// calls a second, so the last of many instances is late by at most this share.
const THROTTLED_SHARE: f64 = 0.2;

/// The pause after a throttled attempt, `waited` after the first one. It is shortened at random by up to a half.
/// `tests/bench/storm` measures it with a thousand instances.
fn throttled_pause(waited: Duration) -> Duration {
    jittered(waited.mul_f64(THROTTLED_SHARE).clamp(SHORTEST_THROTTLED, LONGEST_THROTTLED))
}

/// `duration`, shortened at random by up to a half, so that instances do not stay in step.
pub fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(0.5 + fraction() / 2.0)
}

/// A random number in `0.0..1.0`, from the random keys of the standard hasher. Not for cryptography.
pub fn fraction() -> f64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1u64 << 53) as f64
}

/// The outcome of one attempt.
#[derive(Debug)]
pub enum AttemptResult<T, E> {
    /// The attempt succeeded.
    Done(T),
    /// The attempt failed, and a retry may succeed.
    Retry(E),
    /// Like `Retry`, but no pause may pass this deadline.
    RetryBefore(Deadline, E),
    /// The service had too many calls. A retry may succeed after a longer pause.
    Throttled(E),
    /// The attempt failed, and a retry cannot succeed.
    Stop(E),
}

/// Why [`until`] ended without an answer.
#[derive(Debug)]
pub struct GaveUp<E> {
    /// The number of attempts, at least one.
    pub attempts: u32,
    /// The time that all attempts took.
    pub elapsed: Duration,
    /// The error of the last attempt.
    pub last: E,
    /// Whether the deadline ended the retries, and not an error that is final.
    pub timed_out: bool,
}

/// Calls `op` until it succeeds, fails with a final error, or the deadline passes. Makes at least one attempt, and
/// starts no attempt after the deadline. `op` must limit its own duration (see [`within`]).
pub async fn until<T, E>(
    deadline: Deadline,
    policy: Policy,
    mut op: impl AsyncFnMut(u32) -> AttemptResult<T, E>,
) -> Result<T, GaveUp<E>> {
    let start = Instant::now();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let (pause, limit, last) = match op(attempts).await {
            AttemptResult::Done(value) => return Ok(value),
            AttemptResult::Stop(last) => {
                return Err(GaveUp { attempts, elapsed: start.elapsed(), last, timed_out: false });
            }
            AttemptResult::Retry(error) => (policy.pause(attempts), deadline, error),
            AttemptResult::RetryBefore(limit, error) => (policy.pause(attempts), limit.earliest(deadline), error),
            AttemptResult::Throttled(error) => (throttled_pause(start.elapsed()), deadline, error),
        };
        if pause >= limit.remaining() {
            return Err(GaveUp { attempts, elapsed: start.elapsed(), last, timed_out: true });
        }
        pause_for(pause).await;
    }
}

/// The deadline passed before the future was ready.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no answer in time")]
pub struct DeadlineExceeded;

/// Awaits a future until the deadline, and returns its value or [`Late`].
#[expect(clippy::disallowed_methods, reason = "the only place that waits")]
pub async fn within<T>(deadline: Deadline, future: impl Future<Output = T>) -> Result<T, DeadlineExceeded> {
    tokio::time::timeout(deadline.remaining(), future).await.map_err(|_| DeadlineExceeded)
}

/// Sleeps for `duration`.
#[expect(clippy::disallowed_methods, reason = "the only place that waits")]
pub async fn pause_for(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// A report that the [`Watchdog`] makes before it ends the command.
pub type FinalReport = Box<dyn FnOnce() + Send>;

/// Ends a command that continues after its deadline, because a system call blocks the program's only async thread. The
/// watchdog waits on its own thread.
#[derive(Clone, Debug)]
pub struct Watchdog {
    deadline: Arc<(Mutex<Deadline>, Condvar)>,
}

impl Watchdog {
    /// The time from the command's deadline until the watchdog acts.
    pub const HANG_GRACE: Duration = Duration::from_secs(8);
    /// The most time for the final reports, which may write to the disk or pipe that blocks the command.
    const FINAL_REPORTS: Duration = Duration::from_millis(1500);

    /// Starts a watchdog for a command that may take `allowed`. [`Watchdog::allow`] can change that later.
    /// [`Watchdog::GRACE`] after the deadline it makes each final report on its own thread, and then calls `end`, even
    /// if a report has not returned.
    pub fn start(allowed: Duration, final_reports: Vec<FinalReport>, end: impl FnOnce() + Send + 'static) -> Watchdog {
        Watchdog::with_grace(allowed, Watchdog::HANG_GRACE, final_reports, end)
    }

    fn with_grace(
        allowed: Duration,
        grace: Duration,
        final_reports: Vec<FinalReport>,
        end: impl FnOnce() + Send + 'static,
    ) -> Watchdog {
        let watchdog = Watchdog { deadline: Arc::new((Mutex::new(Deadline::after(allowed)), Condvar::new())) };
        let watched = watchdog.clone();
        let watch = move || {
            watched.wait(grace);
            let (sender, finished) = mpsc::channel();
            for report in final_reports {
                let sender = sender.clone();
                thread(move || {
                    report();
                    let _ = sender.send(());
                });
            }
            drop(sender);
            // `recv_timeout` fails once all reports have returned, because then all senders are dropped.
            let limit = Deadline::after(Watchdog::FINAL_REPORTS);
            while finished.recv_timeout(limit.remaining()).is_ok() {}
            end();
        };
        if !thread(watch) {
            tracing::warn!("watchdog not started: a blocked system call will not end this command");
        }
        watchdog
    }

    /// Sets the deadline of the command.
    pub fn set_deadline(&self, new: Deadline) {
        let (deadline, changed) = &*self.deadline;
        let mut deadline = deadline.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *deadline, new);
        // The thread reads a later deadline when it wakes up at the earlier one.
        if deadline.earliest(before) != before {
            changed.notify_all();
        }
    }

    /// The deadline of the command. The watchdog acts [`Watchdog::GRACE`] later.
    pub fn deadline(&self) -> Deadline {
        *self.deadline.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `grace` after the deadline, which may change in the meantime.
    fn wait(&self, grace: Duration) {
        let (deadline, changed) = &*self.deadline;
        let mut deadline = deadline.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = deadline.plus(grace).remaining();
            if left.is_zero() {
                return;
            }
            deadline = changed.wait_timeout(deadline, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Starts a thread with a small stack; `false` if that fails.
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
            1 | 2 => AttemptResult::Retry(n),
            _ => AttemptResult::Stop(n),
        }))
        .unwrap_err();
        assert_eq!((gave_up.attempts, gave_up.last, gave_up.timed_out), (3, 3, false));
    }

    #[test]
    fn tries_once_even_when_the_deadline_has_passed() {
        let gave_up =
            run(until::<(), _>(Deadline::after(Duration::ZERO), QUICK, async |_| AttemptResult::Retry("late")))
                .unwrap_err();
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
    fn the_pause_of_a_throttled_call_is_a_share_of_the_time_waited() {
        for (waited, most) in [(0, 4), (20, 4), (100, 20), (150, 30), (3600, 30)] {
            let pause = throttled_pause(Duration::from_secs(waited));
            let most = Duration::from_secs(most);
            assert!(pause <= most && pause >= most / 2, "{waited} s: {pause:?}");
        }
        let pauses: std::collections::HashSet<_> = (0..8).map(|_| throttled_pause(Duration::ZERO)).collect();
        assert!(pauses.len() > 1);
    }

    #[test]
    fn a_throttled_call_is_not_repeated_if_its_pause_passes_the_deadline() {
        let soon = Deadline::after(Duration::from_millis(500));
        let gave_up = run(until::<(), _>(soon, QUICK, async |n| AttemptResult::Throttled(n))).unwrap_err();
        assert_eq!((gave_up.last, gave_up.timed_out), (1, true));
    }

    #[test]
    fn an_attempt_can_shorten_the_time_for_retries() {
        let long = Deadline::after(Duration::from_secs(3600));
        let limit = Deadline::after(Duration::from_millis(50));
        let gave_up = run(until::<(), _>(long, QUICK, async |n| AttemptResult::RetryBefore(limit, n))).unwrap_err();
        assert!(gave_up.timed_out && gave_up.attempts > 1 && gave_up.elapsed < Duration::from_secs(60));
    }

    #[test]
    fn a_future_that_never_ends_is_late() {
        assert!(run(within(Deadline::after(Duration::from_millis(5)), std::future::pending::<()>())).is_err());
    }

    #[test]
    fn the_watchdog_ends_a_late_command_and_not_before() {
        let (sender, received) = mpsc::channel();
        let end_sender = sender.clone();
        let end = move || end_sender.send("end").unwrap();
        let reports: Vec<FinalReport> = vec![Box::new(move || sender.send("report").unwrap())];
        let start = Instant::now();
        let watchdog = Watchdog::with_grace(Duration::from_millis(20), Duration::from_millis(50), reports, end);
        watchdog.set_deadline(Deadline::after(Duration::from_secs(3600)));
        watchdog.set_deadline(Deadline::after(Duration::from_millis(300)));
        let next = || received.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!((next(), next()), ("report", "end"));
        assert!(start.elapsed() >= Duration::from_millis(350), "{:?}", start.elapsed());
    }

    #[test]
    fn the_watchdog_does_not_wait_for_a_report_that_hangs() {
        let (sender, received) = mpsc::channel();
        let report_sender = sender.clone();
        let hanging: FinalReport = Box::new(|| {
            loop {
                std::thread::park()
            }
        });
        let reports = vec![hanging, Box::new(move || report_sender.send("report").unwrap())];
        let end = move || sender.send("end").unwrap();
        let _watchdog = Watchdog::with_grace(Duration::ZERO, Duration::ZERO, reports, end);
        let next = || received.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!((next(), next()), ("report", "end"));
    }
}

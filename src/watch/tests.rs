//! Simulated hosts: each has a history of its connection, and is checked as the timer does. The rules are compared with what
//! happened, not with a second copy of themselves.

use super::*;

const WINDOW: u64 = 300;
/// The time between two checks.
const EVERY: u64 = 20;
const ARN: &str = "arn:aws:ecs:eu-west-1:1:container-instance/prod/1";

/// What happens to an instance.
#[derive(Clone, Copy, Default)]
struct History {
    /// From when to when the agent is disconnected.
    cut: Option<(u64, u64)>,
    /// Whether the agent logs that.
    is_logged: bool,
    /// How long after the cut the agent logs it: then it gives a time before the cut, as for a connection that went silent.
    notices_after: u64,
    /// How long ECS reports an old state.
    lag: u64,
    /// Whether the agent's log has errors only.
    has_errors_only: bool,
    /// Whether ECS does not answer during the cut.
    cuts_ecs: bool,
    /// The log is rotated each hour, and has then no line about the connection until the next error, 120 s apart.
    is_rotated: bool,
    /// From when on ECS has the instance as INACTIVE.
    inactive_from: Option<u64>,
    /// From when to when the agent does not answer.
    down: Option<(u64, u64)>,
    /// The agent starts again this often, in seconds, from the first time on.
    restarts: Option<(u64, u64)>,
    /// Whether the role does not allow the call.
    is_denied: bool,
}

/// What the checks did.
#[derive(Default, Debug)]
struct Outcome {
    asked: Vec<u64>,
    reported: Vec<(u64, Vec<Fault>)>,
    recovered: Vec<u64>,
}

fn within(span: Option<(u64, u64)>, now: u64) -> bool {
    span.is_some_and(|(from, to)| (from..to).contains(&now))
}

impl History {
    fn seen(&self, at: u64) -> Seen {
        let rotated = if self.is_rotated { at - at % 3600 } else { 0 };
        let noticed = self.cut.filter(|_| self.is_logged).map(|(from, to)| (from + self.notices_after, to));
        // An error every 120 s until the end of the cut. In a log with errors only, they are a sign for 180 s more.
        let last = noticed.filter(|(from, _)| at >= *from).map(|(from, to)| (from, at.min(to - 1)));
        let last = last.map(|(from, until)| until - (until - from) % 120);
        let is_repeated = |last: u64| noticed.is_some_and(|(from, _)| last > from) && last + 180 >= at;
        let is_sign = |last: &u64| match (self.has_errors_only, *last) {
            (true, last) => is_repeated(last),
            (false, last) => within(noticed, at) && last >= rotated,
        };
        let last_sign = last.filter(is_sign);
        let first = self.cut.map(|(from, _)| from.saturating_sub(30 * u64::from(self.notices_after > 0)));
        let first = if first.is_some_and(|first| first < rotated) { last_sign } else { first };
        let connected = self.cut.filter(|(_, to)| self.is_logged && at >= *to).map(|(_, to)| to);
        let connected = connected.or(Some(1)).filter(|connected| !self.has_errors_only && *connected >= rotated);
        let started = self.restarts.filter(|(from, _)| at >= *from).map(|(from, every)| at - (at - from) % every);
        Seen {
            at,
            arn: (!within(self.down, at)).then(|| ARN.to_owned()),
            lost_since: first.filter(|_| last_sign.is_some()),
            last_sign,
            logs_connections: !self.has_errors_only,
            connected_at: connected,
            started_at: started.or(Some(1)),
            ..Seen::default()
        }
    }

    fn answer(&self, at: u64) -> Option<Answer> {
        if self.cuts_ecs && within(self.cut, at) {
            return None;
        }
        let then = at - self.lag;
        let is_active = self.inactive_from.is_none_or(|from| then < from);
        (!self.is_denied).then(|| Answer { at, is_active, is_connected: is_active && !within(self.cut, then) })
    }

    /// Checks from the time 1000 to `until`, with a first check at a random time.
    fn run(&self, seed: u64, until: u64) -> Outcome {
        let mut bits = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut random = move || {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            (bits >> 11) as f64 / (1u64 << 53) as f64
        };
        let mut now = 1000 + seed % EVERY;
        let mut state = State::new(now, random());
        let mut outcome = Outcome::default();
        while now < until {
            state.note(&self.seen(now));
            loop {
                match state.step(now, WINDOW) {
                    Step::End => break,
                    Step::WaitUntil(due) if due > now + EVERY => break,
                    Step::WaitUntil(due) => {
                        assert!(due > now, "a wait that does not end");
                        now = due;
                        state.note(&self.seen(now));
                    }
                    Step::AskEcs => {
                        outcome.asked.push(now);
                        state.note_answer(now, self.answer(now), self.is_denied, random());
                        state.note(&self.seen(now));
                    }
                    Step::Report => {
                        let faults = state.due(now, WINDOW);
                        if state.reported.is_none() {
                            outcome.reported.push((now, faults.clone()));
                        }
                        let cause = String::new();
                        let before = Value::Null;
                        state.reported = Some(Reported { cause, faults, at: now, examined_at: now, before });
                        break;
                    }
                    Step::Recovered => {
                        outcome.recovered.push(now);
                        state.forget_report();
                        break;
                    }
                }
            }
            now += EVERY;
        }
        for pair in outcome.asked.windows(2) {
            assert!(pair[1] >= pair[0] + BETWEEN_CALLS, "two calls in five minutes: {:?}", outcome.asked);
        }
        outcome
    }
}

#[test]
fn a_cut_that_the_log_shows_is_reported_at_the_end_of_the_window_and_confirmed_by_ecs() {
    for seed in 0..300 {
        let cut = 2000 + seed * 7;
        let history = History { cut: Some((cut, cut + 2000)), is_logged: true, ..History::default() };
        let outcome = history.run(seed, 9000);
        let [(at, faults)] = &outcome.reported[..] else { panic!("{seed}: {outcome:?}") };
        assert!((cut + WINDOW..=cut + WINDOW + 5).contains(at), "{seed}: cut {cut}: {outcome:?}");
        assert_eq!(faults, &[Fault::Disconnected]);
        assert!(outcome.asked.contains(at), "{seed}: ECS confirms it: {outcome:?}");
        let [over] = outcome.recovered[..] else { panic!("{seed}: {outcome:?}") };
        assert!((cut + 2000..=cut + 2000 + RECOVERY + 3 * EVERY).contains(&over), "{seed}: {outcome:?}");
    }
}

#[test]
fn an_old_answer_of_ecs_hides_no_cut_that_the_log_shows() {
    for seed in 0..300 {
        for (notices_after, lag) in [(0, 60), (90, 0), (90, 60), (120, 200)] {
            let cut = 2000 + seed * 7;
            let history =
                History { cut: Some((cut, u64::MAX)), is_logged: true, notices_after, lag, ..History::default() };
            let outcome = history.run(seed, 9000);
            let at = outcome.reported.first().unwrap_or_else(|| panic!("{seed}: {outcome:?}")).0;
            assert!(
                (cut + WINDOW - 30..=cut + WINDOW + 5).contains(&at),
                "{seed} {notices_after} {lag}: cut {cut}: {outcome:?}"
            );
        }
    }
}

#[test]
fn a_log_that_is_rotated_ends_no_suspicion() {
    for seed in 0..300 {
        let cut = 3500 + seed;
        let history = History { cut: Some((cut, cut + 2500)), is_logged: true, is_rotated: true, ..History::default() };
        let outcome = history.run(seed, 9000);
        assert_eq!((outcome.reported.len(), outcome.recovered.len()), (1, 1), "{seed}: {outcome:?}");
        assert!(outcome.reported[0].0 <= cut + WINDOW + 5, "{seed}: cut {cut}: {outcome:?}");
    }
}

#[test]
fn a_log_with_errors_only_is_believed_while_the_errors_go_on() {
    for seed in 0..300 {
        for (is_denied, cuts_ecs) in [(false, false), (true, false), (false, true)] {
            let cut = 2000 + seed * 7;
            let logs_errors =
                History { is_logged: true, has_errors_only: true, is_denied, cuts_ecs, ..History::default() };
            let outcome = History { cut: Some((cut, cut + 900)), ..logs_errors }.run(seed, 9000);
            let [(at, _)] = &outcome.reported[..] else { panic!("{seed} {is_denied}: {outcome:?}") };
            // Without ECS, the next error is waited for.
            let latest = cut + WINDOW + if cuts_ecs { BETWEEN_CALLS + 120 + EVERY } else { BETWEEN_CALLS };
            assert!((cut + WINDOW..=latest).contains(at), "{seed} {is_denied} {cuts_ecs}: cut {cut}: {outcome:?}");
            assert_eq!(outcome.recovered.len(), 1, "{seed} {is_denied}: {outcome:?}");
            let short = History { cut: Some((cut, cut + 250)), ..logs_errors }.run(seed, 9000);
            assert!(short.reported.is_empty(), "{seed} {is_denied}: {short:?}");
        }
    }
}

#[test]
fn a_cut_that_only_ecs_shows_is_reported_after_a_second_answer() {
    for seed in 0..300 {
        let cut = 2000 + seed * 7;
        let history = History { cut: Some((cut, u64::MAX)), ..History::default() };
        let outcome = history.run(seed, 9000);
        let at = outcome.reported.first().unwrap_or_else(|| panic!("{seed}: {outcome:?}")).0;
        let longest = 2 * (BETWEEN_CALLS + SPREAD + EVERY);
        assert!((cut + WINDOW..=cut + longest).contains(&at), "{seed}: cut {cut}: {outcome:?}");
    }
}

#[test]
fn a_disconnect_shorter_than_the_window_is_not_reported() {
    for seed in 0..300 {
        for is_logged in [true, false] {
            let cut = 2000 + seed * 7;
            let lasts = 1 + seed % (WINDOW - 10);
            let history = History { cut: Some((cut, cut + lasts)), is_logged, ..History::default() };
            let outcome = history.run(seed, 9000);
            assert!(outcome.reported.is_empty(), "{seed} {is_logged}: {lasts} s: {outcome:?}");
        }
    }
}

#[test]
fn a_healthy_instance_asks_ecs_once_in_five_minutes_and_never_at_the_same_time_as_others() {
    let (mut calls, mut per_second) = (0, BTreeMap::<u64, u32>::new());
    for seed in 0..1000 {
        let outcome = History::default().run(seed, 1000 + 36_000);
        assert!(outcome.reported.is_empty());
        calls += outcome.asked.len();
        outcome.asked.iter().for_each(|at| *per_second.entry(*at).or_default() += 1);
    }
    let rate = calls as f64 / 36_000.0;
    assert!(rate <= 3.4, "{rate} calls a second for a thousand instances");
    assert!(rate > 2.5, "{rate} calls a second: a fault would be found late");
    assert!(per_second.values().all(|calls| *calls <= 20), "{:?}", per_second.values().max());
}

#[test]
fn an_inactive_instance_is_reported_after_a_second_answer() {
    let history = History { inactive_from: Some(3000), ..History::default() };
    for seed in 0..100 {
        let outcome = history.run(seed, 9000);
        let (at, faults) = outcome.reported.first().unwrap_or_else(|| panic!("{seed}: {outcome:?}"));
        assert!(faults.contains(&Fault::Inactive) && *at <= 3000 + 2 * (BETWEEN_CALLS + SPREAD + EVERY), "{outcome:?}");
    }
}

#[test]
fn an_agent_that_does_not_answer_is_reported_without_a_call() {
    let history = History { down: Some((3000, 5000)), ..History::default() };
    for seed in 0..100 {
        let outcome = history.run(seed, 9000);
        let [(at, faults)] = &outcome.reported[..] else { panic!("{seed}: {outcome:?}") };
        assert!((3000 + WINDOW..=3000 + WINDOW + EVERY).contains(at), "{outcome:?}");
        assert_eq!(faults, &[Fault::Down]);
        assert!(!outcome.asked.iter().any(|asked| within(history.down, *asked)), "{outcome:?}");
        assert_eq!(outcome.recovered.len(), 1);
    }
}

#[test]
fn an_agent_that_starts_again_and_again_is_reported_and_one_restart_is_not() {
    for every in [25, 60, 120, 240, 299, 360, 440] {
        let history = History { restarts: Some((3000, every)), ..History::default() };
        let outcome = history.run(every, 9000);
        let (at, faults) = outcome.reported.first().unwrap_or_else(|| panic!("{every}: {outcome:?}"));
        assert!(
            faults.contains(&Fault::Restarts) && *at <= 3000 + every.max(EVERY) + WINDOW.max(3 * every) + EVERY,
            "{every}: {outcome:?}"
        );
    }
    for every in [25, 299, 360, 440] {
        let outcome = History { restarts: Some((3000, every)), ..History::default() }.run(every, 9000);
        assert!(outcome.recovered.is_empty() && outcome.reported.len() == 1, "{every}: {outcome:?}");
    }
    for every in [3000, 1000, 700] {
        let outcome = History { restarts: Some((3000, every)), ..History::default() }.run(1, 9000);
        assert!(outcome.reported.is_empty(), "{every}: {outcome:?}");
    }
}

#[test]
fn without_the_permission_only_the_log_and_the_port_are_used_and_ecs_is_asked_once() {
    let history = History { cut: Some((3000, 9000)), is_logged: true, is_denied: true, ..History::default() };
    let outcome = history.run(3, 9000);
    assert_eq!(outcome.asked.len(), 1, "{outcome:?}");
    assert_eq!(outcome.reported.len(), 1, "{outcome:?}");
    let silent = History { is_logged: false, ..history }.run(3, 9000);
    assert!(silent.reported.is_empty(), "{silent:?}");
}

#[test]
fn a_new_container_instance_has_no_faults_of_the_old_one() {
    let mut state = State::new(1000, 0.0);
    let old = Seen {
        at: 1000,
        arn: Some("old".into()),
        lost_since: Some(900),
        last_sign: Some(1001),
        logs_connections: true,
        ..Seen::default()
    };
    state.note(&old);
    state.note_answer(1000, Some(Answer { at: 1000, is_active: false, is_connected: false }), false, 0.0);
    state.note(&old);
    assert_eq!(state.faults.keys().copied().collect::<Vec<_>>(), [Fault::Inactive, Fault::Disconnected]);
    state.note(&Seen {
        at: 1020,
        arn: Some("new".into()),
        connected_at: Some(1010),
        logs_connections: true,
        ..Seen::default()
    });
    assert_eq!(state.faults, BTreeMap::new());
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_the_calls() {
    let mut state = State::new(100_000, 0.0);
    let seen = |at| Seen { at, arn: Some(ARN.into()), ..Seen::default() };
    state.note(&seen(100_020));
    assert_eq!(state.step(100_020, WINDOW), Step::End);
    state.note(&seen(1000));
    assert_eq!(state.step(1000, WINDOW), Step::End);
    state.note(&seen(1000 + 2 * BETWEEN_CALLS));
    assert_eq!(state.step(1000 + 2 * BETWEEN_CALLS, WINDOW), Step::AskEcs);
}

#[test]
fn drops_are_over_when_a_connection_lasts_and_not_when_the_log_is_rotated() {
    let mut state = State::new(1000, 0.0);
    let mut drops = |at, drops_since, connected_at| {
        let arn = Some(ARN.into());
        state.note(&Seen { at, arn, drops_since, connected_at, logs_connections: true, ..Seen::default() });
        // A connection that lasts for some minutes may be the end of the fault, so it is not reported.
        assert_eq!(state.step(at, WINDOW) == Step::Report, drops_since.is_some(), "{at}");
        state.faults.contains_key(&Fault::Drops)
    };
    assert!(drops(3500, Some(3100), Some(3490)));
    assert!(drops(3610, None, None), "rotated");
    assert!(drops(3700, None, Some(3690)));
    assert!(drops(4280, None, None));
    assert!(!drops(4290, None, None));
}

#[test]
fn an_agent_that_does_not_answer_once_is_still_disconnected() {
    let mut state = State::new(1000, 0.0);
    let seen = |at, arn: Option<&str>| Seen { at, arn: arn.map(Into::into), logs_connections: true, ..Seen::default() };
    state.note(&Seen { lost_since: Some(1990), last_sign: Some(1990), ..seen(2000, Some(ARN)) });
    state.note(&seen(2020, None));
    state.note(&seen(2040, Some(ARN)));
    assert_eq!(state.faults, BTreeMap::from([(Fault::Disconnected, 1990)]));
}

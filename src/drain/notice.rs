//! What instance metadata says about the end of the instance.
//!
//! In: the answers of instance metadata. Out: a [`Notice`].

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::settings::DrainTrigger;

/// A notice of a Spot interruption is over this long after its time.
const OVER: Duration = Duration::from_secs(300);

/// The time from the notice of a Spot interruption to its end, if the notice does not say when that is.
const USUAL_NOTICE: Duration = Duration::from_secs(120);

/// The target lifecycle states of an instance that its Auto Scaling group terminates (Amazon EC2 Auto Scaling User Guide,
/// "Retrieve the target lifecycle state through instance metadata").
const TERMINATED: [&str; 2] = ["Terminated", "Warmed:Terminated"];

/// Whether this target lifecycle state ends the instance.
pub fn is_terminated(target_state: &str) -> bool {
    TERMINATED.contains(&target_state)
}

/// The answer to `spot/instance-action` (Amazon EC2 User Guide, "Spot Instance interruption notices").
#[derive(Clone, Debug, Deserialize)]
pub struct SpotInterruption {
    /// `terminate`, `stop` or `hibernate`.
    pub action: String,
    /// When EC2 takes the instance, as EC2 writes it; can be empty.
    #[serde(default)]
    pub time: String,
}

impl SpotInterruption {
    /// The interruption that this answer announces. A notice whose time is long over is of an interruption that the instance
    /// survived, by a stop or hibernation.
    pub fn announced(answer: &[u8], now: SystemTime) -> Option<SpotInterruption> {
        let mut found = serde_json::from_slice::<SpotInterruption>(answer).ok()?;
        let is_known = ["terminate", "stop", "hibernate"].contains(&found.action.as_str());
        let is_over = found.at().is_some_and(|at| now.duration_since(at).is_ok_and(|since| since > OVER));
        if !found.time.bytes().all(|byte| byte.is_ascii_digit() || b"-:TZ.".contains(&byte)) {
            found.time.clear();
        }
        (is_known && !is_over).then_some(found)
    }

    /// What is announced, for an evidence line.
    pub fn text(&self) -> String {
        let at = if self.time.is_empty() { String::new() } else { format!(" at {}", self.time) };
        format!("EC2 has announced a Spot interruption: `{}`{at}", self.action)
    }

    /// When EC2 takes the instance.
    pub fn at(&self) -> Option<SystemTime> {
        humantime::parse_rfc3339(&self.time).ok()
    }
}

/// The answers of instance metadata. `None`: 404, or it was not asked.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// The target lifecycle state.
    pub target_state: Option<Vec<u8>>,
    /// The notice of a Spot interruption.
    pub interruption: Option<Vec<u8>>,
    /// The rebalance recommendation.
    pub rebalance: Option<Vec<u8>>,
}

/// Why the container instance must be drained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The reason.
    pub trigger: DrainTrigger,
    /// When EC2 takes the instance, if that is known.
    pub ends_at: Option<SystemTime>,
    /// Whether the instance ends for good. It does not after a recommendation, or if EC2 stops or hibernates it.
    pub terminates: bool,
    /// What instance metadata says.
    pub text: String,
}

/// The most urgent reason among `wanted`. `now` is the time of EC2.
pub fn notice(wanted: &BTreeSet<DrainTrigger>, answers: &Answers, now: SystemTime) -> Option<Notice> {
    let termination = || {
        let state = String::from_utf8_lossy(answers.target_state.as_deref()?).trim().to_owned();
        let text = format!("the target lifecycle state is `{state}`");
        let trigger = DrainTrigger::Termination;
        is_terminated(&state).then_some(Notice { trigger, ends_at: None, terminates: true, text })
    };
    let interruption = || {
        let found = SpotInterruption::announced(answers.interruption.as_deref()?, now)?;
        Some(Notice {
            trigger: DrainTrigger::Spot,
            ends_at: found.at().or_else(|| now.checked_add(USUAL_NOTICE)),
            terminates: found.action == "terminate",
            text: found.text(),
        })
    };
    let rebalance = || {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Recommendation {
            #[serde(rename = "noticeTime")]
            _notice_time: String,
        }
        serde_json::from_slice::<Recommendation>(answers.rebalance.as_deref()?).ok()?;
        let text = "EC2 recommends to replace this Spot instance".to_owned();
        Some(Notice { trigger: DrainTrigger::Rebalance, ends_at: None, terminates: false, text })
    };
    let interruption = interruption();
    // The end of a Spot instance is the same for its group: the hook does not delay it.
    let ends_at = interruption.as_ref().and_then(|notice| notice.ends_at);
    let found = [termination().map(|notice| Notice { ends_at, ..notice }), interruption, rebalance()];
    found.into_iter().flatten().find(|notice| wanted.contains(&notice.trigger))
}

#[cfg(test)]
mod tests {
    use super::*;
    use DrainTrigger::{Rebalance, Spot, Termination};

    fn at(text: &str) -> SystemTime {
        humantime::parse_rfc3339(text).unwrap()
    }

    fn seen(state: &str, interruption: &str, rebalance: &str) -> Answers {
        let bytes = |text: &str| (!text.is_empty()).then(|| text.as_bytes().to_vec());
        Answers { target_state: bytes(state), interruption: bytes(interruption), rebalance: bytes(rebalance) }
    }

    const TERMINATE: &str = r#"{"action": "terminate", "time": "2026-01-01T08:22:00Z"}"#;
    const RECOMMENDATION: &str = r#"{"noticeTime":"2026-01-01T08:00:00Z"}"#;

    #[test]
    fn the_most_urgent_wanted_reason_is_returned() {
        let now = at("2026-01-01T08:20:00Z");
        let all = BTreeSet::from([Rebalance, Spot, Termination]);
        let of = |wanted: &BTreeSet<_>, answers: &Answers| notice(wanted, answers, now).map(|found| found.trigger);
        for (answers, expected) in [
            (seen("InService", "", ""), None),
            (seen("Terminated\n", "", ""), Some(Termination)),
            (seen("Warmed:Terminated", "", ""), Some(Termination)),
            (seen("Warmed:Stopped", "", ""), None),
            (seen("Standby", "", ""), None),
            (seen("Terminated", TERMINATE, RECOMMENDATION), Some(Termination)),
            (seen("InService", TERMINATE, RECOMMENDATION), Some(Spot)),
            (seen("InService", r#"{"action":"noop"}"#, ""), None),
            (seen("InService", "<html>", RECOMMENDATION), Some(Rebalance)),
            (seen("InService", "", "<html>"), None),
            (seen("InService", "", "{}"), None),
        ] {
            assert_eq!(of(&all, &answers), expected, "{answers:?}");
            let has_interruption = answers.interruption.as_deref() == Some(TERMINATE.as_bytes());
            assert_eq!(of(&BTreeSet::from([Spot]), &answers), has_interruption.then_some(Spot), "{answers:?}");
        }
    }

    #[test]
    fn an_interruption_limits_the_time_of_a_termination() {
        let found =
            notice(&BTreeSet::from([Termination]), &seen("Terminated", TERMINATE, ""), at("2026-01-01T08:20:00Z"));
        assert_eq!(found.unwrap().ends_at, Some(at("2026-01-01T08:22:00Z")));
    }

    #[test]
    fn an_instance_that_is_stopped_does_not_end_for_good_and_an_old_notice_is_ignored() {
        let stop = r#"{"action":"stop","time":"2026-01-01T08:22:00Z"}"#;
        let found = |now: &str| notice(&BTreeSet::from([Spot]), &seen("", stop, ""), at(now));
        assert!(!found("2026-01-01T08:20:00Z").unwrap().terminates);
        assert_eq!(found("2026-01-01T08:28:00Z"), None);
    }
}

//! Whether the instance is about to end.
//!
//! In: answers of instance metadata. Out: text for an evidence line.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

/// A notice is over this long after its time.
const OVER: Duration = Duration::from_secs(300);

/// The answer to `spot/instance-action` (Amazon EC2 User Guide, "Spot Instance interruption notices").
#[derive(Deserialize)]
struct InstanceAction {
    action: String,
    #[serde(default)]
    time: String,
}

/// The target lifecycle states of an instance that Auto Scaling takes out of service (Amazon EC2 Auto Scaling User Guide,
/// "Retrieve the target lifecycle state through instance metadata").
const ENDS: [&str; 2] = ["Terminated", "Warmed:Terminated"];

/// How the instance ends, from its target lifecycle state and the answer to `spot/instance-action`; `None` if it does not.
///
/// A notice whose time is long over is of an interruption that the instance survived, by a stop or hibernation.
pub fn ending(target_state: Option<&str>, instance_action: Option<&[u8]>, now: SystemTime) -> Option<String> {
    let action = instance_action.and_then(|answer| serde_json::from_slice::<InstanceAction>(answer).ok());
    let is_known = |action: &InstanceAction| ["terminate", "stop", "hibernate"].contains(&action.action.as_str());
    let is_over = |action: &InstanceAction| {
        humantime::parse_rfc3339(&action.time).is_ok_and(|at| now.duration_since(at).is_ok_and(|since| since > OVER))
    };
    if let Some(InstanceAction { action, time }) = action.filter(|action| is_known(action) && !is_over(action)) {
        let is_time = time.bytes().all(|byte| byte.is_ascii_digit() || b"-:TZ.".contains(&byte));
        let at = if is_time && !time.is_empty() { format!(" at {time}") } else { String::new() };
        return Some(format!("EC2 has announced a Spot interruption: `{action}`{at}"));
    }
    let state = target_state.filter(|state| ENDS.contains(state))?;
    Some(format!("the target lifecycle state of the instance is `{state}`"))
}

#[cfg(test)]
mod tests {

    #[test]
    fn an_interruption_and_a_target_state_end_an_instance() {
        let notice = br#"{"action": "terminate", "time": "2026-01-01T08:22:00Z"}"#;
        let now = humantime::parse_rfc3339("2026-01-01T08:20:00Z").unwrap();
        let ending = |state, action| super::ending(state, action, now);
        let text = ending(None, Some(notice)).unwrap();
        assert_eq!(text, "EC2 has announced a Spot interruption: `terminate` at 2026-01-01T08:22:00Z");
        assert!(ending(Some("InService"), Some(br#"{"action":"stop"}"#)).unwrap().ends_with("`stop`"));
        assert!(ending(Some("Terminated"), None).unwrap().contains("`Terminated`"));
        for (state, action) in [
            (None, None),
            (Some("InService"), Some(&b"garbage"[..])),
            (Some("Warmed:Stopped"), Some(br#"{"action":"noop"}"#)),
            (None, Some(br#"{"action":"stop","time":"2026-01-01T07:00:00Z"}"#)),
        ] {
            assert_eq!(ending(state, action), None);
        }
    }
}

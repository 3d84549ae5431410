//! Whether the instance is about to end.
//!
//! In: answers of instance metadata. Out: text for an evidence line.

use serde::Deserialize;

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
pub fn ending(target_state: Option<&str>, instance_action: Option<&[u8]>) -> Option<String> {
    let action = instance_action.and_then(|answer| serde_json::from_slice::<InstanceAction>(answer).ok());
    let is_known = |action: &InstanceAction| ["terminate", "stop", "hibernate"].contains(&action.action.as_str());
    if let Some(InstanceAction { action, time }) = action.filter(is_known) {
        let is_time = time.bytes().all(|byte| byte.is_ascii_digit() || b"-:TZ.".contains(&byte));
        let at = if is_time && !time.is_empty() { format!(" at {time}") } else { String::new() };
        return Some(format!("EC2 has announced a Spot interruption: `{action}`{at}"));
    }
    let state = target_state.filter(|state| ENDS.contains(state))?;
    Some(format!("the target lifecycle state of the instance is `{state}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_and_a_target_state_end_an_instance() {
        let notice = br#"{"action": "terminate", "time": "2026-01-01T08:22:00Z"}"#;
        let text = ending(None, Some(notice)).unwrap();
        assert_eq!(text, "EC2 has announced a Spot interruption: `terminate` at 2026-01-01T08:22:00Z");
        assert!(ending(Some("InService"), Some(br#"{"action":"stop"}"#)).unwrap().ends_with("`stop`"));
        assert!(ending(Some("Terminated"), None).unwrap().contains("`Terminated`"));
        for (state, action) in [
            (None, None),
            (Some("InService"), Some(&b"garbage"[..])),
            (Some("Warmed:Stopped"), Some(br#"{"action":"noop"}"#)),
        ] {
            assert_eq!(ending(state, action), None);
        }
    }
}

//! Whether the instance is about to end.
//!
//! In: answers of instance metadata. Out: text for an evidence line.

use std::time::SystemTime;

use crate::drain::{SpotInterruption, is_terminated};

/// How the instance ends, from its target lifecycle state and the answer to `spot/instance-action`; `None` if it does not.
pub fn ending(target_state: Option<&str>, instance_action: Option<&[u8]>, now: SystemTime) -> Option<String> {
    if let Some(interruption) = SpotInterruption::announced(instance_action.unwrap_or_default(), now) {
        return Some(interruption.text());
    }
    let state = target_state.filter(|state| is_terminated(state))?;
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

//! The text of `watch`.

use std::time::Duration;

use crate::watch::{State, time};

/// The outcome of one check, as text.
pub fn watch_text(outcome: &str, state: &State, window: Duration) -> String {
    let at = |seconds: u64| humantime::format_rfc3339_seconds(time(seconds)).to_string();
    let mut text = match (outcome, &state.answer) {
        ("healthy", Some(answer)) if answer.is_connected => {
            format!("healthy: ECS reported the agent as connected at {}\n", at(answer.at))
        }
        ("healthy", _) => "healthy: nothing on this host shows a fault of the agent\n".to_owned(),
        ("recovered", _) => "recovered: the reported fault is over\n".to_owned(),
        (outcome, _) => format!("{outcome}:\n"),
    };
    for (fault, since) in &state.faults {
        let due = match &state.reported {
            Some(reported) if reported.faults.contains(fault) => format!("reported at {}", at(reported.at)),
            _ => format!("reported at {} if it lasts", at(since.saturating_add(window.as_secs()))),
        };
        text.push_str(&format!("since {}: {}; {due}\n", at(*since), fault.text()));
    }
    if let Some(reported) = &state.reported {
        text.push_str(&format!("cause: [{}]; `ecs-bootstrap status` has its evidence and remedy\n", reported.cause));
    }
    text
}

//! The outcome of `watch`, as text and as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use crate::watch::{Fault, State, time};

fn at(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(time(seconds)).to_string()
}

/// The outcome of one check, as JSON.
pub fn watch_json(outcome: &str, state: &State, window: Duration) -> Value {
    let fault = |(fault, since): (&Fault, &u64)| {
        let reported = state.reported.as_ref().filter(|reported| reported.faults.contains(fault));
        json!({
            "fault": fault,
            "text": fault.text(),
            "since": at(*since),
            "reported_at": reported.map(|reported| at(reported.at)),
            "due_at": at(since.saturating_add(window.as_secs())),
        })
    };
    json!({
        "version": 1,
        "outcome": outcome,
        "cause": state.reported.as_ref().map(|reported| &reported.cause),
        "faults": state.faults.iter().map(fault).collect::<Vec<_>>(),
        "ecs": state.answer.map(|answer| json!({
            "at": at(answer.at),
            "is_active": answer.is_active,
            "is_connected": answer.is_connected,
        })),
    })
}

/// The outcome of one check, as text.
pub fn watch_text(outcome: &str, state: &State, window: Duration) -> String {
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
        if state.faults.is_empty() {
            text.push_str("no sign of the fault is left; it is over if none comes within a minute\n");
        }
        text.push_str(&format!("cause: [{}]; `ecs-bootstrap status` has its evidence and remedy\n", reported.cause));
    }
    text
}

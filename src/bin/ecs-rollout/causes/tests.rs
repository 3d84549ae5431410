use std::time::Duration;

use ecs_bootstrap::boundary::aws::{AwsError, AwsErrorKind};

use super::*;
use crate::evidence::{ContainerExit, Message};

fn message(text: &str) -> Evidence {
    let message = Message { from: "service event".to_owned(), text: text.to_owned() };
    Evidence { messages: vec![message], ..Evidence::default() }
}

fn ids(evidence: &Evidence) -> Vec<&'static str> {
    diagnose(evidence).iter().map(|finding| finding.cause.id).collect()
}

#[test]
fn each_message_is_diagnosed_as_its_cause() {
    let rows = include_str!("messages.txt").lines().filter(|line| !line.starts_with('#'));
    let rows: Vec<_> = rows.map(|line| line.split_once(": ").unwrap()).collect();
    assert_eq!(rows.len(), 37);
    for (id, text) in rows {
        assert_eq!(ids(&message(text))[0], id, "{text}: {:?}", ids(&message(text)));
    }
}

#[test]
fn messages_of_a_healthy_rollout_are_not_a_cause() {
    for text in ["service web has reached a steady state.", "service web registered 1 targets in target-group x"] {
        assert_eq!(ids(&message(text)), ["rollout-unknown"]);
    }
    assert!(diagnose(&Evidence::default())[0].evidence[0].contains("no service event"));
}

#[test]
fn a_container_exit_is_diagnosed_from_its_code_and_log() {
    let exit = |code, log: &str, ended_the_task| Evidence {
        exits: vec![ContainerExit {
            container: "web".to_owned(),
            task: "0123".to_owned(),
            code,
            ended_the_task,
            log: vec![log.to_owned()],
        }],
        ..Evidence::default()
    };
    assert_eq!(ids(&exit(1, "cannot open the database", true)), ["container-exited"]);
    assert_eq!(ids(&exit(0, "done", true)), ["container-ended"]);
    assert_eq!(ids(&exit(255, "exec /srv/web: exec format error", true)), ["image-platform"]);
    assert_eq!(ids(&exit(139, "", true)), ["container-exited"]);
    // The task stopped first, so the exit is not a cause.
    assert_eq!(ids(&exit(143, "", false)), ["rollout-unknown"]);
    let finding = &diagnose(&exit(1, "cannot open the database", true))[0];
    assert_eq!(finding.evidence[0], "container `web` of task 0123 exited with code 1");
    assert!(finding.evidence.iter().any(|line| line.contains("cannot open the database")), "{finding:?}");
}

#[test]
fn an_answer_of_500_or_above_is_not_a_problem_of_the_network() {
    let failed = |kind| AwsError { operation: "ecs:RunTask", kind, elapsed: Duration::ZERO, source: None };
    for (code, status, id) in [
        (Some("ServerException"), 500, "api-failed"),
        (Some("ServiceUnavailable"), 503, "api-failed"),
        (None, 502, "api-failed"),
        (Some("ClientException"), 400, "not-accepted"),
    ] {
        let kind = AwsErrorKind::Service { code: code.map(Into::into), status, message: "message".into() };
        assert_eq!(from_error(&failed(kind)).cause.id, id, "{code:?} {status}");
    }
    for kind in [AwsErrorKind::Timeout, AwsErrorKind::Connect, AwsErrorKind::InvalidResponse] {
        assert_eq!(from_error(&failed(kind)).cause.id, "api-unreachable");
    }
    let remedies = [&API_FAILED, &UNREACHABLE].map(|cause| cause.remedy.contains("network of the CI runner"));
    assert_eq!(remedies, [false, true]);
}

#[test]
fn ids_are_unique_and_every_field_is_filled() {
    let mut ids = std::collections::BTreeSet::new();
    for cause in all() {
        assert!(ids.insert(cause.id), "{} occurs twice", cause.id);
        for text in [cause.title, cause.symptoms, cause.remedy, cause.source] {
            assert!(!text.is_empty() && !text.ends_with('.'), "{}: {text:?}", cause.id);
        }
    }
}

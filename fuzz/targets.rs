//! What the fuzzer and `tests/it/corpus.rs` do with bytes that somebody else wrote: what must hold, whatever they are.
//!
//! In: any bytes. Out: nothing, or a panic that says which promise is broken. Each parses what the product parses, by its
//! public functions.

use std::collections::BTreeMap;
use std::time::Duration;

use ecs_bootstrap::boundary::aws::{AwsError, AwsErrorKind};
use ecs_bootstrap::causes::diagnose;
use ecs_bootstrap::ecs_config::issue::{Context, first_crlf, issues};
use ecs_bootstrap::ecs_config::{edit, effective, joined, read};
use ecs_bootstrap::evidence::files::{CloudInit, ConfigText, Stray, output_failures};
use ecs_bootstrap::evidence::{Evidence, Stop, agent_log, user_data};
use ecs_bootstrap::settings;

/// `ecs-agent.log`, `ecs-init.log` and cloud-init's output: a line that is read has a message, and what is shown of
/// the output is short and has no control character.
pub(crate) fn agent_log(bytes: &[u8]) {
    let lines = agent_log::last_attempt(bytes);
    assert!(lines.iter().all(|line| !line.message.is_empty() && line.text().contains(&line.message)));
    assert!(lines.iter().all(|line| line.level.chars().all(|c| !c.is_ascii_uppercase())));
    for shown in output_failures(bytes) {
        assert!(shown.len() < 120 && !shown.contains(char::is_control), "{shown:?}");
    }
    CloudInit::read(Some(bytes), Some(bytes));
}

/// `ecs.config`: an edit that is not refused is read back by ecs-init's rules, and a second one changes nothing.
pub(crate) fn ecs_config(bytes: &[u8]) {
    let lines = 1 + bytes.iter().filter(|byte| **byte == b'\n').count();
    assert!(issues(bytes, &Context::default()).iter().all(|issue| (1..=lines).contains(&issue.line)));
    assert!(first_crlf(bytes).is_none_or(|line| line <= lines));
    joined(bytes, bytes, bytes);
    ConfigText::of("/etc/ecs/ecs.config", None, bytes);
    Stray::of("/etc/ecs.config", bytes);
    let set = BTreeMap::from([("ECS_CLUSTER".to_owned(), Some("prod".to_owned()))]);
    let Ok(edited) = edit(bytes, &set) else { return };
    let after = read(&edited);
    assert_eq!(effective(&after).get("ECS_CLUSTER").map(|line| line.value.as_str()), Some("prod"));
    assert_eq!(edit(&edited, &set).as_ref(), Ok(&edited), "a second edit");
    let unset = BTreeMap::from([("ECS_CLUSTER".to_owned(), None)]);
    if let Ok(removed) = edit(&edited, &unset) {
        assert!(!effective(&read(&removed)).contains_key("ECS_CLUSTER"));
    }
}

/// User data: none of it is kept, and its kind depends on its bytes alone.
pub(crate) fn user_data(bytes: &[u8]) {
    let known = user_data::read(Some(bytes));
    assert_eq!(known.kind == user_data::Kind::Absent, bytes.is_empty());
    assert_eq!(user_data::read(Some(bytes)).kind, known.kind);
    assert!(known.mime.iter().all(|fault| fault.len() < 120 && fault.is_ascii()));
    let _ = settings::user_data::ours(bytes);
}

/// An error of an AWS API (HTTP status, code and message, a line each): whatever it is taken for, what is told of it has
/// no control character.
pub(crate) fn api_error(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.splitn(3, '\n');
    let status = parts.next().and_then(|status| status.trim().parse().ok()).unwrap_or(400);
    let code = parts.next().map(str::to_owned).filter(|code| !code.is_empty());
    let kind = AwsErrorKind::of_answer(code, parts.next().unwrap_or_default().to_owned(), status);
    for operation in ["ecs:DescribeClusters", "ec2:DescribeTags"] {
        let error = AwsError { operation, kind: kind.clone(), elapsed: Duration::ZERO, source: None };
        let evidence = Evidence::of_stop(Stop::Aws(error));
        for finding in diagnose(&evidence) {
            assert!(!finding.seen.iter().any(|line| line.contains(char::is_control)), "{:?}", finding.seen);
        }
    }
}

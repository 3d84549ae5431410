//! The catalogue of causes: why a deployment did not start, or did not succeed.
//!
//! In: the [`Evidence`] of a rollout. Out: the causes that it supports, each with its evidence. A cause without
//! evidence is never named. If no cause fits, the finding is [`ROLLOUT_UNKNOWN`] with the last messages.

mod image;
mod placement;
mod request;
mod rollout;
mod running;
mod start;
mod task;
mod verification;

pub(crate) use request::*;
pub(crate) use rollout::*;
pub(crate) use task::*;
pub(crate) use verification::*;

use ecs_bootstrap::comparison::compare;

use crate::cause::{Cause, FoundCause};
use crate::evidence::{Evidence, MAX_SHOWN};

/// All causes, the most specific first. The causes of a rollout follow the steps of a task: placement, start, image,
/// running.
pub(crate) fn all() -> impl Iterator<Item = &'static Cause> {
    [
        request::ALL,
        verification::ALL,
        rollout::ALL,
        placement::ALL,
        start::ALL,
        image::ALL,
        running::ALL,
        task::ALL,
        rollout::LAST,
    ]
    .into_iter()
    .flatten()
    .copied()
}

pub(crate) fn find(id: &str) -> Option<&'static Cause> {
    all().find(|cause| cause.id == id)
}

/// The causes that the evidence supports, at least one. The first is the one to act on.
pub(crate) fn diagnose(evidence: &Evidence) -> Vec<FoundCause> {
    let found = all().filter_map(|cause| {
        let lines = (cause.check)(evidence);
        (!lines.is_empty()).then_some(FoundCause { cause, evidence: lines })
    });
    let found: Vec<FoundCause> = found.collect();
    let supported: Vec<&'static Cause> = found.iter().map(|found| found.cause).collect();
    let reasons = compare(&supported, |_| None);
    let reported = found.into_iter().zip(reasons).filter(|(_, reason)| reason.is_none());
    let found: Vec<FoundCause> = reported.map(|(found, _)| found).collect();
    if !found.is_empty() {
        return found;
    }
    let last = evidence.messages.iter().rev().take(MAX_SHOWN);
    let mut lines: Vec<_> = last.map(|message| format!("{}: {}", message.from, message.text)).collect();
    if lines.is_empty() {
        lines.push("ECS reports no service event and no stopped task".to_owned());
    }
    vec![FoundCause { cause: &ROLLOUT_UNKNOWN, evidence: lines }]
}

/// Whether the evidence names a cause that the deployed revision or its placement has. A lost instance is not one.
pub(crate) fn is_failure_of_revision(evidence: &Evidence) -> bool {
    let others = [ROLLOUT_UNKNOWN.id, running::LOST.id];
    diagnose(evidence).iter().any(|found| !others.contains(&found.cause.id))
}

#[cfg(test)]
mod tests;

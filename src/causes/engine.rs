//! How the cause of an instance that does not join is chosen.
//!
//! In: evidence and the catalogue. Out: a [`Diagnosis`]. Each check runs once, and [`crate::comparison`] compares those
//! that have evidence. What remains is ordered by layer: the first broken layer has the cause. Causes of one layer keep
//! the order of the catalogue.

use super::all::ALL;
use super::cause::{Cause, Check, Class, FoundCause};
use super::layer::Layer;
use crate::comparison::{self, Reason, Related, Specificity};
use crate::evidence::Evidence;
use crate::readiness::{self, Registration};
use crate::redaction;

/// What the evidence allows to say about an instance.
#[derive(Debug, Default)]
pub struct Diagnosis {
    /// The causes that remain, the first broken layer first.
    pub found: Vec<FoundCause>,
    /// The causes that the evidence supports and that were dropped, in the order of their layers.
    pub dropped: Vec<DroppedCause>,
    /// The registration, if the instance is ready. A cause in `found` comes first.
    pub ready: Option<Registration>,
}

/// A cause that has evidence and is not reported.
#[derive(Debug)]
pub struct DroppedCause {
    /// The cause.
    pub cause: &'static Cause,
    /// The evidence lines that support it, redacted.
    pub seen: Vec<String>,
    /// Why it is not reported.
    pub why: Reason<Cause>,
}

impl Related for Cause {
    type Layer = Layer;

    fn id(&self) -> &'static str {
        self.id
    }

    fn layer(&self) -> Layer {
        self.layer
    }

    fn specificity(&self) -> Specificity {
        self.specificity
    }

    /// An instance that waits on purpose explains no symptoms of its layer, unless it is about to end.
    fn explains(&self, symptom: &Cause) -> bool {
        let is_fault = self.class != Class::Waiting;
        let is_end = self.ends_instance && !symptom.ends_instance;
        is_end || symptom.yields_to.contains(&self.id) || (is_fault && symptom.is_symptom_of.contains(&self.layer))
    }
}

/// Compares all causes of the catalogue.
pub fn diagnose(evidence: &Evidence) -> Diagnosis {
    let is_registered = evidence.container_instance_arn().is_some();
    let applies = |cause: &Cause| cause.when_registered || !is_registered;
    let supported = supported(evidence, |cause| applies(cause).then_some(cause.check));
    Diagnosis { ready: readiness::ready(evidence), ..compare(evidence, supported) }
}

/// Faults that do not prevent the instance from joining its cluster, the first layer first.
pub fn notes(evidence: &Evidence) -> Vec<FoundCause> {
    supported(evidence, |cause| Some(cause.note))
}

/// The causes whose check returns evidence, ordered by layer.
fn supported(evidence: &Evidence, check: impl Fn(&Cause) -> Option<Check>) -> Vec<FoundCause> {
    let found = ALL.iter().filter_map(|&cause| Some(FoundCause::new(cause, check(cause)?(evidence)?, evidence)));
    let mut found: Vec<FoundCause> = found.collect();
    found.sort_by_key(|found| found.cause.layer);
    found
}

fn compare(evidence: &Evidence, supported: Vec<FoundCause>) -> Diagnosis {
    let causes: Vec<&'static Cause> = supported.iter().map(|found| found.cause).collect();
    let excluded = |cause: &Cause| (cause.excluded)(evidence).map(|seen| redaction::line(&seen));
    let mut diagnosis = Diagnosis::default();
    for (found, why) in supported.into_iter().zip(comparison::compare(&causes, excluded)) {
        match why {
            Some(why) => diagnosis.dropped.push(DroppedCause { cause: found.cause, seen: found.seen, why }),
            None => diagnosis.found.push(found),
        }
    }
    diagnosis
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::causes::find;

    #[test]
    fn relations_name_causes_and_have_no_cycle() {
        let relations: BTreeMap<&str, &[&str]> = ALL.iter().map(|cause| (cause.id, cause.yields_to)).collect();
        for (id, others) in &relations {
            for other in *others {
                assert!(find(other).is_some() && other != id, "`{id}` yields to `{other}`");
            }
        }
        // A cause is removed once it yields only to removed ones. Those of a cycle remain.
        let mut open: BTreeSet<&str> = relations.keys().copied().collect();
        loop {
            let free: Vec<&str> =
                open.iter().copied().filter(|id| relations[id].iter().all(|other| !open.contains(other))).collect();
            if free.is_empty() {
                break;
            }
            open.retain(|id| !free.contains(id));
        }
        assert!(open.is_empty(), "a cycle of {open:?}");
    }

    #[test]
    fn each_pair_of_look_alikes_is_separated_by_a_relation_or_by_its_proof() {
        let names = |cause: &Cause, other: &Cause| cause.proof.contains(&format!("`{}`", other.id));
        let mut inseparable = Vec::new();
        for cause in ALL {
            for other in cause.look_alikes.iter().filter_map(|id| find(id)) {
                let is_separated = cause.layer != other.layer
                    || cause.specificity != other.specificity
                    || cause.yields_to.contains(&other.id)
                    || other.yields_to.contains(&cause.id)
                    || names(cause, other)
                    || names(other, cause);
                if !is_separated {
                    inseparable.push(format!("{} {}", cause.id, other.id));
                }
            }
        }
        assert_eq!(inseparable, Vec::<String>::new());
    }
}

//! The declared relations of the causes, each by a comparison of the two causes alone. See `causes/mod.rs`.
//!
//! In: the catalogue. Out: with both causes supported, the one that yields is dropped, and the reason names the other
//! one. If evidence contradicts the other one, nothing is dropped.

use super::cause;
use ecs_bootstrap::causes::{ALL, Cause};
use ecs_bootstrap::comparison::{Reason, Related, Specificity, compare};
use std::collections::BTreeSet;

/// Why each of two supported causes is dropped; `excluded` is contradicted by evidence.
fn reasons(pair: [&'static Cause; 2], excluded: Option<&Cause>) -> [Option<Reason<Cause>>; 2] {
    let seen = |cause: &Cause| excluded.filter(|other| *other == cause).map(|_| "seen".to_owned());
    compare(&pair, seen).try_into().expect("one reason for each cause")
}

fn explains(cause: &Cause, symptom: &Cause) -> bool {
    let is_declared = symptom.yields_to.contains(&cause.id);
    assert!(!is_declared || Related::explains(cause, symptom), "{symptom:?} yields to {cause:?}");
    Related::explains(cause, symptom)
}

/// Whether the first cause is a general one beside a specific one of its layer.
fn is_more_general(general: &Cause, specific: &Cause) -> bool {
    general.layer == specific.layer
        && general.specificity == Specificity::General
        && specific.specificity == Specificity::Specific
}

/// Every pair of two causes, in both orders.
fn pairs() -> impl Iterator<Item = (&'static Cause, &'static Cause)> {
    let all = || ALL.iter().copied();
    all().flat_map(move |one| all().map(move |other| (one, other))).filter(|(one, other)| one != other)
}

#[test]
fn a_cause_is_dropped_if_it_yields_to_a_supported_cause() {
    let mut count = 0;
    for (symptom, root) in pairs().filter(|(symptom, root)| explains(root, symptom)) {
        let names = |reason: &Option<Reason<Cause>>| matches!(reason, Some(Reason::Explained(other)) if *other == root);
        for pair in [[symptom, root], [root, symptom]] {
            let found = reasons(pair, None);
            let [of_symptom, of_root] =
                if pair[0] == symptom { [&found[0], &found[1]] } else { [&found[1], &found[0]] };
            assert!(names(of_symptom) && of_root.is_none(), "{symptom:?} beside {root:?}: {found:?}");
        }
        let [of_symptom, of_root] = reasons([symptom, root], Some(root));
        assert!(of_symptom.is_none(), "{symptom:?} beside {root:?}, which is contradicted: {of_symptom:?}");
        assert!(matches!(of_root, Some(Reason::Excluded(_))), "{of_root:?}");
        count += 1;
    }
    assert!(count > 100, "only {count} relations");
}

#[test]
fn a_general_cause_is_dropped_beside_a_specific_one_of_its_layer() {
    let general =
        pairs().filter(|(general, specific)| is_more_general(general, specific) && !explains(specific, general));
    let mut count = 0;
    for (general, specific) in general {
        let [of_general, of_specific] = reasons([general, specific], None);
        let is_dropped = matches!(of_general, Some(Reason::General(other)) if other == specific);
        // A specific cause may be declared to be a symptom of the general one.
        let is_symptom = explains(general, specific);
        assert!(is_dropped != is_symptom, "{general:?} beside {specific:?}: {of_general:?}, {of_specific:?}");
        count += 1;
    }
    assert!(count > 20, "only {count} pairs");
}

#[test]
fn two_causes_without_a_relation_are_both_kept() {
    let related = |one: &Cause, other: &Cause| explains(one, other) || is_more_general(one, other);
    for (one, other) in pairs().filter(|(one, other)| !related(one, other) && !related(other, one)) {
        let found = reasons([one, other], None);
        assert!(found.iter().all(Option::is_none), "{one:?} beside {other:?}: {found:?}");
    }
}

#[test]
fn no_cause_is_a_look_alike_of_itself_or_of_an_unknown_one() {
    for one in ALL {
        let ids: BTreeSet<&str> = one.look_alikes.iter().copied().collect();
        assert_eq!(ids.len(), one.look_alikes.len(), "{one:?} names a look-alike twice");
        for id in ids {
            assert_ne!(cause(id), *one, "{one:?} is its own look-alike");
        }
    }
}

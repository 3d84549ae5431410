//! Compares generated definitions with what an independent simulation of ECS returns for them.

use proptest::prelude::*;

use super::*;

#[path = "../../../../../tests/it/support/rollout/form_of_ecs.rs"]
#[allow(unreachable_pub, dead_code, reason = "the simulator of the integration tests, of which this uses a part")]
mod form_of_ecs;
mod generate;
mod table;

use form_of_ecs::Dice;
use generate::{changed, document, leaves};

/// How many definitions are compared with what ECS returns for them.
const CASES: u32 = 2500;
/// How many single changes are made.
const CHANGES: u32 = 800;

fn tasks() -> BoxedStrategy<Value> {
    document(of_task_definition(), &["family", "containerDefinitions"])
}

/// Service definitions. The launch type and the desired count are compared by other rules.
fn services() -> BoxedStrategy<Value> {
    let all = document(of_service(), &["serviceName"]);
    all.prop_map(|mut service| {
        for name in ["launchType", "desiredCount", "role", "tags", "cluster", "clientToken", "taskDefinition"] {
            service.as_object_mut().unwrap().remove(name);
        }
        service
    })
    .boxed()
}

fn compared(desired: &Value, described: &Value) -> Reconciled {
    of_task_definition().reconcile(&task_definition(desired), &task_definition(described), "", &|_| false)
}

/// The lines that differ between a service definition and a service.
fn service_changes(desired: &Value, shown: &Map<String, Value>) -> Vec<String> {
    let normalizer = of_service();
    let members = desired.as_object().unwrap().iter().filter(|(name, _)| !hidden::is_never_returned(name));
    let changes = members.flat_map(|(name, value)| {
        let actual = shown.get(name).unwrap_or(&Value::Null);
        let whole = crate::decide::merge::merged(name, value, actual);
        let (before, after) = (normalizer.member(name, actual), normalizer.member(name, &whole));
        let compared = normalizer.reconcile(&after, &before, name, &|_| false);
        normalizer.changes(&compared, name, true)
    });
    changes.collect()
}

/// Whether another member takes its meaning from this one, so that its change is more than one change.
fn decides_others(pointer: &str, document: &Value) -> bool {
    let parent = pointer.rsplit_once('/').and_then(|(parent, _)| document.pointer(parent)).unwrap_or(document);
    ["/networkMode", "/serviceConnectConfiguration/enabled"].contains(&pointer)
        || (pointer.ends_with("/containerPort") && parent["hostPort"] == parent["containerPort"])
        || (pointer.ends_with("/portName") && !parent["discoveryName"].is_null())
        || (pointer.starts_with("/placementStrategy") && pointer.ends_with("/type"))
        || pointer == "/serviceConnectConfiguration/namespace"
}

/// The document with one leaf changed; `None` if the change means nothing to ECS.
fn with_change(document: &Value, choice: prop::sample::Index) -> Option<(String, Value)> {
    let places = leaves(document);
    let pointer = choice.get(&places).clone();
    let mut other = document.clone();
    let leaf = other.pointer_mut(&pointer).unwrap();
    // An empty text is an absent member, and a new member can need a new object around it.
    let is_new = *leaf == "";
    *leaf = changed(leaf);
    (!is_new && !decides_others(&pointer, document)).then_some((pointer, other))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    #[test]
    fn a_registered_task_definition_is_no_difference(task in tasks(), seed: u64) {
        let described = form_of_ecs::task_definition(&task, &mut Dice::new(seed));
        let compared = compared(&task, &described);
        prop_assert_eq!(&compared.before, &compared.after, "{:#}", described);
        // And the other way round: what ECS returned can be the definition.
        prop_assert!(self::compared(&described, &task).is_equal() || has_role_name(&task));
    }

    #[test]
    fn a_created_service_is_no_difference(service in services(), seed: u64) {
        let shown = form_of_ecs::service(&service, &mut Dice::new(seed));
        prop_assert_eq!(service_changes(&service, &shown), Vec::<String>::new(), "{:#?}", shown);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CHANGES, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_member_of_a_task_definition_is_one_change(task in tasks(), choice: prop::sample::Index, seed: u64) {
        let Some((pointer, other)) = with_change(&task, choice) else { return Ok(()) };
        let [old, new] = [&task, &other].map(|task| form_of_ecs::task_definition(task, &mut Dice::new(seed)));
        prop_assume!(old != new);
        let compared = compared(&other, &old);
        let changes = of_task_definition().changes(&compared, "", true);
        prop_assert_eq!(changes.len(), 1, "{} {:?}", pointer, changes);
        let compared = of_task_definition().shown(&compared, "");
        let diff = crate::diff::unified(&compared.before, &compared.after, ("old", "new"), true);
        for (sign, header) in [('-', "---"), ('+', "+++")] {
            let lines = diff.lines().filter(|line| line.starts_with(sign) && !line.starts_with(header));
            prop_assert!(lines.count() <= 1, "{}\n{}", pointer, diff);
        }
    }

    #[test]
    fn a_changed_member_of_a_service_is_one_change(service in services(), choice: prop::sample::Index, seed: u64) {
        let Some((pointer, other)) = with_change(&service, choice) else { return Ok(()) };
        let [old, new] = [&service, &other].map(|one| form_of_ecs::service(one, &mut Dice::new(seed)));
        prop_assume!(old != new);
        prop_assume!(service["serviceConnectConfiguration"]["enabled"] == true || !pointer.starts_with("/serviceConnect"));
        let changes = service_changes(&other, &old);
        prop_assert_eq!(changes.len(), 1, "{} {:?}", pointer, changes);
    }
}

fn has_role_name(task: &Value) -> bool {
    ["taskRoleArn", "executionRoleArn"]
        .iter()
        .any(|role| task[role].as_str().is_some_and(|name| !name.starts_with("arn:")))
}

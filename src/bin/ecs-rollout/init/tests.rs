//! The files of a described service: what they hold, and that a plan with them has nothing to do.

use proptest::prelude::*;

use super::generated::described;
use super::*;
use crate::cli::DeploymentFlags;
use crate::current::CurrentState;
use crate::decide;
use crate::desired::DesiredState;
use crate::document::InputFile;
use crate::plan::{Action, TaskDefinitionChange};
use crate::variables::Variables;

fn file(name: &str, text: &str) -> InputFile {
    InputFile { name: name.to_owned(), text: text.to_owned() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_with_the_files_of_a_service_has_nothing_to_do(
        (raw, answer) in described(), scaling in proptest::sample::select(vec![Scaling::Manual, Scaling::Automatic]),
    ) {
        let (service, running) = (Service::read(&raw).unwrap(), Revision::read(&answer));
        let files = definitions(&service, &running, &scaling);
        let (task, definition) = (files.task_definition, files.service.unwrap());
        // Whatever variables are set.
        let environment = |_: &str| Some("replaced".to_owned());
        let variables = Variables::new(&[], Vec::new(), &[], &environment);
        let flags = DeploymentFlags::default();
        let read = DesiredState::read(
            Some(&file(TASK_DEFINITION, &task)), Some(&file(SERVICE, &definition)), &flags, Some(&variables));
        let desired = read.map_err(|finding| TestCaseError::fail(format!("{:?}", finding.evidence)))?;
        let current = CurrentState {
            service: Some(service), running: Some(running.clone()), newest: Some(running.clone()), last_stable: Some(running), scaling: scaling.clone(),
        };
        let plan = decide::plan(&desired, &current);
        let plan = plan.map_err(|finding| TestCaseError::fail(format!("{:?}", finding.evidence)))?;
        prop_assert!(matches!(plan.registration, TaskDefinitionChange::Keep(_)), "{:?}", plan.registration);
        prop_assert_eq!(plan.action, Action::Nothing);
        prop_assert!(plan.service_tags.is_empty(), "{:?}", plan.service_tags);
        // Nothing that only ECS sets, no default of a whole member, no tag of ecs-rollout or AWS.
        for word in ["Arn\": \"arn:aws:ecs:", "aMemberOfANewerEcs", "ecs-rollout:", "\"aws:cloud", "REPLICA",
            "AWSServiceRoleForECS", "\"essential\": true", "LATEST"] {
            prop_assert!(!definition.contains(word) && !task.contains(word), "{word}: {definition} {task}");
        }
        let is_daemon = raw["schedulingStrategy"] == "DAEMON";
        prop_assert_eq!(definition.contains("desiredCount"), scaling == Scaling::Manual && !is_daemon);
    }
}

//! What UpdateService does with its members, as data: whether a change reaches the running tasks, and how a member that
//! was absent is restored.

use serde_json::Value;

/// What a change of a member starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Start {
    /// A new deployment.
    Deployment,
    /// A new deployment, and ECS refuses the change unless `forceNewDeployment` asks for it.
    ForcedDeployment,
    /// No deployment: tasks that run already stay as they are.
    OnlyNewTasks,
    /// No deployment: no task is concerned.
    Nothing,
}

/// One member of UpdateService.
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) start: Start,
    /// The JSON that means the same as an absent member; empty if there is none.
    absent: &'static str,
    /// Of UpdateService in the ECS API Reference each member says whether it triggers a new deployment. Further sources
    /// are named here.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reader and for the test that each row has one"))]
    pub(super) source: &'static str,
}

const UPDATE: &str = "ECS API Reference, UpdateService";

pub(super) const MEMBERS: [Member; 20] = [
    row("desiredCount", Start::Nothing, "", UPDATE),
    row(
        "capacityProviderStrategy",
        Start::ForcedDeployment,
        "[]",
        "AWS CloudFormation, AWS::ECS::Service, capacityProviderStrategy: quotes the error of ECS",
    ),
    row("deploymentConfiguration", Start::Nothing, "{}", UPDATE),
    row("availabilityZoneRebalancing", Start::Nothing, "\"DISABLED\"", UPDATE),
    row("networkConfiguration", Start::Deployment, "", UPDATE),
    row("placementConstraints", Start::OnlyNewTasks, "[]", UPDATE),
    row("placementStrategy", Start::OnlyNewTasks, "[]", UPDATE),
    row("platformVersion", Start::Deployment, "\"LATEST\"", UPDATE),
    row("healthCheckGracePeriodSeconds", Start::Nothing, "0", UPDATE),
    row("deploymentController", Start::Nothing, "", UPDATE),
    row("enableExecuteCommand", Start::OnlyNewTasks, "false", "ECS Developer Guide, ECS Exec: existing tasks"),
    row("enableECSManagedTags", Start::OnlyNewTasks, "false", UPDATE),
    row("loadBalancers", Start::Deployment, "[]", UPDATE),
    row("propagateTags", Start::OnlyNewTasks, "\"NONE\"", UPDATE),
    row("serviceRegistries", Start::Deployment, "[]", UPDATE),
    row("serviceConnectConfiguration", Start::Deployment, "{\"enabled\":false}", UPDATE),
    row("volumeConfigurations", Start::Deployment, "[]", UPDATE),
    row("vpcLatticeConfigurations", Start::Deployment, "[]", UPDATE),
    row("gatewayConnectors", Start::Deployment, "", "ECS API Reference, ServiceRevision: a part of the revision"),
    row("monitoring", Start::Nothing, "", "ECS API Reference, MonitoringConfiguration: metrics of the service"),
];

const fn row(name: &'static str, start: Start, absent: &'static str, source: &'static str) -> Member {
    Member { name, start, absent, source }
}

fn find(name: &str) -> Option<&'static Member> {
    MEMBERS.iter().find(|member| member.name == name)
}

/// What a change of the member starts; `None` for a member that is newer than the table.
pub(super) fn start_of(name: &str) -> Option<Start> {
    find(name).map(|member| member.start)
}

/// The value that means the same as an absent member, if UpdateService accepts one.
pub(super) fn absent(name: &str) -> Option<Value> {
    serde_json::from_str(find(name)?.absent).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api_model::schema;

    #[test]
    fn the_table_has_each_member_of_update_service_and_no_other() {
        let mut expected = schema::of_update();
        expected.retain(|name| !["cluster", "service", "taskDefinition", "forceNewDeployment"].contains(name));
        let mut names: Vec<_> = MEMBERS.iter().map(|member| member.name).collect();
        expected.sort_unstable();
        names.sort_unstable();
        assert_eq!(names, expected, "say in the table what a change of the new member does");
        for member in &MEMBERS {
            assert!(!member.source.is_empty(), "{}", member.name);
            assert!(member.absent.is_empty() || absent(member.name).is_some(), "{}", member.name);
        }
    }
}

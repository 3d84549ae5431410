//! `run`: one command, from metadata to a registered instance.

use crate::support::Instance;

#[test]
fn joins_the_cluster_of_an_instance_tag() {
    let instance = Instance::new();
    let outcome = instance.run(&["run", "--wait"]);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.starts_with("ready: `arn:aws:ecs:"), "{}", outcome.stdout);
    assert_eq!(instance.disk.text("/etc/ecs/ecs.config"), "ECS_CLUSTER=prod\n");
    assert_eq!(instance.aws.count("DescribeTags"), 0);
}

//! The metric `LaunchToReady`: its value and dimensions, once for each launch, and when it is not stored.

use crate::signal::{CLOUDFORMATION, aws_state, of_stack, reports, run};
use crate::support::Instance;
use crate::support::aws::Fault;
use crate::support::http::Reply;
use std::time::{Duration, Instant, SystemTime};

const CLOUDWATCH: &str = "signal.cloudwatch=true";

fn launched(ago: Duration) -> Instance {
    let instance = of_stack();
    instance.imds.change(|imds| imds.pending_time = SystemTime::now() - ago);
    instance
}

#[test]
fn the_time_from_launch_to_ready_is_stored_once_for_each_launch() {
    let instance = launched(Duration::from_secs(40));
    let started = SystemTime::now();
    reports(&run(&instance, &[CLOUDWATCH]), 0, &["ready: ", "signal: LaunchToReady to cloudwatch, sent: launch at "]);
    let longest = 41.0 + started.elapsed().unwrap().as_secs_f64();
    let metrics = aws_state(&instance, |state| state.waiting.metrics.clone());
    let [metric] = &metrics[..] else { panic!("{metrics:?}") };
    let datum = |name: &str| metric[&format!("MetricData.member.1.{name}")].as_str();
    let (value, shortest) = (datum("Value").parse::<f64>().unwrap(), 40.0);
    assert!((shortest..longest).contains(&value), "{value} is not from {shortest} to {longest}");
    assert_eq!(
        (metric["Namespace"].as_str(), datum("MetricName"), datum("Unit")),
        ("ecs-bootstrap", "LaunchToReady", "Seconds")
    );
    let dimension = |number: usize| ["Name", "Value"].map(|part| datum(&format!("Dimensions.member.{number}.{part}")));
    assert_eq!(
        [1, 2, 3].map(dimension),
        [["ClusterName", "prod"], ["ImageId", "ami-0abcdef1234567890"], ["InstanceType", "m5.large"]]
    );
    assert_eq!(metric.keys().filter(|key| key.contains("member.2") && !key.contains("Dimensions")).count(), 0);
    // A reboot: /run is empty, and the launch is the same.
    std::fs::remove_dir_all(instance.disk.path("/run/ecs-bootstrap")).unwrap();
    reports(&run(&instance, &[CLOUDWATCH]), 0, &["LaunchToReady to cloudwatch, already"]);
    assert_eq!(instance.aws.count("PutMetricData"), 1);
    // A start after a stop has another launch time.
    instance.imds.change(|imds| imds.pending_time = SystemTime::now() - Duration::from_secs(5));
    reports(&run(&instance, &[CLOUDWATCH]), 0, &["LaunchToReady to cloudwatch, sent"]);
    assert_eq!(instance.aws.count("PutMetricData"), 2);
}

#[test]
fn a_time_that_is_not_that_of_a_boot_is_not_stored() {
    let ahead = of_stack();
    ahead.imds.change(|imds| imds.pending_time = SystemTime::now() + Duration::from_secs(600));
    for (instance, why) in
        [(launched(Duration::from_secs(3700)), "more than an hour ago"), (ahead, "the clock of this host is before it")]
    {
        reports(&run(&instance, &[CLOUDWATCH]), 0, &["cloudwatch, left: ", why]);
        assert_eq!(instance.aws.count("PutMetricData"), 0);
    }
}

#[test]
fn the_time_in_a_warm_pool_is_not_stored() {
    let instance = launched(Duration::from_secs(40));
    instance.imds.change(|imds| imds.target_lifecycle_state = Some("Warmed:Running".into()));
    let running = instance.start(&["run", "--wait", "--set", CLOUDWATCH]);
    let until = Instant::now() + Duration::from_secs(20);
    while !instance.disk.path("/run/ecs-bootstrap/plan.json").exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    instance.imds.change(|imds| imds.target_lifecycle_state = Some("InService".into()));
    reports(&running.wait(), 0, &["cloudwatch, left: ", "the instance was in a warm pool"]);
    // Another run of the same boot finds the instance in service.
    reports(&run(&instance, &[CLOUDWATCH]), 0, &["cloudwatch, already"]);
    assert_eq!(instance.aws.count("PutMetricData"), 0);
}

#[test]
fn without_the_target_lifecycle_state_nothing_is_stored() {
    let instance = launched(Duration::from_secs(40));
    let path = "/latest/meta-data/autoscaling/target-lifecycle-state";
    instance
        .imds
        .change(|imds| drop(imds.overrides.insert(path.into(), Reply::new(500, "text/plain", "error").into())));
    reports(&run(&instance, &[CLOUDWATCH]), 0, &["cloudwatch, left: ", "target lifecycle state", "was not read"]);
    assert_eq!(instance.aws.count("PutMetricData"), 0);
    // The setting of the agent's variable does not hide the state from the metric.
    let warmed = launched(Duration::from_secs(40));
    warmed.imds.change(|imds| imds.target_lifecycle_state = Some("Warmed:Running".into()));
    let derived = "derive.warm-pool=off";
    reports(&run(&warmed, &[CLOUDWATCH, derived]), 0, &["cloudwatch, left: ", "the instance was in a warm pool"]);
    let in_service = launched(Duration::from_secs(40));
    reports(&run(&in_service, &[CLOUDWATCH, derived]), 0, &["cloudwatch, sent"]);
}

#[test]
fn a_metric_that_is_not_accepted_is_reported_and_changes_nothing_else() {
    let instance = launched(Duration::from_secs(40));
    instance.aws.fail_first("PutMetricData", 2, Fault::error(400, "Throttling", "Rate exceeded"));
    reports(&run(&instance, &[CLOUDWATCH]), 0, &["cloudwatch, sent"]);
    assert_eq!(instance.aws.count("PutMetricData"), 3);
    let instance = launched(Duration::from_secs(40));
    instance.aws.fail("PutMetricData", Fault::denied("cloudwatch:PutMetricData"));
    // A denied call is repeated until the deadline, because the policy may not be in effect yet.
    let outcome = run(&instance, &[CLOUDWATCH, CLOUDFORMATION, "verify.deadline=3s"]);
    let remedy = "allow the instance's role `cloudwatch:PutMetricData` for the namespace `ecs-bootstrap`";
    reports(&outcome, 0, &["ready: ", "cloudwatch, failed", remedy, "SUCCESS to cloudformation, sent"]);
    // A later time would be that of the next run.
    reports(&run(&instance, &[CLOUDWATCH]), 0, &["cloudwatch, already"]);
}

#[test]
fn an_instance_that_failed_stores_no_metric() {
    let instance = launched(Duration::from_secs(40)).without_cluster("prod");
    let outcome = run(&instance, &[CLOUDWATCH]);
    reports(&outcome, 21, &["cluster-not-found"]);
    assert!(!outcome.stdout.contains("cloudwatch"), "{outcome:#?}");
    assert_eq!(instance.aws.count("PutMetricData"), 0);
}

//! Limits of time and memory of the release binary of `ecs-rollout`, which `tests/run package` builds and names in
//! `ECS_ROLLOUT_TEST_BINARY`. Without that variable these tests fail.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Site, safe};
use crate::support::rollout::account::instance;
use serde_json::{Value, json};

const RUNS: usize = 25;
const FILES: [&str; 4] = ["--task-definition", "task.json", "--service-definition", "service.json"];

/// Runs the release binary. Its exit code must be 0.
fn run(site: &Site, arguments: &[&str]) -> Duration {
    let program = std::env::var_os("ECS_ROLLOUT_TEST_BINARY")
        .expect("ECS_ROLLOUT_TEST_BINARY must name the release binary: run `tests/run package`");
    let mut command = Command::new(program);
    command.args(arguments).current_dir(site.folder.path()).env_clear().stdin(Stdio::null());
    let start = Instant::now();
    let output = command.envs(safe(&site.ecs.endpoint())).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    start.elapsed()
}

/// A site whose service was deployed, so that the same files are a plan without a change.
fn deployed() -> Site {
    let site = Site::new();
    let arguments = [&["deploy", "--var", "TAG=1"][..], &FILES[..]].concat();
    run(&site, &arguments);
    site
}

#[test]
fn the_first_request_is_sent_within_twenty_five_milliseconds() {
    const BOUND: Duration = Duration::from_millis(25);
    let site = deployed();
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            site.ecs.change(|world| world.first_request = None);
            let exec = Instant::now();
            run(&site, &["status", "--cluster", "prod", "--service", "web"]);
            site.ecs.read(|world| world.first_request).unwrap().duration_since(exec)
        })
        .collect();
    times.sort();
    println!("exec to first request: {:?}, median {:?} (bound {BOUND:?})", times[0], times[RUNS / 2]);
    // Other load on the host only adds time, so the least time is what the program needs.
    assert!(times[0] <= BOUND, "{:?}", times[0]);
}

#[test]
fn a_plan_of_an_unchanged_service_needs_at_most_four_round_trips_in_a_row() {
    const ANSWER: Duration = Duration::from_millis(200);
    let site = deployed();
    let arguments = [&["plan", "--var", "TAG=1"][..], &FILES[..]].concat();
    let without = (0..5).map(|_| run(&site, &arguments)).min().unwrap();
    site.ecs.change(|world| world.answers_after = ANSWER);
    let with = (0..5).map(|_| run(&site, &arguments)).min().unwrap();
    let in_a_row = (with.saturating_sub(without)).as_secs_f64() / ANSWER.as_secs_f64();
    println!("plan of an unchanged service: {in_a_row:.2} answers in a row (bound 4), {without:?} besides");
    assert!((0.9..=4.3).contains(&in_a_row), "{in_a_row}");
}

#[test]
fn a_deployment_stays_within_sixteen_megabytes() {
    let site = Site::new();
    assert_peak_memory("deployment", &site);
}

#[test]
fn the_verification_of_a_large_cluster_stays_within_sixteen_megabytes() {
    let site = super::verify::site(|task, _, account| {
        account.instances = Some((0..300).map(|id| large_instance(&format!("{id:032x}"))).collect());
        let container = &mut task["containerDefinitions"][0];
        container["secrets"] = (0..60)
            .map(|id| json!({"name": format!("S{id}"), "valueFrom": format!("/prod/service/web/secret-{id}")}))
            .collect();
    });
    assert_peak_memory("deployment to a large cluster", &site);
}

/// An instance with as many attributes as the agent registers.
fn large_instance(id: &str) -> Value {
    let mut one = instance(id);
    let attributes = one["attributes"].as_array_mut().unwrap();
    attributes
        .extend((0..60).map(|id| json!({"name": format!("com.amazonaws.ecs.capability.docker-remote-api.{id}")})));
    one
}

/// Deploys, and compares the peak memory with the bound.
#[expect(clippy::print_stdout, reason = "the figure, which `--nocapture` shows")]
fn assert_peak_memory(what: &str, site: &Site) {
    const MAX_KIB: u64 = 16_000_000 / 1024;
    let mut command = Command::new(std::env::var_os("ECS_ROLLOUT_TEST_BINARY").expect("the release binary"));
    command.args(["deploy", "--var", "TAG=1"]).args(FILES).current_dir(site.folder.path()).env_clear();
    command.envs(safe(&site.ecs.endpoint())).stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak: u64 = 0;
    // The peak only grows, so the last value before the exit is used. A zombie has no value.
    while let Ok(text) = std::fs::read_to_string(&status) {
        let Some(line) = text.lines().find_map(|line| line.strip_prefix("VmHWM:")) else { break };
        peak = line.trim().trim_end_matches(" kB").parse().unwrap_or(peak);
    }
    assert!(child.wait().unwrap().success());
    println!("peak memory of a {what}: {peak} KiB (bound {MAX_KIB} KiB)");
    assert!(peak > 1000 && peak <= MAX_KIB, "{peak} KiB");
}

//! The bounds of the README's table "Measured". `tests/run package` measures the release binary by
//! `ECS_BOOTSTRAP_TEST_BINARY`; without it the test build is measured, which is slower and must still hold.

use std::time::{Duration, SystemTime};

use crate::support::Instance;

const ANSWER: Duration = Duration::from_millis(20);
const RUNS: usize = 7;

fn instance() -> Instance {
    let instance = Instance::new().imds_delay(ANSWER);
    match std::env::var_os("ECS_BOOTSTRAP_TEST_BINARY") {
        Some(binary) => instance.binary(binary),
        None => instance,
    }
}

/// The median time from exec until `ecs.config` was there, and the AWS calls made before it.
fn exec_to_written(prepare: impl Fn(Instance) -> Instance) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let instance = prepare(instance());
            let exec = SystemTime::now();
            let outcome = instance.run(&["run", "--no-wait"]);
            assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
            assert!(instance.aws.requests().is_empty(), "AWS was asked before the write");
            let written = std::fs::metadata(instance.disk.path("/etc/ecs/ecs.config")).unwrap().modified().unwrap();
            written.duration_since(exec).unwrap()
        })
        .collect();
    times.sort();
    times[RUNS / 2]
}

#[test]
fn the_config_is_written_within_a_quarter_more_than_the_answers_that_follow_one_another() {
    for (answers, prepare) in [
        (2, (|instance| instance) as fn(Instance) -> Instance),
        (3, |instance| instance.tag("ecs-bootstrap:ECS_LOGLEVEL", "debug")),
    ] {
        let took = exec_to_written(prepare);
        let bound = ANSWER * answers * 5 / 4;
        println!("exec to written config, {answers} answers of {ANSWER:?} in a row: {took:?} (bound {bound:?})");
        assert!(took <= bound, "{took:?} is more than {bound:?}");
    }
}

//! Limits of time and memory of the release binary, which `tests/run package` builds and names in
//! `ECS_BOOTSTRAP_TEST_BINARY`. Without that variable these tests fail.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

use crate::support::Instance;

const ANSWER: Duration = Duration::from_millis(20);
const RUNS: usize = 25;
const MAX_MEMORY_KIB: u64 = 12_000_000 / 1024;

fn instance() -> Instance {
    let binary = std::env::var_os("ECS_BOOTSTRAP_TEST_BINARY")
        .expect("ECS_BOOTSTRAP_TEST_BINARY must name the release binary: run `tests/run package`");
    Instance::new().imds_delay(ANSWER).binary(binary)
}

/// The least and the median time from exec until `ecs.config` is written, after this number of AWS calls.
fn exec_to_written(calls: usize, prepare: impl Fn(Instance) -> Instance) -> (Duration, Duration) {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let instance = prepare(instance());
            let exec = SystemTime::now();
            let outcome = instance.run(&["run", "--no-wait"]);
            assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
            assert_eq!(instance.aws.requests().len(), calls, "AWS calls before the write");
            let written = std::fs::metadata(instance.disk.path("/etc/ecs/ecs.config")).unwrap().modified().unwrap();
            written.duration_since(exec).unwrap()
        })
        .collect();
    times.sort();
    (times[0], times[RUNS / 2])
}

/// The least time of the same answers, one after another, on a plain socket: connect, the token, the GETs. It includes
/// the delay that the host itself adds to each answer.
fn plain_socket_time(answers: u32) -> Duration {
    let instance = instance();
    let address = instance.imds.endpoint().trim_start_matches("http://").to_owned();
    let times = (0..RUNS).map(|_| {
        let start = Instant::now();
        let mut socket = BufReader::new(TcpStream::connect(&address).unwrap());
        let ttl = "X-aws-ec2-metadata-token-ttl-seconds: 60";
        let token = ask(&mut socket, &format!("PUT /latest/api/token HTTP/1.1\r\nHost: imds\r\n{ttl}\r\n\r\n"));
        for _ in 1..answers {
            let path = "/latest/meta-data/tags/instance";
            ask(
                &mut socket,
                &format!("GET {path} HTTP/1.1\r\nHost: imds\r\nX-aws-ec2-metadata-token: {token}\r\n\r\n"),
            );
        }
        start.elapsed()
    });
    times.min().unwrap()
}

/// Sends a request. Returns the body of the answer.
fn ask(socket: &mut BufReader<TcpStream>, request: &str) -> String {
    socket.get_mut().write_all(request.as_bytes()).unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        socket.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

#[test]
fn the_config_is_written_within_a_quarter_more_than_the_time_of_the_answers() {
    for (answers, calls, prepare) in [
        (2, 0, (|instance| instance) as fn(Instance) -> Instance),
        (3, 0, |instance| instance.tag("ecs-bootstrap:ECS_LOGLEVEL", "debug")),
        // The name of the role is read beside the tags, so only its credentials are one more answer.
        (3, 1, |instance| instance.without_imds_tags()),
    ] {
        // Other load on the host only adds time, so the least time is what the program needs.
        let (least, median) = exec_to_written(calls, prepare);
        let chain = plain_socket_time(answers);
        let bound = chain * 5 / 4;
        println!(
            "exec to written config, {answers} answers of {ANSWER:?} in a row: {least:?}, median {median:?} \
             (bound {bound:?}, a plain socket {chain:?})"
        );
        assert!(least <= bound, "{least:?} is more than {bound:?}");
    }
}

#[test]
fn a_run_by_cluster_tags_stays_within_its_memory_limit() {
    let instance = instance()
        .without_imds_tags()
        .without_tags()
        .tag("ecs-bootstrap:cluster-tags", "env=prod")
        .cluster("by-tags", &[("env", "prod")]);
    let running = instance.start(&["run", "--wait"]);
    let status = format!("/proc/{}/status", running.pid());
    let peak = std::thread::spawn(move || {
        let mut peak = 0;
        // The peak only grows, so the last value before the exit is used. A zombie has no value.
        while let Ok(text) = std::fs::read_to_string(&status) {
            let Some(line) = text.lines().find_map(|line| line.strip_prefix("VmHWM:")) else { break };
            peak = line.trim().trim_end_matches(" kB").parse().unwrap_or(peak);
        }
        peak
    });
    let outcome = running.wait();
    let peak: u64 = peak.join().unwrap();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    println!("peak memory of a run with EC2 and ECS calls: {peak} KiB (bound {MAX_MEMORY_KIB} KiB)");
    assert!(peak > 1000 && peak <= MAX_MEMORY_KIB, "{peak} KiB");
}

#[test]
fn guard_takes_at_most_twenty_milliseconds() {
    const BOUND: Duration = Duration::from_millis(20);
    let instance = instance();
    assert_eq!(instance.run(&["run", "--no-wait"]).code, Some(0));
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            // User data has replaced the file: guard has to write it.
            instance.disk.write("etc/ecs/ecs.config", "ECS_LOGLEVEL=debug\n");
            let outcome = instance.run(&["guard"]);
            assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
            outcome.duration
        })
        .collect();
    times.sort();
    println!("guard, with a file to write again: {:?}, median {:?} (bound {BOUND:?})", times[0], times[RUNS / 2]);
    assert!(times[0] <= BOUND, "{:?}", times[0]);
}

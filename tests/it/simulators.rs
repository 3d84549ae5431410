//! Tests of the simulators. In: raw requests and D-Bus calls. Out: assertions that the answers are like the real ones.

#![allow(clippy::unwrap_used, reason = "helpers of tests; clippy knows only functions marked as tests")]

use crate::support::disk::{AgentState, Disk};
use crate::support::http::http_date;
use crate::support::imds::{Fault, Imds};
use crate::support::port::BlackHole;
use crate::support::{Instance, aws};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// The response to a request. A busy host may take a while to answer.
fn ask(endpoint: &str, request: &str) -> String {
    ask_within(endpoint, request, Duration::from_secs(20))
}

/// The response to a request; empty if none begins within this time.
#[expect(clippy::disallowed_methods, reason = "the test is the client")]
fn ask_within(endpoint: &str, request: &str, limit: Duration) -> String {
    let mut stream = TcpStream::connect(endpoint.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(limit)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = Vec::new();
    let mut part = [0; 4096];
    while !is_complete(&response) {
        match stream.read(&mut part) {
            Ok(length) if length > 0 => response.extend_from_slice(&part[..length]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&response).into_owned()
}

/// Whether these bytes hold the head of a response, and as much of its body as the head says.
fn is_complete(response: &[u8]) -> bool {
    let text = String::from_utf8_lossy(response);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    length.is_none_or(|length: usize| body.len() >= length)
}

fn token(imds: &str) -> String {
    let put = "PUT /latest/api/token HTTP/1.1\r\nHost: x\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n";
    ask(imds, put).split("\r\n\r\n").nth(1).unwrap().to_owned()
}

fn get(imds: &str, path: &str, token: &str) -> String {
    ask(imds, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-aws-ec2-metadata-token: {token}\r\n\r\n"))
}

#[test]
fn metadata_needs_a_token_and_lists_one_name_a_line() {
    let imds = Imds::start();
    imds.change(|imds| {
        imds.tags = Some([("a".into(), "1".into()), ("ecs-bootstrap:cluster".into(), "prod".into())].into())
    });
    let at = imds.endpoint();
    assert!(get(&at, "/latest/meta-data/instance-id", "wrong").starts_with("HTTP/1.1 401"));
    let token = token(&at);
    assert!(get(&at, "/latest/meta-data/tags/instance/", &token).ends_with("\r\n\r\na\necs-bootstrap:cluster"));
    assert!(get(&at, "/latest/meta-data/tags/instance/ecs-bootstrap%3Acluster", &token).ends_with("prod"));
    assert!(get(&at, "/latest/user-data", &token).starts_with("HTTP/1.1 404"));
    imds.change(|imds| imds.fault = Fault::Off);
    assert!(get(&at, "/latest/user-data", &token).starts_with("HTTP/1.1 403"));
    assert_eq!(imds.requests().len(), 6);
}

#[test]
fn a_lost_token_is_never_answered_and_a_refused_port_opens_again() {
    let imds = Imds::start();
    imds.change(|imds| imds.fault = Fault::TokenLost);
    let put = "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n";
    assert_eq!(ask_within(&imds.endpoint(), put, Duration::from_millis(300)), "");
    imds.refuse_for(Duration::from_secs(1));
    let address = imds.endpoint().trim_start_matches("http://").parse().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(50));
    assert!(connect().is_err());
    let until = Instant::now() + Duration::from_secs(5);
    while connect().is_err() {
        assert!(Instant::now() < until);
    }
}

#[test]
fn an_unsigned_call_is_refused_as_aws_does() {
    let aws = aws::Aws::start();
    let call =
        "POST / HTTP/1.1\r\nX-Amz-Target: AmazonEC2ContainerServiceV20141113.ListClusters\r\nContent-Length: 2\r\n";
    assert!(ask(&aws.endpoint(), &format!("{call}\r\n{{}}")).contains("MissingAuthenticationTokenException"));
    let scope = "AKIASIMULATED/20260101/eu-west-1/ecs/aws4_request";
    let signed = format!("{call}Authorization: AWS4-HMAC-SHA256 Credential={scope}, Signature=0\r\n\r\n{{}}");
    assert!(ask(&aws.endpoint(), &signed).contains(r#"{"clusterArns":[]}"#));
    assert_eq!(aws.count("ListClusters"), 2);
}

#[test]
fn a_black_hole_accepts_no_connection() {
    let hole = BlackHole::open();
    let address = hole.endpoint().trim_start_matches("http://").parse().unwrap();
    let error = TcpStream::connect_timeout(&address, Duration::from_millis(150)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

#[test]
fn the_agents_database_is_read_back_as_written() {
    let disk = Disk::new();
    let state =
        AgentState { cluster: "prod".into(), container_instance_arn: "arn:x".into(), instance_id: "i-1".into() };
    disk.save_agent_state(&state);
    assert_eq!(disk.agent_state(), Some(state));
}

#[test]
fn dates_have_the_format_of_http() {
    assert_eq!(http_date(UNIX_EPOCH + Duration::from_secs(784_111_777)), "Sun, 06 Nov 1994 08:49:37 GMT");
}

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn load_unit(&self, name: &str) -> zbus::Result<zbus::OwnedObjectPath>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<zbus::OwnedObjectPath>;
    fn get_job_before(
        &self,
        id: u32,
    ) -> zbus::Result<Vec<(u32, String, String, String, zbus::OwnedObjectPath, zbus::OwnedObjectPath)>>;
}

fn with_manager<T>(instance: &Instance, body: impl AsyncFnOnce(ManagerProxy<'_>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let builder = zbus::connection::Builder::address(instance.systemd.address());
        let connection = builder.method_timeout(Duration::from_secs(5)).build().await.unwrap();
        body(ManagerProxy::new(&connection).await.unwrap()).await
    })
}

fn eventually(what: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !what() {
        assert!(Instant::now() < until, "it did not happen in time");
        std::thread::yield_now();
    }
}

#[test]
fn starting_ecs_starts_docker_and_an_agent_that_registers() {
    let instance = Instance::new().ecs_config("ECS_CLUSTER=prod\n");
    with_manager(&instance, async |manager| manager.start_unit("ecs.service", "replace").await.unwrap());
    eventually(|| instance.disk.text("var/log/ecs/ecs-agent.log").contains("Connected to ACS endpoint"));
    let metadata = ask(&instance.agent.endpoint(), "GET /v1/metadata HTTP/1.1\r\n\r\n");
    assert!(metadata.contains("container-instance/prod/"), "{metadata}");
    assert_eq!(instance.systemd.unit("docker.service").unwrap().active_state, "active");
    assert_eq!(instance.systemd.calls(), ["StartUnit ecs.service"]);
}

#[test]
fn an_agent_with_a_missing_cluster_fails_its_unit_with_status_5() {
    let instance = Instance::new().without_cluster("prod").ecs_config("ECS_CLUSTER=prod\n");
    with_manager(&instance, async |manager| manager.start_unit("ecs.service", "replace").await.unwrap());
    eventually(|| instance.systemd.unit("ecs.service").unwrap().exec_main_status == 5);
    assert_eq!(instance.systemd.unit("ecs.service").unwrap().active_state, "failed");
    assert!(instance.disk.text("var/log/ecs/ecs-agent.log").contains("Cluster not found."));
}

#[test]
fn a_job_after_cloud_final_waits_and_names_the_job_before_it() {
    let instance = Instance::new();
    instance.systemd.cloud_final_runs();
    let before = with_manager(&instance, async |manager| {
        let job = manager.start_unit("ecs.service", "replace").await.unwrap();
        let id = job.as_str().rsplit('/').next().unwrap().parse().unwrap();
        manager.get_job_before(id).await.unwrap()
    });
    assert!(before.iter().any(|job| job.1 == "cloud-final.service"));
    assert_ne!(instance.systemd.unit("ecs.service").unwrap().active_state, "active");
    instance.systemd.cloud_final_ends();
    eventually(|| instance.systemd.unit("ecs.service").unwrap().active_state == "active");
}

#[test]
fn an_unknown_unit_loads_as_not_found_and_does_not_start() {
    let instance = Instance::new();
    let error = with_manager(&instance, async |manager| {
        manager.load_unit("nosuch.service").await.unwrap();
        manager.start_unit("nosuch.service", "replace").await.unwrap_err()
    });
    assert!(error.to_string().contains("NoSuchUnit"), "{error}");
}

#[test]
fn the_product_gets_loopback_endpoints_and_no_variable_of_the_caller() {
    let outcome = Instance::new().binary("/bin/sh").env("NO_PROXY", "example.com").run(&["-c", "export -p"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let names: Vec<&str> = outcome.stdout.lines().filter_map(|line| line.split(['=', ' ']).nth(1)).collect();
    let own = ["AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_ENDPOINT_URL", "DBUS_SYSTEM_BUS_ADDRESS"];
    let others = ["ECS_BOOTSTRAP_AGENT_ENDPOINT", "ECS_BOOTSTRAP_ROOT", "HOME", "NO_PROXY", "PATH"];
    let expected: Vec<&str> = own.into_iter().chain(others).collect();
    assert!(expected.iter().all(|name| names.contains(name)), "{names:?}");
    // A shell adds its own PWD, OLDPWD and SHLVL.
    assert!(names.iter().all(|name| expected.contains(name) || ["PWD", "OLDPWD", "SHLVL"].contains(name)), "{names:?}");
}

#[test]
#[should_panic(expected = "must be on loopback")]
fn an_endpoint_that_only_starts_like_loopback_is_refused() {
    let _ = Instance::new().env("AWS_ENDPOINT_URL_ECS", "http://127.0.0.1.example.com:80");
}

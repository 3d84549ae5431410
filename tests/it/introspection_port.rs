//! The answers on the agent's port are trusted only if root owns the socket, and only if an agent of this instance can
//! give them. This holds for every command that reads them.

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::http::{Reply, Server};
use crate::support::port::Port;
use crate::support::{Instance, Outcome};

const ARN: &str = "arn:aws:ecs:eu-west-1:111122223333:container-instance/prod/0123456789abcdef0123456789abcdef";
const ID: &str = "introspection-port-taken";

/// A process that answers like a registered agent without tasks.
struct Impostor {
    server: Server,
    at: SocketAddr,
}

impl Impostor {
    fn answering(cluster: &str, arn: &str) -> Impostor {
        let port = Port::reserve(std::net::Ipv4Addr::LOCALHOST.into());
        let at = port.address();
        let metadata = serde_json::json!({"Cluster": cluster, "ContainerInstanceArn": arn,
            "Version": "Amazon ECS Agent - v1.105.1 (*a8b3e7d3)"})
        .to_string();
        let server = Server::on_port(port, move |request| {
            let body = if request.path == "/v1/tasks" { r#"{"Tasks":[]}"#.to_owned() } else { metadata.clone() };
            Reply::new(200, "application/json", body).into()
        });
        Impostor { server, at }
    }

    /// An instance where this process, run by `uid`, has taken the agent's port.
    fn beside(&self, instance: Instance, uid: u32) -> Instance {
        let instance = instance.env("ECS_BOOTSTRAP_AGENT_ENDPOINT", self.server.endpoint());
        let instance = instance.agent_behaves(|agent| agent.port_taken = true);
        instance.disk.listens(self.at, uid);
        instance
    }
}

fn reports_port_taken(outcome: &Outcome, seen: &str) {
    let output = format!("{}{}", outcome.stdout, outcome.stderr);
    assert_eq!(outcome.code, Some(24), "{output}");
    assert!(output.contains(ID) && output.contains(seen), "no `{seen}` in {output}");
    assert!(!output.contains("ready: "), "{output}");
}

#[test]
fn no_command_trusts_an_unprivileged_listener() {
    let impostor = Impostor::answering("prod", ARN);
    for command in [
        &["run", "--wait", "--set", "verify.deadline=20s"][..],
        &["verify", "--set", "verify.deadline=20s"],
        &["doctor"],
        &["reset-agent", "--yes"],
        &["prepare-image", "--yes"],
    ] {
        for uid in [1000, 1, 65534] {
            let instance = impostor.beside(Instance::new(), uid);
            if command[0] != "run" {
                assert_eq!(instance.run(&["run", "--no-wait"]).code, Some(0));
            }
            reports_port_taken(&instance.run(command), &format!("belongs to uid {uid}, not to root"));
            let status = instance.disk.text("run/ecs-bootstrap/status.json");
            assert!(!status.contains("\"ready\"") && !status.contains(ARN), "{status}");
            assert!(!instance.run(&["status"]).stdout.contains("ready: "));
        }
    }
}

#[test]
fn the_same_answers_on_a_socket_of_root_are_trusted() {
    let impostor = Impostor::answering("prod", ARN);
    let instance = impostor.beside(Instance::new(), 0).aws_fault(
        "DescribeContainerInstances",
        crate::support::aws::Fault::error(400, "AccessDeniedException", "not authorized"),
    );
    let outcome = instance.run(&["run", "--wait", "--set", "verify.deadline=20s"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stdout.contains(ARN), "{}", outcome.stdout);
}

#[test]
fn a_listener_is_not_trusted_if_the_socket_table_lacks_the_port_or_is_unreadable() {
    let impostor = Impostor::answering("prod", ARN);
    let instance = impostor.beside(Instance::new(), 0);
    assert_eq!(instance.run(&["run", "--no-wait"]).code, Some(0));
    instance.disk.stops_listening();
    reports_port_taken(&instance.run(&["doctor"]), "no socket of this host listens on the port");
    instance.disk.remove("proc/net/tcp");
    instance.disk.folder("proc/net/tcp");
    reports_port_taken(&instance.run(&["doctor"]), "the owner of the port is unknown");
}

#[test]
fn an_impossible_answer_is_not_trusted_even_from_root() {
    let other = |from: &str, to: &str| ARN.replace(from, to);
    for (cluster, arn, seen) in [
        ("prod", other("eu-west-1", "us-east-1"), "has region `us-east-1`"),
        ("prod", other("111122223333", "999988887777"), "has account `999988887777`"),
        ("prod", other(":container-instance/", ":task/"), "is not the ARN of a container instance"),
        ("prod", "yes".to_owned(), "`yes` is not the ARN"),
        ("prod", format!("{ARN}\u{1b}[2Jerror: [forged]"), "is not the ARN"),
        ("prod", format!("{ARN}{}", "a".repeat(900 * 1024)), "is not the ARN"),
        ("a b\nc", ARN.to_owned(), "cannot be a cluster"),
    ] {
        let impostor = Impostor::answering(cluster, &arn);
        let instance = impostor.beside(Instance::new(), 0);
        let outcome = instance.run(&["run", "--wait", "--set", "verify.deadline=20s"]);
        reports_port_taken(&outcome, seen);
        assert!(!outcome.stderr.contains('\u{1b}') && outcome.stderr.len() < 4096, "{}", outcome.stderr);
    }
}

#[test]
fn an_unprivileged_listener_causes_no_success_signal() {
    let impostor = Impostor::answering("prod", ARN);
    let instance = impostor.beside(Instance::new(), 1000);
    let instance = instance.setting_file("etc/ecs-bootstrap/config.toml", "[signal]\ninstance-tags = true\n");
    let outcome = instance.run(&["run", "--wait", "--json", "--set", "verify.deadline=20s"]);
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&document["verdict"], &document["cause"]["id"]), (&"failed".into(), &ID.into()));
    assert_eq!(document["signals"][0]["status"], "failed", "{document}");
}

#[test]
fn tasks_that_only_docker_knows_stop_the_command() {
    for command in ["reset-agent", "prepare-image"] {
        let instance = Instance::new();
        assert_eq!(instance.run(&["run", "--wait"]).code, Some(0));
        instance.docker.change(|docker| docker.tasks = vec![9]);
        let outcome = instance.run(&[command, "--yes"]);
        assert_eq!(outcome.code, Some(24), "{}", outcome.stderr);
        assert!(
            outcome.stderr.contains("[tasks-running]") && outcome.stderr.contains("task/prod/9"),
            "{}",
            outcome.stderr
        );
    }
}

#[test]
fn with_the_port_taken_force_uses_the_tasks_of_docker() {
    let impostor = Impostor::answering("prod", ARN);
    let instance = impostor.beside(Instance::new(), 1000);
    assert_eq!(instance.run(&["run", "--no-wait"]).code, Some(0));
    let list = instance.run(&["reset-agent"]);
    assert!(list.stdout.contains(&format!("refused: [{ID}]")), "{}", list.stdout);
    assert!(!list.stdout.contains(ARN), "{}", list.stdout);
    let outcome = instance.run(&["reset-agent", "--yes", "--force"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

#[test]
fn tasks_are_unknown_if_docker_failed_and_none_if_it_was_stopped() {
    for (state, code) in [("failed", 24), ("activating", 24), ("inactive", 0)] {
        let instance = Instance::new();
        assert_eq!(instance.run(&["run", "--wait"]).code, Some(0));
        instance.systemd.change_unit("ecs.service", |unit| unit.active_state = "inactive".into());
        instance.agent.stop();
        instance.docker.stop();
        // Docker leaves its socket behind.
        drop(std::os::unix::net::UnixListener::bind(instance.disk.path("run/docker.sock")).or_else(|_| {
            instance.disk.remove("run/docker.sock");
            std::os::unix::net::UnixListener::bind(instance.disk.path("run/docker.sock"))
        }));
        instance.systemd.change_unit("docker.service", |unit| unit.active_state = state.into());
        let outcome = instance.run(&["reset-agent", "--yes"]);
        assert_eq!(outcome.code, Some(code), "{state}: {}", outcome.stderr);
        assert_eq!(outcome.stderr.contains("[tasks-unknown]"), code == 24, "{state}: {}", outcome.stderr);
    }
}

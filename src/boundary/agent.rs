//! A client of the ECS agent's introspection endpoint: the agent's registration and its tasks.
//!
//! In: an address (`127.0.0.1:51678`, or the value of `--agent-endpoint`). Out: cluster, container instance ARN,
//! version and tasks of the agent, each as a [`Claim`]. A claim must be checked before it is used, because any user may
//! listen on this port. The agent answers status 200 to unknown paths too, with a list of the known ones ("Amazon ECS
//! container agent introspection", Amazon ECS Developer Guide); such an answer is an error.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use nix::libc;
use reqwest::Url;
use tokio::time::Instant;

use super::disk::Disk;
use super::docker::Docker;
use super::listeners::Listener;
use super::local_http::{self, LocalError};
use super::net::{self, NetError};
use super::socket_owner::{Owner, Port};
use crate::retry::Deadline;

/// The time-out for one request. The agent answers from memory, within milliseconds.
const MAX_ATTEMPT_TIME: Duration = Duration::from_secs(1);
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:51678";
/// The most attempts if the listening socket changes during a request.
const ATTEMPTS: u32 = 2;

/// A client of the agent's introspection endpoint.
#[derive(Clone, Debug)]
pub struct Agent {
    client: reqwest::Client,
    endpoint: Url,
    port: Port,
}

/// An unchecked answer from the agent's port, and the owner of the socket that sent it. [`Claim::trusted`] checks it.
#[derive(Clone, Debug)]
pub struct Claim<T> {
    answer: T,
    url: String,
    owner: Owner,
}

impl<T> Claim<T> {
    /// The answer if root or the agent's container owns the socket, and `wrong` finds no value that an agent cannot
    /// have; otherwise [`AgentError::Untrusted`].
    pub fn trusted(self, wrong: impl FnOnce(&T) -> Option<String>) -> Result<T, AgentError> {
        let Claim { answer, url, owner } = self;
        let why = match owner {
            Owner::Trusted => wrong(&answer),
            Owner::Other(why) => Some(why),
            Owner::Changed => Some("the listening socket changed during the request".to_owned()),
        };
        match why {
            None => Ok(answer),
            Some(why) => Err(AgentError::Untrusted { url, why }),
        }
    }
}

/// The agent's registration and version (`/v1/metadata`).
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all(deserialize = "PascalCase"))]
pub struct AgentMetadata {
    /// The configured cluster, a name or an ARN.
    pub cluster: String,
    /// The ARN of the container instance; empty if the agent has not registered.
    #[serde(default, deserialize_with = "empty_when_null")]
    pub container_instance_arn: String,
    /// The agent's version, for example `Amazon ECS Agent - v1.105.1 (*a8b3e7d3)`.
    #[serde(default)]
    pub version: String,
}

/// A task that the agent knows, in any state (`ecs-agent/introspection/v1/response.go`).
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all(deserialize = "PascalCase"))]
pub struct Task {
    /// The ARN of the task.
    pub arn: String,
    /// The family of its task definition.
    #[serde(default)]
    pub family: String,
    /// The revision of its task definition.
    #[serde(default)]
    pub version: String,
    /// The last state that the agent knows: `PENDING`, `RUNNING`, `STOPPED`, ...
    #[serde(default)]
    pub known_status: String,
}

/// The answer to `/v1/tasks`. `Tasks` is required: an answer without it is the one to an unknown path.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tasks {
    #[serde(deserialize_with = "empty_when_null")]
    tasks: Vec<Task>,
}

fn empty_when_null<'de, T: Default + serde::Deserialize<'de>, D: serde::Deserializer<'de>>(
    value: D,
) -> Result<T, D::Error> {
    <Option<T> as serde::Deserialize>::deserialize(value).map(Option::unwrap_or_default)
}

/// Why a request to the agent failed.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The configured endpoint is not the address of an agent.
    #[error("the agent endpoint `{endpoint}` {why}")]
    BadEndpoint {
        /// The configured text.
        endpoint: String,
        /// The second half of the message.
        why: &'static str,
    },
    /// No process listens on the port: the agent does not run, or has not registered yet.
    #[error("the agent does not accept connections at {url}")]
    Refused {
        /// The URL of the request.
        url: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// The agent did not answer in time.
    #[error("the agent did not answer {url} within {} ms", waited.as_millis())]
    TimedOut {
        /// The URL of the request.
        url: String,
        /// How long the client waited.
        waited: Duration,
    },
    /// The agent answered with an error.
    #[error("the agent answered {url} with status {status}")]
    Status {
        /// The URL of the request.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The answer is incomplete, or another program sent it.
    #[error("the answer to {url} is not from an ECS agent")]
    InvalidResponse {
        /// The URL of the request.
        url: String,
        /// The error of the HTTP or JSON parser.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer has the form of an agent's answer, but it is not proved that the agent sent it.
    #[error("the answer to {url} is not trusted: {why}")]
    Untrusted {
        /// The URL of the request.
        url: String,
        /// The owner of the socket, or the value that an agent cannot have.
        why: String,
    },
}

impl Agent {
    /// A client for the agent at `endpoint`, an `http` URL with an IP address or `localhost`. The owner of the port is
    /// looked up below `disk`; `docker` is asked whether it is the agent's container.
    pub fn new(endpoint: Option<&str>, disk: Disk, docker: Docker) -> Result<Agent, AgentError> {
        let endpoint = endpoint.unwrap_or(DEFAULT_ENDPOINT);
        let bad = |why| AgentError::BadEndpoint { endpoint: endpoint.to_owned(), why };
        let mut url = Url::parse(endpoint).map_err(|_| bad("is not a URL"))?;
        if url.scheme() != "http" {
            return Err(bad("does not begin with `http://`"));
        }
        // No host names: a static binary cannot load the system's resolver everywhere. `localhost` is always 127.0.0.1,
        // because the agent does not listen on ::1.
        let host = url.host_str().map(|host| host.trim_matches(['[', ']']).to_owned());
        let address = match host.as_deref() {
            Some("localhost") => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Some(host) => host.parse().map_err(|_| bad("must have an IP address as its host"))?,
            None => return Err(bad("must have an IP address as its host")),
        };
        url.set_ip_host(address).map_err(|()| bad("must have an IP address as its host"))?;
        url.set_path("/");
        url.set_query(None);
        let client = local_http::client().build().expect("a client without TLS depends on no file");
        let at = SocketAddr::new(address, url.port_or_known_default().unwrap_or_default());
        Ok(Agent { client, endpoint: url, port: Port::new(at, disk, docker) })
    }

    /// The unchecked metadata of the agent. Waits at most a second.
    pub async fn metadata(&self, deadline: Deadline) -> Result<Claim<AgentMetadata>, AgentError> {
        self.claim("/v1/metadata", deadline).await
    }

    /// The sockets that listen on the agent's port, with their processes; `None` if they are unknown.
    pub fn listeners(&self) -> Option<Vec<Listener>> {
        self.port.listeners_with_processes()
    }

    /// All tasks that the agent knows, including stopped tasks, unchecked. Waits at most a second.
    pub async fn tasks(&self, deadline: Deadline) -> Result<Claim<Vec<Task>>, AgentError> {
        let Claim { answer: Tasks { tasks }, url, owner } = self.claim("/v1/tasks", deadline).await?;
        Ok(Claim { answer: tasks, url, owner })
    }

    async fn claim<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        deadline: Deadline,
    ) -> Result<Claim<T>, AgentError> {
        let deadline = deadline.earliest(Deadline::after(MAX_ATTEMPT_TIME));
        self.accepts(path, deadline).await?;
        let mut attempt = 1;
        loop {
            let before = self.port.listeners();
            let answer = self.get(path, deadline).await?;
            let owner = self.port.owner(before, deadline).await;
            // Another attempt: the agent may have started to listen during the first one.
            if owner != Owner::Changed || attempt == ATTEMPTS {
                return Ok(Claim { answer, url: self.url(path).to_string(), owner });
            }
            attempt += 1;
        }
    }

    /// Whether a process accepts connections on the port. The request could answer that too, but before it the sockets are
    /// looked up, and verify asks ten times a second.
    async fn accepts(&self, path: &str, deadline: Deadline) -> Result<(), AgentError> {
        let start = Instant::now();
        let url = || self.url(path).to_string();
        match net::connect(&[self.port.at], deadline).await {
            Err(NetError::Refused { .. }) => {
                Err(AgentError::Refused { url: url(), source: io::Error::from_raw_os_error(libc::ECONNREFUSED) })
            }
            Err(NetError::Timeout { .. }) => Err(AgentError::TimedOut { url: url(), waited: start.elapsed() }),
            // The request has the better error.
            _ => Ok(()),
        }
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.endpoint.clone();
        url.set_path(path);
        url
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str, deadline: Deadline) -> Result<T, AgentError> {
        let target = self.url(path);
        let url = target.to_string();
        let answer = local_http::get(&self.client, target, MAX_ATTEMPT_TIME, deadline).await;
        let (status, body) = match answer {
            Ok(answer) => answer,
            Err(LocalError::NotConnected(source)) => return Err(AgentError::Refused { url, source }),
            Err(LocalError::TimedOut(waited)) => return Err(AgentError::TimedOut { url, waited }),
            Err(LocalError::Broken(e)) => return Err(AgentError::InvalidResponse { url, source: Box::new(e) }),
            Err(LocalError::TooLong(beginning)) => {
                return Err(AgentError::InvalidResponse {
                    url,
                    source: format!("it is longer than {} bytes", beginning.len()).into(),
                });
            }
        };
        if !status.is_success() {
            return Err(AgentError::Status { url, status: status.as_u16() });
        }
        serde_json::from_slice(&body).map_err(|e| AgentError::InvalidResponse { url, source: Box::new(e) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::local_http::tests::{run, soon, tcp_server};

    /// An agent on a host without docker.
    fn agent(endpoint: &str) -> Result<Agent, AgentError> {
        agent_below(std::path::Path::new("/nowhere"), endpoint)
    }

    fn agent_below(root: &std::path::Path, endpoint: &str) -> Result<Agent, AgentError> {
        let disk = Disk::new(root.to_owned());
        let docker = Docker::new(disk.path("/run/docker.sock"));
        Agent::new(Some(endpoint), disk, docker)
    }

    /// The answer without a check of the socket's owner.
    fn metadata(answer: &'static [u8]) -> Result<AgentMetadata, AgentError> {
        let agent = agent(&format!("http://{}", tcp_server(answer))).unwrap();
        run(agent.metadata(soon())).map(|claim| claim.answer)
    }

    #[test]
    fn reads_the_metadata_of_a_registered_agent() {
        let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"Cluster\":\"prod\",\"ContainerInstanceArn\":\
            \"arn:aws:ecs:eu-west-1:111122223333:container-instance/prod/0123abcd\",\
            \"Version\":\"Amazon ECS Agent - v1.105.1\"}";
        let metadata = metadata(answer).unwrap();
        assert_eq!(metadata.cluster, "prod");
        assert!(metadata.container_instance_arn.ends_with("/prod/0123abcd"));
    }

    #[test]
    fn an_agent_that_has_not_registered_has_an_empty_arn() {
        for body in ["{\"Cluster\":\"prod\",\"ContainerInstanceArn\":null}", "{\"Cluster\":\"prod\"}"] {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            assert_eq!(metadata(answer.leak().as_bytes()).unwrap().container_instance_arn, "", "{body}");
        }
    }

    #[test]
    fn reads_the_tasks_and_rejects_an_answer_without_them() {
        let tasks = |body: &str| {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let agent = agent(&format!("http://{}", tcp_server(answer.leak().as_bytes()))).unwrap();
            run(agent.tasks(soon())).map(|claim| claim.answer)
        };
        let one =
            r#"{"Tasks":[{"Arn":"arn:t/1","KnownStatus":"RUNNING","Family":"web","Version":"3","Containers":[]}]}"#;
        let found = tasks(one).unwrap();
        assert_eq!((found.len(), found[0].family.as_str(), found[0].known_status.as_str()), (1, "web", "RUNNING"));
        assert!(tasks(r#"{"Tasks":[]}"#).unwrap().is_empty() && tasks(r#"{"Tasks":null}"#).unwrap().is_empty());
        let commands = tasks(r#"{"AvailableCommands":["/v1/metadata"]}"#);
        assert!(matches!(commands, Err(AgentError::InvalidResponse { .. })), "{commands:?}");
    }

    #[test]
    fn a_closed_port_is_refused() {
        let port = crate::boundary::test_server::ClosedPort::take();
        let agent = agent(&format!("http://{}", port.address())).unwrap();
        let error = run(agent.metadata(soon())).unwrap_err();
        assert!(
            matches!(&error, AgentError::Refused { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused)
        );
    }

    #[test]
    fn an_agent_that_hangs_is_silent_within_the_deadline() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let agent = agent(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let error = run(agent.metadata(Deadline::after(Duration::from_millis(50)))).unwrap_err();
        assert!(matches!(error, AgentError::TimedOut { waited, .. } if waited < Duration::from_secs(1)));
    }

    #[test]
    fn distinguishes_an_error_status_from_a_broken_answer() {
        let status = metadata(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").unwrap_err();
        assert!(matches!(status, AgentError::Status { status: 404, .. }));
        let broken: [&[u8]; 4] = [
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"Cluster\"",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            b"",
        ];
        for answer in broken {
            let error = metadata(answer).unwrap_err();
            assert!(matches!(error, AgentError::InvalidResponse { .. }), "{error:?}");
        }
    }

    #[test]
    fn an_endpoint_is_an_http_url_with_an_address() {
        for bad in ["127.0.0.1:51678", "https://127.0.0.1", "http://agent.internal:51678", "unix:///run/agent"] {
            assert!(matches!(agent(bad), Err(AgentError::BadEndpoint { .. })), "{bad}");
        }
        for good in ["http://localhost:51678", "http://127.0.0.1:51678/", "http://[::1]:51678/v1"] {
            assert!(agent(good).is_ok(), "{good}");
        }
        assert_eq!(agent("http://localhost:1/v1").unwrap().endpoint.as_str(), "http://127.0.0.1:1/");
    }

    const METADATA: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{\"Cluster\":\"prod\"}";

    /// Writes a table with one socket that listens on this address.
    #[expect(clippy::disallowed_methods, reason = "the test creates its own files")]
    fn table(root: &std::path::Path, at: SocketAddr, uid: u32) {
        std::fs::create_dir_all(root.join("proc/net")).unwrap();
        let line = format!("0: 0100007F:{:04X} 00000000:0000 0A 0:0 0:0 0 {uid} 0 4711 1\n", at.port());
        std::fs::write(root.join("proc/net/tcp"), line).unwrap();
    }

    #[test]
    fn only_a_socket_of_root_is_trusted() {
        let server = |uid: Option<u32>| {
            let root = tempfile::tempdir().unwrap();
            let at = tcp_server(METADATA);
            if let Some(uid) = uid {
                table(root.path(), at, uid);
            }
            let claim = run(agent_below(root.path(), &format!("http://{at}")).unwrap().metadata(soon())).unwrap();
            claim.trusted(|_| None)
        };
        assert_eq!(server(Some(0)).unwrap().cluster, "prod");
        for uid in [1, 1000, 65_534, u32::MAX] {
            let error = server(Some(uid)).unwrap_err().to_string();
            assert!(error.contains(&format!("belongs to uid {uid}, not to root")), "{error}");
        }
        // Without a table below the root the table of this process is used. There, this user owns the server.
        let own = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap());
        assert_eq!(server(None).is_ok(), own == 0);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test creates its own files")]
    fn an_unlisted_port_and_an_unreadable_table_are_not_trusted() {
        let root = tempfile::tempdir().unwrap();
        let at = tcp_server(METADATA);
        table(root.path(), SocketAddr::new(at.ip(), at.port() ^ 1), 0);
        let error = || {
            let claim = run(agent_below(root.path(), &format!("http://{at}")).unwrap().metadata(soon())).unwrap();
            claim.trusted(|_| None).unwrap_err().to_string()
        };
        assert!(error().ends_with("no socket of this host listens on the port"), "{}", error());
        std::fs::remove_file(root.path().join("proc/net/tcp")).unwrap();
        std::fs::create_dir(root.path().join("proc/net/tcp")).unwrap();
        assert!(error().contains("the owner of the port is unknown"), "{}", error());
    }

    #[test]
    fn an_answer_with_an_impossible_value_is_not_trusted() {
        let root = tempfile::tempdir().unwrap();
        let at = tcp_server(METADATA);
        table(root.path(), at, 0);
        let claim = run(agent_below(root.path(), &format!("http://{at}")).unwrap().metadata(soon())).unwrap();
        let error = claim.trusted(|answer| Some(format!("`{}` is not a cluster", answer.cluster))).unwrap_err();
        assert!(error.to_string().ends_with("is not trusted: `prod` is not a cluster"), "{error}");
    }
}

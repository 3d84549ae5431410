//! Asks the ECS agent's introspection endpoint whether it has registered, and which tasks it has.
//!
//! In: an address (`127.0.0.1:51678` unless `--agent-endpoint` says otherwise). Out: cluster, container instance ARN and
//! version as the agent has them, and its tasks, each as a [`Claim`] that must be checked before it can be used: any user
//! may listen on this port. It never takes the answer to an unknown path for one of these: the agent answers 200 to every
//! path ("Amazon ECS container agent introspection", Amazon ECS Developer Guide).

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use reqwest::Url;

use super::disk::Disk;
use super::docker::Docker;
use super::kernel::Listener;
use super::listener::{Owner, Port};
use super::local::{self, LocalError};
use crate::retry::Deadline;

/// The agent answers from memory; a second is an age.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(1);
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:51678";
/// How often the same is asked when another socket has taken the place of the first meanwhile.
const ATTEMPTS: u32 = 2;

/// The agent's introspection endpoint.
#[derive(Clone, Debug)]
pub struct Agent {
    client: reqwest::Client,
    endpoint: Url,
    port: Port,
}

/// What was answered on the agent's port, and who owns the socket that answered. Nothing of it can be used before
/// [`Claim::trusted`] has checked it.
#[derive(Clone, Debug)]
pub struct Claim<T> {
    said: T,
    url: String,
    owner: Owner,
}

impl<T> Claim<T> {
    /// The answer, where root or the agent's container owns the socket and `wrong` finds nothing that an agent would not
    /// say; else [`AgentError::Untrusted`].
    pub fn trusted(self, wrong: impl FnOnce(&T) -> Option<String>) -> Result<T, AgentError> {
        let Claim { said, url, owner } = self;
        let why = match owner {
            Owner::Trusted => wrong(&said),
            Owner::Other(why) => Some(why),
            Owner::Changed => Some("another socket has begun to listen there meanwhile".to_owned()),
        };
        match why {
            None => Ok(said),
            Some(why) => Err(AgentError::Untrusted { url, why }),
        }
    }
}

/// What the agent says of itself.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all(deserialize = "PascalCase"))]
pub struct Metadata {
    /// The configured text, a name or an ARN.
    pub cluster: String,
    /// Empty as long as the agent has not registered.
    #[serde(default, deserialize_with = "empty_when_null")]
    pub container_instance_arn: String,
    /// As in `Amazon ECS Agent - v1.105.1 (*a8b3e7d3)`.
    #[serde(default)]
    pub version: String,
}

/// A task that the agent knows, whatever has become of it (`ecs-agent/introspection/v1/response.go`).
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all(deserialize = "PascalCase"))]
pub struct Task {
    /// Its ARN.
    pub arn: String,
    /// The family of its task definition.
    #[serde(default)]
    pub family: String,
    /// The revision of its task definition.
    #[serde(default)]
    pub version: String,
    /// `PENDING`, `RUNNING`, `STOPPED`, ... as the agent last saw it.
    #[serde(default)]
    pub known_status: String,
}

/// The list is never left out: another answer is that to an unknown path.
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

/// Why the agent gave no metadata.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The setting is no address of an agent.
    #[error("the agent endpoint `{endpoint}` {why}")]
    BadEndpoint {
        /// As written.
        endpoint: String,
        /// Goes on after it.
        why: &'static str,
    },
    /// Nothing listens: the agent does not run, or has not registered yet.
    #[error("the agent does not accept connections at {url}")]
    Refused {
        /// What was asked.
        url: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// It does not answer.
    #[error("the agent did not answer {url} within {} ms", waited.as_millis())]
    Silent {
        /// What was asked.
        url: String,
        /// For how long.
        waited: Duration,
    },
    /// It answers, but not with metadata.
    #[error("the agent answered {url} with status {status}")]
    Status {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// It answers with something else than its metadata.
    #[error("the answer to {url} is not an agent's")]
    Garbled {
        /// What was asked.
        url: String,
        /// Where it breaks off or differs.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It answers like an agent, and nothing proves that it is one.
    #[error("the answer to {url} is not believed: {why}")]
    Untrusted {
        /// What was asked.
        url: String,
        /// Who owns the socket, or what an agent would not say.
        why: String,
    },
}

impl Agent {
    /// The agent at `endpoint`, an `http` URL with an IP address or `localhost`. Who listens there is looked up below
    /// `disk`, and whether it is the agent's container is asked of `docker`.
    pub fn new(endpoint: Option<&str>, disk: Disk, docker: Docker) -> Result<Agent, AgentError> {
        let endpoint = endpoint.unwrap_or(DEFAULT_ENDPOINT);
        let bad = |why| AgentError::BadEndpoint { endpoint: endpoint.to_owned(), why };
        let mut url = Url::parse(endpoint).map_err(|_| bad("is not a URL"))?;
        if url.scheme() != "http" {
            return Err(bad("does not begin with `http://`"));
        }
        // A name would go through the system's resolver, which a static binary cannot load everywhere; and `localhost`
        // may mean ::1, where the agent does not listen.
        let host = url.host_str().map(|host| host.trim_matches(['[', ']']).to_owned());
        let address = match host.as_deref() {
            Some("localhost") => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Some(host) => host.parse().map_err(|_| bad("names a host where an IP address is wanted"))?,
            None => return Err(bad("names a host where an IP address is wanted")),
        };
        url.set_ip_host(address).map_err(|()| bad("cannot hold an address"))?;
        url.set_path("/");
        url.set_query(None);
        let client = local::client().build().expect("a client without TLS reads nothing that could be missing");
        let at = SocketAddr::new(address, url.port_or_known_default().unwrap_or_default());
        Ok(Agent { client, endpoint: url, port: Port::new(at, disk, docker) })
    }

    /// What is said on the agent's port about the agent. Asks for a second at most.
    pub async fn metadata(&self, deadline: Deadline) -> Result<Claim<Metadata>, AgentError> {
        self.claim("/v1/metadata", deadline).await
    }

    /// Who listens on the agent's port; `None` where that cannot be seen.
    pub fn listeners(&self) -> Option<Vec<Listener>> {
        self.port.listeners_with_processes()
    }

    /// All tasks that the agent knows, stopped ones too. Asks for a second at most.
    pub async fn tasks(&self, deadline: Deadline) -> Result<Claim<Vec<Task>>, AgentError> {
        let Claim { said: Tasks { tasks }, url, owner } = self.claim("/v1/tasks", deadline).await?;
        Ok(Claim { said: tasks, url, owner })
    }

    async fn claim<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        deadline: Deadline,
    ) -> Result<Claim<T>, AgentError> {
        let deadline = deadline.earliest(Deadline::after(LONGEST_ATTEMPT));
        let mut attempt = 1;
        loop {
            let before = self.port.listeners();
            let said = self.get(path, deadline).await?;
            let owner = self.port.owner(before, deadline).await;
            // An agent that has just begun to listen is not blamed for it.
            if owner != Owner::Changed || attempt == ATTEMPTS {
                return Ok(Claim { said, url: self.url(path).to_string(), owner });
            }
            attempt += 1;
        }
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.endpoint.clone();
        url.set_path(path);
        url
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str, deadline: Deadline) -> Result<T, AgentError> {
        let asked = self.url(path);
        let url = asked.to_string();
        let answer = local::get(&self.client, asked, LONGEST_ATTEMPT, deadline).await;
        let (status, body) = match answer {
            Ok(answer) => answer,
            Err(LocalError::NotConnected(source)) => return Err(AgentError::Refused { url, source }),
            Err(LocalError::Silent(waited)) => return Err(AgentError::Silent { url, waited }),
            Err(LocalError::Broken(e)) => return Err(AgentError::Garbled { url, source: Box::new(e) }),
            Err(LocalError::TooLong(limit)) => {
                return Err(AgentError::Garbled { url, source: format!("it is longer than {limit} bytes").into() });
            }
        };
        if !status.is_success() {
            return Err(AgentError::Status { url, status: status.as_u16() });
        }
        serde_json::from_slice(&body).map_err(|e| AgentError::Garbled { url, source: Box::new(e) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::local::tests::{run, soon, tcp_server};

    /// An agent on a host without docker.
    fn agent(endpoint: &str) -> Result<Agent, AgentError> {
        agent_below(std::path::Path::new("/nowhere"), endpoint)
    }

    fn agent_below(root: &std::path::Path, endpoint: &str) -> Result<Agent, AgentError> {
        let disk = Disk::new(root.to_owned());
        let docker = Docker::new(disk.path("/run/docker.sock"));
        Agent::new(Some(endpoint), disk, docker)
    }

    /// What is said, whoever says it.
    fn ask(answer: &'static [u8]) -> Result<Metadata, AgentError> {
        let agent = agent(&format!("http://{}", tcp_server(answer))).unwrap();
        run(agent.metadata(soon())).map(|claim| claim.said)
    }

    #[test]
    fn reads_what_a_registered_agent_says() {
        let metadata = ask(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"Cluster\":\"prod\",\"ContainerInstanceArn\":\
            \"arn:aws:ecs:eu-west-1:111122223333:container-instance/prod/0123abcd\",\"Version\":\"Amazon ECS Agent - v1.105.1\"}")
        .unwrap();
        assert_eq!(metadata.cluster, "prod");
        assert!(metadata.container_instance_arn.ends_with("/prod/0123abcd"));
    }

    #[test]
    fn an_agent_that_has_not_registered_has_an_empty_arn() {
        for body in ["{\"Cluster\":\"prod\",\"ContainerInstanceArn\":null}", "{\"Cluster\":\"prod\"}"] {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            assert_eq!(ask(answer.leak().as_bytes()).unwrap().container_instance_arn, "", "{body}");
        }
    }

    #[test]
    fn reads_the_tasks_and_takes_nothing_else_for_none() {
        let tasks = |body: &str| {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let agent = agent(&format!("http://{}", tcp_server(answer.leak().as_bytes()))).unwrap();
            run(agent.tasks(soon())).map(|claim| claim.said)
        };
        let one =
            r#"{"Tasks":[{"Arn":"arn:t/1","KnownStatus":"RUNNING","Family":"web","Version":"3","Containers":[]}]}"#;
        let found = tasks(one).unwrap();
        assert_eq!((found.len(), found[0].family.as_str(), found[0].known_status.as_str()), (1, "web", "RUNNING"));
        assert!(tasks(r#"{"Tasks":[]}"#).unwrap().is_empty() && tasks(r#"{"Tasks":null}"#).unwrap().is_empty());
        let commands = tasks(r#"{"AvailableCommands":["/v1/metadata"]}"#);
        assert!(matches!(commands, Err(AgentError::Garbled { .. })), "{commands:?}");
    }

    #[test]
    fn a_closed_port_is_refused() {
        let port = crate::boundary::loopback::ClosedPort::take();
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
        assert!(matches!(error, AgentError::Silent { waited, .. } if waited < Duration::from_secs(1)));
    }

    #[test]
    fn another_status_garbage_and_half_an_answer_are_told_apart() {
        let status = ask(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").unwrap_err();
        assert!(matches!(status, AgentError::Status { status: 404, .. }));
        let broken: [&[u8]; 4] = [
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"Cluster\"",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            b"",
        ];
        for answer in broken {
            let error = ask(answer).unwrap_err();
            assert!(matches!(error, AgentError::Garbled { .. }), "{error:?}");
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

    /// A table with one socket that listens on this address.
    #[expect(clippy::disallowed_methods, reason = "a host of the test's own")]
    fn table(root: &std::path::Path, at: SocketAddr, uid: u32) {
        std::fs::create_dir_all(root.join("proc/net")).unwrap();
        let line = format!("0: 0100007F:{:04X} 00000000:0000 0A 0:0 0:0 0 {uid} 0 4711 1\n", at.port());
        std::fs::write(root.join("proc/net/tcp"), line).unwrap();
    }

    #[test]
    fn only_a_socket_of_root_is_believed() {
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
            assert!(error.contains(&format!("is of uid {uid}, not of root")), "{error}");
        }
        // Without a table below the root that of this process decides, in which the server is of this user.
        let own = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap());
        assert_eq!(server(None).is_ok(), own == 0);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a host of the test's own")]
    fn a_port_of_which_the_table_knows_nothing_and_an_unreadable_table_are_not_believed() {
        let root = tempfile::tempdir().unwrap();
        let at = tcp_server(METADATA);
        table(root.path(), SocketAddr::new(at.ip(), at.port() ^ 1), 0);
        let asked = || {
            let claim = run(agent_below(root.path(), &format!("http://{at}")).unwrap().metadata(soon())).unwrap();
            claim.trusted(|_| None).unwrap_err().to_string()
        };
        assert!(asked().ends_with("no socket of this host listens there"), "{}", asked());
        std::fs::remove_file(root.path().join("proc/net/tcp")).unwrap();
        std::fs::create_dir(root.path().join("proc/net/tcp")).unwrap();
        assert!(asked().contains("it cannot be seen who listens there"), "{}", asked());
    }

    #[test]
    fn an_answer_that_no_agent_gives_is_not_believed() {
        let root = tempfile::tempdir().unwrap();
        let at = tcp_server(METADATA);
        table(root.path(), at, 0);
        let claim = run(agent_below(root.path(), &format!("http://{at}")).unwrap().metadata(soon())).unwrap();
        let error = claim.trusted(|said| Some(format!("`{}` is no cluster", said.cluster))).unwrap_err();
        assert!(error.to_string().ends_with("is not believed: `prod` is no cluster"), "{error}");
    }
}

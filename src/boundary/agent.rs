//! Asks the ECS agent's introspection endpoint whether it has registered, and which tasks it has.
//!
//! In: an address (`127.0.0.1:51678` unless `--agent-endpoint` says otherwise). Out: cluster, container instance ARN and
//! version as the agent has them, and its tasks. It never takes the answer to an unknown path for one of these: the agent
//! answers 200 to every path ("Amazon ECS container agent introspection", Amazon ECS Developer Guide).

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use reqwest::Url;

use super::local::{self, LocalError};
use crate::retry::Deadline;

/// The agent answers from memory; a second is an age.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(1);
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:51678";

/// The agent's introspection endpoint.
#[derive(Clone, Debug)]
pub struct Agent {
    client: reqwest::Client,
    endpoint: Url,
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
}

impl Agent {
    /// The agent at `endpoint`, an `http` URL with an IP address or `localhost`.
    pub fn new(endpoint: Option<&str>) -> Result<Agent, AgentError> {
        let endpoint = endpoint.unwrap_or(DEFAULT_ENDPOINT);
        let bad = |why| AgentError::BadEndpoint { endpoint: endpoint.to_owned(), why };
        let mut url = Url::parse(endpoint).map_err(|_| bad("is not a URL"))?;
        if url.scheme() != "http" {
            return Err(bad("does not begin with `http://`"));
        }
        // A name would go through the system's resolver, which a static binary cannot load everywhere; and `localhost`
        // may mean ::1, where the agent does not listen.
        match url.host_str() {
            Some("localhost") => {
                url.set_ip_host(IpAddr::V4(Ipv4Addr::LOCALHOST)).map_err(|()| bad("cannot hold an address"))?;
            }
            Some(host) if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() => {}
            _ => return Err(bad("names a host where an IP address is wanted")),
        }
        url.set_path("/");
        url.set_query(None);
        let client = local::client().build().expect("a client without TLS reads nothing that could be missing");
        Ok(Agent { client, endpoint: url })
    }

    /// What the agent says of itself. Asks once, for a second at most.
    pub async fn metadata(&self, deadline: Deadline) -> Result<Metadata, AgentError> {
        self.get("/v1/metadata", deadline).await
    }

    /// The port that it is asked at.
    pub fn port(&self) -> u16 {
        self.endpoint.port_or_known_default().unwrap_or_default()
    }

    /// All tasks that the agent knows, stopped ones too. Asks once, for a second at most.
    pub async fn tasks(&self, deadline: Deadline) -> Result<Vec<Task>, AgentError> {
        self.get::<Tasks>("/v1/tasks", deadline).await.map(|tasks| tasks.tasks)
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str, deadline: Deadline) -> Result<T, AgentError> {
        let mut asked = self.endpoint.clone();
        asked.set_path(path);
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

    fn ask(answer: &'static [u8]) -> Result<Metadata, AgentError> {
        let agent = Agent::new(Some(&format!("http://{}", tcp_server(answer)))).unwrap();
        run(agent.metadata(soon()))
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
            let agent = Agent::new(Some(&format!("http://{}", tcp_server(answer.leak().as_bytes())))).unwrap();
            run(agent.tasks(soon()))
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
        let agent = Agent::new(Some(&format!("http://{}", port.address()))).unwrap();
        let error = run(agent.metadata(soon())).unwrap_err();
        assert!(
            matches!(&error, AgentError::Refused { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused)
        );
    }

    #[test]
    fn an_agent_that_hangs_is_silent_within_the_deadline() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let agent = Agent::new(Some(&format!("http://{}", listener.local_addr().unwrap()))).unwrap();
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
            assert!(matches!(Agent::new(Some(bad)), Err(AgentError::BadEndpoint { .. })), "{bad}");
        }
        for good in ["http://localhost:51678", "http://127.0.0.1:51678/", "http://[::1]:51678/v1"] {
            assert!(Agent::new(Some(good)).is_ok(), "{good}");
        }
        assert_eq!(Agent::new(Some("http://localhost:1/v1")).unwrap().endpoint.as_str(), "http://127.0.0.1:1/");
    }
}

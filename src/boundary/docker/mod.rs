//! A client of the docker daemon: whether it answers, the state of a container, the running containers, and images.
//!
//! In: the path of the daemon's socket. Out: the state of one container, or the labels of the running containers. Only
//! [`Docker::pull`] changes something. A daemon that accepts connections but does not answer is reported as [`DockerError::Silent`]; this
//! is the most common failure of docker.

mod pull;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::{StatusCode, Url};
use serde::{Deserialize, Serialize};

pub use self::pull::{Layers, PullError, RegistryLogin};
use super::local_http::{self, LocalError};
use crate::retry::Deadline;

/// The time-out for one request. A daemon that is loading many containers is slow.
const MAX_ATTEMPT_TIME: Duration = Duration::from_secs(5);

/// The most lines of a container's output that are read. A Go trace begins with the reason, and has fewer lines.
const MAX_LOG_LINES: &str = "300";

/// A client of the docker daemon at a unix socket.
#[derive(Clone, Debug)]
pub struct Docker {
    client: reqwest::Client,
    socket: PathBuf,
}

/// The state of a container ("Inspect a container", Docker Engine API).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Container {
    /// Whether its process runs.
    pub running: bool,
    /// The exit code of its last run; 0 if it has never exited.
    pub exit_code: i64,
    /// When it last started, in RFC 3339; year 1 for never.
    pub started_at: String,
    /// When it last exited, in RFC 3339; year 1 for never.
    pub finished_at: String,
    /// How often docker has restarted it because of its restart policy.
    pub restart_count: u64,
}

impl Container {
    /// Parses the answer to an inspection.
    pub fn of(body: &[u8]) -> serde_json::Result<Container> {
        serde_json::from_slice::<Inspected>(body).map(Inspected::container)
    }
}

/// A container in a list ("List containers", Docker Engine API).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedContainer {
    #[serde(default)]
    id: String,
    /// Seconds since 1970.
    #[serde(default)]
    created: i64,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// The versions of the daemon and of its API ("SystemVersion", Docker Engine API).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all(deserialize = "PascalCase"))]
pub struct Version {
    /// The version of the daemon.
    #[serde(default)]
    pub version: String,
    /// The newest API version that the daemon supports.
    #[serde(default)]
    pub api_version: String,
    /// The oldest API version that the daemon supports.
    #[serde(default, rename(deserialize = "MinAPIVersion"))]
    pub min_api_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    state: ContainerState,
    #[serde(default)]
    restart_count: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerState {
    running: bool,
    exit_code: i64,
    #[serde(default)]
    pid: u32,
    #[serde(default)]
    started_at: String,
    #[serde(default)]
    finished_at: String,
}

/// Why a request to the docker daemon failed.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// Docker is not installed, or its socket does not exist yet.
    #[error("there is no docker socket at `{}`", socket.display())]
    NoSocket {
        /// The path of the socket.
        socket: PathBuf,
    },
    /// This user is not allowed to use docker.
    #[error("access to the docker socket `{}` is denied", socket.display())]
    Denied {
        /// The path of the socket.
        socket: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The socket exists, but no process listens on it.
    #[error("the docker socket `{}` does not accept connections", socket.display())]
    Refused {
        /// The path of the socket.
        socket: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The daemon did not answer in time.
    #[error("docker did not answer `{path}` within {} ms", waited.as_millis())]
    TimedOut {
        /// The path of the request.
        path: String,
        /// How long the client waited.
        waited: Duration,
    },
    /// The daemon answered with an error.
    #[error("docker answered `{path}` with status {status}")]
    Status {
        /// The path of the request.
        path: String,
        /// The HTTP status.
        status: u16,
    },
    /// The answer is too long.
    #[error("the answer to `{path}` is longer than {} bytes", beginning.len())]
    TooLong {
        /// The path of the request.
        path: String,
        /// The first bytes of the answer.
        beginning: Vec<u8>,
    },
    /// The answer is incomplete or does not belong to docker's API.
    #[error("the answer to `{path}` is not from docker")]
    InvalidResponse {
        /// The path of the request.
        path: String,
        /// The error of the HTTP or JSON parser.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Inspected {
    fn container(self) -> Container {
        let Inspected { state: ContainerState { running, exit_code, started_at, finished_at, .. }, restart_count } =
            self;
        Container { running, exit_code, started_at, finished_at, restart_count }
    }
}

impl Docker {
    /// A client for the daemon at `socket`.
    pub fn new(socket: PathBuf) -> Docker {
        let client = local_http::client().unix_socket(socket.as_path()).build();
        Docker { client: client.expect("a client without TLS depends on no file"), socket }
    }

    /// Whether the daemon answers.
    pub async fn ping(&self, deadline: Deadline) -> Result<(), DockerError> {
        match self.get(&["_ping"], &[], deadline).await? {
            (_, StatusCode::OK, _) => Ok(()),
            (path, status, _) => Err(DockerError::Status { path, status: status.as_u16() }),
        }
    }

    /// The state of the container with this name; `None` if it does not exist.
    pub async fn container(&self, name: &str, deadline: Deadline) -> Result<Option<Container>, DockerError> {
        Ok(self.inspected(name, deadline).await?.map(Inspected::container))
    }

    /// The id on the host of the first process of the container with this name; `None` if it does not run.
    pub async fn first_process(&self, name: &str, deadline: Deadline) -> Result<Option<u32>, DockerError> {
        let inspected = self.inspected(name, deadline).await?;
        Ok(inspected
            .map(|inspected| inspected.state)
            .filter(|state| state.running && state.pid > 0)
            .map(|state| state.pid))
    }

    async fn inspected(&self, name: &str, deadline: Deadline) -> Result<Option<Inspected>, DockerError> {
        let (path, status, body) = self.get(&["containers", name, "json"], &[], deadline).await?;
        match status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(DockerError::Status { path, status: status.as_u16() }),
        }
        serde_json::from_slice(&body).map(Some).map_err(|e| DockerError::InvalidResponse { path, source: Box::new(e) })
    }

    /// The last lines that the container with this name printed in its last run; empty if it does not exist.
    pub async fn output(&self, name: &str, deadline: Deadline) -> Result<Vec<u8>, DockerError> {
        let query = [("stdout", "1"), ("stderr", "1"), ("tail", MAX_LOG_LINES)];
        match self.get(&["containers", name, "logs"], &query, deadline).await? {
            (_, StatusCode::OK, body) => Ok(without_frames(&body)),
            (_, StatusCode::NOT_FOUND, _) => Ok(Vec::new()),
            (path, status, _) => Err(DockerError::Status { path, status: status.as_u16() }),
        }
    }

    /// What the container with this name printed between two times, in seconds since 1970, each line with its time in RFC
    /// 3339 and a blank before it; the first lines if that is too much, and empty if it does not exist.
    pub async fn output_with_times(
        &self,
        name: &str,
        (since, until): (u64, u64),
        deadline: Deadline,
    ) -> Result<Vec<u8>, DockerError> {
        let (since, until) = (since.to_string(), until.to_string());
        let query = [("stdout", "1"), ("stderr", "1"), ("timestamps", "1"), ("since", &since), ("until", &until)];
        match self.get(&["containers", name, "logs"], &query, deadline).await {
            Ok((_, StatusCode::OK, body)) | Err(DockerError::TooLong { beginning: body, .. }) => {
                Ok(without_frames(&body))
            }
            Ok((_, StatusCode::NOT_FOUND, _)) => Ok(Vec::new()),
            Ok((path, status, _)) => Err(DockerError::Status { path, status: status.as_u16() }),
            Err(error) => Err(error),
        }
    }

    /// The state of the oldest `most` containers with the label `label`, running or not, with all their labels. A
    /// container that is removed in the meantime is left out.
    pub async fn oldest(
        &self,
        label: &str,
        most: usize,
        deadline: Deadline,
    ) -> Result<Vec<(BTreeMap<String, String>, Container)>, DockerError> {
        let mut listed = self.listed(&[("all", "1")], label, deadline).await?;
        listed.sort_by_key(|container| container.created);
        let mut oldest = Vec::new();
        for ListedContainer { id, labels, .. } in listed.into_iter().take(most) {
            oldest.extend(self.container(&id, deadline).await?.map(|container| (labels, container)));
        }
        Ok(oldest)
    }

    /// The versions of the daemon and of its API.
    pub async fn version(&self, deadline: Deadline) -> Result<Version, DockerError> {
        match self.get(&["version"], &[], deadline).await? {
            (path, StatusCode::OK, body) => {
                serde_json::from_slice(&body).map_err(|e| DockerError::InvalidResponse { path, source: Box::new(e) })
            }
            (path, status, _) => Err(DockerError::Status { path, status: status.as_u16() }),
        }
    }

    /// For each running container with the label `label`: all its labels.
    pub async fn running(&self, label: &str, deadline: Deadline) -> Result<Vec<BTreeMap<String, String>>, DockerError> {
        let listed = self.listed(&[], label, deadline).await?;
        Ok(listed.into_iter().map(|container| container.labels).collect())
    }

    /// The containers with the label `label`; by default the running ones.
    async fn listed(
        &self,
        options: &[(&str, &str)],
        label: &str,
        deadline: Deadline,
    ) -> Result<Vec<ListedContainer>, DockerError> {
        let filters = serde_json::json!({ "label": [label] }).to_string();
        let query: Vec<(&str, &str)> = options.iter().copied().chain([("filters", filters.as_str())]).collect();
        let (path, status, body) = self.get(&["containers", "json"], &query, deadline).await?;
        if status != StatusCode::OK {
            return Err(DockerError::Status { path, status: status.as_u16() });
        }
        serde_json::from_slice(&body).map_err(|e| DockerError::InvalidResponse { path, source: Box::new(e) })
    }

    /// Sends a GET and returns its path, status and body. The path has no API version, so that each daemon uses its
    /// own: new daemons refuse old versions.
    async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        deadline: Deadline,
    ) -> Result<(String, StatusCode, Vec<u8>), DockerError> {
        let mut url = Url::parse("http://localhost/").expect("a constant");
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url.path_segments_mut().expect("an http URL has a path").clear().extend(path);
        let path = url.path().to_owned();
        match local_http::get(&self.client, url, MAX_ATTEMPT_TIME, deadline).await {
            Ok((status, body)) => Ok((path, status, body)),
            Err(error) => Err(self.error(&path, error)),
        }
    }

    fn error(&self, path: &str, error: LocalError) -> DockerError {
        let (socket, path) = (self.socket.clone(), path.to_owned());
        match error {
            LocalError::NotConnected(source) => match source.kind() {
                io::ErrorKind::NotFound => DockerError::NoSocket { socket },
                io::ErrorKind::PermissionDenied => DockerError::Denied { socket, source },
                _ => DockerError::Refused { socket, source },
            },
            LocalError::TimedOut(waited) => DockerError::TimedOut { path, waited },
            LocalError::Broken(e) => DockerError::InvalidResponse { path, source: Box::new(e) },
            LocalError::TooLong(beginning) => DockerError::TooLong { path, beginning },
        }
    }
}

/// The text of an answer to "Get container logs" (Docker Engine API, "Stream format"): the output of a container without
/// a terminal is in frames, each with a header of 8 bytes. Any other text is returned unchanged.
fn without_frames(body: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(body.len());
    let mut rest = body;
    while let [0..=2, 0, 0, 0, a, b, c, d, after @ ..] = rest {
        let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX).min(after.len());
        text.extend_from_slice(&after[..length]);
        rest = &after[length..];
    }
    text.extend_from_slice(rest);
    text
}

#[cfg(test)]
mod tests;

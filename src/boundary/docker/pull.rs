//! Pulls an image ("Create an image", Docker Engine API). docker answers with a line of JSON for each step of each layer.
//!
//! In: the name of the image, and the login of its registry. Out: how much was downloaded, or the error in docker's words. If
//! the connection is closed, docker stops the pull and keeps the layers that it has.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use reqwest::Url;
use serde_json::{Value, json};

use super::{Docker, DockerError};
use crate::boundary::local_http::{LocalError, classify};
use crate::retry::{Deadline, within};

/// A pull without any news for this long has stopped. The agent's limit is a minute (ECS_IMAGE_PULL_INACTIVITY_TIMEOUT); a layer
/// of several gigabytes is unpacked without news by some versions of docker.
const MAX_SILENCE: Duration = Duration::from_secs(120);
/// The most bytes of one line.
const MAX_LINE_LENGTH: usize = 1 << 20;

/// A login of a registry. Its `Debug` form has no password.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryLogin {
    /// The user name.
    pub user: String,
    /// The password, or the token.
    pub password: String,
    /// The registry as docker names it: its host, or `https://index.docker.io/v1/`.
    pub server_address: String,
}

impl std::fmt::Debug for RegistryLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryLogin").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The layers of an image while docker pulls it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layers(BTreeMap<String, Layer>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Layer {
    downloaded: u64,
    total: u64,
    is_downloaded: bool,
}

/// Why a pull failed.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// docker could not be asked.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// docker refused or ended the pull.
    #[error("docker reports: {0}")]
    Refused(String),
    /// docker reported nothing for too long.
    #[error("docker reported no progress for {} s", .0.as_secs())]
    Silent(Duration),
    /// The deadline passed.
    #[error("not complete in time")]
    Late,
    /// The caller ended the pull.
    #[error("ended")]
    Ended,
}

impl Layers {
    /// How many compressed bytes docker has downloaded.
    pub fn downloaded(&self) -> u64 {
        self.0.values().map(|layer| layer.downloaded).sum()
    }

    /// How many compressed bytes the layers have that docker has begun to download.
    pub fn total(&self) -> u64 {
        self.0.values().map(|layer| layer.total).sum()
    }

    /// Whether docker has downloaded all layers that it has begun, and now unpacks them.
    fn is_unpacking(&self) -> bool {
        !self.0.is_empty() && self.0.values().all(|layer| layer.is_downloaded)
    }

    /// Adds what a line says about a layer.
    fn note(&mut self, line: &Value) {
        let id = line["id"].as_str().unwrap_or_default();
        match line["status"].as_str() {
            Some("Pulling fs layer" | "Waiting") => drop(self.0.entry(id.to_owned()).or_default()),
            // docker leaves out some of the lines.
            Some("Verifying Checksum" | "Download complete" | "Extracting" | "Pull complete") => {
                let layer = self.0.entry(id.to_owned()).or_default();
                (layer.downloaded, layer.is_downloaded) = (layer.total, true);
            }
            Some("Downloading") => {
                let Some(current) = line["progressDetail"]["current"].as_u64() else { return };
                let layer = self.0.entry(id.to_owned()).or_default();
                layer.downloaded = layer.downloaded.max(current);
                layer.total = layer.total.max(line["progressDetail"]["total"].as_u64().unwrap_or(current));
            }
            _ => {}
        }
    }
}

impl Docker {
    /// Pulls `name` in this version, a tag or a digest. `on_progress` is called for each line of docker, and can end the pull.
    pub async fn pull(
        &self,
        (name, version): (&str, &str),
        login: Option<&RegistryLogin>,
        deadline: Deadline,
        on_progress: &mut dyn FnMut(&Layers) -> ControlFlow<()>,
    ) -> Result<Layers, PullError> {
        let mut url = Url::parse("http://localhost/images/create").expect("a constant");
        url.query_pairs_mut().extend_pairs([("fromImage", name), ("tag", version)]);
        let mut request = self.client.post(url);
        if let Some(login) = login {
            let login =
                json!({"username": login.user, "password": login.password, "serveraddress": login.server_address});
            request = request.header("x-registry-auth", URL_SAFE.encode(login.to_string()));
        }
        // Some versions of docker report nothing while they unpack.
        let soon = |layers: &Layers| {
            if layers.is_unpacking() { deadline } else { deadline.earliest(Deadline::after(MAX_SILENCE)) }
        };
        let late = || if deadline.passed() { PullError::Late } else { PullError::Silent(MAX_SILENCE) };
        let failed = |error| PullError::Docker(self.error("/images/create", classify(error)));
        let mut response =
            within(soon(&Layers::default()), request.send()).await.map_err(|_| late())?.map_err(failed)?;
        let is_success = response.status().is_success();
        let (mut layers, mut rest) = (Layers::default(), Vec::new());
        while let Some(chunk) = within(soon(&layers), response.chunk()).await.map_err(|_| late())?.map_err(failed)? {
            rest.extend_from_slice(&chunk);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n').filter(|_| is_success) {
                let line: Vec<u8> = rest.drain(..=end).collect();
                note_line(&line, &mut layers)?;
                if on_progress(&layers).is_break() {
                    return Err(PullError::Ended);
                }
            }
            if rest.len() > MAX_LINE_LENGTH {
                let error = LocalError::TooLong(rest);
                return Err(PullError::Docker(self.error("/images/create", error)));
            }
        }
        if !is_success {
            return Err(PullError::Refused(message_of(&rest, response.status().as_u16())));
        }
        note_line(&rest, &mut layers)?;
        Ok(layers)
    }

    /// Whether docker has the image.
    pub async fn has_image(&self, image: &str, deadline: Deadline) -> Result<bool, DockerError> {
        let path: Vec<&str> = ["images"].into_iter().chain(image.split('/')).chain(["json"]).collect();
        match self.get(&path, &[], deadline).await? {
            (_, reqwest::StatusCode::OK, _) => Ok(true),
            (_, reqwest::StatusCode::NOT_FOUND, _) => Ok(false),
            (path, status, _) => Err(DockerError::Status { path, status: status.as_u16() }),
        }
    }

    /// The folders in which docker stores images: its own, and that of containerd if it manages them.
    pub async fn storage_folders(&self, deadline: Deadline) -> Result<Vec<String>, DockerError> {
        const DEFAULT: &str = "/var/lib/docker";
        const CONTAINERD: &str = "/var/lib/containerd";
        let (path, status, body) = self.get(&["info"], &[], deadline).await?;
        if status != reqwest::StatusCode::OK {
            return Err(DockerError::Status { path, status: status.as_u16() });
        }
        let info: Value =
            serde_json::from_slice(&body).map_err(|e| DockerError::InvalidResponse { path, source: Box::new(e) })?;
        let root = info["DockerRootDir"].as_str().filter(|root| root.starts_with('/')).unwrap_or(DEFAULT);
        let uses_containerd = info["DriverStatus"].to_string().contains("io.containerd.snapshotter");
        Ok([Some(root), uses_containerd.then_some(CONTAINERD)].into_iter().flatten().map(str::to_owned).collect())
    }
}

/// Reads a line. A line that is not JSON is ignored: only an error matters.
fn note_line(line: &[u8], layers: &mut Layers) -> Result<(), PullError> {
    let Ok(line) = serde_json::from_slice::<Value>(line) else { return Ok(()) };
    // `error` is the older form (Docker Engine API, "Create an image").
    if let Some(error) = line["errorDetail"]["message"].as_str().or(line["error"].as_str()) {
        return Err(PullError::Refused(error.to_owned()));
    }
    layers.note(&line);
    Ok(())
}

/// The message of an error answer.
fn message_of(body: &[u8], status: u16) -> String {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    json["message"].as_str().map_or_else(|| format!("status {status}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::local_http::tests::{run, soon, unix_server};

    fn pull(answer: &'static str) -> (Result<Layers, PullError>, Vec<(u64, u64)>) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        unix_server(&socket, answer.as_bytes());
        let mut steps = Vec::new();
        let mut note = |layers: &Layers| {
            steps.push((layers.downloaded(), layers.total()));
            ControlFlow::Continue(())
        };
        let login = RegistryLogin { user: "AWS".into(), password: "hunter2".into(), server_address: "r".into() };
        let docker = Docker::new(socket);
        let outcome = run(docker.pull(("a/b", "1"), Some(&login), soon(), &mut note));
        (outcome, steps)
    }

    #[test]
    fn the_bytes_of_all_layers_are_added() {
        let (outcome, steps) = pull(concat!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n",
            "{\"status\":\"Pulling from a/b\",\"id\":\"1\"}\n",
            "{\"status\":\"Already exists\",\"progressDetail\":{},\"id\":\"l0\"}\n",
            "{\"status\":\"Downloading\",\"progressDetail\":{\"current\":10,\"total\":100},\"id\":\"l1\"}\n",
            "{\"status\":\"Downloading\",\"progressDetail\":{\"current\":5,\"total\":50},\"id\":\"l2\"}\n",
            "not json\n",
            "{\"status\":\"Waiting\",\"id\":\"l3\"}\n",
            "{\"status\":\"Download complete\",\"progressDetail\":{},\"id\":\"l1\"}\n",
            "{\"status\":\"Extracting\",\"progressDetail\":{\"current\":7,\"total\":100},\"id\":\"l1\"}\n",
            "{\"status\":\"Pull complete\",\"id\":\"l2\"}\n",
            "{\"status\":\"Status: Downloaded newer image for a/b:1\"}\n",
        ));
        let layers = outcome.unwrap();
        assert_eq!((layers.downloaded(), layers.total()), (150, 150));
        assert!(!layers.is_unpacking(), "the layer `l3` waits");
        assert_eq!(steps[2], (10, 100));
        assert_eq!(steps[3], (15, 150));
    }

    #[test]
    fn an_error_in_the_answer_is_the_error_of_the_pull() {
        for (answer, expected) in [
            (
                "HTTP/1.1 200 OK\r\n\r\n{\"status\":\"x\"}\n{\"errorDetail\":{\"message\":\"no space left\"},\"progressDetail\":{\"total\":-1},\"id\":null}",
                "docker reports: no space left",
            ),
            ("HTTP/1.1 200 OK\r\n\r\n{\"error\":\"EOF\"}\n{\"status\":\"x\"}\n", "docker reports: EOF"),
            (
                "HTTP/1.1 404 Not Found\r\nContent-Length: 33\r\n\r\n{\"message\":\"manifest not found\"}\n",
                "docker reports: manifest not found",
            ),
            ("HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n", "docker reports: status 500"),
        ] {
            assert_eq!(pull(answer).0.unwrap_err().to_string(), expected, "{answer}");
        }
        let cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"status\":\"x\"}\n";
        assert!(matches!(pull(cut).0, Err(PullError::Docker(DockerError::InvalidResponse { .. }))));
    }

    #[test]
    fn the_password_is_not_in_the_debug_form() {
        let login = RegistryLogin { user: "AWS".into(), password: "hunter2".into(), server_address: "r".into() };
        assert!(!format!("{login:?}").contains("hunter2"));
    }
}

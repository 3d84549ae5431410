//! Simulates docker's API on its Unix socket for the state of the `ecs-agent` container (Docker Engine API v1.44).
//!
//! In: the container's state, set by the agent's simulator. Out: answers to `/_ping`, `/version`,
//! `/containers/NAME/json`, `/containers/json` for the containers of tasks, and images (`registry`).

use super::http::{Answer, Reply, Request, Server, lock};
use super::registry::Images;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// The container `ecs-agent`.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    pub running: bool,
    pub exit_code: i64,
    pub started_at: SystemTime,
    pub finished_at: Option<SystemTime>,
}

/// The state from which docker answers.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub container: Option<Container>,
    /// What the container printed since its start.
    pub output: String,
    /// Numbers of the tasks that have a running container.
    pub tasks: Vec<u32>,
    /// The socket accepts connections, and docker never answers.
    pub hung: bool,
    /// Docker answers every request with 500.
    pub broken: bool,
    /// The oldest supported version of the API; `None` is 1.24.
    pub min_api: Option<&'static str>,
    /// The images, and their registries.
    pub images: Images,
    /// Answers by path (without the version of the API) that replace all others.
    pub overrides: HashMap<String, Answer>,
}

/// The daemon; its socket exists between `start` and `stop`.
#[derive(Clone)]
pub struct Docker {
    path: PathBuf,
    state: Arc<Mutex<State>>,
    server: Arc<Mutex<Option<Server>>>,
}

impl Docker {
    /// A daemon that is not running yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), state: Arc::default(), server: Arc::default() }
    }

    pub fn start(&self) {
        let mut server = lock(&self.server);
        if server.is_none() {
            let state = Arc::clone(&self.state);
            *server = Some(Server::unix(&self.path, move |request| lock(&state).answer(request)));
        }
    }

    pub fn stop(&self) {
        lock(&self.server).take();
    }

    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
    }

    /// The requests since it started; none while it is stopped.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.server).as_ref().map(Server::requests).unwrap_or_default()
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        if self.hung {
            return Answer::Silent;
        }
        if self.broken {
            return json(500, &serde_json::json!({"message": "containerd: connection error: desc = unavailable"}));
        }
        let path = request.path.split('?').next().unwrap_or_default();
        let unversioned = path.strip_prefix("/v1.").and_then(|rest| rest.find('/').map(|slash| &rest[slash..]));
        if let Some(answer) = self.overrides.get(unversioned.unwrap_or(path)) {
            return answer.clone();
        }
        if let Some(answer) = self.images.answer(request) {
            return answer;
        }
        match unversioned.unwrap_or(path) {
            "/_ping" => Reply::new(200, "text/plain", "OK").with("Api-Version", "1.44").into(),
            "/version" => {
                let oldest = self.min_api.unwrap_or("1.24");
                let version = serde_json::json!({"Version": "25.0.16", "ApiVersion": "1.44", "MinAPIVersion": oldest,
                    "Os": "linux"});
                json(200, &version)
            }
            "/info" => json(200, &serde_json::json!({"DockerRootDir": "/var/lib/docker", "Driver": "overlay2"})),
            "/containers/ecs-agent/json" => match &self.container {
                Some(container) => json(200, &container.inspected()),
                None => json(404, &serde_json::json!({"message": "No such container: ecs-agent"})),
            },
            "/containers/ecs-agent/logs" => match &self.container {
                Some(_) => Reply::new(200, "application/vnd.docker.raw-stream", framed(&self.output)).into(),
                None => json(404, &serde_json::json!({"message": "No such container: ecs-agent"})),
            },
            "/containers/json" => json(200, &self.tasks.iter().map(labelled).collect()),
            _ => json(404, &serde_json::json!({"message": "page not found"})),
        }
    }
}

/// The output of a container without a terminal: one frame for each line ("Attach to a container", "Stream format").
fn framed(output: &str) -> Vec<u8> {
    let frame = |line: &str| {
        let length = u32::try_from(line.len()).unwrap().to_be_bytes();
        [&[2, 0, 0, 0][..], &length, line.as_bytes()].concat()
    };
    output.split_inclusive('\n').flat_map(frame).collect()
}

/// A container of a task, with the labels of the agent (`agent/engine/docker_task_engine.go`).
fn labelled(task: &u32) -> serde_json::Value {
    serde_json::json!({"Id": "7a3c", "State": "running", "Labels": {
        "com.amazonaws.ecs.task-arn": format!("arn:aws:ecs:eu-west-1:111122223333:task/prod/{task}"),
        "com.amazonaws.ecs.task-definition-family": "web", "com.amazonaws.ecs.task-definition-version": "3"}})
}

impl Container {
    fn inspected(&self) -> serde_json::Value {
        let time = |at: SystemTime| humantime::format_rfc3339_nanos(at).to_string();
        serde_json::json!({"Id": "5f1e", "Name": "/ecs-agent", "RestartCount": 0, "State": {
            "Status": if self.running { "running" } else { "exited" },
            "Running": self.running, "ExitCode": self.exit_code, "StartedAt": time(self.started_at),
            "FinishedAt": self.finished_at.map_or("0001-01-01T00:00:00Z".into(), time)}})
    }
}

fn json(status: u16, body: &serde_json::Value) -> Answer {
    Reply::new(status, "application/json", body.to_string()).into()
}

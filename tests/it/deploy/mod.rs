//! Runs `ecs-rollout` against the simulated ECS API: its calls, the state of the service afterwards, and its output.

mod bounds;
mod compare;
mod ends;
pub(crate) mod existing;
mod faults;
mod github;
mod image_only;
mod init;
mod input;
mod keep_revisions;
mod limits;
mod names;
mod one_off;
mod rollback;
mod secrets;
mod signals;
mod states;
mod tasks;
mod undo;
mod variables;
mod verify;
mod yaml;

use crate::support::rollout::Ecs;
use crate::support::schema;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ecs-rollout");

/// A deployment of the files of a [`Site`].
pub(crate) const DEPLOY: [&str; 7] =
    ["deploy", "--task-definition", "task.json", "--service-definition", "service.json", "--vars-from", "TAG"];

/// A folder with the files of a deployment, and the simulated API.
pub(crate) struct Site {
    pub(crate) ecs: Ecs,
    pub(crate) folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
    /// The endpoint to use instead of the simulated API.
    other_endpoint: Option<String>,
    /// Whether the runs verify what a definition names before they deploy it.
    verifies: bool,
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts the exit code, and that the output contains the texts.
    #[track_caller]
    pub(crate) fn ends(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, code, "{self:#?}");
        for text in texts {
            assert!(self.stdout.contains(text) || self.stderr.contains(text), "no `{text}` in {self:#?}");
        }
    }
}

impl Site {
    /// A service of two tasks with one container, `web`, whose image tag is the variable `TAG`.
    pub(crate) fn new() -> Self {
        let site = Self {
            ecs: Ecs::start(),
            folder: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
            other_endpoint: None,
            verifies: true,
        };
        let log = json!({"logDriver": "awslogs", "options": {
            "awslogs-group": "/ecs/web", "awslogs-region": "eu-west-1", "awslogs-stream-prefix": "ecs"}});
        let task = json!({"family": "web", "containerDefinitions": [{
            "name": "web", "image": "web:${TAG:?the tag of the image}", "memory": 128,
            "portMappings": [{"containerPort": 80}], "logConfiguration": log}]});
        site.write("task.json", &task);
        site.write("service.json", &json!({"cluster": "prod", "serviceName": "web", "desiredCount": 2}));
        site.variable("TAG", "1")
    }

    /// Uses this endpoint instead of the simulated API.
    pub(crate) fn at(self, endpoint: &str) -> Self {
        Self { other_endpoint: Some(endpoint.into()), ..self }
    }

    /// Lets the runs not verify what a definition names: it does not exist in the simulated account.
    pub(crate) fn without_verification(self) -> Self {
        Self { verifies: false, ..self }
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.into(), value.into()));
    }

    pub(crate) fn write(&self, name: &str, value: &Value) {
        std::fs::write(self.folder.path().join(name), format!("{value:#}\n")).unwrap();
    }

    /// Runs `ecs-rollout` with exactly these arguments.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.start(arguments).end()
    }

    /// Starts `ecs-rollout` with exactly these arguments.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        // The tests may run under nohup(1), and a process inherits that SIGHUP is ignored.
        let mut command = Command::new("/usr/bin/env");
        command.arg("--default-signal=HUP").arg(PROGRAM);
        command.args(arguments).current_dir(self.folder.path()).env_clear().stdin(Stdio::null());
        command
            .envs(safe(&self.other_endpoint.clone().unwrap_or_else(|| self.ecs.endpoint())))
            .envs(self.variables.iter().cloned());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Running { child, arguments: arguments.iter().map(|&argument| argument.to_owned()).collect() }
    }

    /// Waits until this is true of the simulated API.
    #[track_caller]
    pub(crate) fn wait_until(&self, is_true: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !is_true(self) {
            assert!(start.elapsed() < Duration::from_secs(120), "{:?}", self.ecs.calls());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until this operation was called.
    #[track_caller]
    pub(crate) fn wait_for_call(&self, operation: &str) {
        self.wait_until(|site| site.ecs.calls().iter().any(|call| call == operation));
    }

    /// Runs `ecs-rollout` at a terminal of 100 columns, and returns everything that the terminal receives (script(1)).
    pub(crate) fn at_a_terminal(&self, arguments: &str) -> String {
        let mut command = Command::new("script");
        let shell = format!("stty cols 100; '{PROGRAM}' {arguments}");
        command.args(["-qec", &shell, "/dev/null"]).current_dir(self.folder.path()).env_clear().stdin(Stdio::null());
        command.envs(safe(&self.ecs.endpoint())).envs(self.variables.iter().cloned());
        command.env("TERM", "xterm").env("PATH", "/usr/bin:/bin");
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    }

    /// Runs `deploy` or `plan` with the two files, the variables of the site and more arguments.
    pub(crate) fn deploy(&self, command: &str, more: &[&str]) -> Outcome {
        let names: Vec<&str> = self.variables.iter().map(|(name, _)| name.as_str()).collect();
        let listed = names.join(",");
        let verification: &[&str] = if self.verifies { &[] } else { &["--no-verify"] };
        self.deploy_without_variables(command, &[&["--vars-from", listed.as_str()], verification, more].concat())
    }

    /// Like [`Site::deploy`], without the list of variables.
    pub(crate) fn deploy_without_variables(&self, command: &str, more: &[&str]) -> Outcome {
        const FILES: [&str; 4] = ["--task-definition", "task.json", "--service-definition", "service.json"];
        self.run(&[&[command], &FILES[..], more].concat())
    }

    /// Deploys this image tag, which must succeed.
    #[track_caller]
    pub(crate) fn deployed(&mut self, tag: &str) {
        self.set("TAG", tag);
        let outcome = self.deploy("deploy", &[]);
        assert_eq!(outcome.code, 0, "{outcome:#?}");
        self.ecs.forget_calls();
    }

    /// The image of the revision that the service runs, and the number of revisions.
    pub(crate) fn image(&self) -> (String, usize) {
        self.ecs.read(|host_clients| {
            let revision = &host_clients.services["web"].shown["taskDefinition"];
            let revisions = &host_clients.families["web"];
            let found = revisions.iter().find(|one| &one["taskDefinitionArn"] == revision).unwrap();
            (found["containerDefinitions"][0]["image"].as_str().unwrap().to_owned(), revisions.len())
        })
    }
}

/// A run that has not ended.
pub(crate) struct Running {
    child: Child,
    arguments: Vec<String>,
}

impl Running {
    /// Sends these signals, for example `TERM`, and waits for the end.
    pub(crate) fn end_with(self, signals: &[&str]) -> Outcome {
        for signal in signals {
            // The answer of the call before it has been received.
            std::thread::sleep(Duration::from_millis(300));
            let id = self.child.id().to_string();
            assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
        }
        self.end()
    }

    /// Waits for the end.
    pub(crate) fn end(self) -> Outcome {
        let output = self.child.wait_with_output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let valid = schema::validate_deploy_stdout(&arguments, &stdout);
        valid.unwrap_or_else(|error| panic!("`{}` printed a document {error}", arguments.join(" ")));
        Outcome { code: output.status.code().unwrap_or(-1), stdout, stderr: String::from_utf8(output.stderr).unwrap() }
    }
}

/// The environment of a run: invalid credentials, and an endpoint on this host.
pub(crate) fn safe(endpoint: &str) -> Vec<(&'static str, String)> {
    assert!(endpoint.starts_with("http://127.0.0.1:"), "{endpoint}");
    vec![
        ("AWS_ENDPOINT_URL", endpoint.to_owned()),
        ("AWS_ACCESS_KEY_ID", "AKIATEST".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_REGION", "eu-west-1".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("HOME", Path::new("/nonexistent").display().to_string()),
    ]
}

/// The calls that change something, the oldest first.
pub(crate) fn writes(site: &Site) -> Vec<String> {
    const READS: [&str; 4] = ["BatchGet", "Describe", "Get", "List"];
    site.ecs.calls().into_iter().filter(|call| !READS.iter().any(|read| call.starts_with(read))).collect()
}

//! Simulates the ECS agent and ecs-init: log files, container state, registration, introspection.
//!
//! In: the two `ecs.config` files, parsed by ecs-init's rules, the state of the other simulators, and `Behaviour`. Out:
//! log lines in the real formats below `/var/log/ecs`, `/v1/metadata` and `/v1/tasks` on a loopback port, and changes
//! in the ECS simulator. Only the simulated systemd starts and stops it.

mod output;

use super::agent_messages;
use super::disk::{AgentState, Disk};
use super::docker::{Container, Docker};
use super::http::{Answer, Reply, Server, lock};
use super::port::Port;
use super::{aws, imds, systemd::Units};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How the agent differs from a healthy one.
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// It differs only while this is true of the files, which it reads at each start and when it connects.
    pub fails_while: Option<fn(&Disk) -> bool>,
    /// The delay before registration.
    pub register_delay: Duration,
    /// The delay between registration and connection.
    pub connect_delay: Duration,
    /// Exits with 1 after each start, with this `error=` text. The unit stays active.
    pub crashes_with: Option<String>,
    /// Lines that it logs at each start, besides those of every healthy start.
    pub logs_too: &'static str,
    /// Lines that ecs-init logs in pre-start.
    pub init_logs_too: &'static str,
    /// Exits with 5 and this `error=` text. The unit fails.
    pub gives_up_with: Option<String>,
    /// Exits with this code, message and error.
    pub exits: Option<(i32, &'static str, &'static str)>,
    /// The error of `exits` has another word each time.
    pub errors_vary: bool,
    /// Writes this text to its log and exits with this code.
    pub dies_with: Option<(i32, String)>,
    /// Prints this text to its standard error, which its log does not have, and exits with this code.
    pub prints: Option<(i32, &'static str)>,
    /// Logs this error of its connection to ACS every 200 ms instead of connecting.
    pub acs_error: Option<&'static str>,
    /// The error of ecs-init if the unit fails before the agent runs.
    pub init_error: &'static str,
    /// Another process uses its port.
    pub port_taken: bool,
    /// The user that owns the socket of its introspection in the table of sockets.
    pub listener_uid: u32,
    /// The ARN in the answer of introspection, if it is not the real one.
    pub claimed_arn: Option<String>,
    /// The instance is deregistered after it has registered.
    pub deregistered: bool,
    /// `None` is 1.106.1.
    pub version: Option<&'static str>,
    pub never_registers: bool,
    pub never_connects: bool,
    /// ECS rejects the attributes: exits with 5.
    pub attributes_rejected: bool,
    /// A logging driver that docker does not support.
    pub unsupported_driver: &'static str,
    pub empty_arn: bool,
    pub garbage_introspection: bool,
    /// Its tasks: number and `KnownStatus`.
    pub tasks: Vec<(u32, &'static str)>,
    /// Answers of introspection by path (`/v1/metadata`) that replace all others.
    pub answers: BTreeMap<String, Vec<u8>>,
}

enum Exit {
    /// The unit was stopped.
    Stopped,
    /// Exit code.
    Code(i32),
}

#[derive(Default)]
struct StopRequest {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl StopRequest {
    fn pause(&self, duration: Duration) -> bool {
        let guard = lock(&self.stopped);
        let (guard, _) = self
            .changed
            .wait_timeout_while(guard, duration, |stopped| !*stopped)
            .unwrap_or_else(PoisonError::into_inner);
        *guard
    }
}

/// The simulators that the agent uses; cheap to clone into its thread.
#[derive(Clone)]
struct Surroundings {
    disk: Arc<Disk>,
    docker: Docker,
    aws: Arc<Mutex<aws::State>>,
    imds: Arc<Mutex<imds::State>>,
    units: Units,
    behaviour: Arc<Mutex<Behaviour>>,
    port: Port,
}

/// The agent. It runs between `start` and `stop`.
pub struct Agent {
    surroundings: Surroundings,
    running: Mutex<Option<(Arc<StopRequest>, JoinHandle<()>)>>,
}

impl Agent {
    pub fn new(
        disk: Arc<Disk>,
        docker: Docker,
        aws: Arc<Mutex<aws::State>>,
        imds: Arc<Mutex<imds::State>>,
        units: Units,
    ) -> Self {
        let port = Port::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let surroundings = Surroundings { disk, docker, aws, imds, units, behaviour: Arc::default(), port };
        Self { surroundings, running: Mutex::new(None) }
    }

    /// The endpoint of introspection, also while the agent does not run.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.surroundings.port.address())
    }

    pub fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut lock(&self.surroundings.behaviour));
    }

    pub fn start(&self) {
        let mut running = lock(&self.running);
        // The thread of an agent that exited for good is still in `running`.
        if running.as_ref().is_none_or(|(_, thread)| thread.is_finished()) {
            let stop = Arc::new(StopRequest::default());
            let (inner, until) = (self.surroundings.clone(), Arc::clone(&stop));
            *running = Some((stop, thread::spawn(move || inner.supervise(&until))));
        }
    }

    /// Logs a failure of ecs-init before the agent runs.
    pub fn fail_before(&self) {
        let error = lock(&self.surroundings.behaviour).init_error;
        self.surroundings.pre_start();
        self.surroundings.log("ecs-init", "error", error, &[]);
        self.surroundings.log("ecs-init", "info", "post-stop", &[]);
    }

    pub fn stop(&self) {
        let running = lock(&self.running).take();
        if let Some((stop, thread)) = running {
            *lock(&stop.stopped) = true;
            stop.changed.notify_all();
            let _ = thread.join();
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Surroundings {
    /// ecs-init: restarts the container after 0.5 s, doubled each time up to 15 s. Gives up only on exit code 5.
    fn supervise(&self, stop: &StopRequest) {
        let mut pause = Duration::from_millis(500);
        self.pre_start();
        self.log("ecs-init", "info", "start", &[]);
        loop {
            self.log("ecs-init", "info", "Starting Amazon Elastic Container Service Agent", &[]);
            self.container(true, 0);
            let code = match self.attempt(stop) {
                Exit::Stopped => return self.container(false, 0),
                Exit::Code(code) => code,
            };
            self.container(false, code.into());
            self.log("ecs-init", "info", &format!("Agent exited with code {code}"), &[]);
            if code == 0 {
                return self.units.ended("ecs.service");
            }
            if code == 5 {
                self.log("ecs-init", "error", "agent exited with terminal exit code: 5", &[]);
                return self.units.failed("ecs.service", 5);
            }
            self.log("ecs-init", "warn", &format!("ECS Agent failed to start, retrying in {pause:?}"), &[]);
            if stop.pause(pause) {
                return;
            }
            pause = (pause * 2).min(Duration::from_secs(15));
        }
    }

    /// What ecs-init 1.105.1 logs before it starts the agent.
    fn pre_start(&self) {
        self.log("ecs-init", "info", "pre-start", &[]);
        for step in agent_messages::PRE_START_STEPS {
            self.log("ecs-init", "info", &format!("pre-start: {step}"), &[]);
        }
        let lines = lock(&self.behaviour).init_logs_too;
        if !lines.is_empty() {
            let _ = self.appended("ecs-init", lines);
        }
    }

    /// How the agent behaves now.
    fn current_behaviour(&self) -> Behaviour {
        let behaviour = lock(&self.behaviour).clone();
        let is_healthy = behaviour.fails_while.is_some_and(|fails| !fails(&self.disk));
        if is_healthy { Behaviour::default() } else { behaviour }
    }

    fn attempt(&self, stop: &StopRequest) -> Exit {
        let behaviour = self.current_behaviour();
        if let Some((code, text)) = behaviour.prints {
            self.docker.change(|docker| docker.output += text);
            return Exit::Code(code);
        }
        self.log("ecs-agent", "info", "Starting Amazon ECS Agent", &[("version", "1.106.1")]);
        for (level, message) in agent_messages::MESSAGES_OF_A_HEALTHY_START {
            self.log("ecs-agent", level, message, &[]);
        }
        if !behaviour.logs_too.is_empty() {
            let _ = self.appended("ecs-agent", behaviour.logs_too);
        }
        let config = self.config();
        if let Some(text) = &behaviour.crashes_with {
            return self.exit(1, "Unable to register as a container instance with ECS", text);
        }
        if let Some(text) = &behaviour.gives_up_with {
            self.exit(5, "Unable to register as a container instance with ECS", text);
            return self.exit(5, "Agent will terminally exit, unable to register container instance", text);
        }
        if let Some((code, bytes)) = &behaviour.dies_with {
            let _ = self.appended("ecs-agent", bytes);
            return Exit::Code(*code);
        }
        if let Some((code, message, error)) = behaviour.exits {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
            let word: String = now.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
            let error = if behaviour.errors_vary { format!("{error}: {word}") } else { error.to_owned() };
            return self.exit(code, message, &error);
        }
        if config.get("ECS_ENABLE_GPU_SUPPORT").is_some_and(|value| value == "true")
            && !self.disk.path("dev/nvidia0").exists()
        {
            self.log("ecs-agent", "warn", "GPU information is not found; continuing without it", &[]);
        }
        let attributes = match self.attributes(&config) {
            Ok(attributes) => attributes,
            Err(text) => return self.exit(1, "Error loading config", &text),
        };
        let cluster = match config.get("ECS_CLUSTER").map(|name| name.trim()) {
            None | Some("") => "default".to_owned(),
            Some(name) => name.to_owned(),
        };
        let instance_id = lock(&self.imds).instance_id.clone();
        if let Some(exit) = self.saved_state_refuses(&cluster, &instance_id) {
            return exit;
        }
        if config.get("ECS_WARM_POOLS_CHECK").is_some_and(|value| is_true(value)) && self.waits_in_the_pool(stop) {
            return Exit::Stopped;
        }
        if stop.pause(behaviour.register_delay) || (behaviour.never_registers && stop.pause(Duration::MAX)) {
            return Exit::Stopped;
        }
        if !matches!(lock(&self.imds).role, imds::Role::Present(_)) {
            let text = "operation error ECS: RegisterContainerInstance, get identity: get credentials: failed to \
                        refresh cached credentials, no EC2 IMDS role found, operation error ec2imds: GetMetadata, http \
                        response error StatusCode: 404";
            return self.exit(1, "Unable to register as a container instance with ECS", text);
        }
        match self.register(stop, &cluster, &instance_id, attributes) {
            Ok(arn) if behaviour.attributes_rejected => {
                self.log("ecs-agent", "info", "Registered container instance with cluster!", &[("instanceArn", &arn)]);
                self.exit(5, "Error registering attributes", "Attribute validation failed")
            }
            Ok(arn) => self.serve(stop, &behaviour, &cluster, &instance_id, arn),
            Err(exit) => exit,
        }
    }

    /// Compares the saved state with this instance and cluster, like the agent at its start. State of another instance is
    /// dropped. For another cluster the agent exits with 5.
    fn saved_state_refuses(&self, cluster: &str, instance_id: &str) -> Option<Exit> {
        let saved = self.disk.agent_state()?;
        if saved.instance_id != instance_id {
            let text = format!(
                "Data mismatch; saved InstanceID '{}' does not match current InstanceID '{instance_id}'. Overwriting \
                 old datafile",
                saved.instance_id
            );
            self.log("ecs-agent", "warn", &text, &[]);
            return None;
        }
        if saved.cluster == cluster {
            return None;
        }
        let text = format!(
            "Data mismatch; saved cluster '{}' does not match configured cluster '{cluster}'. Perhaps you want to \
             delete the configured checkpoint file?",
            saved.cluster
        );
        Some(self.exit(5, &text, ""))
    }

    /// Retries throttling and faults of the service, like the real agent (`ecs-agent/api/ecs/client`) but with shorter
    /// pauses. Every other error ends the agent.
    fn register(
        &self,
        stop: &StopRequest,
        cluster: &str,
        instance_id: &str,
        attributes: BTreeMap<String, String>,
    ) -> Result<String, Exit> {
        const RETRIED: [&str; 3] = ["ThrottlingException", "ServerException", "LimitExceededException"];
        let mut pause = Duration::from_millis(200);
        let (status, code, message) = loop {
            let mut aws = lock(&self.aws);
            if cluster == "default" && !aws.clusters.contains_key("default") {
                aws.add_cluster("default", &[]);
            }
            let (status, code, message) = match aws.register(cluster, instance_id, attributes.clone()) {
                Ok(arn) => return Ok(arn),
                Err(error) => error,
            };
            drop(aws);
            if !RETRIED.contains(&code.as_str()) {
                break (status, code, message);
            }
            let text =
                "Received non-terminal error from RegisterContainerInstance call, retrying with exponential backoff";
            self.log("ecs-agent", "error", text, &[("error", &format!("{code}: {message}"))]);
            if stop.pause(pause) {
                return Err(Exit::Stopped);
            }
            pause = (pause * 2).min(Duration::from_secs(3));
        };
        let error = format!(
            "operation error ECS: RegisterContainerInstance, https response error StatusCode: {status}, RequestID: \
             simulated, {code}: {message}"
        );
        let terminal = matches!(code.as_str(), "ClientException" | "InvalidParameterException");
        let exit =
            self.exit(if terminal { 5 } else { 1 }, "Unable to register as a container instance with ECS", &error);
        if terminal {
            let text = "Agent will terminally exit, unable to register container instance";
            self.log("ecs-agent", "critical", text, &[("error", &error)]);
        }
        Err(exit)
    }

    fn serve(&self, stop: &StopRequest, behaviour: &Behaviour, cluster: &str, instance_id: &str, arn: String) -> Exit {
        let shown = if behaviour.empty_arn { String::new() } else { arn.clone() };
        let claimed = behaviour.claimed_arn.clone().unwrap_or_else(|| shown.clone());
        self.log("ecs-agent", "info", "Registered container instance with cluster!", &[]);
        let fields = [("instanceArn", shown.as_str()), ("cluster", cluster)];
        self.log("ecs-agent", "info", "Instance registration completed successfully", &fields);
        self.disk.save_agent_state(&AgentState {
            cluster: cluster.into(),
            container_instance_arn: shown.clone(),
            instance_id: instance_id.into(),
        });
        let metadata = serde_json::json!({"Cluster": cluster, "ContainerInstanceArn": claimed,
            "Version": format!("Amazon ECS Agent - v{} (*a8b3e7d3)", behaviour.version.unwrap_or("1.106.1"))})
        .to_string();
        if behaviour.port_taken {
            let error = "listen tcp :51678: bind: address already in use";
            self.log("ecs-agent", "error", "Error running http api", &[("error", error)]);
            stop.pause(Duration::MAX);
            return Exit::Stopped;
        }
        let answers = behaviour.answers.clone();
        let behaves = Arc::clone(&self.behaviour);
        let (aws, own_arn) = (Arc::clone(&self.aws), arn.clone());
        let port = self.port.clone();
        self.disk.listens(port.address(), behaviour.listener_uid);
        let server = Server::on_port(port, move |request| match request.path.as_str() {
            path if answers.contains_key(path) => Reply::new(200, "application/json", answers[path].clone()).into(),
            "/v1/metadata" if lock(&behaves).garbage_introspection => Answer::Raw(b"\x01\x02 not HTTP".to_vec()),
            "/v1/metadata" => Reply::new(200, "application/json", metadata.clone()).into(),
            "/v1/tasks" => {
                Reply::new(200, "application/json", tasks(&lock(&behaves).tasks, &lock(&aws), &own_arn)).into()
            }
            _ => {
                Reply::new(200, "application/json", r#"{"AvailableCommands":["/v1/metadata","/v1/tasks","/license"]}"#)
                    .into()
            }
        });
        self.log("ecs-agent", "info", "Beginning Polling for updates", &[]);
        if behaviour.deregistered {
            let mut aws = lock(&self.aws);
            aws.container_instances.iter_mut().for_each(|one| one.status = "INACTIVE".into());
            drop(aws);
            let error = "InactiveInstanceException: Container instance is deregistered.";
            self.log("ecs-agent", "error", "Failed to connect to ACS", &[("error", error)]);
            stop.pause(Duration::MAX);
        }
        while let Some(error) = self.current_behaviour().acs_error {
            self.log("ecs-agent", "error", "Failed to connect to ACS", &[("error", error)]);
            if stop.pause(Duration::from_millis(200)) {
                break;
            }
        }
        while self.current_behaviour().never_connects && !stop.pause(Duration::from_millis(200)) {}
        if !stop.pause(behaviour.connect_delay) {
            self.connected(&arn, true);
            self.log("ecs-agent", "info", "Connected to ACS endpoint", &[]);
            self.log("ecs-agent", "info", "Connected to TCS endpoint", &[]);
        }
        stop.pause(Duration::MAX);
        drop(server);
        self.disk.stops_listening();
        self.connected(&arn, false);
        Exit::Stopped
    }

    fn connected(&self, arn: &str, connected: bool) {
        lock(&self.aws)
            .container_instances
            .iter_mut()
            .filter(|one| one.arn == arn)
            .for_each(|one| one.agent_connected = connected);
    }

    /// Waits until the instance is in service. Returns true if the unit was stopped. The real agent polls once a
    /// minute.
    fn waits_in_the_pool(&self, stop: &StopRequest) -> bool {
        self.log("ecs-agent", "info", "Waiting for instance to go InService", &[]);
        while lock(&self.imds).target_lifecycle_state.as_deref() != Some("InService") {
            if stop.pause(Duration::from_millis(50)) {
                return true;
            }
        }
        false
    }

    /// The variables of both files, by ecs-init's parser (`ecs-init/docker/docker.go`, getEnvVars). The later file
    /// wins.
    fn config(&self) -> BTreeMap<String, String> {
        let files = ["var/lib/ecs/ecs.config", "etc/ecs/ecs.config"].map(|path| self.disk.text(path));
        let lines = files.iter().flat_map(|text| text.trim().split('\n')).map(str::trim);
        lines.filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect()
    }

    fn attributes(&self, config: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
        for key in ["ECS_CONTAINER_INSTANCE_TAGS", "ECS_INSTANCE_ATTRIBUTES"] {
            let text = config.get(key).map(|text| text.trim()).filter(|text| !text.is_empty()).unwrap_or("{}");
            match serde_json::from_str(text) {
                Ok(map) if key == "ECS_INSTANCE_ATTRIBUTES" => {
                    // An agent with task interfaces asks for a trunk interface (`agent_capability_unix.go`).
                    let has_interfaces = config.get("ECS_ENABLE_TASK_ENI").is_some_and(|value| value == "true");
                    let trunking = ("ecs.capability.task-eni-trunking".to_owned(), String::new());
                    let trunking = has_interfaces.then_some(trunking);
                    let capabilities = self.drivers(config).into_iter().chain(trunking);
                    return Ok(capabilities.chain(map).collect::<BTreeMap<String, String>>());
                }
                Ok::<BTreeMap<String, String>, _>(_) => {}
                Err(_) => return Err(format!("Invalid format for {key}. Expected a json hash: invalid character")),
            }
        }
        Ok(BTreeMap::new())
    }

    /// The attribute of each logging driver that docker supports.
    fn drivers(&self, config: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        const DEFAULT: &str = r#"["json-file","syslog","awslogs","fluentd","none"]"#;
        let configured = config.get("ECS_AVAILABLE_LOGGING_DRIVERS").map_or(DEFAULT, String::as_str);
        let drivers: Vec<String> = serde_json::from_str(configured).unwrap_or_default();
        let unsupported = lock(&self.behaviour).unsupported_driver;
        let supported = drivers.into_iter().filter(|driver| driver != unsupported);
        supported
            .map(|driver| (format!("com.amazonaws.ecs.capability.logging-driver.{driver}"), String::new()))
            .collect()
    }

    fn exit(&self, code: i32, message: &str, error: &str) -> Exit {
        self.log("ecs-agent", "critical", message, &[("error", error)]);
        Exit::Code(code)
    }

    fn container(&self, running: bool, exit_code: i64) {
        self.docker.change(|docker| {
            let started_at = match &docker.container {
                Some(container) if !running => container.started_at,
                _ => SystemTime::now(),
            };
            let finished_at = (!running).then(SystemTime::now);
            if running {
                docker.output.clear();
            }
            docker.container = Some(Container { running, exit_code, started_at, finished_at });
        });
    }
}

/// The JSON document of the tasks (`ecs-agent/introspection/v1/response.go`).
fn tasks(tasks: &[(u32, &str)], aws: &aws::State, own_arn: &str) -> String {
    let task = |(number, status): &(u32, &str)| {
        serde_json::json!({"Arn": format!("arn:aws:ecs:eu-west-1:111122223333:task/prod/{number}"),
            "DesiredStatus": "RUNNING", "KnownStatus": status, "Family": "web", "Version": "3", "Containers": []})
    };
    let placed = aws.tasks.iter().filter(|task| task.instance == own_arn).map(|task| {
        serde_json::json!({"Arn": task.arn, "DesiredStatus": "RUNNING", "KnownStatus": task.status(),
            "Family": task.service.name, "Version": "1", "Containers": []})
    });
    // The real agent lists them in the order of a map, which is another one at each request.
    let mut all: Vec<_> = tasks.iter().map(task).chain(placed).collect();
    let first = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos() as usize;
    let at = first / 1000 % all.len().max(1);
    all.rotate_left(at);
    serde_json::json!({"Tasks": all}).to_string()
}

fn is_true(text: &str) -> bool {
    matches!(text.trim(), "1" | "t" | "T" | "TRUE" | "true" | "True")
}

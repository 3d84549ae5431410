//! systemd's manager on a real `dbus-daemon` (man page `org.freedesktop.systemd1`), with a handful of units.
//!
//! In: units and faults, changeable while it runs, and a hook for units that start and stop. Out: the calls that were made.

use super::http::lock;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zbus::object_server::SignalEmitter;
use zbus::{Connection, DBusError, Message, OwnedObjectPath, interface, message::Header, names::ErrorName};

const MANAGER: &str = "/org/freedesktop/systemd1";

/// How the next starts of a unit go.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    Works,
    /// The call is answered with this D-Bus error.
    Refused {
        name: String,
        text: String,
    },
    /// The job ends with this result (`failed`, `dependency`, `timeout`, ...).
    Fails(String),
    NeverEnds,
}

#[derive(Clone, Debug)]
pub struct Unit {
    pub load_state: String,
    pub active_state: String,
    pub sub_state: String,
    pub unit_file_state: String,
    pub after: Vec<String>,
    pub before: Vec<String>,
    pub wants: Vec<String>,
    pub result: String,
    /// `CLD_EXITED` is 1.
    pub exec_main_code: i32,
    pub exec_main_status: i32,
    pub main_pid: u32,
    pub n_restarts: u32,
    /// Microseconds since the epoch; 0 if it never was active.
    pub active_enter: u64,
    pub exec_main_start: u64,
    pub start: Start,
    pub delay: Duration,
    job: Option<u32>,
}

impl Unit {
    fn new(load_state: &str, unit_file_state: &str) -> Self {
        Self {
            load_state: load_state.into(),
            active_state: "inactive".into(),
            sub_state: "dead".into(),
            unit_file_state: unit_file_state.into(),
            after: Vec::new(),
            before: Vec::new(),
            wants: Vec::new(),
            result: "success".into(),
            exec_main_code: 0,
            exec_main_status: 0,
            main_pid: 0,
            n_restarts: 0,
            active_enter: 0,
            exec_main_start: 0,
            start: Start::Works,
            delay: Duration::ZERO,
            job: None,
        }
    }

    /// Makes it as if the unit were not installed.
    pub fn absent(&mut self) {
        *self = Self::new("not-found", "");
    }

    pub fn masked(&mut self) {
        self.load_state = "masked".into();
        self.unit_file_state = "masked".into();
    }

    fn set_active(&mut self) {
        self.active_state = "active".into();
        self.sub_state = "running".into();
        self.result = "success".into();
        self.active_enter = now();
        self.exec_main_start = self.active_enter;
        self.main_pid = 4242;
    }

    fn set_inactive(&mut self, active_state: &str, sub_state: &str) {
        self.active_state = active_state.into();
        self.sub_state = sub_state.into();
        self.main_pid = 0;
    }
}

/// What a unit did, for the hook.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    Started,
    Stopped,
}

type Hook = Arc<dyn Fn(&str, Event) + Send + Sync>;

#[derive(Default)]
pub struct State {
    pub units: BTreeMap<String, Unit>,
    /// Methods of the manager that never answer.
    pub silent: BTreeSet<String>,
    /// The unit that every process belongs to; None: a session.
    pub caller: Option<String>,
    calls: Vec<String>,
    /// Unit and type of each pending job.
    jobs: BTreeMap<u32, (String, &'static str)>,
    last_job: u32,
    subscribed: BTreeSet<String>,
    root: PathBuf,
}

/// The units, for the agent's simulator.
#[derive(Clone)]
pub struct Units(Arc<Mutex<State>>);

impl Units {
    /// The unit's main process exited with this code and is not restarted.
    pub fn failed(&self, name: &str, status: i32) {
        if let Some(unit) = lock(&self.0).units.get_mut(name) {
            unit.set_inactive("failed", "failed");
            unit.result = "exit-code".into();
            unit.exec_main_code = 1;
            unit.exec_main_status = status;
        }
    }
}

/// The bus and the manager on it; both stop when dropped.
pub struct Systemd {
    state: Arc<Mutex<State>>,
    hook: Arc<Mutex<Option<Hook>>>,
    address: String,
    daemon: Child,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Systemd {
    /// Starts the bus in `folder`; units written below `root` are found when they are asked for.
    pub fn start(folder: &Path, root: &Path) -> Self {
        let (daemon, address) = start_bus(folder);
        let state = Arc::new(Mutex::new(State { units: ami_units(), root: root.to_owned(), ..State::default() }));
        let hook: Arc<Mutex<Option<Hook>>> = Arc::default();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, wait) = mpsc::channel();
        let manager = Manager { state: Arc::clone(&state), hook: Arc::clone(&hook) };
        let bus = address.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let connection = serve(manager, &bus).await.expect("systemd's name on the simulated bus");
                let _ = ready.send(());
                let _ = stopped.await;
                drop(connection);
            });
        });
        wait.recv_timeout(Duration::from_secs(10)).expect("the simulated systemd to come up");
        Self { state, hook, address, daemon, stop: Some(stop), thread: Some(thread) }
    }

    /// For `DBUS_SYSTEM_BUS_ADDRESS`.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn units(&self) -> Units {
        Units(Arc::clone(&self.state))
    }

    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
    }

    pub fn change_unit(&self, name: &str, change: impl FnOnce(&mut Unit)) {
        let mut state = lock(&self.state);
        change(state.units.entry(name.into()).or_insert_with(|| Unit::new("not-found", "")));
    }

    pub fn unit(&self, name: &str) -> Option<Unit> {
        lock(&self.state).units.get(name).cloned()
    }

    /// cloud-init's last stage is still running: its start job is pending, and what is after it waits.
    pub fn cloud_final_runs(&self) {
        self.change(|state| {
            let id = state.new_job("cloud-final.service", "start");
            state.units.entry("cloud-final.service".into()).and_modify(|unit| {
                unit.active_state = "activating".into();
                unit.sub_state = "start".into();
                unit.job = Some(id);
            });
        });
    }

    /// cloud-init's last stage ends; jobs that waited for it go on.
    pub fn cloud_final_ends(&self) {
        self.change(|state| {
            if let Some(unit) = state.units.get_mut("cloud-final.service") {
                unit.set_active();
                unit.sub_state = "exited".into();
                let job = unit.job.take();
                state.jobs.retain(|id, _| Some(*id) != job);
            }
        });
    }

    pub fn on_event(&self, hook: impl Fn(&str, Event) + Send + Sync + 'static) {
        *lock(&self.hook) = Some(Arc::new(hook));
    }

    /// Method calls on the manager in order, `StartUnit ecs.service` and the like.
    pub fn calls(&self) -> Vec<String> {
        lock(&self.state).calls.clone()
    }

    pub fn forget_calls(&self) {
        lock(&self.state).calls.clear();
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        lock(&self.hook).take();
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

impl State {
    fn new_job(&mut self, unit: &str, kind: &'static str) -> u32 {
        self.last_job += 1;
        self.jobs.insert(self.last_job, (unit.into(), kind));
        self.last_job
    }

    /// Loads a unit as systemd does: a file that lies there now makes an unknown unit known.
    fn load(&mut self, name: &str) -> &mut Unit {
        let folders = ["run/systemd/system", "etc/systemd/system"];
        let written = folders.iter().any(|folder| self.root.join(folder).join(name).exists());
        let unit = self.units.entry(name.into()).or_insert_with(|| Unit::new("not-found", ""));
        if written && unit.load_state == "not-found" {
            *unit = Unit::new("loaded", "static");
        }
        unit
    }

    /// Pending jobs that must finish before this unit's job may run.
    fn jobs_before(&self, name: &str) -> Vec<u32> {
        let after = self.units.get(name).map(|unit| unit.after.as_slice()).unwrap_or_default();
        self.jobs.iter().filter(|(_, (unit, _))| after.contains(unit)).map(|(id, _)| *id).collect()
    }
}

fn ami_units() -> BTreeMap<String, Unit> {
    let mut ecs = Unit::new("loaded", "enabled");
    ecs.after = vec!["docker.service".into(), "cloud-final.service".into()];
    ecs.wants = vec!["docker.service".into()];
    let mut docker = Unit::new("loaded", "enabled");
    docker.before = vec!["ecs.service".into()];
    let mut cloud_final = Unit::new("loaded", "enabled");
    cloud_final.before = vec!["ecs.service".into()];
    cloud_final.set_active();
    cloud_final.sub_state = "exited".into();
    let verify = Unit::new("not-found", "");
    [("ecs", ecs), ("docker", docker), ("cloud-final", cloud_final), ("ecs-bootstrap-verify", verify)]
        .into_iter()
        .map(|(name, unit)| (format!("{name}.service"), unit))
        .collect()
}

fn start_bus(folder: &Path) -> (Child, String) {
    let address = format!("unix:path={}", folder.join("bus").display());
    let config = folder.join("bus.conf");
    let policy = "<policy context=\"default\"><allow send_destination=\"*\"/><allow eavesdrop=\"false\"/><allow own=\"*\"/></policy>";
    let text =
        format!("<busconfig><type>system</type><listen>{address}</listen><auth>EXTERNAL</auth>{policy}</busconfig>");
    std::fs::write(&config, text).expect("the bus's configuration");
    let program = std::env::var_os("ECS_BOOTSTRAP_TEST_DBUS_DAEMON").unwrap_or_else(|| "dbus-daemon".into());
    let mut daemon = Command::new(program)
        .args(["--nofork", "--nopidfile", "--print-address"])
        .arg(format!("--config-file={}", config.display()))
        .stdout(Stdio::piped())
        .spawn()
        .expect("dbus-daemon (Debian package of that name), in PATH or named by ECS_BOOTSTRAP_TEST_DBUS_DAEMON");
    let mut line = String::new();
    let stdout = daemon.stdout.take().expect("its output is piped");
    BufReader::new(stdout).read_line(&mut line).expect("the bus's address");
    (daemon, address)
}

async fn serve(manager: Manager, address: &str) -> zbus::Result<Connection> {
    let known: Vec<String> = lock(&manager.state).units.keys().cloned().collect();
    let state = Arc::clone(&manager.state);
    let connection = zbus::connection::Builder::address(address).serve_at(MANAGER, manager).build().await?;
    for name in known {
        publish(&connection, &state, &name).await?;
    }
    connection.request_name("org.freedesktop.systemd1").await?;
    Ok(connection)
}

async fn publish(connection: &Connection, state: &Arc<Mutex<State>>, name: &str) -> zbus::Result<OwnedObjectPath> {
    let path = unit_path(name);
    let server = connection.object_server();
    server.at(&path, UnitObject { name: name.into(), state: Arc::clone(state) }).await?;
    server.at(&path, ServiceObject { name: name.into(), state: Arc::clone(state) }).await?;
    Ok(path)
}

fn unit_path(name: &str) -> OwnedObjectPath {
    let escaped: String = name
        .bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("_{byte:02x}") })
        .collect();
    object_path(format!("{MANAGER}/unit/{escaped}"))
}

fn job_path(id: u32) -> OwnedObjectPath {
    object_path(format!("{MANAGER}/job/{id}"))
}

fn object_path(path: String) -> OwnedObjectPath {
    OwnedObjectPath::try_from(path).expect("a valid object path")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// An error reply with any name.
#[derive(Debug)]
struct Refused {
    name: String,
    text: String,
}

impl Refused {
    fn no_such_unit(text: String) -> Self {
        Self { name: "org.freedesktop.systemd1.NoSuchUnit".into(), text }
    }
}

impl DBusError for Refused {
    fn create_reply(&self, message: &Header<'_>) -> zbus::Result<Message> {
        Message::error(message, self.name()).build(&(self.text.as_str(),))
    }

    fn name(&self) -> ErrorName<'_> {
        ErrorName::try_from(self.name.as_str()).expect("a valid error name")
    }

    fn description(&self) -> Option<&str> {
        Some(&self.text)
    }
}

impl From<zbus::Error> for Refused {
    fn from(error: zbus::Error) -> Self {
        Self { name: "org.freedesktop.DBus.Error.Failed".into(), text: error.to_string() }
    }
}

#[derive(Clone)]
struct Manager {
    state: Arc<Mutex<State>>,
    hook: Arc<Mutex<Option<Hook>>>,
}

type Job = (u32, String, String, String, OwnedObjectPath, OwnedObjectPath);

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    async fn subscribe(&self, #[zbus(header)] header: Header<'_>) -> Result<(), Refused> {
        self.called("Subscribe", "").await;
        let sender = header.sender().map(ToString::to_string).unwrap_or_default();
        if lock(&self.state).subscribed.insert(sender) {
            return Ok(());
        }
        let name = "org.freedesktop.systemd1.AlreadySubscribed".into();
        Err(Refused { name, text: "Client is already subscribed.".into() })
    }

    async fn load_unit(
        &self,
        name: String,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Refused> {
        self.called("LoadUnit", &name).await;
        lock(&self.state).load(&name);
        Ok(publish(connection, &self.state, &name).await?)
    }

    async fn get_unit(&self, name: String) -> Result<OwnedObjectPath, Refused> {
        self.called("GetUnit", &name).await;
        let loaded = lock(&self.state).units.get(&name).is_some_and(|unit| unit.load_state != "not-found");
        if loaded { Ok(unit_path(&name)) } else { Err(Refused::no_such_unit(format!("Unit {name} not loaded."))) }
    }

    #[zbus(name = "GetUnitByPID")]
    async fn get_unit_by_pid(
        &self,
        pid: u32,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Refused> {
        self.called("GetUnitByPID", &pid.to_string()).await;
        let name = lock(&self.state).caller.clone().unwrap_or_else(|| "session-1.scope".into());
        lock(&self.state).units.entry(name.clone()).or_insert_with(|| Unit::new("loaded", "transient"));
        Ok(publish(connection, &self.state, &name).await?)
    }

    async fn get_job_before(&self, id: u32) -> Result<Vec<Job>, Refused> {
        self.called("GetJobBefore", &id.to_string()).await;
        let state = lock(&self.state);
        let Some((name, _)) = state.jobs.get(&id) else {
            let name = "org.freedesktop.systemd1.NoSuchJob".into();
            return Err(Refused { name, text: format!("Job {id} does not exist.") });
        };
        let described = |id: u32| {
            let (unit, kind) = &state.jobs[&id];
            let running = state.jobs_before(unit).is_empty();
            let word = if running { "running" } else { "waiting" };
            (id, unit.clone(), (*kind).to_owned(), word.to_owned(), job_path(id), unit_path(unit))
        };
        Ok(state.jobs_before(name).into_iter().map(described).collect())
    }

    async fn start_unit(
        &self,
        name: String,
        mode: String,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Refused> {
        self.called("StartUnit", &name).await;
        self.enqueue(connection, &name, &mode, "start").await
    }

    async fn restart_unit(
        &self,
        name: String,
        mode: String,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Refused> {
        self.called("RestartUnit", &name).await;
        self.enqueue(connection, &name, &mode, "restart").await
    }

    async fn stop_unit(
        &self,
        name: String,
        mode: String,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Refused> {
        self.called("StopUnit", &name).await;
        self.enqueue(connection, &name, &mode, "stop").await
    }

    #[zbus(signal)]
    async fn job_new(emitter: &SignalEmitter<'_>, id: u32, job: OwnedObjectPath, unit: &str) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: OwnedObjectPath,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;
}

impl Manager {
    /// Notes a call, and never comes back where the method is silent.
    async fn called(&self, method: &str, argument: &str) {
        let silent = {
            let mut state = lock(&self.state);
            state.calls.push(format!("{method} {argument}").trim_end().to_owned());
            state.silent.contains(method)
        };
        if silent {
            std::future::pending::<()>().await;
        }
    }

    async fn enqueue(
        &self,
        connection: &Connection,
        name: &str,
        _mode: &str,
        kind: &'static str,
    ) -> Result<OwnedObjectPath, Refused> {
        let (jobs, id) = {
            let mut state = lock(&self.state);
            let unit = state.load(name).clone();
            if let Start::Refused { name, text } = unit.start {
                return Err(Refused { name, text });
            }
            match unit.load_state.as_str() {
                "not-found" => return Err(Refused::no_such_unit(format!("Unit {name} not found."))),
                "masked" => {
                    let text = format!("Unit {name} is masked.");
                    return Err(Refused { name: "org.freedesktop.systemd1.UnitMasked".into(), text });
                }
                _ => {}
            }
            if let Some(pending) = unit.job.filter(|id| state.jobs.contains_key(id)) {
                return Ok(job_path(pending));
            }
            let mut wanted = vec![(name.to_owned(), kind)];
            if kind != "stop" {
                let idle = |want: &&String| {
                    state.units.get(*want).is_some_and(|unit| {
                        unit.load_state == "loaded" && unit.active_state != "active" && unit.job.is_none()
                    })
                };
                wanted.extend(unit.wants.iter().filter(idle).map(|want| (want.clone(), "start")));
            }
            let mut jobs = Vec::new();
            for (unit, kind) in wanted {
                let id = state.new_job(&unit, kind);
                state.load(&unit).job = Some(id);
                jobs.push((id, unit, kind));
            }
            let id = jobs[0].0;
            (jobs, id)
        };
        publish(connection, &self.state, name).await?;
        for (id, unit, kind) in jobs {
            let (manager, connection) = (self.clone(), connection.clone());
            tokio::spawn(async move { manager.run_job(&connection, id, &unit, kind).await });
        }
        Ok(job_path(id))
    }

    async fn run_job(&self, connection: &Connection, id: u32, name: &str, kind: &'static str) {
        let Ok(emitter) = SignalEmitter::new(connection, MANAGER) else { return };
        let _ = Self::job_new(&emitter, id, job_path(id), name).await;
        while !lock(&self.state).jobs_before(name).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (start, delay, was_active) = {
            let mut state = lock(&self.state);
            let unit = state.load(name);
            let was_active = unit.active_state == "active";
            if kind != "stop" && !(kind == "start" && was_active) {
                unit.active_state = "activating".into();
                unit.sub_state = "start".into();
            }
            (unit.start.clone(), unit.delay, was_active)
        };
        tokio::time::sleep(delay).await;
        let result = match start {
            Start::NeverEnds => return,
            Start::Fails(result) => result,
            _ if kind != "stop" && name == "ecs.service" && !self.docker_is_active() => "failed".into(),
            _ => "done".into(),
        };
        let fresh = result == "done" && !(kind == "start" && was_active);
        if was_active && kind != "start" {
            self.tell(name, Event::Stopped).await;
        }
        {
            let mut state = lock(&self.state);
            state.jobs.remove(&id);
            let unit = state.load(name);
            unit.job = None;
            if result != "done" {
                unit.set_inactive("failed", "failed");
                unit.result = "exit-code".into();
                unit.exec_main_code = 1;
                unit.exec_main_status = 1;
            } else if kind == "stop" {
                unit.set_inactive("inactive", "dead");
            } else if fresh {
                unit.set_active();
            }
        }
        if fresh && kind != "stop" {
            self.tell(name, Event::Started).await;
        }
        let _ = Self::job_removed(&emitter, id, job_path(id), name, &result).await;
    }

    /// Amazon Linux's `ExecStartPre=` of ecs.service.
    fn docker_is_active(&self) -> bool {
        lock(&self.state).units.get("docker.service").is_some_and(|unit| unit.active_state == "active")
    }

    /// The hook may block (it joins the agent's thread), so it runs off this one.
    async fn tell(&self, name: &str, event: Event) {
        let hook = lock(&self.hook).clone();
        if let Some(hook) = hook {
            let name = name.to_owned();
            let _ = tokio::task::spawn_blocking(move || hook(&name, event)).await;
        }
    }
}

struct UnitObject {
    name: String,
    state: Arc<Mutex<State>>,
}

impl UnitObject {
    fn read<T>(&self, value: impl FnOnce(&Unit) -> T) -> T {
        value(lock(&self.state).load(&self.name))
    }
}

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl UnitObject {
    #[zbus(property)]
    fn id(&self) -> String {
        self.name.clone()
    }

    #[zbus(property)]
    fn load_state(&self) -> String {
        self.read(|unit| unit.load_state.clone())
    }

    #[zbus(property)]
    fn active_state(&self) -> String {
        self.read(|unit| unit.active_state.clone())
    }

    #[zbus(property)]
    fn sub_state(&self) -> String {
        self.read(|unit| unit.sub_state.clone())
    }

    #[zbus(property)]
    fn unit_file_state(&self) -> String {
        self.read(|unit| unit.unit_file_state.clone())
    }

    #[zbus(property)]
    fn after(&self) -> Vec<String> {
        self.read(|unit| unit.after.clone())
    }

    #[zbus(property)]
    fn before(&self) -> Vec<String> {
        self.read(|unit| unit.before.clone())
    }

    #[zbus(property)]
    fn wants(&self) -> Vec<String> {
        self.read(|unit| unit.wants.clone())
    }

    #[zbus(property)]
    fn active_enter_timestamp(&self) -> u64 {
        self.read(|unit| unit.active_enter)
    }

    #[zbus(property)]
    fn job(&self) -> (u32, OwnedObjectPath) {
        self.read(|unit| unit.job).map_or((0, object_path("/".into())), |id| (id, job_path(id)))
    }
}

struct ServiceObject {
    name: String,
    state: Arc<Mutex<State>>,
}

impl ServiceObject {
    fn read<T>(&self, value: impl FnOnce(&Unit) -> T) -> T {
        value(lock(&self.state).load(&self.name))
    }
}

#[interface(name = "org.freedesktop.systemd1.Service")]
impl ServiceObject {
    #[zbus(property)]
    fn result(&self) -> String {
        self.read(|unit| unit.result.clone())
    }

    #[zbus(property)]
    fn exec_main_status(&self) -> i32 {
        self.read(|unit| unit.exec_main_status)
    }

    #[zbus(property)]
    fn exec_main_code(&self) -> i32 {
        self.read(|unit| unit.exec_main_code)
    }

    #[zbus(property)]
    fn exec_main_start_timestamp(&self) -> u64 {
        self.read(|unit| unit.exec_main_start)
    }

    #[zbus(property, name = "MainPID")]
    fn main_pid(&self) -> u32 {
        self.read(|unit| unit.main_pid)
    }

    #[zbus(property, name = "NRestarts")]
    fn n_restarts(&self) -> u32 {
        self.read(|unit| unit.n_restarts)
    }
}

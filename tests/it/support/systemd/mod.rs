//! Simulates systemd's manager and a few units on a real `dbus-daemon` (man page `org.freedesktop.systemd1`).
//!
//! In: units and faults, which a test may change at any time, and a hook for starting and stopping units. Out: the
//! method calls.

use super::http::lock;
use bus::Manager;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

mod bus;

/// The outcome of the next starts of a unit.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    Works,
    /// The manager answers the call with this D-Bus error.
    Refused {
        name: String,
        text: String,
    },
    /// The job ends with this result (`failed`, `dependency`, `timeout`, ...).
    Fails(String),
    /// The job fails, and the unit has this result (`start-limit-hit`, `oom-kill`, ...).
    FailsWith(&'static str),
    /// The unit fails with this status before its main process runs, and waits for an automatic restart.
    Retried(i32),
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
    /// Microseconds since the epoch; 0 if the unit never began to start.
    pub inactive_exit: u64,
    /// Microseconds since the epoch; 0 if the unit was never active.
    pub active_enter: u64,
    pub exec_main_start: u64,
    pub exec_main_exit: u64,
    pub drop_ins: Vec<String>,
    pub needs_reload: bool,
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
            inactive_exit: 0,
            active_enter: 0,
            exec_main_start: 0,
            exec_main_exit: 0,
            drop_ins: Vec::new(),
            needs_reload: false,
            start: Start::Works,
            delay: Duration::ZERO,
            job: None,
        }
    }

    /// Makes the unit not installed.
    pub fn absent(&mut self) {
        *self = Self::new("not-found", "");
    }

    /// Adds the drop-in of ecs-bootstrap, which runs guard before each start.
    pub fn guarded(&mut self) {
        self.drop_ins = vec!["/usr/lib/systemd/system/ecs.service.d/10-ecs-bootstrap.conf".into()];
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
        self.inactive_exit = self.active_enter;
        self.exec_main_start = self.active_enter;
        self.main_pid = 4242;
    }

    /// The state after a failed start.
    fn fail(&mut self, start: &Start) {
        self.set_inactive("failed", "failed");
        self.result = "exit-code".into();
        self.exec_main_code = 1;
        self.exec_main_status = 1;
        match start {
            Start::FailsWith(result) => self.result = (*result).into(),
            // A command before the main process fails: the main process has no status.
            Start::Retried(_) => {
                self.set_inactive("activating", "auto-restart");
                (self.exec_main_code, self.exec_main_status, self.n_restarts) = (0, 0, 1);
            }
            // The unit itself has not failed.
            Start::Fails(result) if result == "dependency" => {
                self.set_inactive("inactive", "dead");
                self.result = "success".into();
                (self.exec_main_code, self.exec_main_status) = (0, 0);
            }
            _ => {}
        }
    }

    fn set_inactive(&mut self, active_state: &str, sub_state: &str) {
        self.active_state = active_state.into();
        self.sub_state = sub_state.into();
        self.main_pid = 0;
    }
}

/// An event of a unit, for the hook.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    Started,
    Stopped,
    /// The unit failed before its main process ran.
    Retried,
}

type Hook = Arc<dyn Fn(&str, Event) + Send + Sync>;

#[derive(Default)]
pub struct State {
    pub units: BTreeMap<String, Unit>,
    /// Methods of the manager that never answer.
    pub silent: BTreeSet<String>,
    /// The unit of every process that asks for its own unit. `None`: a login session.
    pub caller: Option<String>,
    calls: Vec<String>,
    /// Unit and type of each pending job.
    jobs: BTreeMap<u32, (String, &'static str)>,
    last_job: u32,
    subscribed: BTreeSet<String>,
    root: PathBuf,
    /// When the kernel started, in microseconds since the epoch. systemd starts a second later.
    pub booted: u64,
}

/// The units, for the agent's simulator.
#[derive(Clone)]
pub struct Units(Arc<Mutex<State>>);

impl Units {
    /// The main process of the unit exited with 0, and is not restarted.
    pub fn ended(&self, name: &str) {
        if let Some(unit) = lock(&self.0).units.get_mut(name) {
            unit.set_inactive("inactive", "dead");
            unit.exec_main_code = 1;
            unit.exec_main_exit = now();
        }
    }

    /// The main process of the unit exited with this code, and is not restarted.
    pub fn failed(&self, name: &str, status: i32) {
        if let Some(unit) = lock(&self.0).units.get_mut(name) {
            unit.set_inactive("failed", "failed");
            unit.result = "exit-code".into();
            unit.exec_main_code = 1;
            unit.exec_main_exit = now();
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
    /// Starts the bus in `folder`. Unit files that a test writes below `root` are loaded when they are requested.
    pub fn start(folder: &Path, root: &Path) -> Self {
        let (daemon, address) = start_bus(folder);
        let booted = now() - monotonic_us();
        let state = State { units: ami_units(), root: root.to_owned(), booted, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let hook: Arc<Mutex<Option<Hook>>> = Arc::default();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, wait) = mpsc::channel();
        let manager = Manager { state: Arc::clone(&state), hook: Arc::clone(&hook) };
        let bus = address.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let connection = bus::serve(manager, &bus).await.expect("systemd's name on the simulated bus");
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

    /// Gives the agent's unit another name; `None` removes it.
    pub fn rename_agent_unit(&self, name: Option<&str>) {
        self.change(|state| {
            let unit = state.units.remove("ecs.service").expect("the agent's unit");
            let before: Vec<String> = name.into_iter().map(str::to_owned).collect();
            state.units.values_mut().for_each(|other| other.before.clone_from(&before));
            before.into_iter().for_each(|name| drop(state.units.insert(name, unit.clone())));
        });
    }

    pub fn unit(&self, name: &str) -> Option<Unit> {
        lock(&self.state).units.get(name).cloned()
    }

    /// Makes cloud-init's last stage still run: its start job is pending, and units after it wait.
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

    /// Makes a unit with a start job that waits.
    pub fn queue(&self, name: &str) {
        self.change(|state| {
            let id = state.new_job(name, "start");
            let mut unit = Unit::new("loaded", "static");
            unit.job = Some(id);
            state.units.insert(name.into(), unit);
        });
    }

    /// Ends cloud-init's last stage, and the targets that only wait for it. Jobs that waited for them continue.
    pub fn cloud_final_ends(&self) {
        self.change(|state| {
            let mut ended = Vec::new();
            for (name, unit) in &mut state.units {
                if name == "cloud-final.service" {
                    unit.set_active();
                    unit.sub_state = "exited".into();
                    ended.extend(unit.job.take());
                } else if name.ends_with(".target") && unit.job.is_some() {
                    unit.set_active();
                    ended.extend(unit.job.take());
                }
            }
            state.jobs.retain(|id, _| !ended.contains(id));
        });
    }

    pub fn on_event(&self, hook: impl Fn(&str, Event) + Send + Sync + 'static) {
        *lock(&self.hook) = Some(Arc::new(hook));
    }

    /// Calls a method of the manager with a unit, as `systemctl --no-block` does: `StartUnit`, `RestartUnit`.
    pub fn request(&self, method: &str, unit: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(bus::request(&self.address, method, unit)).expect("systemd accepts the request");
    }

    /// Method calls on the manager in order, for example `StartUnit ecs.service`.
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
    fn new_job(&mut self, unit: &str, job_type: &'static str) -> u32 {
        self.last_job += 1;
        self.jobs.insert(self.last_job, (unit.into(), job_type));
        self.last_job
    }

    /// Loads a unit like systemd: if its file exists now, an unknown unit becomes known.
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
    let policy = "<policy context=\"default\"><allow send_destination=\"*\"/><allow eavesdrop=\"false\"/><allow \
                  own=\"*\"/><allow user=\"*\"/></policy>";
    let text =
        format!("<busconfig><type>session</type><listen>{address}</listen><auth>EXTERNAL</auth>{policy}</busconfig>");
    std::fs::write(&config, text).expect("the bus's configuration");
    let log = std::fs::File::create(folder.join("bus.log")).expect("the bus's log");
    let program = std::env::var_os("ECS_BOOTSTRAP_TEST_DBUS_DAEMON").unwrap_or_else(|| "dbus-daemon".into());
    let mut daemon = Command::new(program)
        .args(["--nofork", "--nopidfile", "--print-address"])
        .arg(format!("--config-file={}", config.display()))
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("dbus-daemon (Debian package of that name), in PATH or named by ECS_BOOTSTRAP_TEST_DBUS_DAEMON");
    let mut line = String::new();
    let stdout = daemon.stdout.take().expect("its output is piped");
    BufReader::new(stdout).read_line(&mut line).expect("the bus's address");
    (daemon, address)
}

/// The records of ecs-bootstrap have the true monotonic time, so the simulated host booted when this machine did.
fn monotonic_us() -> u64 {
    match sd_notify::NotifyState::monotonic_usec_now() {
        Ok(sd_notify::NotifyState::MonotonicUsec(us)) => us as u64,
        other => panic!("no monotonic time: {other:?}"),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

//! The D-Bus interface of the simulated systemd: manager, units, services, and their jobs.
//!
//! In: method calls. Out: replies, D-Bus signals, changes of the state. Which units exist is decided in `mod.rs`.

use super::super::http::lock;
use super::{Event, Hook, Start, State, Unit};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, DBusError, Message, OwnedObjectPath, interface, message::Header, names::ErrorName};

const MANAGER: &str = "/org/freedesktop/systemd1";

pub(super) async fn serve(manager: Manager, address: &str) -> zbus::Result<Connection> {
    let known: Vec<String> = lock(&manager.state).units.keys().cloned().collect();
    let state = Arc::clone(&manager.state);
    let connection = zbus::connection::Builder::address(address).serve_at(MANAGER, manager).build().await?;
    for name in known {
        publish(&connection, &state, &name).await?;
    }
    connection.request_name("org.freedesktop.systemd1").await?;
    Ok(connection)
}

/// Sends a request of a client to the manager.
pub(super) async fn request(address: &str, method: &str, unit: &str) -> zbus::Result<()> {
    let connection = zbus::connection::Builder::address(address).build().await?;
    let name = "org.freedesktop.systemd1";
    connection
        .call_method(Some(name), MANAGER, Some("org.freedesktop.systemd1.Manager"), method, &(unit, "replace"))
        .await?;
    Ok(())
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

/// A D-Bus error with any name.
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
pub(super) struct Manager {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) hook: Arc<Mutex<Option<Hook>>>,
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

    async fn reset_failed_unit(&self, name: String) -> Result<(), Refused> {
        self.called("ResetFailedUnit", &name).await;
        Ok(())
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
            let (unit, job_type) = &state.jobs[&id];
            let running = state.jobs_before(unit).is_empty();
            let word = if running { "running" } else { "waiting" };
            (id, unit.clone(), (*job_type).to_owned(), word.to_owned(), job_path(id), unit_path(unit))
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

    async fn cancel_job(&self, id: u32) -> Result<(), Refused> {
        self.called("CancelJob", &id.to_string()).await;
        let mut state = lock(&self.state);
        let Some((name, _)) = state.jobs.remove(&id) else {
            let name = "org.freedesktop.systemd1.NoSuchJob".into();
            return Err(Refused { name, text: format!("Job {id} does not exist.") });
        };
        state.load(&name).job = None;
        Ok(())
    }

    async fn reload(&self) {
        self.called("Reload", "").await;
        lock(&self.state).units.values_mut().for_each(|unit| unit.needs_reload = false);
    }

    #[zbus(property)]
    fn kernel_timestamp(&self) -> u64 {
        lock(&self.state).booted
    }

    #[zbus(property)]
    fn kernel_timestamp_monotonic(&self) -> u64 {
        0
    }

    #[zbus(property)]
    fn userspace_timestamp(&self) -> u64 {
        lock(&self.state).booted + 1_000_000
    }

    #[zbus(property)]
    fn userspace_timestamp_monotonic(&self) -> u64 {
        1_000_000
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
    /// Records a call. Never returns if the method is silent.
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
        job_type: &'static str,
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
            let mut wanted = vec![(name.to_owned(), job_type)];
            if job_type != "stop" {
                let idle = |want: &&String| {
                    state.units.get(*want).is_some_and(|unit| {
                        unit.load_state == "loaded" && unit.active_state != "active" && unit.job.is_none()
                    })
                };
                wanted.extend(unit.wants.iter().filter(idle).map(|want| (want.clone(), "start")));
            }
            let mut jobs = Vec::new();
            for (unit, job_type) in wanted {
                let id = state.new_job(&unit, job_type);
                state.load(&unit).job = Some(id);
                jobs.push((id, unit, job_type));
            }
            let id = jobs[0].0;
            (jobs, id)
        };
        publish(connection, &self.state, name).await?;
        for (id, unit, job_type) in jobs {
            let (manager, connection) = (self.clone(), connection.clone());
            tokio::spawn(async move { manager.run_job(&connection, id, &unit, job_type).await });
        }
        Ok(job_path(id))
    }

    async fn run_job(&self, connection: &Connection, id: u32, name: &str, job_type: &'static str) {
        let Ok(emitter) = SignalEmitter::new(connection, MANAGER) else { return };
        let _ = Self::job_new(&emitter, id, job_path(id), name).await;
        while !lock(&self.state).jobs_before(name).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (start, delay, was_active): (Start, Duration, bool) = {
            let mut state = lock(&self.state);
            let unit = state.load(name);
            let was_active = unit.active_state == "active";
            if job_type != "stop" && !(job_type == "start" && was_active) {
                unit.active_state = "activating".into();
                unit.sub_state = "start".into();
                unit.inactive_exit = super::now();
            }
            (unit.start.clone(), unit.delay, was_active)
        };
        tokio::time::sleep(delay).await;
        if matches!(start, Start::Retried(_)) {
            self.notify_hook(name, Event::Retried).await;
        }
        let end = start.clone();
        let result = match start {
            Start::NeverEnds => return,
            Start::FailsWith(_) | Start::Retried(_) => "failed".into(),
            Start::Fails(result) => result,
            _ if job_type != "stop" && name == "ecs.service" && !self.docker_is_active() => "failed".into(),
            _ => "done".into(),
        };
        let fresh = result == "done" && !(job_type == "start" && was_active);
        if was_active && job_type != "start" {
            self.notify_hook(name, Event::Stopped).await;
        }
        {
            let mut state = lock(&self.state);
            state.jobs.remove(&id);
            let unit = state.load(name);
            unit.job = None;
            if result != "done" {
                unit.fail(&end);
            } else if job_type == "stop" {
                unit.set_inactive("inactive", "dead");
            } else if fresh {
                unit.set_active();
            }
        }
        if fresh && job_type != "stop" {
            self.notify_hook(name, Event::Started).await;
        }
        let _ = Self::job_removed(&emitter, id, job_path(id), name, &result).await;
    }

    /// Amazon Linux's `ExecStartPre=` of ecs.service.
    fn docker_is_active(&self) -> bool {
        lock(&self.state).units.get("docker.service").is_some_and(|unit| unit.active_state == "active")
    }

    /// Runs the hook on another thread, because it may block (it joins the agent's thread).
    async fn notify_hook(&self, name: &str, event: Event) {
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

    /// The monotonic time of a wall clock time; 0 stays.
    fn monotonic(&self, unix: u64) -> u64 {
        unix.saturating_sub(lock(&self.state).booted)
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

    /// A unit whose process has started or ended has left `inactive`, also if a test sets only the times of the process.
    #[zbus(property)]
    fn inactive_exit_timestamp(&self) -> u64 {
        self.read(|unit| unit.inactive_exit.max(unit.exec_main_start).max(unit.exec_main_exit))
    }

    #[zbus(property)]
    fn inactive_exit_timestamp_monotonic(&self) -> u64 {
        self.monotonic(self.inactive_exit_timestamp())
    }

    #[zbus(property)]
    fn active_enter_timestamp_monotonic(&self) -> u64 {
        self.monotonic(self.read(|unit| unit.active_enter))
    }

    #[zbus(property)]
    fn active_enter_timestamp(&self) -> u64 {
        self.read(|unit| unit.active_enter)
    }

    #[zbus(property)]
    fn drop_in_paths(&self) -> Vec<String> {
        self.read(|unit| unit.drop_ins.clone())
    }

    #[zbus(property)]
    fn need_daemon_reload(&self) -> bool {
        self.read(|unit| unit.needs_reload)
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

    #[zbus(property)]
    fn exec_main_exit_timestamp(&self) -> u64 {
        self.read(|unit| unit.exec_main_exit)
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

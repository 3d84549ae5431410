//! The client against a small fake of systemd on a real `dbus-daemon`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use zbus::ObjectPath;
use zbus::object_server::SignalEmitter;

use super::*;

struct FakeBus {
    daemon: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Drop for FakeBus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "the test starts its own bus")]
fn bus() -> FakeBus {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:path={}/bus", folder.path().display());
    let mut daemon = std::process::Command::new("dbus-daemon")
        .args(["--session", "--nofork", "--nopidfile", "--print-address", "--address"])
        .arg(&address)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("dbus-daemon (Debian package dbus-daemon) is needed by this test");
    let mut printed = String::new();
    BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut printed).unwrap();
    FakeBus { daemon, address, _folder: folder }
}

struct FakeManager(AtomicU32);

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl FakeManager {
    fn subscribe(&self) {}

    fn load_unit(&self, name: &str) -> Result<OwnedObjectPath, FakeError> {
        match name {
            "absent.service" => Err(FakeError::NoSuchUnit("Unit absent.service not found.".to_owned())),
            "docker.service" => Ok(ObjectPath::try_from(RESTARTED).unwrap().into()),
            _ => Ok(ObjectPath::try_from("/org/freedesktop/systemd1/unit/ecs_2eservice").unwrap().into()),
        }
    }

    async fn start_unit(
        &self,
        name: &str,
        _mode: &str,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<OwnedObjectPath, FakeError> {
        let id = self.0.fetch_add(1, Ordering::Relaxed);
        let path = ObjectPath::try_from(format!("/org/freedesktop/systemd1/job/{id}")).unwrap();
        let result = match name {
            "cyclic.service" => {
                return Err(FakeError::TransactionOrderIsCyclic("Transaction order is cyclic.".to_owned()));
            }
            "masked.service" => return Err(FakeError::UnitMasked("Unit masked.service is masked.".to_owned())),
            "hung.service" => std::future::pending().await,
            "slow.service" => return Ok(path.into()),
            "broken.service" => "failed",
            _ => "done",
        };
        // Before the answer, because a real job may end that fast.
        FakeManager::job_removed(&emitter, id, path.as_ref(), name, result).await.unwrap();
        Ok(path.into())
    }

    #[zbus(name = "GetUnitByPID")]
    fn get_unit_by_pid(&self, _pid: u32) -> OwnedObjectPath {
        ObjectPath::try_from("/org/freedesktop/systemd1/unit/cloud_2dfinal_2eservice").unwrap().into()
    }

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: ObjectPath<'_>,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;
}

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.freedesktop.systemd1")]
enum FakeError {
    #[zbus(error)]
    ZBus(zbus::Error),
    NoSuchUnit(String),
    UnitMasked(String),
    TransactionOrderIsCyclic(String),
}

struct FakeUnit;

#[zbus::interface(name = "org.freedesktop.systemd1.Unit")]
impl FakeUnit {
    #[zbus(property)]
    fn active_state(&self) -> &str {
        "active"
    }

    #[zbus(property)]
    fn after(&self) -> Vec<String> {
        vec!["cloud-final.service".to_owned()]
    }
}

const RESTARTED: &str = "/org/freedesktop/systemd1/unit/docker_2eservice";

/// A unit that changed at this time. The number of its restarts grows with each read.
struct RestartedUnit(Arc<AtomicU64>, Arc<Mutex<&'static str>>);

#[zbus::interface(name = "org.freedesktop.systemd1.Unit")]
impl RestartedUnit {
    #[zbus(property)]
    fn active_state(&self) -> &str {
        "active"
    }

    #[zbus(property)]
    fn sub_state(&self) -> &str {
        *self.1.lock().unwrap()
    }

    #[zbus(property)]
    fn load_state(&self) -> u32 {
        7 // not systemd's type
    }

    #[zbus(property)]
    fn state_change_timestamp_monotonic(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct RestartedService(AtomicU32);

#[zbus::interface(name = "org.freedesktop.systemd1.Service")]
impl RestartedService {
    #[zbus(property, name = "NRestarts")]
    fn n_restarts(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Runs a test with a connection to the fake, on which no call takes longer than two seconds.
fn with_systemd<T>(test: impl AsyncFnOnce(&Systemd) -> T) -> T {
    let bus = bus();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let _fake = zbus::connection::Builder::address(bus.address.as_str())
            .name(SERVICE)
            .serve_at("/org/freedesktop/systemd1", FakeManager(AtomicU32::new(7)))
            .serve_at("/org/freedesktop/systemd1/unit/ecs_2eservice", FakeUnit)
            .build()
            .await
            .unwrap();
        let systemd = Systemd::connect_to(Some(&bus.address), within_seconds(2)).await.unwrap();
        test(&systemd).await
    })
}

fn within_seconds(seconds: u64) -> Deadline {
    Deadline::after(Duration::from_secs(seconds))
}

fn connect_error(address: &str) -> SystemdError {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime
        .block_on(Systemd::connect_to(Some(address), Deadline::after(Duration::from_millis(300))))
        .expect_err("there is no systemd")
}

#[test]
fn a_job_that_ends_before_the_answer_is_not_missed() {
    with_systemd(async |systemd| {
        let job = systemd.start("ecs.service").await.unwrap();
        assert_eq!(job.id(), 7);
        assert_eq!(job.ended(within_seconds(5)).await.unwrap(), JobResult::Done);
        let job = systemd.start("broken.service").await.unwrap();
        assert_eq!(job.ended(within_seconds(5)).await.unwrap(), JobResult::Failed);
    });
}

#[test]
fn a_job_that_does_not_end_is_pending() {
    with_systemd(async |systemd| {
        let job = systemd.start("slow.service").await.unwrap();
        let error = job.ended(Deadline::after(Duration::from_millis(20))).await.unwrap_err();
        assert!(matches!(error, SystemdError::Pending { job: 7, .. }), "{error:?}");
    });
}

#[test]
fn a_refusal_keeps_the_name_and_the_message_of_systemd() {
    with_systemd(async |systemd| {
        let error = systemd.start("cyclic.service").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "systemd refused StartUnit(cyclic.service): Transaction order is cyclic. \
             (org.freedesktop.systemd1.TransactionOrderIsCyclic)"
        );
        assert!(matches!(systemd.start("masked.service").await, Err(SystemdError::Masked { .. })));
        assert!(matches!(systemd.unit("absent.service").await, Err(SystemdError::NoSuchUnit { .. })));
    });
}

#[test]
fn a_call_without_an_answer_is_silent() {
    with_systemd(async |systemd| {
        let error = systemd.start("hung.service").await.unwrap_err();
        assert!(matches!(&error, SystemdError::TimedOut { operation, .. } if operation == "StartUnit(hung.service)"));
    });
}

#[test]
fn a_missing_property_or_method_is_unknown() {
    with_systemd(async |systemd| {
        let unit = systemd.unit_with_process("ecs.service").await.unwrap();
        let expected = UnitState {
            name: "ecs.service".to_owned(),
            active_state: Some("active".to_owned()),
            after: Some(vec!["cloud-final.service".to_owned()]),
            ..UnitState::default()
        };
        assert_eq!(unit, expected);
        assert!(matches!(systemd.jobs_before(7).await, Err(SystemdError::Unsupported { .. })));
    });
}

#[test]
fn the_main_process_is_not_read_again_while_the_unit_stays_settled() {
    let bus = bus();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let changed = Arc::new(AtomicU64::new(41));
        let sub_state = Arc::new(Mutex::new("running"));
        let _fake = zbus::connection::Builder::address(bus.address.as_str())
            .name(SERVICE)
            .serve_at("/org/freedesktop/systemd1", FakeManager(AtomicU32::new(7)))
            .serve_at(RESTARTED, RestartedUnit(Arc::clone(&changed), Arc::clone(&sub_state)))
            .serve_at(RESTARTED, RestartedService(AtomicU32::new(0)))
            .build()
            .await
            .unwrap();
        let systemd = Systemd::connect_to(Some(&bus.address), within_seconds(2)).await.unwrap();
        let restarts = async || systemd.clone().unit_with_process("docker.service").await.unwrap().restarts;
        assert_eq!((restarts().await, restarts().await), (Some(0), Some(0)));
        changed.store(42, Ordering::Relaxed);
        assert_eq!((restarts().await, restarts().await), (Some(1), Some(1)));
        // While a command of the unit runs, the end of the main process does not change the state.
        *sub_state.lock().unwrap() = "stop";
        assert_eq!((restarts().await, restarts().await), (Some(2), Some(3)));
        *sub_state.lock().unwrap() = "running";
        // 0: it has not changed in this boot, or systemd does not say.
        changed.store(0, Ordering::Relaxed);
        assert_eq!((restarts().await, restarts().await), (Some(4), Some(5)));
        // A property of another type is unknown, and the others are not lost.
        let unit = systemd.unit("docker.service").await.unwrap();
        assert_eq!((unit.active_state.as_deref(), unit.load_state), (Some("active"), None));
    });
}

#[test]
fn finds_the_unit_of_a_process() {
    with_systemd(async |systemd| {
        assert_eq!(systemd.unit_of_pid(0).await.unwrap(), "cloud-final.service");
    });
    assert_eq!(unit_of("/org/freedesktop/systemd1/unit/session_2d1_2escope").unwrap(), "session-1.scope");
    assert_eq!(unit_of("/org/freedesktop/systemd1/unit/cut_2"), None);
    assert_eq!(unit_of("/elsewhere"), None);
}

#[test]
fn the_end_of_a_job_is_a_change_but_not_for_other_units() {
    with_systemd(async |systemd| {
        let mut changes = systemd.changes(&["ecs.service"]).await.unwrap();
        systemd.start("docker.service").await.unwrap().ended(within_seconds(5)).await.unwrap();
        assert!(within(Deadline::after(Duration::from_millis(20)), changes.next()).await.is_err());
        systemd.start("ecs.service").await.unwrap().ended(within_seconds(5)).await.unwrap();
        within(within_seconds(5), changes.next()).await.unwrap().unwrap();
    });
}

#[test]
fn distinguishes_no_bus_no_systemd_and_a_silent_bus() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bus");
    let address = format!("unix:path={}", path.display());
    assert!(matches!(connect_error(&address), SystemdError::NoBus { .. }));
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(matches!(connect_error(&address), SystemdError::TimedOut { .. }));
    drop(listener);
    assert!(matches!(connect_error(&address), SystemdError::NoBus { .. }));
    let empty = bus();
    let error = connect_error(&empty.address);
    assert!(matches!(error, SystemdError::NoManager { .. }), "{error:?}");
}

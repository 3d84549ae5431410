//! A simulated instance: every party that the product talks to, on loopback and below a temporary root.
//!
//! In: chained changes to a healthy instance. Out: what a run of the product did. Shared by `tests/it` and `tests/try`; it
//! never uses the product's library, and it cannot run the product with an endpoint off loopback.
#![allow(dead_code, reason = "the tests and the demo each use a part")]
#![allow(missing_docs, unreachable_pub, reason = "names that say what they hold; nothing is exported from a test")]
#![allow(clippy::unwrap_used, reason = "a simulator that cannot start fails the test")]
#![expect(clippy::disallowed_methods, reason = "the simulators are the world, not the product")]

pub mod agent;
pub mod aws;
pub mod disk;
pub mod docker;
pub mod http;
pub mod imds;
pub mod journal;
pub mod moto;
pub mod port;
pub mod rollout;
pub mod schema;
pub mod systemd;
pub mod tls;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// No run of the product lasts longer.
const LONGEST_RUN: Duration = Duration::from_secs(60);
/// The highest exit code of `ecs-bootstrap`.
const LAST_CODE: i32 = 25;
/// The last verdict, below the root.
const STATUS: &str = "run/ecs-bootstrap/status.json";
/// What may never name anything off this machine.
const ENDPOINTS: [&str; 5] =
    ["AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_ENDPOINT_URL", "ECS_BOOTSTRAP_AGENT_ENDPOINT", "_PROXY", "_proxy"];

/// One instance with all that surrounds it. The fields stop in this order when it is dropped.
pub struct Instance {
    pub systemd: systemd::Systemd,
    pub agent: Arc<agent::Agent>,
    pub docker: docker::Docker,
    pub imds: imds::Imds,
    pub aws: aws::Aws,
    pub journal: journal::Journal,
    pub disk: Arc<disk::Disk>,
    bus_folder: tempfile::TempDir,
    environment: BTreeMap<String, OsString>,
    binary: PathBuf,
    /// Files below the root that the product sees in place of this machine's own.
    mounts: Vec<(PathBuf, &'static str)>,
    /// Whether the program that is run changes to the root itself.
    changes_folder: bool,
}

/// What a run of the product came to.
#[derive(Debug)]
pub struct Outcome {
    /// None where a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub started: Instant,
    pub duration: Duration,
}

/// The product while it runs; killed by its pid when dropped.
pub struct Running {
    child: Child,
    started: Instant,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    ended: bool,
    promise: Option<Promise>,
}

/// What is needed to validate the JSON of a run: the arguments, and the status file as it was before.
struct Promise {
    arguments: Vec<String>,
    status: PathBuf,
    before: Option<Vec<u8>>,
}

impl Instance {
    /// Healthy: its tag names the active cluster `prod`, it has its role, docker and ecs are enabled and not running.
    pub fn new() -> Self {
        Self::with_imds(imds::Imds::start())
    }

    /// The same with its metadata service on `[::1]`.
    pub fn ipv6() -> Self {
        Self::with_imds(imds::Imds::start_ipv6())
    }

    fn with_imds(imds: imds::Imds) -> Self {
        let disk = Arc::new(disk::Disk::new());
        let bus_folder = tempfile::tempdir().expect("a folder for the bus");
        let systemd = systemd::Systemd::start(bus_folder.path(), disk.root());
        let aws = aws::Aws::start();
        aws.change(|aws| aws.add_cluster("prod", &[]));
        let docker = docker::Docker::new(&disk.path("run/docker.sock"));
        let journal = journal::Journal::start(&disk.path("run/systemd/journal/socket"));
        let agent = agent::Agent::new(Arc::clone(&disk), docker.clone(), aws.state(), imds.state(), systemd.units());
        let agent = Arc::new(agent);
        let (its_agent, its_docker) = (Arc::clone(&agent), docker.clone());
        systemd.on_event(move |unit, event| match (unit, event) {
            ("ecs.service", systemd::Event::Started) => its_agent.start(),
            ("ecs.service", systemd::Event::Stopped) => its_agent.stop(),
            ("ecs.service", systemd::Event::Retried) => its_agent.fail_before(),
            ("docker.service", systemd::Event::Started) => its_docker.start(),
            ("docker.service", systemd::Event::Stopped) => its_docker.stop(),
            _ => {}
        });
        let binary = option_env!("CARGO_BIN_EXE_ecs-bootstrap").map(PathBuf::from).unwrap_or_default();
        let environment = BTreeMap::new();
        let (mounts, changes_folder) = (Vec::new(), false);
        Self {
            systemd,
            agent,
            docker,
            imds,
            aws,
            journal,
            disk,
            bus_folder,
            environment,
            binary,
            mounts,
            changes_folder,
        }
        .tag("ecs-bootstrap:cluster", "prod")
    }

    /// The product's binary, where cargo does not say it (an example).
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = path.into();
        self
    }

    /// The same, where that program changes to the root itself: a process that needs no other folder is started without
    /// a copy of this one, which is slow where this one is large.
    pub fn wrapper(self, path: impl Into<PathBuf>) -> Self {
        Self { changes_folder: true, ..self.binary(path) }
    }

    /// A tag of the instance, seen by IMDS (where tags are enabled there) and by DescribeTags.
    pub fn tag(self, key: &str, value: &str) -> Self {
        self.imds.change(|imds| {
            imds.tags.iter_mut().for_each(|tags| drop(tags.insert(key.into(), value.into())));
            let id = imds.instance_id.clone();
            self.aws.change(|aws| drop(aws.instance_tags.entry(id).or_default().insert(key.into(), value.into())));
        });
        self
    }

    pub fn without_tags(self) -> Self {
        self.imds.change(|imds| imds.tags = imds.tags.take().map(|_| BTreeMap::new()));
        self.aws.change(|aws| aws.instance_tags.clear());
        self
    }

    /// Tags are not enabled in IMDS; DescribeTags still sees them.
    pub fn without_imds_tags(self) -> Self {
        self.imds.change(|imds| imds.tags = None);
        self
    }

    pub fn without_role(self) -> Self {
        self.imds.change(|imds| imds.role = imds::Role::Absent);
        self
    }

    pub fn cluster(self, name: &str, tags: &[(&str, &str)]) -> Self {
        self.aws.change(|aws| aws.add_cluster(name, tags));
        self
    }

    pub fn without_cluster(self, name: &str) -> Self {
        self.aws.change(|aws| drop(aws.clusters.remove(name)));
        self
    }

    /// Before each answer of IMDS.
    pub fn imds_delay(self, delay: Duration) -> Self {
        self.imds.change(|imds| imds.delay = delay);
        self
    }

    pub fn imds_fault(self, fault: imds::Fault) -> Self {
        self.imds.change(|imds| imds.fault = fault);
        self
    }

    pub fn aws_fault(self, operation: &str, fault: aws::Fault) -> Self {
        self.aws.fail(operation, fault);
        self
    }

    pub fn agent_behaves(self, change: impl FnOnce(&mut agent::Behaviour)) -> Self {
        self.agent.change(change);
        self
    }

    pub fn unit(self, name: &str, change: impl FnOnce(&mut systemd::Unit)) -> Self {
        self.systemd.change_unit(name, change);
        self
    }

    pub fn user_data(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.imds.change(|imds| imds.user_data = Some(bytes.into()));
        self
    }

    pub fn ecs_config(self, bytes: impl AsRef<[u8]>) -> Self {
        self.file("etc/ecs/ecs.config", bytes)
    }

    /// A settings file, for example `/etc/ecs-bootstrap/config.toml`.
    pub fn setting_file(self, path: &str, text: &str) -> Self {
        self.file(path, text)
    }

    pub fn file(self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.disk.write(path, bytes);
        self
    }

    /// What the journal has of a unit, or of `kernel`: a stand-in for journalctl(1) tells it.
    pub fn journaled(self, unit: &str, lines: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = self.disk.path("home/journal");
        let script = format!(
            "#!/bin/sh\nfor word; do\ncase $word in\n--unit=*) of=${{word#--unit=}} ;;\n--dmesg) of=kernel ;;\nesac\ndone\nexec /bin/cat {}/$of\n",
            folder.display()
        );
        let this = self.file("bin/journalctl", script).file(&format!("home/journal/{unit}"), lines);
        let program = this.disk.path("bin/journalctl");
        std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        this
    }

    /// # Panics
    /// Where an endpoint or a proxy is off loopback: no test may send a packet off this machine.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        let value = value.into();
        let guarded = ENDPOINTS.iter().any(|part| name.contains(part)) && !name.eq_ignore_ascii_case("no_proxy");
        assert!(!guarded || on_loopback(&value.to_string_lossy()), "`{name}` must be on loopback");
        assert!(!name.starts_with("DBUS_") && name != "ECS_BOOTSTRAP_ROOT", "`{name}` is the simulation's own");
        self.environment.insert(name.into(), value);
        self
    }

    /// User data has not ended.
    pub fn user_data_runs(self) -> Self {
        self.disk.remove("run/cloud-init/result.json");
        self.systemd.cloud_final_runs();
        self
    }

    pub fn user_data_ends(&self) {
        self.disk.write("run/cloud-init/result.json", "{}");
        self.systemd.cloud_final_ends();
    }

    /// The API has a name, and the only name server is an address of loopback where nobody answers. The product runs in a
    /// mount namespace for that, which an ordinary user may make too, or it does not run at all.
    pub fn without_name_server(mut self) -> Self {
        self.disk.write("home/resolv.conf", "nameserver 127.0.77.53\noptions timeout:1 attempts:1\n");
        self.environment.insert("AWS_ENDPOINT_URL".into(), "http://ecs.eu-west-1.simulated".into());
        self.instead_of("/etc/resolv.conf", "home/resolv.conf")
    }

    /// The product sees a file below the root in place of this machine's own, in a mount namespace.
    pub fn instead_of(mut self, own: &'static str, path: &str) -> Self {
        self.mounts.push((self.disk.path(path), own));
        self
    }

    /// The product finds no bus.
    pub fn without_bus(mut self) -> Self {
        let nowhere = format!("unix:path={}", self.bus_folder.path().join("absent").display());
        self.environment.insert("DBUS_SYSTEM_BUS_ADDRESS".into(), nowhere.into());
        self
    }

    pub fn root(&self) -> &Path {
        self.disk.root()
    }

    /// Runs the product to its end.
    ///
    /// # Panics
    /// If it has not ended after a minute; it is killed then.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.start(arguments).wait()
    }

    /// The same by another program than the one that stands in for the product.
    pub fn run_by(&self, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Outcome {
        assert!(self.mounts.is_empty(), "a mount needs the program that stands in for the product");
        let own = self.command(arguments);
        let mut command = Command::new(program);
        command.args(own.get_args()).env_clear().envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::of(command).wait()
    }

    /// The same as a user who is not root, and may read nothing that only root may.
    pub fn run_as_nobody(&self, arguments: &[&str]) -> Outcome {
        let mut command = self.command(arguments);
        use std::os::unix::fs::MetadataExt;
        if std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
            // Where cargo keeps the binary is root's own.
            let copy = self.disk.path("bin/ecs-bootstrap");
            std::fs::copy(&self.binary, &copy).expect("a copy of the binary");
            let own = std::mem::replace(&mut command, Command::new("/usr/bin/setpriv"));
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(copy).args(own.get_args());
            command.env_clear().envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
            command.current_dir(self.root()).stdin(Stdio::null());
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::of(command).promising(self, arguments).wait()
    }

    /// The same for who watches: both outputs go to stdout, in the order in which they come, and the outcome holds none.
    pub fn show(&self, arguments: &[&str]) -> Outcome {
        let stdout = std::io::stdout().as_fd().try_clone_to_owned().expect("another handle of stdout");
        let mut command = self.command(arguments);
        command.stderr(stdout);
        Running::of(command).wait()
    }

    pub fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::of(command).promising(self, arguments)
    }

    /// The same with a stdout that takes nothing more, so that the first write to it never returns.
    pub fn start_into_full_pipe(&self, arguments: &[&str]) -> Running {
        use nix::fcntl::{FcntlArg, fcntl};
        use std::io::Write;
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let size = fcntl(&writer, FcntlArg::F_GETPIPE_SZ).expect("its size");
        writer.write_all(&vec![b' '; usize::try_from(size).expect("a size")]).expect("room for what it holds");
        let mut command = self.command(arguments);
        command.stdout(writer).stderr(Stdio::piped());
        let running = Running::of(command);
        // It stays open for as long as the tests run.
        std::mem::forget(reader);
        running
    }

    fn command(&self, arguments: &[&str]) -> Command {
        assert!(!self.binary.as_os_str().is_empty(), "say where the product is: `Instance::binary`");
        assert!(
            arguments
                .iter()
                .all(|argument| !argument.contains("://")
                    || on_loopback(argument.trim_start_matches("--agent-endpoint="))),
            "an endpoint off loopback"
        );
        let own: [(&str, OsString); 7] = [
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", self.imds.endpoint().into()),
            ("AWS_ENDPOINT_URL", self.aws.endpoint().into()),
            ("DBUS_SYSTEM_BUS_ADDRESS", self.systemd.address().into()),
            ("ECS_BOOTSTRAP_ROOT", self.root().into()),
            ("ECS_BOOTSTRAP_AGENT_ENDPOINT", self.agent.endpoint().into()),
            ("HOME", self.disk.path("home").into()),
            // Empty, so that the product can never reach this machine's own systemctl.
            ("PATH", self.disk.path("bin").into()),
        ];
        let mut command = match self.mounts.is_empty() {
            false => {
                let mounts =
                    self.mounts.iter().map(|(path, own)| format!("/bin/mount --bind {} {own} && ", path.display()));
                let script = mounts.collect::<String>() + "exec \"$@\"";
                let mut command = Command::new("/usr/bin/unshare");
                command
                    .args(["--user", "--map-root-user", "--mount", "/bin/sh", "-c", &script, "sh"])
                    .arg(&self.binary);
                command
            }
            true => Command::new(&self.binary),
        };
        command.env_clear().envs(own).envs(&self.environment).args(arguments);
        // Guard takes nothing from its environment.
        if arguments.first() == Some(&"guard") {
            command.arg("--root").arg(self.root());
        }
        if !self.changes_folder {
            command.current_dir(self.root());
        }
        command.stdin(Stdio::null());
        command
    }
}

impl Default for Instance {
    fn default() -> Self {
        Self::new()
    }
}

impl Running {
    fn of(mut command: Command) -> Self {
        let started = Instant::now();
        let mut child = command.spawn().expect("the product's binary");
        let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
        Self { child, started, stdout, stderr, ended: false, promise: None }
    }

    /// Validates its JSON against the schemas when it has ended.
    fn promising(mut self, instance: &Instance, arguments: &[&str]) -> Self {
        let status = instance.disk.path(STATUS);
        let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
        self.promise = Some(Promise { arguments, before: status_file(&status), status });
        self
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as `kill -9` does.
    pub fn kill(mut self) -> Outcome {
        let _ = self.child.kill();
        self.wait()
    }

    pub fn wait(mut self) -> Outcome {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("to wait for a child") {
                break status;
            }
            if self.started.elapsed() > LONGEST_RUN {
                let _ = self.child.kill();
                let _ = self.child.wait();
                self.ended = true;
                panic!("the product still ran after {LONGEST_RUN:?}; stderr: {}", text(self.stderr.take()));
            }
            // Exact for what is short; what is long need not be asked so often.
            thread::sleep((self.started.elapsed() / 32).clamp(Duration::from_millis(1), Duration::from_millis(20)));
        };
        self.ended = true;
        let duration = self.started.elapsed();
        let (stdout, stderr) = (text(self.stdout.take()), text(self.stderr.take()));
        // A run that was killed may have printed a part; a wrapper ends with higher codes.
        if status.code().is_some_and(|code| code <= LAST_CODE)
            && let Some(promise) = self.promise.take()
        {
            promise.check(&stdout);
        }
        Outcome { code: status.code(), signal: status.signal(), stdout, stderr, started: self.started, duration }
    }
}

impl Promise {
    fn check(self, stdout: &str) {
        // `status` prints what is stored; a test may have stored something else than a verdict.
        let stored = self.before.as_ref().and_then(|bytes| serde_json::from_slice(bytes).ok());
        let is_forged = stored.is_some_and(|stored| schema::validate("verdict", &stored).is_err());
        if is_forged && self.arguments.iter().any(|word| word == "status") {
            return;
        }
        let printed = schema::validate_stdout(&self.arguments, stdout);
        printed.unwrap_or_else(|error| panic!("`{}` printed a document {error}", self.arguments.join(" ")));
        let after = status_file(&self.status).filter(|after| Some(after) != self.before.as_ref());
        if let Some(document) = after.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            schema::validate("verdict", &document).unwrap_or_else(|error| panic!("status.json is {error}"));
        }
    }
}

/// The bytes of a regular file that is small enough to be a verdict.
fn status_file(path: &Path) -> Option<Vec<u8>> {
    let is_small = path.symlink_metadata().is_ok_and(|about| about.is_file() && about.len() < 1 << 20);
    if is_small { std::fs::read(path).ok() } else { None }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> Option<JoinHandle<Vec<u8>>> {
    pipe.map(|mut pipe| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes);
            bytes
        })
    })
}

fn text(collector: Option<JoinHandle<Vec<u8>>>) -> String {
    let bytes = collector.and_then(|collector| collector.join().ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `http://127.0.0.1:PORT` or `http://[::1]:PORT`, also with a user and a password, and nothing that merely begins so.
fn on_loopback(url: &str) -> bool {
    let authority =
        url.split_once("://").map_or(url, |(_, rest)| rest).split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    host.parse::<std::net::SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
}

//! A simulated instance: every service that the product calls, on loopback, with a temporary root.
//!
//! In: chained changes to a healthy instance. Out: the outcome of a run of the product. Shared by `tests/it`,
//! `tests/hostile` and `tests/try`. It never uses the product's library, and it cannot run the product with an endpoint
//! off loopback.
#![allow(dead_code, reason = "the tests and the demo each use a part")]
#![allow(missing_docs, unreachable_pub, reason = "the names are clear; nothing is exported from a test")]
#![allow(clippy::unwrap_used, reason = "a simulator that cannot start fails the test")]
#![expect(clippy::disallowed_methods, reason = "the simulators are not the product")]

pub mod agent;
mod agent_messages;
pub mod aws;
pub mod disk;
pub mod docker;
pub mod http;
pub mod imds;
pub mod journal;
pub mod moto;
pub mod port;
mod process;
pub mod registry;
pub mod rollout;
pub mod schema;
pub mod socket;
pub mod systemd;
pub mod tls;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

pub use process::{Outcome, Running};

/// Environment variables whose values must be on loopback.
const ENDPOINTS: [&str; 5] =
    ["AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_ENDPOINT_URL", "ECS_BOOTSTRAP_AGENT_ENDPOINT", "_PROXY", "_proxy"];

/// One instance with all its services. When it is dropped, they stop in the order of the fields.
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
    /// Files below the root that are mounted over files of the host, for the product only.
    mounts: Vec<(PathBuf, &'static str)>,
    /// Whether the started program changes to the root directory itself.
    changes_folder: bool,
}

/// A unit that starts the agent on a host without a package of the agent.
pub const OTHER_UNIT: &str = "run-ecs-agent.service";

impl Instance {
    /// A healthy instance: its tag names the active cluster `prod`, it has a role, and docker and ecs are enabled but
    /// not running.
    pub fn new() -> Self {
        Self::with_imds(imds::Imds::start())
    }

    /// A healthy instance with its metadata service on `[::1]`.
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
        systemd.on_event(move |unit, event| match (if unit == OTHER_UNIT { "ecs.service" } else { unit }, event) {
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

    /// Sets the product's binary. Needed in an example, where cargo does not set its path.
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = path.into();
        self
    }

    /// Sets a program that runs the product and changes to the root itself. Without a change of directory, std can
    /// start a process by posix_spawn(3), which is faster than fork(2) if the test process is large.
    pub fn wrapper(self, path: impl Into<PathBuf>) -> Self {
        Self { changes_folder: true, ..self.binary(path) }
    }

    /// Adds a tag of the instance, in DescribeTags and (if tags are enabled there) in IMDS.
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

    /// Disables tags in IMDS; DescribeTags still has them.
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

    /// Delays each answer of IMDS.
    pub fn imds_delay(self, delay: Duration) -> Self {
        self.imds.change(|imds| imds.delay = delay);
        self
    }

    pub fn imds_fault(self, fault: imds::Fault) -> Self {
        self.imds.change(|imds| imds.fault = fault);
        self
    }

    /// `run --wait` with a `--set` for each setting.
    pub fn run_and_wait(&self, settings: &[&str]) -> Outcome {
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        self.run(&["run", "--wait"].into_iter().chain(settings).collect::<Vec<_>>())
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

    /// Sets the journal of a unit, or of `kernel`: one entry for each line. A fake journalctl(1) selects entries as that
    /// of systemd 252 does: with `--since`, `--lines` counts from the beginning, unless `--reverse` is given.
    pub fn journal_has(self, unit: &str, lines: &str) -> Self {
        let folder = self.disk.path("home/journal");
        let script = include_str!("journalctl").replace("@FOLDER@", &folder.display().to_string());
        self.disk.write_program("bin/journalctl", &script);
        self.file(&format!("home/journal/{unit}"), lines)
    }

    /// # Panics
    /// If an endpoint or a proxy is off loopback: no test may send a packet off this host.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        let value = value.into();
        let guarded = ENDPOINTS.iter().any(|part| name.contains(part)) && !name.eq_ignore_ascii_case("no_proxy");
        assert!(!guarded || on_loopback(&value.to_string_lossy()), "`{name}` must be on loopback");
        assert!(!name.starts_with("DBUS_") && name != "ECS_BOOTSTRAP_ROOT", "`{name}` is set by the simulation");
        self.environment.insert(name.into(), value);
        self
    }

    /// Makes user data (cloud-final.service) still run.
    pub fn user_data_runs(self) -> Self {
        self.disk.remove("run/cloud-init/result.json");
        self.systemd.cloud_final_runs();
        self
    }

    pub fn user_data_ends(&self) {
        self.disk.write("run/cloud-init/result.json", "{}");
        self.systemd.cloud_final_ends();
    }

    /// Gives the API a name, and a name server on loopback that does not answer. The product runs in a mount namespace,
    /// which an ordinary user can create too. If that fails, the product does not run.
    pub fn without_name_server(mut self) -> Self {
        self.disk.write("home/resolv.conf", "nameserver 127.0.77.53\noptions timeout:1 attempts:1\n");
        self.environment.insert("AWS_ENDPOINT_URL".into(), "http://ecs.eu-west-1.simulated".into());
        self.bind_mount("/etc/resolv.conf", "home/resolv.conf")
    }

    /// Gives the product the API's own address again, and the name servers of the host.
    pub fn with_name_server(mut self) -> Self {
        self.mounts.clear();
        let endpoint = self.aws.endpoint();
        self.env("AWS_ENDPOINT_URL", endpoint)
    }

    /// Mounts a file below the root over a file of the host, in a mount namespace of the product.
    pub fn bind_mount(mut self, own: &'static str, path: &str) -> Self {
        self.mounts.push((self.disk.path(path), own));
        self
    }

    /// Gives the product a bus address that does not exist.
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
    /// If it has not ended after a minute. It is killed then.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.start(arguments).wait()
    }

    /// Runs another program than `binary`, with the arguments and the environment of the product.
    pub fn run_by(&self, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Outcome {
        assert!(self.mounts.is_empty(), "a mount needs a run by `binary`");
        let own = self.command(arguments);
        let mut command = Command::new(program);
        command.args(own.get_args()).env_clear().envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::of(command).wait()
    }

    /// Runs the product as an ordinary user, who cannot read files of root.
    pub fn run_as_nobody(&self, arguments: &[&str]) -> Outcome {
        let mut command = self.command(arguments);
        use std::os::unix::fs::MetadataExt;
        if std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
            // The ordinary user may not read cargo's target folder.
            let copy = self.disk.path("bin/ecs-bootstrap");
            // By another process: a file that this one holds open for writing cannot be run, and a child that another
            // thread is starting would hold it too.
            let copied = Command::new("/bin/cp").arg(&self.binary).arg(&copy).status();
            assert!(copied.is_ok_and(|status| status.success()), "the binary was not copied");
            let own = std::mem::replace(&mut command, Command::new("/usr/bin/setpriv"));
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(copy).args(own.get_args());
            command.env_clear().envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
            command.current_dir(self.root()).stdin(Stdio::null());
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::of(command).with_json_check(self, arguments).wait()
    }

    /// Runs the product with stdout and stderr on this process's stdout. The outcome has no output.
    pub fn show(&self, arguments: &[&str]) -> Outcome {
        let stdout = std::io::stdout().as_fd().try_clone_to_owned().expect("another handle of stdout");
        let mut command = self.command(arguments);
        command.stderr(stdout);
        Running::of(command).wait()
    }

    pub fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::of(command).with_json_check(self, arguments)
    }

    /// Starts the product with a full pipe as stdout, so that its first write never returns.
    pub fn start_into_full_pipe(&self, arguments: &[&str]) -> Running {
        use nix::fcntl::{FcntlArg, fcntl};
        use std::io::Write;
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let size = fcntl(&writer, FcntlArg::F_GETPIPE_SZ).expect("its size");
        writer.write_all(&vec![b' '; usize::try_from(size).expect("a size")]).expect("the pipe has room for its size");
        let mut command = self.command(arguments);
        command.stdout(writer).stderr(Stdio::piped());
        let running = Running::of(command);
        // The reading end stays open as long as the tests run.
        std::mem::forget(reader);
        running
    }

    /// The variables that lead the product to these simulators.
    pub fn own_environment(&self) -> [(&'static str, OsString); 7] {
        [
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", self.imds.endpoint().into()),
            ("AWS_ENDPOINT_URL", self.aws.endpoint().into()),
            ("DBUS_SYSTEM_BUS_ADDRESS", self.systemd.address().into()),
            ("ECS_BOOTSTRAP_ROOT", self.root().into()),
            ("ECS_BOOTSTRAP_AGENT_ENDPOINT", self.agent.endpoint().into()),
            ("HOME", self.disk.path("home").into()),
            // Without the host's own systemctl.
            ("PATH", self.disk.path("bin").into()),
        ]
    }

    fn command(&self, arguments: &[&str]) -> Command {
        assert!(!self.binary.as_os_str().is_empty(), "set the path of the product with `Instance::binary`");
        assert!(
            arguments
                .iter()
                .all(|argument| !argument.contains("://")
                    || on_loopback(argument.trim_start_matches("--agent-endpoint="))),
            "an endpoint off loopback"
        );
        let own = self.own_environment();
        let mut command = if self.mounts.is_empty() {
            Command::new(&self.binary)
        } else {
            let mounts = self.mounts.iter();
            let mounts = mounts.map(|(path, own)| format!("/bin/mount --bind {} {own} && ", path.display()));
            let script = mounts.collect::<String>() + "exec \"$@\"";
            let mut command = Command::new("/usr/bin/unshare");
            command.args(["--user", "--map-root-user", "--mount", "/bin/sh", "-c", &script, "sh"]).arg(&self.binary);
            command
        };
        command.env_clear().envs(own).envs(&self.environment).args(arguments);
        // Guard ignores its environment.
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

/// Whether the URL's host is an IP address of loopback. A user and a password are allowed.
fn on_loopback(url: &str) -> bool {
    let authority =
        url.split_once("://").map_or(url, |(_, rest)| rest).split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    host.parse::<std::net::SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
}

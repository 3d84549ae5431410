//! Faults that no cause describes. See `many/mod.rs`.
//!
//! In: an instance with such a fault. Out: the cause of its layer, with the text that decides, long before the deadline
//! and within 60 s of the third repetition of the fault.

use super::named;
use crate::causes::cause;
use crate::support::aws::Fault as Answer;
use crate::support::systemd::Start;
use crate::support::{Instance, Outcome};
use ecs_bootstrap::causes::Layer;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Where the fault shows.
#[derive(Clone, Copy)]
enum Place {
    /// The agent exits with this code after this message and this error, again and again.
    Agent(i32, &'static str, &'static str),
    /// ecs-init fails with this error before the agent runs, and systemd restarts it every ten seconds.
    Init(&'static str),
    /// docker fails, and this is the last line of its journal.
    Docker(&'static str),
    /// AWS refuses the registration with this status, code and message.
    Aws(u16, &'static str, &'static str),
    /// The agent's connection to AWS breaks with this error.
    Connection(&'static str),
    /// The agent registers, and its connection to the control plane fails with this error.
    ControlPlane(&'static str),
}

/// A fault: where it shows, its layer, the part of the text that decides, and a part of the remedy. Without the last, no
/// remedy is known, and that of the cause is given.
struct Unlisted(Place, Layer, &'static str, &'static str);

use Place::{Agent, Aws, Connection, ControlPlane, Docker, Init};

const FAULTS: [Unlisted; 29] = [
    Unlisted(
        Agent(1, "Error starting the audit log", "open /log/audit.log: too many open files"),
        Layer::Agent,
        "too many open files",
        "`/var/log/ecs/audit.log`",
    ),
    Unlisted(
        Agent(1, "Unable to start the task metadata service", "bind: cannot assign requested address"),
        Layer::Agent,
        "cannot assign requested address",
        "",
    ),
    Unlisted(
        Agent(1, "Unable to create a netlink socket", "address family not supported by protocol"),
        Layer::Agent,
        "address family not supported",
        "",
    ),
    Unlisted(
        Agent(1, "Unable to start the CSI driver", "fork/exec /usr/bin/csi-driver: argument list too long"),
        Layer::Agent,
        "argument list too long",
        "`/usr/bin/csi-driver`",
    ),
    Unlisted(
        Agent(255, "Unable to load the time zone", "unknown time zone Etc/Lunar"),
        Layer::Agent,
        "unknown time zone",
        "",
    ),
    Unlisted(
        Agent(1, "Unable to read random data", "getrandom: function not implemented"),
        Layer::Agent,
        "function not implemented",
        "",
    ),
    Unlisted(
        Agent(2, "Unrecoverable error of the runtime", "failed to create new OS thread (have 12 already; errno=11)"),
        Layer::Agent,
        "failed to create new OS thread",
        "",
    ),
    Unlisted(
        Agent(1, "The self-test of the cryptographic module failed", "fips140: wrong answer of AES-GCM"),
        Layer::Agent,
        "fips140: wrong answer",
        "",
    ),
    Unlisted(
        Agent(132, "This build needs another processor", "x86-64-v3 instructions are not available"),
        Layer::Agent,
        "x86-64-v3",
        "",
    ),
    Unlisted(
        Agent(1, "Unable to watch the container runtime", "inotify instance limit reached"),
        Layer::Agent,
        "inotify instance limit",
        "",
    ),
    Unlisted(
        Init(
            "could not start Agent: Error response from daemon: failed to create shim task: OCI runtime create failed: \
             runc did not terminate successfully: exit status 127: unknown",
        ),
        Layer::Units,
        "runc did not terminate successfully",
        "",
    ),
    Unlisted(
        Init("could not start Agent: Error response from daemon: cgroups: cgroup mountpoint does not exist"),
        Layer::Units,
        "cgroup mountpoint does not exist",
        "",
    ),
    Unlisted(
        Init(
            "could not start Agent: Error response from daemon: error while creating mount source path \
             '/var/lib/ecs/deps': mkdir /var/lib/ecs/deps: not a directory",
        ),
        Layer::Units,
        "error while creating mount source path",
        "`/var/lib/ecs/deps`",
    ),
    Unlisted(
        Init("could not start Agent: loading seccomp filter into kernel: errno 524"),
        Layer::Units,
        "loading seccomp filter",
        "",
    ),
    Unlisted(
        Init("can't initialize iptables table `nat': Table does not exist (do you need to insmod?)"),
        Layer::Units,
        "do you need to insmod",
        "",
    ),
    Unlisted(
        Init("sysctl: cannot stat /proc/sys/net/ipv4/conf/all/route_localnet: Invalid cross-device link"),
        Layer::Units,
        "Invalid cross-device link",
        "`/proc/sys/net/ipv4/conf/all/route_localnet`",
    ),
    Unlisted(
        Docker("failed to start containerd: timeout waiting for containerd to start"),
        Layer::Docker,
        "timeout waiting for containerd",
        "",
    ),
    Unlisted(
        Docker(
            "failed to start daemon: Error initializing network controller: error creating default \"bridge\" network: \
             Unable to enable NAT rule: (iptables failed: exit status 4)",
        ),
        Layer::Docker,
        "Unable to enable NAT rule",
        "",
    ),
    Unlisted(
        Docker("failed to start daemon: Devices cgroup isn't mounted"),
        Layer::Docker,
        "Devices cgroup isn't mounted",
        "",
    ),
    Unlisted(
        Aws(400, "BlockedException", "Your AWS account is currently blocked and cannot register instances"),
        Layer::Api,
        "currently blocked and cannot register",
        "",
    ),
    Unlisted(
        Aws(400, "UnsupportedFeatureException", "The request is not supported in this Region"),
        Layer::Api,
        "UnsupportedFeatureException",
        "",
    ),
    Unlisted(
        Aws(400, "PlatformUnknownException", "The specified platform version does not exist"),
        Layer::Api,
        "PlatformUnknownException",
        "",
    ),
    Unlisted(
        Aws(409, "ConflictException", "A container instance of this instance is being deleted"),
        Layer::Api,
        "is being deleted",
        "",
    ),
    Unlisted(
        Aws(400, "InvalidParameterException", "The instance identity document is of an unknown partition"),
        Layer::Agent,
        "of an unknown partition",
        "",
    ),
    Unlisted(
        ControlPlane("websocket: the other side wants version 14, 426 Upgrade Required"),
        Layer::Acs,
        "426 Upgrade Required",
        "",
    ),
    Unlisted(
        Docker(
            "failed to load listeners: no sockets found via socket activation: make sure the service was started by \
             systemd",
        ),
        Layer::Docker,
        "no sockets found via socket activation",
        "",
    ),
    Unlisted(
        Docker("/usr/bin/dockerd: /lib64/libc.so.6: version `GLIBC_2.38' not found (required by /usr/bin/dockerd)"),
        Layer::Docker,
        "GLIBC_2.38",
        "",
    ),
    Unlisted(
        Connection("http: server gave HTTP response to HTTPS client"),
        Layer::Api,
        "server gave HTTP response to HTTPS client",
        "",
    ),
    Unlisted(
        Connection("net/http: HTTP/1.x transport connection broken: malformed HTTP response \\\"\\\\x15\\\\x03\\\""),
        Layer::Api,
        "malformed HTTP response",
        "",
    ),
];

/// The pauses between the attempts grow: the third repetition over 20 seconds comes after 15 to 31 seconds. A verdict
/// after this time is one of the deadline.
const LIMIT: Duration = Duration::from_secs(50);
const SETTINGS: [&str; 6] = ["run", "--wait", "--set", "verify.deadline=55s", "--set", "verify.window=5s"];

fn instance(place: Place) -> Instance {
    let instance = Instance::new();
    match place {
        Agent(code, message, error) => instance.agent_behaves(|agent| agent.exits = Some((code, message, error))),
        Init(error) => {
            let instance = instance.agent_behaves(|agent| agent.init_error = error);
            instance.unit("ecs.service", |unit| unit.start = Start::Retried(255))
        }
        Docker(line) => {
            let lines = format!("Starting docker.service - Docker Application Container Engine...\n{line}\n");
            let instance = instance.journal_has("docker.service", &lines);
            instance.unit("docker.service", |unit| unit.start = Start::FailsWith("exit-code"))
        }
        Aws(status, code, message) => {
            instance.aws_fault("RegisterContainerInstance", Answer::error(status, code, message))
        }
        Connection(error) => {
            let text = format!(
                "operation error ECS: RegisterContainerInstance, exceeded maximum number of attempts, 3, https \
                 response error StatusCode: 0, RequestID: , request send failed, Post \
                 \"https://ecs.eu-west-1.amazonaws.com/\": {error}"
            );
            instance.agent_behaves(|agent| agent.crashes_with = Some(text))
        }
        ControlPlane(error) => {
            let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now());
            let line = format!("level=error time={now} msg=\"Failed to connect to ACS\" error=\"{error}\"");
            instance.agent_behaves(|agent| {
                agent.never_connects = true;
                agent.logs_too = Box::leak(line.into_boxed_str());
            })
        }
    }
}

/// Runs until the verdict. systemd restarts ecs-init every ten seconds.
fn outcome(instance: &Instance, place: Place) -> Outcome {
    let (ended, end) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            while matches!(place, Init(_))
                && end.recv_timeout(Duration::from_secs(10)) == Err(RecvTimeoutError::Timeout)
            {
                instance.systemd.change_unit("ecs.service", |unit| unit.n_restarts += 1);
                instance.agent.fail_before();
            }
        });
        let outcome = instance.start(&SETTINGS).wait();
        drop(ended);
        outcome
    })
}

fn check(Unlisted(place, layer, decides, remedy): &Unlisted) -> Result<(), String> {
    let instance = instance(*place);
    let outcome = outcome(&instance, *place);
    let report = &outcome.stderr;
    let id = named(report).first().copied().ok_or_else(|| format!("{decides}: no cause: {outcome:?}"))?;
    let lines = |start: &'static str| report.lines().filter_map(move |line| line.strip_prefix(start));
    let (cause, shown) = (cause(id), lines("remedy: ").next().unwrap_or_default());
    let wanted = if remedy.is_empty() { cause.remedy } else { remedy };
    for (is_right, what) in [
        (cause.layer == *layer, format!("layer {:?}", cause.layer)),
        (lines("seen: ").any(|line| line.contains(decides)), "the text that decides is not shown".to_owned()),
        (outcome.duration < LIMIT, format!("only after {:?}", outcome.duration)),
        (shown.contains(wanted), format!("no `{wanted}` in the remedy")),
    ] {
        if !is_right {
            return Err(format!("`{decides}`: {what}\n{report}"));
        }
    }
    Ok(())
}

#[test]
fn a_fault_that_no_cause_describes_is_reported_in_its_layer_with_the_text_that_decides() {
    let wrong = super::in_parallel(super::MANY_THREADS, "causes::many::unlisted", &FAULTS, check);
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), FAULTS.len(), wrong.join("\n"));
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

#[test]
fn the_code_does_not_know_these_faults() {
    let paths = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let code: String = paths.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect();
    let code = code.to_lowercase();
    assert!(code.contains("could not load amazon elastic"), "the sources were read");
    let known: Vec<&str> =
        FAULTS.iter().map(|fault| fault.2).filter(|decides| code.contains(&decides.to_lowercase())).collect();
    assert_eq!(known, Vec::<&str>::new());
}

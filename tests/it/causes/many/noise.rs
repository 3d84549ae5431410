//! One fault with noise: the verdict is the same as without it. And healthy hosts with noise: no cause is reported. See
//! `many/mod.rs`.
//!
//! In: a fault of the table and one kind of noise. Out: the causes of `run`. `each_fault_of_the_table_has_its_cause` is
//! the same without noise.

use super::{in_parallel, is_right, run_with};
use crate::causes::faults::{self, Change, Ends, Fault, Source};
use crate::causes::is_ready;
use crate::support::Instance;
use std::time::{Duration, SystemTime};

/// The kinds of noise, by their name.
const NOISE: [(&str, Change); 3] =
    [("errors of earlier starts", old_errors), ("lines of a healthy host", healthy_lines), ("slow services", slow)];

/// Errors of every kind, from an earlier boot.
const OLD_AGENT_LOG: &str = concat!(
    "level=info time=2026-01-01T00:00:00Z msg=\"Starting Amazon ECS Agent\"\n",
    "level=critical time=2026-01-01T00:00:01Z msg=\"Unable to register as a container instance with ECS\" \
     error=\"operation error ECS: RegisterContainerInstance, https response error StatusCode: 400, RequestID: \
     6d5f1c0a-7e0f-4d3c-9a39-2b7c7a1f0e55, AccessDeniedException: User: arn:aws:sts::1:assumed-role/x/i is not \
     authorized to perform: ecs:RegisterContainerInstance with an explicit deny in a service control policy\"\n",
    "level=critical time=2026-01-01T00:00:02Z msg=\"Unable to register as a container instance with ECS\" \
     error=\"ClientException: Cluster not found.\"\n",
    "level=error time=2026-01-01T00:00:03Z msg=\"no space left on device\"\n",
    "level=error time=2026-01-01T00:00:03Z msg=\"Data mismatch; saved cluster 'a' does not match configured cluster \
     'b'\"\n",
    "level=error time=2026-01-01T00:00:03Z msg=\"InactiveInstanceException: Container instance is deregistered.\"\n",
    "level=error time=2026-01-01T00:00:03Z msg=\"Attribute validation failed\" missingAttributes=\"[tier]\"\n",
    "level=error time=2026-01-01T00:00:03Z msg=\"Unable to initialize cgroup root\" error=\"read-only file system\"\n",
    "level=error time=2026-01-01T00:00:03Z msg=\"InvalidSignatureException: Signature expired\"\n",
    "level=error time=2026-01-01T00:00:03Z msg=\"Failed to connect to ACS\" error=\"unable to dial ecs-a-1: x509: \
     certificate signed by unknown authority\"\n",
    "level=error time=2026-01-01T00:00:03Z msg=\"no EC2 IMDS role found\" error=\"proxyconnect tcp: i/o timeout\"\n",
);
const OLD_INIT_LOG: &str = concat!(
    "level=info time=2026-01-01T00:00:00Z msg=\"pre-start\"\n",
    "level=error time=2026-01-01T00:00:00Z msg=\"could not load Amazon Elastic Container Service Agent into Docker\"\n",
    "level=error time=2026-01-01T00:00:00Z msg=\"could not download Amazon Elastic Container Service Agent\"\n",
    "level=info time=2026-01-01T00:00:00Z msg=\"Agent exited with code 5\"\n",
    "level=error time=2026-01-01T00:00:00Z msg=\"agent exited with terminal exit code: 5\"\n",
    "level=error time=2026-01-01T00:00:00Z msg=\"no space left on device\"\n",
);
const OLD_JOURNAL: &str = "Starting docker.service - Docker Application Container Engine...\n\
                           unable to configure the Docker daemon with file /etc/docker/daemon.json: EOF\n\
                           failed to start daemon: error initializing graphdriver: driver not supported: aufs\n\
                           failed to start daemon: mkdir /var/lib/docker: no space left on device\n\
                           docker.service: Main process exited, code=exited, status=1/FAILURE\n\
                           Starting docker.service - Docker Application Container Engine...\n";

/// Lines of an agent on a healthy host, in both formats. After each of them it goes on.
const HEALTHY_AGENT_LINES: &str = concat!(
    "level=info time=2026-11-26T08:00:00Z msg=\"Loading configuration\" module=agent.go\n",
    "level=warn time=2026-11-26T08:00:00Z msg=\"Unable to fetch user data: http response error StatusCode: 404, \
     request to EC2 IMDS failed\" module=config.go\n",
    "level=warn time=2026-11-26T08:00:00Z msg=\"Unable to get Docker client for version\" version=1.17 \
     error=\"client version 1.17 is too old. Minimum supported API version is 1.24\" module=sdkclientfactory.go\n",
    "level=debug time=2026-11-26T08:00:00Z msg=\"Checking for i/o timeout of the last poll: none\" module=poll.go\n",
    "level=warn time=2026-11-26T08:00:00Z msg=\"Failed to load kernel module\" module=sch_netem error=\"exit status \
     1: modprobe: FATAL: Module sch_netem not found\"\n",
    "{\"level\":\"warn\",\"time\":\"2026-11-26T08:00:00Z\",\"msg\":\"AppNet agent image is not available\",\"error\":\
     \"stat /managed-agents/serviceconnect/appnet_agent.interface-v1.tar: no such file or directory\"}\n",
    "level=error time=2026-11-26T08:00:00Z msg=\"error adding /managed-agents/serviceconnect to fsnotify watcher: no \
     such file or directory\" module=watcher.go\n",
    "\tat a line without a format, with level=error in it",
);
const HEALTHY_INIT_LINES: &str = concat!(
    "level=info time=2026-11-26T08:00:00Z msg=\"Successfully created docker client\" version=1.44\n",
    "level=warn time=2026-11-26T08:00:00Z msg=\"Could not create docker client with API version 1.17: client version \
     1.17 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version\"\n",
    "level=warn time=2026-11-26T08:00:00Z msg=\"No AppArmor profile found, ignoring\"",
);

/// Logs and the journal of docker with errors of earlier starts.
fn old_errors(instance: Instance) -> Instance {
    let own = instance.disk.text("home/journal/docker.service");
    let instance = instance.journal_has("docker.service", &format!("{OLD_JOURNAL}{own}"));
    for (path, lines) in [("var/log/ecs/ecs-agent.log", OLD_AGENT_LOG), ("var/log/ecs/ecs-init.log", OLD_INIT_LOG)] {
        instance.disk.write(path, lines.repeat(3));
        let file = std::fs::File::options().append(true).open(instance.disk.path(path)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(7200)).unwrap();
    }
    instance
}

/// The agent and ecs-init log what they log on a healthy host too.
fn healthy_lines(instance: Instance) -> Instance {
    instance.agent_behaves(|agent| {
        agent.logs_too = HEALTHY_AGENT_LINES;
        agent.init_logs_too = HEALTHY_INIT_LINES;
    })
}

/// IMDS and AWS take some hundred milliseconds for each answer.
fn slow(instance: Instance) -> Instance {
    instance.aws.change(|aws| aws.delay = Duration::from_millis(250));
    instance.imds_delay(Duration::from_millis(120))
}

/// Checks the verdict of each of these faults with noise.
fn check(wanted: impl Fn(&Fault, &str) -> bool) {
    let all = NOISE.iter().flat_map(|noise| faults::all().into_iter().map(move |fault| (fault, noise)));
    let cases: Vec<(&Fault, &(&str, Change))> = all.filter(|(fault, (name, _))| wanted(fault, name)).collect();
    let wrong = in_parallel(super::THREADS, "causes::many::noise", &cases, |(fault, (name, noise))| {
        let outcome = run_with(&noise((fault.make)(Instance::new())), &[fault]);
        is_right(fault, &outcome).map_err(|error| format!("{name}: {error}"))
    });
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Whether the agent starts in spite of this fault.
fn agent_starts(fault: &Fault) -> bool {
    fault.ends == Ends::Nothing && !fault.hides.contains(&Source::AgentRuns)
}

#[test]
fn noise_does_not_change_the_cause() {
    check(|fault, noise| noise != NOISE[0].0 || agent_starts(fault));
}

#[test]
fn errors_of_an_earlier_boot_are_ignored_before_the_agent_has_started() {
    check(|fault, noise| noise == NOISE[0].0 && !agent_starts(fault));
}

#[test]
fn a_healthy_host_with_noise_has_no_cause() {
    fn late(instance: Instance) -> Instance {
        instance.agent_behaves(|agent| {
            agent.register_delay = Duration::from_secs(3);
            agent.connect_delay = Duration::from_secs(2);
        })
    }
    let all: Change = |instance| late(slow(healthy_lines(old_errors(instance))));
    let json: Change =
        |instance| late(healthy_lines(instance)).ecs_config("ECS_LOGLEVEL=debug\nECS_LOG_OUTPUT_FORMAT=json\n");
    let hosts: [Change; 5] = [old_errors, healthy_lines, slow, all, json];
    let wrong = in_parallel(super::THREADS, "causes::many::noise", &hosts, |noise| {
        let instance = noise(Instance::new());
        is_ready(&crate::causes::run(&instance, &["verify.deadline=30s"]));
        let doctor = instance.run(&["doctor"]);
        let is_fine =
            doctor.code == Some(0) && !doctor.stdout.contains("error: [") && !doctor.stdout.contains("  fail  ");
        is_fine.then_some(()).ok_or(doctor.stdout)
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

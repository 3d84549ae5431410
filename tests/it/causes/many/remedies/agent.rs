//! Remedies of the agent, its saved state, its lifecycle and its connection to the control plane.

use super::Shown::{By, ByNote};
use super::Step::{Reset, RestartAgent, Run, Wait};
use super::{Row, after_remedy, aws_answers, carried_out, config, fault, healthy_agent, nothing};
use crate::support::aws::ContainerInstance;
use crate::support::disk::{AgentState, Disk};
use crate::support::{Instance, Outcome};
use std::time::Duration;

const CONFIG: &str = "etc/ecs/ecs.config";
const SAVED: &str = "arn:aws:ecs:eu-west-1:111122223333:container-instance/prod/saved";

const POLL_DENIED: &str = "AccessDeniedException: User: arn:aws:sts::111122223333:assumed-role/ecsInstanceRole/i-1 is not \
                           authorized to perform: ecs:Poll on resource: x with an explicit deny in a service control \
                           policy";

/// The agent has exited with its terminal code.
const fn gave_up(id: &'static str, make: super::Change, says: &'static str, mend: super::Change) -> Row {
    Row::new(id, make, says, mend, &[Run])
}

/// The agent cannot go on with its saved state.
const fn saved(id: &'static str, make: super::Change, lasts: fn(&Disk) -> bool) -> Row {
    Row::new(id, make, "", registers_anew, &[Reset]).lasts_while(lasts)
}

pub(super) const ROWS: &[Row] = &[
    gave_up(
        "attributes-rejected",
        |i| fault(i, "attributes-rejected").ecs_config("ECS_INSTANCE_ATTRIBUTES={\"tier\":\"web/x\"}\n"),
        "correct ECS_INSTANCE_ATTRIBUTES",
        |i| config(i, "ECS_CLUSTER=prod\nECS_INSTANCE_ATTRIBUTES={\"tier\":\"web\"}\n"),
    )
    .lasts_while(|disk| disk.text(CONFIG).contains("web/x")),
    gave_up(
        "tags-rejected",
        |i| fault(i, "tags-rejected").ecs_config("ECS_CONTAINER_INSTANCE_TAGS={\"aws:x\":\"y\"}\n"),
        "correct ECS_CONTAINER_INSTANCE_TAGS",
        |i| config(i, "ECS_CLUSTER=prod\nECS_CONTAINER_INSTANCE_TAGS={\"x\":\"y\"}\n"),
    )
    .lasts_while(|disk| disk.text(CONFIG).contains("aws:x")),
    gave_up(
        "task-eni-setup-failed",
        |i| fault(i, "task-eni-setup-failed"),
        "or set ECS_ENABLE_TASK_ENI=false",
        |i| config(i, "ECS_CLUSTER=prod\nECS_ENABLE_TASK_ENI=false\n"),
    )
    .lasts_while(|disk| !disk.text(CONFIG).contains("ECS_ENABLE_TASK_ENI=false")),
    gave_up(
        "cgroup-setup-failed",
        |i| fault(i, "cgroup-setup-failed").ecs_config("ECS_ENABLE_TASK_CPU_MEM_LIMIT=true\n"),
        "remove ECS_ENABLE_TASK_CPU_MEM_LIMIT from ecs.config",
        |i| config(i, "ECS_CLUSTER=prod\n"),
    )
    .lasts_while(|disk| disk.text(CONFIG).contains("CPU_MEM_LIMIT")),
    Row::new("agent-gave-up", |i| fault(i, "agent-gave-up"), "fix what the last lines", healthy_agent, &[RestartAgent]),
    Row::new("agent-exits", |i| fault(i, "agent-exits"), "read the last errors", healthy_agent, &[Wait]),
    Row::new(
        "agent-exits",
        |i| {
            let i = exiting(i, 1, "Error creating data client", "invalid database");
            owned(i, "prod")
        },
        "remove the saved state",
        registers_anew,
        &[Reset],
    )
    .lasts_while(has_saved)
    .shown(By(in_a_loop)),
    Row::new(
        "agent-exits",
        |i| {
            exiting(i, 1, "Error starting the audit log", "ECS_AUDIT_LOGFILE is not a file")
                .ecs_config("ECS_AUDIT_LOGFILE=/\n")
        },
        "correct or remove ECS_AUDIT_LOGFILE in /etc/ecs/ecs.config",
        |i| config(i, "ECS_CLUSTER=prod\n"),
        &[RestartAgent],
    )
    .lasts_while(|disk| disk.text(CONFIG).contains("AUDIT"))
    .shown(By(in_a_loop)),
    Row::new(
        "agent-gave-up",
        |i| exiting(i, 5, "Unable to create the folder", "mkdir /data/x: permission denied"),
        "allow the access to `/var/lib/ecs/data/x`",
        healthy_agent,
        &[RestartAgent],
    ),
    saved("instance-type-changed", |i| fault(owned(i, "prod"), "instance-type-changed"), has_saved),
    saved("saved-state-unreadable", |i| fault(i, "saved-state-unreadable"), is_damaged),
    saved("cluster-mismatch-saved", |i| fault(i, "cluster-mismatch-saved"), |_| true),
    saved("registration-inactive", |i| fault(i, "registration-inactive"), |_| true),
    saved(
        "baked-agent-state",
        |i| {
            let i = state(i, "prod", "i-0fedcba9876543210".into());
            i.agent_behaves(|agent| agent.gives_up_with = Some("saved state is of another instance".into()))
        },
        |disk| disk.agent_state().is_some_and(|state| state.instance_id == "i-0fedcba9876543210"),
    ),
    saved("deregistered-while-up", |i| i.agent_behaves(|agent| agent.deregistered = true), |disk| starts(disk) < 2),
    Row::new(
        "registration-not-active",
        |i| registered(i, "INACTIVE"),
        "after a deregistration",
        registers_anew,
        &[Reset],
    ),
    Row::new(
        "registration-not-active",
        |i| registered(i, "REGISTERING"),
        "REGISTERING ends by itself",
        |i| status(i, "ACTIVE"),
        &[Wait],
    ),
    Row::new(
        "introspection-port-taken",
        |i| i.agent_behaves(|agent| agent.garbage_introspection = true),
        "find the process that listens there",
        healthy_agent,
        &[RestartAgent],
    ),
    Row::new("agent-stuck", |i| fault(i, "agent-stuck"), "if it happens again", nothing, &[RestartAgent])
        .lasts_while(|disk| starts(disk) < 2),
    Row::new(
        "agent-not-connected",
        |i| {
            let later = crate::support::aws::Fault::error(500, "ServerException", "later");
            fault(i, "agent-stuck").aws_fault("DiscoverPollEndpoint", later)
        },
        "if they are already allowed",
        nothing,
        &[RestartAgent],
    )
    .lasts_while(|disk| starts(disk) < 2),
    Row::new("acs-denied", |i| fault(i, "acs-denied"), "allow `ecs:DiscoverPollEndpoint`", aws_answers, &[Wait]),
    Row::new(
        "acs-denied",
        |i| i.agent_behaves(|agent| agent.acs_error = Some(POLL_DENIED)),
        "allow the action in the organization's service control policies",
        healthy_agent,
        &[Wait],
    ),
    Row::new(
        "acs-unreachable",
        |i| fault(i, "acs-unreachable"),
        "on port 443 in the firewall",
        |i| {
            let open = i.aws.endpoint();
            i.aws.change(|aws| aws.poll_endpoints[0] = open);
            healthy_agent(i)
        },
        &[Wait],
    ),
    Row::new("acs-refused", |i| fault(i, "acs-refused"), "", healthy_agent, &[Wait]),
    Row::new("run-late", nothing, "find out what it was waiting for", nothing, &[Run]).shown(By(beside_another_run)),
    Row::new(
        "verify-died",
        |i| i.agent_behaves(|agent| agent.register_delay = Duration::from_secs(2)),
        "`systemctl reset-failed ecs-bootstrap-verify; systemctl start ecs-bootstrap-verify`",
        |i| {
            // The unit runs `verify`, as the check after the remedy does.
            i.unit("ecs-bootstrap-verify.service", |unit| unit.active_state = "inactive".into())
        },
        &[],
    )
    .shown(By(killed_verification)),
    Row::new(
        "attributes-not-applied",
        |i| attributes(i, "db"),
        "`aws ecs put-attributes",
        |i| attributes(i, "web"),
        &[],
    )
    .shown(ByNote),
    Row::new(
        "agent-too-old",
        |i| i.agent_behaves(|agent| agent.version = Some("1.20.3")),
        "(`dnf update ecs-init`)",
        healthy_agent,
        &[RestartAgent],
    )
    .shown(ByNote),
    Row::new("draining", |i| registered(i, "DRAINING"), "--status ACTIVE`", |i| status(i, "ACTIVE"), &[]).shown(ByNote),
    Row::new(
        "warm-pool-state-missing",
        |i| config(i, "ECS_WARM_POOLS_CHECK=true\n"),
        "remove ECS_WARM_POOLS_CHECK",
        |i| config(i, "ECS_CLUSTER=prod\n"),
        &[RestartAgent],
    ),
    Row::new(
        "warm-pool-waiting",
        |i| {
            i.imds.change(|imds| imds.target_lifecycle_state = Some("Warmed:Running".into()));
            i.ecs_config("ECS_WARM_POOLS_CHECK=true\n")
        },
        "the agent registers when Auto Scaling moves the instance to InService",
        |i| {
            i.imds.change(|imds| imds.target_lifecycle_state = Some("InService".into()));
            i
        },
        &[Wait],
    ),
    Row::new(
        "acs-connection-drops",
        dropping,
        "raise the idle time-out",
        |i| {
            i.disk.write("var/log/ecs/ecs-agent.log", "");
            i
        },
        &[],
    )
    .shown(ByNote),
];

fn exiting(instance: Instance, code: i32, message: &'static str, error: &'static str) -> Instance {
    instance.agent_behaves(|agent| agent.exits = Some((code, message, error)))
}

/// Waits for the verdict about an error that ended several attempts, which comes before this deadline.
fn in_a_loop(instance: &Instance) -> Outcome {
    carried_out(instance, &["run", "--wait"], "verify.deadline=50s")
}

/// How often the agent was started.
fn starts(disk: &Disk) -> usize {
    disk.text("var/log/ecs/ecs-init.log").matches("Starting Amazon Elastic Container Service Agent").count()
}

fn is_damaged(disk: &Disk) -> bool {
    disk.read("var/lib/ecs/data/agent.db").is_some_and(|bytes| bytes.first() == Some(&0x5a))
}

fn has_saved(disk: &Disk) -> bool {
    disk.agent_state().is_some_and(|state| state.container_instance_arn == SAVED)
}

/// AWS accepts a registration without saved state, and gives it another container instance.
fn registers_anew(instance: Instance) -> Instance {
    instance.aws.change(|aws| {
        aws.faults.clear();
        aws.container_instances.retain(|one| one.status != "INACTIVE");
    });
    instance
}

fn state(instance: Instance, cluster: &str, instance_id: String) -> Instance {
    instance.disk.save_agent_state(&AgentState {
        cluster: cluster.into(),
        container_instance_arn: SAVED.into(),
        instance_id,
    });
    instance
}

fn own_id(instance: &Instance) -> String {
    let mut own = String::new();
    instance.imds.change(|imds| own.clone_from(&imds.instance_id));
    own
}

fn owned(instance: Instance, cluster: &str) -> Instance {
    let own = own_id(&instance);
    state(instance, cluster, own)
}

/// An instance that has been registered before, with this status and the attribute `tier=db`.
fn registered(instance: Instance, status: &str) -> Instance {
    let (own, status) = (own_id(&instance), status.to_owned());
    instance.aws.change(|aws| {
        aws.container_instances.push(ContainerInstance {
            gpus: 0,
            arn: SAVED.into(),
            cluster: "prod".into(),
            instance_id: own,
            status,
            agent_connected: false,
            attributes: [("tier".to_owned(), "db".to_owned())].into(),
        });
    });
    owned(instance, "prod")
}

fn status(instance: Instance, status: &str) -> Instance {
    instance.aws.change(|aws| aws.container_instances.iter_mut().for_each(|one| one.status = status.into()));
    instance
}

/// The registered attribute `tier`; the file sets it to `web`.
fn attributes(instance: Instance, tier: &str) -> Instance {
    let is_new = instance.disk.agent_state().is_none();
    let instance = if is_new { registered(instance, "ACTIVE") } else { instance };
    instance.aws.change(|aws| {
        let registered = aws.container_instances.iter_mut();
        registered.for_each(|one| drop(one.attributes.insert("tier".into(), tier.into())));
    });
    if is_new { instance.ecs_config("ECS_INSTANCE_ATTRIBUTES={\"tier\":\"web\"}\n") } else { instance }
}

fn beside_another_run(instance: &Instance) -> Outcome {
    instance.disk.write("run/ecs-bootstrap/lock", "");
    let held = std::fs::File::open(instance.disk.path("run/ecs-bootstrap/lock")).unwrap();
    held.lock().unwrap();
    carried_out(instance, &["run", "--wait", "--set", "run.deadline=2s"], "verify.deadline=8s")
}

/// The status after the verifying unit was killed.
fn killed_verification(instance: &Instance) -> Outcome {
    assert_eq!(instance.run(&["run", "--no-wait"]).code, Some(0));
    instance.systemd.change_unit("ecs-bootstrap-verify.service", |unit| {
        unit.load_state = "loaded".into();
        (unit.active_state, unit.sub_state) = ("failed".into(), "dead".into());
        unit.result = "oom-kill".into();
    });
    instance.run(&["status"])
}

/// The connection ended every minute, five times.
fn dropping(instance: Instance) -> Instance {
    assert_eq!(after_remedy(&instance, &["run", "--wait"]).code, Some(0));
    crate::causes::log_dropped_connections(&instance);
    instance
}

//! The scenarios of `tests/try`: the simulated instance, and the options of its run.
//!
//! In: a name of `scenarios.txt`. Out: the simulated instance and the options of `run`. It prints and runs nothing.

use crate::support::systemd::Start;
use crate::support::tls::SelfSigned;
use crate::support::{Instance, aws, imds};

/// Name and subject of each scenario, one per line. `tests/try --list` prints this file.
pub(crate) const LIST: &str = include_str!("scenarios.txt");

const SETTINGS: &str = "/etc/ecs-bootstrap/config.toml";

/// One instance, and the options of its run.
pub(crate) struct Scenario {
    /// The subject, from the list.
    pub(crate) subject: &'static str,
    /// The instance, not yet booted.
    pub(crate) instance: Instance,
    /// The text of its settings file.
    pub(crate) settings: Option<&'static str>,
    /// Options of `run` besides `--wait`.
    pub(crate) options: &'static [&'static str],
}

/// All names and subjects, in the order of the list.
pub(crate) fn list() -> impl Iterator<Item = (&'static str, &'static str)> {
    LIST.lines().filter_map(|line| line.split_once(' ')).map(|(name, subject)| (name, subject.trim()))
}

/// The scenario with this name, if there is one.
pub(crate) fn find(name: &str) -> Option<Scenario> {
    let (name, subject) = list().find(|(listed, _)| *listed == name)?;
    let scenario = cluster_scenario(name).or_else(|| host_scenario(name)).or_else(|| network_scenario(name))?;
    Some(Scenario { subject, ..scenario })
}

/// A scenario without a subject.
fn scenario(instance: Instance) -> Scenario {
    Scenario { subject: "", instance, settings: None, options: &[] }
}

/// Scenarios about the sources of the cluster and of settings.
fn cluster_scenario(name: &str) -> Option<Scenario> {
    Some(match name {
        "imds-tag" => scenario(Instance::new()),
        "describe-tags" => scenario(Instance::new().without_imds_tags()),
        "cluster-tags" => {
            let tags = [("env", "prod"), ("ecs-bootstrap:ECS_RESERVED_MEMORY", "256")];
            let instance = Instance::new().without_tags().without_cluster("prod");
            let instance = instance.cluster("blue", &[("env", "test")]).cluster("green", &tags);
            with_settings(scenario(instance), "[cluster-tags]\nenv = \"prod\"\n")
        }
        "warm-pool" => {
            let instance = Instance::new();
            instance.imds.change(|imds| imds.target_lifecycle_state = Some("Warmed:Running".into()));
            Scenario { options: &["--set", "verify.deadline=3s"], ..scenario(instance) }
        }
        // A tag may become visible late, so a run waits for it. The default of half a minute is too long for a demo.
        "no-cluster" => Scenario { options: &["--set", "tags.wait=2s"], ..scenario(Instance::new().without_tags()) },
        "wrong-setting" => with_settings(scenario(Instance::new()), "[verify]\ndeadlin = \"5m\"\n"),
        "quoted-cluster" => {
            let instance = Instance::new().without_tags().ecs_config("ECS_CLUSTER=\"prod\"\n");
            Scenario { options: &["--set", "tags.wait=1s"], ..scenario(instance) }
        }
        _ => return None,
    })
}

/// Scenarios about faults of the host, cloud-init, docker, the role and the agent.
fn host_scenario(name: &str) -> Option<Scenario> {
    Some(match name {
        // The host's clock cannot be changed, so the clock of AWS is twenty minutes ahead.
        "wrong-clock" => {
            let refused = aws::Fault::error(400, "InvalidSignatureException", "Signature not yet current");
            let instance = Instance::new().without_imds_tags().aws_fault("DescribeTags", refused);
            instance.aws.change(|aws| aws.date_ahead = 1200);
            Scenario { options: &["--set", "run.deadline=5s"], ..scenario(instance) }
        }
        "failed-user-data" => {
            let error = "('scripts_user', RuntimeError('Runparts: 1 failures (part-001) in 1 attempted commands'))";
            let result = format!("{{\"v1\": {{\"datasource\": \"DataSourceEc2Local\", \"errors\": [\"{error}\"]}}}}");
            let output = "/var/lib/cloud/instance/scripts/part-001: line 3: yum-config-manager: command not found\n";
            let instance = Instance::new().without_tags().file("run/cloud-init/result.json", result);
            let instance = instance.file("var/log/cloud-init-output.log", output);
            let script =
                "#!/bin/bash -e\nyum-config-manager --enable extra\necho ECS_CLUSTER=prod >>/etc/ecs/ecs.config\n";
            Scenario { options: &["--set", "tags.wait=1s"], ..scenario(instance.user_data(script)) }
        }
        "no-space" => scenario(Instance::new().agent_behaves(|agent| {
            agent.exits = Some((1, "Error creating data client", "write /data/agent.db: no space left on device"));
        })),
        "broken-docker" => scenario(
            Instance::new()
                .file("etc/docker/daemon.json", "{\n  \"log-driver\": \"json-file\",\n  \"debug\": tru\n}\n")
                .unit("docker.service", |unit| unit.start = Start::Fails("failed".into())),
        ),
        "no-agent" => scenario(Instance::new().unit("ecs.service", |unit| unit.absent())),
        "metadata-off" => scenario(Instance::new().imds_fault(imds::Fault::Off)),
        "no-role" => scenario(Instance::new().without_role()),
        "wrong-attributes" => scenario(Instance::new().agent_behaves(|agent| agent.attributes_rejected = true)),
        _ => return None,
    })
}

/// Scenarios about the network path and the answers of AWS.
fn network_scenario(name: &str) -> Option<Scenario> {
    Some(match name {
        "no-name-server" => {
            let text = "request send failed, Post \"https://ecs.eu-west-1.amazonaws.com/\": dial tcp: lookup \
                        ecs.eu-west-1.amazonaws.com on 127.0.77.53:53: read: connection refused";
            let instance = Instance::new().without_name_server();
            let instance = instance.agent_behaves(|agent| agent.crashes_with = Some(text.into()));
            Scenario { options: &["--set", "verify.deadline=8s"], ..scenario(instance) }
        }
        // Port 9 is closed.
        "closed-endpoint" => {
            let text = "request send failed, Post \"https://ecs.eu-west-1.amazonaws.com/\": dial tcp 127.0.0.1:9: \
                        connect: connection refused";
            let instance = Instance::new().env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
            let instance = instance.agent_behaves(|agent| agent.crashes_with = Some(text.into()));
            Scenario { options: &["--set", "verify.deadline=5s"], ..scenario(instance) }
        }
        "foreign-issuer" => {
            let url = SelfSigned::start().endpoint();
            scenario(Instance::new().without_imds_tags().env("AWS_ENDPOINT_URL", url))
        }
        "denied" => {
            let who = "arn:aws:sts::111122223333:assumed-role/ecsInstanceRole/i-0123456789abcdef0";
            let text = format!(
                "User: {who} is not authorized to perform: ecs:RegisterContainerInstance with an explicit deny in a \
                 service control policy"
            );
            let fault = aws::Fault::error(400, "AccessDeniedException", &text);
            scenario(Instance::new().aws_fault("RegisterContainerInstance", fault))
        }
        "no-such-cluster" => scenario(Instance::new().without_cluster("prod")),
        "never-connects" => {
            let instance = Instance::new().agent_behaves(|agent| agent.never_connects = true);
            // Port 9 is closed.
            instance.aws.change(|aws| aws.poll_endpoints[0] = "https://127.0.0.1:9/".into());
            Scenario { options: &["--set", "verify.window=2s", "--set", "verify.deadline=15s"], ..scenario(instance) }
        }
        _ => return None,
    })
}

fn with_settings(scenario: Scenario, text: &'static str) -> Scenario {
    Scenario { instance: scenario.instance.setting_file(SETTINGS, text), settings: Some(text), ..scenario }
}

#[cfg(test)]
mod tests {
    use super::{SETTINGS, find, list};

    /// The exit code of each scenario, and a part of its output.
    const EXPECTED: [(&str, i32, &str); 21] = [
        ("imds-tag", 0, "ready: `arn:aws:ecs:"),
        ("describe-tags", 0, "ready: `arn:aws:ecs:"),
        ("cluster-tags", 0, "in cluster `green`"),
        ("warm-pool", 0, "waiting: "),
        ("wrong-clock", 24, "error: [clock-skew]"),
        ("no-cluster", 21, "error: [user-data-absent]"),
        ("wrong-setting", 20, "did you mean `verify.deadline`?"),
        ("quoted-cluster", 21, "error: [config-quoted]"),
        ("failed-user-data", 21, "error: [user-data-failed]"),
        ("no-space", 24, "error: [disk-full]"),
        ("broken-docker", 24, "error: [docker-config-invalid]"),
        ("no-agent", 24, "error: [ecs-init-absent]"),
        ("metadata-off", 22, "error: [imds-disabled]"),
        ("no-role", 22, "error: [no-instance-role]"),
        ("no-name-server", 25, "error: [dns-timeout]"),
        ("closed-endpoint", 25, "error: [connection-refused]"),
        ("foreign-issuer", 25, "error: [tls-untrusted]"),
        ("denied", 22, "error: [scp-denied]"),
        ("no-such-cluster", 21, "error: [cluster-not-found]"),
        ("wrong-attributes", 23, "error: [attributes-rejected]"),
        ("never-connects", 25, "error: [acs-unreachable]"),
    ];

    #[test]
    fn every_scenario_ends_with_its_expected_code_and_text() {
        assert!(
            list().map(|(name, _)| name).eq(EXPECTED.iter().map(|(name, _, _)| *name)),
            "the list and this table differ"
        );
        // Scenarios mostly wait, so four run at the same time.
        for scenarios in EXPECTED.chunks(4) {
            std::thread::scope(|scope| {
                for (name, code, text) in scenarios {
                    scope.spawn(|| plays_as_expected(name, *code, text));
                }
            });
        }
    }

    fn plays_as_expected(name: &str, code: i32, text: &str) {
        let scenario = find(name).unwrap();
        assert!(!scenario.subject.is_empty(), "{name}");
        assert!(scenario.settings.is_none_or(|text| scenario.instance.disk.text(SETTINGS) == text), "{name}");
        let outcome = scenario.instance.run(&[&["run", "--wait"], scenario.options].concat());
        assert_eq!(outcome.code, Some(code), "{name}: {}{}", outcome.stdout, outcome.stderr);
        let output = outcome.stdout + &outcome.stderr;
        assert!(output.contains(text), "{name}: {output}");
    }
}

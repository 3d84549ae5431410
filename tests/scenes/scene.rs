//! The scenes of `tests/try`: the simulated instance, and the options of its run.
//!
//! In: a name of `scenes.txt`. Out: the simulated instance and the options of `run`. It prints and runs nothing.

use crate::support::systemd::Start;
use crate::support::tls::SelfSigned;
use crate::support::{Instance, aws, imds};

/// Name and subject of each scene, one per line. `tests/try --list` prints this file.
pub(crate) const LIST: &str = include_str!("scenes.txt");

const SETTINGS: &str = "/etc/ecs-bootstrap/config.toml";

/// One instance, and the options of its run.
pub(crate) struct Scene {
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

/// The scene with this name, if there is one.
pub(crate) fn find(name: &str) -> Option<Scene> {
    let (name, subject) = list().find(|(listed, _)| *listed == name)?;
    let scene = cluster_scene(name).or_else(|| host_scene(name)).or_else(|| network_scene(name))?;
    Some(Scene { subject, ..scene })
}

/// A scene without a subject.
fn scene(instance: Instance) -> Scene {
    Scene { subject: "", instance, settings: None, options: &[] }
}

/// Scenes about the sources of the cluster and of settings.
fn cluster_scene(name: &str) -> Option<Scene> {
    Some(match name {
        "imds-tag" => scene(Instance::new()),
        "describe-tags" => scene(Instance::new().without_imds_tags()),
        "cluster-tags" => {
            let tags = [("env", "prod"), ("ecs-bootstrap:ECS_RESERVED_MEMORY", "256")];
            let instance = Instance::new().without_tags().without_cluster("prod");
            let instance = instance.cluster("blue", &[("env", "test")]).cluster("green", &tags);
            with_settings(scene(instance), "[cluster-tags]\nenv = \"prod\"\n")
        }
        "warm-pool" => {
            let instance = Instance::new();
            instance.imds.change(|imds| imds.target_lifecycle_state = Some("Warmed:Running".into()));
            Scene { options: &["--set", "verify.deadline=3s"], ..scene(instance) }
        }
        // A tag may become visible late, so a run waits for it. The default of half a minute is too long for a demo.
        "no-cluster" => Scene { options: &["--set", "tags.wait=2s"], ..scene(Instance::new().without_tags()) },
        "wrong-setting" => with_settings(scene(Instance::new()), "[verify]\ndeadlin = \"5m\"\n"),
        "quoted-cluster" => {
            let instance = Instance::new().without_tags().ecs_config("ECS_CLUSTER=\"prod\"\n");
            Scene { options: &["--set", "tags.wait=1s"], ..scene(instance) }
        }
        _ => return None,
    })
}

/// Scenes about faults of the host, cloud-init, docker, the role and the agent.
fn host_scene(name: &str) -> Option<Scene> {
    Some(match name {
        // The host's clock cannot be changed, so the clock of AWS is twenty minutes ahead.
        "wrong-clock" => {
            let refused = aws::Fault::error(400, "InvalidSignatureException", "Signature not yet current");
            let instance = Instance::new().without_imds_tags().aws_fault("DescribeTags", refused);
            instance.aws.change(|aws| aws.date_ahead = 1200);
            Scene { options: &["--set", "run.deadline=5s"], ..scene(instance) }
        }
        "failed-user-data" => {
            let error = "('scripts_user', RuntimeError('Runparts: 1 failures (part-001) in 1 attempted commands'))";
            let result = format!("{{\"v1\": {{\"datasource\": \"DataSourceEc2Local\", \"errors\": [\"{error}\"]}}}}");
            let output = "/var/lib/cloud/instance/scripts/part-001: line 3: yum-config-manager: command not found\n";
            let instance = Instance::new().without_tags().file("run/cloud-init/result.json", result);
            let instance = instance.file("var/log/cloud-init-output.log", output);
            let script =
                "#!/bin/bash -e\nyum-config-manager --enable extra\necho ECS_CLUSTER=prod >>/etc/ecs/ecs.config\n";
            Scene { options: &["--set", "tags.wait=1s"], ..scene(instance.user_data(script)) }
        }
        "no-space" => scene(Instance::new().agent_behaves(|agent| {
            agent.exits = Some((1, "Error creating data client", "write /data/agent.db: no space left on device"));
        })),
        "broken-docker" => scene(
            Instance::new()
                .file("etc/docker/daemon.json", "{\n  \"log-driver\": \"json-file\",\n  \"debug\": tru\n}\n")
                .unit("docker.service", |unit| unit.start = Start::Fails("failed".into())),
        ),
        "no-agent" => scene(Instance::new().unit("ecs.service", |unit| unit.absent())),
        "metadata-off" => scene(Instance::new().imds_fault(imds::Fault::Off)),
        "no-role" => scene(Instance::new().without_role()),
        "wrong-attributes" => scene(Instance::new().agent_behaves(|agent| agent.attributes_rejected = true)),
        _ => return None,
    })
}

/// Scenes about the network path and the answers of AWS.
fn network_scene(name: &str) -> Option<Scene> {
    Some(match name {
        "no-name-server" => {
            let text = "request send failed, Post \"https://ecs.eu-west-1.amazonaws.com/\": dial tcp: lookup \
                        ecs.eu-west-1.amazonaws.com on 127.0.77.53:53: read: connection refused";
            let instance = Instance::new().without_name_server();
            let instance = instance.agent_behaves(|agent| agent.crashes_with = Some(text.into()));
            Scene { options: &["--set", "verify.deadline=8s"], ..scene(instance) }
        }
        // Port 9 is closed.
        "closed-endpoint" => {
            let text = "request send failed, Post \"https://ecs.eu-west-1.amazonaws.com/\": dial tcp 127.0.0.1:9: \
                        connect: connection refused";
            let instance = Instance::new().env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
            let instance = instance.agent_behaves(|agent| agent.crashes_with = Some(text.into()));
            Scene { options: &["--set", "verify.deadline=5s"], ..scene(instance) }
        }
        "foreign-issuer" => {
            let url = SelfSigned::start().endpoint();
            scene(Instance::new().without_imds_tags().env("AWS_ENDPOINT_URL", url))
        }
        "denied" => {
            let who = "arn:aws:sts::111122223333:assumed-role/ecsInstanceRole/i-0123456789abcdef0";
            let text = format!(
                "User: {who} is not authorized to perform: ecs:RegisterContainerInstance with an explicit deny in a \
                 service control policy"
            );
            let fault = aws::Fault::error(400, "AccessDeniedException", &text);
            scene(Instance::new().aws_fault("RegisterContainerInstance", fault))
        }
        "no-such-cluster" => scene(Instance::new().without_cluster("prod")),
        "never-connects" => {
            let instance = Instance::new().agent_behaves(|agent| agent.never_connects = true);
            // Port 9 is closed.
            instance.aws.change(|aws| aws.poll_endpoints[0] = "https://127.0.0.1:9/".into());
            Scene { options: &["--set", "verify.window=2s", "--set", "verify.deadline=15s"], ..scene(instance) }
        }
        _ => return None,
    })
}

fn with_settings(scene: Scene, text: &'static str) -> Scene {
    Scene { instance: scene.instance.setting_file(SETTINGS, text), settings: Some(text), ..scene }
}

#[cfg(test)]
mod tests {
    use super::{SETTINGS, find, list};

    /// The exit code of each scene, and a part of its output.
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
    fn every_scene_ends_with_its_expected_code_and_text() {
        assert!(
            list().map(|(name, _)| name).eq(EXPECTED.iter().map(|(name, _, _)| *name)),
            "the list and this table differ"
        );
        // Scenes mostly wait, so four run at the same time.
        for scenes in EXPECTED.chunks(4) {
            std::thread::scope(|scope| {
                for (name, code, text) in scenes {
                    scope.spawn(|| plays_as_expected(name, *code, text));
                }
            });
        }
    }

    fn plays_as_expected(name: &str, code: i32, text: &str) {
        let scene = find(name).unwrap();
        assert!(!scene.subject.is_empty(), "{name}");
        assert!(scene.settings.is_none_or(|text| scene.instance.disk.text(SETTINGS) == text), "{name}");
        let outcome = scene.instance.run(&[&["run", "--wait"], scene.options].concat());
        assert_eq!(outcome.code, Some(code), "{name}: {}{}", outcome.stdout, outcome.stderr);
        let output = outcome.stdout + &outcome.stderr;
        assert!(output.contains(text), "{name}: {output}");
    }
}

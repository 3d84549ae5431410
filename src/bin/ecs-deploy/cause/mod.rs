//! The catalogue: why a deployment did not begin, or did not succeed.
//!
//! In: what was seen of a rollout, as plain data. Out: the causes that it supports, each with its evidence, the next step
//! and where that is known from. A cause that nothing supports is not named; when none is, the finding is
//! [`ROLLOUT_UNKNOWN`] with all that was seen.

mod caller;
mod image;
mod placement;
mod running;
mod start;

pub(crate) use caller::*;

use ecs_bootstrap::exit::Exit;

/// Of a list of messages this many are shown.
const SHOWN: usize = 3;

/// One reason.
pub(crate) struct Cause {
    /// Stable, kebab-case.
    pub(crate) id: &'static str,
    /// What is wrong.
    pub(crate) title: &'static str,
    /// How it looks to whoever meets it.
    pub(crate) symptoms: &'static str,
    /// The next step.
    pub(crate) remedy: &'static str,
    /// Where this is known from.
    pub(crate) source: &'static str,
    /// How the program ends where nothing was rolled back.
    pub(crate) exit: Exit,
    /// What of a rollout supports it.
    pub(crate) check: fn(&Evidence) -> Vec<String>,
}

impl Cause {
    /// What most causes of a rollout have in common.
    const DEFAULTS: Cause = Cause {
        id: "",
        title: "",
        symptoms: "",
        remedy: "",
        source: "",
        exit: Exit::RolloutFailed,
        check: |_| Vec::new(),
    };

    /// It, with its first evidence.
    pub(crate) fn finding(&'static self, evidence: impl Into<String>) -> Finding {
        Finding { cause: self, evidence: vec![evidence.into()] }
    }
}

/// A cause, and what was seen of it.
#[derive(Clone)]
pub(crate) struct Finding {
    /// Which.
    pub(crate) cause: &'static Cause,
    /// What was seen, a line a piece.
    pub(crate) evidence: Vec<String>,
}

impl Finding {
    /// With one more piece of evidence.
    pub(crate) fn and(mut self, evidence: impl Into<String>) -> Finding {
        self.evidence.push(evidence.into());
        self
    }
}

impl std::fmt::Debug for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}] {:?}", self.cause.id, self.evidence)
    }
}

impl PartialEq for Finding {
    fn eq(&self, other: &Finding) -> bool {
        self.cause.id == other.cause.id && self.evidence == other.evidence
    }
}

/// What was seen of a rollout that did not succeed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// What somebody said of it.
    pub(crate) messages: Vec<Message>,
    /// Containers that ended.
    pub(crate) exits: Vec<ContainerExit>,
}

/// A text of ECS, and of whom it is.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// `service event`, `task 0123`, `container web of task 0123`.
    pub(crate) from: String,
    /// The text.
    pub(crate) text: String,
}

/// A container that ended.
#[derive(Clone, Debug)]
pub(crate) struct ContainerExit {
    /// Its name.
    pub(crate) container: String,
    /// The id of its task.
    pub(crate) task: String,
    /// Its exit code.
    pub(crate) code: i64,
    /// Whether the task ended because of it, rather than it because of the task.
    pub(crate) ended_the_task: bool,
    /// The end of its log, where that was read.
    pub(crate) log: Vec<String>,
}

impl Evidence {
    /// Messages that hold every fragment of one of the alternatives, whatever their case; each text once.
    fn mentions(&self, alternatives: &[&[&str]]) -> Vec<String> {
        let mut texts: Vec<&str> = Vec::new();
        let mut lines = Vec::new();
        for message in &self.messages {
            let text = message.text.to_ascii_lowercase();
            let fits = alternatives.iter().any(|fragments| fragments.iter().all(|fragment| text.contains(fragment)));
            if fits && !texts.contains(&message.text.as_str()) && lines.len() < SHOWN {
                texts.push(&message.text);
                lines.push(format!("{}: {}", message.from, message.text));
            }
        }
        lines
    }
}

/// Every cause, the most specific first: within a rollout the earlier a step is, the earlier its causes stand.
pub(crate) fn all() -> impl Iterator<Item = &'static Cause> {
    [caller::ALL, placement::ALL, start::ALL, image::ALL, running::ALL, caller::LAST].into_iter().flatten().copied()
}

/// The cause of that id.
pub(crate) fn find(id: &str) -> Option<&'static Cause> {
    all().find(|cause| cause.id == id)
}

/// The causes that were seen, the first of them the one to act on.
pub(crate) fn diagnose(evidence: &Evidence) -> Vec<Finding> {
    let found = all().filter_map(|cause| {
        let evidence = (cause.check)(evidence);
        (!evidence.is_empty()).then_some(Finding { cause, evidence })
    });
    let found: Vec<_> = found.collect();
    if !found.is_empty() {
        return found;
    }
    let mut evidence: Vec<_> = evidence
        .messages
        .iter()
        .rev()
        .take(SHOWN)
        .map(|message| format!("{}: {}", message.from, message.text))
        .collect();
    if evidence.is_empty() {
        evidence.push("ECS says nothing: no event of the service, no task that stopped".to_owned());
    }
    vec![Finding { cause: &caller::ROLLOUT_UNKNOWN, evidence }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Evidence {
        let message = Message { from: "service event".to_owned(), text: text.to_owned() };
        Evidence { messages: vec![message], ..Evidence::default() }
    }

    fn ids(evidence: &Evidence) -> Vec<&'static str> {
        diagnose(evidence).iter().map(|finding| finding.cause.id).collect()
    }

    /// The texts of the "Amazon ECS Developer Guide", "Service event messages" and "Stopped tasks error messages", and of
    /// public reports.
    #[test]
    fn each_text_is_named_as_what_it_is() {
        const NOBODY: &str =
            "service web was unable to place a task because no container instance met all of its requirements.";
        for (id, text) in [
            ("no-instances", format!("{NOBODY} Reason: No Container Instances were found in your cluster.")),
            ("insufficient-memory", format!("{NOBODY} The closest matching container-instance 1a2b has insufficient memory available.")),
            ("insufficient-cpu", format!("{NOBODY} The closest matching container-instance 1a2b has insufficient CPU units available.")),
            ("port-in-use", format!("{NOBODY} The closest matching container-instance 1a2b is already using a port required by your task.")),
            ("attribute-missing", format!("{NOBODY} The closest matching container-instance 1a2b is missing an attribute required by your task.")),
            ("agent-disconnected", format!("{NOBODY} The closest matching container-instance 1a2b encountered error \"AGENT\".")),
            ("agent-disconnected", format!("{NOBODY} The closest matching (container-instance 1a2b) doesn't have the agent connected.")),
            ("placement-constraint", format!("{NOBODY} The closest matching container-instance 1a2b encountered error \"MemberOf placement constraint unsatisfied.\"")),
            ("no-network-interface", format!("{NOBODY} The closest matching container-instance 1a2b encountered error \"RESOURCE:ENI\"")),
            ("not-placed", format!("{NOBODY} The closest matching container-instance 1a2b encountered error \"something new\"")),
            ("task-role-not-assumable", "(service web) failed to launch a task with (error ECS was unable to assume the role 'arn:aws:iam::111122223333:role/x' that was provided for this task. Please verify that the role being passed has the proper trust relationship and permissions.)".to_owned()),
            ("deployment-configuration", "(service web) was unable to stop or start tasks during a deployment because of the service deployment configuration. Update the minimumHealthyPercent or maximumPercent value and try again.".to_owned()),
            ("image-not-found", "CannotPullContainerError: manifest for 111122223333.dkr.ecr.eu-west-1.amazonaws.com/web:43 not found: manifest unknown: Requested image not found".to_owned()),
            ("image-not-found", "CannotPullContainerError: Error response from daemon: repository 111122223333.dkr.ecr.eu-west-1.amazonaws.com/wep not found: name unknown: The repository with name 'wep' does not exist in the registry with id '111122223333'".to_owned()),
            ("image-not-found", "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref docker.io/library/web:43: docker.io/library/web:43: not found".to_owned()),
            ("image-denied", "CannotPullContainerError: Error response from daemon: pull access denied for web, repository does not exist or may require 'docker login': denied: requested access to the resource is denied".to_owned()),
            ("image-denied", "CannotPullECRContainerError: AccessDeniedException: User: arn:aws:sts::111122223333:assumed-role/ecsInstanceRole/i-1 is not authorized to perform: ecr:GetAuthorizationToken".to_owned()),
            ("pull-rate-limited", "CannotPullContainerError: ref pull has been retried 5 time(s): failed to copy: httpReadSeeker: failed open: unexpected status code 429 Too Many Requests - Server message: toomanyrequests: You have reached your pull rate limit.".to_owned()),
            ("image-platform", "CannotPullContainerError: image Manifest does not contain descriptor matching platform 'linux/amd64'".to_owned()),
            ("registry-unreachable", "CannotPullContainerError: Error response from daemon: Get https://111122223333.dkr.ecr.eu-west-1.amazonaws.com/v2/: net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)".to_owned()),
            ("instance-disk-full", "CannotPullContainerError: failed to register layer: Error processing tar file(exit status 1): write /x: no space left on device".to_owned()),
            ("image-not-pulled", "CannotPullContainerError: something new".to_owned()),
            ("secret-denied", "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch secret arn:aws:secretsmanager:x from secrets manager: AccessDeniedException: User: x is not authorized to perform: secretsmanager:GetSecretValue".to_owned()),
            ("secret-not-found", "ResourceInitializationError: unable to pull secrets or registry auth: unable to retrieve secret from asm: ResourceNotFoundException: Secrets Manager can't find the specified secret.".to_owned()),
            ("secret-not-found", "Fetching secret data from SSM Parameter Store in eu-west-1: invalid parameters: /web/password".to_owned()),
            ("log-group-missing", "CannotStartContainerError: Error response from daemon: failed to initialize logging driver: failed to create Cloudwatch log stream: operation error CloudWatch Logs: CreateLogStream, https response error StatusCode: 400, ResourceNotFoundException: The specified log group does not exist.".to_owned()),
            ("log-denied", "CannotStartContainerError: Error response from daemon: failed to initialize logging driver: failed to create Cloudwatch log stream: AccessDeniedException: User: x is not authorized to perform: logs:CreateLogStream".to_owned()),
            ("command-not-found", "CannotStartContainerError: Error response from daemon: failed to create task for container: OCI runtime create failed: runc create failed: unable to start container process: exec: \"/srv/web\": stat /srv/web: no such file or directory: unknown".to_owned()),
            ("container-not-started", "CannotStartContainerError: Error response from daemon: something new".to_owned()),
            ("volume-not-mounted", "CannotCreateVolumeError: EFS mount failed".to_owned()),
            ("out-of-memory", "OutOfMemoryError: Container killed due to memory usage".to_owned()),
            ("target-unhealthy", "(service web) (port 32768) is unhealthy in (target-group arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/1) due to (reason Health checks failed with these codes: [502]).".to_owned()),
            ("target-unhealthy", "Task failed ELB health checks in (target-group arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/1)".to_owned()),
            ("container-unhealthy", "Task failed container health checks".to_owned()),
            ("deployment-alarm", "(service web) (deployment ecs-svc/1) deployment failed: alarm detected.".to_owned()),
            ("instance-lost", "Host EC2 (instance i-0123456789abcdef0) terminated.".to_owned()),
            ("rollout-unknown", "service web has started 1 tasks: task 0123.".to_owned()),
        ] {
            assert_eq!(ids(&said(&text))[0], id, "{text}: {:?}", ids(&said(&text)));
        }
    }

    #[test]
    fn what_led_to_nothing_is_no_cause() {
        for text in ["service web has reached a steady state.", "service web registered 1 targets in target-group x"] {
            assert_eq!(ids(&said(text)), ["rollout-unknown"]);
        }
        assert!(diagnose(&Evidence::default())[0].evidence[0].contains("ECS says nothing"));
    }

    #[test]
    fn a_container_that_ended_is_told_by_its_code_and_log() {
        let exit = |code, log: &str, ended_the_task| Evidence {
            exits: vec![ContainerExit {
                container: "web".to_owned(),
                task: "0123".to_owned(),
                code,
                ended_the_task,
                log: vec![log.to_owned()],
            }],
            ..Evidence::default()
        };
        assert_eq!(ids(&exit(1, "cannot open the database", true)), ["container-exited"]);
        assert_eq!(ids(&exit(0, "done", true)), ["container-ended"]);
        assert_eq!(ids(&exit(255, "exec /srv/web: exec format error", true)), ["image-platform"]);
        assert_eq!(ids(&exit(139, "", true)), ["container-exited"]);
        // It was told to stop, and is no reason for anything.
        assert_eq!(ids(&exit(143, "", false)), ["rollout-unknown"]);
        let finding = &diagnose(&exit(1, "cannot open the database", true))[0];
        assert_eq!(finding.evidence[0], "container `web` of task 0123 ended with 1");
        assert!(finding.evidence.iter().any(|line| line.contains("cannot open the database")), "{finding:?}");
    }

    #[test]
    fn ids_are_unique_and_every_cause_says_what_to_do() {
        let mut ids = std::collections::BTreeSet::new();
        for cause in all() {
            assert!(ids.insert(cause.id), "{} stands twice", cause.id);
            for text in [cause.title, cause.symptoms, cause.remedy, cause.source] {
                assert!(!text.is_empty() && !text.ends_with('.'), "{}: {text:?}", cause.id);
            }
        }
    }
}

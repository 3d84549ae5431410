//! The data type of what was seen of a rollout, from which causes are diagnosed.

/// How many messages, and how many containers, a finding shows.
pub(crate) const MAX_SHOWN: usize = 3;

/// What was seen of a rollout that failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) messages: Vec<Message>,
    pub(crate) exits: Vec<ContainerExit>,
}

/// A message from ECS.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// `service event`, `task 0123`, or ``container `web` of task 0123``.
    pub(crate) from: String,
    pub(crate) text: String,
}

/// A container that exited.
#[derive(Clone, Debug)]
pub(crate) struct ContainerExit {
    /// The name of the container.
    pub(crate) container: String,
    /// The id of its task.
    pub(crate) task: String,
    /// The exit code.
    pub(crate) code: i64,
    /// Whether the task stopped because of this container. Otherwise the container stopped because of the task.
    pub(crate) ended_the_task: bool,
    /// The last lines of its log, if they were read.
    pub(crate) log: Vec<String>,
}

impl Evidence {
    /// The messages that contain every fragment of at least one alternative, each text once. Fragments are lower case;
    /// the case of the messages is ignored.
    pub(crate) fn mentions(&self, alternatives: &[&[&str]]) -> Vec<String> {
        let mut texts: Vec<&str> = Vec::new();
        let mut lines = Vec::new();
        for message in &self.messages {
            let text = message.text.to_ascii_lowercase();
            let fits = alternatives.iter().any(|fragments| fragments.iter().all(|fragment| text.contains(fragment)));
            if fits && !texts.contains(&message.text.as_str()) && lines.len() < MAX_SHOWN {
                texts.push(&message.text);
                lines.push(format!("{}: {}", message.from, message.text));
            }
        }
        lines
    }
}

//! Where the container of a task logs to in CloudWatch Logs, and the end of that log.

use crate::client::{ServiceClient, call_deadline};
use crate::revision::Revision;
use crate::service::Container;

/// How many lines of a container's log are read as evidence.
const LOG_LINES: i32 = 20;

/// A log stream of CloudWatch Logs.
pub(super) struct LogStream {
    group: String,
    stream: String,
    /// The region, if it is not that of the service.
    region: Option<String>,
}

impl LogStream {
    /// Where the awslogs driver writes a container's log (ECS Developer Guide, "Send Amazon ECS logs to CloudWatch").
    pub(super) fn of(container: &Container, task: &str, revision: &Revision) -> Option<LogStream> {
        let name = &container.name;
        let definitions = revision.raw["containerDefinitions"].as_array()?;
        let log = &definitions.iter().find(|one| one["name"] == *name)?["logConfiguration"];
        if log["logDriver"] != "awslogs" {
            return None;
        }
        let option = |name: &str| log["options"][name].as_str().map(str::to_owned);
        let stream = match option("awslogs-stream-prefix") {
            Some(prefix) => format!("{prefix}/{name}/{task}"),
            // Without a prefix, the stream has the name of the option or the id of the container.
            None => {
                option("awslogs-stream").or_else(|| Some(container.runtime_id.clone()).filter(|id| !id.is_empty()))?
            }
        };
        Some(LogStream { group: option("awslogs-group")?, stream, region: option("awslogs-region") })
    }

    /// The last lines. If they cannot be read, the only line says why.
    pub(super) async fn read(&self, client: &ServiceClient) -> Vec<String> {
        let region = self.region.as_deref();
        match client.aws.log_tail(&self.group, &self.stream, region, LOG_LINES, call_deadline()).await {
            Ok(lines) => lines.iter().map(|line| line.trim_end().to_owned()).collect(),
            Err(error) => {
                let place = format!("log stream `{}` of log group `{}`", self.stream, self.group);
                vec![format!("({place} cannot be read: {})", error.verbatim())]
            }
        }
    }
}

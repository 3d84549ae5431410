//! Where a container's log is, and its last lines.
//!
//! In: a container of a task, and its revision. Out: the place of the log, and lines of it. A log that goes elsewhere
//! than to CloudWatch Logs is not read.

use ecs_bootstrap::boundary::aws::LogPlace;

use crate::client::{ServiceClient, call_deadline};
use crate::revision::Revision;
use crate::service::Container;

/// How many lines of a container's log are read as evidence.
const LOG_LINES: i32 = 20;

/// Where the log of a container goes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LogTarget {
    /// A stream of CloudWatch Logs.
    Stream(LogPlace),
    /// A stream whose name is not known before the container has started.
    NotKnownYet,
    /// Elsewhere, in words.
    Elsewhere(String),
}

impl LogTarget {
    /// Where the log of a container of this task goes (ECS Developer Guide, "Send Amazon ECS logs to CloudWatch").
    pub(crate) fn of(container: &Container, task: &str, revision: &Revision) -> LogTarget {
        let name = &container.name;
        let definitions = revision.raw["containerDefinitions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let log = definitions.iter().find(|one| one["name"] == *name).map(|one| &one["logConfiguration"]);
        let option = |name: &str| log.and_then(|log| log["options"][name].as_str()).map(str::to_owned);
        match log.and_then(|log| log["logDriver"].as_str()) {
            None => LogTarget::Elsewhere("no log driver is configured: the log stays on the instance".to_owned()),
            Some("awslogs") => {
                let Some(group) = option("awslogs-group") else {
                    return LogTarget::Elsewhere("the option `awslogs-group` is not set".to_owned());
                };
                let prefixed = option("awslogs-stream-prefix").map(|prefix| format!("{prefix}/{name}/{task}"));
                // Without a prefix, the stream has the name of the option or the id of the container.
                let own_id = || Some(container.runtime_id.clone()).filter(|id| !id.is_empty());
                match prefixed.or_else(|| option("awslogs-stream")).or_else(own_id) {
                    Some(stream) => LogTarget::Stream(LogPlace { group, stream, region: option("awslogs-region") }),
                    None => LogTarget::NotKnownYet,
                }
            }
            Some(driver) => LogTarget::Elsewhere(format!("the log driver `{driver}` sends the log elsewhere")),
        }
    }
}

/// The name of a log stream, for messages.
pub(crate) fn label(place: &LogPlace) -> String {
    format!("log stream `{}` of log group `{}`", place.stream, place.group)
}

impl ServiceClient {
    /// The last lines of a container's log, if it goes to CloudWatch Logs. If they cannot be read, the only line says
    /// why.
    pub(crate) async fn log_tail(&self, container: &Container, task: &str, revision: &Revision) -> Option<Vec<String>> {
        let LogTarget::Stream(place) = LogTarget::of(container, task, revision) else { return None };
        Some(match self.aws.log_events(&place, None, LOG_LINES, call_deadline()).await {
            Ok(page) => page.lines.iter().map(|line| line.text.trim_end().to_owned()).collect(),
            Err(error) => vec![format!("({} cannot be read: {})", label(&place), error.verbatim())],
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn target(log: Value) -> LogTarget {
        let raw = json!({"containerDefinitions": [{"name": "other"}, {"name": "web", "logConfiguration": log}]});
        let container = Container { name: "web".to_owned(), runtime_id: "0f0f".to_owned(), ..Container::default() };
        LogTarget::of(&container, "0123", &Revision { raw, ..Revision::default() })
    }

    #[test]
    fn the_stream_has_the_prefix_the_container_and_the_task_or_the_id_of_the_container() {
        let place = |options| match target(json!({"logDriver": "awslogs", "options": options})) {
            LogTarget::Stream(place) => (place.group, place.stream, place.region),
            other => panic!("{other:?}"),
        };
        let expected = |stream: &str| ("g".to_owned(), stream.to_owned(), None);
        assert_eq!(place(json!({"awslogs-group": "g", "awslogs-stream-prefix": "ecs"})), expected("ecs/web/0123"));
        assert_eq!(place(json!({"awslogs-group": "g"})), expected("0f0f"));
        let regional = place(json!({"awslogs-group": "g", "awslogs-region": "us-east-1"}));
        assert_eq!(regional.2.as_deref(), Some("us-east-1"));
    }

    #[test]
    fn a_log_that_goes_elsewhere_says_where() {
        for (log, words) in [
            (Value::Null, "stays on the instance"),
            (json!({"logDriver": "splunk", "options": {"splunk-token": "hunter2"}}), "log driver `splunk`"),
            (json!({"logDriver": "awslogs", "options": {}}), "`awslogs-group` is not set"),
        ] {
            let LogTarget::Elsewhere(text) = target(log) else { panic!("{words}") };
            assert!(text.contains(words) && !text.contains("hunter2"), "{text}");
        }
    }
}

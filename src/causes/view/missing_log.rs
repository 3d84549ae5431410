//! An agent that writes no log file, and the variable that brings the file back.

use crate::evidence::Evidence;

/// The levels with which the agent writes `ecs-agent.log`; the agent compares them with upper and lower case.
const LEVELS: [&str; 4] = ["debug", "info", "warn", "error"];
const FORMATS: [&str; 2] = ["logfmt", "json"];

/// Why `ecs-agent.log` has no line of an agent that has started; `None` if it has, or if no variable explains it.
pub(in crate::causes) fn missing_log(evidence: &Evidence) -> Option<String> {
    let has_run = evidence.agent_end().is_some() || matches!(evidence.container, Some(Ok(Some(_))));
    if !has_run || !evidence.is_agent_log_empty() {
        return None;
    }
    let value = |name: &str| evidence.config.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    let other = |name: &str, known: &[&str]| value(name).is_some_and(|value| !known.contains(&value));
    let on_instance = "ECS_LOGLEVEL_ON_INSTANCE";
    let why = if other(on_instance, &LEVELS) {
        format!("{on_instance} is not `debug`, `info`, `warn` or `error`")
    } else if value(on_instance).is_none() && value("ECS_LOG_DRIVER").is_some() {
        format!("ECS_LOG_DRIVER is set, and {on_instance} is not")
    } else if value(on_instance).is_none() && other("ECS_LOGLEVEL", &LEVELS) {
        "ECS_LOGLEVEL is not `debug`, `info`, `warn` or `error`".to_owned()
    } else if other("ECS_LOG_OUTPUT_FORMAT", &FORMATS) {
        "ECS_LOG_OUTPUT_FORMAT is neither `logfmt` nor `json`".to_owned()
    } else if other("ECS_LOGFILE", &["/log/ecs-agent.log"]) {
        "ECS_LOGFILE is set".to_owned()
    } else {
        return None;
    };
    Some(format!("the agent does not write ecs-agent.log: {why} in ecs.config"))
}

/// What to do first if the log is missing.
pub(in crate::causes) fn missing_log_remedy(evidence: &Evidence) -> Option<String> {
    missing_log(evidence)?;
    let text = "set ECS_LOGLEVEL_ON_INSTANCE=info in /etc/ecs/ecs.config (and remove ECS_LOG_OUTPUT_FORMAT and \
                ECS_LOGFILE), then `systemctl restart ecs --no-block` and `ecs-bootstrap doctor`; until then read `docker \
                logs ecs-agent`";
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::docker::Container;
    use crate::evidence::agent_log::last_attempt;

    #[test]
    fn names_the_variable_for_each_form() {
        let with = |variables: &[(&str, &str)]| {
            let container = Container {
                running: true,
                exit_code: 0,
                started_at: String::new(),
                finished_at: String::new(),
                restart_count: 0,
            };
            let config = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Evidence { config, container: Some(Ok(Some(container))), ..Evidence::default() }
        };
        for (variables, name) in [
            (&[("ECS_LOG_DRIVER", "awslogs")][..], "ECS_LOG_DRIVER"),
            (&[("ECS_LOGLEVEL", "crit")], "ECS_LOGLEVEL"),
            (&[("ECS_LOGLEVEL", "none")], "ECS_LOGLEVEL"),
            (&[("ECS_LOGLEVEL", "INFO")], "ECS_LOGLEVEL"),
            (&[("ECS_LOGLEVEL", "info"), ("ECS_LOGLEVEL_ON_INSTANCE", "OFF")], "ECS_LOGLEVEL_ON_INSTANCE"),
            (&[("ECS_LOG_OUTPUT_FORMAT", "text")], "ECS_LOG_OUTPUT_FORMAT"),
            (&[("ECS_LOGFILE", "/data/agent.log")], "ECS_LOGFILE"),
        ] {
            let why = missing_log(&with(variables)).unwrap_or_default();
            assert!(why.contains(name), "{variables:?}: {why}");
        }
        for variables in
            [&[][..], &[("ECS_LOGLEVEL", "warn")], &[("ECS_LOG_DRIVER", "x"), ("ECS_LOGLEVEL_ON_INSTANCE", "warn")]]
        {
            assert_eq!(missing_log(&with(variables)), None);
        }
        let mut evidence = with(&[("ECS_LOGLEVEL", "none")]);
        evidence.agent_log = last_attempt(b"level=error msg=\"x\"\n");
        assert_eq!(missing_log(&evidence), None);
    }
}

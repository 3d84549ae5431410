//! What the simulated agent and ecs-init log: to their files, and the agent also to docker.

use super::Surroundings;
use std::io::Write;
use std::time::SystemTime;

impl Surroundings {
    pub(super) fn log(&self, file: &str, level: &str, message: &str, fields: &[(&str, &str)]) {
        let time = humantime::format_rfc3339_seconds(SystemTime::now());
        let mut line = format!("level={level} time={time} msg={message:?}");
        for (key, value) in fields {
            line += &format!(" {key}={value:?}");
        }
        if file != "ecs-agent" {
            let _ = self.appended(file, &line);
            return;
        }
        let config = self.config();
        let level_of = |name: &str| config.get(name).map(String::as_str);
        let printed = level_of("ECS_LOGLEVEL").unwrap_or("info");
        let in_file = level_of("ECS_LOGLEVEL_ON_INSTANCE");
        let in_file = in_file.unwrap_or(if config.contains_key("ECS_LOG_DRIVER") { "none" } else { printed });
        if is_logged(level, printed) {
            self.docker.change(|docker| docker.output += &format!("{line}\n"));
        }
        if is_logged(level, in_file) {
            let _ = self.appended(file, &line);
        }
    }

    pub(super) fn appended(&self, file: &str, text: &str) -> std::io::Result<()> {
        let path = self.disk.path(&format!("var/log/ecs/{file}.log"));
        writeln!(std::fs::OpenOptions::new().create(true).append(true).open(path)?, "{text}")
    }
}

/// Whether the agent logs a message of this level (`ecs-agent/logger/log.go`). With an unknown level it logs nothing.
fn is_logged(level: &str, limit: &str) -> bool {
    const LEVELS: [&str; 5] = ["debug", "info", "warn", "error", "critical"];
    let at = |level: &str| LEVELS.iter().position(|known| *known == level);
    at(limit).is_some_and(|limit| at(level) >= Some(limit))
}

//! When the scripts of user data ran, from cloud-init's log.

use std::time::SystemTime;

use super::draft::{Draft, Found};
use crate::timeline::id;
use crate::timeline::sources::Sources;

/// The last stage of cloud-init runs the scripts of user data, and `runcmd`, in this module. Older versions write it with
/// hyphens.
const MODULE: &str = "modules-final/config-scripts_user";
/// cloud-init writes milliseconds.
const RESOLUTION_US: u64 = 1_000;

pub(super) fn add(sources: &Sources, draft: &mut Draft) {
    let event = match &sources.cloud_init_log {
        Ok(log) => found(log, draft),
        Err(reason) => Err(reason.clone()),
    };
    draft.add_or_miss(id::USER_DATA, event);
}

fn found(log: &str, draft: &Draft) -> Result<Found, String> {
    let begins = draft.get(id::CLOUD_FINAL).map(|stage| stage.start);
    let Some(stage) = begins else {
        return Err("cloud-init's last stage, which runs user data, is missing".to_owned());
    };
    let is_of_boot = |at: &i64| at.saturating_add(RESOLUTION_US as i64) >= stage;
    let times = |word: &str| -> Vec<(Result<i64, String>, String)> {
        let prefix = format!("{word}: {MODULE}:");
        let of_line = |line: &str| {
            let (unix_us, text) = parse(line)?;
            let text = text.replace("scripts-user", "scripts_user");
            text.contains(&prefix).then(|| (draft.clock.monotonic(unix_us), text))
        };
        log.lines().filter_map(of_line).collect()
    };
    let started = times("start");
    let Some(start) = started.iter().find_map(|(at, _)| at.as_ref().ok().copied().filter(is_of_boot)) else {
        let ambiguous = started.into_iter().next_back().and_then(|(at, _)| at.err());
        return Err(ambiguous.unwrap_or_else(|| "cloud-init.log has no run of user data in this boot".to_owned()));
    };
    let finished = times("finish").into_iter().find(|(at, _)| at.as_ref().is_ok_and(|at| *at >= start));
    let (end, text) = finished.map_or((None, String::new()), |(at, text)| (at.ok(), text));
    if text.contains("previously ran") {
        return Err("user data ran in an earlier boot; cloud-init runs it once for each instance".to_owned());
    }
    let mut event = Found::expected(id::USER_DATA, start, end, "cloud-init.log: scripts_user");
    event.resolution_us = RESOLUTION_US;
    event.parent = Some(id::CLOUD_FINAL.to_owned());
    Ok(event)
}

/// The time of a line, in microseconds since 1970, and its text. cloud-init writes UTC: `2026-11-29 20:53:57,266 - ...`
/// (`cloudinit/log`).
fn parse(line: &str) -> Option<(i64, &str)> {
    let (time, text) = line.split_once(" - ")?;
    let time = time.replacen(',', ".", 1);
    let time = humantime::parse_rfc3339_weak(&time).ok()?;
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some((i64::try_from(since.as_micros()).ok()?, text))
}

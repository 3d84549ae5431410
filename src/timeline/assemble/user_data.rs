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
    let mut lines = log.lines();
    let mut next = |word: &str, from: i64| {
        let prefix = format!("{word}: {MODULE}:");
        lines.by_ref().find_map(|line| {
            let (unix_us, text) = parse(line)?;
            let text = text.replace("scripts-user", "scripts_user");
            let at = draft.clock.monotonic(unix_us);
            // A line with an ambiguous time may be the next one, so no later line is.
            let is_next = text.contains(&prefix) && at.as_ref().map_or(true, |at| *at >= from);
            is_next.then_some((at, text))
        })
    };
    let Some((start, _)) = next("start", stage.saturating_sub(RESOLUTION_US as i64)) else {
        return Err("cloud-init.log has no run of user data in this boot".to_owned());
    };
    let start = start?;
    let finished = next("finish", start);
    let text = finished.as_ref().map_or("", |(_, text)| text.as_str());
    if text.contains("previously ran") {
        return Err("user data ran in an earlier boot; cloud-init runs it once for each instance".to_owned());
    }
    let end = finished.map(|(at, _)| at).transpose()?;
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

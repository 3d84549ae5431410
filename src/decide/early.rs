//! Decides whether the agent may start before user data has ended (`units.early`).
//!
//! It may if nothing that user data writes later can change its cluster, which the agent keeps for good, and if user data
//! does not visibly write other variables of the agent. Otherwise it waits, as without early start.

use super::units::{agent_name, agent_unit_is_after};
use crate::facts::{EarlyUnit, Facts, USER_DATA_TARGET};
use crate::plan::EarlyStart;
use crate::settings::{Settings, Sourced, Warning, warning};

const CLOUD_FINAL: &str = "cloud-final.service";
const SCRIPT: &str = "/usr/lib/ecs-bootstrap/early-start";

/// The decision; `None` if early start is off, or if the agent's unit does not wait for user data anyway. `follows_file`
/// says whether a later line of `ecs.config` changes the cluster.
pub(super) fn decide(
    settings: &Settings,
    facts: &Facts,
    cluster: Option<&Sourced<String>>,
    follows_file: bool,
    warnings: &mut Vec<Warning>,
) -> Option<EarlyStart> {
    let is_wanted = settings.units_early.value;
    let agent = agent_name(settings, facts);
    let waits = |why: &str| Some(EarlyStart { starts: false, release: false, why: why.to_owned() });
    let mut warn = |text: String| warnings.push(Warning::new(&warning::EARLY_START, text, None));
    match facts.host.early_unit.get() {
        Some(EarlyUnit::Stale(source)) => warn(format!(
            "/etc/systemd/system/{agent} was made from another version of {source}; run `{SCRIPT} update`, then \
             `systemctl daemon-reload`"
        )),
        Some(EarlyUnit::WithoutSource(source)) => warn(format!(
            "/etc/systemd/system/{agent} was made from {source}, which does not exist; run `{SCRIPT} update`, then \
             `systemctl daemon-reload`"
        )),
        Some(EarlyUnit::WithoutTarget) => warn(format!(
            "{agent} does not wait for user data in any case, because cloud-final.service does not want {USER_DATA_TARGET}; \
             run `{SCRIPT} update`, then `systemctl daemon-reload`"
        )),
        _ => {}
    }
    let is_installed = agent_unit_is_after(facts, USER_DATA_TARGET);
    let is_after_user_data = agent_unit_is_after(facts, CLOUD_FINAL);
    match (is_wanted, is_installed) {
        (false, false) => return None,
        (false, true) => {
            warn(format!(
                "`units.early` is false, so {agent} waits for user data, although the unit of early start is installed; \
                 to remove it, run `{SCRIPT} remove`"
            ));
            return waits("`units.early` is false");
        }
        // systemd was not asked, or the unit does not wait for user data.
        (true, false) if !is_after_user_data => return None,
        (true, false) => {
            warn(format!(
                "`units.early` has no effect, because the unit of early start is not installed; run `{SCRIPT} install`, \
                 then `systemctl daemon-reload`"
            ));
            return waits("the unit of early start is not installed");
        }
        (true, true) if is_after_user_data => {
            warn(format!(
                "`units.early` has no effect, because a drop-in of {agent} orders it after {CLOUD_FINAL}; remove that \
                 line"
            ));
            return waits("a drop-in orders its unit after cloud-final.service");
        }
        (true, true) => {}
    }
    let Some(cluster) = cluster else { return waits("user data can still name the cluster") };
    if follows_file {
        return waits("a line that user data writes to ecs.config can change the cluster");
    }
    if facts.user_data_mentions_agent {
        return waits("user data mentions the agent's configuration, or may stop docker");
    }
    let is_queued =
        |units: &crate::facts::Units| units.user_data_target.as_ref().is_some_and(|target| target.job.is_some());
    let why = format!("user data cannot change the cluster, which {} names", cluster.source);
    Some(EarlyStart { starts: true, release: facts.host.units.get().is_some_and(is_queued), why })
}

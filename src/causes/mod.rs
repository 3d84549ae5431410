//! The catalogue of causes and how one is chosen.
//!
//! In: [`Evidence`]. Out: the causes that fit, the first broken layer first. Each cause is one `static` in the file of
//! the layer where one must act: its id, title, class, remedy, exit code and check stand in one place, and [`ALL`]
//! lists them from specific to general. A cause without support is never named: [`UNKNOWN`] is worth more than a
//! confident wrong one.

mod acs;
mod agent;
mod all;
mod api;
mod clock;
mod cloud_init;
mod cluster;
mod config;
mod config_file;
mod denied;
mod dns;
mod docker;
mod ecs_init;
mod effect;
pub mod examined;
mod host;
mod imds;
mod joined;
mod layer;
mod lifecycle;
mod maintenance;
mod role;
mod route;
mod saved_state;
mod tls;
mod units;
mod user_data;

pub use self::all::ALL;
pub use self::cloud_init::{CLOUD_INIT_STUCK, USER_DATA_DEADLOCK};
pub(crate) use self::effect::asks_for_user_data;
pub use self::joined::PORT_TAKEN;
pub use self::layer::Layer;

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::boundary::systemd::JobResult;
use crate::evidence::Evidence;
use crate::exit::Exit;
use crate::redaction::{self, error_chain};

/// When a cause is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A person must change something: told at once.
    Terminal,
    /// It may still come (a role, a policy): final when the instance is older than this.
    Settling(Duration),
    /// It may heal: waited for until the deadline.
    Retry,
    /// It may heal: final when it was seen without a break for this long.
    Lasting(Duration),
    /// Not a failure.
    Waiting,
}

impl Class {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Class::Terminal => "terminal",
            Class::Settling(_) => "settling",
            Class::Retry | Class::Lasting(_) => "retry",
            Class::Waiting => "waiting",
        }
    }
}

/// One reason why an instance does not join.
///
/// `check` answers what of the evidence supports it, `None` when nothing does. It is asked only while the instance has
/// not registered, but where `when_registered` says otherwise. `note` answers what is worth knowing of the same thing
/// where it keeps no instance from its cluster.
pub struct Cause {
    /// Stable, kebab-case; the same in text, JSON, journal and documents.
    pub id: &'static str,
    /// Where one must act.
    pub layer: Layer,
    /// What is wrong, in a line.
    pub title: &'static str,
    /// How it looks to whoever meets it without this program.
    pub symptoms: &'static str,
    /// What proves it, and what tells it from its look-alikes.
    pub proof: &'static str,
    /// The ids of what looks the same and is something else.
    pub look_alikes: &'static [&'static str],
    /// When it is final.
    pub class: Class,
    /// The exit code while it can still heal, or at once for a terminal cause.
    pub exit: Exit,
    /// The exit code once it was waited for in vain.
    pub exit_after_deadline: Exit,
    /// The next step.
    pub remedy: &'static str,
    /// Where this is known from.
    pub source: &'static str,
    /// Whether it can be why an instance that has registered is not where it should be.
    when_registered: bool,
    check: Check,
    note: Check,
}

/// What of the evidence speaks for a cause, a line a piece.
type Check = fn(&Evidence) -> Option<Vec<String>>;

impl Cause {
    /// What most causes have in common.
    const PLAIN: Cause = Cause {
        id: "",
        layer: Layer::Unknown,
        title: "",
        symptoms: "",
        proof: "",
        look_alikes: &[],
        class: Class::Terminal,
        exit: Exit::Host,
        exit_after_deadline: Exit::Host,
        remedy: "",
        source: "",
        when_registered: false,
        check: |_| None,
        note: |_| None,
    };
}

impl std::fmt::Debug for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.id)
    }
}

impl Cause {
    /// Whether this is the absence of a cause.
    pub fn is_unknown(&self) -> bool {
        self.layer == Layer::Unknown
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id)
    }
}

/// A cause with what was seen of it.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The cause.
    pub cause: &'static Cause,
    /// What supports it, a line a piece.
    pub seen: Vec<String>,
}

impl Finding {
    /// A finding with its evidence as it may be shown.
    fn new(cause: &'static Cause, seen: Vec<String>) -> Finding {
        Finding { cause, seen: redaction::lines(seen) }
    }

    /// Whether waiting any longer cannot help.
    pub fn is_final(&self, evidence: &Evidence) -> bool {
        match self.cause.class {
            Class::Terminal => true,
            Class::Settling(window) => evidence.age.unwrap_or(evidence.waited).max(evidence.waited) >= window,
            Class::Lasting(window) => evidence.lasted.get(self.cause.id).is_some_and(|lasted| *lasted >= window),
            Class::Retry | Class::Waiting => false,
        }
    }
}

/// What is said when nothing fits.
pub static UNKNOWN: Cause = Cause {
    id: "unknown",
    layer: Layer::Unknown,
    title: "the instance did not register, and nothing seen says why",
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::NotRegistered,
    symptoms: "the instance is not in its cluster, and no cause of the catalogue has evidence",
    proof: "every probe has run, and what they saw supports none of the others; it is listed as evidence, by the layer",
    remedy: "read `journalctl -u ecs -u docker` and `/var/log/ecs/ecs-agent.log`, and report what is there as a bug",
    source: "none of the catalogue's checks fits",
    check: unknown,
    ..Cause::PLAIN
};

fn unknown(evidence: &Evidence) -> Option<Vec<String>> {
    let mut seen = Vec::new();
    if let Some(stop) = &evidence.stop {
        seen.push(error_chain(stop));
    }
    if let Some(unit) = evidence.agent_unit() {
        let state = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
        seen.push(format!("{} is {} ({})", unit.name, state(&unit.active_state), state(&unit.sub_state)));
    }
    match &evidence.introspection {
        Some(Err(error)) => seen.push(error_chain(error)),
        Some(Ok(metadata)) if metadata.container_instance_arn.is_empty() => {
            seen.push("the agent answers, but holds no container instance ARN (throttled for an hour)".to_owned());
        }
        _ => {}
    }
    if let Some(Ok(None)) = &evidence.registration {
        seen.push("ecs:DescribeContainerInstances does not know the ARN that the agent tells".to_owned());
    }
    if let Some(Ok(Some(container))) = &evidence.container
        && !container.running
    {
        seen.push(format!("the agent's container is not running, last exit code {}", container.exit_code));
    }
    let errors =
        evidence.agent_log.iter().filter(|line| matches!(line.level.as_str(), "error" | "critical" | "crit")).count();
    if errors > 0 {
        seen.push(format!("/var/log/ecs/ecs-agent.log has {errors} lines of level error since the agent's last start"));
    }
    if let Some(Err(error)) = &evidence.units {
        seen.push(error_chain(error));
    }
    for job in &evidence.jobs {
        if let Some(result) = job.result.as_ref().filter(|result| **result != JobResult::Done) {
            seen.push(format!("the queued job of {} ended as `{result:?}`", job.unit));
        }
    }
    Some(seen)
}

/// All causes that the evidence supports, the first broken layer first, within it the most specific first.
pub fn diagnose(evidence: &Evidence) -> Vec<Finding> {
    let is_registered = evidence.container_instance_arn().is_some();
    let counts = |cause: &&&Cause| cause.when_registered || !is_registered;
    let mut findings = findings(evidence, ALL.iter().filter(counts), |cause| cause.check);
    // That the agent ends again and again is what every broken layer before it comes to.
    let is_explained =
        findings.iter().any(|found| found.cause.layer < Layer::Agent && found.cause.class != Class::Waiting);
    findings.retain(|found| !is_explained || !std::ptr::eq(found.cause, &agent::EXITS));
    findings
}

/// What is worth knowing and keeps no instance from its cluster, in the same order.
pub fn notes(evidence: &Evidence) -> Vec<Finding> {
    findings(evidence, ALL.iter(), |cause| cause.note)
}

fn findings<'c>(
    evidence: &Evidence,
    causes: impl Iterator<Item = &'c &'static Cause>,
    check: fn(&Cause) -> Check,
) -> Vec<Finding> {
    let found = causes.filter_map(|cause| check(cause)(evidence).map(|seen| Finding::new(cause, seen)));
    let mut findings: Vec<Finding> = found.collect();
    findings.sort_by_key(|finding| finding.cause.layer);
    findings
}

/// The finding of [`UNKNOWN`].
pub fn nothing_fits(evidence: &Evidence) -> Finding {
    Finding::new(&UNKNOWN, unknown(evidence).unwrap_or_default())
}

/// The whole catalogue, by layer.
pub fn all() -> Vec<&'static Cause> {
    let mut all: Vec<_> = ALL.iter().copied().chain([&UNKNOWN]).collect();
    all.sort_by_key(|cause| cause.layer);
    all
}

/// The cause with this id.
pub fn find(id: &str) -> Option<&'static Cause> {
    all().into_iter().find(|cause| cause.id == id)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::boundary::systemd::UnitState;
    use crate::facts::Units;

    /// Evidence of a host whose units are installed, enabled and running.
    pub(crate) fn healthy_units() -> Units {
        let unit = |name: &str| UnitState {
            name: name.to_owned(),
            load_state: Some("loaded".to_owned()),
            active_state: Some("active".to_owned()),
            sub_state: Some("running".to_owned()),
            unit_file_state: Some("enabled".to_owned()),
            result: Some("success".to_owned()),
            ..UnitState::default()
        };
        Units { docker: unit("docker.service"), agent: unit("ecs.service"), cloud_final: unit("cloud-final.service") }
    }

    /// The ids that are found, in order.
    pub(crate) fn ids(evidence: &Evidence) -> Vec<&'static str> {
        diagnose(evidence).iter().map(|finding| finding.cause.id).collect()
    }

    #[test]
    fn every_id_is_kebab_case_and_there_once() {
        for cause in ALL {
            let is_kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(cause.id.chars().all(is_kebab), "{}", cause.id);
            assert_eq!(ALL.iter().filter(|other| other.id == cause.id).count(), 1, "{}", cause.id);
            assert!(!cause.remedy.is_empty() && !cause.source.is_empty() && !cause.title.is_empty());
        }
    }

    #[test]
    fn nothing_is_accused_without_evidence() {
        assert_eq!(ids(&Evidence::default()), Vec::<&str>::new());
        let evidence = Evidence { units: Some(Ok(healthy_units())), ..Evidence::default() };
        assert_eq!(ids(&evidence), Vec::<&str>::new());
        assert_eq!(nothing_fits(&evidence).seen, ["ecs.service is active (running)"]);
    }

    #[test]
    fn the_first_broken_layer_comes_first() {
        let mut units = healthy_units();
        units.docker.load_state = Some("not-found".to_owned());
        units.agent.load_state = Some("not-found".to_owned());
        let evidence = Evidence { units: Some(Ok(units)), container: Some(Ok(None)), ..Evidence::default() };
        assert_eq!(ids(&evidence), ["docker-absent", "ecs-init-absent"]);
    }

    #[test]
    fn a_settling_cause_is_final_once_the_instance_is_old_enough() {
        let finding = Finding { cause: &role::NO_INSTANCE_ROLE, seen: Vec::new() };
        let at = |age| finding.is_final(&Evidence { age: Some(Duration::from_secs(age)), ..Evidence::default() });
        assert!(!at(10));
        assert!(at(3600));
    }
}

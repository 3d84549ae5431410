//! The catalogue of causes, and how a cause is chosen.
//!
//! In: [`Evidence`]. Out: the causes that fit, the first broken layer first. Each cause is one `static` in the file of
//! the layer that must be fixed. It has its id, title, class, remedy, exit code and check in one place. [`ALL`] lists
//! the causes from specific to general. A cause without evidence is never reported: [`UNKNOWN`] is better than a wrong
//! cause.

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
mod layer;
mod lifecycle;
mod maintenance;
mod registered;
mod role;
mod route;
mod saved_state;
mod tls;
mod units;
mod user_data;

pub use self::all::ALL;
pub use self::cloud_init::{CLOUD_INIT_STUCK, USER_DATA_DEADLOCK};
pub(crate) use self::effect::asks_for_user_data;
pub use self::layer::Layer;
pub use self::registered::PORT_TAKEN;

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::boundary::systemd::JobResult;
use crate::evidence::Evidence;
use crate::exit::Exit;
use crate::redaction::{self, error_chain};

/// When a cause is final, that is, when waiting longer cannot help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Final at once: a person must change something.
    Terminal,
    /// What is missing (a role, a policy) may still be created: final if the instance is older than this.
    Settling(Duration),
    /// It may recover: never final before the deadline.
    Retry,
    /// It may recover: final after it was seen without interruption for this long.
    Lasting(Duration),
    /// Not a failure: the instance waits on purpose.
    Waiting,
}

impl Class {
    /// The name of the class, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Class::Terminal => "terminal",
            Class::Settling(_) => "settling",
            Class::Retry | Class::Lasting(_) => "retry",
            Class::Waiting => "waiting",
        }
    }
}

/// One reason why an instance does not join its cluster.
///
/// `check` returns the evidence lines that support the cause, or `None` if there are none. It runs only while the
/// instance has not registered, unless `when_registered` is set. `note` returns evidence lines for the same fault if it
/// does not prevent the instance from joining.
pub struct Cause {
    /// Stable and kebab-case: an interface in text, JSON, journal and documentation.
    pub id: &'static str,
    /// The layer that must be fixed.
    pub layer: Layer,
    /// What is wrong, in one line.
    pub title: &'static str,
    /// What an operator sees without ecs-bootstrap.
    pub symptoms: &'static str,
    /// What proves it, and what distinguishes it from its look-alikes.
    pub proof: &'static str,
    /// The ids of causes with similar symptoms.
    pub look_alikes: &'static [&'static str],
    /// When the cause is final.
    pub class: Class,
    /// The exit code before the deadline of a cause that may recover, and of a terminal cause.
    pub exit: Exit,
    /// The exit code after the deadline.
    pub exit_after_deadline: Exit,
    /// What to do next: a command, an IAM action or a setting.
    pub remedy: &'static str,
    /// The documents and issues that describe this fault.
    pub source: &'static str,
    /// Whether the cause can also affect an instance that has registered.
    when_registered: bool,
    check: Check,
    note: Check,
}

/// Returns the evidence lines for a cause.
type Check = fn(&Evidence) -> Option<Vec<String>>;

impl Cause {
    /// Default values for most causes.
    const DEFAULTS: Cause = Cause {
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
    /// Whether this is [`UNKNOWN`].
    pub fn is_unknown(&self) -> bool {
        self.layer == Layer::Unknown
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id)
    }
}

/// A cause with its evidence.
#[derive(Clone, Debug, Serialize)]
pub struct FoundCause {
    /// The cause that the evidence supports.
    pub cause: &'static Cause,
    /// The evidence lines, redacted.
    pub seen: Vec<String>,
}

impl FoundCause {
    /// A finding with redacted evidence lines.
    fn new(cause: &'static Cause, seen: Vec<String>) -> FoundCause {
        FoundCause { cause, seen: redaction::lines(seen) }
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

/// The cause that is reported when no check of the catalogue fits.
pub static UNKNOWN: Cause = Cause {
    id: "unknown",
    layer: Layer::Unknown,
    title: "the instance did not register, and no known cause fits the evidence",
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::NotRegistered,
    symptoms: "the instance is not in its cluster, and no cause of the catalogue has evidence",
    proof: "every probe has run, and the results support none of the other causes; the evidence lists the results by \
            layer",
    remedy: "read `journalctl -u ecs -u docker` and `/var/log/ecs/ecs-agent.log`, and report what they show as a bug",
    source: "none of the checks in the catalogue fits",
    check: unknown,
    ..Cause::DEFAULTS
};

fn unknown(evidence: &Evidence) -> Option<Vec<String>> {
    let mut seen = Vec::new();
    if let Some(error) = &evidence.stage_error {
        seen.push(error_chain(error));
    }
    if let Some(unit) = evidence.agent_unit() {
        let state = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
        seen.push(format!("{} is {} ({})", unit.name, state(&unit.active_state), state(&unit.sub_state)));
    }
    match &evidence.introspection {
        Some(Err(error)) => seen.push(error_chain(error)),
        Some(Ok(metadata)) if metadata.container_instance_arn.is_empty() => {
            let text = "the agent answers, but has no container instance ARN (a throttled agent retries for an hour)";
            seen.push(text.to_owned());
        }
        _ => {}
    }
    if let Some(Ok(None)) = &evidence.container_instance {
        seen.push("ecs:DescribeContainerInstances does not find the ARN that the agent reports".to_owned());
    }
    if let Some(Ok(Some(container))) = &evidence.container
        && !container.running
    {
        seen.push(format!("the agent's container is not running, its last exit code is {}", container.exit_code));
    }
    let errors =
        evidence.agent_log.iter().filter(|line| matches!(line.level.as_str(), "error" | "critical" | "crit")).count();
    if errors > 0 {
        seen.push(format!(
            "/var/log/ecs/ecs-agent.log has {errors} lines of level error since the last start of the agent"
        ));
    }
    if let Some(Err(error)) = &evidence.units {
        seen.push(error_chain(error));
    }
    for job in &evidence.jobs {
        if let Some(result) = job.result.as_ref().filter(|result| **result != JobResult::Done) {
            seen.push(format!("the queued job of {} ended with the result `{result:?}`", job.unit));
        }
    }
    Some(seen)
}

/// All causes that the evidence supports, the first broken layer first, within it the most specific first.
pub fn diagnose(evidence: &Evidence) -> Vec<FoundCause> {
    let is_registered = evidence.container_instance_arn().is_some();
    let applies = |cause: &&&Cause| cause.when_registered || !is_registered;
    let mut findings = findings(evidence, ALL.iter().filter(applies), |cause| cause.check);
    // Repeated exits of the agent are a symptom of every earlier broken layer, so this general cause is dropped then.
    let is_explained =
        findings.iter().any(|found| found.cause.layer < Layer::Agent && found.cause.class != Class::Waiting);
    findings.retain(|found| !is_explained || !std::ptr::eq(found.cause, &agent::EXITS));
    findings
}

/// Faults that do not prevent the instance from joining its cluster, in the same order.
pub fn notes(evidence: &Evidence) -> Vec<FoundCause> {
    findings(evidence, ALL.iter(), |cause| cause.note)
}

fn findings<'c>(
    evidence: &Evidence,
    causes: impl Iterator<Item = &'c &'static Cause>,
    check: fn(&Cause) -> Check,
) -> Vec<FoundCause> {
    let found = causes.filter_map(|cause| check(cause)(evidence).map(|seen| FoundCause::new(cause, seen)));
    let mut findings: Vec<FoundCause> = found.collect();
    findings.sort_by_key(|finding| finding.cause.layer);
    findings
}

/// The finding for [`UNKNOWN`], with the available evidence.
pub fn nothing_fits(evidence: &Evidence) -> FoundCause {
    FoundCause::new(&UNKNOWN, unknown(evidence).unwrap_or_default())
}

/// The whole catalogue including [`UNKNOWN`], ordered by layer.
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

    /// Units that are installed, enabled and running.
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

    /// The ids of the findings, in order.
    pub(crate) fn ids(evidence: &Evidence) -> Vec<&'static str> {
        diagnose(evidence).iter().map(|finding| finding.cause.id).collect()
    }

    #[test]
    fn every_id_is_kebab_case_and_unique() {
        for cause in ALL {
            let is_kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(cause.id.chars().all(is_kebab), "{}", cause.id);
            assert_eq!(ALL.iter().filter(|other| other.id == cause.id).count(), 1, "{}", cause.id);
            assert!(!cause.remedy.is_empty() && !cause.source.is_empty() && !cause.title.is_empty());
        }
    }

    #[test]
    fn without_evidence_no_cause_is_reported() {
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
    fn a_settling_cause_is_final_after_its_window() {
        let finding = FoundCause { cause: &role::NO_INSTANCE_ROLE, seen: Vec::new() };
        let at = |age| finding.is_final(&Evidence { age: Some(Duration::from_secs(age)), ..Evidence::default() });
        assert!(!at(10));
        assert!(at(3600));
    }
}

//! The catalogue of causes.
//!
//! In: [`Evidence`]. Out: a [`Diagnosis`]. Each cause is one `static` in the file of the layer that must be fixed. It has
//! its id, title, class, remedy, exit code, check and relations in one place. [`ALL`] lists the causes from specific to
//! general, and [`engine`] compares them. A cause without evidence is never reported: [`UNKNOWN`] is better than a wrong
//! cause.

mod acs;
mod agent;
mod agent_start;
mod all;
mod api;
mod attributes;
mod cause;
mod clock;
mod cloud_init;
mod cluster;
mod config;
mod config_file;
mod denied;
mod dns;
mod docker;
mod drain;
mod ecs_init;
pub mod engine;
pub mod examined;
mod host;
mod images;
mod imds;
mod layer;
mod lifecycle;
mod maintenance;
mod overrides;
mod registered;
mod role;
mod route;
mod saved_state;
mod tasks;
mod tls;
mod units;
mod unknown;
mod user_data;
mod view;

pub use self::all::ALL;
pub use self::cause::{Cause, Class, FoundCause};
pub use self::engine::{Diagnosis, DroppedCause, diagnose, notes};
pub use self::layer::Layer;
pub use self::unknown::{UNKNOWN, nothing_fits};
pub(crate) use self::view::effect::asks_for_user_data;

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
    use std::time::Duration;

    use super::*;
    use crate::boundary::systemd::UnitState;
    use crate::evidence::Evidence;
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
        Units {
            docker: unit("docker.service"),
            agent: unit("ecs.service"),
            cloud_final: unit("cloud-final.service"),
            user_data_target: None,
            after_user_data: None,
        }
    }

    /// The ids of the findings, in order.
    pub(crate) fn ids(evidence: &Evidence) -> Vec<&'static str> {
        diagnose(evidence).found.iter().map(|finding| finding.cause.id).collect()
    }

    /// The evidence lines of the first finding, joined; empty if there is none.
    pub(crate) fn seen_of(evidence: &Evidence) -> String {
        diagnose(evidence).found.first().map(|found| found.seen.join("\n")).unwrap_or_default()
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
        let finding = FoundCause { cause: &role::NO_INSTANCE_ROLE, seen: Vec::new(), remedy: String::new() };
        let at = |age| finding.is_final(&Evidence { age: Some(Duration::from_secs(age)), ..Evidence::default() });
        assert!(!at(10));
        assert!(at(3600));
    }
}

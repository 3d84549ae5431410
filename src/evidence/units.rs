//! The answers of systemd about the units, while it may be absent for a moment.
//!
//! In: an answer. Out: the units that are known.

use super::Evidence;
use crate::boundary::systemd::SystemdError;
use crate::facts::Units;

/// How many reads of the units may fail, one a second, before they count as unknown. systemd is back within a second or two.
const MAX_UNANSWERED: u32 = 3;

impl Evidence {
    /// Stores an answer of systemd. While it starts anew (systemctl(1) `daemon-reexec`, for example in an upgrade by user data) it
    /// is not on the bus, and the answer before stays valid.
    pub fn note_units(&mut self, answer: Result<Units, SystemdError>) {
        use SystemdError::{Lost, NoManager, TimedOut};
        let is_absent = matches!(answer, Err(NoManager { .. } | TimedOut { .. } | Lost { .. }));
        self.units_unanswered = if is_absent { self.units_unanswered.saturating_add(1) } else { 0 };
        if self.known_units().is_none() || !is_absent || self.units_unanswered > MAX_UNANSWERED {
            self.units = Some(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::systemd::UnitState;

    #[test]
    fn units_stay_known_while_systemd_starts_anew() {
        let units = |agent: &str| {
            let named = |name: &str| UnitState { name: name.to_owned(), ..UnitState::default() };
            let (docker, cloud_final) = (named("docker.service"), named("cloud-final.service"));
            Units { docker, agent: named(agent), cloud_final, user_data_target: None, after_user_data: None }
        };
        let absent = || Err(SystemdError::Lost { operation: "GetAll".to_owned() });
        let name = |evidence: &Evidence| evidence.agent_unit().map(|unit| unit.name.clone());
        let mut evidence = Evidence::default();
        evidence.note_units(absent());
        assert!(matches!(evidence.units, Some(Err(_))), "nothing was known before");
        evidence.note_units(Ok(units("ecs.service")));
        (0..MAX_UNANSWERED).for_each(|_| evidence.note_units(absent()));
        assert_eq!(name(&evidence).as_deref(), Some("ecs.service"));
        evidence.note_units(Ok(units("amazon-ecs.service")));
        assert_eq!(name(&evidence).as_deref(), Some("amazon-ecs.service"));
        (0..=MAX_UNANSWERED).for_each(|_| evidence.note_units(absent()));
        assert!(matches!(evidence.units, Some(Err(SystemdError::Lost { .. }))), "it does not come back");
        evidence.note_units(Ok(units("ecs.service")));
        // An answer, though not about the units.
        evidence.note_units(Err(SystemdError::Unsupported { operation: "GetAll".to_owned() }));
        assert!(matches!(evidence.units, Some(Err(SystemdError::Unsupported { .. }))));
    }
}

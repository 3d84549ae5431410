//! Single faults of a simulated instance, each with its cause, for tests that combine faults or add noise.
//!
//! In: a healthy instance. Out: the instance with one fault. A fault names what it changes in the simulators, so that
//! two faults are combined only if neither undoes the other.

pub(super) mod agent;
mod agent_start;
pub(super) mod aws;
pub(super) mod files;
pub(super) mod host;
pub(super) mod network;

use super::cause;
use crate::support::Instance;
use ecs_bootstrap::causes::{Cause, Class, Layer};

/// Changes a healthy instance.
pub(super) type Change = fn(Instance) -> Instance;

/// A part of the simulators that one fault of a pair may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// How the agent behaves, the registration in ECS, and the saved state.
    Agent,
    CloudInit,
    Cluster,
    Config,
    DateOfAws,
    Docker,
    DockerUnit,
    EcsUnit,
    Endpoint,
    Imds,
    Memory,
    /// The folder of ecs-bootstrap below `/run`.
    OwnFiles,
    Role,
    Settings,
    /// The file system of `/etc/ecs`.
    FileSystem,
    Tags,
    UserData,
}

/// The stage of a run that a fault ends. What a later stage shows is not observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ends {
    /// The run cannot take its lock.
    Lock,
    Gather,
    Decide,
    Apply,
    /// It ends no stage: the instance does not register.
    Nothing,
}

/// What a fault prevents the probes from observing, or what its evidence needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The answers of AWS to ecs-bootstrap.
    Aws,
    /// Whether the agent runs, and how it ends.
    AgentRuns,
    /// Whether any source names a cluster.
    Cluster,
    /// The answers of docker.
    Docker,
    /// Instance metadata, which is read before AWS is called.
    Metadata,
}

/// One fault and its cause.
pub(super) struct Fault {
    /// The id of its cause.
    pub(super) id: &'static str,
    pub(super) make: Change,
    pub(super) parts: &'static [Part],
    pub(super) ends: Ends,
    /// What cannot be observed because of it.
    pub(super) hides: &'static [Source],
    /// What its evidence is from.
    pub(super) needs: &'static [Source],
    /// Its evidence takes longer than a final cause of a later layer is held back.
    pub(super) is_slow: bool,
    /// Other causes that are true of it too.
    pub(super) also: &'static [&'static str],
    /// Parts of sentences that are false if it is present.
    pub(super) false_words: &'static [&'static str],
}

impl Fault {
    /// A fault that ends no stage and hides nothing.
    pub(super) const fn new(id: &'static str, make: Change, parts: &'static [Part]) -> Fault {
        Fault {
            id,
            make,
            parts,
            ends: Ends::Nothing,
            hides: &[],
            needs: &[],
            is_slow: false,
            also: &[],
            false_words: &[],
        }
    }

    pub(super) fn cause(&self) -> &'static Cause {
        cause(self.id)
    }

    /// Whether the other fault changes no part that this one changes, so that both are present together.
    pub(super) fn fits(&self, other: &Fault) -> bool {
        !self.parts.iter().any(|part| other.parts.contains(part))
    }

    /// Whether this fault cannot be observed beside the other one.
    fn is_hidden_by(&self, other: &Fault) -> bool {
        other.ends < self.ends || self.needs.iter().any(|source| other.hides.contains(source))
    }

    /// Whether the other fault may be reported first although its layer is later: it is final, and this one may recover
    /// (`verify/give_up.rs`).
    fn waits_behind(&self, other: &Fault) -> bool {
        let is_final = |cause: &Cause| matches!(cause.class, Class::Terminal | Class::Settling(_));
        let is_kept = |cause: &Cause| matches!(cause.class, Class::Lasting(_)) && cause.layer <= Layer::Role;
        is_final(other.cause()) && !is_final(self.cause()) && (self.is_slow || !is_kept(self.cause()))
    }

    /// Whether a cause of this fault is declared to explain that of the other one.
    fn explains(&self, other: &Fault) -> bool {
        let (own, symptom) = (self.cause(), other.cause());
        symptom.yields_to.contains(&own.id) || symptom.is_symptom_of.contains(&own.layer)
    }
}

/// The ids that may be reported first if both faults are present: that of the first broken layer, unless the other one
/// explains it or hides it.
pub(super) fn first_of(one: &Fault, other: &Fault) -> Vec<&'static str> {
    let (first, second) = if other.cause().layer < one.cause().layer { (other, one) } else { (one, other) };
    let is_second_possible = first.cause().layer == second.cause().layer
        || first.is_hidden_by(second)
        || first.waits_behind(second)
        || second.explains(first);
    let ids = [Some(first.id), is_second_possible.then_some(second.id)];
    ids.into_iter().flatten().collect()
}

/// Every fault of the table.
pub(super) fn all() -> Vec<&'static Fault> {
    [files::FAULTS, host::FAULTS, network::FAULTS, aws::FAULTS, agent::FAULTS, agent_start::FAULTS]
        .into_iter()
        .flatten()
        .collect()
}

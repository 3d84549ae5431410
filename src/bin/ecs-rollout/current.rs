//! The data type of the current state: what ECS has before the command changes anything.

use crate::revision::Revision;
use crate::service::Service;

/// Everything that a plan is decided from.
#[derive(Clone, Debug, Default)]
pub(crate) struct CurrentState {
    /// The service, if ECS knows it. It may be INACTIVE.
    pub(crate) service: Option<Service>,
    /// The revision that the service runs.
    pub(crate) running: Option<Revision>,
    /// The newest ACTIVE revision of the family.
    pub(crate) newest: Option<Revision>,
    /// The last stable revision of this service, to which a failed deployment is rolled back.
    pub(crate) last_stable: Option<Revision>,
    pub(crate) scaling: Scaling,
}

/// What sets the desired count of a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Scaling {
    /// Not read, because the desired count does not change.
    #[default]
    NotRead,
    /// The service itself.
    Manual,
    /// Application Auto Scaling.
    Automatic,
    /// Reading it failed, with this error.
    Unknown(String),
}

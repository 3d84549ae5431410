//! The calls that check before a deployment whether what it needs exists. `ecs-bootstrap` makes none of them.
//!
//! In: names, and a deadline. Out: plain values; `None`, or a name that is absent from a map, means that the service
//! answered that there is no such resource. Any other error is an [`AwsError`](super::AwsError). No call reads the value
//! of a secret or a parameter.

mod cluster;
mod network;
mod registry;
mod role;
mod secret;

pub use cluster::{
    CapacityProvider, ClusterState, InstanceCapacity, Instances, MAX_INSTANCES, Resources, is_capability,
};
pub use network::TargetGroup;
pub use registry::{ImageName, Manifest};
pub use role::Role;
pub use secret::{MAX_PARAMETERS, Secret};

use super::{AwsError, AwsErrorKind};

/// The most pages of a list that are read.
const MAX_PAGES: usize = 20;

/// `None` instead of an error with one of these codes, which say that the resource does not exist.
fn absent_if<T>(answer: Result<T, AwsError>, codes: &[&str]) -> Result<Option<T>, AwsError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(AwsError { kind: AwsErrorKind::Service { code: Some(code), .. }, .. })
            if codes.contains(&code.as_str()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

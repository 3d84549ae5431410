//! The keys of `ecs.config` for accelerators: GPU and Neuron support.
//!
//! `derive.gpu` and `derive.neuron` turn them on or off; with `auto`, a device in `/dev` turns them on. The facts are
//! read in `gather/host.rs`; `guard` waits for the device before it starts the agent (`commands/guard.rs`).

use super::switched_key::switched_key;
use crate::facts::Host;
use crate::plan::PlannedKey;
use crate::settings::Derive;

pub(super) fn gpu(derive: &Derive, host: &Host) -> Option<PlannedKey> {
    let fact = (host.gpu.get() == Some(&true)).then(|| "an NVIDIA device is present".to_owned());
    switched_key(&derive.gpu, "ECS_ENABLE_GPU_SUPPORT", "true", fact)
}

pub(super) fn neuron(derive: &Derive, host: &Host) -> Option<PlannedKey> {
    let fact = (host.neuron.get() == Some(&true)).then(|| "a Neuron device is present".to_owned());
    switched_key(&derive.neuron, "ECS_ENABLE_INF_SUPPORT", "true", fact)
}

//! With early start, an agent that waits for user data is started when user data waits for its start. Without this, a
//! blocking `systemctl start ecs` in user data would wait forever.
//!
//! The command in user data shows that user data has written what the agent must read. guard then reads it, and refuses the
//! start if no cluster is named, so that the command ends in any case.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};

use super::handover;
use crate::apply::release_now;
use crate::boundary::disk::Disk;
use crate::boundary::systemd::{Systemd, SystemdError};
use crate::facts::{Fact, USER_DATA_TARGET};
use crate::host::{blocking_start, user_data_runs};
use crate::redaction::error_chain;
use crate::retry::{AttemptResult, Deadline, Policy, until};

const POLICY: Policy = Policy { first: Duration::from_millis(200), longest: Duration::from_secs(1) };

/// Awaits the verification, and releases the agent meanwhile if user data waits for its start.
pub(super) async fn with_release<T>(
    disk: &Disk,
    systemd: &Result<Systemd, SystemdError>,
    verification: impl Future<Output = T>,
) -> T {
    let handover = handover::read_or_log(disk).filter(|handover| handover.early);
    let (Ok(systemd), Some(handover)) = (systemd, handover) else { return verification.await };
    let release = pin!(release_if_user_data_waits(disk, systemd, &handover.expectation.agent_unit));
    match select(pin!(verification), release).await {
        Either::Left((verdict, _)) => verdict,
        Either::Right(((), verification)) => verification.await,
    }
}

/// Ends when user data has ended, when the agent does not wait any more, or when it was released.
async fn release_if_user_data_waits(disk: &Disk, systemd: &Systemd, agent: &str) {
    let found = until(Deadline::after(Duration::MAX), POLICY, async |_| {
        if let Fact::Known(false) = user_data_runs(disk) {
            return AttemptResult::Stop(());
        }
        match systemd.unit(USER_DATA_TARGET).await {
            Ok(target) if target.job.is_none() => return AttemptResult::Stop(()),
            Ok(_) => {}
            Err(error) => tracing::debug!(error = error_chain(&error), "state of the target not read"),
        }
        blocking_start(disk, agent).map_or(AttemptResult::Retry(()), AttemptResult::Done)
    });
    let Ok((pid, command)) = found.await else { return };
    match release_now(systemd).await {
        Ok(released) => tracing::info!(pid, command, released, "the agent starts now, because user data waits for it"),
        Err(error) => tracing::warn!(error = error_chain(&error), "early start failed; the agent waits for user data"),
    }
}

//! Launch, kernel, initrd and systemd.

use super::draft::{Draft, Found};
use crate::timeline::id;
use crate::timeline::sources::{BootTimes, Launch, Sources};

/// The resolution of `pendingTime`.
const SECOND_US: u64 = 1_000_000;

pub(super) fn add(sources: &Sources, draft: &mut Draft) {
    add_boot(sources, draft);
    let launch = match &sources.launch {
        Ok(launch) => launched(launch, sources, draft),
        Err(reason) => Err(reason.clone()),
    };
    draft.add_or_miss(id::LAUNCH, launch);
    let begins = [id::LAUNCH, id::KERNEL, id::INITRD, id::USERSPACE];
    for (at, id) in begins.iter().enumerate().skip(1) {
        let before = begins[..at].iter().rev().find(|id| draft.get(id).is_some());
        if let (Some(before), Some(event)) = (before.map(|id| (*id).to_owned()), draft.get_mut(id)) {
            event.waited_for = Some(before);
        }
    }
}

fn add_boot(sources: &Sources, draft: &mut Draft) {
    let boot = match &sources.boot {
        Ok(boot) => *boot,
        Err(reason) => {
            for id in [id::KERNEL, id::INITRD, id::USERSPACE] {
                draft.miss(id, reason.clone());
            }
            return;
        }
    };
    let BootTimes { kernel, initrd, userspace, finish } = boot;
    let at = |moment: Option<crate::timeline::sources::Moment>| moment.map(|moment| moment.monotonic_us);
    let (kernel, initrd, userspace, finish) = (at(kernel), at(initrd), at(userspace), at(finish));
    let found = |id: &'static str, start: Option<i64>, end: Option<i64>, property: &str, reason: &str| {
        start
            .map(|start| Found::expected(id, start, end, format!("systemd: {property}")))
            .ok_or_else(|| reason.to_owned())
    };
    let container = "systemd reports no start of a kernel: this host is a container";
    draft.add_or_miss(id::KERNEL, found(id::KERNEL, kernel, initrd.or(userspace), "KernelTimestamp", container));
    let without = "systemd reports no initrd in this boot";
    draft.add_or_miss(id::INITRD, found(id::INITRD, initrd, userspace, "InitRDTimestamp", without));
    let unknown = "systemd does not report when it started";
    draft.add_or_miss(id::USERSPACE, found(id::USERSPACE, userspace, finish, "UserspaceTimestamp", unknown));
}

/// The launch, if this is the first boot since then.
fn launched(launch: &Launch, sources: &Sources, draft: &Draft) -> Result<Found, String> {
    let pending = launch.pending_unix_us;
    // `pendingTime` was parsed, so it can be formatted.
    let shown = humantime::format_rfc3339_seconds(
        std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_micros(u64::try_from(pending).unwrap_or(0)),
    );
    let (Some(boot_start), Some(offset)) = (draft.boot_start(), draft.clock.last_offset()) else {
        return Err(format!("the launch at {shown} cannot be compared with the boot, whose start is not known"));
    };
    // By the last known setting of the clock, because the time of EC2 is right and the clock at the start may not be.
    let (at, boot_unix) = (pending.saturating_sub(offset), boot_start.saturating_add(offset));
    if at > boot_start {
        return Err(format!(
            "the launch at {shown} would be after the start of this boot, so the clock of this host is wrong"
        ));
    }
    let is_between = |trace: i64| (pending..boot_unix).contains(&trace);
    let journal = sources.last_of_earlier_boot.clone().ok().flatten();
    let once = sources.once_per_instance.clone().ok().flatten();
    if journal.is_some_and(is_between) || once.is_some_and(is_between) {
        return Err(format!("the launch at {shown} belongs to an earlier boot: this instance was rebooted since"));
    }
    // An earlier boot that the journal has ended before the launch, or cloud-init has begun with the instance in this boot.
    if journal.is_none() && once.is_none_or(|once| once < boot_unix) {
        return Err(format!(
            "neither the journal nor cloud-init shows whether this is the first boot since the launch at {shown}"
        ));
    }
    let source = format!("pendingTime of the identity document, from {}", launch.source);
    Ok(Found { resolution_us: SECOND_US, ..Found::moment(id::LAUNCH, at, source) })
}

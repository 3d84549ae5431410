//! Causes that lie in what AWS answers, but for denials.

use std::time::Duration;

use super::{ALL, Cause, Class, Layer, clock};
use crate::boundary::aws::AwsErrorKind;
use crate::evidence::Evidence;
use crate::exit::Exit;
use crate::redaction::error_chain;

/// The agent stays alive and tries again by itself, for an hour.
const RETRIES: &str = "Received non-terminal error from RegisterContainerInstance call";
/// Codes by which AWS refuses who calls, and not what is called.
pub(super) const REJECTED: [&str; 9] = [
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "AuthFailure",
    "ExpiredTokenException",
    "ExpiredToken",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
];

/// The service does not take the credentials that IMDS gave.
pub(super) static CREDENTIALS_REJECTED: Cause = Cause {
    id: "credentials-rejected",
    layer: Layer::Api,
    title: "AWS does not accept the instance's credentials",
    symptoms: "UnrecognizedClientException or InvalidClientTokenId, though the instance has its role",
    proof: "AWS answers with such a code, and the clock agrees; with clock-skew it does not, with credentials-expired their \
            time is over",
    look_alikes: &["clock-skew", "credentials-expired", "wrong-role"],
    class: Class::Lasting(Duration::from_secs(120)),
    exit: Exit::Permission,
    exit_after_deadline: Exit::Permission,
    remedy: "see whether the role was deleted and made again (replace the instance), and whether the region is enabled for \
             the account: `aws account get-region-opt-status --region-name REGION`",
    source: "Amazon ECS API Reference, \"Common Errors\"",
    check: |evidence| {
        let is_explained = clock::off(evidence).is_some() || (super::role::EXPIRED.check)(evidence).is_some();
        if is_explained {
            return None;
        }
        let seen = called(evidence, &REJECTED).or_else(|| evidence.registration_refused(&REJECTED))?;
        Some(vec![seen])
    },
    ..Cause::PLAIN
};

/// A mass launch.
pub(super) static REGISTER_THROTTLED: Cause = Cause {
    id: "register-throttled",
    layer: Layer::Api,
    title: "AWS throttles the registration, and the agent tries again by itself",
    symptoms: "slow joins in a mass launch: the unit is active, nothing answers on :51678, and the agent has no exit code",
    proof: "ThrottlingException for this registration; with cluster-quota it is LimitExceededException",
    look_alikes: &["cluster-quota", "throttled", "service-error"],
    class: Class::Retry,
    exit: Exit::Aws,
    exit_after_deadline: Exit::Aws,
    remedy: "wait longer (`verify.deadline`): the agent tries for an hour; launch fewer instances at once",
    source: "agent#135; PR 4499; aws-cf-templates#260",
    check: |evidence| retried(evidence, "ThrottlingException"),
    ..Cause::PLAIN
};

/// The same for our own calls.
pub(super) static THROTTLED: Cause = Cause {
    id: "throttled",
    layer: Layer::Api,
    title: "AWS throttles the calls of this account",
    symptoms: "RequestLimitExceeded or ThrottlingException, in a mass launch",
    proof: "such a code to a call of ours after the SDK's own retries; register-throttled is the agent's own call",
    look_alikes: &["register-throttled", "service-error"],
    class: Class::Retry,
    exit: Exit::Aws,
    exit_after_deadline: Exit::Aws,
    remedy: "wait, and launch fewer instances at once; tags in instance metadata (`--metadata-options \
             InstanceMetadataTags=enabled`) spare the call",
    source: "Amazon ECS Developer Guide, \"Service quotas and API throttling limits\"",
    check: |evidence| {
        let call = evidence.stopping_call().filter(|error| matches!(error.kind, AwsErrorKind::Throttled { .. }))?;
        Some(vec![error_chain(call)])
    },
    ..Cause::PLAIN
};

/// The service answers, with an error that is not ours to mend.
pub(super) static SERVICE_ERROR: Cause = Cause {
    id: "service-error",
    layer: Layer::Api,
    title: "an AWS API answers with an error, or not in time",
    symptoms: "5xx or ServerException in the agent's log, perhaps all over a region",
    proof: "TCP and TLS work and the answer is an error of the service; with register-throttled its code is \
            ThrottlingException",
    look_alikes: &["register-throttled", "throttled", "egress-timeout"],
    class: Class::Retry,
    exit: Exit::Aws,
    exit_after_deadline: Exit::Aws,
    remedy: "look the error code up in the service's API Reference, and at the AWS Health Dashboard",
    source: "agent#2169 #108",
    check: |evidence| {
        if let Some(seen) = retried(evidence, "ServerException") {
            return Some(seen);
        }
        let is_broken = |kind: &AwsErrorKind| match kind {
            AwsErrorKind::Service { status, .. } => *status >= 500,
            kind => matches!(kind, AwsErrorKind::Timeout | AwsErrorKind::Garbled),
        };
        let has_no_way = evidence.network.as_ref().is_some_and(|probe| probe.connected.is_err());
        // A call of verify's own that fares as the agent's does.
        if let (Some(Err(error)), Some(refused)) = (&evidence.cluster, quoted(evidence))
            && is_broken(&error.kind)
            && !(has_no_way && matches!(error.kind, AwsErrorKind::Timeout))
        {
            return Some(vec![error_chain(error), refused]);
        }
        let call = evidence.stopping_call()?;
        if has_no_way && matches!(call.kind, AwsErrorKind::Timeout) {
            return None;
        }
        let is_rejection =
            matches!(&call.kind, AwsErrorKind::Service { code: Some(code), .. } if REJECTED.contains(&code.as_str()));
        (!is_rejection
            && matches!(
                call.kind,
                AwsErrorKind::Service { .. }
                    | AwsErrorKind::Timeout
                    | AwsErrorKind::Garbled
                    | AwsErrorKind::Setup { .. }
            ))
        .then(|| vec![error_chain(call)])
    },
    ..Cause::PLAIN
};

/// What nothing else explains: the general one of its layer. With exit code 5 the agent itself gives up.
pub(super) static REGISTER_REFUSED: Cause = Cause {
    id: "register-refused",
    layer: Layer::Api,
    title: "the agent cannot register the instance, and says why in its own words",
    symptoms: "the agent restarts for ever with `Unable to register as a container instance with ECS`",
    proof: "that line of the agent's last start, for a reason that no other cause knows and the probes do not show",
    look_alikes: &["register-denied", "agent-gave-up", "egress-timeout"],
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::Agent,
    remedy: "look the error up in the ECS API Reference, RegisterContainerInstance; report it with /var/log/ecs/ecs-agent.log",
    source: "agent/app/agent.go: registerContainerInstance",
    check: |evidence| {
        let seen = quoted(evidence).filter(|_| !evidence.agent_exited_with(5))?;
        let is_ours = |cause: &&&Cause| {
            let layers = Layer::Imds..=Layer::Cluster;
            (cause.layer == Layer::Clock || layers.contains(&cause.layer)) && cause.id != "register-refused"
        };
        let is_explained = ALL.iter().filter(is_ours).any(|cause| (cause.check)(evidence).is_some());
        (!is_explained).then(|| vec![seen])
    },
    ..Cause::PLAIN
};

/// How much of a refusal is shown.
const SHOWN: usize = 240;

/// The agent's refusal. The end of the chain says what went wrong, its beginning only what was done.
fn quoted(evidence: &Evidence) -> Option<String> {
    let text = evidence.refusal()?;
    let skipped = text.chars().count().saturating_sub(SHOWN);
    let end: String = text.chars().skip(skipped).filter(|c| !c.is_control()).collect();
    let start = if skipped > 0 { "... " } else { "" };
    Some(format!("ecs-agent.log: `{start}{end}`"))
}

/// An error of the registration after which the agent tries again inside.
pub(super) fn retried(evidence: &Evidence, code: &str) -> Option<Vec<String>> {
    let line = evidence.agent_logged(&[RETRIES])?;
    Some(vec![line, evidence.agent_logged(&[code])?])
}

/// The call that stopped a room, or one of verify's own, where the service refused it by one of these codes.
pub(super) fn called(evidence: &Evidence, codes: &[&str]) -> Option<String> {
    let is = |kind: &AwsErrorKind| matches!(kind, AwsErrorKind::Service { code: Some(code), .. } if codes.contains(&code.as_str()));
    evidence.stopping_call().filter(|error| is(&error.kind)).map(|error| error_chain(error))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{healthy_units, ids};
    use super::*;
    use crate::evidence::agent_log::last_attempt;

    fn refused(error: &str) -> Evidence {
        let line =
            format!("level=critical msg=\"Unable to register as a container instance with ECS\" error=\"{error}\"\n");
        Evidence { agent_log: last_attempt(line.as_bytes()), ..Evidence::default() }
    }

    #[test]
    fn a_refusal_that_nobody_knows_is_quoted_to_its_end() {
        let error = format!("{} SomethingNewException: of tomorrow", "operation error ECS: ".repeat(30));
        let evidence = refused(&error);
        assert_eq!(ids(&evidence), ["register-refused"]);
        let seen = &super::super::diagnose(&evidence)[0].seen[0];
        assert!(seen.ends_with("SomethingNewException: of tomorrow`") && seen.len() < 300, "{seen}");
        assert_eq!(ids(&refused("UnrecognizedClientException: no")), ["credentials-rejected"]);
    }

    #[test]
    fn a_refusal_that_ends_the_agent_is_the_agents() {
        let mut evidence = refused("InvalidParameterException: something new");
        let mut units = healthy_units();
        units.agent.active_state = Some("failed".to_owned());
        units.agent.exec_main_status = Some(5);
        evidence.units = Some(Ok(units));
        evidence.host.is_examined = true;
        assert_eq!(ids(&evidence), ["agent-gave-up"]);
    }

    #[test]
    fn what_the_agent_tries_again_is_told_by_its_code() {
        let with = |code: &str| {
            let line =
                format!("level=error msg=\"{RETRIES}, retrying with exponential backoff\" error=\"{code}: slow\"\n");
            ids(&Evidence { agent_log: last_attempt(line.as_bytes()), ..Evidence::default() })
        };
        assert_eq!(with("ThrottlingException"), ["register-throttled"]);
        assert_eq!(with("ServerException"), ["service-error"]);
        assert_eq!(with("LimitExceededException"), ["cluster-quota"]);
        assert_eq!(with("OtherException"), Vec::<&str>::new());
    }
}

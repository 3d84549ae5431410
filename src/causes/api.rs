//! Causes in the answers of AWS, except access denials (see `denied`).

use std::time::Duration;

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::crash::remedy;
use super::view::credentials::{REJECTED, accepted_call, called};
use super::view::denial::DESCRIBE_TAGS_FAILED;
use super::view::registration::retried;
use crate::boundary::aws::AwsErrorKind;
use crate::comparison::Specificity;
use crate::evidence::Evidence;
use crate::exit::Exit;
use crate::redaction::error_chain;

pub(super) static CREDENTIALS_REJECTED: Cause = Cause {
    id: "credentials-rejected",
    yields_to: &["clock-skew", "credentials-expired", "credentials-override"],
    layer: Layer::Api,
    title: "AWS rejects the instance's credentials",
    symptoms: "UnrecognizedClientException or InvalidClientTokenId, although the instance has its role",
    proof: "AWS answers with one of these codes, and the clock is right; the cause is `clock-skew` if the clock is \
            wrong, and `credentials-expired` if the credentials are past their expiration",
    look_alikes: &["clock-skew", "credentials-expired", "credentials-override", "wrong-role"],
    class: Class::Lasting(Duration::from_secs(120)),
    exit: Exit::Permission,
    exit_after_deadline: Exit::Permission,
    remedy: "check whether the role was deleted and created again (if so, replace the instance), and whether the \
             region is enabled for the account: `aws account get-region-opt-status --region-name REGION`",
    specific_remedy: Some(|evidence| {
        accepted_call(evidence)?;
        Some(
            "AWS accepts the role for ecs-bootstrap, so look for what is different for the agent: `AWS_*` variables in both \
             `ecs.config` files, a proxy that changes requests, and the environment of its container (`docker inspect \
             ecs-agent`)"
                .to_owned(),
        )
    }),
    source: "Amazon ECS API Reference, \"Common Errors\"",
    check: |evidence| {
        let called = called(evidence, &REJECTED);
        let is_agents = called.is_none();
        let seen = called.or_else(|| evidence.registration_refused(&REJECTED))?;
        let works = accepted_call(evidence).filter(|_| is_agents);
        let works = works.map(|call| format!("AWS accepts the role in calls of ecs-bootstrap: it answers {call}"));
        Some([seen].into_iter().chain(works).collect())
    },
    ..Cause::DEFAULTS
};

const THROTTLED_CODES: [&str; 2] = ["RequestLimitExceeded", "Throttling"];

/// Common when many instances launch at once. The agent itself retries for an hour.
pub(super) static REGISTER_THROTTLED: Cause = Cause {
    id: "register-throttled",
    layer: Layer::Api,
    title: "AWS throttles the registration, and the agent retries by itself",
    symptoms: "instances of a mass launch join slowly: the unit is active, nothing answers on port 51678, and the \
               agent has not exited",
    proof: "the agent's log has ThrottlingException for this registration, or RequestLimitExceeded for \
            ec2:DescribeTags before it; if the log has LimitExceededException \
            instead, the cause is `cluster-quota`",
    look_alikes: &["cluster-quota", "throttled", "service-error"],
    class: Class::Retry,
    exit: Exit::Aws,
    exit_after_deadline: Exit::Aws,
    remedy: "wait longer (raise `verify.deadline`), because the agent retries for an hour; launch fewer instances at \
             once",
    source: "aws/amazon-ecs-agent#135 #4499; widdix/aws-cf-templates#260",
    check: |evidence| {
        let is_throttled = |line: &String| THROTTLED_CODES.iter().any(|code| line.contains(code));
        let tags = || evidence.agent_failed_with(&[DESCRIBE_TAGS_FAILED]).filter(is_throttled);
        retried(evidence, "ThrottlingException").or_else(|| Some(vec![tags()?]))
    },
    ..Cause::DEFAULTS
};

/// The same as [`REGISTER_THROTTLED`] for the calls that ecs-bootstrap makes.
pub(super) static THROTTLED: Cause = Cause {
    id: "throttled",
    layer: Layer::Api,
    title: "AWS throttles the calls of this account",
    symptoms: "RequestLimitExceeded or ThrottlingException during a mass launch",
    proof: "a call of ecs-bootstrap got such a code at each attempt until its deadline; if a call of the agent got the code, the \
            cause is `register-throttled`",
    look_alikes: &["register-throttled", "service-error"],
    class: Class::Retry,
    exit: Exit::Aws,
    exit_after_deadline: Exit::Aws,
    remedy: "wait, and launch fewer instances at once; with tags in instance metadata (`--metadata-options \
             InstanceMetadataTags=enabled`) the call is not needed",
    source: "Amazon ECS Developer Guide, \"Service quotas and API throttling limits\"",
    check: |evidence| {
        let call = evidence.failed_call().filter(|error| matches!(error.kind, AwsErrorKind::Throttled { .. }))?;
        Some(vec![error_chain(call)])
    },
    ..Cause::DEFAULTS
};

pub(super) static SERVICE_ERROR: Cause = Cause {
    id: "service-error",
    layer: Layer::Api,
    title: "an AWS API returned an error or did not answer in time",
    symptoms: "5xx or ServerException in the agent's log, possibly in the whole region",
    proof: "TCP and TLS work, and the answer is an error of the service; the cause is `register-throttled` if AWS \
            throttles the agent's registration, and `throttled` if it throttles a call of ecs-bootstrap",
    look_alikes: &["register-throttled", "throttled", "egress-timeout"],
    class: Class::Retry,
    exit: Exit::Aws,
    exit_after_deadline: Exit::Aws,
    remedy: "look up the error code in the API reference of the service, and check the AWS Health Dashboard",
    source: "aws/amazon-ecs-agent#2169 #108",
    check: |evidence| {
        if let Some(seen) = retried(evidence, "ServerException") {
            return Some(seen);
        }
        let is_broken = |kind: &AwsErrorKind| match kind {
            AwsErrorKind::Service { status, .. } => *status >= 500,
            kind => matches!(kind, AwsErrorKind::Timeout | AwsErrorKind::InvalidResponse),
        };
        let is_path_closed = evidence.network.as_ref().is_some_and(|probe| probe.connected.is_err());
        // A call of `verify` itself fails like the agent's call.
        if let (Some(Err(error)), Some(refused)) = (&evidence.cluster, quoted(evidence))
            && is_broken(&error.kind)
            && !(is_path_closed && matches!(error.kind, AwsErrorKind::Timeout))
        {
            return Some(vec![error_chain(error), refused]);
        }
        let call = evidence.failed_call()?;
        if is_path_closed && matches!(call.kind, AwsErrorKind::Timeout) {
            return None;
        }
        let is_rejection =
            matches!(&call.kind, AwsErrorKind::Service { code: Some(code), .. } if REJECTED.contains(&code.as_str()));
        (!is_rejection
            && matches!(
                call.kind,
                AwsErrorKind::Service { .. }
                    | AwsErrorKind::Timeout
                    | AwsErrorKind::InvalidResponse
                    | AwsErrorKind::Setup { .. }
            ))
        .then(|| vec![error_chain(call)])
    },
    ..Cause::DEFAULTS
};

/// The general cause of this layer, for what no other cause explains. After exit code 5 it is `agent-gave-up` instead.
pub(super) static REGISTER_REFUSED: Cause = Cause {
    id: "register-refused",
    yields_to: &["explicit-deny"],
    is_final_in_crash_loop: true,
    specific_remedy: Some(remedy),
    specificity: Specificity::General,
    is_symptom_of: &[Layer::Clock, Layer::Imds, Layer::Role, Layer::Dns, Layer::Route, Layer::Tls, Layer::Cluster],
    layer: Layer::Api,
    title: "the agent cannot register the instance, because of an error that no other cause covers",
    symptoms: "the agent restarts repeatedly and logs `Unable to register as a container instance with ECS`",
    proof: "that line since the agent's last start, with an error that no other cause covers and no probe explains",
    look_alikes: &["register-denied", "agent-gave-up", "egress-timeout"],
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::Agent,
    remedy: "look up the error in the Amazon ECS API Reference, RegisterContainerInstance; report it with \
             /var/log/ecs/ecs-agent.log",
    source: "agent/app/agent.go: registerContainerInstance",
    check: |evidence| {
        let seen = quoted(evidence).filter(|_| !evidence.agent_exited_with(5))?;
        Some(vec![seen])
    },
    ..Cause::DEFAULTS
};

/// The error with which the agent's registration was refused.
fn quoted(evidence: &Evidence) -> Option<String> {
    Some(format!("{}: `{}`", evidence.agent_log_name(), evidence.refusal()?))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{healthy_units, ids};
    use super::super::view::registration::RETRIES;
    use super::*;
    use crate::evidence::agent_log::last_attempt;

    fn refused(error: &str) -> Evidence {
        let line =
            format!("level=critical msg=\"Unable to register as a container instance with ECS\" error=\"{error}\"\n");
        Evidence { agent_log: last_attempt(line.as_bytes()), ..Evidence::default() }
    }

    #[test]
    fn an_unknown_refusal_is_quoted_to_its_end() {
        let request = "https response error StatusCode: 400, RequestID: 6d5f1c0a-7e0f-4d3c-9a39-2b7c7a1f0e55";
        let long = "x".repeat(2000);
        let error = format!(
            "operation error ECS: RegisterContainerInstance, {request}, SomethingNewException: {long} of tomorrow"
        );
        let evidence = refused(&error);
        assert_eq!(ids(&evidence), ["register-refused"]);
        let seen = &super::super::diagnose(&evidence).found[0].seen[0];
        assert!(seen.contains("RegisterContainerInstance: SomethingNewException: x"), "{seen}");
        assert!(seen.ends_with("x of tomorrow`") && !seen.contains("RequestID") && seen.len() <= 900, "{seen}");
        assert_eq!(ids(&refused("UnrecognizedClientException: no")), ["credentials-rejected"]);
    }

    #[test]
    fn a_refusal_that_makes_the_agent_exit_is_a_cause_of_the_agent() {
        let mut evidence = refused("InvalidParameterException: something new");
        let mut units = healthy_units();
        units.agent.active_state = Some("failed".to_owned());
        units.agent.exec_main_status = Some(5);
        evidence.units = Some(Ok(units));
        evidence.host.is_examined = true;
        assert_eq!(ids(&evidence), ["agent-gave-up"]);
    }

    #[test]
    fn a_retried_registration_is_classified_by_its_error_code() {
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

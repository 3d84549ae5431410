//! Causes that lie in the instance's identity and what it may do.

use std::time::Duration;

use super::{Cause, Class, Layer, chain};
use crate::boundary::aws::AwsErrorKind;
use crate::boundary::imds::RoleStatus;
use crate::exit::Exit;

/// A role and its policy may arrive minutes after the instance.
const LATE: Duration = Duration::from_secs(300);

/// No role at all.
pub(super) static NO_INSTANCE_ROLE: Cause = Cause {
    id: "no-instance-role",
    layer: Layer::Role,
    title: "the instance has no role, so its agent has no credentials",
    class: Class::Settling(Duration::from_secs(60)),
    exit: Exit::Permission,
    lapsed: Exit::Permission,
    remedy: "attach an instance profile whose role has the policy AmazonEC2ContainerServiceforEC2Role: \
             `aws ec2 associate-iam-instance-profile --instance-id ID --iam-instance-profile Name=NAME`",
    source: "agent#2133 #350 #883",
    check: |evidence| {
        if evidence.container_instance_arn().is_some() || evidence.config.contains_key("AWS_ACCESS_KEY_ID") {
            return None;
        }
        let absent = matches!(evidence.role, Some(Ok(RoleStatus::Absent)));
        let call = evidence.stopping_call().filter(|error| matches!(error.kind, AwsErrorKind::NoCredentials));
        if !absent && call.is_none() {
            return None;
        }
        let mut seen = vec!["instance metadata answers 404 to `meta-data/iam/security-credentials/`".to_owned()];
        seen.extend(call.map(|error| chain(error)));
        seen.extend(evidence.agent_logged(&[
            "no EC2 IMDS role found",
            "no valid providers in chain",
            "NoCredentialProviders",
            "Error getting valid credentials",
        ]));
        Some(seen)
    },
    ..Cause::PLAIN
};

/// A role is named and its credentials are not given.
pub(super) static ROLE_NOT_USABLE: Cause = Cause {
    id: "role-not-assumable",
    layer: Layer::Role,
    title: "the instance has a role, but EC2 cannot get credentials for it",
    class: Class::Settling(LATE),
    exit: Exit::Permission,
    lapsed: Exit::Permission,
    remedy: "let the role's trust policy name the service `ec2.amazonaws.com` (not `ecs.amazonaws.com`)",
    source: "IAM User Guide, \"Troubleshoot IAM and Amazon EC2\"; tf#5660",
    check: |evidence| {
        if evidence.container_instance_arn().is_some() {
            return None;
        }
        match &evidence.role {
            Some(Ok(RoleStatus::NotUsable { role, code })) => {
                return Some(vec![format!("the credentials of the role `{role}` have the code `{code}`")]);
            }
            Some(Ok(RoleStatus::Present { .. })) => return None,
            _ => {}
        }
        let call = evidence.stopping_call().filter(|error| matches!(error.kind, AwsErrorKind::Credentials { .. }))?;
        Some(vec![chain(call)])
    },
    ..Cause::PLAIN
};

/// The agent tries for ever, and its unit looks healthy.
pub(super) static REGISTER_DENIED: Cause = Cause {
    id: "register-denied",
    layer: Layer::Api,
    title: "the role may not register the instance in its cluster",
    class: Class::Settling(LATE),
    exit: Exit::Permission,
    lapsed: Exit::Permission,
    remedy: "allow `ecs:RegisterContainerInstance` on the cluster (policy AmazonEC2ContainerServiceforEC2Role); the \
             end of the message names the kind of policy that denies",
    source: "agent#3812; IAM User Guide, \"Troubleshoot access denied error messages\"",
    check: |evidence| {
        if evidence.container_instance_arn().is_some() {
            return None;
        }
        Some(vec![evidence.registration_refused(&["AccessDenied", "is not authorized to perform"])?])
    },
    ..Cause::PLAIN
};

/// A call of ours that a setting asked for.
pub(super) static API_DENIED: Cause = Cause {
    id: "api-denied",
    layer: Layer::Api,
    title: "the role may not make a call that the settings ask for",
    class: Class::Settling(LATE),
    exit: Exit::Permission,
    lapsed: Exit::Permission,
    remedy: "allow the action that is named (README, \"IAM actions\"), or name the cluster in a way that needs no call",
    source: "IAM User Guide, \"Troubleshoot access denied error messages\"",
    check: |evidence| {
        let call = evidence.stopping_call().filter(|error| matches!(error.kind, AwsErrorKind::Denied { .. }))?;
        Some(vec![chain(call)])
    },
    ..Cause::PLAIN
};

/// The service does not take the credentials that IMDS gave.
pub(super) static CREDENTIALS_REJECTED: Cause = Cause {
    id: "credentials-rejected",
    layer: Layer::Api,
    title: "AWS does not accept the instance's credentials",
    class: Class::Settling(Duration::from_secs(120)),
    exit: Exit::Permission,
    lapsed: Exit::Permission,
    remedy: "see whether the role was deleted and made again (replace the instance), the region is enabled for the \
             account, and the clock is right",
    source: "Amazon ECS API Reference, \"Common Errors\"",
    check: |evidence| {
        const REJECTED: [&str; 9] = [
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
        if evidence.container_instance_arn().is_some() {
            return None;
        }
        let called = evidence.stopping_call().filter(|error| {
            matches!(&error.kind, AwsErrorKind::Service { code: Some(code), .. } if REJECTED.contains(&code.as_str()))
        });
        called.map(|error| chain(error)).or_else(|| evidence.registration_refused(&REJECTED)).map(|seen| vec![seen])
    },
    ..Cause::PLAIN
};

#[cfg(test)]
mod tests {
    use super::super::tests::ids;
    use super::*;
    use crate::boundary::agent::Metadata;
    use crate::evidence::Evidence;
    use crate::evidence::agent_log::last_attempt;

    const DENIED: &[u8] = b"level=error msg=\"Unable to register as a container instance with ECS\" error=\"AccessDeniedException: User: arn:aws:sts::1:assumed-role/r/i-1 is not authorized to perform: ecs:RegisterContainerInstance\"\n";

    #[test]
    fn a_registered_instance_is_not_accused_of_its_past() {
        let mut evidence =
            Evidence { agent_log: last_attempt(DENIED), role: Some(Ok(RoleStatus::Absent)), ..Evidence::default() };
        assert_eq!(ids(&evidence), ["no-instance-role", "register-denied"]);
        evidence.introspection = Some(Ok(Metadata {
            cluster: "prod".to_owned(),
            container_instance_arn: "arn:aws:ecs:eu-west-1:1:container-instance/prod/1".to_owned(),
            version: String::new(),
        }));
        assert_eq!(ids(&evidence), Vec::<&str>::new());
    }

    #[test]
    fn static_keys_in_the_file_stand_in_for_a_role() {
        let evidence = Evidence {
            role: Some(Ok(RoleStatus::Absent)),
            config: [("AWS_ACCESS_KEY_ID".to_owned(), "AKIA".to_owned())].into(),
            ..Evidence::default()
        };
        assert_eq!(ids(&evidence), Vec::<&str>::new());
    }

    #[test]
    fn denied_elsewhere_is_not_the_registration() {
        let log = b"level=error msg=\"Error calling DescribeTags API\" error=\"AccessDenied: is not authorized to perform: ec2:DescribeTags\"\n";
        let evidence = Evidence { agent_log: last_attempt(log), ..Evidence::default() };
        assert_eq!(ids(&evidence), Vec::<&str>::new());
    }
}

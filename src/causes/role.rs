//! Causes in the instance's identity: its instance profile, its role, and the credentials of the role.

use std::time::Duration;

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::credentials::{NO_CREDENTIALS, ROLE_MAY_BE_LATE, called, has_static_keys};
use super::view::denial::{denial, principal};
use crate::boundary::aws::AwsErrorKind;
use crate::boundary::imds::RoleStatus;
use crate::comparison::Specificity;
use crate::evidence::Evidence;
use crate::exit::Exit;
use crate::redaction::error_chain;

const TRUST: &str = "AssumeRoleUnauthorizedAccess";

/// The fields that the causes of this layer share.
const DEFAULTS: Cause = Cause {
    layer: Layer::Role,
    class: Class::Settling(ROLE_MAY_BE_LATE),
    exit: Exit::Permission,
    exit_after_deadline: Exit::Permission,
    ..Cause::DEFAULTS
};

pub(super) static NO_INSTANCE_ROLE: Cause = Cause {
    id: "no-instance-role",
    title: "the instance has no role, so the agent has no credentials",
    symptoms: "the instance is not in the cluster; the agent restarts repeatedly and logs that it has no credentials",
    proof: "IMDS answers 404 for iam/info and for the role, also after a minute; if the role appears later, the cause \
            is `role-late`",
    look_alikes: &["role-late", "imds-proxied", "profile-without-role"],
    class: Class::Settling(Duration::from_secs(60)),
    remedy: "attach an instance profile whose role has the policy AmazonEC2ContainerServiceforEC2Role: `aws ec2 \
             associate-iam-instance-profile --instance-id ID --iam-instance-profile Name=NAME`",
    source: "aws/amazon-ecs-agent#2133 #350 #883",
    check: |evidence| {
        let call = evidence.failed_call().filter(|error| matches!(error.kind, AwsErrorKind::NoCredentials));
        let is_absent = match &evidence.role {
            Some(Ok(role)) => *role == RoleStatus::Absent,
            _ => call.is_some(),
        };
        // Credentials in ecs.config that the agent cannot use do not replace the role.
        let logged = evidence.agent_logged(&NO_CREDENTIALS);
        if !is_absent || (has_static_keys(evidence) && logged.is_none()) {
            return None;
        }
        let mut seen = vec!["IMDS answers 404 for `meta-data/iam/security-credentials/`".to_owned()];
        seen.extend(call.map(|error| error_chain(error)));
        seen.extend(logged);
        Some(seen)
    },
    ..DEFAULTS
};

/// The role arrived after the agent's first attempts; the agent waits longer before each further one.
pub(super) static LATE_ROLE: Cause = Cause {
    id: "role-late",
    yields_to: &["imds-proxied"],
    excluded: |evidence| denial(evidence).map(|_| "AWS denied the call, so there were credentials".to_owned()),
    title: "the role was attached after the launch, and the agent has not retried with it yet",
    symptoms: "the first start of the agent fails without credentials, and a later one succeeds",
    proof: "the role was missing, or the agent found no credentials, and the role exists now, on an instance younger \
            than 5 min; if the fault stays, the cause is `no-instance-role` or `register-denied`",
    look_alikes: &["no-instance-role", "register-denied"],
    class: Class::Retry,
    exit: Exit::Aws,
    remedy: "wait, or run `systemctl restart ecs --no-block`; in the template, let the instance depend on the profile, \
             the role and its policy (`depends_on`, DependsOn)",
    source: "hashicorp/terraform#1885 #2660; hashicorp/terraform-aws-vault#204",
    check: |evidence| {
        let is_young = evidence.age.is_some_and(|age| age < ROLE_MAY_BE_LATE);
        let Some(Ok(RoleStatus::Present { role, .. })) = &evidence.role else { return None };
        // If a call of ecs-bootstrap just failed without credentials, the role was attached after it, even on an
        // instance that is older.
        let call = evidence.failed_call().filter(|call| matches!(call.kind, AwsErrorKind::NoCredentials));
        let may_be_late = is_young || call.is_some();
        if !may_be_late {
            return None;
        }
        let logged = evidence.agent_logged(&NO_CREDENTIALS);
        let was_absent = evidence.role_was_absent.then(|| "the role was missing before".to_owned());
        let was_absent = call.map(|call| error_chain(call)).or(was_absent);
        if logged.is_none() && was_absent.is_none() {
            return None;
        }
        let now = format!("IMDS has the role `{role}` now");
        Some([now].into_iter().chain(was_absent).chain(logged).collect())
    },
    ..DEFAULTS
};

pub(super) static EMPTY_PROFILE: Cause = Cause {
    id: "profile-without-role",
    title: "the instance profile has no role",
    symptoms: "as with `no-instance-role`, although the console shows an instance profile",
    proof: "iam/info of IMDS has the code Success and says that the profile has no role; if IMDS answers 404 for \
            iam/info, the cause is `no-instance-role`",
    look_alikes: &["no-instance-role", "profile-deleted"],
    remedy: "`aws iam add-role-to-instance-profile --instance-profile-name NAME --role-name ROLE`",
    source: "IAM User Guide, \"Troubleshoot IAM and Amazon EC2\"",
    check: |evidence| match &evidence.role {
        Some(Ok(RoleStatus::EmptyProfile { message })) if !has_static_keys(evidence) => {
            Some(vec![format!("`meta-data/iam/info` of IMDS has the message `{message}`")])
        }
        _ => None,
    },
    ..DEFAULTS
};

/// A new profile may have the same name, but it has another id.
pub(super) static PROFILE_DELETED: Cause = Cause {
    id: "profile-deleted",
    title: "the instance profile of this instance was deleted",
    symptoms: "it worked before; or a profile of the same name was deleted and created again",
    proof: "IMDS answers InstanceProfileNotFound; the cause is `profile-without-role` for the code Success, and \
            `no-instance-role` if IMDS answers 404",
    look_alikes: &["profile-without-role", "no-instance-role"],
    class: Class::Settling(Duration::from_secs(60)),
    remedy: "attach the new profile, which has another id even if its name is the same: `aws ec2 \
             replace-iam-instance-profile-association --association-id ID --iam-instance-profile Name=NAME`",
    source: "IAM User Guide, \"Troubleshoot IAM and Amazon EC2\"",
    check: |evidence| match &evidence.role {
        Some(Ok(RoleStatus::ProfileDeleted)) if !has_static_keys(evidence) => {
            Some(vec!["IMDS answers `InstanceProfileNotFound`".to_owned()])
        }
        _ => None,
    },
    ..DEFAULTS
};

pub(super) static NOT_ASSUMABLE: Cause = Cause {
    id: "role-not-assumable",
    title: "the instance has a role, but its trust policy does not allow EC2 to assume it",
    symptoms: "the agent has no credentials, although IMDS shows the name of a role",
    proof: "the role's credentials in IMDS have the code AssumeRoleUnauthorizedAccess; if IMDS names no role, the \
            cause is `profile-without-role`",
    look_alikes: &["profile-without-role", "role-not-usable"],
    remedy: "allow the service `ec2.amazonaws.com` (not `ecs.amazonaws.com`) in the role's trust policy",
    source: "IAM User Guide, \"Troubleshoot IAM and Amazon EC2\"; hashicorp/terraform#5660",
    check: |evidence| unusable(evidence, |code| code == TRUST),
    ..DEFAULTS
};

/// Any other code: the general cause of this layer.
pub(super) static NOT_USABLE: Cause = Cause {
    id: "role-not-usable",
    specificity: Specificity::General,
    title: "the instance has a role, but EC2 provides no credentials for it",
    symptoms: "the agent has no credentials, although IMDS shows the name of a role",
    proof: "the role's credentials in IMDS have a code other than Success; if the code is \
            AssumeRoleUnauthorizedAccess, the cause is `role-not-assumable`",
    look_alikes: &["role-not-assumable"],
    remedy: "look up the code in the EC2 User Guide; attach the profile again: `aws ec2 \
             replace-iam-instance-profile-association --association-id ID --iam-instance-profile Name=NAME`",
    source: "EC2 User Guide, \"Retrieve security credentials from instance metadata\"",
    check: |evidence| unusable(evidence, |code| code != TRUST),
    ..DEFAULTS
};

/// The credentials are past their expiration, and the clock is right.
pub(super) static EXPIRED: Cause = Cause {
    id: "credentials-expired",
    yields_to: &["clock-skew", "credentials-override"],
    title: "the instance's credentials have expired",
    symptoms: "ExpiredToken after the instance was suspended or hibernated",
    proof: "IMDS returns an Expiration in the past, or AWS answers ExpiredToken, and the clock is right; if the clock \
            is wrong, the cause is `clock-skew`",
    look_alikes: &["clock-skew", "credentials-rejected"],
    class: Class::Lasting(Duration::from_secs(60)),
    remedy: "wait for the next rotation, or attach the profile again: `aws ec2 \
             replace-iam-instance-profile-association --association-id ID --iam-instance-profile Name=NAME`",
    source: "aws/amazon-ecs-agent#398; EC2 User Guide, \"Retrieve security credentials from instance metadata\"",
    check: |evidence| {
        const CODES: [&str; 2] = ["ExpiredTokenException", "ExpiredToken"];
        let ahead = evidence.network_path.api_clock_skew.or(evidence.network_path.imds_clock_skew).unwrap_or_default();
        let ahead = Duration::from_secs(u64::try_from(ahead).unwrap_or_default());
        let expired = match &evidence.role {
            Some(Ok(RoleStatus::Present { expired_for: Some(by), .. }))
                if *by > ahead && !has_static_keys(evidence) =>
            {
                let by = humantime::format_duration(Duration::from_secs((*by - ahead).as_secs()));
                Some(format!("the role's credentials in IMDS expired {by} ago"))
            }
            _ => None,
        };
        let refused = called(evidence, &CODES);
        let logged = evidence.registration_refused(&CODES);
        let seen: Vec<String> = expired.into_iter().chain(refused).chain(logged).collect();
        (!seen.is_empty()).then_some(seen)
    },
    ..DEFAULTS
};

/// Another profile was attached, or the agent has its own access keys.
pub(super) static WRONG_ROLE: Cause = Cause {
    id: "wrong-role",
    title: "the agent calls AWS with credentials other than those of the instance's role",
    symptoms: "AccessDenied for an unexpected role or user",
    proof: "the AccessDenied message names a principal other than the role in IMDS; if the message names the role in \
            IMDS, the cause is `register-denied`",
    look_alikes: &["register-denied"],
    remedy: "remove what overrides the role: AWS_ACCESS_KEY_ID or a profile in ecs.config, or the automation that \
             replaced the instance profile (Quick Setup, a patch baseline); then `systemctl restart ecs --no-block`",
    source: "aws/amazon-ecs-agent#3812",
    check: |evidence| {
        let Some(Ok(RoleStatus::Present { role, .. })) = &evidence.role else { return None };
        let refusal = evidence.refusal().filter(|text| text.contains("is not authorized to perform"))?;
        let principal = principal(&refusal)?;
        let is_role = principal.strip_prefix("assumed-role/").is_some_and(|rest| rest.split('/').next() == Some(role));
        (!is_role).then(|| {
            let principal: String = principal.chars().take(100).collect();
            vec![format!("the agent calls AWS as `{principal}`, IMDS has the role `{role}`")]
        })
    },
    ..DEFAULTS
};

/// The code of credentials that cannot be used, from IMDS or from a call of ecs-bootstrap, if `is` selects it.
fn unusable(evidence: &Evidence, is: fn(&str) -> bool) -> Option<Vec<String>> {
    if let Some(Ok(role)) = &evidence.role {
        return match role {
            RoleStatus::NotUsable { role, code } if is(code) && !has_static_keys(evidence) => {
                Some(vec![format!("the credentials of the role `{role}` have the code `{code}`")])
            }
            _ => None,
        };
    }
    let call = evidence.failed_call()?;
    matches!(&call.kind, AwsErrorKind::Credentials { code } if is(code)).then(|| vec![error_chain(call)])
}

#[cfg(test)]
mod tests {
    use super::super::tests::ids;
    use super::*;
    use crate::boundary::agent::AgentMetadata;
    use crate::evidence::agent_log::last_attempt;

    const DENIED: &[u8] = b"level=error msg=\"Unable to register as a container instance with ECS\" \
        error=\"AccessDeniedException: User: arn:aws:sts::1:assumed-role/r/i-1 is not authorized to perform: \
        ecs:RegisterContainerInstance\"\n";

    fn with(role: RoleStatus) -> Evidence {
        Evidence { role: Some(Ok(role)), ..Evidence::default() }
    }

    fn present(role: &str) -> RoleStatus {
        RoleStatus::Present { role: role.to_owned(), expired_for: None }
    }

    #[test]
    fn after_a_registration_earlier_errors_are_no_causes() {
        let mut evidence = Evidence { agent_log: last_attempt(DENIED), ..with(RoleStatus::Absent) };
        assert_eq!(ids(&evidence), ["no-instance-role", "register-denied"]);
        evidence.introspection = Some(Ok(AgentMetadata {
            cluster: "prod".to_owned(),
            container_instance_arn: "arn:aws:ecs:eu-west-1:1:container-instance/prod/1".to_owned(),
            version: String::new(),
        }));
        assert_eq!(ids(&evidence), Vec::<&str>::new());
    }

    #[test]
    fn static_keys_in_the_file_replace_a_role() {
        let evidence = Evidence {
            config: [("AWS_ACCESS_KEY_ID".to_owned(), "AKIA".to_owned())].into(),
            ..with(RoleStatus::Absent)
        };
        assert_eq!(ids(&evidence), Vec::<&str>::new());
    }

    #[test]
    fn each_state_of_the_profile_has_its_cause() {
        let unusable = |code: &str| RoleStatus::NotUsable { role: "r".into(), code: code.into() };
        for (role, id) in [
            (RoleStatus::EmptyProfile { message: "no role".into() }, "profile-without-role"),
            (RoleStatus::ProfileDeleted, "profile-deleted"),
            (unusable(TRUST), "role-not-assumable"),
            (unusable("Failed"), "role-not-usable"),
        ] {
            assert_eq!(ids(&with(role)), [id]);
        }
        assert_eq!(ids(&with(present("r"))), Vec::<&str>::new());
    }

    #[test]
    fn a_principal_is_compared_with_the_role() {
        let seen = |role: &str| ids(&Evidence { agent_log: last_attempt(DENIED), ..with(present(role)) });
        assert_eq!(seen("r"), ["register-denied"]);
        assert_eq!(seen("other"), ["wrong-role", "register-denied"]);
    }

    #[test]
    fn expired_is_decided_by_a_clock_that_is_right() {
        let by =
            |seconds| with(RoleStatus::Present { role: "r".into(), expired_for: Some(Duration::from_secs(seconds)) });
        assert_eq!(ids(&by(60)), ["credentials-expired"]);
        let mut evidence = by(60);
        evidence.network_path.imds_clock_skew = Some(120);
        assert_eq!(ids(&evidence), Vec::<&str>::new());
        evidence.network_path.api_clock_skew = Some(7200);
        assert_eq!(ids(&evidence), ["clock-skew"]);
    }

    #[test]
    fn a_late_role_must_have_been_missing_before() {
        let young = Some(Duration::from_secs(30));
        let mut evidence = Evidence { age: young, ..with(present("r")) };
        assert_eq!(ids(&evidence), Vec::<&str>::new());
        evidence.role_was_absent = true;
        assert_eq!(ids(&evidence), ["role-late"]);
        evidence.agent_log = last_attempt(DENIED);
        assert_eq!(ids(&evidence), ["register-denied"]);
        evidence.agent_log = Default::default();
        evidence.age = Some(ROLE_MAY_BE_LATE);
        assert_eq!(ids(&evidence), Vec::<&str>::new());
    }
}

//! Causes that lie in the instance's identity: its profile, its role, and the credentials that come of them.

use std::time::Duration;

use super::imds::NO_CREDENTIALS;
use super::{Cause, Class, Layer, clock, denied};
use crate::boundary::aws::AwsErrorKind;
use crate::boundary::imds::RoleStatus;
use crate::evidence::Evidence;
use crate::exit::Exit;
use crate::redaction::error_chain;

/// A role and its policy may arrive minutes after the instance.
pub(super) const LATE: Duration = Duration::from_secs(300);
const TRUST: &str = "AssumeRoleUnauthorizedAccess";

/// What the causes of this layer have in common.
const PLAIN: Cause = Cause {
    layer: Layer::Role,
    class: Class::Settling(LATE),
    exit: Exit::Permission,
    exit_after_deadline: Exit::Permission,
    ..Cause::PLAIN
};

/// No role at all.
pub(super) static NO_INSTANCE_ROLE: Cause = Cause {
    id: "no-instance-role",
    title: "the instance has no role, so its agent has no credentials",
    symptoms: "no container instance; the agent restarts for ever, and its log has no credentials",
    proof: "instance metadata answers 404 to iam/info and to the role, still so after a minute; role-late turns 200",
    look_alikes: &["role-late", "imds-proxied", "profile-without-role"],
    class: Class::Settling(Duration::from_secs(60)),
    remedy: "attach an instance profile whose role has the policy AmazonEC2ContainerServiceforEC2Role: \
             `aws ec2 associate-iam-instance-profile --instance-id ID --iam-instance-profile Name=NAME`",
    source: "agent#2133 #350 #883",
    check: |evidence| {
        let call = evidence.stopping_call().filter(|error| matches!(error.kind, AwsErrorKind::NoCredentials));
        let is_absent = match &evidence.role {
            Some(Ok(role)) => *role == RoleStatus::Absent,
            _ => call.is_some(),
        };
        if !is_absent || has_static_keys(evidence) {
            return None;
        }
        let mut seen = vec!["instance metadata answers 404 to `meta-data/iam/security-credentials/`".to_owned()];
        seen.extend(call.map(|error| error_chain(error)));
        seen.extend(evidence.agent_logged(&NO_CREDENTIALS));
        Some(seen)
    },
    ..PLAIN
};

/// It came after the agent's first tries, which come ever more rarely.
pub(super) static LATE_ROLE: Cause = Cause {
    id: "role-late",
    title: "the role arrived after the instance, and the agent has yet to try with it",
    symptoms: "the first start fails without credentials, a later one works",
    proof: "the role was absent, or the agent found none, and it is there now, on an instance of less than 5 min; \
            no-instance-role and register-denied stay",
    look_alikes: &["no-instance-role", "register-denied"],
    class: Class::Retry,
    exit: Exit::Aws,
    remedy: "let the instance depend on the profile, the role and its policy (`depends_on`, DependsOn); now wait, or \
             `systemctl restart ecs --no-block`",
    source: "tf#1885 #2660; terraform-aws-vault#204",
    check: |evidence| {
        let is_young = evidence.age.is_some_and(|age| age < LATE);
        let Some(Ok(RoleStatus::Present { role, .. })) = &evidence.role else { return None };
        // A call of ours had none a moment ago: then it has come since, however old the instance is.
        let call = evidence.stopping_call().filter(|call| matches!(call.kind, AwsErrorKind::NoCredentials));
        let may_be = is_young || call.is_some();
        if !may_be || denied::denial(evidence).is_some() || super::imds::is_proxied(evidence) {
            return None;
        }
        let logged = evidence.agent_logged(&NO_CREDENTIALS);
        let was_absent = evidence.role_was_absent.then(|| "it was absent before".to_owned());
        let was_absent = call.map(|call| error_chain(call)).or(was_absent);
        if logged.is_none() && was_absent.is_none() {
            return None;
        }
        let now = format!("instance metadata has the role `{role}` now");
        Some([now].into_iter().chain(was_absent).chain(logged).collect())
    },
    ..PLAIN
};

/// The profile is there and empty.
pub(super) static EMPTY_PROFILE: Cause = Cause {
    id: "profile-without-role",
    title: "the instance profile holds no role",
    symptoms: "as no-instance-role, though the console shows an instance profile",
    proof: "iam/info says Success and that the profile holds no role; with no-instance-role it is 404",
    look_alikes: &["no-instance-role", "profile-deleted"],
    remedy: "`aws iam add-role-to-instance-profile --instance-profile-name NAME --role-name ROLE`",
    source: "IAM User Guide, \"Troubleshoot IAM and Amazon EC2\"",
    check: |evidence| match &evidence.role {
        Some(Ok(RoleStatus::EmptyProfile { message })) if !has_static_keys(evidence) => {
            Some(vec![format!("`meta-data/iam/info` says `{message}`")])
        }
        _ => None,
    },
    ..PLAIN
};

/// Its name may be in use again; its id is not.
pub(super) static PROFILE_DELETED: Cause = Cause {
    id: "profile-deleted",
    title: "the instance profile that this instance was given is no more",
    symptoms: "it worked once; or a profile of the same name was deleted and made again",
    proof: "instance metadata says InstanceProfileNotFound; with profile-without-role it says Success",
    look_alikes: &["profile-without-role", "no-instance-role"],
    class: Class::Settling(Duration::from_secs(60)),
    remedy: "attach the new profile, whose id differs though its name is the same: `aws ec2 \
             replace-iam-instance-profile-association --association-id ID --iam-instance-profile Name=NAME`",
    source: "IAM User Guide, \"Troubleshoot IAM and Amazon EC2\"",
    check: |evidence| match &evidence.role {
        Some(Ok(RoleStatus::ProfileDeleted)) if !has_static_keys(evidence) => {
            Some(vec!["instance metadata says `InstanceProfileNotFound`".to_owned()])
        }
        _ => None,
    },
    ..PLAIN
};

/// A role is named, and EC2 may not take it.
pub(super) static NOT_ASSUMABLE: Cause = Cause {
    id: "role-not-assumable",
    title: "the instance has a role, but EC2 may not assume it",
    symptoms: "the agent has no credentials, and the name of a role is to be seen",
    proof: "the role's credentials have the code AssumeRoleUnauthorizedAccess; with profile-without-role no role is named",
    look_alikes: &["profile-without-role", "role-not-usable"],
    remedy: "let the role's trust policy name the service `ec2.amazonaws.com` (not `ecs.amazonaws.com`)",
    source: "IAM User Guide, \"Troubleshoot IAM and Amazon EC2\"; tf#5660",
    check: |evidence| unusable(evidence, |code| code == TRUST),
    ..PLAIN
};

/// Any other code: the general one of its layer.
pub(super) static NOT_USABLE: Cause = Cause {
    id: "role-not-usable",
    title: "the instance has a role, but EC2 gives no credentials for it",
    symptoms: "the agent has no credentials, and the name of a role is to be seen",
    proof: "the role's credentials have a code that is neither Success nor that of role-not-assumable",
    look_alikes: &["role-not-assumable"],
    remedy: "look the code up; attach the profile again: `aws ec2 replace-iam-instance-profile-association`",
    source: "EC2 User Guide, \"Retrieve security credentials from instance metadata\"",
    check: |evidence| unusable(evidence, |code| code != TRUST),
    ..PLAIN
};

/// Their time is over, and the clock is right.
pub(super) static EXPIRED: Cause = Cause {
    id: "credentials-expired",
    title: "the instance's credentials have expired",
    symptoms: "ExpiredToken after a pause or a resume of the instance",
    proof: "instance metadata hands out an Expiration in the past, or AWS answers ExpiredToken, and the clock agrees; \
            with clock-skew it does not",
    look_alikes: &["clock-skew", "credentials-rejected"],
    class: Class::Lasting(Duration::from_secs(60)),
    remedy: "wait for the next rotation, or attach the profile again: `aws ec2 replace-iam-instance-profile-association`",
    source: "agent#398; EC2 User Guide, \"Retrieve security credentials from instance metadata\"",
    check: |evidence| {
        const CODES: [&str; 2] = ["ExpiredTokenException", "ExpiredToken"];
        if clock::off(evidence).is_some() {
            return None;
        }
        let ahead = evidence.network_path.api_clock.or(evidence.network_path.imds_clock).unwrap_or_default();
        let ahead = Duration::from_secs(u64::try_from(ahead).unwrap_or_default());
        let ended = match &evidence.role {
            Some(Ok(RoleStatus::Present { expired_for: Some(by), .. }))
                if *by > ahead && !has_static_keys(evidence) =>
            {
                let by = humantime::format_duration(Duration::from_secs((*by - ahead).as_secs()));
                Some(format!("the role's credentials in instance metadata ended {by} ago"))
            }
            _ => None,
        };
        let called = super::api::called(evidence, &CODES);
        let logged = evidence.registration_refused(&CODES);
        let seen: Vec<String> = ended.into_iter().chain(called).chain(logged).collect();
        (!seen.is_empty()).then_some(seen)
    },
    ..PLAIN
};

/// Something has replaced the profile, or keys stand in its way.
pub(super) static WRONG_ROLE: Cause = Cause {
    id: "wrong-role",
    title: "the agent calls AWS as somebody else than the instance's role",
    symptoms: "AccessDenied for a role or user that nobody expected",
    proof: "the denial names another principal than the role in instance metadata; with register-denied it is the same",
    look_alikes: &["register-denied"],
    remedy: "remove what stands in the role's place: AWS_ACCESS_KEY_ID or a profile in ecs.config, or what replaced the \
             instance profile (a quick setup, a patch baseline)",
    source: "agent#3812",
    check: |evidence| {
        let Some(Ok(RoleStatus::Present { role, .. })) = &evidence.role else { return None };
        let refusal = evidence.refusal().filter(|text| text.contains("is not authorized to perform"))?;
        let principal = denied::principal(&refusal)?;
        let is_role = principal.strip_prefix("assumed-role/").is_some_and(|rest| rest.split('/').next() == Some(role));
        (!is_role).then(|| {
            let who: String = principal.chars().take(100).collect();
            vec![format!("the agent is `{who}`, instance metadata has the role `{role}`")]
        })
    },
    ..PLAIN
};

/// What of the agent's file stands in for a role (`ecs-agent/credentials/providers`): keys, or a profile that has some.
const INSTEAD: [&str; 6] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "ECS_ALTERNATE_CREDENTIAL_PROFILE",
    "ECS_EXTERNAL",
];

/// Whether keys of the agent's own stand in for a role.
pub(super) fn has_static_keys(evidence: &Evidence) -> bool {
    INSTEAD
        .iter()
        .any(|key| evidence.config.get(*key).is_some_and(|value| !value.trim().is_empty() && value != "false"))
}

/// The code of credentials that cannot be used, as metadata or a call of ours has it.
fn unusable(evidence: &Evidence, is: fn(&str) -> bool) -> Option<Vec<String>> {
    if let Some(Ok(role)) = &evidence.role {
        return match role {
            RoleStatus::NotUsable { role, code } if is(code) && !has_static_keys(evidence) => {
                Some(vec![format!("the credentials of the role `{role}` have the code `{code}`")])
            }
            _ => None,
        };
    }
    let call = evidence.stopping_call()?;
    matches!(&call.kind, AwsErrorKind::Credentials { code } if is(code)).then(|| vec![error_chain(call)])
}

#[cfg(test)]
mod tests {
    use super::super::tests::ids;
    use super::*;
    use crate::boundary::agent::Metadata;
    use crate::evidence::agent_log::last_attempt;

    const DENIED: &[u8] = b"level=error msg=\"Unable to register as a container instance with ECS\" error=\"AccessDeniedException: User: arn:aws:sts::1:assumed-role/r/i-1 is not authorized to perform: ecs:RegisterContainerInstance\"\n";

    fn with(role: RoleStatus) -> Evidence {
        Evidence { role: Some(Ok(role)), ..Evidence::default() }
    }

    fn present(role: &str) -> RoleStatus {
        RoleStatus::Present { role: role.to_owned(), expired_for: None }
    }

    #[test]
    fn a_registered_instance_is_not_accused_of_its_past() {
        let mut evidence = Evidence { agent_log: last_attempt(DENIED), ..with(RoleStatus::Absent) };
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
            config: [("AWS_ACCESS_KEY_ID".to_owned(), "AKIA".to_owned())].into(),
            ..with(RoleStatus::Absent)
        };
        assert_eq!(ids(&evidence), Vec::<&str>::new());
    }

    #[test]
    fn each_state_of_the_profile_has_its_name() {
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
    fn expired_counts_by_a_clock_that_is_right() {
        let by =
            |seconds| with(RoleStatus::Present { role: "r".into(), expired_for: Some(Duration::from_secs(seconds)) });
        assert_eq!(ids(&by(60)), ["credentials-expired"]);
        let mut evidence = by(60);
        evidence.network_path.imds_clock = Some(120);
        assert_eq!(ids(&evidence), Vec::<&str>::new());
        evidence.network_path.api_clock = Some(7200);
        assert_eq!(ids(&evidence), ["clock-skew"]);
    }

    #[test]
    fn a_late_role_was_seen_to_come() {
        let young = Some(Duration::from_secs(30));
        let mut evidence = Evidence { age: young, ..with(present("r")) };
        assert_eq!(ids(&evidence), Vec::<&str>::new());
        evidence.role_was_absent = true;
        assert_eq!(ids(&evidence), ["role-late"]);
        evidence.agent_log = last_attempt(DENIED);
        assert_eq!(ids(&evidence), ["register-denied"]);
        evidence.agent_log = Vec::new();
        evidence.age = Some(LATE);
        assert_eq!(ids(&evidence), Vec::<&str>::new());
    }
}

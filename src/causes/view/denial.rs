//! Messages of AWS that deny a call.

use crate::boundary::aws::AwsErrorKind;
use crate::evidence::Evidence;

/// Whether AWS denied the call, by the code or the words of this message.
pub(in crate::causes) fn is_denial(text: &str) -> bool {
    ["AccessDenied", "authorized to perform", "UnauthorizedOperation"].iter().any(|word| text.contains(word))
}

/// What the agent logs if a call fails that its settings require before the registration.
pub(in crate::causes) const DESCRIBE_TAGS_FAILED: &str = "Error calling DescribeTags API";
pub(in crate::causes) const CREATE_CLUSTER_FAILED: &str = "Could not create cluster";

/// The message with which the agent's registration or a call before it, or the call that stopped a pipeline stage, was
/// denied.
pub(in crate::causes) fn denial(evidence: &Evidence) -> Option<String> {
    if let Some(text) = evidence.refusal().filter(|text| is_denial(text)) {
        return Some(text);
    }
    if let Some(AwsErrorKind::Denied { message, .. }) = evidence.failed_call().map(|call| &call.kind) {
        return Some(message.to_string());
    }
    evidence.agent_failed_with(&[DESCRIBE_TAGS_FAILED, CREATE_CLUSTER_FAILED]).filter(|line| is_denial(line))
}

/// `assumed-role/NAME/SESSION` or `user/NAME` of the principal that a denial names.
pub(in crate::causes) fn principal(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("User: arn:")?;
    let arn = rest.split(' ').next()?;
    arn.rsplit_once(':').map(|(_, principal)| principal)
}

/// The type of policy that denies a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::causes) enum PolicyType {
    ServiceControl,
    ResourceControl,
    Boundary,
    Session,
    Endpoint,
    /// A policy of the role, or of a type that is not listed here, with an explicit Deny.
    Explicit,
}

impl PolicyType {
    /// What to change so that this policy allows the call.
    pub(in crate::causes) const fn remedy(self) -> &'static str {
        match self {
            PolicyType::ServiceControl => {
                "allow the action in the organization's service control policies for this account and region; a policy \
                 of the role cannot help"
            }
            PolicyType::ResourceControl => {
                "allow the action in the organization's resource control policies for this resource; a policy of the \
                 role cannot help"
            }
            PolicyType::Boundary => {
                "allow the action in the permissions boundary of the role, or remove the boundary: `aws iam \
                 delete-role-permissions-boundary --role-name ROLE`"
            }
            PolicyType::Session => {
                "find out which credentials the agent uses (AWS_ACCESS_KEY_ID or a profile in ecs.config), and remove \
                 them: the credentials of an instance role have no session policy"
            }
            PolicyType::Endpoint => {
                "allow the action in the policy of the VPC endpoint: `aws ec2 modify-vpc-endpoint --vpc-endpoint-id ID \
                 --policy-document ...`; a policy of the role cannot help"
            }
            PolicyType::Explicit => {
                "remove the statement with `\"Effect\": \"Deny\"` for this action from the policy that the message names, \
                 otherwise from the role's policies; another Allow cannot help"
            }
        }
    }
}

/// The type of policy that the end of the message names, and that end. `None` if the role's own policies simply have no
/// Allow, or if the message names no policy.
pub(in crate::causes) fn policy(text: &str) -> Option<(PolicyType, &str)> {
    const TYPES: [(&str, PolicyType); 6] = [
        ("service control polic", PolicyType::ServiceControl),
        ("resource control polic", PolicyType::ResourceControl),
        ("permissions boundar", PolicyType::Boundary),
        ("session polic", PolicyType::Session),
        ("VPC endpoint polic", PolicyType::Endpoint),
        ("identity-based polic", PolicyType::Explicit),
    ];
    let explicit = text.find("with an explicit deny");
    let tail = &text[explicit.or_else(|| text.find("because no "))?..];
    let found = TYPES.into_iter().find(|(words, _)| tail.contains(words)).map(|(_, found)| found);
    // An explicit deny in a policy of an unknown type is still one that no Allow overrides.
    let found = found.or(explicit.map(|_| PolicyType::Explicit))?;
    (found != PolicyType::Explicit || explicit.is_some()).then_some((found, tail))
}

/// The denied action that the message names, in one of the two places where AWS names it.
pub(in crate::causes) fn denied_action(text: &str) -> Option<&str> {
    ["authorized to perform: ", "policy allows the "].iter().find_map(|before| {
        let action = text.split_once(before)?.1.split([' ', ',']).next()?;
        is_action(action).then_some(action)
    })
}

/// Whether this is the name of an action, such as `ecs:TagResource`.
fn is_action(text: &str) -> bool {
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    text.split_once(':').is_some_and(|(service, name)| is_word(service) && is_word(name))
}

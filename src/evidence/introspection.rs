//! Checks that an answer on the agent's port can come from the agent of this instance.
//!
//! In: a [`Claim`] and the known facts about the instance. Out: the metadata, or [`AgentError::Untrusted`]. Every
//! command that asks the agent checks the answer here.

use super::Evidence;
use crate::boundary::agent::{AgentError, AgentMetadata, Claim};

/// The maximum length of an ARN (AWS Identity and Access Management, "Amazon Resource Names").
const MAX_ARN_LENGTH: usize = 2048;
const MAX_CLUSTER_LENGTH: usize = 255;
/// More than a UUID needs, with or without hyphens.
const MAX_ID_LENGTH: usize = 64;

impl Evidence {
    /// The metadata, if the socket belongs to the agent, and cluster and ARN have a valid form and the region and
    /// account of this instance.
    pub fn trusted(&self, answer: Result<Claim<AgentMetadata>, AgentError>) -> Result<AgentMetadata, AgentError> {
        answer?.trusted(|metadata| self.why_untrusted(metadata))
    }

    fn why_untrusted(&self, metadata: &AgentMetadata) -> Option<String> {
        let AgentMetadata { cluster, container_instance_arn: arn, .. } = metadata;
        if !is_cluster(cluster) {
            return Some(format!("{} cannot be a cluster", described(cluster)));
        }
        if arn.is_empty() {
            return None;
        }
        let Some(EcsArn { region, account, resource }) = parse_arn(arn).filter(|_| arn.len() <= MAX_ARN_LENGTH) else {
            return Some(format!("{} is not the ARN of a container instance", described(arn)));
        };
        if !is_container_instance(resource) {
            return Some(format!("{} is not the ARN of a container instance", described(arn)));
        }
        let expected = self.expectation.as_ref();
        let home = expected.and_then(|expected| expected.region.as_deref());
        let configured = [self.config.get("AWS_DEFAULT_REGION").map(String::as_str), self.files.json_region.as_deref()];
        let is_there = |expected: &str| region == expected.trim();
        if home.is_some_and(|home| !is_there(home)) && !configured.into_iter().flatten().any(is_there) {
            return Some(format!(
                "its ARN has region `{region}`, but this instance runs in `{}`",
                home.unwrap_or_default()
            ));
        }
        // With access keys of its own the agent can use another account.
        let has_keys = self.config.contains_key("AWS_ACCESS_KEY_ID");
        let own_account = expected.and_then(|expected| expected.account.as_deref()).filter(|_| !has_keys);
        own_account
            .filter(|own| *own != account)
            .map(|own| format!("its ARN has account `{account}`, but this instance belongs to `{own}`"))
    }
}

/// The parts of an ECS ARN that are checked.
struct EcsArn<'a> {
    region: &'a str,
    account: &'a str,
    resource: &'a str,
}

/// Parses `arn:PARTITION:ecs:REGION:ACCOUNT:RESOURCE`; `None` if a part has an invalid form.
fn parse_arn(arn: &str) -> Option<EcsArn<'_>> {
    let rest = arn.strip_prefix("arn:")?;
    let mut parts = rest.splitn(5, ':');
    let (partition, service) = (parts.next()?, parts.next()?);
    let (region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    let is_word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let is_partition = partition == "aws" || partition.strip_prefix("aws-").is_some_and(is_word);
    let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    (is_partition && service == "ecs" && is_word(region) && region.len() <= 32 && is_account).then_some(EcsArn {
        region,
        account,
        resource,
    })
}

/// Whether this is `container-instance/CLUSTER/ID`, or `container-instance/ID` in the old format (Amazon ECS Developer
/// Guide, "Amazon Resource Names (ARNs) and IDs").
fn is_container_instance(resource: &str) -> bool {
    let mut parts = resource.split('/');
    let (resource_type, first, second) = (parts.next(), parts.next(), parts.next());
    let is_id = |id: &str| {
        (1..=MAX_ID_LENGTH).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let is_known = match (first, second) {
        (Some(cluster), Some(id)) => is_name(cluster) && is_id(id),
        (Some(id), None) => is_id(id),
        _ => false,
    };
    resource_type == Some("container-instance") && is_known && parts.next().is_none()
}

fn is_cluster(cluster: &str) -> bool {
    if !cluster.starts_with("arn:") {
        return is_name(cluster);
    }
    parse_arn(cluster).is_some_and(|arn| arn.resource.strip_prefix("cluster/").is_some_and(is_name))
}

/// Whether a cluster can have this name: letters, digits, hyphens and underscores (Amazon ECS API Reference,
/// CreateCluster).
fn is_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=MAX_CLUSTER_LENGTH).contains(&name.len()) && name.bytes().all(fits)
}

/// An invalid value for an error message: at most 80 characters, others than printable ASCII replaced, and the length
/// if the value is longer.
fn described(text: &str) -> String {
    const MAX_SHOWN_CHARACTERS: usize = 80;
    let shown: String = text
        .chars()
        .take(MAX_SHOWN_CHARACTERS)
        .map(|c| if c.is_ascii_graphic() && c != '`' { c } else { '?' })
        .collect();
    if text.chars().nth(MAX_SHOWN_CHARACTERS).is_none() {
        format!("`{shown}`")
    } else {
        format!("`{shown}...` ({} bytes)", text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Expectation;

    fn why_untrusted(cluster: &str, arn: &str, change: impl FnOnce(&mut Evidence)) -> Option<String> {
        let expectation = Expectation {
            region: Some("eu-west-1".to_owned()),
            account: Some("111122223333".to_owned()),
            ..Expectation::default()
        };
        let mut evidence = Evidence { expectation: Some(expectation), ..Evidence::default() };
        change(&mut evidence);
        let (cluster, container_instance_arn) = (cluster.to_owned(), arn.to_owned());
        evidence.why_untrusted(&AgentMetadata { cluster, container_instance_arn, version: String::new() })
    }

    const ARN: &str = "arn:aws:ecs:eu-west-1:111122223333:container-instance/prod/0123456789abcdef0123456789abcdef";

    #[test]
    fn valid_answers_are_trusted() {
        let old = "arn:aws:ecs:eu-west-1:111122223333:container-instance/8b3e6f2e-8b2a-4b0e-9d6c-0d6d4f4b6f01";
        for (cluster, arn) in [
            ("prod", ARN),
            ("prod", ""),
            ("default", old),
            ("arn:aws:ecs:eu-west-1:111122223333:cluster/prod", ARN),
            ("My_Cluster-1", ARN),
        ] {
            assert_eq!(why_untrusted(cluster, arn, |_| {}), None, "{cluster} {arn}");
        }
        for partition in ["aws-cn", "aws-us-gov", "aws-iso-b", "aws-eusc"] {
            assert_eq!(why_untrusted("prod", &ARN.replace("arn:aws:", &format!("arn:{partition}:")), |_| {}), None);
        }
        // Region and account of the instance are unknown.
        assert_eq!(
            why_untrusted("prod", &ARN.replace("eu-west-1", "us-east-1"), |evidence| evidence.expectation = None),
            None
        );
        // The agent's own configuration names the other region.
        let away = ARN.replace("eu-west-1", "us-east-1");
        let region_variable =
            |evidence: &mut Evidence| drop(evidence.config.insert("AWS_DEFAULT_REGION".into(), "us-east-1".into()));
        assert_eq!(why_untrusted("prod", &away, region_variable), None);
        assert_eq!(
            why_untrusted("prod", &away, |evidence| evidence.files.json_region = Some("us-east-1".to_owned())),
            None
        );
        let keys = |evidence: &mut Evidence| drop(evidence.config.insert("AWS_ACCESS_KEY_ID".into(), "AKIA".into()));
        assert_eq!(why_untrusted("prod", &ARN.replace("111122223333", "444455556666"), keys), None);
    }

    #[test]
    fn invalid_answers_are_not_trusted() {
        let long = format!("{ARN}{}", "0".repeat(900 * 1024));
        for (cluster, arn, expected) in [
            ("prod", ARN.replace("eu-west-1", "us-east-1"), "has region `us-east-1`"),
            ("prod", ARN.replace("111122223333", "444455556666"), "has account `444455556666`"),
            ("prod", ARN.replace("111122223333", "1"), "is not the ARN"),
            ("prod", ARN.replace(":ecs:", ":ec2:"), "is not the ARN"),
            ("prod", ARN.replace("arn:aws:", "arn:evil:"), "is not the ARN"),
            ("prod", ARN.replace("container-instance", "task"), "is not the ARN"),
            ("prod", format!("{ARN}/more"), "is not the ARN"),
            ("prod", "registered".to_owned(), "`registered` is not the ARN"),
            ("prod", long, " bytes) is not the ARN"),
            ("prod", format!("{ARN}\nerror: [forged]"), "is not the ARN"),
            ("", ARN.to_owned(), "`` cannot be a cluster"),
            ("a b", ARN.to_owned(), "`a?b` cannot be a cluster"),
            ("\x1b[2J", ARN.to_owned(), "`?[2J` cannot be a cluster"),
            ("arn:aws:ecs:eu-west-1:111122223333:cluster/a/b", ARN.to_owned(), "cannot be a cluster"),
        ] {
            let reason = why_untrusted(cluster, &arn, |_| {}).unwrap_or_default();
            assert!(reason.contains(expected) && reason.len() < 300 && !reason.contains(char::is_control), "{reason}");
        }
    }

    proptest::proptest! {
        #[test]
        fn reasons_are_short_and_printable(
            cluster: String,
            arn in "(arn:aws:ecs:eu-west-1:111122223333:)?\\PC{0,200}",
        ) {
            let reason = why_untrusted(&cluster, &arn, |_| {}).unwrap_or_default();
            proptest::prop_assert!(reason.len() < 400 && !reason.contains(char::is_control));
        }
    }
}

//! Whether what was answered on the agent's port can be what the agent of this instance says.
//!
//! In: a [`Claim`] and what is known of the instance. Out: the metadata, or [`AgentError::Untrusted`]. Every command that
//! asks the agent checks its answer here.

use super::Evidence;
use crate::boundary::agent::{AgentError, Claim, Metadata};
use crate::plan::cluster_name;

/// Longer is no ARN (AWS Identity and Access Management, "Amazon Resource Names").
const LONGEST_ARN: usize = 2048;
const LONGEST_CLUSTER: usize = 255;
/// A UUID, with or without its hyphens, and no more than that.
const LONGEST_ID: usize = 64;

impl Evidence {
    /// The metadata, where the socket is the agent's, and cluster and ARN have the form, region and account that they have
    /// on this instance.
    pub fn trusted(&self, answer: Result<Claim<Metadata>, AgentError>) -> Result<Metadata, AgentError> {
        answer?.trusted(|metadata| self.wrong(metadata))
    }

    fn wrong(&self, metadata: &Metadata) -> Option<String> {
        let Metadata { cluster, container_instance_arn: arn, .. } = metadata;
        if !is_cluster(cluster) {
            return Some(format!("{} cannot be a cluster", described(cluster)));
        }
        if arn.is_empty() {
            return None;
        }
        let Some(Parts { region, account, resource }) = parts(arn).filter(|_| arn.len() <= LONGEST_ARN) else {
            return Some(format!("{} is not the ARN of a container instance", described(arn)));
        };
        if !is_container_instance(resource) {
            return Some(format!("{} is not the ARN of a container instance", described(arn)));
        }
        let expected = self.expectation.as_ref();
        let home = expected.and_then(|expected| expected.region.as_deref());
        let said = [self.config.get("AWS_DEFAULT_REGION").map(String::as_str), self.files.json_region.as_deref()];
        let is_there = |expected: &str| region == expected.trim();
        if home.is_some_and(|home| !is_there(home)) && !said.into_iter().flatten().any(is_there) {
            return Some(format!(
                "its ARN is of region `{region}`, and this instance runs in `{}`",
                home.unwrap_or_default()
            ));
        }
        // With keys of its own the agent may be of another account.
        let has_keys = self.config.contains_key("AWS_ACCESS_KEY_ID");
        let ours = expected.and_then(|expected| expected.account.as_deref()).filter(|_| !has_keys);
        ours.filter(|ours| *ours != account)
            .map(|ours| format!("its ARN is of account `{account}`, and this instance is of `{ours}`"))
    }
}

/// An ARN of ECS.
struct Parts<'a> {
    region: &'a str,
    account: &'a str,
    resource: &'a str,
}

/// `arn:PARTITION:ecs:REGION:ACCOUNT:RESOURCE`, each of the characters that it can have.
fn parts(arn: &str) -> Option<Parts<'_>> {
    let rest = arn.strip_prefix("arn:")?;
    let mut parts = rest.splitn(5, ':');
    let (partition, service) = (parts.next()?, parts.next()?);
    let (region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    let is_word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let is_partition = partition == "aws" || partition.strip_prefix("aws-").is_some_and(is_word);
    let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    (is_partition && service == "ecs" && is_word(region) && region.len() <= 32 && is_account).then_some(Parts {
        region,
        account,
        resource,
    })
}

/// `container-instance/CLUSTER/ID`, in the old form without the cluster (Amazon ECS Developer Guide, "Amazon Resource Names
/// (ARNs) and IDs").
fn is_container_instance(resource: &str) -> bool {
    let mut parts = resource.split('/');
    let (kind, first, second) = (parts.next(), parts.next(), parts.next());
    let is_id =
        |id: &str| (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let is_known = match (first, second) {
        (Some(cluster), Some(id)) => is_name(cluster) && is_id(id),
        (Some(id), None) => is_id(id),
        _ => false,
    };
    kind == Some("container-instance") && is_known && parts.next().is_none()
}

fn is_cluster(cluster: &str) -> bool {
    match cluster.starts_with("arn:") {
        true => parts(cluster).is_some_and(|parts| {
            parts.resource.strip_prefix("cluster/").is_some_and(is_name) && is_name(cluster_name(cluster))
        }),
        false => is_name(cluster),
    }
}

/// Letters, digits, hyphens and underscores (Amazon ECS API Reference, CreateCluster).
fn is_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=LONGEST_CLUSTER).contains(&name.len()) && name.bytes().all(fits)
}

/// What was said instead: its beginning without what cannot be shown, and its length where that is not all.
fn described(text: &str) -> String {
    const SHOWN: usize = 80;
    let shown: String =
        text.chars().take(SHOWN).map(|c| if c.is_ascii_graphic() && c != '`' { c } else { '?' }).collect();
    match text.chars().nth(SHOWN) {
        None => format!("`{shown}`"),
        Some(_) => format!("`{shown}...` ({} bytes)", text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Expectation;

    fn wrong(cluster: &str, arn: &str, change: impl FnOnce(&mut Evidence)) -> Option<String> {
        let expectation = Expectation {
            region: Some("eu-west-1".to_owned()),
            account: Some("111122223333".to_owned()),
            ..Expectation::default()
        };
        let mut evidence = Evidence { expectation: Some(expectation), ..Evidence::default() };
        change(&mut evidence);
        let (cluster, container_instance_arn) = (cluster.to_owned(), arn.to_owned());
        evidence.wrong(&Metadata { cluster, container_instance_arn, version: String::new() })
    }

    const ARN: &str = "arn:aws:ecs:eu-west-1:111122223333:container-instance/prod/0123456789abcdef0123456789abcdef";

    #[test]
    fn what_an_agent_says_is_taken() {
        let old = "arn:aws:ecs:eu-west-1:111122223333:container-instance/8b3e6f2e-8b2a-4b0e-9d6c-0d6d4f4b6f01";
        for (cluster, arn) in [
            ("prod", ARN),
            ("prod", ""),
            ("default", old),
            ("arn:aws:ecs:eu-west-1:111122223333:cluster/prod", ARN),
            ("My_Cluster-1", ARN),
        ] {
            assert_eq!(wrong(cluster, arn, |_| {}), None, "{cluster} {arn}");
        }
        for partition in ["aws-cn", "aws-us-gov", "aws-iso-b", "aws-eusc"] {
            assert_eq!(wrong("prod", &ARN.replace("arn:aws:", &format!("arn:{partition}:")), |_| {}), None);
        }
        // Nothing is known of the instance.
        assert_eq!(wrong("prod", &ARN.replace("eu-west-1", "us-east-1"), |evidence| evidence.expectation = None), None);
        // Other files of the agent lead it there.
        let away = ARN.replace("eu-west-1", "us-east-1");
        let says =
            |evidence: &mut Evidence| drop(evidence.config.insert("AWS_DEFAULT_REGION".into(), "us-east-1".into()));
        assert_eq!(wrong("prod", &away, says), None);
        assert_eq!(wrong("prod", &away, |evidence| evidence.files.json_region = Some("us-east-1".to_owned())), None);
        let keys = |evidence: &mut Evidence| drop(evidence.config.insert("AWS_ACCESS_KEY_ID".into(), "AKIA".into()));
        assert_eq!(wrong("prod", &ARN.replace("111122223333", "444455556666"), keys), None);
    }

    #[test]
    fn what_no_agent_of_this_instance_says_is_told() {
        let long = format!("{ARN}{}", "0".repeat(900 * 1024));
        for (cluster, arn, told) in [
            ("prod", ARN.replace("eu-west-1", "us-east-1"), "of region `us-east-1`"),
            ("prod", ARN.replace("111122223333", "444455556666"), "of account `444455556666`"),
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
            let said = wrong(cluster, &arn, |_| {}).unwrap_or_default();
            assert!(said.contains(told) && said.len() < 300 && !said.contains(char::is_control), "{said}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_said_breaks_it_or_gets_out_unseen(cluster: String, arn in "(arn:aws:ecs:eu-west-1:111122223333:)?\\PC{0,200}") {
            let said = wrong(&cluster, &arn, |_| {}).unwrap_or_default();
            proptest::prop_assert!(said.len() < 400 && !said.contains(char::is_control));
        }
    }
}

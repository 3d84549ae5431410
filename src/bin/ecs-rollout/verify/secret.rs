//! The secrets and parameters that the task definition refers to: whether they exist. Their values are never read.

use std::collections::{BTreeMap, BTreeSet};

use ecs_bootstrap::boundary::aws::verification::MAX_PARAMETERS;
use serde_json::Value;

use super::Checks;
use super::target::{Target, log_configurations};
use crate::causes;

/// The staging label of the version that is read by default (Secrets Manager User Guide, "What's in a secret?").
const CURRENT: &str = "AWSCURRENT";

/// A place where the task definition refers to a secret or a parameter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reference {
    /// For messages, for example ``container `web` ``.
    pub(super) user: String,
    /// The text of the reference.
    pub(super) text: String,
    is_credentials: bool,
}

/// What a reference names (ECS API Reference, "Secret"; ECS Developer Guide, "Pass Secrets Manager secrets through Amazon
/// ECS environment variables").
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    Secret {
        region: Option<String>,
        account: Option<String>,
        /// The ARN without the suffix that ECS defines, or the name.
        id: String,
        /// The staging label that some version must have.
        stage: Option<String>,
    },
    Parameter {
        region: Option<String>,
        account: Option<String>,
        /// The names that it may have: an ARN does not show whether a name without a hierarchy begins with a slash.
        names: Vec<String>,
    },
    /// Not verified, for example a public parameter.
    Other,
}

impl Checks<'_> {
    pub(super) async fn secrets(&self) {
        let mut named: BTreeMap<Named, Vec<Reference>> = BTreeMap::new();
        for reference in references(&self.target) {
            let key = parse(&reference);
            let known = named.entry(key).or_default();
            if !known.iter().any(|one| one.text == reference.text) {
                known.push(reference);
            }
        }
        let parameters = self.parameters(&named);
        let secrets = named.iter().filter_map(|(key, users)| match key {
            Named::Secret { region, account, id, stage } => {
                Some(self.secret(&users[0], id, region.as_deref(), account.as_deref(), stage.as_deref()))
            }
            Named::Parameter { .. } | Named::Other => None,
        });
        futures_util::future::join(parameters, futures_util::future::join_all(secrets)).await;
    }

    async fn secret(
        &self,
        reference: &Reference,
        id: &str,
        region: Option<&str>,
        account: Option<&str>,
        stage: Option<&str>,
    ) {
        let (what, user) = (format!("secret `{id}`"), &reference.user);
        let call = async |deadline| self.aws.secret(id, region, deadline).await;
        match self.ask_twice(&what, |answer: &Option<_>| answer.is_none(), call).await {
            None => {}
            Some(None) if self.is_elsewhere(account).await => {
                self.skip(&what, "it is of another account, or the account of the cluster is not known");
            }
            Some(None) => self.fail(&causes::SECRET_ABSENT, format!("the {what} of {user} does not exist")),
            Some(Some(found)) if found.is_deleted => {
                self.fail(&causes::SECRET_ABSENT, format!("the {what} of {user} is scheduled for deletion"));
            }
            Some(Some(found)) => {
                if let Some(stage) = stage.filter(|stage| !found.stages.is_empty() && !found.stages.contains(*stage)) {
                    let text = format!("the {what} of {user} has no version with the staging label `{stage}`");
                    self.fail(&causes::SECRET_ABSENT, text);
                }
            }
        }
    }

    /// Verifies all parameters of a region with one call for each 50 names.
    async fn parameters(&self, named: &BTreeMap<Named, Vec<Reference>>) {
        let mut regions: BTreeMap<&Option<String>, Vec<(&[String], &Reference)>> = BTreeMap::new();
        for (key, users) in named {
            let Named::Parameter { region, account, names } = key else { continue };
            // DescribeParameters lists only parameters of the caller's account.
            if self.is_elsewhere(account.as_deref()).await {
                let what = format!("parameter `{}`", users[0].text);
                self.skip(&what, "it is of another account, or the account of the cluster is not known");
                continue;
            }
            regions.entry(region).or_default().push((names, &users[0]));
        }
        // A parameter has one or two possible names.
        let pages = regions.iter().flat_map(|(region, wanted)| {
            wanted.chunks(MAX_PARAMETERS / 2).map(|page| self.parameter_page(region.as_deref(), page))
        });
        futures_util::future::join_all(pages).await;
    }

    async fn parameter_page(&self, region: Option<&str>, page: &[(&[String], &Reference)]) {
        let names: Vec<String> = page.iter().flat_map(|(names, _)| names.iter().cloned()).collect();
        let shown: Vec<String> = page.iter().map(|(_, one)| format!("parameter `{}`", one.text)).collect();
        let is_missing = |found: &BTreeSet<String>, names: &[String]| !names.iter().any(|name| found.contains(name));
        let any_missing = |found: &BTreeSet<String>| page.iter().any(|(names, _)| is_missing(found, names));
        let call = async |deadline| self.aws.existing_parameters(&names, region, deadline).await;
        let Some(found) = self.ask_twice(&shown.join(", "), any_missing, call).await else { return };
        for (names, reference) in page {
            if is_missing(&found, names) {
                let text = format!("the parameter `{}` of {} does not exist", reference.text, reference.user);
                self.fail(&causes::PARAMETER_ABSENT, text);
            }
        }
    }

    /// Whether something belongs to another account, or may belong to one. `account` is that of its ARN.
    async fn is_elsewhere(&self, account: Option<&str>) -> bool {
        account.is_some() && self.account().await.as_deref() != account
    }
}

/// All references of the task definition and of Service Connect.
pub(super) fn references(target: &Target<'_>) -> Vec<Reference> {
    let mut all = Vec::new();
    let mut add = |user: &str, text: &Value, is_credentials| {
        if let Some(text) = text.as_str().filter(|text| !text.is_empty()) {
            all.push(Reference { user: user.to_owned(), text: text.to_owned(), is_credentials });
        }
    };
    for container in target.containers() {
        let user = format!("container `{}`", container["name"].as_str().unwrap_or_default());
        add(&user, &container["repositoryCredentials"]["credentialsParameter"], true);
        container["secrets"].as_array().into_iter().flatten().for_each(|one| add(&user, &one["valueFrom"], false));
    }
    for (user, log) in log_configurations(target) {
        log["secretOptions"].as_array().into_iter().flatten().for_each(|one| add(&user, &one["valueFrom"], false));
    }
    all
}

fn parse(reference: &Reference) -> Named {
    let text = reference.text.as_str();
    let parts: Vec<&str> = text.split(':').collect();
    let part = |at: usize| parts.get(at).filter(|part| !part.is_empty()).map(|part| (*part).to_owned());
    if parts[0] == "arn" {
        return match (parts.get(2), parts.get(5)) {
            // arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME[:json-key:version-stage:version-id]
            (Some(&"secretsmanager"), Some(&"secret")) if parts.len() >= 7 => {
                Named::Secret { region: part(3), account: part(4), id: parts[..7].join(":"), stage: stage(&parts) }
            }
            // arn:aws:ssm:REGION:ACCOUNT:parameter/NAME
            (Some(&"ssm"), Some(resource)) => match resource.strip_prefix("parameter/") {
                Some(name) if !is_public(&format!("/{name}")) => {
                    let rooted = format!("/{}", name.trim_start_matches('/'));
                    let names = if name.contains('/') { vec![rooted] } else { vec![name.to_owned(), rooted] };
                    Named::Parameter { region: part(3), account: part(4), names }
                }
                _ => Named::Other,
            },
            _ => Named::Other,
        };
    }
    if reference.is_credentials {
        return Named::Secret { region: None, account: None, id: text.to_owned(), stage: Some(CURRENT.to_owned()) };
    }
    // The name of a parameter of the same region, perhaps with a version or a label.
    match parts[0] {
        name if is_public(name) => Named::Other,
        name => Named::Parameter { region: None, account: None, names: vec![name.to_owned()] },
    }
}

/// The staging label that some version must have: `AWSCURRENT`, if neither a label nor a version is named.
fn stage(parts: &[&str]) -> Option<String> {
    let part = |at: usize| parts.get(at).copied().filter(|part| !part.is_empty());
    match (part(8), part(9)) {
        (None, Some(_version)) => None,
        (label, _) => Some(label.unwrap_or(CURRENT).to_owned()),
    }
}

/// Parameters that AWS provides, and references to Secrets Manager: DescribeParameters does not list them (Systems Manager
/// User Guide, "Discovering public parameters", "Referencing AWS Secrets Manager secrets from Parameter Store").
fn is_public(name: &str) -> bool {
    name.starts_with("/aws/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, is_credentials: bool) -> Named {
        parse(&Reference { user: String::new(), text: text.to_owned(), is_credentials })
    }

    fn secret(region: Option<&str>, id: &str, stage: Option<&str>) -> Named {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let account = region.map(|_| "111122223333".to_owned());
        Named::Secret { region: owned(region), account, id: id.to_owned(), stage: owned(stage) }
    }

    fn parameter(region: Option<&str>, names: &[&str]) -> Named {
        let account = region.map(|_| "111122223333".to_owned());
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Named::Parameter { region: region.map(str::to_owned), account, names }
    }

    #[test]
    fn each_form_of_a_reference_is_parsed() {
        const SECRET: &str = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-AbCdEf";
        const PARAMETER: &str = "arn:aws:ssm:us-east-1:111122223333:parameter";
        let (region, current) = (Some("eu-west-1"), Some("AWSCURRENT"));
        for (text, expected) in [
            (SECRET.to_owned(), secret(region, SECRET, current)),
            (format!("{SECRET}:password::"), secret(region, SECRET, current)),
            (format!("{SECRET}:password:AWSPREVIOUS:"), secret(region, SECRET, Some("AWSPREVIOUS"))),
            (format!("{SECRET}:::0123-version"), secret(region, SECRET, None)),
            (format!("{PARAMETER}/token"), parameter(Some("us-east-1"), &["token", "/token"])),
            (format!("{PARAMETER}/prod/db/token"), parameter(Some("us-east-1"), &["/prod/db/token"])),
            ("token".to_owned(), parameter(None, &["token"])),
            ("/prod/token".to_owned(), parameter(None, &["/prod/token"])),
            ("/prod/token:3".to_owned(), parameter(None, &["/prod/token"])),
            ("/aws/service/ami".to_owned(), Named::Other),
            ("/aws/reference/secretsmanager/db".to_owned(), Named::Other),
            (format!("{PARAMETER}/aws/service/x"), Named::Other),
            ("arn:aws:s3:::bucket/key".to_owned(), Named::Other),
            ("arn:".to_owned(), Named::Other),
            ("arn:aws:secretsmanager".to_owned(), Named::Other),
        ] {
            assert_eq!(parsed(&text, false), expected, "{text}");
        }
        assert_eq!(parsed("registry-login", true), secret(None, "registry-login", current));
        assert_eq!(parsed(SECRET, true), secret(region, SECRET, current));
    }

    proptest::proptest! {
        #[test]
        fn no_reference_causes_a_panic(text in "(arn:aws:(ssm|secretsmanager))?[a-z:/]{0,30}", is_credentials: bool) {
            parsed(&text, is_credentials);
        }
    }
}

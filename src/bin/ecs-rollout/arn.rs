//! Amazon Resource Names of ECS: which cluster, service and revision the options and files name.
//!
//! In: names and ARNs as written. Out: the cluster and the service in the form that every call accepts, or why the
//! names contradict each other. Pure: nothing is looked up.
//!
//! The forms are those of the ECS Developer Guide, "Amazon Resource Names (ARNs) and IDs": `service/NAME` is the old
//! form of a service's ARN, `service/CLUSTER/NAME` the new one.

/// An ARN of ECS: `arn:PARTITION:ecs:REGION:ACCOUNT:KIND/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arn {
    /// For example `aws` or `aws-cn`.
    partition: String,
    pub(crate) region: String,
    account: String,
    resource: Resource,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Resource {
    Cluster(String),
    Service {
        /// Absent in the old form.
        cluster: Option<String>,
        name: String,
    },
    /// `FAMILY:REVISION`, or the family alone.
    TaskDefinition(String),
    /// Another kind, for example `task`.
    Other(String),
}

impl Resource {
    fn kind(&self) -> &str {
        match self {
            Resource::Cluster(_) => "cluster",
            Resource::Service { .. } => "service",
            Resource::TaskDefinition(_) => "task-definition",
            Resource::Other(kind) => kind,
        }
    }
}

/// A name or an ARN, and where it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written<'a> {
    pub(crate) text: &'a str,
    /// For messages, for example `--cluster`.
    pub(crate) place: &'a str,
}

/// The service that a command works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceAddress {
    /// The ARN of the cluster if any of the names was an ARN; otherwise its name.
    pub(crate) cluster: String,
    /// The name of the service, never its ARN.
    pub(crate) service: String,
}

impl Arn {
    /// The ARN, `None` if the text does not begin as one, or why it is not an ARN of ECS.
    pub(crate) fn parse(text: &str) -> Option<Result<Arn, String>> {
        text.starts_with("arn:").then(|| Arn::read(text))
    }

    fn read(text: &str) -> Result<Arn, String> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let [_, partition, service, region, account, resource] = parts[..] else {
            return Err("is not a complete ARN: it must be `arn:PARTITION:ecs:REGION:ACCOUNT:RESOURCE`".to_owned());
        };
        if service != "ecs" {
            return Err(format!("is an ARN of `{service}`, not of `ecs`"));
        }
        if !partition.starts_with("aws") {
            return Err(format!("has the partition `{partition}`, which is not a partition of AWS"));
        }
        if region.is_empty() {
            return Err("has no region".to_owned());
        }
        if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("has the account `{account}`, but an account has twelve digits"));
        }
        let resource = Arn::resource(resource).ok_or("does not end with the kind and the name of a resource")?;
        Ok(Arn { partition: partition.to_owned(), region: region.to_owned(), account: account.to_owned(), resource })
    }

    fn resource(text: &str) -> Option<Resource> {
        let (kind, rest) = text.split_once('/')?;
        let names: Vec<&str> = rest.split('/').collect();
        if names.iter().any(|name| name.is_empty()) {
            return None;
        }
        match (kind, names.as_slice()) {
            ("cluster", [name]) if is_name(name) => Some(Resource::Cluster((*name).to_owned())),
            ("service", [name]) if is_name(name) => Some(Resource::Service { cluster: None, name: (*name).to_owned() }),
            ("service", [cluster, name]) if is_name(cluster) && is_name(name) => {
                Some(Resource::Service { cluster: Some((*cluster).to_owned()), name: (*name).to_owned() })
            }
            ("task-definition", [revision]) if is_revision(revision) => {
                Some(Resource::TaskDefinition((*revision).to_owned()))
            }
            ("cluster" | "service" | "task-definition", _) => None,
            (other, _) => Some(Resource::Other(other.to_owned())),
        }
    }

    /// Why the two cannot belong together, if so.
    fn contradicts(&self, other: &Arn) -> Option<String> {
        let differences = [
            ("partition", &self.partition, &other.partition),
            ("region", &self.region, &other.region),
            ("account", &self.account, &other.account),
        ];
        let different = differences.into_iter().find(|(_, one, other)| one != other);
        different.map(|(what, one, other)| format!("{what} `{one}`, not `{other}`"))
    }

    fn cluster_arn(&self, name: &str) -> String {
        format!("arn:{}:ecs:{}:{}:cluster/{name}", self.partition, self.region, self.account)
    }
}

/// The region of a cluster's ARN.
pub(crate) fn region(cluster: &str) -> Option<String> {
    Arn::parse(cluster)?.ok().map(|arn| arn.region)
}

/// The cluster and the service that the options and the service definition name together. `region` is `--region`.
pub(crate) fn service_address(
    cluster: Option<Written<'_>>,
    service: Written<'_>,
    region: Option<&str>,
) -> Result<ServiceAddress, String> {
    let service_arn = parsed(service, "service")?;
    let cluster_arn = cluster.map(|cluster| parsed(cluster, "cluster")).transpose()?.flatten();
    for (arn, written) in [(&service_arn, Some(service)), (&cluster_arn, cluster)] {
        if let (Some(arn), Some(written), Some(region)) = (arn, written, region)
            && arn.region != region
        {
            return Err(format!("`{}` names the region `{}`, but `--region` is `{region}`", written.place, arn.region));
        }
    }
    let cluster_name = match &cluster_arn {
        Some(Arn { resource: Resource::Cluster(name), .. }) => Some(name.as_str()),
        _ => cluster.map(|cluster| cluster.text),
    };
    let Some(service_arn) = service_arn else {
        let cluster = cluster.ok_or("the cluster is not named; use `--cluster NAME`")?;
        return Ok(ServiceAddress { cluster: cluster.text.to_owned(), service: service.text.to_owned() });
    };
    let Resource::Service { cluster: cluster_of_arn, name } = &service_arn.resource else {
        unreachable!("`parsed` returns only ARNs of services here")
    };
    if let (Some(other), Some(cluster)) = (&cluster_arn, cluster)
        && let Some(difference) = service_arn.contradicts(other)
    {
        let (place, other_place) = (service.place, cluster.place);
        return Err(format!("`{place}` and `{other_place}` contradict each other: `{place}` is in the {difference}"));
    }
    let cluster_name = match (cluster_of_arn.as_deref(), cluster_name, cluster) {
        (Some(of_arn), Some(named), Some(cluster)) if of_arn != named => {
            return Err(format!(
                "`{}` is a service of the cluster `{of_arn}`, but `{}` names the cluster `{named}`",
                service.place, cluster.place
            ));
        }
        (Some(name), ..) | (None, Some(name), _) => name,
        (None, None, _) => {
            return Err(format!(
                "the ARN in `{}` has the old form, without a cluster; use `--cluster NAME` too",
                service.place
            ));
        }
    };
    Ok(ServiceAddress { cluster: service_arn.cluster_arn(cluster_name), service: name.clone() })
}

/// The ARN in this place if there is one, which must be of this kind.
fn parsed(written: Written<'_>, kind: &str) -> Result<Option<Arn>, String> {
    let Written { text, place } = written;
    match Arn::parse(text) {
        None if is_name(text) => Ok(None),
        None if text.is_empty() => Err(format!("`{place}` is empty; it must be a name or an ARN")),
        None => Err(format!("`{place}` is `{text}`, which is neither the name nor the ARN of a {kind}")),
        Some(Err(why)) => Err(format!("`{place}` is `{text}`, which {why}")),
        Some(Ok(arn)) if arn.resource.kind() != kind => {
            let actual = arn.resource.kind();
            Err(format!("`{place}` is `{text}`, the ARN of a {actual}, not of a {kind}"))
        }
        Some(Ok(arn)) => Ok(Some(arn)),
    }
}

/// The revision that `--to` names, in the form that DescribeTaskDefinition accepts: a number is one of the family of
/// `running`, the ARN of the revision that the service runs.
pub(crate) fn revision(to: &str, running: &str) -> Result<String, String> {
    let running = Arn::parse(running).and_then(Result::ok);
    if !to.is_empty() && to.bytes().all(|byte| byte.is_ascii_digit()) {
        return match running.as_ref().map(|arn| &arn.resource) {
            Some(Resource::TaskDefinition(name)) => Ok(format!("{}:{to}", family_of(name))),
            _ => Err(format!("`--to {to}`: the family of the running revision is not known; use FAMILY:{to}")),
        };
    }
    let to = Written { text: to, place: "--to" };
    let Some(arn) = Arn::parse(to.text) else {
        // A family alone is its newest revision, which may be the one to get away from.
        let is_valid = (is_revision(to.text) && to.text.contains(':')).then(|| to.text.to_owned());
        let fault = || format!("`--to {}` is neither a number nor FAMILY:REVISION nor an ARN", to.text);
        return is_valid.ok_or_else(fault);
    };
    let arn = arn.map_err(|why| format!("`--to` is `{}`, which {why}", to.text))?;
    match &arn.resource {
        Resource::TaskDefinition(name) if name.contains(':') => {}
        Resource::TaskDefinition(_) => return Err(format!("`--to` is `{}`, which has no revision number", to.text)),
        other => {
            let kind = other.kind();
            return Err(format!("`--to` is `{}`, the ARN of a {kind}, not of a task-definition", to.text));
        }
    }
    match running.and_then(|running| arn.contradicts(&running)) {
        Some(difference) => Err(format!("`--to` is not a revision for this service: it is in the {difference}")),
        None => Ok(to.text.to_owned()),
    }
}

/// The family of a task definition that is written as FAMILY, FAMILY:REVISION or an ARN.
pub(crate) fn family(named: &str) -> Result<&str, String> {
    match Arn::parse(named) {
        None if is_revision(named) => Ok(family_of(named)),
        None => Err(format!("`{named}`, which is neither FAMILY:REVISION nor an ARN")),
        Some(Err(why)) => Err(format!("`{named}`, which {why}")),
        Some(Ok(Arn { resource: Resource::TaskDefinition(_), .. })) => {
            Ok(family_of(named.rsplit('/').next().unwrap_or(named)))
        }
        Some(Ok(arn)) => Err(format!("`{named}`, the ARN of a {}", arn.resource.kind())),
    }
}

/// The family of `FAMILY:REVISION`.
pub(crate) fn family_of(revision: &str) -> &str {
    revision.split(':').next().unwrap_or(revision)
}

/// Whether it can be the name of a cluster or a service: letters, digits, `-` and `_` (ECS API Reference,
/// "CreateService"). Whether the length and each letter are valid is left to ECS.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
}

/// Whether it is `FAMILY` or `FAMILY:REVISION`.
fn is_revision(text: &str) -> bool {
    match text.split_once(':') {
        Some((family, number)) => {
            is_name(family) && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        }
        None => is_name(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITIONS: [(&str, &str); 7] = [
        ("aws", "eu-west-1"),
        ("aws-cn", "cn-north-1"),
        ("aws-us-gov", "us-gov-west-1"),
        ("aws-iso", "us-iso-east-1"),
        ("aws-iso-b", "us-isob-east-1"),
        ("aws-iso-f", "us-isof-south-1"),
        ("aws-eusc", "eusc-de-east-1"),
    ];

    fn address(cluster: Option<&str>, service: &str, region: Option<&str>) -> Result<ServiceAddress, String> {
        let cluster = cluster.map(|text| Written { text, place: "--cluster" });
        service_address(cluster, Written { text: service, place: "--service" }, region)
    }

    #[test]
    fn names_and_arns_of_each_partition_and_form_give_the_same_service() {
        for (partition, region_name) in PARTITIONS {
            let prefix = format!("arn:{partition}:ecs:{region_name}:111122223333");
            let cluster = format!("{prefix}:cluster/prod");
            let expected = ServiceAddress { cluster: cluster.clone(), service: "web".to_owned() };
            let (old, new) = (format!("{prefix}:service/web"), format!("{prefix}:service/prod/web"));
            for (cluster, service) in [
                (Some(cluster.as_str()), "web"),
                (Some(&cluster), &old),
                (Some("prod"), &old),
                (Some(&cluster), &new),
                (Some("prod"), &new),
                (None, &new),
            ] {
                let found = address(cluster, service, None);
                assert_eq!(found.as_ref(), Ok(&expected), "{cluster:?} {service}");
                assert_eq!(address(cluster, service, Some(region_name)).as_ref(), Ok(&expected));
                let other = address(cluster, service, Some("us-east-2")).unwrap_err();
                assert!(other.contains("`--region` is `us-east-2`"), "{other}");
            }
            assert_eq!(region(&cluster).as_deref(), Some(region_name));
        }
        let names = ServiceAddress { cluster: "prod".to_owned(), service: "web".to_owned() };
        assert_eq!(address(Some("prod"), "web", Some("eu-west-1")), Ok(names));
        assert_eq!(region("prod"), None);
    }

    #[test]
    fn names_that_contradict_each_other_are_refused() {
        const SERVICE: &str = "arn:aws:ecs:eu-west-1:111122223333:service/prod/web";
        for (cluster, service, expected) in [
            (Some("test"), SERVICE, "of the cluster `prod`, but `--cluster` names the cluster `test`"),
            (Some("arn:aws:ecs:eu-west-1:111122223333:cluster/test"), SERVICE, "names the cluster `test`"),
            (Some("arn:aws:ecs:us-east-1:111122223333:cluster/prod"), SERVICE, "region `eu-west-1`, not `us-east-1`"),
            (Some("arn:aws:ecs:eu-west-1:444455556666:cluster/prod"), SERVICE, "not `444455556666`"),
            (Some("arn:aws-cn:ecs:eu-west-1:111122223333:cluster/prod"), SERVICE, "partition `aws`, not `aws-cn`"),
            (None, "arn:aws:ecs:eu-west-1:111122223333:service/web", "without a cluster"),
            (None, "web", "the cluster is not named"),
            (None, "arn:aws:ecs:eu-west-1:111122223333:task-definition/web:3", "ARN of a task-definition"),
            (Some("prod"), "arn:aws:ecs:eu-west-1:111122223333:task/prod/0123", "the ARN of a task, not of a service"),
            (Some("prod"), "arn:aws:ecs:eu-west-1:111122223333:cluster/prod", "the ARN of a cluster"),
            (Some(SERVICE), "web", "the ARN of a service, not of a cluster"),
            (Some("prod"), "arn:aws:iam::111122223333:role/web", "is an ARN of `iam`"),
            (Some("prod"), "arn:aws:ecs:eu-west-1:1111:service/prod/web", "twelve digits"),
            (Some("prod"), "arn:aws:ecs::111122223333:service/prod/web", "has no region"),
            (Some("prod"), "arn:other:ecs:eu-west-1:111122223333:service/prod/web", "partition `other`"),
            (Some("prod"), "arn:aws:ecs:eu-west-1:111122223333:service/prod/web/x", "does not end"),
            (Some("prod"), "arn:aws:ecs:eu-west-1:111122223333:service/", "does not end"),
            (Some("prod"), "arn:aws:ecs", "not a complete ARN"),
            (Some("prod"), "prod/web", "neither the name nor the ARN of a service"),
            (Some("prod"), "", "`--service` is empty"),
            (Some(""), "web", "`--cluster` is empty"),
        ] {
            let refused = address(cluster, service, None).unwrap_err();
            assert!(refused.contains(expected), "{cluster:?} {service}: {refused}");
        }
    }

    #[test]
    fn a_revision_is_a_number_a_name_or_an_arn_of_the_same_account_and_region() {
        const RUNNING: &str = "arn:aws-us-gov:ecs:us-gov-west-1:111122223333:task-definition/web:7";
        const OTHER: &str = "arn:aws-us-gov:ecs:us-gov-west-1:111122223333:task-definition/other:3";
        for (to, expected) in [("3", "web:3"), ("web:3", "web:3"), ("other:3", "other:3"), (OTHER, OTHER)] {
            assert_eq!(revision(to, RUNNING).as_deref(), Ok(expected));
        }
        for (to, expected) in [
            ("", "neither"),
            ("web:latest", "neither"),
            ("a/b:3", "neither"),
            ("web:3:4", "neither"),
            ("arn:aws-us-gov:ecs:us-gov-west-1:111122223333:service/prod/web", "the ARN of a service"),
            ("arn:aws-us-gov:ecs:us-gov-east-1:111122223333:task-definition/web:3", "region `us-gov-east-1`"),
            ("arn:aws-us-gov:ecs:us-gov-west-1:444455556666:task-definition/web:3", "account `444455556666`"),
            ("arn:aws:ecs:us-gov-west-1:111122223333:task-definition/web:3", "partition `aws`"),
        ] {
            let refused = revision(to, RUNNING).unwrap_err();
            assert!(refused.contains(expected), "{to}: {refused}");
        }
    }

    #[test]
    fn the_family_is_that_of_a_name_or_an_arn() {
        for named in ["web", "web:3", "arn:aws:ecs:eu-west-1:111122223333:task-definition/web:3"] {
            assert_eq!(family(named), Ok("web"), "{named}");
        }
        for named in ["", "a/web:3", "arn:aws:ecs:eu-west-1:111122223333:service/prod/web", "arn:aws:ecs"] {
            assert!(family(named).is_err(), "{named}");
        }
    }
}

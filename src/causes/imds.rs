//! Causes that lie in the instance metadata service.

use std::time::Duration;

use super::{Cause, Class, Layer, chain};
use crate::boundary::aws::AwsErrorKind;
use crate::boundary::imds::ImdsError;
use crate::evidence::{Evidence, Stop};
use crate::exit::Exit;

/// The service's own answer; waiting cannot help.
pub(super) static DISABLED: Cause = Cause {
    id: "imds-disabled",
    layer: Layer::Imds,
    title: "instance metadata is switched off",
    class: Class::Terminal,
    exit: Exit::Permission,
    lapsed: Exit::Permission,
    remedy: "enable it: `aws ec2 modify-instance-metadata-options --http-endpoint enabled --instance-id ID`, and \
             HttpEndpoint in the launch template",
    source: "EC2 User Guide, \"Configure the instance metadata service options\"",
    check: |evidence| named(evidence, |error| matches!(error, ImdsError::Disabled { .. })),
    ..Cause::PLAIN
};

/// A token was granted and a path is forbidden.
pub(super) static FORBIDDEN: Cause = Cause {
    id: "imds-forbidden",
    layer: Layer::Imds,
    title: "instance metadata forbids what is asked for",
    class: Class::Terminal,
    exit: Exit::Permission,
    lapsed: Exit::Permission,
    remedy: "look for a firewall or proxy that filters instance metadata on this host",
    source: "EC2 User Guide, \"Limit instance metadata service access\"",
    check: |evidence| named(evidence, |error| matches!(error, ImdsError::Forbidden { .. })),
    ..Cause::PLAIN
};

/// A connection, and no token: the answer's hop limit is used up on the way.
pub(super) static TOKEN_LOST: Cause = Cause {
    id: "imds-token-hop-limit",
    layer: Layer::Imds,
    title: "instance metadata takes connections, but its token never arrives",
    class: Class::Settling(Duration::from_secs(60)),
    exit: Exit::Imds,
    lapsed: Exit::Imds,
    remedy: "run on the host's network, or raise the hop limit: `aws ec2 modify-instance-metadata-options \
             --http-put-response-hop-limit 2 --instance-id ID`",
    source: "elastic-ci-stack#857; EC2 User Guide, \"Configure the instance metadata service options\"",
    check: |evidence| named(evidence, |error| matches!(error, ImdsError::TokenLost { .. })),
    ..Cause::PLAIN
};

/// No connection.
pub(super) static UNREACHABLE: Cause = Cause {
    id: "imds-unreachable",
    layer: Layer::Imds,
    title: "instance metadata cannot be reached",
    class: Class::Settling(Duration::from_secs(60)),
    exit: Exit::Imds,
    lapsed: Exit::Imds,
    remedy: "look at the route to 169.254.169.254 (`ip route get 169.254.169.254`) and the host's firewall",
    source: "agent#121 #140 #1857",
    check: |evidence| {
        named(evidence, |error| matches!(error, ImdsError::Unreachable { .. } | ImdsError::NoAnswer { .. }))
    },
    ..Cause::PLAIN
};

/// Something answers that is not the service, or the service is in trouble.
pub(super) static GARBLED: Cause = Cause {
    id: "imds-garbled",
    layer: Layer::Imds,
    title: "instance metadata answers with errors or with something else than metadata",
    class: Class::Settling(Duration::from_secs(60)),
    exit: Exit::Imds,
    lapsed: Exit::Imds,
    remedy: "look for a proxy or another program that answers in its place; AWS_EC2_METADATA_SERVICE_ENDPOINT must \
             name an IMDSv2 endpoint",
    source: "EC2 User Guide, \"Use the Instance Metadata Service to access instance metadata\"",
    check: |evidence| match &evidence.stop {
        Some(stop @ Stop::NotMetadata { .. }) => Some(vec![chain(stop)]),
        _ => named(evidence, |error| {
            matches!(error, ImdsError::Status { .. } | ImdsError::Garbled { .. } | ImdsError::Setup { .. })
        }),
    },
    ..Cause::PLAIN
};

/// The error of the metadata service that stopped a room, or that verify met, when it is of this kind.
fn named(evidence: &Evidence, is: fn(&ImdsError) -> bool) -> Option<Vec<String>> {
    let stopped = match &evidence.stop {
        Some(Stop::Imds(error)) => Some(error),
        _ => None,
    };
    let role = evidence.role.as_ref().and_then(|role| role.as_ref().err());
    let credentials = evidence.aws_errors().find_map(|error| match &error.kind {
        AwsErrorKind::Imds(error) => Some(error),
        _ => None,
    });
    let registered = evidence.container_instance_arn().is_some();
    let error = stopped.or(role.or(credentials).filter(|_| !registered))?;
    is(error).then(|| vec![chain(error)])
}

#[cfg(test)]
mod tests {
    use super::super::tests::ids;
    use super::*;

    #[test]
    fn off_lost_and_unreachable_are_told_apart() {
        let elapsed = Duration::from_secs(2);
        for (error, id) in [
            (ImdsError::Disabled { via: None, server: None }, "imds-disabled"),
            (ImdsError::TokenLost { attempts: 2, elapsed }, "imds-token-hop-limit"),
            (ImdsError::Unreachable { attempts: 2, elapsed, source: None }, "imds-unreachable"),
            (ImdsError::Forbidden { path: "meta-data/tags".to_owned() }, "imds-forbidden"),
            (ImdsError::Status { path: "meta-data".to_owned(), status: 503, attempts: 9, elapsed }, "imds-garbled"),
        ] {
            assert_eq!(ids(&Evidence::of_stop(Stop::Imds(error))), [id]);
        }
    }
}

//! Faults of instance metadata, the role, and the network path to AWS.

use super::{Ends, Fault, Part, Source};
use crate::causes::SelfSigned;
use crate::support::http::Reply;
use crate::support::port::{BlackHole, Port};
use crate::support::{Instance, imds};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const IMDS: &[Part] = &[Part::Imds, Part::Role, Part::UserData];
const ROLE: &[Part] = &[Part::Role];
const ENDPOINT: &[Part] = &[Part::Endpoint, Part::Agent];
/// Without answers of AWS or without credentials, it is not known whether a tag names the cluster.
const NO_ANSWER: &[Source] = &[Source::Aws, Source::Cluster];
const AGENT: &[Source] = &[Source::AgentRuns];

const fn metadata(id: &'static str, make: super::Change) -> Fault {
    Fault { ends: Ends::Gather, hides: &[Source::Metadata, Source::Aws], ..Fault::new(id, make, IMDS) }
}

const fn role(id: &'static str, make: super::Change) -> Fault {
    let false_words = &["IMDS has the role"];
    Fault { hides: NO_ANSWER, false_words, ..Fault::new(id, make, ROLE) }
}

const fn path(id: &'static str, make: super::Change) -> Fault {
    let false_words = &["an AWS call was answered"];
    Fault { hides: NO_ANSWER, false_words, ..Fault::new(id, make, ENDPOINT) }
}

pub(in crate::causes) static FAULTS: &[Fault] = &[
    metadata("imds-disabled", imds_off),
    metadata("imds-forbidden", no_document),
    metadata("imds-garbled", not_imds),
    Fault {
        needs: AGENT,
        ..Fault::new("imds-proxied", no_credentials_by_proxy, &[Part::Config, Part::Agent, Part::Role])
    },
    role("no-instance-role", no_role),
    role("profile-without-role", empty_profile),
    role("profile-deleted", profile_deleted),
    role("role-not-assumable", role_not_assumable),
    role("role-not-usable", role_not_usable),
    Fault { needs: AGENT, ..Fault::new("credentials-expired", expired, &[Part::Role, Part::Agent]) },
    Fault { also: &["dns-failed"], ..path("dns-timeout", dns_down) },
    Fault { also: &["no-public-ip"], ..path("egress-timeout", dropped) },
    path("connection-refused", refused),
    path("tls-untrusted", intercepted),
    Fault { needs: AGENT, ..Fault::new("proxy-unreachable", proxy_closed, &[Part::Config, Part::Agent]) },
];

fn with_role(instance: Instance, role: imds::Role) -> Instance {
    instance.imds.change(|imds| imds.role = role);
    instance
}

pub(in crate::causes) fn imds_off(instance: Instance) -> Instance {
    instance.imds_fault(imds::Fault::Off)
}

fn no_document(instance: Instance) -> Instance {
    let forbidden = Reply::new(403, "text/html", "<h1>403 - Forbidden</h1>");
    let path = "/latest/dynamic/instance-identity/document";
    instance.imds.change(|imds| drop(imds.overrides.insert(path.into(), forbidden.into())));
    instance
}

fn not_imds(instance: Instance) -> Instance {
    instance.imds_fault(imds::Fault::Garbage)
}

pub(in crate::causes) fn no_role(instance: Instance) -> Instance {
    instance.without_role()
}

fn empty_profile(instance: Instance) -> Instance {
    with_role(instance, imds::Role::EmptyProfile)
}

fn profile_deleted(instance: Instance) -> Instance {
    with_role(instance, imds::Role::ProfileDeleted)
}

pub(in crate::causes) fn role_not_assumable(instance: Instance) -> Instance {
    with_role(instance, imds::Role::NotAssumable("ecsInstanceRole".into()))
}

fn role_not_usable(instance: Instance) -> Instance {
    with_role(instance, imds::Role::Unusable("ecsInstanceRole".into(), "Failed"))
}

fn expired(instance: Instance) -> Instance {
    let text = "operation error ECS: RegisterContainerInstance, https response error StatusCode: 400, RequestID: \
                6d5f1c0a-7e0f-4d3c-9a39-2b7c7a1f0e55, ExpiredTokenException: The security token included in the \
                request is expired";
    let instance = with_role(instance, imds::Role::Expired("ecsInstanceRole".into(), Duration::from_secs(3600)));
    crashing(instance, text)
}

/// The agent exits with this error of its registration, again and again.
fn crashing(instance: Instance, error: &str) -> Instance {
    instance.agent_behaves(|agent| agent.crashes_with = Some(error.to_owned()))
}

/// The agent cannot send its registration, for this reason.
fn unsent(instance: Instance, reason: &str) -> Instance {
    crashing(instance, &format!("operation error ECS: RegisterContainerInstance, request send failed, {reason}"))
}

/// An address that refuses connections until the tests end: no other server gets its port.
pub(in crate::causes) fn closed_port() -> SocketAddr {
    let port: &'static Port = Box::leak(Box::new(Port::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST))));
    port.address()
}

pub(in crate::causes) fn refused(instance: Instance) -> Instance {
    let address = closed_port();
    let instance = instance.env("AWS_ENDPOINT_URL", format!("http://{address}"));
    unsent(instance, &format!("dial tcp {address}: connect: connection refused"))
}

pub(in crate::causes) fn dropped(instance: Instance) -> Instance {
    let hole: &'static BlackHole = Box::leak(Box::new(BlackHole::open()));
    unsent(instance.env("AWS_ENDPOINT_URL", hole.endpoint()), "dial tcp 52.0.0.1:443: i/o timeout")
}

pub(in crate::causes) fn dns_down(instance: Instance) -> Instance {
    let lookup = "dial tcp: lookup ecs.eu-west-1.amazonaws.com on 10.0.0.2:53: read udp: i/o timeout";
    unsent(instance.without_name_server(), lookup)
}

pub(in crate::causes) fn intercepted(instance: Instance) -> Instance {
    let reason = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    unsent(instance.env("AWS_ENDPOINT_URL", SelfSigned::start().endpoint()), reason)
}

pub(in crate::causes) fn proxy_for_metadata(instance: Instance) -> Instance {
    instance.ecs_config("HTTP_PROXY=127.0.0.1:9\n")
}

pub(in crate::causes) fn no_credentials_by_proxy(instance: Instance) -> Instance {
    let text = "operation error ECS: RegisterContainerInstance, get identity: get credentials: failed to refresh \
                cached credentials, no EC2 IMDS role found, proxyconnect tcp: dial tcp 127.0.0.1:9: connect: \
                connection refused";
    crashing(proxy_for_metadata(instance), text)
}

fn proxy_closed(instance: Instance) -> Instance {
    let address = closed_port();
    let instance = instance.ecs_config(format!("HTTP_PROXY=http://{address}\nNO_PROXY=169.254.169.254\n"));
    unsent(instance, "Post: proxyconnect tcp: dial tcp: connection refused")
}

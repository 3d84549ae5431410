//! Remedies of instance metadata, the role, and the network path to AWS.

use super::Step::{RestartAgent, Run, Wait};
use super::{Row, aws_answers, config, fault, healthy_agent};
use crate::causes::faults::network::closed_port;
use crate::support::http::{Reply, Server};
use crate::support::port::{BlackHole, Port};
use crate::support::{Instance, imds};
use std::net::{IpAddr, Ipv4Addr};

const METADATA: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const CONFIG: &str = "etc/ecs/ecs.config";

/// IMDS ends the run before the agent is started.
const fn of_imds(id: &'static str, make: super::Change, says: &'static str) -> Row {
    Row::new(id, make, says, metadata, &[Run])
}

/// The agent tries again by itself as soon as it has credentials.
const fn of_role(id: &'static str, make: super::Change, says: &'static str) -> Row {
    Row::new(id, make, says, role, &[Wait])
}

/// The agent tries again by itself as soon as the endpoint answers.
const fn of_path(id: &'static str, make: super::Change, says: &'static str) -> Row {
    Row::new(id, make, says, reachable, &[Wait])
}

pub(super) const ROWS: &[Row] = &[
    of_imds("imds-disabled", |i| fault(i, "imds-disabled"), "--http-endpoint enabled --instance-id ID`"),
    of_imds("imds-forbidden", |i| fault(i, "imds-forbidden"), "check for a firewall or a proxy on this host"),
    of_imds("imds-garbled", |i| fault(i, "imds-garbled"), "must name an IMDSv2 endpoint"),
    of_imds("imds-token-hop-limit", |i| i.imds_fault(imds::Fault::TokenLost), "--http-put-response-hop-limit 2"),
    of_imds("imds-throttled", |i| i.imds_fault(imds::Fault::FailsNext(1000, 503)), "let fewer programs ask IMDS"),
    of_imds("imds-unreachable", |i| i.env(METADATA, closed()), "check the route to 169.254.169.254"),
    of_imds("imds-ipv6-only", ipv6_only, "--http-protocol-ipv6 enabled"),
    of_imds("imds-proxied", answered_by_proxy, "set NO_PROXY=169.254.169.254"),
    Row::new("imds-proxied", |i| fault(i, "imds-proxied"), "at each place that sets a proxy: ecs.config", |i| { config(i, "ECS_CLUSTER=prod\nHTTP_PROXY=127.0.0.1:9\nNO_PROXY=169.254.169.254,169.254.170.2,/var/run/docker.sock\n")
    }, &[Wait]).lasts_while(|disk| !disk.text(CONFIG).contains("NO_PROXY=169.254.169.254")),
    of_role("no-instance-role", |i| fault(i, "no-instance-role"), "attach an instance profile"),
    of_role("profile-without-role", |i| fault(i, "profile-without-role"), "`aws iam add-role-to-instance-profile"),
    of_role("profile-deleted", |i| fault(i, "profile-deleted"), "attach the new profile"),
    of_role("role-not-assumable", |i| fault(i, "role-not-assumable"), "allow the service `ec2.amazonaws.com`"),
    of_role("role-not-usable", |i| fault(i, "role-not-usable"), "attach the profile again"),
    of_role("credentials-expired", |i| fault(i, "credentials-expired"), "attach the profile again"),
    of_role("role-late", late_role, "wait, or run"),
    Row::new("wrong-role", other_keys, "AWS_ACCESS_KEY_ID or a profile in ecs.config", |i| { config(i, "ECS_CLUSTER=prod\n")
    }, &[RestartAgent]).lasts_while(super::files::has_key),
    of_path("dns-timeout", |i| fault(i, "dns-timeout"), "enable DNS support for the VPC"),
    of_path("egress-timeout", |i| fault(i, "egress-timeout"), "a NAT gateway or a public address"),
    of_path("connection-refused", |i| fault(i, "connection-refused"), "check AWS_ENDPOINT_URL and ECS_BACKEND_HOST"),
    of_path("tls-untrusted", |i| fault(i, "tls-untrusted"), "or exclude AWS from the interception"),
    Row::new("tls-failed", without_tls, "check whose certificate it is", reachable, &[Run]),
    Row::new("endpoint-unreachable", closes, "and the host's firewall", reachable, &[Run]),
    Row::new("proxy-unreachable", |i| fault(i, "proxy-unreachable"), "correct HTTP_PROXY in ecs.config", |i| {
        with_proxy(i, &proxy(""))
    }, &[Wait]).lasts_while(|disk| !disk.text(CONFIG).contains("//me:")),
    Row::new("proxy-refuses", refusing_proxy, "put user and password into the URL in HTTP_PROXY", |i| {
        let url = i.disk.text(CONFIG).lines().find_map(|line| line.strip_prefix("HTTP_PROXY=").map(str::to_owned));
        with_proxy(i, &url.unwrap())
    }, &[Wait]).lasts_while(|disk| !disk.text(CONFIG).contains("//me:")),
    Row::new("proxy-half-configured", half, "set HTTP_PROXY and NO_PROXY in ecs.config", |i| {
        with_proxy(i, &proxy(""))
    }, &[Wait]).lasts_while(|disk| !disk.text(CONFIG).contains("HTTP_PROXY")),
];

fn closed() -> String {
    format!("http://{}", closed_port())
}

fn metadata(instance: Instance) -> Instance {
    instance.imds.change(|imds| {
        imds.fault = imds::Fault::None;
        imds.overrides.clear();
    });
    let endpoint = instance.imds.endpoint();
    instance.env(METADATA, endpoint)
}

fn role(instance: Instance) -> Instance {
    instance.imds.change(|imds| imds.role = imds::Role::Present("ecsInstanceRole".into()));
    healthy_agent(instance)
}

fn reachable(instance: Instance) -> Instance {
    aws_answers(instance.with_name_server())
}

fn ipv6_only(instance: Instance) -> Instance {
    let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
    let address = "20010db8000000000000000000000001 02 80 00 80     ens5\n";
    instance.env(METADATA, closed()).file("proc/net/route", head).file("proc/net/if_inet6", address)
}

fn answered_by_proxy(instance: Instance) -> Instance {
    let refused = Reply::new(403, "text/html", "<h1>Forbidden</h1>").with("Via", "1.1 cache.corp (squid/6.6)");
    instance.imds.change(|imds| drop(imds.overrides.insert("/latest/api/token".into(), refused.into())));
    instance
}

fn crashing(instance: Instance, error: &str) -> Instance {
    let text = format!("operation error ECS: RegisterContainerInstance, {error}");
    instance.agent_behaves(|agent| agent.crashes_with = Some(text))
}

fn late_role(instance: Instance) -> Instance {
    crate::causes::launched(&instance, std::time::Duration::from_secs(20));
    let error = "get identity: get credentials: failed to refresh cached credentials, no EC2 IMDS role found, operation \
                 error ec2imds: GetMetadata, http response error StatusCode: 404";
    crashing(instance, error)
}

/// Keys of a user in `ecs.config`, with which the agent calls AWS.
fn other_keys(instance: Instance) -> Instance {
    let error = "https response error StatusCode: 400, RequestID: x, AccessDeniedException: User: \
                 arn:aws:iam::111122223333:user/deploy is not authorized to perform: ecs:RegisterContainerInstance on \
                 resource: x because no identity-based policy allows the ecs:RegisterContainerInstance action";
    crashing(instance, error).ecs_config("AWS_ACCESS_KEY_ID=AKIAX\n")
}

/// An API that ends each connection with these bytes.
fn api_with(instance: Instance, scheme: &str, answer: &'static [u8]) -> Instance {
    use std::io::{Read, Write};
    let port = Port::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let (address, listener) = (port.address(), port.listen(16));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            if !answer.is_empty() {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(answer);
            }
        }
    });
    instance.without_imds_tags().env("AWS_ENDPOINT_URL", format!("{scheme}://{address}"))
}

fn closes(instance: Instance) -> Instance {
    api_with(instance, "http", b"")
}

fn without_tls(instance: Instance) -> Instance {
    api_with(instance, "https", b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
}

/// A proxy that answers CONNECT with 407 to a client without a password. Serves until the process ends.
fn proxy(user: &str) -> String {
    let server = Server::tcp(|request| {
        let status = if request.header("proxy-authorization").is_some() { 200 } else { 407 };
        Reply::new(status, "text/plain", "").into()
    });
    let server: &'static Server = Box::leak(Box::new(server));
    server.endpoint().replace("//", &format!("//{user}"))
}

/// The file with this proxy, a user and a password.
fn with_proxy(instance: Instance, url: &str) -> Instance {
    let url = url.replace("//", "//me:secret@");
    config(instance, format!("ECS_CLUSTER=prod\nHTTP_PROXY={url}\nNO_PROXY=169.254.169.254\n"))
}

fn refusing_proxy(instance: Instance) -> Instance {
    let config = format!("HTTP_PROXY={}\nNO_PROXY=169.254.169.254\n", proxy(""));
    crashing(instance.ecs_config(config), "request send failed, Post: Proxy Authentication Required")
}

/// Docker has a proxy and the agent has none, on a host without another path.
fn half(instance: Instance) -> Instance {
    let hole: &'static BlackHole = Box::leak(Box::new(BlackHole::open()));
    let drop_in = "[Service]\nEnvironment=\"HTTP_PROXY=http://proxy.test:3128\"\n";
    let instance = instance.env("AWS_ENDPOINT_URL", hole.endpoint());
    let instance = instance.file("etc/systemd/system/docker.service.d/proxy.conf", drop_in);
    crashing(
        instance,
        "request send failed, Post \"https://ecs.eu-west-1.amazonaws.com/\": dial tcp 52.0.0.1:443: i/o timeout",
    )
}

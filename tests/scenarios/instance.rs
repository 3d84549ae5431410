//! One simulated instance by itself, for programs that are not of Rust (`tests/bench`).
//!
//! In: commands, one in each line of stdin:
//!   start SOURCE  replaces the instance by a new one, whose cluster is named by SOURCE
//!   agent REGISTERS CONNECTS
//!                 how long the agent takes to register, and then to connect, in milliseconds
//!   counts        the requests since the start
//!   jobs          the units whose start was requested since the start, in the order of their names
//! Out: one JSON document on stdout for each command. It ends with stdin.
//!
//! The simulators are on loopback. With these options they also serve on addresses of the caller's own network namespace:
//!   --imds ADDRESS            the instance metadata service
//!   --api ADDRESS --tls FILE  the AWS APIs over TLS; the file holds the certificates and the key in PEM
//!   --dns ADDRESS             a name server that answers each query for an IPv4 address with that of `--api`

#![expect(clippy::print_stderr, reason = "a tool of the tests")]

#[path = "../it/support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CipherSuite, ServerConfig};
use serde_json::{Value, json};
use support::Instance;
use support::http::{Request, lock};
use support::socket::Socket;

const SETTINGS: &str = "/etc/ecs-bootstrap/config.toml";

/// The instance that runs now. The servers outlive it.
type Current = Arc<Mutex<Option<Instance>>>;

fn main() -> ExitCode {
    let mut options = BTreeMap::new();
    let mut words = std::env::args().skip(1);
    while let Some(name) = words.next() {
        options.insert(name, words.next().unwrap_or_default());
    }
    let current = Current::default();
    if let Err(error) = serve(&options, &current) {
        eprintln!("error: {error}");
        return ExitCode::from(2);
    }
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<_> = line.split(' ').collect();
        let answer = match words[..] {
            ["start", source] => start(source, &current),
            ["agent", registers, connects] => agent(registers, connects, &current),
            ["counts"] => lock(&current).as_ref().map(counts),
            ["jobs"] => lock(&current).as_ref().map(jobs),
            _ => None,
        };
        let Some(answer) = answer else {
            eprintln!("error: unknown command `{line}`");
            return ExitCode::from(2);
        };
        let _ = writeln!(std::io::stdout(), "{answer}");
    }
    ExitCode::SUCCESS
}

/// An instance whose cluster is named by `source`. Instance metadata has its tags, except in `describe-tags`.
fn instance(source: &str) -> Option<Instance> {
    let tagged = || Instance::new().without_tags().tag("Name", "web");
    Some(match source {
        "imds-tag" => Instance::new(),
        "user-data" => tagged().user_data("#ecs-bootstrap\ncluster = \"prod\"\n"),
        "file" => tagged().setting_file(SETTINGS, "cluster = \"prod\"\n"),
        "describe-tags" => Instance::new().without_imds_tags(),
        "cluster-tags" => {
            let instance = tagged().without_cluster("prod").cluster("by-tags", &[("env", "prod")]);
            instance.setting_file(SETTINGS, "[cluster-tags]\nenv = \"prod\"\n")
        }
        _ => return None,
    })
}

fn start(source: &str, current: &Current) -> Option<Value> {
    // The old instance ends before the new one starts.
    drop(lock(current).take());
    let instance = instance(source)?;
    let environment: BTreeMap<_, _> = instance
        .own_environment()
        .into_iter()
        .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
        .collect();
    *lock(current) = Some(instance);
    Some(json!({ "environment": environment }))
}

fn agent(registers: &str, connects: &str, current: &Current) -> Option<Value> {
    let delay = |text: &str| text.parse().map(Duration::from_millis).ok();
    let (registers, connects) = (delay(registers)?, delay(connects)?);
    lock(current).as_ref()?.agent.change(|agent| {
        agent.register_delay = registers;
        agent.connect_delay = connects;
    });
    Some(json!({}))
}

/// The requests in their order: of instance metadata the method and the path, of the AWS APIs the operation.
fn counts(instance: &Instance) -> Value {
    let metadata = instance.imds.requests();
    let metadata: Vec<_> = metadata.iter().map(|request| format!("{} {}", request.method, request.path)).collect();
    let calls: Vec<_> = instance.aws.requests().iter().map(operation).collect();
    json!({ "imds": metadata, "aws": calls })
}

fn jobs(instance: &Instance) -> Value {
    let calls = instance.systemd.calls();
    let started: BTreeSet<_> = calls.iter().filter_map(|call| call.strip_prefix("StartUnit ")).collect();
    json!(started)
}

fn operation(request: &Request) -> String {
    let target = request.header("x-amz-target").and_then(|target| target.split_once('.'));
    let body = String::from_utf8_lossy(&request.body);
    let action = body.split('&').find_map(|pair| pair.strip_prefix("Action="));
    target.map(|(_, name)| name).or(action).unwrap_or("?").to_owned()
}

/// Starts the servers on other addresses than loopback.
fn serve(options: &BTreeMap<String, String>, current: &Current) -> Result<(), String> {
    let address = |name: &str| {
        let parsed = options.get(name).map(|text| text.parse::<SocketAddr>());
        parsed.transpose().map_err(|error| format!("{name}: {error}"))
    };
    if let Some(address) = address("--imds")? {
        let current = Arc::clone(current);
        listen(address, move |stream| {
            if let Some(instance) = lock(&current).as_ref() {
                instance.imds.adopt(Socket::Tcp(stream));
            }
        })?;
    }
    if let Some(api) = address("--api")? {
        let config = Arc::new(tls(options.get("--tls").map_or("", String::as_str))?);
        let current = Arc::clone(current);
        listen(api, move |stream| {
            if let Some(instance) = lock(&current).as_ref() {
                instance.aws.adopt(Socket::tls(stream, &config));
            }
        })?;
        if let Some(dns) = address("--dns")? {
            answer_names(dns, api.ip())?;
        }
    }
    Ok(())
}

/// Passes each connection to `adopt`, until the process ends.
fn listen(address: SocketAddr, adopt: impl Fn(TcpStream) + Send + 'static) -> Result<(), String> {
    let listener = TcpListener::bind(address).map_err(|error| format!("{address}: {error}"))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = stream.set_nodelay(true);
            adopt(stream);
        }
    });
    Ok(())
}

fn tls(path: &str) -> Result<ServerConfig, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("--tls {path}: {error}");
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?.collect();
    let chain = chain.map_err(|error| wrong(&error))?;
    let key = PrivateKeyDer::from_pem_file(path).map_err(|error| wrong(&error))?;
    let mut provider = rustls::crypto::ring::default_provider();
    // The AWS endpoints prefer this one ("TLS security policies" of Elastic Load Balancing, s2n-tls "Security Policies").
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| wrong(&error))?;
    config.ignore_client_order = true;
    Ok(config)
}

/// Answers queries for A records with `api`, and all others with no record (RFC 1035, section 4.1).
fn answer_names(address: SocketAddr, api: IpAddr) -> Result<(), String> {
    let socket = UdpSocket::bind(address).map_err(|error| format!("{address}: {error}"))?;
    let IpAddr::V4(api) = api else { return Err(format!("{api}: the API needs an IPv4 address")) };
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            if let Some(answer) = dns_answer(&query[..length], api.octets()) {
                let _ = socket.send_to(&answer, client);
            }
        }
    });
    Ok(())
}

fn dns_answer(query: &[u8], api: [u8; 4]) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    // The name ends with an empty label; type and class follow.
    let name = query.get(HEADER..)?.iter().position(|byte| *byte == 0)? + 1;
    let question = query.get(HEADER..HEADER + name + 4)?;
    let is_a = question[name..name + 2] == [0, 1];
    let mut answer = query[..2].to_vec();
    // A response to a recursive query, with one question and at most one answer.
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    answer.extend(question);
    if is_a {
        // The name of the question, type A, class IN, 60 s, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(api);
    }
    Some(answer)
}

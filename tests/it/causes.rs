//! Every cause of the catalogue, provoked as the world would, and the look-alikes that must not be taken for it.
//!
//! In: a simulated instance with one thing wrong. Out: assertions on exit code, the lines of the report, the stored verdict
//! and what was written. Causes that only something off this machine can provoke are listed with their reason.

mod agent;
mod aws;
mod docker;
mod host;
mod identity;
mod machine;
mod units;

use crate::support::{Instance, Outcome};
use ecs_bootstrap::causes::{ALL, Cause, Class, UNKNOWN};
use std::time::{Duration, SystemTime};

/// From its evidence, a terminal cause is told within this time.
const AT_ONCE: Duration = Duration::from_secs(5);
const SOURCES: [&str; 8] = [
    include_str!("care.rs"),
    include_str!("causes/agent.rs"),
    include_str!("causes/aws.rs"),
    include_str!("causes/host.rs"),
    include_str!("causes/identity.rs"),
    include_str!("causes/docker.rs"),
    include_str!("causes/machine.rs"),
    include_str!("causes/units.rs"),
];
/// What loopback cannot be made to do, with the tests that stand in.
pub(crate) const ELSEWHERE: [(&str, &str); 4] = [
    ("dns-failed", "an endpoint by name would leave loopback: unit tests of causes/aws.rs and boundary/dns.rs"),
    ("user-data-deadlock", "seen for ten seconds before it is told: tests/it/user_data.rs"),
    ("agent-stuck", "needs an open way to ACS, which has no simulator yet: unit test of causes/joined.rs"),
    ("endpoint-sg-blocks", "loopback is no private address of a VPC: unit test of causes/aws.rs"),
];

#[test]
fn every_cause_is_provoked_here_or_listed_with_its_reason() {
    for cause in ALL.iter().copied().chain([&UNKNOWN]) {
        let provoked = ["Names", "Notes"]
            .iter()
            .any(|helper| SOURCES.iter().any(|source| source.contains(&format!("{helper}(\"{}\"", cause.id))));
        let elsewhere = ELSEWHERE.iter().any(|(id, _)| *id == cause.id);
        assert!(provoked != elsewhere, "`{}`: provoked {provoked}, listed {elsewhere}", cause.id);
    }
}

/// A command of the product with each setting given by `--set`.
fn command(name: &[&str], settings: &[&str]) -> Vec<String> {
    let settings = settings.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]);
    name.iter().map(|word| (*word).to_owned()).chain(settings).collect()
}

fn run(instance: &Instance, settings: &[&str]) -> Outcome {
    let command = command(&["run", "--wait"], settings);
    instance.run(&command.iter().map(String::as_str).collect::<Vec<_>>())
}

fn verify(instance: &Instance, settings: &[&str]) -> Outcome {
    let command = command(&["verify"], settings);
    instance.run(&command.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The id of a cause, its exit code, and the evidence that decides.
struct Names<'a>(&'a str, i32, &'a str);

impl Names<'_> {
    /// The report names this cause first, with its evidence and remedy, and `status.json` says the same.
    fn check(self, instance: &Instance, outcome: &Outcome) {
        let Names(id, code, seen) = self;
        let told = &outcome.stderr;
        let cause = cause(id);
        assert_eq!(outcome.code, Some(code), "{}\n{told}", outcome.stdout);
        let named = told.lines().find_map(|line| line.strip_prefix("error: [")?.split(']').next());
        record(id, named.unwrap_or("nothing"));
        let errors: Vec<&str> = told.lines().filter(|line| line.starts_with("error: [")).collect();
        assert_eq!(errors, [format!("error: [{id}] {}", cause.title)], "{told}");
        assert!(told.lines().any(|line| line.starts_with("seen: ") && line.contains(seen)), "no `{seen}` in {told}");
        assert!(told.contains(&format!("remedy: {}\n", cause.remedy)), "{told}");
        assert_eq!(outcome.stdout, "");
        if cause.class == Class::Terminal {
            assert!(outcome.duration < AT_ONCE, "told after {:?}", outcome.duration);
        }
        let status: serde_json::Value =
            serde_json::from_str(&instance.disk.text("run/ecs-bootstrap/status.json")).unwrap();
        assert_eq!(status["cause"]["id"], id);
        assert_eq!(status["exit_code"], code);
    }

    /// The same, and nothing was written or started.
    fn check_untouched(self, instance: &Instance, outcome: &Outcome) {
        self.check(instance, outcome);
        assert_eq!(instance.disk.text("etc/ecs/ecs.config"), "");
        assert!(instance.disk.read("var/lib/ecs-bootstrap/written.json").is_none());
        assert!(
            !instance.systemd.calls().iter().any(|call| call.contains("StartUnit")),
            "{:?}",
            instance.systemd.calls()
        );
    }
}

/// The id of something that keeps no instance from its cluster, and its evidence.
struct Notes<'a>(&'a str, &'a str);

impl Notes<'_> {
    /// The instance is ready, nothing is accused, and this is said beside it.
    fn check(self, outcome: &Outcome) {
        let Notes(id, seen) = self;
        is_ready_as(id, outcome);
        let note = outcome.stdout.lines().find(|line| line.starts_with(&format!("note: [{id}] ")));
        record(id, note.map_or("nothing", |_| id));
        assert!(note.is_some_and(|note| note.contains(seen)), "{}", outcome.stdout);
    }
}

/// Keeps what was provoked and what was named, for the table that `confusion::matrix` prints when all tests have run.
pub(crate) fn record(provoked: &str, named: &str) {
    use std::io::Write;
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("confusion");
    std::fs::create_dir_all(&folder).unwrap();
    let test = std::thread::current().name().unwrap_or("unnamed").replace("::", ".");
    let mut file = std::fs::File::options().append(true).create(true).open(folder.join(test)).unwrap();
    writeln!(file, "{provoked} {named}").unwrap();
}

fn cause(id: &str) -> &'static Cause {
    ALL.iter().copied().chain([&UNKNOWN]).find(|cause| cause.id == id).unwrap()
}

/// The look-alike: the instance is ready, and no cause is named.
fn is_ready(outcome: &Outcome) {
    is_ready_as("healthy", outcome);
}

fn is_ready_as(what: &str, outcome: &Outcome) {
    let named = outcome.stderr.lines().find_map(|line| line.strip_prefix("error: [")?.split(']').next());
    if what == "healthy" || named.is_some() {
        record(what, named.unwrap_or("ready"));
    }
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.starts_with("ready: `arn:aws:ecs:"), "{}", outcome.stdout);
    assert!(!outcome.stderr.contains("error: ["), "{}", outcome.stderr);
}

/// Launched this long ago. The simulated instance is two hours old otherwise: what may settle has had its time.
fn launched(instance: &Instance, ago: Duration) {
    instance.imds.change(|imds| imds.pending_time = SystemTime::now() - ago);
}

/// A TLS server whose certificate nobody has signed.
struct SelfSigned(std::net::SocketAddr);

impl SelfSigned {
    /// Serves until the test binary ends.
    fn start() -> Self {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let pem = include_bytes!("../fixtures/self-signed.pem");
        let chain = vec![CertificateDer::from_pem_slice(pem).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(pem).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = std::sync::Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
        let port = crate::support::port::Port::reserve(std::net::Ipv4Addr::LOCALHOST.into());
        let (address, listener) = (port.address(), port.listen(16));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut server = rustls::ServerConnection::new(std::sync::Arc::clone(&config)).unwrap();
                while server.is_handshaking() && server.complete_io(&mut stream).is_ok() {}
            }
        });
        Self(address)
    }

    fn endpoint(&self) -> String {
        format!("https://{}", self.0)
    }
}

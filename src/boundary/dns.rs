//! Resolves host names for both HTTP libraries (reqwest, the AWS SDK) and for the probes in `net`.
//!
//! In: a host name. Out: its addresses, or a [`DnsError`]. It reads `/etc/resolv.conf` and `/etc/hosts` itself, because
//! a static binary cannot load glibc's name-service modules. It reads them at the first lookup, because they may not
//! exist earlier in the boot. It never connects to the addresses.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError as HickoryError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::parse_resolv_conf;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::boundary::disk::read_of_host;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";
/// The most bytes of `resolv.conf`, which has a few lines and comments.
const MAX_RESOLV_CONF_LENGTH: usize = 64 * 1024;
/// The most bytes of `/etc/hosts`. Lists that block advertisements have 150,000 lines.
const MAX_HOSTS_LENGTH: usize = 8 * 1024 * 1024;
/// The most name servers that are used. More than glibc's `MAXNS`, which is 3.
const MAX_SERVERS: usize = 8;
const MAX_DOMAINS: usize = 16;
/// The most addresses of a name in `/etc/hosts`. More could not be tried within a deadline.
const MAX_ADDRESSES: usize = 16;

/// Why a lookup failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DnsError {
    /// A name server answered that the name does not exist or has no address.
    #[error("no address is known for `{host}`")]
    NoSuchName {
        /// The name that was looked up.
        host: String,
    },
    /// A name server answered with an error such as SERVFAIL or REFUSED.
    #[error("the name servers answered the lookup of `{host}` with an error")]
    Refused {
        /// The name that was looked up.
        host: String,
        /// The error of the last server.
        #[source]
        source: HickoryError,
    },
    /// No name server answered.
    #[error("no name server answered the lookup of `{host}`")]
    NoAnswer {
        /// The name that was looked up.
        host: String,
        /// The error of the last server or socket.
        #[source]
        source: HickoryError,
    },
    /// `/etc/resolv.conf` is missing or invalid.
    #[error("the resolver's configuration (/etc/resolv.conf) cannot be used")]
    Configuration {
        /// The error of the file or of its parser.
        #[source]
        source: HickoryError,
    },
}

/// A resolver. Cheap to clone; all clones share one cache.
#[derive(Clone, Default)]
pub struct Dns {
    shared: Arc<DnsState>,
}

/// A lookup, and when it began.
type RunningLookup = (Instant, JoinHandle<Result<Vec<IpAddr>, DnsError>>);

/// A prepared lookup that began earlier is not used: the network, or the answer, may have changed.
const MAX_PREPARED_AGE: Duration = Duration::from_secs(2);

#[derive(Default)]
struct DnsState {
    resolver: OnceLock<TokioResolver>,
    /// The lookups that [`Dns::prepare`] started. The first caller of [`Dns::lookup`] takes the result.
    prepared: Mutex<HashMap<String, Option<RunningLookup>>>,
}

impl Dns {
    /// Starts the lookup of a name that will be needed. Does not wait for it. Each name is prepared once.
    pub(crate) fn prepare(&self, host: &str) {
        let mut prepared = self.shared.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.entry(host.to_owned()).or_insert_with(|| {
            let (dns, host) = (self.clone(), host.to_owned());
            Some((Instant::now(), tokio::spawn(async move { dns.lookup_now(&host).await })))
        });
    }

    /// The addresses of `host`, in the resolver's order. An IP address is returned unchanged. The `timeout` and
    /// `attempts` of resolv.conf(5) limit the time.
    pub async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        let prepared =
            self.shared.prepared.lock().unwrap_or_else(PoisonError::into_inner).get_mut(host).and_then(Option::take);
        if let Some((began, prepared)) = prepared
            && began.elapsed() < MAX_PREPARED_AGE
            && let Ok(outcome) = prepared.await
        {
            return outcome;
        }
        self.lookup_now(host).await
    }

    async fn lookup_now(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let in_hosts = match read_of_host(Path::new(HOSTS), MAX_HOSTS_LENGTH) {
            Ok(text) => hosts(&text, host),
            Err(error) => {
                tracing::debug!(path = HOSTS, %error, "file not read");
                Vec::new()
            }
        };
        if !in_hosts.is_empty() {
            return Ok(in_hosts);
        }
        match self.resolver()?.lookup_ip(host).await {
            Ok(answer) => Ok(answer.iter().collect()),
            Err(error) if error.is_no_records_found() => Err(DnsError::NoSuchName { host: host.to_owned() }),
            Err(source @ HickoryError::Dns(_)) => Err(DnsError::Refused { host: host.to_owned(), source }),
            Err(source) => Err(DnsError::NoAnswer { host: host.to_owned(), source }),
        }
    }

    /// The addresses of the name servers in `/etc/resolv.conf`; none if it cannot be used.
    pub fn servers() -> Vec<IpAddr> {
        configuration()
            .map_or_else(|_| Vec::new(), |(config, _)| config.name_servers().iter().map(|server| server.ip).collect())
    }

    fn resolver(&self) -> Result<&TokioResolver, DnsError> {
        if let Some(resolver) = self.shared.resolver.get() {
            return Ok(resolver);
        }
        // An error is not cached, because DHCP may write the file a second later.
        let built = configuration()
            .and_then(|(config, options)| {
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
                    .with_options(options)
                    .build()
            })
            .map_err(|source| DnsError::Configuration { source })?;
        Ok(self.shared.resolver.get_or_init(|| built))
    }
}

/// The content of `/etc/resolv.conf`. The resolver library's own reader would block on a FIFO, and has no limit.
fn configuration() -> Result<(ResolverConfig, ResolverOpts), HickoryError> {
    resolv_conf(&read_of_host(Path::new(RESOLV_CONF), MAX_RESOLV_CONF_LENGTH)?)
}

/// Parses a `resolv.conf` and limits its options to the values that resolv.conf(5) allows. The resolver does not read
/// `/etc/hosts`; [`Dns::lookup`] does.
pub fn resolv_conf(text: &[u8]) -> Result<(ResolverConfig, ResolverOpts), HickoryError> {
    let (config, mut options) = parse_resolv_conf(text)?;
    let servers = config.name_servers().iter().take(MAX_SERVERS).cloned().collect();
    let search = config.search().iter().take(MAX_DOMAINS).cloned().collect();
    let config = ResolverConfig::from_parts(config.domain().cloned(), search, servers);
    options.timeout = options.timeout.clamp(Duration::from_secs(1), Duration::from_secs(30));
    options.attempts = options.attempts.min(5);
    options.ndots = options.ndots.min(15);
    options.use_hosts_file = ResolveHosts::Never;
    Ok((config, options))
}

/// The addresses of a name in a hosts(5) file, in its order. Reads line by line, so that a long file takes little
/// memory.
pub fn hosts(text: &[u8], host: &str) -> Vec<IpAddr> {
    let wanted = host.strip_suffix('.').unwrap_or(host);
    let addresses = text.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let address = words.next()?;
        words.find(|name| name.strip_suffix(b".").unwrap_or(name).eq_ignore_ascii_case(wanted.as_bytes()))?;
        std::str::from_utf8(address).ok()?.parse().ok()
    });
    addresses.take(MAX_ADDRESSES).collect()
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dns").finish_non_exhaustive()
    }
}

impl ResolveDns for Dns {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move { self.lookup(name).await.map_err(ResolveDnsError::new) })
    }
}

impl reqwest::dns::Resolve for Dns {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let dns = self.clone();
        Box::pin(async move {
            let addresses = dns.lookup(name.as_str()).await?;
            // Port 0 means the port of the URL.
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as reqwest::dns::Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_name_in_hosts_like_glibc() {
        let text = b"# comment\n127.0.0.1 localhost\r\n10.0.0.1\tECS.example  alias.example. # other.example\n\n\
                     10.0.0.2 ecs.example\n::1 ecs.example\nnot-an-address ecs.example\n10.0.0.3\n\xff\xfe ecs.example\n";
        let of = |name| hosts(text, name).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(of("ecs.EXAMPLE."), ["10.0.0.1", "10.0.0.2", "::1"]);
        assert_eq!(of("alias.example"), ["10.0.0.1"]);
        assert_eq!(of("localhost"), ["127.0.0.1"]);
        for absent in ["other.example", "ecs", "", "10.0.0.3"] {
            assert!(of(absent).is_empty(), "{absent}");
        }
    }

    #[test]
    fn a_prepared_lookup_is_used_once() {
        crate::boundary::test_server::run(async {
            let dns = Dns::default();
            let waiting = |host| dns.shared.prepared.lock().unwrap().get(host).is_some_and(Option::is_some);
            dns.prepare("192.0.2.7");
            assert!(waiting("192.0.2.7"));
            for _ in 0..2 {
                assert_eq!(dns.lookup("192.0.2.7").await.unwrap(), [IpAddr::from([192, 0, 2, 7])]);
                assert!(!waiting("192.0.2.7"));
                dns.prepare("192.0.2.7");
            }
            let old = Instant::now() - MAX_PREPARED_AGE;
            let nothing = tokio::spawn(async { Ok(Vec::new()) });
            dns.shared.prepared.lock().unwrap().insert("192.0.2.8".to_owned(), Some((old, nothing)));
            assert_eq!(dns.lookup("192.0.2.8").await.unwrap(), [IpAddr::from([192, 0, 2, 8])]);
        });
    }

    #[test]
    fn options_of_resolv_conf_are_limited() {
        let (config, options) =
            resolv_conf(b"nameserver 10.0.0.2\noptions timeout:4000000000 attempts:4000000000 ndots:4000000000\n")
                .unwrap();
        assert_eq!(config.name_servers().len(), 1);
        assert_eq!((options.timeout, options.attempts, options.ndots), (Duration::from_secs(30), 5, 15));
        let many = "nameserver 10.0.0.2\n".repeat(3000);
        assert_eq!(resolv_conf(many.as_bytes()).unwrap().0.name_servers().len(), MAX_SERVERS);
        assert!(resolv_conf(b"nonsense\n\xff\0\n").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_file_causes_a_panic(
            bytes: Vec<u8>,
            text in "(nameserver|search|options|domain|sortlist|[a-z0-9.:/ \n#-]){0,40}",
        ) {
            for text in [bytes.as_slice(), text.as_bytes()] {
                let _ = resolv_conf(text);
                hosts(text, "ecs.example");
            }
        }
    }
}

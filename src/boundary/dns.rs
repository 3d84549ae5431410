//! Resolves names for both HTTP stacks and for the probes of `net.rs`.
//!
//! In goes a host name, out come its addresses or a [`DnsError`]. It reads `/etc/resolv.conf` and `/etc/hosts` itself
//! (a static binary must not load glibc's name-service modules), on the first lookup and not before, because
//! configuration may not be there yet at boot. It never connects to what it resolved.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError as HickoryError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::parse_resolv_conf;

use crate::boundary::disk::read_of_host;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";
/// A few lines, with room for comments.
const LONGEST_RESOLV_CONF: usize = 64 * 1024;
/// Lists that block advertisements have 150,000 lines.
const LONGEST_HOSTS: usize = 8 * 1024 * 1024;
/// `MAXNS`, with room for more than glibc takes.
const MOST_SERVERS: usize = 8;
const MOST_DOMAINS: usize = 16;
/// No name has more addresses that could be tried within a deadline.
const MOST_ADDRESSES: usize = 16;

/// Why a name has no addresses.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DnsError {
    /// A name server answered that there is no such name, or no address under it.
    #[error("no address is known for `{host}`")]
    NoSuchName {
        /// The name that was asked for.
        host: String,
    },
    /// A name server answered, and not with what was asked for: SERVFAIL, REFUSED and the like.
    #[error("the name servers do not answer for `{host}`")]
    Refused {
        /// The name that was asked for.
        host: String,
        /// What the last server said.
        #[source]
        source: HickoryError,
    },
    /// No name server gave an answer.
    #[error("no name server answered for `{host}`")]
    NoAnswer {
        /// The name that was asked for.
        host: String,
        /// What the last server or socket said.
        #[source]
        source: HickoryError,
    },
    /// `/etc/resolv.conf` is missing or cannot be understood.
    #[error("the resolver's configuration (/etc/resolv.conf) cannot be used")]
    Configuration {
        /// What is wrong with it.
        #[source]
        source: HickoryError,
    },
}

/// A resolver, cheap to clone; all clones share one cache.
#[derive(Clone, Default)]
pub struct Dns {
    resolver: Arc<OnceLock<TokioResolver>>,
}

impl Dns {
    /// The addresses of `host`, in the order the resolver gave them; an address stands for itself. Bounded by the
    /// `timeout` and `attempts` of resolv.conf(5).
    pub async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let named = read_of_host(Path::new(HOSTS), LONGEST_HOSTS).map(|text| hosts(&text, host)).unwrap_or_default();
        if !named.is_empty() {
            return Ok(named);
        }
        match self.resolver()?.lookup_ip(host).await {
            Ok(answer) => Ok(answer.iter().collect()),
            Err(error) if error.is_no_records_found() => Err(DnsError::NoSuchName { host: host.to_owned() }),
            Err(source @ HickoryError::Dns(_)) => Err(DnsError::Refused { host: host.to_owned(), source }),
            Err(source) => Err(DnsError::NoAnswer { host: host.to_owned(), source }),
        }
    }

    /// The addresses of the name servers that `/etc/resolv.conf` names.
    pub fn servers() -> Vec<IpAddr> {
        configuration()
            .map_or_else(|_| Vec::new(), |(config, _)| config.name_servers().iter().map(|server| server.ip).collect())
    }

    fn resolver(&self) -> Result<&TokioResolver, DnsError> {
        if let Some(resolver) = self.resolver.get() {
            return Ok(resolver);
        }
        // A failure is not remembered: DHCP may write the file a second later.
        let built = configuration()
            .and_then(|(config, options)| {
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
                    .with_options(options)
                    .build()
            })
            .map_err(|source| DnsError::Configuration { source })?;
        Ok(self.resolver.get_or_init(|| built))
    }
}

/// What `/etc/resolv.conf` says. The resolver's own reader would wait for ever on a FIFO, and knows no limit.
fn configuration() -> Result<(ResolverConfig, ResolverOpts), HickoryError> {
    resolv_conf(&read_of_host(Path::new(RESOLV_CONF), LONGEST_RESOLV_CONF)?)
}

/// The name servers and options of a `resolv.conf`, each within what resolv.conf(5) allows. Names are looked up in
/// `/etc/hosts` here, so the resolver does not.
pub fn resolv_conf(text: &[u8]) -> Result<(ResolverConfig, ResolverOpts), HickoryError> {
    let (config, mut options) = parse_resolv_conf(text)?;
    let servers = config.name_servers().iter().take(MOST_SERVERS).cloned().collect();
    let search = config.search().iter().take(MOST_DOMAINS).cloned().collect();
    let config = ResolverConfig::from_parts(config.domain().cloned(), search, servers);
    options.timeout = options.timeout.clamp(Duration::from_secs(1), Duration::from_secs(30));
    options.attempts = options.attempts.min(5);
    options.ndots = options.ndots.min(15);
    options.use_hosts_file = ResolveHosts::Never;
    Ok((config, options))
}

/// The addresses that a hosts(5) file gives a name, in its order. The lines are looked at one by one, and nothing is kept
/// of the others.
pub fn hosts(text: &[u8], host: &str) -> Vec<IpAddr> {
    let wanted = host.strip_suffix('.').unwrap_or(host);
    let addresses = text.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let address = words.next()?;
        let names_it =
            words.any(|name| name.strip_suffix(b".").unwrap_or(name).eq_ignore_ascii_case(wanted.as_bytes()));
        names_it.then(|| std::str::from_utf8(address).ok()?.parse().ok()).flatten()
    });
    addresses.take(MOST_ADDRESSES).collect()
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
            // Port 0 stands for the port of the URL.
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as reqwest::dns::Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_hosts_as_by_glibc() {
        let text = b"# comment\n127.0.0.1 localhost\r\n10.0.0.1\tECS.example  alias.example. # other.example\n\n10.0.0.2 ecs.example\n\
                     ::1 ecs.example\nnot-an-address ecs.example\n10.0.0.3\n\xff\xfe ecs.example\n";
        let of = |name| hosts(text, name).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(of("ecs.EXAMPLE."), ["10.0.0.1", "10.0.0.2", "::1"]);
        assert_eq!(of("alias.example"), ["10.0.0.1"]);
        assert_eq!(of("localhost"), ["127.0.0.1"]);
        for absent in ["other.example", "ecs", "", "10.0.0.3"] {
            assert!(of(absent).is_empty(), "{absent}");
        }
    }

    #[test]
    fn options_of_resolv_conf_are_taken_within_their_limits() {
        let (config, options) =
            resolv_conf(b"nameserver 10.0.0.2\noptions timeout:4000000000 attempts:4000000000 ndots:4000000000\n")
                .unwrap();
        assert_eq!(config.name_servers().len(), 1);
        assert_eq!((options.timeout, options.attempts, options.ndots), (Duration::from_secs(30), 5, 15));
        let many = "nameserver 10.0.0.2\n".repeat(3000);
        assert_eq!(resolv_conf(many.as_bytes()).unwrap().0.name_servers().len(), MOST_SERVERS);
        assert!(resolv_conf(b"nonsense\n\xff\0\n").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_file_can_break_it(bytes: Vec<u8>, text in "(nameserver|search|options|domain|sortlist|[a-z0-9.:/ \n#-]){0,40}") {
            for text in [bytes.as_slice(), text.as_bytes()] {
                let _ = resolv_conf(text);
                hosts(text, "ecs.example");
            }
        }
    }
}

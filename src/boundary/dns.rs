//! Resolves names for both HTTP stacks and for the probes of `net.rs`.
//!
//! In goes a host name, out come its addresses or a [`DnsError`]. It reads `/etc/resolv.conf` and `/etc/hosts` itself
//! (a static binary must not load glibc's name-service modules), on the first lookup and not before, because
//! configuration may not be there yet at boot. It never connects to what it resolved.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError as HickoryError;

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
        match self.resolver()?.lookup_ip(host).await {
            Ok(answer) => Ok(answer.iter().collect()),
            Err(error) if error.is_no_records_found() => Err(DnsError::NoSuchName { host: host.to_owned() }),
            Err(source @ HickoryError::Dns(_)) => Err(DnsError::Refused { host: host.to_owned(), source }),
            Err(source) => Err(DnsError::NoAnswer { host: host.to_owned(), source }),
        }
    }

    /// The addresses of the name servers that `/etc/resolv.conf` names.
    pub fn servers() -> Vec<IpAddr> {
        let read = hickory_resolver::system_conf::read_system_conf();
        read.map_or_else(|_| Vec::new(), |(config, _)| config.name_servers().iter().map(|server| server.ip).collect())
    }

    fn resolver(&self) -> Result<&TokioResolver, DnsError> {
        if let Some(resolver) = self.resolver.get() {
            return Ok(resolver);
        }
        // A failure is not remembered: DHCP may write the file a second later.
        let built = TokioResolver::builder_tokio()
            .and_then(|builder| builder.build())
            .map_err(|source| DnsError::Configuration { source })?;
        Ok(self.resolver.get_or_init(|| built))
    }
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

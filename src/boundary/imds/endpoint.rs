//! The address of the instance metadata service: from the variables that the SDKs read, or the two well-known
//! addresses.
//!
//! In: the values of two environment variables. Out: a base URL and, for the well-known addresses, a resolver that
//! returns IPv4 and IPv6 until one of them has answered, and that one from then on (RFC 8305). It never connects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use super::ImdsError;

const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const ENDPOINT_MODE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE";

const IPV4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);
const IPV6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), 80);

/// The address of the service.
#[derive(Clone, Debug)]
pub enum Address {
    /// Only this `http` URL.
    Fixed(String),
    /// 169.254.169.254; also fd00:ec2::254 if the first has not connected within 300 ms.
    Default,
    /// None: the environment names an endpoint that cannot be used. Every request ends with this error.
    Unusable(ImdsError),
    /// These addresses instead of the two well-known ones, for tests on loopback.
    #[cfg(test)]
    Race(Vec<SocketAddr>),
}

impl Address {
    /// Reads the values of `AWS_EC2_METADATA_SERVICE_ENDPOINT` and `AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE` like the
    /// SDKs (AWS SDKs and Tools Reference Guide, "IMDS credential provider"): the URL overrides the mode, and an empty
    /// value is ignored. Any other value is [`Address::Unusable`].
    pub fn from_environment(endpoint: Option<&str>, mode: Option<&str>) -> Address {
        if let Some(endpoint) = endpoint.filter(|value| !value.is_empty()) {
            return fixed(endpoint).unwrap_or_else(|| bad(ENDPOINT, endpoint));
        }
        match mode.filter(|value| !value.is_empty()) {
            None => Address::Default,
            Some(mode) if mode.eq_ignore_ascii_case("ipv4") => Address::Fixed(format!("http://{}", IPV4.ip())),
            Some(mode) if mode.eq_ignore_ascii_case("ipv6") => Address::Fixed(format!("http://[{}]", IPV6.ip())),
            Some(mode) => bad(ENDPOINT_MODE, mode),
        }
    }

    /// The error of [`Address::Unusable`].
    pub fn usable(&self) -> Result<(), &ImdsError> {
        match self {
            Address::Unusable(error) => Err(error),
            _ => Ok(()),
        }
    }

    /// The addresses to try for the first connection; none if a URL is given.
    pub(super) fn candidates(&self) -> Vec<SocketAddr> {
        match self {
            Address::Fixed(_) | Address::Unusable(_) => Vec::new(),
            Address::Default => vec![IPV4, IPV6],
            #[cfg(test)]
            Address::Race(addresses) => addresses.clone(),
        }
    }

    /// The URL that paths are appended to, without a trailing slash.
    pub(super) fn base(&self) -> &str {
        match self {
            Address::Fixed(url) => url.trim_end_matches('/'),
            // One name for all candidates, so that a kept connection is reused for each of them.
            _ => "http://instance-metadata",
        }
    }
}

/// A plain `http` URL without credentials, query or fragment. The client cannot use others.
fn fixed(endpoint: &str) -> Option<Address> {
    let url = reqwest::Url::parse(endpoint.trim()).ok()?;
    let plain = url.scheme() == "http"
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    (plain && url.has_host()).then(|| Address::Fixed(url.to_string()))
}

fn bad(variable: &'static str, value: &str) -> Address {
    let value = if value.contains('@') { "<redacted>".to_owned() } else { value.escape_debug().to_string() };
    Address::Unusable(ImdsError::BadEndpoint { variable, value })
}

/// Resolves the invented name in [`Address::base`] to all candidates, and after the first answer to the address that
/// answered.
#[derive(Clone, Debug)]
pub(super) struct Candidates {
    all: Vec<SocketAddr>,
    answered: Arc<OnceLock<SocketAddr>>,
}

impl Candidates {
    pub(super) fn new(all: Vec<SocketAddr>) -> Candidates {
        Candidates { all, answered: Arc::default() }
    }

    /// Remembers the address that answered first.
    pub(super) fn settle(&self, address: SocketAddr) {
        if self.all.contains(&address) {
            // A later address is ignored.
            let _ = self.answered.set(address);
        }
    }
}

impl reqwest::dns::Resolve for Candidates {
    fn resolve(&self, _name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        // The connector tries the second address family after 300 ms (hyper-util's default), or at once after an error.
        let addresses = self.answered.get().map_or_else(|| self.all.clone(), |address| vec![*address]);
        Box::pin(std::future::ready(Ok(Box::new(addresses.into_iter()) as reqwest::dns::Addrs)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(endpoint: Option<&str>, mode: Option<&str>) -> Result<String, String> {
        let address = Address::from_environment(endpoint, mode);
        address.usable().map_err(|error| error.to_string())?;
        Ok(address.base().to_owned())
    }

    #[test]
    fn reads_the_endpoint_variables_as_the_sdks_do() {
        for (endpoint, mode, expected) in [
            (None, None, "http://instance-metadata"),
            (Some(""), Some(""), "http://instance-metadata"),
            (None, Some("IPv6"), "http://[fd00:ec2::254]"),
            (None, Some("ipv4"), "http://169.254.169.254"),
            (Some("http://127.0.0.1:1338/"), Some("IPv6"), "http://127.0.0.1:1338"),
            (Some("http://[::1]:8080"), None, "http://[::1]:8080"),
        ] {
            assert_eq!(base(endpoint, mode).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn names_the_variable_that_is_wrong() {
        for endpoint in ["127.0.0.1:80", "https://127.0.0.1", "ftp://x", "http://", "http://h/?q", "\n"] {
            let error = base(Some(endpoint), None).unwrap_err();
            assert!(error.starts_with("AWS_EC2_METADATA_SERVICE_ENDPOINT=`"), "{error}");
        }
        assert!(base(None, Some("IPv5")).unwrap_err().contains("ENDPOINT_MODE=`IPv5`"));
    }

    #[test]
    fn never_repeats_a_password() {
        assert!(!base(Some("http://me:hunter2@127.0.0.1"), None).unwrap_err().contains("hunter2"));
    }
}

//! The address of the instance metadata service: from the variables that the SDKs read, or the two well-known
//! addresses.
//!
//! In: the values of two environment variables. Out: a [`Target`]. It never connects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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

    /// Where to connect to, and what precedes the path of a request: the value of the header `Host`, and the path of the
    /// URL.
    pub(super) fn target(&self) -> Target {
        let well_known = |addresses| Target {
            place: Place::Addresses(addresses),
            // The service expects its address as the host.
            host: IPV4.ip().to_string(),
            path: String::new(),
        };
        let addresses = match self {
            Address::Fixed(url) => return Target::of_url(url),
            Address::Default => vec![IPV4, IPV6],
            // No request is sent.
            Address::Unusable(_) => Vec::new(),
            #[cfg(test)]
            Address::Race(addresses) => addresses.clone(),
        };
        well_known(addresses)
    }
}

/// Where requests go.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) place: Place,
    /// The value of the header `Host`.
    pub(super) host: String,
    /// What precedes `/latest/`, without a trailing slash.
    pub(super) path: String,
}

/// Where to connect to.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// The first of these addresses that accepts a connection.
    Addresses(Vec<SocketAddr>),
    /// A host, which may be a name, and a port.
    Host(String, u16),
}

impl Target {
    /// The target of a URL that [`fixed`] has accepted.
    fn of_url(url: &str) -> Target {
        let url = reqwest::Url::parse(url).expect("`fixed` has parsed it");
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        Target {
            place: Place::Host(host.trim_matches(['[', ']']).to_owned(), port),
            host: url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")),
            path: url.path().trim_end_matches('/').to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn base(endpoint: Option<&str>, mode: Option<&str>) -> Result<String, String> {
        let address = Address::from_environment(endpoint, mode);
        address.usable().map_err(|error| error.to_string())?;
        let Target { place, host, path } = address.target();
        let place = match place {
            Place::Addresses(addresses) => format!("{addresses:?}"),
            Place::Host(host, port) => format!("{host} {port}"),
        };
        Ok(format!("{host}{path} at {place}"))
    }

    #[test]
    fn reads_the_endpoint_variables_as_the_sdks_do() {
        for (endpoint, mode, expected) in [
            (None, None, "169.254.169.254 at [169.254.169.254:80, [fd00:ec2::254]:80]"),
            (Some(""), Some(""), "169.254.169.254 at [169.254.169.254:80, [fd00:ec2::254]:80]"),
            (None, Some("IPv6"), "[fd00:ec2::254] at fd00:ec2::254 80"),
            (None, Some("ipv4"), "169.254.169.254 at 169.254.169.254 80"),
            (Some("http://127.0.0.1:1338/"), Some("IPv6"), "127.0.0.1:1338 at 127.0.0.1 1338"),
            (Some("http://[::1]:8080/mock"), None, "[::1]:8080/mock at ::1 8080"),
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

//! Creates the HTTP client for all AWS services, and chooses the root certificates that it trusts.
//!
//! In: certificates in PEM form. Out: an HTTP client for the SDK. Each certificate is checked before the SDK gets it,
//! because the SDK's client panics on a certificate that it cannot use. This module handles no keys and no bodies.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_smithy_http_client::pool::{Client, ConnectionPool};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::shared::IntoShared;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::error::{AwsErrorKind, Chain};
use super::response_body::CompleteAnswers;
use crate::boundary::disk::read_of_host;
use crate::boundary::dns::Dns;

/// The root certificates that AWS documents for its endpoints (Amazon Trust Services, "CA certificates"). All public
/// root certificates would cost 13 million instructions at each start.
const AMAZON: &[u8] = include_bytes!("../amazon-roots.pem");

/// The files with the root certificates that this host trusts: on Debian and Ubuntu, then on Amazon Linux and Fedora.
pub(super) const HOST_BUNDLES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// The most bytes of a bundle. All public root certificates have 250 kB.
const MAX_BUNDLE_LENGTH: usize = 4 * 1024 * 1024;

/// Root certificates in PEM form, each checked with rustls.
pub(super) struct Roots(Vec<u8>);

impl Roots {
    /// The built-in certificates of Amazon.
    pub(super) fn built_in() -> Roots {
        Roots(AMAZON.to_vec())
    }

    /// The certificates of the file in `AWS_CA_BUNDLE`. A certificate that cannot be used, or none at all, is an error.
    pub(super) fn named(path: &Path) -> Result<Roots, AwsErrorKind> {
        let bad = |what: String| AwsErrorKind::CaBundle { path: path.to_owned(), what };
        let pem = read(path).map_err(|error| bad(error.to_string()))?;
        let (usable, rejected) = check(&pem);
        match (usable.len(), rejected) {
            (0, None) => Err(bad("it contains no certificate".to_owned())),
            (_, Some(why)) => Err(bad(why)),
            _ => Ok(encode(&usable)),
        }
    }

    /// The certificates of the host. Certificates that cannot be used are left out.
    pub(super) fn of_host(bundles: &[PathBuf]) -> Option<Roots> {
        let pem = bundles.iter().find_map(|path| read(path).ok())?;
        let (usable, _rejected) = check(&pem);
        (!usable.is_empty()).then(|| encode(&usable))
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots").field("bytes", &self.0.len()).finish()
    }
}

/// A client that trusts `roots`, resolves names with `dns`, and reads its proxies from the environment.
pub(super) fn client(roots: Roots, dns: &Dns) -> Result<SharedHttpClient, AwsErrorKind> {
    let setup = |error: &(dyn std::error::Error + 'static)| AwsErrorKind::Setup { what: Chain::of(error).to_string() };
    let context = TlsContext::builder()
        .with_trust_store(TrustStore::empty().with_pem_certificate(roots.0))
        .build()
        .map_err(|error| setup(&error))?;
    let pool = ConnectionPool::builder()
        .dns_resolver(dns.clone())
        .proxy_config(ProxyConfig::from_env())
        .tls_provider(Provider::rustls(CryptoMode::Ring))
        .tls_context(context)
        .build_https()
        .map_err(|error| setup(&error))?;
    Ok(CompleteAnswers::of(Client::new(&pool).map_err(|error| setup(&error))?.into_shared()))
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    read_of_host(path, MAX_BUNDLE_LENGTH)
}

/// The number of certificates in a bundle that can be used as root certificates.
pub fn usable_certificates(pem: &[u8]) -> usize {
    check(pem).0.len()
}

/// The certificates that can be used as root certificates, and the error of the first that cannot.
fn check(pem: &[u8]) -> (Vec<CertificateDer<'static>>, Option<String>) {
    let (mut usable, mut rejected) = (Vec::new(), None);
    for (index, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let outcome = certificate.map_err(|error| error.to_string()).and_then(|certificate| {
            RootCertStore::empty().add(certificate.clone()).map_err(|error| error.to_string())?;
            Ok(certificate)
        });
        match outcome {
            Ok(certificate) => usable.push(certificate),
            Err(why) => {
                rejected.get_or_insert_with(|| format!("certificate {}: {why}", index + 1));
            }
        }
    }
    (usable, rejected)
}

fn encode(certificates: &[CertificateDer<'_>]) -> Roots {
    let blocks = certificates.iter().map(|certificate| {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(certificate))
    });
    Roots(blocks.collect::<String>().into_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn named(content: &[u8]) -> Result<Roots, AwsErrorKind> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        Roots::named(file.path())
    }

    #[test]
    fn the_built_in_certificates_can_be_used() {
        let (usable, rejected) = check(AMAZON);
        assert_eq!((usable.len(), rejected), (5, None));
        client(encode(&usable), &Dns::default()).unwrap();
    }

    #[test]
    fn a_bundle_with_an_unusable_certificate_is_an_error() {
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let cut = &AMAZON[..600];
        for rubbish in [b"".as_slice(), b"rubbish", b"\0\xff\x80", broken, cut] {
            let error = named(rubbish).unwrap_err();
            assert!(matches!(error, AwsErrorKind::CaBundle { .. }), "{error:?}");
        }
        let half_good = [AMAZON, broken].concat();
        assert!(named(&half_good).unwrap_err().to_string().contains("certificate 6"));
    }

    #[test]
    fn a_missing_bundle_and_a_folder_have_the_same_error_kind() {
        for path in ["/nonexistent/bundle.pem", "/"] {
            assert!(matches!(Roots::named(Path::new(path)), Err(AwsErrorKind::CaBundle { .. })));
        }
    }
}

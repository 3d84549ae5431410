//! The one HTTP client of all AWS services, and the certificates that it trusts.
//!
//! In go PEM bytes that were looked at, out comes a client for the SDK. Every certificate is checked before the SDK sees
//! it, because its client panics on one that it cannot use. A key or a body never passes through here.

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
use super::whole::WholeAnswers;
use crate::boundary::disk::read_of_host;
use crate::boundary::dns::Dns;

/// The roots that AWS documents for its endpoints (Amazon Trust Services, "CA certificates"). All the world's roots
/// would cost 13 million instructions at every start.
const AMAZON: &[u8] = include_bytes!("../amazon-roots.pem");

/// Where distributions keep the roots that this host trusts: Debian and its kin, then Amazon Linux and its kin.
pub(super) const HOST_BUNDLES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// A bundle of every public root is 250 kB.
const LONGEST_BUNDLE: usize = 4 * 1024 * 1024;

/// Certificates as PEM, each of which rustls has taken.
pub(super) struct Roots(Vec<u8>);

impl Roots {
    /// Amazon's own.
    pub(super) fn built_in() -> Roots {
        Roots(AMAZON.to_vec())
    }

    /// Those of a file that somebody named: one that cannot be used is an error, and so is none at all.
    pub(super) fn named(path: &Path) -> Result<Roots, AwsErrorKind> {
        let bad = |what: String| AwsErrorKind::CaBundle { path: path.to_owned(), what };
        let pem = read(path).map_err(|error| bad(error.to_string()))?;
        let (usable, rejected) = sort_out(&pem);
        match (usable.len(), rejected) {
            (0, None) => Err(bad("no certificate in it".to_owned())),
            (_, Some(why)) => Err(bad(why)),
            _ => Ok(encode(&usable)),
        }
    }

    /// Those of the host, without the ones that cannot be used.
    pub(super) fn of_host(bundles: &[PathBuf]) -> Option<Roots> {
        let pem = bundles.iter().find_map(|path| read(path).ok())?;
        let (usable, _rejected) = sort_out(&pem);
        (!usable.is_empty()).then(|| encode(&usable))
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots").field("bytes", &self.0.len()).finish()
    }
}

/// A client that trusts `roots`, resolves by `dns`, and takes its proxies from the environment.
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
    Ok(WholeAnswers::of(Client::new(&pool).map_err(|error| setup(&error))?.into_shared()))
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    read_of_host(path, LONGEST_BUNDLE)
}

/// How many certificates of a bundle can serve as roots.
pub fn usable_certificates(pem: &[u8]) -> usize {
    sort_out(pem).0.len()
}

/// The certificates that can serve as roots, and why the first of the others cannot.
fn sort_out(pem: &[u8]) -> (Vec<CertificateDer<'static>>, Option<String>) {
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
    fn the_built_in_roots_make_a_client() {
        let (usable, rejected) = sort_out(AMAZON);
        assert_eq!((usable.len(), rejected), (5, None));
        client(encode(&usable), &Dns::default()).unwrap();
    }

    #[test]
    fn a_bundle_without_a_usable_certificate_is_one_clear_error() {
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
    fn a_missing_bundle_and_a_folder_are_the_same_kind_of_error() {
        for path in ["/nonexistent/bundle.pem", "/"] {
            assert!(matches!(Roots::named(Path::new(path)), Err(AwsErrorKind::CaBundle { .. })));
        }
    }
}

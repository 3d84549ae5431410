//! Reads the certificate that a TLS server presents, for example a proxy that decrypts TLS.
//!
//! In: a host and a port. Out: the issuer and the subject of the certificate. The handshake is aborted once the
//! certificate has arrived: nothing is trusted, and no data is sent after the handshake.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

use crate::boundary::net;
use crate::retry::{Deadline, within};

/// The issuer and the subject of a certificate, each as common name and organization (`CN, O`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The CA that has signed the certificate.
    pub issuer: String,
    /// The owner of the certificate.
    pub subject: String,
}

/// The certificate that the server at `host` presents; `None` without one.
pub async fn certificate(host: &str, port: u16, deadline: Deadline) -> Option<Certificate> {
    let stream = net::open_host(host, port, deadline).await.ok()?;
    let recorder = Arc::new(CertificateRecorder::default());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let config = config.dangerous().with_custom_certificate_verifier(recorder.clone()).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let mut connection = ClientConnection::new(Arc::new(config), name).ok()?;
    let exchange = async {
        loop {
            let mut out = Vec::new();
            while connection.wants_write() {
                connection.write_tls(&mut out).ok()?;
            }
            net::send(&stream, &out).await.ok()?;
            let bytes = net::receive(&stream).await.ok().filter(|bytes| !bytes.is_empty())?;
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                connection.read_tls(&mut rest).ok()?;
                // Ends the loop: the verifier fails once it has the certificate.
                connection.process_new_packets().ok()?;
            }
        }
    };
    let _: Result<Option<()>, _> = within(deadline, exchange).await;
    let recorded = recorder.0.lock().unwrap_or_else(PoisonError::into_inner);
    recorded.as_deref().and_then(names)
}

/// A verifier that records the certificate and always rejects it.
#[derive(Debug, Default)]
struct CertificateRecorder(Mutex<Option<Vec<u8>>>);

impl ServerCertVerifier for CertificateRecorder {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _stapled: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(certificate.to_vec());
        Err(Error::General("only recorded".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only recorded".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_tls12_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

const SEQUENCE: u8 = 0x30;
/// id-at-commonName and id-at-organizationName (RFC 5280, appendix A.1).
const NAMES: [&[u8]; 2] = [&[0x55, 4, 3], &[0x55, 4, 10]];

/// Reads issuer and subject from a certificate in DER form (RFC 5280, section 4.1).
pub fn names(certificate: &[u8]) -> Option<Certificate> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    // The version field is absent in version 1.
    if fields.first() == Some(&0xa0) {
        fields = element(fields)?.2;
    }
    let (_serial, rest) = (element(fields)?, element(fields)?.2);
    let rest = element(rest)?.2;
    let (_, issuer, rest) = element(rest)?;
    let rest = element(rest)?.2;
    let (_, subject, _) = element(rest)?;
    Some(Certificate { issuer: name(issuer), subject: name(subject) })
}

/// The common name and the organization in a Name; those that are missing are left out.
fn name(mut sets: &[u8]) -> String {
    let mut found = [const { String::new() }; 2];
    while let Some((_, set, rest)) = element(sets) {
        sets = rest;
        let pair = element(set).filter(|(tag, ..)| *tag == SEQUENCE).map(|(_, pair, _)| pair);
        let Some((_, kind, value)) = pair.and_then(element) else { continue };
        let Some((_, text, _)) = element(value) else { continue };
        if let Some(at) = NAMES.iter().position(|name| *name == kind) {
            found[at] = String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(80).collect();
        }
    }
    found.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// Tag and content of the first DER element, and the bytes after it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..0x80 => (usize::from(first), rest),
        _ => {
            let count = usize::from(first & 0x7f);
            let digits = rest.get(..count).filter(|digits| digits.len() <= 4)?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), &rest[count..])
        }
    };
    Some((tag, rest.get(..length)?, &rest[length..]))
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn reads_issuer_and_subject() {
        let pem = include_bytes!("../../tests/fixtures/self-signed.pem");
        let certificate = names(&CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
        assert!(!certificate.issuer.is_empty() && certificate.issuer == certificate.subject, "{certificate:?}");
        let roots = include_bytes!("amazon-roots.pem");
        let root = names(&CertificateDer::from_pem_slice(roots).unwrap()).unwrap();
        assert_eq!(root.issuer, "Amazon Root CA 1, Amazon");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_cause_a_panic(bytes: Vec<u8>, at: usize, byte: u8) {
            names(&bytes);
            let pem = include_bytes!("../../tests/fixtures/self-signed.pem");
            let mut certificate = CertificateDer::from_pem_slice(pem).unwrap().to_vec();
            let at = at % certificate.len();
            certificate[at] = byte;
            names(&certificate);
        }
    }
}

//! Simulates a middlebox that intercepts TLS on the network path to AWS, with its own certificate.
//!
//! In: nothing. Out: an address that completes handshakes and never answers.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;

/// A TLS server with a self-signed certificate.
pub struct SelfSigned(SocketAddr);

impl SelfSigned {
    /// Serves until the process ends.
    pub fn start() -> Self {
        let pem = include_bytes!("../../fixtures/self-signed.pem");
        let chain = vec![CertificateDer::from_pem_slice(pem).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(pem).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = std::sync::Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
        let port = super::port::Port::reserve(std::net::Ipv4Addr::LOCALHOST.into());
        let (address, listener) = (port.address(), port.listen(16));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut server = rustls::ServerConnection::new(std::sync::Arc::clone(&config)).unwrap();
                while server.is_handshaking() && server.complete_io(&mut stream).is_ok() {}
            }
        });
        Self(address)
    }

    pub fn endpoint(&self) -> String {
        format!("https://{}", self.0)
    }
}

//! A client that knows its server's certificate beforehand.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme,
};

use super::{Flaw, chain};

/// A client that believes the server with the first certificate of a PEM file, and nobody else. For
/// the program itself, which can read its server's own files.
///
/// # Errors
/// With what is wrong with the file.
pub fn client_of(certificate: &Path) -> Result<ClientConfig, Flaw> {
    let own = chain(certificate, "certificate")?.into_iter().next();
    let provider = Arc::new(ring::default_provider());
    let pinned = Pinned {
        certificate: own,
        algorithms: provider.signature_verification_algorithms,
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            let wrong = format!("there is no TLS: {error}");
            Flaw::new(certificate, "certificate", wrong, "tell the maintainers")
        })?;
    let builder = builder.dangerous();
    let builder = builder.with_custom_certificate_verifier(Arc::new(pinned));
    Ok(builder.with_no_client_auth())
}

/// Believes one certificate, whatever its names and times say.
#[derive(Debug)]
struct Pinned {
    certificate: Option<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        if self.certificate.as_deref() == Some(&**end_entity) {
            Ok(ServerCertVerified::assertion())
        } else {
            let words = "it shows another certificate than the one in the configuration";
            Err(TlsError::General(words.to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

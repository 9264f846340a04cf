//! The certificates and the key of a session: read from their files, and checked that they fit together.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::Arc;

use pkcs8::der::pem::LineEnding;
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use webpki::EndEntityCert;
use zeroize::Zeroizing;
use zookeeper_client as zk;

use crate::connect::tls::{ClientCertificate, Tls};
use crate::error::{Error, Result};

const ENCRYPTED: (&str, &str) = ("-----BEGIN ENCRYPTED PRIVATE KEY-----", "-----END ENCRYPTED PRIVATE KEY-----");
/// In keys that OpenSSL encrypted before it knew PKCS #8, with one round of MD5.
const ENCRYPTED_BADLY: &str = "Proc-Type: 4,ENCRYPTED";

/// The certificates and the key of a session, checked.
pub(crate) struct Material {
    authorities: String,
    client: Option<(String, Zeroizing<String>)>,
    /// Where the certificate in `client` comes from.
    pub(crate) certfile: Option<String>,
    verify_names: bool,
    explaining: ClientConfig,
}

impl Material {
    /// Reads the files, and checks that they fit together. It takes its time, above all for an encrypted key.
    pub(crate) fn load(tls: &Tls) -> Result<Self> {
        let authorities = read("ca_certs", &tls.ca_certs)?;
        let verifier = Explaining {
            verifier: verifier(&tls.ca_certs, &authorities)?,
            ca_certs: tls.ca_certs.clone(),
            verify_names: tls.verify_names,
        };
        let config = ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let Some(client) = &tls.client else {
            let explaining = config.with_no_client_auth();
            return Ok(Self { authorities, client: None, certfile: None, verify_names: tls.verify_names, explaining });
        };
        let chain = read("certfile", &client.certfile)?;
        let certificates = certificates("certfile", &client.certfile, &chain)?;
        let key = key(client)?;
        let parsed = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| unusable("keyfile", &client.keyfile, "private key", &error))?;
        let explaining = config.with_client_auth_cert(certificates, parsed).map_err(|error| {
            let reason = match error {
                rustls::Error::InconsistentKeys(_) => {
                    format!("does not belong to the certificate in {}", client.certfile)
                }
                other => format!("cannot be used: {other}"),
            };
            Error::argument("keyfile", format!("the key in {} {reason}", client.keyfile))
        })?;
        Ok(Self {
            authorities,
            client: Some((chain, key)),
            certfile: Some(client.certfile.clone()),
            verify_names: tls.verify_names,
            explaining,
        })
    }

    /// The configuration for one handshake that a probe makes to learn why it fails. Its error is a text for people,
    /// and [`Asked`] tells whether the server asked for a certificate.
    pub(crate) fn explaining(&self) -> (Arc<ClientConfig>, Arc<Asked>) {
        let mut config = self.explaining.clone();
        let asked = Arc::new(Asked { client: config.client_auth_cert_resolver, sent: AtomicU8::new(NOT_ASKED) });
        config.client_auth_cert_resolver = asked.clone();
        // A server that takes up an earlier session does not ask again.
        config.resumption = Resumption::disabled();
        (Arc::new(config), asked)
    }

    /// The same certificates and key, for the protocol client.
    pub(crate) fn certs(&self) -> Result<zk::TlsCerts> {
        let refused = |error: zk::Error| Error::argument("ca_certs", error.to_string());
        let mut certs = zk::TlsCerts::builder().with_ca(zk::TlsCa::from_pem(&self.authorities).map_err(refused)?);
        if let Some((chain, key)) = &self.client {
            certs = certs.with_identity(zk::TlsIdentity::from_pem(chain, key).map_err(refused)?);
        }
        certs.build().map_err(refused)
    }

    /// How the protocol client speaks TLS, with certificates that may change.
    pub(crate) fn options(&self, certs: zk::TlsDynamicCerts) -> zk::TlsOptions {
        let options = zk::TlsOptions::new().with_certs(certs);
        if self.verify_names {
            options
        } else {
            without_names(options)
        }
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").finish_non_exhaustive()
    }
}

/// Not unsafe in Rust's sense, but marked so by the client: the caller has to have asked for it.
#[allow(unsafe_code)]
fn without_names(options: zk::TlsOptions) -> zk::TlsOptions {
    // SAFETY: no memory is involved. `verify_certs: false` asks for it, and is warned of.
    unsafe { options.with_no_hostname_verification() }
}

fn read(argument: &'static str, path: &str) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        let reason = match error.kind() {
            std::io::ErrorKind::InvalidData => format!("{path} is no PEM file"),
            _ => format!("cannot read {path}: {error}"),
        };
        Error::argument(argument, reason)
    })
}

fn unusable(argument: &'static str, path: &str, what: &str, error: &pem::Error) -> Error {
    let reason = match error {
        pem::Error::NoItemsFound => format!("{path} holds no {what} in PEM format"),
        // The error may quote the file.
        _ => format!("{path} is damaged: its PEM format cannot be read"),
    };
    Error::argument(argument, reason)
}

fn certificates(argument: &'static str, path: &str, text: &str) -> Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| unusable(argument, path, "certificate", &error))?;
    if found.is_empty() {
        return Err(unusable(argument, path, "certificate", &pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn verifier(path: &str, text: &str) -> Result<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca_certs", path, text)? {
        roots
            .add(certificate)
            .map_err(|error| Error::argument("ca_certs", format!("{path} holds a bad certificate: {error}")))?;
    }
    let revoked: Vec<_> = CertificateRevocationListDer::pem_slice_iter(text.as_bytes())
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| unusable("ca_certs", path, "revocation list", &error))?;
    WebPkiServerVerifier::builder(Arc::new(roots))
        .with_crls(revoked)
        .build()
        .map_err(|error| Error::argument("ca_certs", format!("{path} cannot be used: {error}")))
}

/// The private key as PEM, not encrypted.
fn key(client: &ClientCertificate) -> Result<Zeroizing<String>> {
    let path = &client.keyfile;
    let refused = |reason: String| Error::argument("keyfile", reason);
    let text = Zeroizing::new(read("keyfile", path)?);
    if text.contains(ENCRYPTED_BADLY) {
        let cure = "convert it with: openssl pkcs8 -topk8";
        return Err(refused(format!("{path} is encrypted in a format that is no longer safe; {cure}")));
    }
    let (begin, end) = ENCRYPTED;
    let Some(encrypted) = text.find(begin).map(|start| &text[start..]) else {
        return Ok(text);
    };
    let Some(password) = &client.password else {
        return Err(refused(format!("{path} is encrypted: give its keyfile_password")));
    };
    let damaged =
        || unusable("keyfile", path, "private key", &pem::Error::MissingSectionEnd { end_marker: Vec::new() });
    let length = encrypted.find(end).ok_or_else(damaged)? + end.len();
    let (_, document) = SecretDocument::from_pem(&encrypted[..length]).map_err(|_| damaged())?;
    let key = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|_| damaged())?;
    let key = key.decrypt(password.reveal()).map_err(|error| match error {
        pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::UnsupportedAlgorithm { oid }) => {
            refused(format!("{path} is encrypted with {oid}, which is not supported; aes-256-cbc is"))
        }
        _ => Error::argument("keyfile_password", format!("does not decrypt {path}")),
    })?;
    key.to_pem("PRIVATE KEY", LineEnding::LF).map_err(|_| damaged())
}

const NOT_ASKED: u8 = 0;
const SENT_NONE: u8 = 1;
const SENT: u8 = 2;

/// Gives a server our certificate as it always is given, and notes that the server asked for one.
#[derive(Debug)]
pub(crate) struct Asked {
    client: Arc<dyn ResolvesClientCert>,
    sent: AtomicU8,
}

impl Asked {
    /// Whether the server was sent our certificate. `None`: it has not asked.
    pub(crate) fn sent(&self) -> Option<bool> {
        match self.sent.load(Ordering::Relaxed) {
            NOT_ASKED => None,
            sent => Some(sent == SENT),
        }
    }
}

impl ResolvesClientCert for Asked {
    fn resolve(&self, hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // Without a signature that the server takes, rustls sends no certificate.
        let found = self.client.resolve(hints, schemes).filter(|it| it.key.choose_scheme(schemes).is_some());
        self.sent.store(if found.is_some() { SENT } else { SENT_NONE }, Ordering::Relaxed);
        found
    }

    fn has_certs(&self) -> bool {
        self.client.has_certs()
    }
}

/// The usual verifier, whose errors are for people.
#[derive(Debug)]
struct Explaining {
    verifier: Arc<WebPkiServerVerifier>,
    ca_certs: String,
    verify_names: bool,
}

impl Explaining {
    fn explain(&self, error: &CertificateError, certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> String {
        use CertificateError as E;
        let at = |time: &UnixTime| {
            humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + std::time::Duration::from_secs(time.as_secs()))
        };
        let parsed = EndEntityCert::try_from(certificate);
        let ca_certs = &self.ca_certs;
        match error {
            E::Expired => "the certificate has expired".to_owned(),
            E::ExpiredContext { not_after, .. } => format!("the certificate expired at {}", at(not_after)),
            E::NotValidYet => "the certificate is not valid yet".to_owned(),
            E::NotValidYetContext { not_before, .. } => {
                format!("the certificate is not valid before {}", at(not_before))
            }
            E::NotValidForName => format!("the certificate is not for {}", name.to_str()),
            E::NotValidForNameContext { presented, .. } => {
                let bare = |it: &String| it.split(['(', ')', '"']).find(|part| part.contains('.')).map(str::to_owned);
                let presented: Vec<_> = presented.iter().map(|it| bare(it).unwrap_or_else(|| it.clone())).collect();
                format!("the certificate is for {}, not for {}", presented.join(", "), name.to_str())
            }
            E::Revoked => "the certificate was revoked".to_owned(),
            _ if parsed.is_ok_and(|it| it.issuer() == it.subject()) => {
                format!("the certificate is self-signed, and nobody in {ca_certs} vouches for it")
            }
            E::UnknownIssuer | E::BadSignature => {
                format!("the certificate was issued by none of the authorities in {ca_certs}")
            }
            other => format!("the certificate cannot be accepted: {other}"),
        }
    }
}

impl ServerCertVerifier for Explaining {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        match self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
                if !self.verify_names =>
            {
                Ok(ServerCertVerified::assertion())
            }
            Err(rustls::Error::InvalidCertificate(error)) => {
                Err(rustls::Error::General(self.explain(&error, end_entity, server_name)))
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

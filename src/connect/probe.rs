//! Why no server can be used, where that is certain. The protocol client goes on to the next server, and does not say
//! why.
//!
//! A server that is not there may come back. A server that shows a certificate which cannot be accepted, that does not
//! accept ours, or that speaks TLS where the client does not, or the reverse, will do so again. So each server is
//! probed, on a connection of its own.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::connect::certificates::Material;
use crate::connect::settings::Identity;
use crate::connect::tls::server_name;
use crate::error::Error;

/// How long the protocol client tries alone, before the servers are probed. A usable server needs milliseconds.
const GRACE: Duration = Duration::from_millis(500);
/// How long a server may take to show what it is, in plain text and then in TLS.
const LIMIT: Duration = Duration::from_secs(1);
/// The longest pause between two probes. An outage may last, and many may wait for its end.
const MOST: Duration = Duration::from_secs(30);
/// Every server answers it, if only to say that it is not allowed. It is as long as the header of a TLS record, without
/// which a server that wants TLS waits for more.
const QUESTION: &[u8] = b"srvr\n";
/// The first byte of a TLS alert.
const ALERT: u8 = 21;

/// What the probes have found, for the error of a wait that runs out of time.
pub(crate) type Findings = Mutex<Option<String>>;

/// Why credentials may have been refused.
pub(crate) fn why_refused(identity: &Identity) -> &'static str {
    if identity.has_ticket() {
        "check the clocks, and that the servers' keytab has the newest key of the principal named as the hosts are"
    } else {
        "check username, password and scheme"
    }
}

/// Why no server may have answered. One that does SASL by another mechanism does not say so.
pub(crate) fn why_silent(identity: &Identity) -> &'static str {
    if identity.has_ticket() {
        "check the addresses, that a majority of the ensemble runs, and that its SASL is Kerberos, not DIGEST-MD5"
    } else {
        "check the addresses, and that a majority of the ensemble runs"
    }
}

/// Probes all servers while the protocol client tries to connect, until it is certain for each why it cannot be used.
pub(crate) async fn certain_failure(
    identity: &Identity,
    material: Option<&Material>,
    findings: &Findings,
) -> std::result::Result<Infallible, Error> {
    let mut pause = GRACE;
    loop {
        sleep(pause).await;
        pause = (pause * 2).min(MOST);
        let probes = identity.servers.iter().map(|server| probe(server, material));
        let found: Vec<_> = join_all(probes).await;
        let is_certain = found.iter().all(Option::is_some);
        let servers = identity.servers.iter().cloned().zip(found);
        let reason = grouped(servers.filter_map(|(server, finding)| Some((server, finding?))));
        if is_certain {
            return Err(Error::Tls { reason });
        }
        *findings.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason).filter(|it| !it.is_empty());
    }
}

/// Findings about servers as one line, in which each finding comes once.
pub(crate) fn grouped(findings: impl Iterator<Item = (String, String)>) -> String {
    let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (server, finding) in findings {
        reasons.entry(finding).or_default().push(server);
    }
    let reasons = reasons.into_iter().map(|(finding, servers)| format!("{}: {finding}", servers.join(", ")));
    reasons.collect::<Vec<_>>().join("; ")
}

/// Why a server cannot be used, where that is certain.
async fn probe(server: &str, material: Option<&Material>) -> Option<String> {
    let Some(material) = material else {
        let hello = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let speaks_tls = !answers_in_plain_text(server).await
            && !matches!(handshake(server, Arc::new(hello)).await?, Handshake::NoTls);
        return speaks_tls.then(|| "speaks nothing but TLS; set use_ssl, or name another port".to_owned());
    };
    let (explaining, asked) = material.explaining();
    let refusal = match handshake(server, explaining).await? {
        Handshake::Failed(rustls::Error::General(explained)) => return Some(explained),
        Handshake::Failed(rustls::Error::AlertReceived(alert)) => alert,
        Handshake::Failed(other) => return Some(format!("TLS cannot be agreed on: {other}")),
        Handshake::NoTls => {
            let is_plain = answers_in_plain_text(server).await;
            return is_plain
                .then(|| "speaks plain text, not TLS; leave use_ssl out, or name the secure port".to_owned());
        }
        // In TLS 1.3 a server says only after the handshake what it thinks of the client's certificate.
        Handshake::Done(stream) => match rustls_error(answer(*stream).await.err()?)? {
            rustls::Error::AlertReceived(alert) => alert,
            _ => return None,
        },
    };
    // Which alert a server sends depends on its version. What it asked for, and what it was sent, does not.
    Some(match (asked.sent(), &material.certfile) {
        (None, _) => format!("TLS cannot be agreed on: {refusal:?}"),
        (Some(true), Some(certfile)) => format!("refused the certificate in {certfile} ({refusal:?})"),
        (Some(false), Some(certfile)) => {
            format!("accepts no key of the kind that the certificate in {certfile} has ({refusal:?})")
        }
        (Some(_), None) => format!("wants a certificate of the client's, in certfile and keyfile ({refusal:?})"),
    })
}

enum Handshake {
    Done(Box<tokio_rustls::client::TlsStream<TcpStream>>),
    Failed(rustls::Error),
    NoTls,
}

/// `None`: the server is not there, or it takes too long.
async fn handshake(server: &str, config: Arc<ClientConfig>) -> Option<Handshake> {
    let name = server_name(server).ok()?;
    let shaking = async { Some(TlsConnector::from(config).connect(name, connect(server).await?).await) };
    Some(match timeout(LIMIT, shaking).await.ok()?? {
        Ok(stream) => Handshake::Done(Box::new(stream)),
        Err(error) => match rustls_error(error) {
            None | Some(rustls::Error::InvalidMessage(_)) => Handshake::NoTls,
            Some(error) => Handshake::Failed(error),
        },
    })
}

fn rustls_error(error: std::io::Error) -> Option<rustls::Error> {
    error.downcast().ok()
}

async fn answers_in_plain_text(server: &str) -> bool {
    let answering = async { answer(connect(server).await?).await.ok() };
    timeout(LIMIT, answering).await.is_ok_and(|first| first.is_some_and(|first| first != ALERT))
}

/// The first byte of an answer.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<u8> {
    stream.write_all(QUESTION).await?;
    timeout(LIMIT, stream.read_u8()).await?
}

async fn connect(server: &str) -> Option<TcpStream> {
    let (host, port) = server.rsplit_once(':')?;
    TcpStream::connect((host.trim_matches(['[', ']']), port.parse().ok()?)).await.ok()
}

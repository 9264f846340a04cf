//! Why none of the servers can be used. The protocol client goes on to the next server, and does not say why.
//!
//! A server that is not there may come back. A server that shows a certificate which cannot be accepted, that does not
//! accept ours, or that speaks TLS where the client does not, or the reverse, will do so again. So each server is
//! examined, on a connection of its own.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::connect::certificates::Material;
use crate::connect::dialer::Dialer;
use crate::connect::probe::{ask, Probed, QUESTION};
use crate::connect::renewal::Certificates;
use crate::connect::resolver::resolve;
use crate::connect::seen::Seen;
use crate::connect::settings::Identity;
use crate::connect::tls::server_name;
use crate::error::Error;

/// How long the protocol client tries alone, before the servers are examined. A usable server needs milliseconds.
const GRACE: Duration = Duration::from_millis(500);
/// How long a server may take to show what it is, in plain text and then in TLS.
const LIMIT: Duration = Duration::from_secs(1);
/// The longest pause between two examinations. An outage may last, and many may wait for its end.
const MOST: Duration = Duration::from_secs(30);
/// The first byte of a TLS alert.
const ALERT: u8 = 21;

/// What is known against the servers of a session, by all who look for it.
#[derive(Debug, Default)]
pub(crate) struct Findings(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// What the session's connections have seen.
    dialer: Option<Arc<Dialer>>,
    /// What an examination has found, by server.
    examined: Vec<Option<Finding>>,
    /// Why there are no tickets for the servers.
    tickets: Option<String>,
}

/// What an examination has found against a server.
#[derive(Clone, Debug)]
enum Finding {
    /// It stays as long as nobody changes the settings, ours or the server's.
    Lasting(String),
    /// It may pass by waiting.
    Passing(Seen),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lasting(reason) => f.write_str(reason),
            Self::Passing(seen) => seen.fmt(f),
        }
    }
}

impl Findings {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on what `dialer` sees counts, and nothing from before.
    pub(crate) fn begin(&self, dialer: Arc<Dialer>) {
        *self.known() = Known { dialer: Some(dialer), ..Known::default() };
    }

    #[cfg(feature = "gssapi")]
    pub(crate) fn note_tickets(&self, reason: Option<String>) {
        self.known().tickets = reason;
    }

    /// Somebody has come who wants an answer soon.
    pub(crate) fn hurry(&self) {
        if let Some(dialer) = &self.known().dialer {
            dialer.hurry();
        }
    }

    /// The session is open: what an examination found on the way there does not count any more.
    pub(crate) fn opened(&self) {
        self.known().examined.clear();
    }

    /// Waits until it is certain of all servers that they cannot be used now.
    pub(crate) async fn in_vain(&self) {
        let dialer = self.known().dialer.clone();
        match dialer {
            Some(dialer) => dialer.in_vain().await,
            None => std::future::pending().await,
        }
    }

    /// Waits until it is certain that the servers will not let the session be taken up again.
    pub(crate) async fn disowned(&self) {
        let dialer = self.known().dialer.clone();
        match dialer {
            Some(dialer) => dialer.disowned().await,
            None => std::future::pending().await,
        }
    }

    /// What is known against the servers, in one line with what to do.
    pub(crate) fn text(&self, identity: &Identity) -> String {
        let known = self.known();
        if let Some(reason) = &known.tickets {
            return reason.clone();
        }
        let seen = known.dialer.as_ref().map_or_else(Vec::new, |dialer| dialer.seen());
        let examined = |index: usize| known.examined.get(index).cloned().flatten();
        let seen = |index: usize| seen.get(index).cloned().flatten().map(|seen| seen.to_string());
        let is_explained =
            (0..identity.servers.len()).all(|index| matches!(examined(index), Some(Finding::Lasting(_))));
        let found = identity.servers.iter().enumerate().filter_map(|(index, server)| {
            let finding = examined(index).map(|finding| finding.to_string()).or_else(|| seen(index))?;
            Some((server.clone(), finding))
        });
        let refused = known.dialer.as_ref().and_then(|dialer| dialer.refused_certificates());
        let found = [grouped(found)].into_iter().filter(|found| !found.is_empty()).chain(refused);
        let found = found.collect::<Vec<_>>().join("; ");
        match why_silent(identity) {
            advice if found.is_empty() => advice.to_owned(),
            _ if is_explained => found,
            advice => format!("{found}; {advice}"),
        }
    }
}

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

/// Examines all servers while the protocol client tries to connect, until it is certain for each why it cannot be used.
pub(crate) async fn certain_failure(
    identity: &Identity,
    certificates: Option<&Certificates>,
    findings: &Findings,
) -> std::result::Result<Infallible, Error> {
    let mut pause = GRACE;
    loop {
        sleep(pause).await;
        pause = (pause * 2).min(MOST);
        let material = certificates.map(Certificates::material);
        let examinations = identity.servers.iter().map(|server| examine(server, material.as_deref()));
        let found: Vec<_> = join_all(examinations).await;
        let lasting = identity.servers.iter().zip(&found).filter_map(|(server, found)| match found {
            Some(Finding::Lasting(reason)) => Some((server.clone(), reason.clone())),
            _ => None,
        });
        let lasting: Vec<_> = lasting.collect();
        if lasting.len() == identity.servers.len() {
            return Err(Error::Tls { reason: grouped(lasting.into_iter()) });
        }
        findings.known().examined = found;
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

/// Why a server cannot be used, where it shows that.
async fn examine(server: &str, material: Option<&Material>) -> Option<Finding> {
    match material {
        Some(material) => examine_tls(server, material).await.map(Finding::Lasting),
        None => examine_plain(server).await,
    }
}

async fn examine_plain(server: &str) -> Option<Finding> {
    let asking = async { ask(connect(server).await?).await };
    match timeout(LIMIT, asking).await.ok().flatten() {
        Some(Probed::NoQuorum) => Some(Finding::Passing(Seen::NoQuorum)),
        Some(Probed::ReadOnly) => Some(Finding::Passing(Seen::ReadOnly)),
        Some(Probed::Serves) => None,
        _ => {
            let hello = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
            let speaks_tls = !answers_in_plain_text(server).await
                && !matches!(handshake(server, Arc::new(hello)).await?, Handshake::NoTls);
            let reason = "speaks nothing but TLS; set use_ssl, or name another port";
            speaks_tls.then(|| Finding::Lasting(reason.to_owned()))
        }
    }
}

async fn examine_tls(server: &str, material: &Material) -> Option<String> {
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
    // Not by the runtime's own resolver, which panics where no thread can be started.
    let addresses = resolve(host.trim_matches(['[', ']']), port.parse().ok()?).await.ok()?;
    TcpStream::connect(addresses.as_slice()).await.ok()
}

//! A connection to one server beside those of the session, in plain text or in TLS: for questions that are no requests.

use std::io;
use std::sync::Arc;

use futures::future::select_ok;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::connect::apart::apart;
use crate::connect::certificates::Material;
use crate::connect::resolver::resolve;
use crate::connect::seen::Seen;
use crate::connect::settings::Identity;
use crate::connect::tls::server_name;
use crate::error::Result;

/// A connection, of whatever kind.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// There is no connection to be had, for this reason.
    Unreachable(String),
    /// The server does not speak TLS.
    NoTls,
    /// TLS cannot be agreed on, for this reason.
    Tls(String),
}

/// The certificates that an identity speaks TLS with, if it does.
///
/// # Errors
/// [`crate::error::Error::Argument`]: a file is missing or damaged, or does not fit the others.
pub(crate) async fn material(identity: &Identity) -> Result<Option<Arc<Material>>> {
    match identity.tls.clone() {
        None => Ok(None),
        // It takes long to decrypt a key.
        Some(tls) => apart(tls, Material::load).await.map(|material| Some(Arc::new(material))),
    }
}

/// Connects to `host:port`. A name with several addresses is tried at all of them at once.
///
/// # Errors
/// [`Unusable`].
pub(crate) async fn open(server: &str, material: Option<&Material>) -> std::result::Result<Box<dyn Duplex>, Unusable> {
    let stream = connect(server).await?;
    let Some(material) = material else { return Ok(Box::new(stream)) };
    let name = server_name(server).map_err(|error| Unusable::Tls(error.to_string()))?;
    let (config, _) = material.explaining();
    match TlsConnector::from(config).connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(why(error)),
    }
}

async fn connect(server: &str) -> std::result::Result<TcpStream, Unusable> {
    let unreachable = |seen: Seen| Unusable::Unreachable(seen.to_string());
    let (host, port) = server.rsplit_once(':').unwrap_or((server, ""));
    let port = port.parse().map_err(|_| Unusable::Unreachable(format!("{server:?} has no port")))?;
    let addresses = resolve(host.trim_matches(['[', ']']), port).await;
    let addresses = addresses.map_err(|error| unreachable(Seen::of_resolving(&error)))?;
    let connecting = addresses.into_iter().map(|address| Box::pin(TcpStream::connect(address)));
    let (stream, _) = select_ok(connecting).await.map_err(|error| unreachable(Seen::of_connecting(&error)))?;
    Ok(stream)
}

/// What an error of TLS means, at the handshake or after it.
pub(crate) fn why(error: io::Error) -> Unusable {
    match error.downcast::<rustls::Error>() {
        Ok(rustls::Error::General(explained)) => Unusable::Tls(explained),
        Ok(rustls::Error::InvalidMessage(_)) => Unusable::NoTls,
        Ok(rustls::Error::AlertReceived(alert)) => {
            Unusable::Tls(format!("refused the client's certificate, or that there is none ({alert:?})"))
        }
        Ok(error) => Unusable::Tls(format!("TLS cannot be agreed on: {error}")),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Unusable::NoTls,
        Err(error) => Unusable::Unreachable(Seen::of_stream(0, Some(&error)).to_string()),
    }
}

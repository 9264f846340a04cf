//! The addresses of a name.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use tokio::sync::oneshot;

/// Of the thread that asks the resolver of the system.
const STACK: usize = 256 * 1024;

/// The addresses of a host, each once. The resolver of the system blocks, so that a name needs a thread.
///
/// # Errors
/// The name is not known, or no thread can be started.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (sender, receiver) = oneshot::channel();
    let name = host.to_owned();
    std::thread::Builder::new().name("zkcoord-resolver".to_owned()).stack_size(STACK).spawn(move || {
        use std::net::ToSocketAddrs;
        let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        let _ = sender.send(found);
    })?;
    let mut found = receiver.await.map_err(io::Error::other)??;
    found.sort_unstable();
    found.dedup();
    if found.is_empty() {
        return Err(io::Error::new(ErrorKind::NotFound, "the name has no address"));
    }
    Ok(found)
}

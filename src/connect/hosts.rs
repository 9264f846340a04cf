//! The connect string: `host:port,host:port/chroot`, taken apart and checked. Pure.

use std::net::Ipv6Addr;

use crate::error::{Error, Result};
use crate::path;

/// The server that is tried when a caller names none.
pub const DEFAULT_HOSTS: &str = "127.0.0.1:2181";
const DEFAULT_PORT: u16 = 2181;
/// The prefix of a server's address that asks for TLS, and the one that asks for plain text.
pub(super) const TLS: &str = "tcp+tls://";
const PLAIN: &str = "tcp://";

/// Servers as `host:port`, the chroot's prefix, and whether to speak TLS where that is said.
///
/// Taken are `a:1,b:2/chroot` as text, lists of such pieces, and lists whose last item is the chroot.
/// A chroot after several servers must be the same after each.
pub(super) fn parse_hosts(items: &[String]) -> Result<(Vec<String>, String, Option<bool>)> {
    let refused = |reason: String| Err(Error::argument("zk_hosts", reason));
    let mut servers = Vec::new();
    let mut chroot: Option<String> = None;
    let mut schemes = Vec::new();
    let pieces: Vec<&str> = items.iter().flat_map(|item| item.split(',')).map(str::trim).collect();
    for (index, piece) in pieces.iter().enumerate() {
        let (scheme, piece) = [(TLS, true), (PLAIN, false)]
            .into_iter()
            .find_map(|(prefix, tls)| piece.strip_prefix(prefix).map(|rest| (Some(tls), rest)))
            .unwrap_or((None, piece));
        let (address, suffix) = piece.find('/').map_or((piece, ""), |slash| piece.split_at(slash));
        if !suffix.is_empty() {
            let prefix = path::chroot(suffix)?;
            if chroot.as_ref().is_some_and(|other| *other != prefix) {
                return refused("two different chroots; one holds for all servers and follows the last".to_owned());
            }
            chroot = Some(prefix);
        }
        let is_chroot_item = address.is_empty() && !suffix.is_empty() && index > 0 && index + 1 == pieces.len();
        if !is_chroot_item || scheme.is_some() {
            let server = parse_server(address)?;
            // A server that is named twice is one server all the same.
            if !servers.contains(&server) {
                servers.push(server);
            }
            schemes.push(scheme);
        }
    }
    if servers.is_empty() {
        return refused("no server is named; give host:port,host:port".to_owned());
    }
    if schemes.iter().any(|scheme| *scheme != schemes[0]) {
        return refused(format!("either all servers are named with {TLS}, or none is: TLS is for all of them"));
    }
    Ok((servers, chroot.unwrap_or_default(), schemes[0]))
}

fn parse_server(text: &str) -> Result<String> {
    if text.contains('@') {
        let reason = "an address contains '@': user and password have arguments of their own";
        return Err(Error::argument("zk_hosts", reason));
    }
    let refused = |why: &str| Err(Error::argument("zk_hosts", format!("{text:?} {why}; give host:port")));
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((host, rest)) = rest.split_once(']') else {
            return refused("has no closing bracket");
        };
        let address = host.split_once('%').map_or(host, |(address, _)| address);
        if address.parse::<Ipv6Addr>().is_err() {
            return refused("is no IPv6 address in brackets");
        }
        match rest.strip_prefix(':') {
            Some(port) => (format!("[{host}]"), Some(port)),
            None if rest.is_empty() => (format!("[{host}]"), None),
            None => return refused("has something other than a port after the bracket"),
        }
    } else {
        match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return refused("has two colons: an IPv6 address goes in brackets")
            }
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (text.to_owned(), None),
        }
    };
    if host.is_empty() {
        return refused("names no host");
    }
    if !host.starts_with('[') && !host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')) {
        return refused("is no host name");
    }
    let port = match port.map(str::parse) {
        None => DEFAULT_PORT,
        Some(Ok(port)) if port > 0 => port,
        Some(_) => return refused("has no port between 1 and 65535 after the colon"),
    };
    Ok(format!("{host}:{port}"))
}

/// The host in `host:port`, without brackets.
pub(crate) fn host(server: &str) -> &str {
    server.rsplit_once(':').map_or(server, |(host, _)| host).trim_matches(['[', ']'])
}

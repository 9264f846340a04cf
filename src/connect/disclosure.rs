//! Which servers a configured secret may go to. Pure.
//!
//! Who may call a function may name any host in its arguments, and the protocol client sends a password before the server has
//! said a word. So what is secret in the configuration goes only to the servers that the configuration names, and only in the
//! way in which the configuration makes sure of them:
//!
//! | hosts of the arguments | TLS, as it comes out | a configured secret |
//! | --- | --- | --- |
//! | none, or some of the configured ones | as configured, or stricter | goes there |
//! | none, or some of the configured ones | weaker than configured | is refused |
//! | others, and the configuration names hosts | verifies the server's name by configured authorities | goes there |
//! | others, and the configuration names hosts | anything else | is refused |
//! | others, and the configuration names no hosts | as configured, or stricter | goes there |
//!
//! Secret are a password, the key of a client's certificate, a Kerberos ticket, and the passwords and digests in an ACL. One
//! that the arguments replace is not sent, and is no matter here.

use std::net::Ipv6Addr;

use crate::acl;
use crate::connect::hosts::parse_hosts;
use crate::connect::source::Source;
use crate::connect::tls::Tls;
use crate::error::{Error, Result};

/// What turns the rule off.
const SETTING: &str = "send_credentials_to_any_host";

/// A configured secret that a call would send.
struct Secret {
    what: &'static str,
    /// The arguments that would replace it.
    arguments: &'static str,
}

/// Refuses to send what is secret in `configured` to servers that it does not name. `servers` and `tls` are what the two
/// sources come to together.
///
/// # Errors
/// [`Error::Argument`], for the argument that leads to another server.
pub(super) fn check(explicit: &Source, configured: &Source, servers: &[String], tls: Option<&Tls>) -> Result<()> {
    if configured.send_credentials_to_any_host == Some(true) {
        return Ok(());
    }
    let Some(secret) = secret(explicit, configured, tls.is_some()) else { return Ok(()) };
    let (name, what) = (configured.name(), secret.what);
    let others = format!("give {} too, or set {SETTING} there", secret.arguments);
    if let Some(argument) = weaker(explicit, configured, tls) {
        let reason = format!(
            "{name} makes sure of its servers in a stricter way before they are sent its {what}: \
             leave {argument} out, {others}"
        );
        return Err(Error::argument(argument, reason));
    }
    if explicit.hosts.is_none() {
        return Ok(());
    }
    let (whose, known) = match (&configured.hosts, &configured.hosts_above) {
        (Some(known), _) => (name.clone(), known),
        (None, Some(known)) => (format!("the section that {name} is in"), known),
        (None, None) => return Ok(()),
    };
    // Hosts that cannot be read are nobody's.
    let known: Vec<_> = parse_hosts(known).map_or_else(|_| Vec::new(), |(known, ..)| known);
    let known: Vec<_> = known.iter().map(|server| canonical(server)).collect();
    let Some(stranger) = servers.iter().find(|server| !known.contains(&canonical(server))) else { return Ok(()) };
    if tls.is_some_and(|tls| tls.verify_names && configured.tls.ca_certs.as_ref() == Some(&tls.ca_certs)) {
        return Ok(());
    }
    let reason = format!(
        "{stranger} is not among the hosts of {whose}, the only ones to be sent its {what}: name those hosts, {others}"
    );
    Err(Error::argument("zk_hosts", reason))
}

/// What is secret in `configured` and would be sent.
fn secret(explicit: &Source, configured: &Source, speaks_tls: bool) -> Option<Secret> {
    let (given, user) = (&explicit.user, &configured.user);
    if user.password.is_some() && given.password.is_none() {
        return Some(Secret { what: "password", arguments: "username and password" });
    }
    if user.mechanism.as_deref() == Some("GSSAPI") && given.mechanism.is_none() {
        return Some(Secret { what: "Kerberos ticket", arguments: "scheme and mechanism" });
    }
    let (given, tls) = (&explicit.tls, &configured.tls);
    let has_certificate = (tls.certfile.is_some() && given.certfile.is_none())
        || (tls.keyfile.is_some() && given.keyfile.is_none())
        || (tls.keyfile_password.is_some() && given.keyfile_password.is_none());
    if has_certificate && speaks_tls {
        return Some(Secret { what: "client certificate", arguments: "certfile and keyfile" });
    }
    let acl = configured.default_acl.as_deref().filter(|_| explicit.default_acl.is_none());
    acl.is_some_and(acl::has_secret)
        .then_some(Secret { what: "default_acl with passwords", arguments: "a default_acl" })
}

/// The argument by which the servers are made sure of less than they would be by `configured` alone, if there is one.
fn weaker(explicit: &Source, configured: &Source, tls: Option<&Tls>) -> Option<&'static str> {
    let by_hosts = configured.hosts.as_ref().and_then(|hosts| parse_hosts(hosts).ok()).and_then(|(_, _, tls)| tls);
    if configured.tls.use_ssl.or(by_hosts) != Some(true) {
        return None;
    }
    let Some(tls) = tls else {
        return Some(if explicit.tls.use_ssl.is_some() { "use_ssl" } else { "zk_hosts" });
    };
    if configured.tls.ca_certs.as_ref().is_some_and(|ca_certs| *ca_certs != tls.ca_certs) {
        return Some("ca_certs");
    }
    (!tls.verify_names && configured.tls.verify_certs.unwrap_or(true)).then_some("verify_certs")
}

/// `host:port` in the one way in which it is compared: an IPv6 address has many spellings.
fn canonical(server: &str) -> String {
    let server = server.to_ascii_lowercase();
    let parts = server.strip_prefix('[').and_then(|rest| rest.rsplit_once("]:"));
    let Some((address, port)) = parts else { return server };
    let (address, zone) = address.split_once('%').unwrap_or((address, ""));
    address.parse::<Ipv6Addr>().map_or_else(|_| server.clone(), |address| format!("[{address}%{zone}]:{port}"))
}

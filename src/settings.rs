//! Which ensemble, as whom, and for how long: explicit argument, then profile, then default. Pure.

use std::fmt;
use std::net::Ipv6Addr;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::{acl, path};

/// Where ZooKeeper is looked for when nobody says.
pub const DEFAULT_HOSTS: &str = "127.0.0.1:2181";
const DEFAULT_PORT: u16 = 2181;
/// Seconds; the servers cut it to their own bounds.
const DEFAULT_SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds until an ensemble counts as out of reach.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The protocol carries it as a 32-bit number of milliseconds.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// A session that is shorter expires with every pause of a server or a network.
const MIN_SESSION_TIMEOUT: Duration = Duration::from_secs(1);
const MIN_CONNECT_TIMEOUT: Duration = Duration::from_millis(1);
/// The schemes that a name and a password can be given for.
const SCHEMES: [&str; 1] = ["digest"];

/// What one source (the call's arguments, or a profile) says. `None` is not said.
#[derive(Clone, Default)]
pub struct Source {
    /// The connect string, whole or in pieces.
    pub hosts: Option<Vec<String>>,
    /// The authentication scheme.
    pub scheme: Option<String>,
    /// The user.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// What every created znode permits.
    pub default_acl: Option<Vec<acl::Entry>>,
    /// How long the servers keep a silent session.
    pub session_timeout: Option<Duration>,
    /// How long an ensemble is looked for.
    pub connect_timeout: Option<Duration>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("hosts", &self.hosts).field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

/// What makes two callers share a session, or not.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    pub(crate) servers: Vec<String>,
    pub(crate) chroot: String,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) session_timeout: Duration,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Credentials {
    pub(crate) scheme: String,
    pub(crate) username: String,
    pub(crate) password: String,
}

impl Identity {
    /// The connect string, for people.
    #[must_use]
    pub fn hosts(&self) -> String {
        format!("{}{}", self.servers.join(","), self.chroot)
    }

    /// `scheme:user`, or `anonymous`.
    #[must_use]
    pub fn user(&self) -> String {
        let named = self.credentials.as_ref().map(|it| format!("{}:{}", it.scheme, it.username));
        named.unwrap_or_else(|| "anonymous".to_owned())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {}", self.hosts(), self.user())
    }
}

/// Everything a call needs to know about its ensemble.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who shares a session.
    pub identity: Identity,
    /// What every created znode permits; empty for everything to everybody, as in kazoo.
    pub acl: acl::List,
    /// How long an ensemble is looked for.
    pub connect_timeout: Duration,
}

impl Settings {
    /// Merges the two sources key by key, and checks the outcome.
    ///
    /// # Errors
    /// [`Error::Argument`]: hosts that do not parse, an unknown scheme, a user without a password
    /// or the reverse, a bad ACL, a timeout out of range.
    pub fn resolve(explicit: Source, profile: Source) -> Result<Self> {
        let hosts = explicit.hosts.or(profile.hosts).unwrap_or_else(|| vec![DEFAULT_HOSTS.to_owned()]);
        let (servers, chroot) = parse_hosts(&hosts)?;
        let credentials = credentials(
            explicit.scheme.or(profile.scheme),
            explicit.username.or(profile.username),
            explicit.password.or(profile.password),
        )?;
        let acl = acl::from_entries("default_acl", &explicit.default_acl.or(profile.default_acl).unwrap_or_default())?;
        let session_timeout = explicit.session_timeout.or(profile.session_timeout).unwrap_or(DEFAULT_SESSION_TIMEOUT);
        let connect_timeout = explicit.connect_timeout.or(profile.connect_timeout).unwrap_or(DEFAULT_CONNECT_TIMEOUT);
        in_range("session_timeout", session_timeout, MIN_SESSION_TIMEOUT)?;
        in_range("connect_timeout", connect_timeout, MIN_CONNECT_TIMEOUT)?;
        let identity = Identity { servers, chroot, credentials, session_timeout };
        let settings = Self { identity, acl, connect_timeout };
        settings.check_creator("default_acl", &settings.acl)?;
        Ok(settings)
    }

    /// Refuses an ACL that names its creator, where that is nobody.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check_creator(&self, argument: &'static str, acl: &acl::List) -> Result<()> {
        acl::check_creator(argument, acl, self.identity.credentials.is_some())
    }

    /// The znode that a caller's `path` means, below the chroot.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn path(&self, path: &str) -> Result<String> {
        path::below(&self.identity.chroot, &path::normalise(path)?)
    }

    /// The full path of any znode that a caller's `path` means, ZooKeeper's own included.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn any_path(&self, path: &str) -> Result<String> {
        let full = format!("{}{}", self.identity.chroot, path::any(path)?);
        Ok(if full.is_empty() { "/".to_owned() } else { full })
    }

    /// What a caller below the chroot calls the znode at a full path.
    #[must_use]
    pub fn shown(&self, full: &str) -> String {
        full.strip_prefix(&self.identity.chroot).filter(|rest| !rest.is_empty()).unwrap_or("/").to_owned()
    }
}

fn in_range(argument: &'static str, timeout: Duration, least: Duration) -> Result<()> {
    if timeout < least || timeout > MAX_TIMEOUT {
        let (least, most) = (least.as_secs_f64(), MAX_TIMEOUT.as_secs());
        return Err(Error::argument(argument, format!("must be between {least} and {most} seconds")));
    }
    Ok(())
}

fn credentials(
    scheme: Option<String>,
    username: Option<String>,
    password: Option<String>,
) -> Result<Option<Credentials>> {
    if let Some(scheme) = scheme.as_deref().filter(|scheme| !SCHEMES.contains(scheme)) {
        let known = SCHEMES.join(", ");
        return Err(Error::argument("scheme", format!("{scheme:?} is not supported; supported: {known}")));
    }
    match (username, password) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(Error::argument("username", "given without a password")),
        (None, Some(_)) => Err(Error::argument("password", "given without a username")),
        (Some(username), Some(_)) if username.contains(|c: char| c == ':' || c.is_control()) => {
            Err(Error::argument("username", "must not contain ':', which ends it in the digest scheme, nor controls"))
        }
        (Some(username), Some(password)) => {
            Ok(Some(Credentials { scheme: scheme.unwrap_or_else(|| "digest".to_owned()), username, password }))
        }
    }
}

/// Servers as `host:port`, and the chroot's prefix.
///
/// Taken are `a:1,b:2/chroot` as text, lists of such pieces, and lists whose last item is the chroot.
/// A chroot after several servers must be the same after each.
fn parse_hosts(items: &[String]) -> Result<(Vec<String>, String)> {
    let refused = |reason: String| Err(Error::argument("zk_hosts", reason));
    let mut servers = Vec::new();
    let mut chroot: Option<String> = None;
    let pieces: Vec<&str> = items.iter().flat_map(|item| item.split(',')).map(str::trim).collect();
    for (index, piece) in pieces.iter().enumerate() {
        let (address, suffix) = piece.find('/').map_or((*piece, ""), |slash| piece.split_at(slash));
        if !suffix.is_empty() {
            let prefix = path::chroot(suffix)?;
            if chroot.as_ref().is_some_and(|other| *other != prefix) {
                return refused("two different chroots; one holds for all servers and follows the last".to_owned());
            }
            chroot = Some(prefix);
        }
        let is_chroot_item = address.is_empty() && !suffix.is_empty() && index > 0 && index + 1 == pieces.len();
        if !is_chroot_item {
            servers.push(parse_server(address)?);
        }
    }
    if servers.is_empty() {
        return refused("no server is named; give host:port,host:port".to_owned());
    }
    Ok((servers, chroot.unwrap_or_default()))
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

//! Which ensemble, as whom, and for how long: explicit argument, then profile, then default. Pure.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use crate::connect::credentials::Credentials;
use crate::connect::disclosure;
use crate::connect::hosts::{parse_hosts, DEFAULT_HOSTS, TLS};
use crate::connect::source::Source;
use crate::connect::tls::{server_name, Tls};
use crate::error::{Error, Result};
use crate::{acl, path};

/// Seconds; the servers cut it to their own bounds.
const DEFAULT_SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds until an ensemble counts as out of reach.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds until a session ends that nobody uses.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The protocol carries it as a 32-bit number of milliseconds.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// A session that is shorter expires with every pause of a server or a network.
const MIN_SESSION_TIMEOUT: Duration = Duration::from_secs(1);
const MIN_CONNECT_TIMEOUT: Duration = Duration::from_millis(1);
/// Bytes of a request, which are the servers' own `jute.maxbuffer` unless they were told otherwise. On a longer one they
/// hang up, and do not say why.
pub(crate) const DEFAULT_BUFFER: u32 = 0xf_ffff;
/// A path and its znode's stat take that much.
const LEAST_BUFFER: u32 = 1024;
/// Calls that come one after the other shall share a session.
const MIN_IDLE_TIMEOUT: Duration = Duration::from_millis(100);

/// The settings that decide whether two callers share a session: they do where all of these are equal.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    pub(crate) servers: Vec<String>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) tls: Option<Tls>,
    pub(crate) session_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_buffer: Option<u32>,
}

impl Identity {
    /// The connect string, without the chroot: sessions with different chroots are the same.
    #[must_use]
    pub fn hosts(&self) -> String {
        let scheme = if self.tls.is_some() { TLS } else { "" };
        self.servers.iter().map(|server| format!("{scheme}{server}")).collect::<Vec<_>>().join(",")
    }

    /// How long the servers keep a silent session, if their own bounds allow it.
    #[must_use]
    pub fn session_timeout(&self) -> Duration {
        self.session_timeout
    }

    /// Bytes of the longest request that is sent without asking the servers whether they take it.
    #[must_use]
    pub fn longest_request(&self) -> usize {
        self.max_buffer.unwrap_or(DEFAULT_BUFFER) as usize
    }

    /// Whether any host with a certificate of the authority may pass for a server.
    #[must_use]
    pub fn is_unverified(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.verify_names)
    }

    /// Whether the servers know who the caller is: by name, or by the certificate.
    #[must_use]
    pub fn is_somebody(&self) -> bool {
        self.credentials.is_some() || self.tls.as_ref().is_some_and(|tls| tls.client.is_some())
    }

    /// Whether it is a Kerberos ticket that says who the caller is.
    pub(crate) fn has_ticket(&self) -> bool {
        self.credentials.as_ref().is_some_and(Credentials::is_ticket)
    }

    /// `scheme:user`, or `anonymous`.
    #[must_use]
    pub fn user(&self) -> String {
        self.credentials.as_ref().map_or_else(|| "anonymous".to_owned(), Credentials::user)
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
    /// The settings that decide who shares a session. Every call hands them on, and none makes a copy of the password.
    pub identity: Arc<Identity>,
    /// The prefix of every path; empty for none.
    pub(crate) chroot: String,
    /// The ACL of every znode that is created; empty for everything to everybody, as in kazoo.
    pub acl: acl::List,
    /// How long an ensemble is looked for.
    pub connect_timeout: Duration,
    /// Where the hosts come from, for people. Settings that differ in nothing else are equal.
    pub(crate) origin: String,
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        (&self.identity, &self.chroot, &self.acl, self.connect_timeout)
            == (&other.identity, &other.chroot, &other.acl, other.connect_timeout)
    }
}

impl Eq for Settings {}

impl Hash for Settings {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.identity, &self.chroot, self.connect_timeout).hash(state);
    }
}

impl Settings {
    /// The settings of a call: what `explicit` gives, else what `profile` gives, key by key, else the defaults;
    /// checked.
    ///
    /// # Errors
    /// [`Error::Argument`]: hosts that do not parse, an unknown scheme, a user without a password
    /// or the reverse, settings of TLS that contradict each other, a bad ACL, a timeout out of range, a secret of the
    /// profile's for servers that are not the profile's.
    pub fn resolve(explicit: Source, profile: Source) -> Result<Self> {
        let origin = origin(&explicit, &profile);
        let hosts = explicit.hosts.as_ref().or(profile.hosts.as_ref());
        let hosts = hosts.cloned().unwrap_or_else(|| vec![DEFAULT_HOSTS.to_owned()]);
        let (servers, chroot, by_hosts) = parse_hosts(&hosts)?;
        let tls = Tls::resolve(explicit.tls.clone().or(profile.tls.clone()), by_hosts)?;
        disclosure::check(&explicit, &profile, &servers, tls.as_ref())?;
        let credentials = Credentials::resolve(explicit.user.or(profile.user))?;
        if tls.is_some() {
            servers.iter().try_for_each(|server| server_name(server).map(drop))?;
        }
        let acl = acl::from_entries("default_acl", &explicit.default_acl.or(profile.default_acl).unwrap_or_default())?;
        let session_timeout = explicit.session_timeout.or(profile.session_timeout).unwrap_or(DEFAULT_SESSION_TIMEOUT);
        let connect_timeout = explicit.connect_timeout.or(profile.connect_timeout).unwrap_or(DEFAULT_CONNECT_TIMEOUT);
        in_range("session_timeout", session_timeout, MIN_SESSION_TIMEOUT)?;
        let idle_timeout = explicit.idle_timeout.or(profile.idle_timeout).unwrap_or(DEFAULT_IDLE_TIMEOUT);
        in_range("connect_timeout", connect_timeout, MIN_CONNECT_TIMEOUT)?;
        in_range("idle_timeout", idle_timeout, MIN_IDLE_TIMEOUT)?;
        let max_buffer = explicit.max_buffer.or(profile.max_buffer);
        if max_buffer.is_some_and(|bytes| bytes < LEAST_BUFFER) {
            return Err(Error::argument("max_buffer", format!("must be at least {LEAST_BUFFER} bytes")));
        }
        let identity = Arc::new(Identity { servers, credentials, tls, session_timeout, idle_timeout, max_buffer });
        let settings = Self { identity, chroot, acl, connect_timeout, origin };
        settings.check_creator("default_acl", &settings.acl)?;
        Ok(settings)
    }

    /// The connect string with its chroot, for people.
    #[must_use]
    pub fn hosts(&self) -> String {
        format!("{}{}", self.identity.hosts(), self.chroot)
    }

    /// Refuses an ACL that names its creator, where that is nobody.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check_creator(&self, argument: &'static str, acl: &acl::List) -> Result<()> {
        acl::check_creator(argument, acl, self.identity.is_somebody())
    }

    /// The znode that a caller's `path` means, below the chroot.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn path(&self, path: &str) -> Result<String> {
        path::below(&self.chroot, &path::normalise(path)?)
    }

    /// The full path of any znode that a caller's `path` means, ZooKeeper's own included.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn any_path(&self, path: &str) -> Result<String> {
        let full = format!("{}{}", self.chroot, path::any(path)?);
        Ok(if full.is_empty() { "/".to_owned() } else { full })
    }

    /// The path by which a caller below the chroot knows the znode at a full path.
    #[must_use]
    pub fn shown(&self, full: &str) -> String {
        full.strip_prefix(&self.chroot).filter(|rest| !rest.is_empty()).unwrap_or("/").to_owned()
    }
}

/// Where the hosts come from, for people.
fn origin(explicit: &Source, configured: &Source) -> String {
    let is_configured = configured.profile.is_some() || configured.section.is_some();
    match (&explicit.hosts, &configured.hosts) {
        (Some(_), _) if configured.profile.is_some() => {
            format!("the hosts that were given, with {}", configured.name())
        }
        (Some(_), _) => "the hosts that were given".to_owned(),
        (None, Some(_)) => format!("the hosts of {}", configured.name()),
        (None, None) if is_configured => format!("the default, as {} names no hosts", configured.name()),
        (None, None) => "the default".to_owned(),
    }
}

fn in_range(argument: &'static str, timeout: Duration, least: Duration) -> Result<()> {
    if timeout < least || timeout > MAX_TIMEOUT {
        let (least, most) = (least.as_secs_f64(), MAX_TIMEOUT.as_secs());
        return Err(Error::argument(argument, format!("must be between {least} and {most} seconds")));
    }
    Ok(())
}

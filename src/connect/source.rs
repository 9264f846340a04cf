//! What one source says of a connection: the arguments of a call, or a profile. Pure.

use std::fmt;
use std::time::Duration;

use crate::acl;
use crate::connect::credentials::UserSource;
use crate::connect::tls::TlsSource;

/// Characters of a profile's name in an error.
const LONGEST_NAME: usize = 60;

/// The settings that one source gives: the arguments of a call, or a profile. `None` is not given.
#[derive(Clone, Default)]
pub struct Source {
    /// The connect string, whole or in pieces.
    pub hosts: Option<Vec<String>>,
    /// The caller.
    pub user: UserSource,
    /// How the caller makes sure of the servers.
    pub tls: TlsSource,
    /// The ACL of every znode that is created.
    pub default_acl: Option<Vec<acl::Entry>>,
    /// How long the servers keep a silent session.
    pub session_timeout: Option<Duration>,
    /// How long an ensemble is looked for.
    pub connect_timeout: Option<Duration>,
    /// How long a session stays open that nobody uses.
    pub idle_timeout: Option<Duration>,
    /// Bytes of the longest request that the servers take.
    pub max_buffer: Option<u32>,
    /// The profile that a configuration was asked for.
    pub profile: Option<String>,
    /// What the configuration is called without a profile, such as "the section zookeeper".
    pub section: Option<String>,
    /// The hosts of the section above a profile, which matter where the profile names none: its secrets may go there.
    pub hosts_above: Option<Vec<String>>,
    /// Whether what is secret in a configuration may go to other servers than it names. Of arguments it is not heeded.
    pub send_credentials_to_any_host: Option<bool>,
}

impl Source {
    /// What the configuration is called, for people.
    pub(crate) fn name(&self) -> String {
        match (&self.profile, &self.section) {
            (Some(profile), _) => format!("profile '{}'", shortened(profile)),
            (None, Some(section)) => section.clone(),
            (None, None) => "the configuration".to_owned(),
        }
    }
}

/// A name as a part of one line.
fn shortened(name: &str) -> String {
    let shown: String = name.chars().take(LONGEST_NAME).flat_map(char::escape_debug).collect();
    if name.chars().nth(LONGEST_NAME).is_some() {
        format!("{shown}...")
    } else {
        shown
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("hosts", &self.hosts).field("scheme", &self.user.scheme).finish_non_exhaustive()
    }
}

//! Who wants a timed lease, and on what terms. Pure.

use std::time::Duration;

use uuid::Uuid;

use super::names;
use crate::acl;
use crate::connect::settings::Settings;
use crate::error::{Error, Result};

/// How much later than its period a renewal may come, by the rules of the original: a deadline leaves room for more
/// than one period.
const JITTER: f64 = 1.2;
/// A lease that lasts longer is not one that ends by the clock. It fits into the nanoseconds of the record.
const MOST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// The most bytes of an owner. A server hangs up on a request beyond 1 MiB, and does not say why.
const OWNER_LIMIT: usize = 64 * 1024;

/// How a contender finds out that the lease of another is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It has seen the same version of the record for the whole duration by its own clock; or the servers' clock says
    /// that the record is older than that, and by how much the clocks of two leaders may differ. `None`: the servers'
    /// clock is not asked.
    Observed {
        /// How much the clocks of two leaders may differ.
        max_clock_skew: Option<Duration>,
    },
    /// The time in the record, which the holder's wall clock has written, is so long ago by this host's wall clock. Two
    /// clocks that differ by more than the duration let two hold the lease.
    RecordedTime,
}

/// Who wants which lease.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The full path of the record.
    pub path: String,
    /// Who is to hold the lease: `holderIdentity`.
    pub owner: String,
    /// The unique name of the hold that this claim is to become.
    pub hold: String,
    /// Whether the hold goes by its owner's name: a claim of the same owner, from any process, renews it.
    pub by_name: bool,
    /// For how long after its last renewal the lease is held.
    pub duration: Duration,
    /// How the end of another's lease is found out.
    pub rule: Rule,
    /// The ACL of the znodes that are created; empty for everything to everybody.
    pub acl: acl::List,
}

impl Claim {
    /// A claim on the lease at the caller's `path`, below the chroot of `settings`.
    ///
    /// # Errors
    /// [`Error::Argument`]: a bad path, an empty owner, or one too long for a request, a duration that is none.
    pub fn new(
        settings: &Settings,
        path: &str,
        owner: String,
        by_name: bool,
        duration: Duration,
        rule: Rule,
    ) -> Result<Self> {
        let (path, owner, duration) = (lease_path(settings, path)?, named(owner)?, lasting(duration)?);
        let hold = Uuid::new_v4().simple().to_string();
        Ok(Self { path, owner, hold, by_name, duration, rule, acl: settings.acl.clone() })
    }
}

/// The duration, if a lease can last so long.
///
/// # Errors
/// [`Error::Argument`].
pub fn lasting(duration: Duration) -> Result<Duration> {
    if duration.is_zero() || duration > MOST {
        return Err(Error::argument("lease_duration", "must be more than 0 seconds, and less than a century"));
    }
    Ok(duration)
}

/// The full path of the lease that a caller's `path` means: its last part is in lower case.
///
/// # Errors
/// [`Error::Argument`].
pub fn lease_path(settings: &Settings, path: &str) -> Result<String> {
    settings.path(&names::lower_cased(path))
}

/// The owner, if it is one.
///
/// # Errors
/// [`Error::Argument`]: nobody can hold a lease in the name of nobody.
pub fn named(owner: String) -> Result<String> {
    match owner.len() {
        0 => Err(Error::argument("owner", "is empty, and a lease that nobody holds is a free one; give a name")),
        1..=OWNER_LIMIT => Ok(owner),
        _ => Err(Error::argument("owner", format!("must not be longer than {OWNER_LIMIT} bytes"))),
    }
}

/// How a hold is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long a renewal may take before it counts as late, and somebody is told.
    pub renew_deadline: Duration,
    /// The time from one renewal to the next.
    pub retry_period: Duration,
    /// Whether the lease is given back at the end of the process, and not left to run out.
    pub release_on_cancel: bool,
}

impl Pace {
    /// Checks what the original checks.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check(&self, lease_duration: Duration) -> Result<()> {
        let seconds = |duration: Duration| format!("{} s", duration.as_secs_f64());
        if self.retry_period.is_zero() {
            return Err(Error::argument("retry_period", "must be more than 0 seconds"));
        }
        if lease_duration <= self.renew_deadline {
            let (duration, deadline) = (seconds(lease_duration), seconds(self.renew_deadline));
            let reason = format!("is {duration}, and must be more than renew_deadline, which is {deadline}");
            return Err(Error::argument("lease_duration", reason));
        }
        if self.renew_deadline.as_secs_f64() <= self.retry_period.as_secs_f64() * JITTER {
            let (deadline, period) = (seconds(self.renew_deadline), seconds(self.retry_period));
            let reason = format!("is {deadline}, and must be more than 1.2 times retry_period, which is {period}");
            return Err(Error::argument("renew_deadline", reason));
        }
        Ok(())
    }
}

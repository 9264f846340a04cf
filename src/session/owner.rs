//! Whom a znode belongs to, by its stat.

use zookeeper_client as zk;

/// What the servers write as the owner of a container.
const CONTAINER: i64 = i64::MIN;
/// What the servers write as the owner of a znode with a time to live: that time in milliseconds is in the last five bytes.
#[allow(clippy::cast_possible_wrap)]
const TIME_TO_LIVE: i64 = 0xff00_0000_0000_0000_u64 as i64;

/// What ends a znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Nobody: it is persistent.
    Nobody,
    /// The end of this session.
    Session(i64),
    /// The servers, once its last child is gone.
    Container,
    /// The servers, once it was not written for a time and has no children.
    TimeToLive,
}

impl Owner {
    /// The servers mark containers, and znodes with a time to live, in the field that has the session of an ephemeral one.
    pub(crate) fn of(stat: &zk::Stat) -> Self {
        match stat.ephemeral_owner {
            0 => Self::Nobody,
            CONTAINER => Self::Container,
            owner if owner >> 40 == TIME_TO_LIVE >> 40 => Self::TimeToLive,
            owner => Self::Session(owner),
        }
    }

    /// The session of an ephemeral znode, in hexadecimal.
    pub(crate) fn session(self) -> Option<String> {
        match self {
            Self::Session(id) => Some(format!("{id:#x}")),
            Self::Nobody | Self::Container | Self::TimeToLive => None,
        }
    }

    /// Which kind of znode it is.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Nobody => "persistent",
            Self::Session(_) => "ephemeral",
            Self::Container => "container",
            Self::TimeToLive => "ttl",
        }
    }
}

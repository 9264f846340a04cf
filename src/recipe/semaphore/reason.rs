//! Why somebody holds a slot: what is kept beside a lease, for whoever asks who is in the way. Pure.
//!
//! It stands in a tree beside the pool, because every child of the pool takes up a slot, and kazoo reads the data of a
//! lease as its identifier.

use serde::{Deserialize, Serialize};

use super::names;
use crate::error::{Error, Result};

/// The most bytes of a reason, and of a job.
const MOST: usize = 1024;
/// The most bytes of a reason node that are looked at. What we write is shorter.
pub(super) const MOST_READ: usize = 16 * 1024;

/// Why a slot is held, and by which process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reason {
    /// In the words of who has asked for the slot.
    pub reason: Option<String>,
    /// The name of the host on which the process runs.
    pub host: Option<String>,
    /// The process that has asked.
    pub pid: Option<u32>,
    /// The job that the process works for, such as the id of a Salt job.
    pub job: Option<String>,
}

impl Reason {
    /// The reason of this process.
    ///
    /// # Errors
    /// [`Error::Argument`]: a reason or a job that is empty, or longer than 1,024 bytes.
    pub fn new(reason: String, job: Option<String>) -> Result<Self> {
        let reason = checked("reason", reason)?;
        let job = job.map(|job| checked("job", job)).transpose()?;
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        Ok(Self { reason: Some(reason), host: Some(host), pid: Some(std::process::id()), job })
    }

    /// What stands in the reason node.
    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What a reason node says. One that is none of ours says nothing.
    #[must_use]
    pub fn decode(data: &[u8]) -> Self {
        if data.len() > MOST_READ {
            return Self::default();
        }
        serde_json::from_slice(data).unwrap_or_default()
    }
}

/// A text that is neither empty nor too long.
pub(super) fn checked(name: &'static str, text: String) -> Result<String> {
    if text.trim().is_empty() {
        return Err(Error::argument(name, "must not be empty".to_owned()));
    }
    if text.len() > MOST {
        return Err(Error::argument(name, format!("must not be longer than {MOST} bytes")));
    }
    Ok(text)
}

/// The path of the reason node of a lease.
pub(super) fn node(pool: &str, lease: &str) -> String {
    format!("{}/{lease}", names::reasons(pool))
}

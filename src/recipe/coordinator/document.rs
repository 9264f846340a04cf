//! What the data of requests and grants means. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::record::Stored;

/// Bytes of a reason, of a label, and labels of a request. Who decides reads the requests of all units.
const LONGEST_REASON: usize = 1024;
const LONGEST_LABEL: usize = 255;
/// Bytes of the name of who decides: that of a unit, and how it came to decide.
const LONGEST_BY: usize = 512;
const MOST_LABELS: usize = 16;

/// What a unit says with its request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// When, by the unit's own clock: for people. What counts is the servers' time of the znode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What a policy may count by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Seconds after which the request may be dropped if its unit has not been seen for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<f64>,
}

impl Asked {
    /// Refuses what is too long to be read for every decision.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check(&self) -> Result<()> {
        check_reason(self.reason.as_deref())?;
        let is_long = |text: &String| text.len() > LONGEST_LABEL;
        if self.labels.len() > MOST_LABELS || self.labels.iter().any(|(name, value)| is_long(name) || is_long(value)) {
            let most = format!("must be at most {MOST_LABELS}, of at most {LONGEST_LABEL} bytes each");
            return Err(Error::argument("labels", most));
        }
        match self.expires {
            Some(seconds) if !seconds.is_finite() || seconds < 1.0 => {
                Err(Error::argument("expires", "must be at least 1 second"))
            }
            _ => Ok(()),
        }
    }

    /// The data to write.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What the data of a request says, as far as it can be read. A request that somebody has made by hand has none.
    #[must_use]
    pub fn decode(data: &[u8]) -> Self {
        serde_json::from_slice(data).unwrap_or_default()
    }
}

/// A request at the moment of a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Whose it is.
    pub unit: String,
    /// The name of its znode.
    pub znode: String,
    /// The zxid that created it: the order of the queue.
    pub czxid: i64,
    /// When it was created, by the servers' clock, in milliseconds since 1970.
    pub since: i64,
    /// When its unit was seen last, likewise: it was asked for again, or granted.
    pub seen: i64,
    /// What it says.
    pub asked: Asked,
    /// Its data.
    pub data: Vec<u8>,
    /// The version of its znode: a write in between makes it another.
    pub version: i32,
}

/// Refuses what is too long to be stored with a grant: all who decide read it, and write it again.
///
/// # Errors
/// [`Error::Argument`].
pub fn check_decision(by: &str, reason: Option<&str>) -> Result<()> {
    if by.len() > LONGEST_BY {
        return Err(Error::argument("by", format!("must not be longer than {LONGEST_BY} bytes")));
    }
    check_reason(reason)
}

fn check_reason(reason: Option<&str>) -> Result<()> {
    match reason {
        Some(reason) if reason.len() > LONGEST_REASON => {
            Err(Error::argument("reason", format!("must not be longer than {LONGEST_REASON} bytes")))
        }
        _ => Ok(()),
    }
}

/// One grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The czxid of the request that was granted.
    pub request: i64,
    /// When, by the servers' clock, in milliseconds since 1970. `None`: by the newest write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<i64>,
    /// The zxid that wrote it. `None`: the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<i64>,
    /// The unit in whose run it was decided, or the operator who has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why an operator has granted it, whatever the policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The grants of a lock, by units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(pub BTreeMap<String, Grant>);

impl Grants {
    /// Puts down when, and as which zxid, the newest write has granted: these are the znode's own mtime and mzxid.
    pub fn complete(&mut self, mtime: i64, mzxid: i64) {
        for grant in self.0.values_mut() {
            grant.granted.get_or_insert(mtime);
            grant.token.get_or_insert(mzxid);
        }
    }
}

impl Stored for Grants {
    fn decode(path: &str, data: &[u8]) -> Result<Self> {
        if data.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(data).map(Self).map_err(|error| {
            let reason = format!(
                "its data is not the JSON object of a lock's grants ({error}); look who has written it. To begin anew, \
                 write {{}} there once nobody acts under a grant any more"
            );
            Error::Server { action: "read", path: path.to_owned(), reason }
        })
    }

    fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).unwrap_or_default()
    }
}

/// Labels as a caller gives them: texts, numbers and truth values.
///
/// # Errors
/// [`Error::Argument`].
pub fn labels(value: &Value) -> Result<BTreeMap<String, String>> {
    let wrong = || Error::argument("labels", "must be a mapping of names to texts, such as {rack: r1}");
    let Some(fields) = value.as_object() else { return Err(wrong()) };
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        _ => Err(wrong()),
    };
    fields.iter().map(|(name, value)| Ok((name.clone(), text(value)?))).collect()
}

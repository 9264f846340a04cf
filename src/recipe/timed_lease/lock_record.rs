//! What the znode of a timed lease holds: a record in JSON, with the members of leaselocker's `LockRecord`. Pure.
//!
//! | member | what |
//! | --- | --- |
//! | `holderIdentity` | who holds the lease; empty: nobody |
//! | `leaseDurationSeconds` | for how long after the last renewal it is held; a whole number |
//! | `acquireTime`, `renewTime` | when it was taken and renewed, by the holder's wall clock: for people to read |
//! | `leaseTransitions` | how often it has changed hands |
//! | `zkcoord` | what is ours: `hold`, `byName`, `token`, `durationNanoseconds`, and `transition`, for which it is said |
//!
//! Members that are not known here keep the text that they have. What is in `zkcoord` counts only where its `transition`
//! is the record's: somebody who knows the other members alone may have taken the lease since, and kept it.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::record::Stored;

const HOLDER: &str = "holderIdentity";
const SECONDS: &str = "leaseDurationSeconds";
const ACQUIRED: &str = "acquireTime";
const RENEWED: &str = "renewTime";
const TRANSITIONS: &str = "leaseTransitions";
const OURS: &str = "zkcoord";

/// The record of a timed lease.
#[derive(Clone, Debug, Default)]
pub struct LockRecord {
    /// Who holds the lease; empty: nobody.
    pub holder: String,
    /// For how long after its last change the lease is held.
    pub duration: Duration,
    /// When it was taken, by the holder's wall clock, as it is written there.
    pub acquired: Option<String>,
    /// When it was renewed, likewise.
    pub renewed: Option<String>,
    /// How often it has changed hands.
    pub transitions: i64,
    /// What zkcoord says of the holder; `None` where another program has taken the lease, or nobody has it.
    pub hold: Option<HoldMember>,
    pub(super) more: BTreeMap<String, Box<RawValue>>,
}

/// What zkcoord says of a holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldMember {
    /// The unique name of the hold.
    pub id: String,
    /// Whether it goes by its holder's name: who gives that may renew it, from any process.
    pub by_name: bool,
    /// The zxid of the transaction that took the lease. It is known, and written, from the first renewal on.
    pub token: Option<i64>,
}

/// The member `zkcoord` as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ours {
    hold: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    by_name: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<i64>,
    transition: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    duration_nanoseconds: Option<u64>,
}

impl LockRecord {
    /// Whether nobody holds the lease.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.holder.is_empty()
    }

    /// Reads a record. No data at all are a lease that nobody has taken yet.
    ///
    /// # Errors
    /// [`Error::Argument`] for anything else that is no record, which is left alone.
    pub fn from_json(path: &str, data: &[u8]) -> Result<Self> {
        if data.is_empty() {
            return Ok(Self::default());
        }
        read(data).map_err(|what| {
            let reason = format!(
                "{path} holds no record of a timed lease: {what}. It is somebody else's, and was left alone; choose \
                 another path, or delete it"
            );
            Error::argument("path", reason)
        })
    }

    /// Reads a record that a caller gives, and not one of a znode.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn given(data: &[u8]) -> Result<Self> {
        if data.is_empty() {
            return Ok(Self::default());
        }
        read(data).map_err(|what| Error::argument("record", what))
    }

    /// The record in JSON, on one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The members beside those of the original, ours among them, each with its JSON.
    #[must_use]
    pub fn other_members(&self) -> Vec<(String, String)> {
        let ours = self.ours().and_then(|ours| Some((OURS.to_owned(), serde_json::to_string(&ours).ok()?)));
        let more = self.more.iter().map(|(name, value)| (name.clone(), value.get().to_owned()));
        ours.into_iter().chain(more).collect()
    }

    /// The record with these members: the reverse of reading it.
    ///
    /// # Errors
    /// [`Error::Argument`] where a member is no JSON, or where a time is missing from what needs it.
    pub fn of_members(
        holder: String,
        seconds: u64,
        acquired: Option<String>,
        renewed: Option<String>,
        transitions: i64,
        more: Vec<(String, String)>,
    ) -> Result<Self> {
        let known = [HOLDER, SECONDS, ACQUIRED, RENEWED, TRANSITIONS];
        let mut members = BTreeMap::new();
        for (name, json) in more.into_iter().filter(|(name, _)| !known.contains(&name.as_str())) {
            let value = RawValue::from_string(json)
                .map_err(|_| Error::argument("more", format!("{name:?} is not the JSON of a value")))?;
            members.insert(name, value);
        }
        let duration = Duration::from_secs(seconds);
        let bare = Self { holder, duration, acquired, renewed, transitions, hold: None, more: members };
        // What is ours counts, or not, as if it had been read.
        Self::given(bare.to_json().as_bytes())
    }

    fn ours(&self) -> Option<Ours> {
        let HoldMember { id, by_name, token } = self.hold.as_ref()?;
        let exact = (self.duration.subsec_nanos() > 0).then(|| u64::try_from(self.duration.as_nanos()).ok());
        Some(Ours {
            hold: id.clone(),
            by_name: *by_name,
            token: *token,
            transition: self.transitions,
            duration_nanoseconds: exact.flatten(),
        })
    }

    /// Takes over the members that are not known here, where this record has none of that name.
    #[must_use]
    pub fn with_unknown_of(mut self, other: &Self) -> Self {
        for (name, value) in &other.more {
            self.more.entry(name.clone()).or_insert_with(|| value.clone());
        }
        self
    }

    /// When it was renewed, as the time since 1970; `None` where that is no time.
    #[must_use]
    pub fn renewed_since_epoch(&self) -> Option<Duration> {
        let renewed = humantime::parse_rfc3339_weak(self.renewed.as_deref()?).ok()?;
        renewed.duration_since(UNIX_EPOCH).ok()
    }
}

/// The whole seconds of a duration, rounded up: who knows only these waits for long enough.
#[must_use]
pub fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

fn read(data: &[u8]) -> std::result::Result<LockRecord, String> {
    let mut members: BTreeMap<String, Box<RawValue>> =
        serde_json::from_slice(data).map_err(|_| "it is no JSON object".to_owned())?;
    let holder = match members.remove(HOLDER) {
        None => return Err(format!("it has no {HOLDER}")),
        Some(value) => member::<Option<String>>(HOLDER, "text", &value)?.unwrap_or_default(),
    };
    let mut number = |name| match members.remove(name) {
        None => Ok(None),
        Some(value) => member::<Option<u64>>(name, "a whole number", &value),
    };
    let (seconds, transitions) = (number(SECONDS)?, number(TRANSITIONS)?);
    if seconds.is_none() && !holder.is_empty() {
        return Err(format!("it has a {HOLDER} and no {SECONDS}"));
    }
    let mut text = |name| match members.remove(name) {
        None => Ok(None),
        Some(value) => member::<Option<String>>(name, "text", &value),
    };
    let (acquired, renewed) = (text(ACQUIRED)?, text(RENEWED)?);
    let transitions = i64::try_from(transitions.unwrap_or(0)).unwrap_or(i64::MAX);
    let ours = members.remove(OURS).and_then(|value| serde_json::from_str::<Ours>(value.get()).ok());
    let ours = ours.filter(|ours| ours.transition == transitions && !holder.is_empty());
    let seconds = seconds.unwrap_or(0);
    let exact = ours.as_ref().and_then(|ours| ours.duration_nanoseconds).map(Duration::from_nanos);
    let duration = exact.filter(|exact| whole_seconds(*exact) == seconds).unwrap_or(Duration::from_secs(seconds));
    let hold = ours.map(|Ours { hold, by_name, token, .. }| HoldMember { id: hold, by_name, token });
    Ok(LockRecord { holder, duration, acquired, renewed, transitions, hold, more: members })
}

fn member<T: DeserializeOwned>(name: &str, kind: &str, value: &RawValue) -> std::result::Result<T, String> {
    serde_json::from_str(value.get()).map_err(|_| format!("its {name} is not {kind}"))
}

impl Serialize for LockRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let seconds = whole_seconds(self.duration);
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry(HOLDER, &self.holder)?;
        members.serialize_entry(SECONDS, &seconds)?;
        members.serialize_entry(ACQUIRED, &self.acquired)?;
        members.serialize_entry(RENEWED, &self.renewed)?;
        members.serialize_entry(TRANSITIONS, &self.transitions)?;
        if let Some(ours) = self.ours() {
            members.serialize_entry(OURS, &ours)?;
        }
        for (name, value) in &self.more {
            members.serialize_entry(name, value)?;
        }
        members.end()
    }
}

impl Stored for LockRecord {
    fn decode(path: &str, data: &[u8]) -> Result<Self> {
        Self::from_json(path, data)
    }

    fn encode(&self) -> Vec<u8> {
        self.to_json().into_bytes()
    }
}

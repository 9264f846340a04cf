//! What a policy says: how many may be granted a lock at a time, and when. Pure.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde_json::{json, Map, Value};

use super::window::Window;
use crate::error::{Error, Result};
use crate::path;

const ARGUMENT: &str = "policy";
const KEYS: [&str; 5] = ["max", "party", "per", "window", "custom"];
/// Labels and windows of one policy.
const MOST: usize = 16;

/// How many may be granted at a time, all together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Max {
    /// So many.
    Number(u32),
    /// So many of a hundred members of a party, rounded down; but one where the party has any member.
    Percent {
        /// 1 to 100.
        percent: u32,
        /// The party's path, as the caller knows it.
        party: String,
    },
}

/// A policy. All that it says holds together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The most grants at a time.
    pub max: Option<Max>,
    /// The most grants at a time for each value of a label.
    pub per: BTreeMap<String, u32>,
    /// When it may be granted: in any of these. Empty: always.
    pub window: Vec<Window>,
    /// A program decides, and this is what it calls its policy. Nothing is granted here.
    pub custom: Option<String>,
}

impl Policy {
    /// One at a time, first come, first served.
    #[must_use]
    pub fn serial() -> Self {
        Self { max: Some(Max::Number(1)), ..Self::default() }
    }

    /// Reads a policy as a caller gives it, or as it is stored: `"serial"`, or a mapping with some of
    /// `{"max": 2}` or `{"max": "25%", "party": "/web"}`, `{"per": {"rack": 1}}` or `{"per": "rack"}`,
    /// `{"window": {...}}` or a list of windows, or `{"custom": "name"}`.
    ///
    /// # Errors
    /// [`Error::Argument`] that says what is wrong, and what is right.
    pub fn parse(value: &Value) -> Result<Self> {
        let fields = match value {
            Value::String(name) if name == "serial" => return Ok(Self::serial()),
            Value::String(text) if text.trim_start().starts_with('{') => {
                let parsed = serde_json::from_str(text).map_err(|error| wrong(format!("is no JSON: {error}")))?;
                return Self::parse(&parsed);
            }
            Value::Object(fields) => fields,
            _ => return Err(wrong("must be serial, or a mapping with max, per or window".to_owned())),
        };
        if let Some(other) = fields.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(wrong(format!("{other:?} is not known; a policy has some of max, party, per and window")));
        }
        let policy = Self { max: max(fields)?, per: per(fields)?, window: windows(fields)?, custom: custom(fields)? };
        if policy == Self::default() {
            return Err(wrong("says nothing; give max, per or window".to_owned()));
        }
        if policy.custom.is_some() && policy != (Self { custom: policy.custom.clone(), ..Self::default() }) {
            return Err(wrong("custom goes with nothing else: the program decides alone".to_owned()));
        }
        Ok(policy)
    }

    /// Reads the policy that a lock stores.
    ///
    /// # Errors
    /// [`Error::Server`]: it is none.
    pub fn decode(path: &str, data: &[u8]) -> Result<Self> {
        let parsed = serde_json::from_slice(data).map_err(|error| error.to_string());
        parsed.and_then(|value| Self::parse(&value).map_err(|error| error.to_string())).map_err(|error| {
            let reason = format!("its data is no policy that is known here ({error}); nothing is granted before it is");
            Error::Server { action: "decide over", path: path.to_owned(), reason }
        })
    }

    /// The policy as it is stored, always in the same form.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut fields = Map::new();
        match &self.max {
            None => {}
            Some(Max::Number(number)) => drop(fields.insert("max".to_owned(), json!(number))),
            Some(Max::Percent { percent, party }) => {
                fields.insert("max".to_owned(), json!(format!("{percent}%")));
                fields.insert("party".to_owned(), json!(party));
            }
        }
        if !self.per.is_empty() {
            fields.insert("per".to_owned(), json!(self.per));
        }
        if !self.window.is_empty() {
            fields.insert("window".to_owned(), self.window.iter().map(Window::to_json).collect());
        }
        if let Some(name) = &self.custom {
            fields.insert("custom".to_owned(), json!(name));
        }
        Value::Object(fields)
    }

    /// The most grants at a time, where a party has so many members. `None`: this part of the policy sets no limit.
    #[must_use]
    pub fn limit(&self, members: usize) -> Option<usize> {
        match &self.max {
            None => None,
            Some(Max::Number(number)) => Some(*number as usize),
            Some(Max::Percent { .. }) if members == 0 => Some(0),
            Some(Max::Percent { percent, .. }) => Some((members * *percent as usize / 100).max(1)),
        }
    }

    /// The party whose members are to be counted.
    #[must_use]
    pub fn party(&self) -> Option<&str> {
        match &self.max {
            Some(Max::Percent { party, .. }) => Some(party),
            _ => None,
        }
    }

    /// Whether its windows let anybody be granted the lock at this time.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.window.is_empty() || self.window.iter().any(|window| window.is_open(now))
    }

    /// When a window opens next.
    #[must_use]
    pub fn next_opening(&self, now: Timestamp) -> Option<Timestamp> {
        self.window.iter().filter_map(|window| window.next_opening(now)).min()
    }

    /// Refuses a request without a label that the policy counts by: nobody could ever grant it.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check_labels(&self, labels: &BTreeMap<String, String>) -> Result<()> {
        match self.per.keys().find(|label| !labels.contains_key(*label)) {
            None => Ok(()),
            Some(missing) => {
                Err(Error::argument("labels", format!("the policy is {self}, so that the request needs {missing:?}")))
            }
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::serial() {
            return f.write_str("serial");
        }
        let mut parts = Vec::new();
        match &self.max {
            None => {}
            Some(Max::Number(number)) => parts.push(format!("max {number}")),
            Some(Max::Percent { percent, party }) => parts.push(format!("max {percent}% of {party}")),
        }
        parts.extend(self.per.iter().map(|(label, number)| format!("per {label} {number}")));
        if !self.window.is_empty() {
            let windows: Vec<_> = self.window.iter().map(ToString::to_string).collect();
            parts.push(format!("window {}", windows.join(" or ")));
        }
        parts.extend(self.custom.iter().map(|name| format!("custom {name}")));
        f.write_str(&parts.join(" and "))
    }
}

fn wrong(what: String) -> Error {
    Error::argument(ARGUMENT, what)
}

fn max(fields: &Map<String, Value>) -> Result<Option<Max>> {
    let party = match fields.get("party") {
        None | Some(Value::Null) => None,
        Some(Value::String(party)) => Some(path::normalise(party)?),
        Some(_) => return Err(wrong("the party must be a path".to_owned())),
    };
    let given = match fields.get("max") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => match text.trim().strip_suffix('%') {
            Some(percent) => {
                let percent = percent.trim().parse().ok().filter(|percent| (1..=100).contains(percent));
                let percent = percent.ok_or_else(|| wrong("max must be between 1% and 100%".to_owned()))?;
                let needs = || wrong("max is a percentage, which needs the party whose members are counted".to_owned());
                return Ok(Some(Max::Percent { percent, party: party.ok_or_else(needs)? }));
            }
            None => Some(count("max", &Value::String(text.clone()))?),
        },
        Some(value) => Some(count("max", value)?),
    };
    if party.is_some() {
        return Err(wrong("a party is counted for a percentage only, such as max: 25%".to_owned()));
    }
    Ok(given.map(Max::Number))
}

fn count(name: &str, value: &Value) -> Result<u32> {
    let number = match value {
        Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| *number >= 1).ok_or_else(|| wrong(format!("{name} must be a whole number, at least 1")))
}

fn per(fields: &Map<String, Value>) -> Result<BTreeMap<String, u32>> {
    let labels = match fields.get("per") {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::String(label)) => BTreeMap::from([(label.clone(), 1)]),
        Some(Value::Object(labels)) => labels
            .iter()
            .map(|(label, number)| Ok((label.clone(), count(&format!("per {label}"), number)?)))
            .collect::<Result<_>>()?,
        Some(_) => return Err(wrong("per must be a label, or a mapping of labels to numbers".to_owned())),
    };
    if labels.is_empty() || labels.len() > MOST || labels.keys().any(String::is_empty) {
        return Err(wrong(format!("per must name a label, and at most {MOST}")));
    }
    Ok(labels)
}

fn windows(fields: &Map<String, Value>) -> Result<Vec<Window>> {
    match fields.get("window") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(many)) if !many.is_empty() && many.len() <= MOST => many.iter().map(Window::parse).collect(),
        Some(Value::Array(_)) => Err(wrong(format!("window must be a window or a list of 1 to {MOST}"))),
        Some(one) => Ok(vec![Window::parse(one)?]),
    }
}

fn custom(fields: &Map<String, Value>) -> Result<Option<String>> {
    match fields.get("custom") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) if !name.is_empty() => Ok(Some(name.clone())),
        Some(_) => Err(wrong("custom must be the name of a policy".to_owned())),
    }
}

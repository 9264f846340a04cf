//! What may be asked. A server drops what it does not know without a word, so that is refused here.

use serde_json::Value;

use crate::error::{Error, Result};

/// The types of requests: the position in this list is the number on the wire.
pub const NAMES: [&str; 12] = [
    "ping",
    "node_role_by_name",
    "node_pip_by_instance_ip",
    "cluster_master",
    "node_pip_list",
    "mc_pip_list",
    "instances_ips_list",
    "node_drbd",
    "node_instances",
    "instance_disks",
    "config_query",
    "data_collectors",
];

/// The keys of a query that is an object.
const LINK: &str = "0";
const IP: &str = "1";
const IP_LIST: &str = "2";
const FIELDS: &str = "3";
/// The fields of the master are 0 to this: name, address of the cluster, primary address.
const LAST_FIELD: u64 = 2;

/// A question to the master candidates.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub(super) kind: u8,
    pub(super) query: Value,
    pub(super) salt: String,
}

impl Request {
    /// A request of a type in [`NAMES`]. `salt` is what replies are known by: it must be new for each request.
    ///
    /// # Errors
    /// [`Error::Argument`] for what a server would not answer.
    pub fn new(kind: i64, query: Value, salt: String) -> Result<Self> {
        let kind = u8::try_from(kind).ok().filter(|kind| usize::from(*kind) < NAMES.len());
        let kind = kind.ok_or_else(|| {
            Error::argument("type", format!("is not known; it is one of 0 to {}", NAMES.len().saturating_sub(1)))
        })?;
        if salt.is_empty() {
            return Err(Error::argument("rsalt", "is empty: replies are known by it"));
        }
        match &query {
            Value::Null | Value::String(_) => {}
            Value::Object(parts) => parts.iter().try_for_each(|(key, value)| check(key, value))?,
            _ => return refused("must be nothing, a text or an object: the servers drop anything else"),
        }
        Ok(Self { kind, query, salt })
    }

    /// What the type is called.
    #[must_use]
    pub fn name(&self) -> &'static str {
        NAMES.get(usize::from(self.kind)).copied().unwrap_or_default()
    }

    /// What replies to it are known by.
    #[must_use]
    pub fn salt(&self) -> &str {
        &self.salt
    }
}

fn refused<T>(reason: &str) -> Result<T> {
    Err(Error::argument("query", reason))
}

fn check(key: &str, value: &Value) -> Result<()> {
    let is_list_of = |test: fn(&Value) -> bool| value.as_array().is_some_and(|items| items.iter().all(test));
    match key {
        LINK if value.is_string() || value.is_null() => Ok(()),
        LINK => refused("\"0\", the link, must be a text"),
        IP if value.is_string() => Ok(()),
        IP => refused("\"1\", the address of an instance, must be a text"),
        IP_LIST if is_list_of(Value::is_string) => Ok(()),
        IP_LIST => refused("\"2\", the addresses of instances, must be a list of texts"),
        FIELDS if is_list_of(|field| field.as_u64().is_some_and(|field| field <= LAST_FIELD)) => Ok(()),
        FIELDS => refused("\"3\", the fields of the master, must be a list of 0, 1 and 2, as numbers"),
        _ => refused("has a key that the servers do not know; they know \"0\", \"1\", \"2\" and \"3\""),
    }
}

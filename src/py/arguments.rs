//! Python values as values of the core: seconds, counts, flags, hosts, ACLs. Nothing is decided here.
//!
//! No value is ever echoed that could be a secret, and no bare `TypeError` leaves: a wrong type is an
//! argument error like any other.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyMapping, PySequence, PyString};

use crate::acl;
use crate::error::{Error, Result};
use crate::wait::deadline::Timeout;

/// Bytes of a name, a password or a connect string. A server hangs up on a request beyond 1 MiB, and does
/// not say why.
const LIMIT: usize = 64 * 1024;
/// The word for the limit that a pool stores.
const STORED: &str = "stored";
/// Items of a list.
const MOST_ITEMS: usize = 1000;

/// An argument that was given and is not `None`.
pub(super) type Given<'a, 'py> = Option<&'a Bound<'py, PyAny>>;

pub(super) fn refused<T>(argument: &'static str, reason: &str) -> Result<T> {
    Err(Error::argument(argument, reason))
}

fn too_long(argument: &'static str) -> Error {
    Error::argument(argument, format!("must not be longer than {LIMIT} bytes"))
}

fn text_of(value: &Bound<'_, PyAny>) -> Option<String> {
    value.cast::<PyString>().ok()?.to_str().ok().map(str::to_owned)
}

/// Text, and nothing else.
pub(super) fn text(argument: &'static str, value: &Bound<'_, PyAny>) -> Result<String> {
    match text_of(value) {
        Some(text) if text.len() > LIMIT => Err(too_long(argument)),
        Some(text) => Ok(text),
        None => refused(argument, "must be text"),
    }
}

/// Any scalar, as the text that Python prints for it.
pub(super) fn scalar(argument: &'static str, value: &Bound<'_, PyAny>) -> Result<String> {
    let is_number = value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>();
    let printed = if is_number { value.str().ok().and_then(|text| text_of(text.as_any())) } else { text_of(value) };
    match printed {
        Some(text) if text.len() > LIMIT => Err(too_long(argument)),
        Some(text) => Ok(text),
        None => refused(argument, "must be text or a number"),
    }
}

/// The identifier: any scalar. `None` and the empty text mean the host's name.
pub(super) fn identifier(value: Given<'_, '_>) -> Result<String> {
    match value.map(|value| scalar("identifier", value)).transpose()? {
        Some(identifier) if !identifier.is_empty() => Ok(identifier),
        _ => Ok(gethostname::gethostname().to_string_lossy().into_owned()),
    }
}

/// A whole number of at least `least`, also as text.
pub(super) fn count(argument: &'static str, value: Given<'_, '_>, default: u32, least: u32) -> Result<u32> {
    let Some(value) = value else { return Ok(default) };
    let number = if value.is_instance_of::<PyBool>() {
        None
    } else if value.is_instance_of::<PyInt>() {
        value.extract::<u32>().ok()
    } else {
        text_of(value).and_then(|text| text.trim().parse().ok())
    };
    let most = i32::MAX.unsigned_abs();
    match number.filter(|number| (least..=most).contains(number)) {
        Some(number) => Ok(number),
        None => Err(Error::argument(argument, format!("must be a whole number, at least {least} and at most {most}"))),
    }
}

/// How many may hold a slot; `None` for `"stored"`, whatever the pool stores.
pub(super) fn limit(value: Given<'_, '_>) -> Result<Option<u32>> {
    const NAME: &str = "max_concurrency";
    if value.and_then(text_of).is_some_and(|text| text.trim() == STORED) {
        return Ok(None);
    }
    count(NAME, value, 1, 1).map(Some).map_err(|error| match error {
        Error::Argument { argument, reason } => Error::argument(argument, format!("{reason}; or {STORED:?}")),
        error => error,
    })
}

/// The version of a znode that is to be changed; -1, and nothing, stand for any.
pub(super) fn version(value: Given<'_, '_>) -> Result<i32> {
    let Some(value) = value else { return Ok(-1) };
    let number = match text_of(value) {
        Some(text) => text.trim().parse().ok(),
        None if value.is_instance_of::<PyBool>() => None,
        None => value.extract::<i32>().ok(),
    };
    match number.filter(|number| *number >= -1) {
        Some(number) => Ok(number),
        None => refused("version", "must be a whole number, -1 for any"),
    }
}

/// A truth value: a bool, 0 or 1, or YAML's words for them.
pub(super) fn flag(argument: &'static str, value: Given<'_, '_>) -> Result<bool> {
    let Some(value) = value else { return Ok(false) };
    if let Ok(flag) = value.cast::<PyBool>() {
        return Ok(flag.is_true());
    }
    let word = scalar(argument, value).unwrap_or_default().to_ascii_lowercase();
    match word.as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => refused(argument, "must be true or false"),
    }
}

/// A number of seconds.
pub(super) fn seconds(argument: &'static str, value: &Bound<'_, PyAny>) -> Result<Duration> {
    let number = if value.is_instance_of::<PyBool>() {
        None
    } else if value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>() {
        value.extract::<f64>().ok()
    } else {
        text_of(value).and_then(|text| text.trim().parse().ok())
    };
    match number {
        Some(number) if number < 0.0 => refused(argument, "must not be negative"),
        // Beyond what a clock can count is as good as for ever.
        Some(number) if number.is_finite() => Ok(Duration::try_from_secs_f64(number).unwrap_or(Duration::MAX)),
        _ => refused(argument, "must be a number of seconds"),
    }
}

/// `None` for ever, 0 once, otherwise seconds.
pub(super) fn timeout(value: Given<'_, '_>) -> Result<Timeout> {
    match value.map(|value| seconds("timeout", value)).transpose()? {
        None => Ok(Timeout::Forever),
        Some(Duration::ZERO) => Ok(Timeout::Once),
        Some(duration) => Ok(Timeout::For(duration)),
    }
}

/// A list of texts.
pub(super) fn texts(argument: &'static str, value: &Bound<'_, PyAny>) -> Result<Vec<String>> {
    let is_text = value.is_instance_of::<PyString>();
    let texts = items(value).filter(|_| !is_text).and_then(|items| items.iter().map(text_of).collect());
    texts.map_or_else(|| refused(argument, "must be a list of texts"), Ok)
}

/// A whole number, also as text.
pub(super) fn whole(argument: &'static str, value: &Bound<'_, PyAny>) -> Result<i64> {
    let number = match text_of(value) {
        Some(text) => text.trim().parse().ok(),
        None if value.is_instance_of::<PyBool>() => None,
        None => value.extract().ok(),
    };
    number.map_or_else(|| refused(argument, "must be a whole number"), Ok)
}

/// A connect string, whole or in pieces.
pub(super) fn hosts(value: &Bound<'_, PyAny>) -> Result<Vec<String>> {
    let texts = match text_of(value) {
        Some(text) => Some(vec![text]),
        None => items(value).and_then(|items| items.iter().map(text_of).collect::<Option<Vec<_>>>()),
    };
    let texts = texts.map_or_else(|| refused("zk_hosts", "must be text or a list of texts"), Ok)?;
    if texts.iter().map(String::len).sum::<usize>() > LIMIT {
        return Err(too_long("zk_hosts"));
    }
    Ok(texts)
}

/// The items of a list or of what is like one. Whatever it says of its length, it is not believed.
fn items<'py>(value: &Bound<'py, PyAny>) -> Option<Vec<Bound<'py, PyAny>>> {
    let items = value.cast::<PySequence>().ok()?.try_iter().ok()?.take(MOST_ITEMS + 1);
    let items = items.collect::<PyResult<Vec<_>>>().ok()?;
    Some(items).filter(|items| items.len() <= MOST_ITEMS)
}

/// An ACL: a word, a dict, or a list of them. What is in it is looked at one level deep, and no deeper.
pub(super) fn acls(argument: &'static str, value: &Bound<'_, PyAny>) -> Result<Vec<acl::Entry>> {
    let entries = match entry(value) {
        Some(entry) => Some(vec![entry]),
        None => items(value).and_then(|items| items.iter().map(entry).collect()),
    };
    entries.map_or_else(|| refused(argument, "must be a dict or a list of dicts"), Ok)
}

fn entry(value: &Bound<'_, PyAny>) -> Option<acl::Entry> {
    if let Some(word) = text_of(value) {
        return Some(acl::Entry::Word(word.into()));
    }
    let pairs = value.cast::<PyMapping>().ok()?.items().ok()?;
    let mut keywords = acl::Keywords::new();
    for pair in pairs {
        let (key, value) = pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>().ok()?;
        keywords.insert(text_of(&key)?, field(&value));
    }
    Some(acl::Entry::Keywords(keywords))
}

fn field(value: &Bound<'_, PyAny>) -> acl::Field {
    if value.is_none() {
        acl::Field::Nothing
    } else if let Ok(flag) = value.cast::<PyBool>() {
        acl::Field::Flag(flag.is_true())
    } else if value.is_instance_of::<PyInt>() {
        value.extract::<i64>().map_or(acl::Field::Other, |number| acl::Field::Text(number.to_string().into()))
    } else {
        text_of(value).map_or(acl::Field::Other, |text| acl::Field::Text(text.into()))
    }
}

/// Whether a setting is given: `None`, empty text and empty lists leave it open, as in the stock module.
pub(super) fn is_given(value: &Bound<'_, PyAny>) -> bool {
    !value.is_none() && !value.len().is_ok_and(|length| length == 0)
}

/// Text or bytes, as the data of a znode.
pub(super) fn bytes(value: &Bound<'_, PyAny>) -> Result<Vec<u8>> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    match text_of(value) {
        Some(text) => Ok(text.into_bytes()),
        None => refused("value", "must be text or bytes"),
    }
}

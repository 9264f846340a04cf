//! Python values as the core's, and nothing decided: seconds, counts, flags, hosts, ACLs.
//!
//! No value is ever echoed that could be a secret, and no bare `TypeError` leaves: a wrong type is an
//! argument error like any other.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyMapping, PySequence, PyString};

use super::security::{self, Security};
use crate::acl;
use crate::deadline::Patience;
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::security::UserSource;
use crate::settings::{Settings, Source};

/// Bytes of a name, a password or a connect string. A server hangs up on a request beyond 1 MiB, and does
/// not say why.
const LIMIT: usize = 64 * 1024;
/// Items of a list.
const MOST_ITEMS: usize = 1000;

/// An argument that was given: neither left out nor `None`.
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

/// Whose slot: any scalar. Nothing, and the empty text, mean the host's name.
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

fn seconds(argument: &'static str, value: &Bound<'_, PyAny>) -> Result<Duration> {
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
pub(super) fn patience(value: Given<'_, '_>) -> Result<Patience> {
    match value.map(|value| seconds("timeout", value)).transpose()? {
        None => Ok(Patience::Forever),
        Some(Duration::ZERO) => Ok(Patience::Once),
        Some(duration) => Ok(Patience::For(duration)),
    }
}

fn hosts(value: &Bound<'_, PyAny>) -> Result<Vec<String>> {
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
        return Some(acl::Entry::Word(word));
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
        value.extract().map_or(acl::Field::Other, acl::Field::Number)
    } else {
        text_of(value).map_or(acl::Field::Other, acl::Field::Text)
    }
}

/// Where a call finds its ensemble: its own arguments, and the profile they name.
pub(super) struct Connection<'a, 'py> {
    pub(super) hosts: Given<'a, 'py>,
    pub(super) profile: Given<'a, 'py>,
    pub(super) scheme: Given<'a, 'py>,
    pub(super) username: Given<'a, 'py>,
    pub(super) password: Given<'a, 'py>,
    pub(super) default_acl: Given<'a, 'py>,
    pub(super) config_get: Given<'a, 'py>,
    pub(super) security: Security<'py>,
}

impl<'py> Connection<'_, 'py> {
    /// Looks up what the arguments leave open, and merges.
    pub(super) fn settings(&self) -> PyResult<Settings> {
        let explicit = Values {
            hosts: self.hosts.filter(|value| is_said(value)).cloned(),
            scheme: self.scheme.filter(|value| is_said(value)).cloned(),
            username: self.username.filter(|value| is_said(value)).cloned(),
            password: self.password.filter(|value| is_said(value)).cloned(),
            default_acl: self.default_acl.filter(|value| is_said(value)).cloned(),
            security: self.security.clone(),
            ..Values::default()
        };
        let profile = match self.config_get {
            None => Values::default(),
            Some(config_get) if !config_get.is_callable() => refused("config_get", "must be callable")?,
            Some(config_get) => self.profile_values(config_get, &explicit)?,
        };
        let settings = Settings::resolve(explicit.source()?, profile.source()?)?;
        Python::attach(|py| security::warn(py, &settings))?;
        Ok(settings)
    }

    fn profile_values(&self, config_get: &Bound<'py, PyAny>, explicit: &Values<'py>) -> PyResult<Values<'py>> {
        let prefix = match self.profile.filter(|value| is_said(value)) {
            Some(profile) => format!("zookeeper:{}", scalar("profile", profile)?),
            None => "zookeeper".to_owned(),
        };
        let look_up = |key: &str, known: bool| -> PyResult<Option<Bound<'py, PyAny>>> {
            if known {
                return Ok(None);
            }
            let value = config_get.call1((format!("{prefix}:{key}"), config_get.py().None()))?;
            Ok(Some(value).filter(is_said))
        };
        let scheme = look_up("scheme", explicit.scheme.is_some())?;
        let with_sasl = scheme.is_some() || explicit.scheme.is_some();
        let security = explicit.security.look_up(with_sasl, look_up)?;
        Ok(Values {
            security,
            hosts: look_up("hosts", explicit.hosts.is_some())?,
            scheme,
            username: look_up("username", explicit.username.is_some())?,
            password: look_up("password", explicit.password.is_some())?,
            default_acl: look_up("default_acl", explicit.default_acl.is_some())?,
            session_timeout: look_up("session_timeout", false)?,
            connect_timeout: look_up("connect_timeout", false)?,
        })
    }
}

/// `None`, empty text and empty lists leave a setting open, as in the stock module.
pub(super) fn is_said(value: &Bound<'_, PyAny>) -> bool {
    !value.is_none() && !value.len().is_ok_and(|length| length == 0)
}

#[derive(Default)]
struct Values<'py> {
    hosts: Option<Bound<'py, PyAny>>,
    scheme: Option<Bound<'py, PyAny>>,
    username: Option<Bound<'py, PyAny>>,
    password: Option<Bound<'py, PyAny>>,
    default_acl: Option<Bound<'py, PyAny>>,
    security: Security<'py>,
    session_timeout: Option<Bound<'py, PyAny>>,
    connect_timeout: Option<Bound<'py, PyAny>>,
}

impl Values<'_> {
    fn source(&self) -> Result<Source> {
        let timeout = |name, value: &Option<Bound<'_, PyAny>>| value.as_ref().map(|it| seconds(name, it)).transpose();
        let (mechanism, tls) = self.security.source()?;
        let user = UserSource {
            scheme: self.scheme.as_ref().map(|it| text("scheme", it)).transpose()?,
            mechanism,
            username: self.username.as_ref().map(|it| scalar("username", it)).transpose()?,
            password: self.password.as_ref().map(|it| scalar("password", it).map(Secret::from)).transpose()?,
        };
        Ok(Source {
            hosts: self.hosts.as_ref().map(hosts).transpose()?,
            user,
            tls,
            default_acl: self.default_acl.as_ref().map(|it| acls("default_acl", it)).transpose()?,
            session_timeout: timeout("session_timeout", &self.session_timeout)?,
            connect_timeout: timeout("connect_timeout", &self.connect_timeout)?,
        })
    }
}

/// The keywords that all functions beyond the stock four share.
pub(super) struct Common {
    pub(super) settings: Settings,
    pub(super) patience: Patience,
    pub(super) raise_on_signal: bool,
}

impl Common {
    pub(super) fn from_keywords(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let (mut common, mut security) = ([const { None }; KEYWORDS.len()], Security::default());
        for (key, value) in keywords.into_iter().flatten() {
            let key = text("keyword", &key)?;
            match KEYWORDS.iter().position(|known| *known == key) {
                Some(index) => common[index] = Some(value).filter(|value| !value.is_none()),
                None => security.take(&key, value)?,
            }
        }
        let [hosts, profile, scheme, username, password, default_acl, config_get, timeout, raise_on_signal] = &common;
        let connection = Connection {
            hosts: hosts.as_ref(),
            profile: profile.as_ref(),
            scheme: scheme.as_ref(),
            username: username.as_ref(),
            password: password.as_ref(),
            default_acl: default_acl.as_ref(),
            config_get: config_get.as_ref(),
            security,
        };
        Ok(Self {
            settings: connection.settings()?,
            patience: patience(timeout.as_ref())?,
            raise_on_signal: flag("raise_on_signal", raise_on_signal.as_ref())?,
        })
    }
}

const KEYWORDS: [&str; 9] = [
    "zk_hosts",
    "profile",
    "scheme",
    "username",
    "password",
    "default_acl",
    "config_get",
    "timeout",
    "raise_on_signal",
];

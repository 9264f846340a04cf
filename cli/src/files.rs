//! The configuration files: /etc/zkcoord.toml, and the user's own.
//!
//! ```toml
//! hosts = "zk1:2181,zk2:2181,zk3:2181"
//! username = "deploy"
//! password_file = "/etc/zkcoord.password"
//!
//! [profiles.test]
//! hosts = ["zk1.test:2181", "zk2.test:2181"]
//! ```
//!
//! The settings outside `profiles` are those without a profile. A profile stands for itself: it takes nothing from
//! outside. Where both files have a profile of one name, or both have settings without a profile, those of the user's
//! file count alone. So no password of one file goes to the hosts of the other.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use zkcoord::acl::{Entry, Field};
use zkcoord::connect::credentials::UserSource;
use zkcoord::connect::source::Source;
use zkcoord::connect::tls::TlsSource;
use zkcoord::secret::Secret;
use zkcoord::{Error, Result};

use crate::arguments;

const ARGUMENT: &str = "config";
const SYSTEM: &str = "/etc/zkcoord.toml";
/// The bit of a file's mode by which everybody may read the file. A file with a password must not have it.
const READ_BY_OTHERS: u32 = 0o004;

/// The settings of a profile, or those without one.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    hosts: Option<OneOrMore>,
    scheme: Option<String>,
    mechanism: Option<String>,
    username: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    default_acl: Option<Vec<AclEntry>>,
    use_ssl: Option<bool>,
    ca_certs: Option<String>,
    certfile: Option<String>,
    keyfile: Option<String>,
    keyfile_password: Option<String>,
    keyfile_password_file: Option<PathBuf>,
    verify_certs: Option<bool>,
    session_timeout: Option<Time>,
    connect_timeout: Option<Time>,
    max_buffer: Option<u32>,
    send_credentials_to_any_host: Option<bool>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Time {
    Seconds(f64),
    Text(String),
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum AclEntry {
    Word(String),
    Keywords(BTreeMap<String, toml::Value>),
}

/// What a configuration says, and which file.
#[derive(Clone, Debug)]
pub(crate) struct Configured {
    /// The settings.
    pub(crate) source: Source,
    /// The file that they are from.
    pub(crate) file: PathBuf,
}

/// The files that are read. What an earlier one says wins.
pub(crate) fn paths(given: Option<&Path>) -> Vec<PathBuf> {
    if let Some(given) = given {
        return vec![given.to_owned()];
    }
    let home = std::env::var_os("XDG_CONFIG_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    home.map(|home| home.join("zkcoord.toml")).into_iter().chain([PathBuf::from(SYSTEM)]).collect()
}

/// The settings of a profile, or those without one. `None`: no file has settings.
///
/// # Errors
/// [`Error::Argument`]: a file that cannot be read or is no such file, with the line; a profile that no file has; a
/// password in a file that everybody may read.
pub(crate) fn read(given: Option<&Path>, profile: Option<&str>) -> Result<Option<Configured>> {
    let mut known = Vec::new();
    let mut found = None;
    for path in paths(given) {
        let Some(text) = contents(&path, given.is_some())? else { continue };
        let (section, mut profiles) = parse(&path, &text)?;
        known.extend(profiles.keys().cloned());
        let part = match profile {
            Some(name) => profiles.remove(name),
            None => section,
        };
        if let (Some(part), None) = (part, &found) {
            found = Some(Configured { source: source(part, &path, profile)?, file: path });
        }
    }
    match (profile, found) {
        (Some(name), None) => {
            known.sort();
            known.dedup();
            let there = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
            let files: Vec<_> = paths(given).iter().map(|path| path.display().to_string()).collect();
            let reason = format!("{name:?} is in none of {}; profiles there: {there}", files.join(", "));
            Err(Error::Argument { argument: "profile", reason })
        }
        (_, found) => Ok(found),
    }
}

fn contents(path: &Path, must_be: bool) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound && !must_be => Ok(None),
        Err(error) => Err(refused(path, &error)),
    }
}

/// The settings without a profile, where there are any, and the profiles.
fn parse(path: &Path, text: &str) -> Result<(Option<Section>, BTreeMap<String, Section>)> {
    let mut table: toml::Table = toml::from_str(text).map_err(|error| wrong(path, text, &error))?;
    let mut profiles = BTreeMap::new();
    match table.remove("profiles") {
        None => {}
        Some(toml::Value::Table(tables)) => {
            for (name, part) in tables {
                let section = part.try_into().map_err(|error: toml::de::Error| {
                    refused(path, &format!("in the profile {name:?}: {}", first_line(&error)))
                })?;
                profiles.insert(name, section);
            }
        }
        Some(_) => return Err(refused(path, &"profiles must be tables, such as [profiles.test]")),
    }
    if table.is_empty() {
        return Ok((None, profiles));
    }
    let section: std::result::Result<Section, toml::de::Error> = toml::Value::Table(table).try_into();
    Ok((Some(section.map_err(|error| refused(path, &first_line(&error)))?), profiles))
}

/// What the parser says, without the text of the line: that may hold a password.
fn wrong(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    refused(path, &format!("line {line}: {}", error.message().lines().next().unwrap_or("is no TOML")))
}

fn first_line(error: &toml::de::Error) -> String {
    error.message().lines().next().unwrap_or_default().to_owned()
}

fn refused(path: &Path, reason: &impl std::fmt::Display) -> Error {
    Error::Argument { argument: ARGUMENT, reason: format!("{}: {reason}", path.display()) }
}

fn source(section: Section, path: &Path, profile: Option<&str>) -> Result<Source> {
    let has_secret = section.password.is_some() || section.keyfile_password.is_some();
    let mode = fs::metadata(path).map(|metadata| metadata.permissions().mode()).unwrap_or_default();
    if has_secret && mode & READ_BY_OTHERS != 0 {
        return Err(refused(path, &"has a password in it, and everybody may read it: chmod 600, or use password_file"));
    }
    let both = |name: &str| refused(path, &format!("{name} and {name}_file are given; give one of them"));
    let password = match (section.password, section.password_file) {
        (Some(_), Some(_)) => return Err(both("password")),
        (None, Some(file)) => Some(secret_in(&file)?),
        (password, None) => password.map(Secret::from),
    };
    let keyfile_password = match (section.keyfile_password, section.keyfile_password_file) {
        (Some(_), Some(_)) => return Err(both("keyfile_password")),
        (None, Some(file)) => Some(secret_in(&file)?),
        (password, None) => password.map(Secret::from),
    };
    let time = |time: Option<Time>| match time {
        None => Ok(None),
        Some(Time::Seconds(seconds)) => arguments::time(&seconds.to_string()).map(Some),
        Some(Time::Text(text)) => arguments::time(&text).map(Some),
    };
    let session_timeout =
        time(section.session_timeout).map_err(|why| refused(path, &format!("session_timeout {why}")))?;
    let connect_timeout =
        time(section.connect_timeout).map_err(|why| refused(path, &format!("connect_timeout {why}")))?;
    Ok(Source {
        hosts: section.hosts.map(|hosts| match hosts {
            OneOrMore::One(hosts) => vec![hosts],
            OneOrMore::More(hosts) => hosts,
        }),
        user: UserSource { scheme: section.scheme, mechanism: section.mechanism, username: section.username, password },
        tls: TlsSource {
            use_ssl: section.use_ssl,
            ca_certs: section.ca_certs,
            certfile: section.certfile,
            keyfile: section.keyfile,
            keyfile_password,
            verify_certs: section.verify_certs,
        },
        default_acl: section.default_acl.map(|entries| entries.into_iter().map(entry).collect()),
        session_timeout,
        connect_timeout,
        idle_timeout: None,
        max_buffer: section.max_buffer,
        profile: profile.map(ToOwned::to_owned),
        section: Some(path.display().to_string()),
        hosts_above: None,
        send_credentials_to_any_host: section.send_credentials_to_any_host,
    })
}

fn entry(entry: AclEntry) -> Entry {
    match entry {
        AclEntry::Word(word) => Entry::Word(word.into()),
        AclEntry::Keywords(table) => {
            let field = |value| match value {
                toml::Value::Boolean(flag) => Field::Flag(flag),
                toml::Value::String(text) => Field::Text(text.into()),
                toml::Value::Integer(number) => Field::Text(number.to_string().into()),
                _ => Field::Other,
            };
            Entry::Keywords(table.into_iter().map(|(key, value)| (key, field(value))).collect())
        }
    }
}

/// The first line of a file, which is a password.
///
/// # Errors
/// [`Error::Argument`].
pub(crate) fn secret_in(path: &Path) -> Result<Secret> {
    let argument = "password_file";
    let refused = |reason: String| Error::Argument { argument, reason: format!("{}: {reason}", path.display()) };
    let mut text = fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    let end = text.find('\n').unwrap_or(text.len());
    let is_empty = text[..end].trim_end_matches('\r').is_empty();
    let secret = Secret::from(text[..end].trim_end_matches('\r').to_owned());
    // `Secret` wipes the memory that it owns. So the copy of the whole file becomes one, and is wiped right here.
    drop(Secret::from(std::mem::take(&mut text)));
    if is_empty {
        return Err(refused("its first line is empty".to_owned()));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn reason(text: &str) -> String {
        parse(Path::new("/f"), text).err().map(|error| error.to_string()).unwrap()
    }

    #[test]
    fn profiles_stand_for_themselves() {
        let (section, profiles) =
            parse(Path::new("/f"), "hosts = 'a:1'\n[profiles.b]\nhosts = ['c:1', 'd:1']").unwrap();
        let hosts = |section: Section| source(section, Path::new("/f"), None).unwrap().hosts.unwrap();
        assert_eq!(hosts(section.unwrap()), ["a:1"]);
        assert_eq!(hosts(profiles["b"].clone()), ["c:1", "d:1"]);
        assert!(parse(Path::new("/f"), "[profiles.b]\nhosts = 'a'").unwrap().0.is_none());
    }

    #[test]
    fn what_is_wrong_is_one_line_without_the_line_of_the_file() {
        assert!(reason("hsots = 'a'").starts_with("config: /f: unknown field `hsots`, expected one of `hosts`"));
        assert!(reason("[profiles.x]\nhsots = 'a'").contains("in the profile \"x\": unknown field `hsots`"));
        let secret = reason("hosts = 'a'\npassword = 's3cret");
        assert!(secret.contains("line 2") && !secret.contains("s3cret") && !secret.contains('\n'), "{secret}");
        assert_eq!(reason("profiles = 1"), "config: /f: profiles must be tables, such as [profiles.test]");
    }
}

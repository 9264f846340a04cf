//! What a node of a Ganeti cluster has for its clients: the candidates' addresses, the key, the port.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::key::Key;
use crate::error::{Error, Result};

/// Where Ganeti keeps its data, below [`ROOT`].
const DIRECTORY: &str = "var/lib/ganeti";
/// The variable by which Ganeti itself is told of another root.
const ROOT: &str = "GANETI_ROOTDIR";
const SERVICES: &str = "/etc/services";
const SERVICE: &str = "ganeti-confd";
/// The port of ganeti-confd, where the system has no other.
pub const PORT: u16 = 1814;

/// The addresses of the master candidates, as this node has them.
///
/// # Errors
/// [`Error::Argument`]: this is no node of a cluster, or its file cannot be read.
pub fn candidates() -> Result<Vec<String>> {
    let bytes = read("peers", &directory().join("ssconf_master_candidates_ips"), false)?;
    Ok(String::from_utf8_lossy(&bytes).split_ascii_whitespace().map(str::to_owned).collect())
}

/// The key: this node's own, or that in another file, all of it. Nobody is shown it.
///
/// # Errors
/// [`Error::Argument`]: the file cannot be read, or is empty.
pub fn key(file: Option<&Path>) -> Result<Key> {
    let own = directory().join("hmac.key");
    Key::new(read("hmac_key", file.unwrap_or(&own), file.is_some())?)
}

/// The port of ganeti-confd in `/etc/services`, or [`PORT`].
#[must_use]
pub fn port() -> u16 {
    fs::read_to_string(SERVICES).ok().and_then(|services| port_in(&services)).unwrap_or(PORT)
}

fn port_in(services: &str) -> Option<u16> {
    services.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let (name, port) = (words.next()?, words.next()?);
        let (port, protocol) = port.split_once('/')?;
        let is_it = protocol == "udp" && (name == SERVICE || words.any(|alias| alias == SERVICE));
        port.parse().ok().filter(|_| is_it)
    })
}

/// Where Ganeti keeps its data.
fn directory() -> PathBuf {
    match std::env::var_os(ROOT).filter(|root| !root.is_empty()) {
        Some(root) => Path::new(&root).join(DIRECTORY),
        None => Path::new("/").join(DIRECTORY),
    }
}

fn read(argument: &'static str, path: &Path, is_given: bool) -> Result<Vec<u8>> {
    let content = fs::read(path).map_err(|error| {
        let reason = match error.kind() {
            ErrorKind::NotFound => "there is no such file".to_owned(),
            ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        let advice =
            if is_given { "give another file" } else { "on a host that is no node of a cluster it has to be given" };
        Error::argument(argument, format!("{} cannot be read: {reason}; {advice}", path.display()))
    })?;
    if content.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::argument(argument, format!("{} is empty", path.display())));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_that_of_the_service_or_of_its_alias() {
        let services = "ssh 22/tcp\nganeti-confd 99/tcp\nganeti-confd\t1815/udp # Ganeti\n";
        assert_eq!(port_in(services), Some(1815));
        assert_eq!(port_in("gconfd 1816/udp ganeti-confd"), Some(1816));
        assert_eq!(port_in("# ganeti-confd 1817/udp\nx 1/udp"), None);
    }

    #[test]
    fn a_file_that_is_missing_is_named() {
        let error = key(Some(Path::new("/nowhere/hmac.key"))).map(drop).map_err(|error| error.to_string());
        let reason = "hmac_key: /nowhere/hmac.key cannot be read: there is no such file; give another file";
        assert_eq!(error, Err(reason.to_owned()));
    }
}

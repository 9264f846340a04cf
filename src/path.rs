//! Paths of znodes: what is accepted, and what is derived from them. Pure.

use crate::error::{Error, Result};

const ARGUMENT: &str = "path";
/// Bytes. A server hangs up on a request beyond 1 MiB, and does not say why.
const LIMIT: usize = 64 * 1024;
/// ZooKeeper's own subtree: quotas and the ensemble's configuration.
const RESERVED: &str = "/zookeeper";

/// Normalises a znode path as kazoo does, and refuses what could not be one.
///
/// Repeated and trailing slashes go, and a missing leading slash is added: the stock module takes
/// `a/b` for `/a/b`. Refused are the root, `.` and `..`, characters ZooKeeper forbids (controls,
/// private use, specials) and ZooKeeper's own `/zookeeper`.
///
/// # Errors
/// [`Error::Argument`].
pub fn normalise(text: &str) -> Result<String> {
    let path = join(ARGUMENT, text)?;
    if path.is_empty() {
        return Err(Error::argument(ARGUMENT, format!("{text:?} names no znode; give a path such as /lock/web")));
    }
    Ok(path)
}

/// As [`normalise`], but for any znode: the root (empty here) and ZooKeeper's own are fine.
///
/// # Errors
/// [`Error::Argument`].
pub fn any(text: &str) -> Result<String> {
    if text.is_empty() {
        return Err(Error::argument(ARGUMENT, "is empty; give a path such as /app/config"));
    }
    join(ARGUMENT, text)
}

/// The prefix that a chroot puts before every path: empty for `/` and for nothing.
///
/// # Errors
/// [`Error::Argument`].
pub fn chroot(text: &str) -> Result<String> {
    join("zk_hosts", text)
}

/// Puts `path` below `chroot`, both normalised.
///
/// # Errors
/// [`Error::Argument`], if that is in ZooKeeper's own subtree.
pub fn below(chroot: &str, path: &str) -> Result<String> {
    let full = format!("{chroot}{path}");
    if full == RESERVED || full.starts_with("/zookeeper/") {
        return Err(Error::argument(ARGUMENT, format!("{full} is ZooKeeper's own; choose a path outside {RESERVED}")));
    }
    Ok(full)
}

/// The parents of a normalised path from the top down, without the root and the path itself.
pub fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').skip(1).map(|(slash, _)| &path[..slash])
}

fn join(argument: &'static str, text: &str) -> Result<String> {
    if text.len() > LIMIT {
        return Err(Error::argument(argument, format!("must not be longer than {LIMIT} bytes")));
    }
    let mut path = String::with_capacity(text.len() + 1);
    for part in text.split('/').filter(|part| !part.is_empty()) {
        if part == "." || part == ".." {
            return Err(Error::argument(argument, format!("{text:?} contains {part:?}; paths are absolute")));
        }
        if let Some(odd) = part.chars().find(|&c| is_forbidden(c)) {
            return Err(Error::argument(argument, format!("{text:?} contains {odd:?}, which ZooKeeper forbids")));
        }
        path.push('/');
        path.push_str(part);
    }
    Ok(path)
}

/// The characters refused by ZooKeeper's `PathUtils`. What is beyond 16 bits is two of them in Java, both refused.
pub(crate) fn is_forbidden(c: char) -> bool {
    matches!(u32::from(c), 0x0000..=0x001f | 0x007f..=0x009f | 0xd800..=0xf8ff | 0xfff0..)
}

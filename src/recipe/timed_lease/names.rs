//! What the znodes of timed leases are called. Pure.

const MARK: &str = "-__wait__";

/// The queue of those who wait for the lease at `path`.
#[must_use]
pub fn queue(path: &str) -> String {
    format!("{path}{MARK}")
}

/// Whether a znode of this name is the queue about another.
#[must_use]
pub fn is_queue(name: &str) -> bool {
    name.ends_with(MARK)
}

/// The path with its last part in lower case, as the name of a lease in Kubernetes is. Two callers that write the name
/// in different cases mean the same lease.
#[must_use]
pub fn lower_cased(path: &str) -> String {
    let (parents, name) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path));
    let slash = if path.contains('/') { "/" } else { "" };
    format!("{parents}{slash}{}", name.to_lowercase())
}

/// The lease as people say it: `namespace/name`, the last two parts of its path.
#[must_use]
pub fn described(path: &str) -> String {
    let mut parts = path.rsplit('/').filter(|part| !part.is_empty());
    match (parts.next(), parts.next()) {
        (Some(name), Some(namespace)) => format!("{namespace}/{name}"),
        (Some(name), None) => name.to_owned(),
        (None, _) => String::new(),
    }
}

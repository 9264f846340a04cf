//! ACLs in the keywords of Salt's `zookeeper.make_digest_acl`. Pure.

use std::collections::BTreeMap;
use std::fmt;

use base64::engine::general_purpose::STANDARD as BASE64;
use base64::Engine as _;
use serde::de::IgnoredAny;
use serde::Deserialize;
use sha1::{Digest as _, Sha1};
use zookeeper_client::{Acl, AuthId, Permission};

use crate::error::{Error, Result};

const PERMISSIONS: [(&str, Permission); 6] = [
    ("read", Permission::READ),
    ("write", Permission::WRITE),
    ("create", Permission::CREATE),
    ("delete", Permission::DELETE),
    ("admin", Permission::ADMIN),
    ("allperms", Permission::ALL),
];

/// One value of an ACL dict. Anything fits, so that what does not belong is refused here, by its
/// key, and never echoed: it might be a password.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub enum Field {
    /// A permission.
    Flag(bool),
    /// A user name or a password.
    Text(String),
    /// A user name or a password of digits only, which YAML takes for a number.
    Number(i64),
    /// Nothing, the same as no key.
    Nothing(()),
    /// What does not belong.
    Other(IgnoredAny),
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// An ACL dict: `username`, `password`, and the permissions that are true.
pub type Keywords = BTreeMap<String, Field>;

/// The ACL that the dicts of an argument stand for.
///
/// # Errors
/// [`Error::Argument`]: an unknown key, a value of the wrong type, a missing user name or password,
/// or no permission at all.
pub fn from_keywords(argument: &'static str, dicts: &[Keywords]) -> Result<Vec<Acl>> {
    dicts.iter().map(|dict| one(dict).map_err(|reason| Error::argument(argument, reason))).collect()
}

fn one(dict: &Keywords) -> std::result::Result<Acl, String> {
    let mut permissions = Permission::NONE;
    for (key, value) in dict {
        let permission = PERMISSIONS.iter().find(|(name, _)| name == key).map(|(_, permission)| *permission);
        match (permission, value) {
            (Some(permission), Field::Flag(true)) => permissions = permissions | permission,
            (Some(_), Field::Flag(false) | Field::Nothing(())) => {}
            (Some(_), _) => return Err(format!("{key} must be true or false")),
            (None, _) if key == "username" || key == "password" => {}
            // Not echoed: it might be a password, written where a key belongs.
            (None, _) => return Err(format!("an unknown key; known are username, password, {}", known())),
        }
    }
    let username = text(dict, "username")?;
    let password = text(dict, "password")?;
    if username.contains(':') {
        return Err("username must not contain ':'".to_owned());
    }
    if permissions == Permission::NONE {
        return Err(format!("the entry for {username:?} permits nothing; set one of {} to true", known()));
    }
    Ok(Acl::new(permissions, AuthId::new("digest", &digest(&username, &password))))
}

fn text(dict: &Keywords, key: &'static str) -> std::result::Result<String, String> {
    match dict.get(key) {
        Some(Field::Text(text)) if !text.is_empty() => Ok(text.clone()),
        Some(Field::Number(number)) => Ok(number.to_string()),
        None | Some(Field::Text(_) | Field::Nothing(())) => Err(format!("{key} is missing")),
        Some(_) => Err(format!("{key} must be text")),
    }
}

fn known() -> String {
    PERMISSIONS.map(|(name, _)| name).join(", ")
}

/// The bits of a permission, as ZooKeeper's protocol has them: read 1, write 2, create 4, delete 8,
/// admin 16.
#[must_use]
pub fn bits(permission: Permission) -> i32 {
    let each = [Permission::READ, Permission::WRITE, Permission::CREATE, Permission::DELETE, Permission::ADMIN];
    (0..).zip(each).filter(|(_, one)| permission.has(*one)).map(|(bit, _)| 1 << bit).sum()
}

/// The id by which ZooKeeper's digest scheme knows a user: `user:base64(sha1("user:password"))`.
///
/// Source: `DigestAuthenticationProvider.generateDigest` of ZooKeeper.
#[must_use]
pub fn digest(username: &str, password: &str) -> String {
    let hash = Sha1::new().chain_update(username).chain_update(":").chain_update(password).finalize();
    format!("{username}:{}", BASE64.encode(hash))
}

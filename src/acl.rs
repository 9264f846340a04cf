//! ACLs as people write them, and as ZooKeeper takes them. Pure.
//!
//! | entry | stands for |
//! | --- | --- |
//! | `creator_all` | everything to whoever creates the znode: ZooKeeper's `auth::cdrwa` |
//! | `{username, password, read, write, create, delete, admin, allperms}` | a user, as in Salt's `zookeeper.make_digest_acl` |
//! | `{scheme, id, perms}` | an id of any scheme; `perms` is letters of `cdrwa`, or `all` |
//!
//! At a shell an entry is a word, `scheme:id:perms`: see [`word`].
//!
//! Schemes: `world` (everybody), `auth` (the creator), `digest` (an id with the hash already made), `ip`.
//! `sasl`, `x509` and others are plugins of the servers, which alone can tell a good id.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;

use base64::engine::general_purpose::STANDARD as BASE64;
use base64::Engine as _;
use sha1::{Digest as _, Sha1};
use zookeeper_client::{Acl, Acls, AuthId, Permission};

use crate::error::{Error, Result};
use crate::secret::Secret;

const PERMISSIONS: [(&str, Permission); 6] = [
    ("read", Permission::READ),
    ("write", Permission::WRITE),
    ("create", Permission::CREATE),
    ("delete", Permission::DELETE),
    ("admin", Permission::ADMIN),
    ("allperms", Permission::ALL),
];
const LETTERS: [(char, Permission); 5] = [
    ('c', Permission::CREATE),
    ('d', Permission::DELETE),
    ('r', Permission::READ),
    ('w', Permission::WRITE),
    ('a', Permission::ADMIN),
];
const CREATOR_ALL: &str = "creator_all";
/// The scheme of entries that the server fills in with whoever creates the znode.
const AUTH: &str = "auth";
const SHA1_LEN: usize = 20;
/// Bytes of a whole ACL. A server hangs up on a request beyond 1 MiB, and does not say why.
const LIMIT: usize = 64 * 1024;

/// One value of an ACL dict. A value of any type fits, so that one of a wrong type is refused here, by its key. No
/// value is echoed: it might be a password.
#[derive(Clone)]
pub enum Field {
    /// A permission.
    Flag(bool),
    /// Text, or a number that YAML has made of text of digits only. It may be a password.
    Text(Secret),
    /// Nothing, the same as no key.
    Nothing,
    /// A value of any other type.
    Other,
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// An ACL dict.
pub type Keywords = BTreeMap<String, Field>;

/// One entry of an ACL as it was written.
#[derive(Clone)]
pub enum Entry {
    /// A dict.
    Keywords(Keywords),
    /// A word. It may be a password, written where a word belongs.
    Word(Secret),
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A whole ACL. Its digests are as good as passwords to somebody with patience: no `Debug` shows them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct List(Vec<Acl>);

impl From<Vec<Acl>> for List {
    fn from(acl: Vec<Acl>) -> Self {
        Self(acl)
    }
}

impl List {
    /// What a created znode permits: this, or everything to everybody where this is empty, as in kazoo.
    pub(crate) fn of_new_znode(&self) -> Acls<'_> {
        if self.0.is_empty() {
            Acls::anyone_all()
        } else {
            Acls::new(&self.0)
        }
    }
}

impl Deref for List {
    type Target = [Acl];

    fn deref(&self) -> &[Acl] {
        &self.0
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} redacted]", self.0.len())
    }
}

/// The ACL that the entries of an argument stand for.
///
/// # Errors
/// [`Error::Argument`]: an unknown word or key, a value of the wrong type, something missing, an id that
/// its scheme cannot have, no permission at all, or too much of it. No value is echoed.
pub fn from_entries(argument: &'static str, entries: &[Entry]) -> Result<List> {
    let acl: std::result::Result<Vec<_>, _> = entries.iter().map(one).collect();
    let acl = acl.map_err(|reason| Error::argument(argument, reason))?;
    if acl.iter().map(|entry| entry.scheme().len() + entry.id().len()).sum::<usize>() > LIMIT {
        return Err(Error::argument(argument, format!("must not be longer than {LIMIT} bytes")));
    }
    Ok(List(acl))
}

/// The entry that a word stands for: `scheme:id:perms`, such as `world:anyone:r`, `ip:10.0.0.0/8:cdrwa`, `auth::all`;
/// `digest:user:hash:perms` with the hash already made, or `digest:user:perms` with the user's `password`; `creator_all`.
///
/// # Errors
/// [`Error::Argument`]: it has no such parts, or a password is missing. No value is echoed.
pub fn word(argument: &'static str, text: &str, password: Option<&Secret>) -> Result<Entry> {
    if text == CREATOR_ALL {
        return Ok(Entry::Word(text.to_owned().into()));
    }
    let Some((scheme, id, perms)) = parts(text) else {
        let reason = format!("an entry is scheme:id:perms, such as world:anyone:r, or {CREATOR_ALL}");
        return Err(Error::argument(argument, reason));
    };
    let id = match (is_without_hash(scheme, id), password) {
        (true, None) => {
            let reason = "digest:user:perms needs the user's password; or write digest:user:hash:perms";
            return Err(Error::argument(argument, reason));
        }
        (true, Some(_)) if id.is_empty() => return Err(Error::argument(argument, "digest:user:perms names no user")),
        (true, Some(password)) => digest(id, password.reveal()),
        (false, _) => id.to_owned(),
    };
    let mut keywords = Keywords::new();
    let mut add = |key: &str, value: String| {
        if !value.is_empty() {
            keywords.insert(key.to_owned(), Field::Text(value.into()));
        }
    };
    add("scheme", scheme.to_owned());
    add("id", id);
    add("perms", perms.to_owned());
    Ok(Entry::Keywords(keywords))
}

/// Whether a [`word`] stands for a user whose password has to be known.
#[must_use]
pub fn needs_password(text: &str) -> bool {
    parts(text).is_some_and(|(scheme, id, _)| is_without_hash(scheme, id))
}

/// Scheme, id and permissions; an id may have colons.
fn parts(text: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let (id, perms) = rest.rsplit_once(':')?;
    (!scheme.is_empty()).then_some((scheme, id, perms))
}

fn is_without_hash(scheme: &str, id: &str) -> bool {
    scheme == "digest" && !id.contains(':')
}

/// An entry of a znode as a [`word`].
#[must_use]
pub fn text(entry: &Acl) -> String {
    let perms: String = LETTERS.iter().filter(|(_, one)| entry.permission().has(*one)).map(|(it, _)| *it).collect();
    format!("{}:{}:{perms}", entry.scheme(), entry.id())
}

/// Whether an entry lets everybody do more than read.
#[must_use]
pub fn lets_everybody_change(entry: &Acl) -> bool {
    entry.scheme() == "world" && bits(entry.permission()) & !bits(Permission::READ) != 0
}

/// Whether a password, or a digest that is as good as one, is in the entries.
pub(crate) fn has_secret(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| match entry {
        Entry::Word(word) => word.reveal() != CREATOR_ALL,
        Entry::Keywords(dict) => {
            let is_digest = matches!(dict.get("scheme"), Some(Field::Text(scheme)) if scheme.reveal() == "digest");
            is_digest || dict.contains_key("password")
        }
    })
}

/// Refuses an ACL that names the creator, for a creator who is nobody: a server would find it empty.
///
/// # Errors
/// [`Error::Argument`].
pub fn check_creator(argument: &'static str, acl: &[Acl], is_somebody: bool) -> Result<()> {
    if is_somebody || acl.iter().all(|entry| entry.scheme() != AUTH) {
        return Ok(());
    }
    let reason =
        format!("{CREATOR_ALL}, and the scheme {AUTH}, need a creator with credentials: give username and password");
    Err(Error::argument(argument, reason))
}

fn one(entry: &Entry) -> std::result::Result<Acl, String> {
    match entry {
        Entry::Word(word) if word.reveal() == CREATOR_ALL => Ok(Acl::new(Permission::ALL, AuthId::new(AUTH, ""))),
        Entry::Word(_) => Err(format!("an unknown word; known is {CREATOR_ALL}, and anything else is a dict")),
        Entry::Keywords(dict) if dict.contains_key("scheme") => of_scheme(dict),
        Entry::Keywords(dict) => of_user(dict),
    }
}

fn of_user(dict: &Keywords) -> std::result::Result<Acl, String> {
    let mut permissions = Permission::NONE;
    for (key, value) in dict {
        let permission = PERMISSIONS.iter().find(|(name, _)| name == key).map(|(_, permission)| *permission);
        match (permission, value) {
            (Some(permission), Field::Flag(true)) => permissions = permissions | permission,
            (Some(_), Field::Flag(false) | Field::Nothing) => {}
            (Some(_), _) => return Err(format!("{key} must be true or false")),
            (None, _) if key == "username" || key == "password" => {}
            // Not echoed: it might be a password, written where a key belongs.
            (None, _) => {
                let known = known();
                return Err(format!("an unknown key; known are username, password, {known}, or scheme, id, perms"));
            }
        }
    }
    let username = text_of(dict, "username")?.reveal();
    let password = text_of(dict, "password")?.reveal();
    if username.contains(':') {
        return Err("username must not contain ':'".to_owned());
    }
    if permissions == Permission::NONE {
        return Err(format!("the entry for {username:?} permits nothing; set one of {} to true", known()));
    }
    Ok(Acl::new(permissions, AuthId::new("digest", &digest(username, password))))
}

fn of_scheme(dict: &Keywords) -> std::result::Result<Acl, String> {
    if dict.keys().any(|key| !matches!(key.as_str(), "scheme" | "id" | "perms")) {
        return Err("an unknown key; beside scheme, known are id and perms".to_owned());
    }
    let scheme = text_of(dict, "scheme")?.reveal();
    let id = match dict.get("id") {
        None | Some(Field::Nothing) => None,
        Some(_) => Some(text_of(dict, "id")?.reveal()),
    };
    let id = match (scheme, id) {
        ("world", None) => "anyone",
        ("world", Some(id)) if id == "anyone" => id,
        ("world", Some(_)) => return Err("the id of the scheme world is anyone".to_owned()),
        (AUTH, None) => "",
        (AUTH, Some(_)) => return Err("the scheme auth has no id: it stands for who creates the znode".to_owned()),
        ("super", _) => return Err("the scheme super is in no ACL: that user may do everything anyway".to_owned()),
        (_, None) => return Err("id is missing".to_owned()),
        ("digest", Some(id)) if !is_digest(id) => {
            // Not echoed: it may be a password that was not hashed.
            let reason = "the id of the scheme digest is user:hash, the hash of 28 characters that \
                          zookeeper.make_digest_acl computes; or give username and password in its place";
            return Err(reason.to_owned());
        }
        ("ip", Some(id)) if !is_network(id) => {
            return Err("the id of the scheme ip is an address, or a network such as 10.0.0.0/8".to_owned());
        }
        (_, Some(id)) => id,
    };
    if scheme.contains(|c: char| c == ':' || c.is_control() || c.is_whitespace()) {
        return Err("scheme must be a word such as world, auth, digest, ip, sasl or x509".to_owned());
    }
    Ok(Acl::new(letters(text_of(dict, "perms")?.reveal())?, AuthId::new(scheme, id)))
}

fn letters(perms: &str) -> std::result::Result<Permission, String> {
    if perms == "all" {
        return Ok(Permission::ALL);
    }
    let each = perms.chars().map(|letter| LETTERS.iter().find(|(known, _)| *known == letter));
    let permissions = each.map(|found| found.map(|(_, permission)| *permission)).collect::<Option<Vec<_>>>();
    let permissions = permissions.ok_or("perms must be letters of cdrwa, or all")?;
    Ok(permissions.into_iter().fold(Permission::NONE, |all, one| all | one))
}

fn is_digest(id: &str) -> bool {
    id.split_once(':')
        .is_some_and(|(user, hash)| !user.is_empty() && BASE64.decode(hash).is_ok_and(|bytes| bytes.len() == SHA1_LEN))
}

fn is_network(id: &str) -> bool {
    let (address, bits) = id.split_once('/').map_or((id, None), |(address, bits)| (address, Some(bits)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most))
}

fn text_of<'a>(dict: &'a Keywords, key: &'static str) -> std::result::Result<&'a Secret, String> {
    match dict.get(key) {
        Some(Field::Text(text)) if !text.reveal().is_empty() => Ok(text),
        None | Some(Field::Text(_) | Field::Nothing) => Err(format!("{key} is missing")),
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

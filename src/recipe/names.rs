//! What znodes are called. Pure.
//!
//! ```text
//! P                                        the pool; its children are the leases
//! P/<32 hex>                               a lease
//! P-__lock__                               the queue, a sibling of the pool
//! P-__lock__/<32 hex>__lock__<10 digits>   a place in the queue
//! P-__lock__/<32 hex>                      the process of a kept lease of that name lives; kazoo looks past it
//! <party>/<32 hex>__party__                a member, its identifier in the data
//! <party>/<32 hex>-<identifier>            a member, its identifier in the name
//! ```
//!
//! Kazoo's leases are random UUIDs (version 4). The first half of ours is derived, so that a listing
//! alone tells whether an identifier holds a lease: as in version 5 from the identifier for a persistent
//! lease (in one way where `lock` takes it, in another where a hold keeps it over the end of its process),
//! as in version 8 from the identifier and the session for an ephemeral one. Any version 5 name
//! of another owner is therefore somebody else's; all others have to be read. The second half is random:
//! a delete that a server carries out late, after its lease was taken anew, finds another name there.

use uuid::Uuid;

/// The namespace of derived lease names. Part of what is on disk: it never changes.
const NAMESPACE: Uuid = Uuid::from_u128(0x9f6a_1d0c_5c1e_4f6b_a2d4_7b6f_3e0a_91c5);
/// The namespace of the names of kept leases. It never changes either.
const KEPT: Uuid = Uuid::from_u128(0x3b1f_77c2_6d0e_4a53_8f19_c0d2_51ab_7e04);
const QUEUE_MARK: &str = "__lock__";
const MEMBER_MARK: &str = "__party__";
const HEX: usize = 32;
/// Of a place's sequence.
const DIGITS: usize = 10;
/// How much of a lease's name tells its owner.
const OWNER: usize = 16;

/// Bytes that a place's path is longer than its pool's.
pub(crate) const PLACE_SUFFIX: usize = 60;

/// The queue of a pool.
#[must_use]
pub fn queue(pool: &str) -> String {
    format!("{pool}-{QUEUE_MARK}")
}

/// A new, unique name for a place in a queue; the server adds the sequence.
#[must_use]
pub fn place() -> String {
    format!("{}{QUEUE_MARK}", Uuid::new_v4().simple())
}

/// The sequence of a place in a queue, or `None` for a child that is none.
///
/// Kazoo's rule: ten digits, and a sign once the counter has overflowed, after the mark at the end.
#[must_use]
pub fn sequence(name: &str) -> Option<i64> {
    let (rest, digits) = name.split_at_checked(name.len().checked_sub(DIGITS)?)?;
    let (marked, sign) = rest.strip_suffix('-').map_or((rest, 1), |rest| (rest, -1));
    let well_formed = marked.ends_with(QUEUE_MARK) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if well_formed {
        Some(sign * digits.parse::<i64>().ok()?)
    } else {
        None
    }
}

/// Whether a place still has a number of its own. At its greatest number the counter of a queue stays, or turns
/// negative, by the version of the servers.
#[must_use]
pub fn is_in_order(place: &str) -> bool {
    sequence(place).is_some_and(|sequence| (0..i64::from(i32::MAX)).contains(&sequence))
}

/// How the names of an identifier's persistent leases begin.
#[must_use]
pub fn persistent_owner(identifier: &str) -> String {
    first_half(Uuid::new_v5(&NAMESPACE, identifier.as_bytes()))
}

/// How the names of the identifier's leases begin that a hold keeps over the end of its process.
#[must_use]
pub fn kept_owner(identifier: &str) -> String {
    first_half(Uuid::new_v5(&KEPT, identifier.as_bytes()))
}

/// How the names of an identifier's ephemeral leases in one session begin.
#[must_use]
pub fn ephemeral_owner(identifier: &str, session: i64) -> String {
    let owner = Uuid::new_v5(&NAMESPACE, &session.to_be_bytes());
    let hash = Uuid::new_v5(&owner, identifier.as_bytes());
    first_half(Uuid::new_v8(hash.into_bytes()))
}

/// A new, unique name for a lease of an owner.
#[must_use]
pub fn lease(owner: &str) -> String {
    format!("{owner}{}", &Uuid::new_v4().simple().to_string()[OWNER..])
}

/// Whether a lease is one of an owner's.
#[must_use]
pub fn is_of(lease: &str, owner: &str) -> bool {
    lease.len() == HEX && owner.len() == OWNER && lease.starts_with(owner)
}

fn first_half(uuid: Uuid) -> String {
    uuid.simple().to_string()[..OWNER].to_owned()
}

/// Whether a lease's name already says whose it is, so that its data need not be read.
#[must_use]
pub fn tells_identifier(lease: &str) -> bool {
    lease.len() == HEX && Uuid::try_parse(lease).is_ok_and(|uuid| uuid.get_version_num() == 5)
}

/// A child of a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member<'a> {
    /// A `ShallowParty` member: the identifier.
    Named(&'a str),
    /// A `Party` member: its identifier is in its data.
    InData,
}

/// What a child of a party is; `None` for one that is no member.
#[must_use]
pub fn member(name: &str) -> Option<Member<'_>> {
    let (hex, rest) = name.split_at_checked(HEX)?;
    if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    match rest.strip_prefix('-') {
        Some(identifier) => Some(Member::Named(identifier)),
        None if rest == MEMBER_MARK => Some(Member::InData),
        None => None,
    }
}

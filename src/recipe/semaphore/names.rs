//! What the leases of a pool are called, and the liveness nodes beside its queue nodes. Pure.
//!
//! ```text
//! P                     the pool; its children are the leases
//! P/<32 hex>            a lease
//! P-__lock__/<32 hex>   a liveness node: the process of the kept lease of that name lives; kazoo looks past it
//! P-__reason__/<32 hex> a reason node: why the lease of that name is held
//! P-__reason__/<32 hex>-evicted   a notice: who has taken the lease of that name away
//! ```
//!
//! Kazoo's leases are random UUIDs (version 4). The first half of ours tells the owner, so that a listing alone tells
//! whether an identifier holds a slot. For a persistent lease it is derived from the identifier as in version 5: in one
//! way where `lock` takes the lease, in another where a hold keeps it over the end of its process. For an ephemeral
//! lease it is derived from the identifier and the session as in version 8. So a name of version 5 that begins
//! otherwise belongs to another identifier; the data of all other leases has to be read. The second half is random: a
//! delete that a server carries out late does not find the lease which the identifier has taken since.

use uuid::Uuid;

/// The namespace of derived lease names. Part of what is on disk: it never changes.
const NAMESPACE: Uuid = Uuid::from_u128(0x9f6a_1d0c_5c1e_4f6b_a2d4_7b6f_3e0a_91c5);
/// The namespace of the names of kept leases. It never changes either.
const KEPT: Uuid = Uuid::from_u128(0x3b1f_77c2_6d0e_4a53_8f19_c0d2_51ab_7e04);
const HEX: usize = 32;
/// How much of a lease's name tells its owner.
const OWNER: usize = 16;

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

/// The path of the tree beside a pool that says why its slots are held.
#[must_use]
pub fn reasons(pool: &str) -> String {
    format!("{pool}-__reason__")
}

/// What the name of a notice ends with. It begins with the name of the lease that was taken away.
const NOTICE: &str = "-evicted";

/// The path of the notice that says who has taken a lease away. Whoever deletes reason nodes leaves it alone.
#[must_use]
pub fn notice(pool: &str, lease: &str) -> String {
    format!("{}/{lease}{NOTICE}", reasons(pool))
}

/// Whether a child of the tree beside a pool is a notice.
#[must_use]
pub fn is_notice(name: &str) -> bool {
    name.ends_with(NOTICE)
}

/// The path of the liveness node of a kept lease: an ephemeral znode in the `queue`, which the servers remove when the
/// session of the process that took the lease is over.
#[must_use]
pub fn liveness_node(queue: &str, lease: &str) -> String {
    format!("{queue}/{lease}")
}

//! What the members of a party are called. Pure.
//!
//! ```text
//! <party>/<32 hex>__party__       a member of kazoo's `Party`: its identifier is in the data
//! <party>/<32 hex>-<identifier>   a member of kazoo's `ShallowParty`
//! ```

use uuid::Uuid;

const MARK: &str = "__party__";
const HEX: usize = 32;

/// A child of a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member<'a> {
    /// A `ShallowParty` member: the identifier.
    Named(&'a str),
    /// A `Party` member: its identifier is in its data.
    InData,
}

/// A new, unique name for a member: of a `ShallowParty` where an identifier is given, else of a `Party`.
#[must_use]
pub fn new(shallow: Option<&str>) -> String {
    let unique = Uuid::new_v4().simple();
    shallow.map_or_else(|| format!("{unique}{MARK}"), |identifier| format!("{unique}-{identifier}"))
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
        None if rest == MARK => Some(Member::InData),
        None => None,
    }
}

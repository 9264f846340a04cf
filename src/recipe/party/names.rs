//! What the members of a party are called. Pure.
//!
//! ```text
//! <party>/<32 hex>__party__       a member of kazoo's `Party`: its identifier is in the data
//! <party>/<32 hex>-<identifier>   a member of kazoo's `ShallowParty`
//! ```

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

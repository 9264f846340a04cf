//! What the znodes of a coordinator are called. Pure.

use std::fmt::Write as _;

use crate::error::{Error, Result};
use crate::path::is_forbidden;

/// Bytes of a unit's or a lock's name.
const LIMIT: usize = 255;

/// The name of the znode of a unit or of a lock: `app/0` is `app%2F0`.
///
/// # Errors
/// [`Error::Argument`]: it is empty, or too long.
pub fn encode(argument: &'static str, name: &str) -> Result<String> {
    if name.is_empty() {
        return Err(Error::argument(argument, "is empty; give a name"));
    }
    if name.len() > LIMIT {
        return Err(Error::argument(argument, format!("must not be longer than {LIMIT} bytes")));
    }
    let is_relative = name == "." || name == "..";
    let mut encoded = String::with_capacity(name.len());
    for character in name.chars() {
        if character == '/' || character == '%' || is_forbidden(character) || is_relative {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                let _ = write!(encoded, "%{byte:02X}");
            }
        } else {
            encoded.push(character);
        }
    }
    Ok(encoded)
}

/// The unit or the lock that the name of a znode stands for; lossily where somebody else has made it.
#[must_use]
pub fn decode(encoded: &str) -> String {
    let bytes = encoded.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

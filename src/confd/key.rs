//! The key that the nodes of a Ganeti cluster share, and that datagrams are signed with. Nobody is shown it.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use zeroize::Zeroize;

use crate::error::{Error, Result};

/// The hexadecimal digits of a key as Ganeti makes it, without the newline that is part of the key.
const DIGITS: usize = 40;

/// The bytes of `hmac.key`, all of them.
#[derive(Clone)]
pub struct Key(Vec<u8>);

impl Key {
    /// The key of these bytes.
    ///
    /// # Errors
    /// [`Error::Argument`] where there are none.
    pub fn new(bytes: Vec<u8>) -> Result<Self> {
        if bytes.is_empty() {
            return Err(Error::argument("hmac_key", "is empty; it is the content of hmac.key, with its newline"));
        }
        Ok(Self(bytes))
    }

    /// Whether this looks like a key of Ganeti's that has lost its final newline: no server would answer then.
    #[must_use]
    pub fn seems_stripped(&self) -> bool {
        self.0.len() == DIGITS && self.0.iter().all(u8::is_ascii_hexdigit)
    }

    /// The signature of a message, 20 bytes.
    pub(super) fn sign(&self, salt: &str, message: &str) -> [u8; 20] {
        self.digest(salt, message).map_or([0; 20], |mac| mac.finalize().into_bytes().into())
    }

    /// Whether a signature is that of a message, in a time that does not tell how much of it is right.
    pub(super) fn verify(&self, salt: &str, message: &str, signature: &[u8]) -> bool {
        self.digest(salt, message).is_some_and(|mac| mac.verify_slice(signature).is_ok())
    }

    /// The key may have any length: there is always a digest.
    fn digest(&self, salt: &str, message: &str) -> Option<Hmac<Sha1>> {
        let mut mac = Hmac::<Sha1>::new_from_slice(&self.0).ok()?;
        mac.update(salt.as_bytes());
        mac.update(message.as_bytes());
        Some(mac)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key]")
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

//! Requests as datagrams, and datagrams as replies. Nothing that comes from the network is in a reason: whoever reads
//! the log is shown words of ours.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::key::Key;
use super::reply::{Reply, Status};
use super::request::Request;
use crate::error::{Error, Result};

/// What every datagram begins with.
pub const MAGIC: &[u8; 4] = b"plj0";
/// The protocol that both sides speak.
const PROTOCOL: i64 = 1;
/// Bytes of a request that the server reads, the magic included. It drops a longer one without a word.
pub const LONGEST_REQUEST: usize = 4096;
/// Bytes of the longest datagram there is.
pub const LONGEST_REPLY: usize = 65535;

/// Why a datagram was discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Discard {
    /// It is no datagram of this protocol.
    #[error("it does not begin with plj0, and is none of ganeti-confd's")]
    NotOfTheProtocol,
    /// It is no envelope.
    #[error("what follows plj0 is not the JSON of a signed message")]
    NotAnEnvelope,
    /// It was signed with another key, or damaged.
    #[error(
        "its signature is not that of our key. It was signed with another one, or has characters beyond Latin-1, \
         which ganeti-confd damages"
    )]
    NotSigned,
    /// The message is not a reply.
    #[error("its message is not a reply of protocol 1")]
    NotAReply,
    /// No query of that salt is open.
    #[error("it answers no query that is open: it is late, or somebody else's")]
    NotOpen,
    /// Its sender was not asked.
    #[error(
        "it comes from an address that was not asked, or is the reply of another one. A server with several addresses \
         answers from another one, unless its ganeti-confd is bound to one (-b)"
    )]
    NotAsked,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow)]
    msg: Cow<'a, str>,
    #[serde(borrow)]
    salt: Cow<'a, str>,
    #[serde(borrow)]
    hmac: Cow<'a, str>,
}

#[derive(Serialize)]
struct Question<'a> {
    protocol: i64,
    r#type: u8,
    query: &'a Value,
    rsalt: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    protocol: i64,
    status: i64,
    answer: Value,
    serial: i64,
}

/// A reply whose signature is the key's, and the salt of its query.
#[derive(Clone, Debug, PartialEq)]
pub struct Signed {
    /// The salt of the query.
    pub salt: String,
    /// What the server replies.
    pub reply: Reply,
}

/// A request as a datagram under a salt, sent at `seconds` since 1970.
///
/// # Errors
/// [`Error::Argument`] where the server would not read all of it.
pub fn request(request: &Request, rsalt: &str, key: &Key, seconds: u64) -> Result<Vec<u8>> {
    let question = Question { protocol: PROTOCOL, r#type: request.kind, query: &request.query, rsalt };
    let (message, salt) = (ascii(&question)?, seconds.to_string());
    let hmac = hex::encode(key.sign(&salt, &message));
    let envelope = ascii(&Envelope { msg: message.into(), salt: salt.into(), hmac: hmac.into() })?;
    let datagram = [MAGIC.as_slice(), envelope.as_bytes()].concat();
    if datagram.len() > LONGEST_REQUEST {
        return Err(Error::argument(
            "query",
            format!(
                "is too long: the request would have {} bytes, and ganeti-confd reads {LONGEST_REQUEST}",
                datagram.len()
            ),
        ));
    }
    Ok(datagram)
}

/// The reply in a datagram.
///
/// # Errors
/// [`Discard`].
pub fn reply(datagram: &[u8], key: &Key) -> std::result::Result<Signed, Discard> {
    let text = datagram.strip_prefix(MAGIC).ok_or(Discard::NotOfTheProtocol)?;
    let as_utf8 = std::str::from_utf8(text).map_err(|_| Discard::NotAnEnvelope).and_then(|text| opened(text, key));
    match as_utf8 {
        // The signature is over the real text, which the server sends cut to a byte a character.
        Err(Discard::NotSigned | Discard::NotAnEnvelope) if !text.is_ascii() => {
            opened(&text.iter().copied().map(char::from).collect::<String>(), key)
        }
        done => done,
    }
}

fn opened(text: &str, key: &Key) -> std::result::Result<Signed, Discard> {
    let envelope: Envelope<'_> = object(text).ok_or(Discard::NotAnEnvelope)?;
    let signature = hex::decode(envelope.hmac.as_bytes()).map_err(|_| Discard::NotSigned)?;
    if !key.verify(&envelope.salt, &envelope.msg, &signature) {
        return Err(Discard::NotSigned);
    }
    let message: Message = object(&envelope.msg).ok_or(Discard::NotAReply)?;
    let status = Status::of(message.status).filter(|_| message.protocol == PROTOCOL).ok_or(Discard::NotAReply)?;
    Ok(Signed {
        salt: envelope.salt.into_owned(),
        reply: Reply { status, answer: message.answer, serial: message.serial },
    })
}

/// A JSON object: serde would read a list as well, by the order of the members.
fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    serde_json::from_str(text).ok().filter(|_| text.trim_start().starts_with('{'))
}

/// JSON in ASCII: the server takes bytes beyond for Latin-1, and then the signature does not fit. Letters beyond ASCII
/// stand in texts alone, where their codes mean the same.
fn ascii(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(value).map_err(|error| Error::Internal(error.to_string()))?;
    if text.is_ascii() {
        return Ok(text);
    }
    let mut units = [0; 2];
    let escaped = |letter: char| match letter {
        letter if letter.is_ascii() => letter.to_string(),
        letter => letter.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
    };
    Ok(text.chars().map(escaped).collect())
}

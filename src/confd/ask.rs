//! One question to its end: asked, waited for, and told.

use std::time::{Duration, Instant};

use serde_json::Value;
use uuid::Uuid;

use super::answer::{Answer, Peer};
use super::book::Heard;
use super::client::{Client, Discarded};
use super::request::{Request, NAMES};
use crate::error::{Error, Result};

/// How long replies are waited for where nobody says how long.
pub const TIMEOUT: Duration = super::book::LIFETIME;
/// How often a request is sent again where nobody says how often.
pub const RETRIES: u32 = 3;

/// How many are asked, and how long they are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How many peers are asked, as in [`super::quorum::coverage`].
    pub coverage: i64,
    /// How many replies are waited for, as in [`super::quorum::replies`].
    pub replies: Option<i64>,
    /// For how long.
    pub timeout: Duration,
}

/// Asks the peers of a client, and waits for enough replies, or for the end of the time. The thread waits.
///
/// # Errors
/// [`Error::Argument`]; [`Error::Resources`] where the socket cannot be used. That too few have replied is an answer:
/// [`Answer::result`].
pub fn ask(client: &mut Client, name: &str, query: Value, terms: Terms) -> Result<Answer> {
    let kind = NAMES.iter().position(|known| *known == name).and_then(|kind| i64::try_from(kind).ok());
    let kind = kind.ok_or_else(|| Error::argument("type", format!("must be one of {}", NAMES.join(", "))))?;
    let request = Request::new(kind, query.clone(), Uuid::new_v4().to_string())?;
    let (name, salt) = (request.name(), request.salt().to_owned());
    let now = Instant::now();
    client.send(request, terms.coverage, terms.replies)?;
    client.book_mut().await_for(&salt, terms.timeout, now);
    let end = now.checked_add(terms.timeout).unwrap_or(now);
    let mut discarded = Discarded::default();
    let waited = client.wait_for(&salt, end, &mut discarded);
    waited.map_err(|error| Error::resources("use the socket", &error))?;
    let exchange = client.exchange(&salt).ok_or_else(|| Error::Internal("a query was lost".to_owned()))?;
    let asked = client.peers().iter().filter(|peer| exchange.asked().contains(peer));
    let peers: Vec<_> = asked
        .map(|peer| {
            let heard = exchange.heard().iter().find(|heard| heard.peer == *peer);
            let trouble = exchange.unsent().iter().find(|(other, _)| other == peer);
            Peer {
                address: *peer,
                reply: heard.map(|Heard { reply, after, .. }| (reply.clone(), *after)),
                trouble: trouble.filter(|_| heard.is_none()).map(|(_, reason)| reason.clone()),
            }
        })
        .collect();
    let index = |heard: &Heard| peers.iter().position(|peer| peer.address == heard.peer);
    let order = exchange.heard().iter().filter_map(index).collect();
    Ok(Answer {
        name,
        query,
        order,
        needed: exchange.needed(),
        timeout: terms.timeout,
        discarded: discarded.reasons().collect(),
        is_key_stripped: client.book().key().seems_stripped(),
        peers,
    })
}

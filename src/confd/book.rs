//! The queries that are open, what a datagram means to them, and when to send again. The caller reads the clock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::key::Key;
use super::packet::{self, Discard};
use super::reply::Reply;
use super::request::Request;
use super::verdict::{verdict, Verdict};
use crate::error::{Error, Result};

/// How long a query stays open.
pub const LIFETIME: Duration = Duration::from_secs(10);
/// How long after a request it is sent again to those that have not replied. Each pause is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// However short the waits are, a peer has so long to reply before it is sent to again.
const LEAST_PAUSE: Duration = Duration::from_millis(20);
/// Three pauses, 1, 2 and 4 of these, fit into a wait, and leave time for the last reply.
const PARTS: u32 = 8;

/// What a peer has replied.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Who.
    pub peer: IpAddr,
    /// What.
    pub reply: Reply,
    /// How long after the request was sent first.
    pub after: Duration,
}

/// A query that is open.
#[derive(Clone, Debug)]
pub struct Exchange {
    datagram: Vec<u8>,
    asked: Vec<IpAddr>,
    needed: usize,
    heard: Vec<Heard>,
    sent: Instant,
    expiry: Instant,
    again: Again,
}

/// When a request is sent again.
#[derive(Clone, Copy, Debug)]
struct Again {
    at: Instant,
    pause: Duration,
    times: u32,
}

impl Exchange {
    /// The peers that were asked, in the order in which they were.
    #[must_use]
    pub fn asked(&self) -> &[IpAddr] {
        &self.asked
    }

    /// What has come, in the order in which it came: one reply of a peer.
    #[must_use]
    pub fn heard(&self) -> &[Heard] {
        &self.heard
    }

    /// How many replies make it answered.
    #[must_use]
    pub fn needed(&self) -> usize {
        self.needed
    }

    /// Whether as many have replied as are needed.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.heard.len() >= self.needed
    }

    /// Which reply to believe, and whether they agree.
    #[must_use]
    pub fn verdict(&self) -> Verdict<'_> {
        verdict(&self.heard.iter().map(|heard| &heard.reply).collect::<Vec<_>>())
    }

    /// Takes a reply of a peer that was asked. One that is newer replaces what the peer has replied before.
    fn hear(&mut self, peer: IpAddr, reply: Reply, now: Instant) {
        match self.heard.iter_mut().find(|heard| heard.peer == peer) {
            Some(heard) if reply.outranks(&heard.reply) => heard.reply = reply,
            Some(_) => {}
            None => self.heard.push(Heard { peer, reply, after: now.saturating_duration_since(self.sent) }),
        }
    }

    fn silent(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.asked.iter().copied().filter(|peer| self.heard.iter().all(|heard| heard.peer != *peer))
    }

    /// Counts one sending, if it is time for one.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.again.times > 0 && self.again.at <= now && !self.is_answered();
        if is_due {
            self.again.times = self.again.times.saturating_sub(1);
            self.again.pause = self.again.pause.saturating_mul(2);
            self.again.at = now.checked_add(self.again.pause).unwrap_or(now);
        }
        is_due
    }
}

/// A reply that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// The salt of its query.
    pub salt: String,
    /// What it says.
    pub reply: Reply,
}

/// All queries of a client that are open, by their salts.
#[derive(Debug)]
pub struct Book {
    key: Key,
    /// How often a request is sent again.
    retries: u32,
    open: HashMap<String, Exchange>,
}

impl Book {
    /// No queries. A request is sent again `retries` times at most.
    #[must_use]
    pub fn new(key: Key, retries: u32) -> Self {
        Self { key, retries, open: HashMap::new() }
    }

    /// The same with no query open: for a process that has inherited what its parent has asked.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self::new(self.key.clone(), self.retries)
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Opens a query to peers, sent at `seconds` since 1970, and returns its datagram.
    ///
    /// # Errors
    /// [`Error::Argument`] where its salt is that of another one, or where it is too long.
    pub fn open(
        &mut self,
        request: Request,
        asked: Vec<IpAddr>,
        needed: usize,
        now: Instant,
        seconds: u64,
    ) -> Result<&[u8]> {
        if self.open.contains_key(request.salt()) {
            return Err(Error::argument("rsalt", "is that of a query that is open: each needs one of its own"));
        }
        let datagram = packet::request(&request, &self.key, seconds)?;
        let after = |pause| now.checked_add(pause).unwrap_or(now);
        let again = Again { at: after(FIRST_PAUSE), pause: FIRST_PAUSE, times: self.retries };
        let exchange =
            Exchange { datagram, asked, needed, heard: Vec::new(), sent: now, expiry: after(LIFETIME), again };
        Ok(&self.open.entry(request.salt).or_insert(exchange).datagram)
    }

    /// A query that is open.
    #[must_use]
    pub fn get(&self, salt: &str) -> Option<&Exchange> {
        self.open.get(salt)
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Somebody will wait for so long: the query stays open for that time more, and is sent again within it.
    pub fn await_for(&mut self, salt: &str, limit: Duration, now: Instant) {
        if let Some(exchange) = self.open.get_mut(salt) {
            exchange.expiry = exchange.expiry.checked_add(limit).unwrap_or(exchange.expiry);
            let pause = exchange.again.pause.min(limit / PARTS).max(LEAST_PAUSE);
            let at = now.checked_add(pause).unwrap_or(now);
            exchange.again = Again { at: exchange.again.at.min(at), pause, ..exchange.again };
        }
    }

    /// What a datagram from an address means.
    ///
    /// # Errors
    /// [`Discard`]: nothing has changed.
    pub fn take(&mut self, datagram: &[u8], from: IpAddr, now: Instant) -> std::result::Result<Taken, Discard> {
        let signed = packet::reply(datagram, &self.key)?;
        let exchange = self.open.get_mut(&signed.salt).filter(|exchange| now < exchange.expiry);
        let exchange = exchange.ok_or(Discard::NotOpen)?;
        if !exchange.asked.contains(&from) {
            return Err(Discard::NotAsked);
        }
        exchange.hear(from, signed.reply.clone(), now);
        Ok(Taken { salt: signed.salt, reply: signed.reply })
    }

    /// Closes the queries whose time is up, and returns their salts.
    pub fn expire(&mut self, now: Instant) -> Vec<String> {
        let over: Vec<_> =
            self.open.iter().filter(|(_, exchange)| now >= exchange.expiry).map(|(salt, _)| salt.clone()).collect();
        for salt in &over {
            self.open.remove(salt);
        }
        over
    }

    /// What is to be sent again now, and to whom.
    pub fn due(&mut self, now: Instant) -> Vec<(IpAddr, Vec<u8>)> {
        let due = self.open.values_mut().filter_map(|exchange| exchange.is_due(now).then_some(&*exchange));
        due.flat_map(|exchange| exchange.silent().map(|peer| (peer, exchange.datagram.clone()))).collect()
    }

    /// When something is to be sent again.
    #[must_use]
    pub fn next_sending(&self) -> Option<Instant> {
        let waiting = self.open.values().filter(|exchange| exchange.again.times > 0 && !exchange.is_answered());
        waiting.map(|exchange| exchange.again.at).min()
    }
}

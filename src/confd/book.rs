//! The queries that are open, what a datagram means to them, and when to send again. The caller reads the clock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::key::Key;
use super::packet::{self, Discard, Signed};
use super::reply::Reply;
use super::request::Request;
use super::verdict::{verdict, Verdict};
use crate::error::{Error, Result};

/// How long a query stays open.
pub const LIFETIME: Duration = Duration::from_secs(10);
/// How long after a request it is sent again to those that have not replied, at most: a datagram that is lost costs no more.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// However short the waits are, a peer has so long to reply before it is sent to again.
const LEAST_PAUSE: Duration = Duration::from_millis(20);
/// A request is sent again after 1, 3 and 7 of these parts of a wait: early, in the middle, and with time for a reply.
const PARTS: u32 = 8;
/// It is sent again no later than this: the servers take no request that is older than 300 seconds.
const LATEST: Duration = Duration::from_secs(240);

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
    /// One for all, or one for each that is asked, in that order.
    datagrams: Vec<Vec<u8>>,
    asked: Vec<IpAddr>,
    /// Who could not be sent to, and why.
    unsent: Vec<Trouble>,
    needed: usize,
    heard: Vec<Heard>,
    manner: Manner,
    sent: Instant,
    expiry: Instant,
    again: Again,
}

/// Who could not be sent to, and why, in words.
pub type Trouble = (IpAddr, String);

/// How strictly a query is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As Ganeti's client does it: one salt for all peers, and every reply makes a query answered.
    Ganetis,
    /// Each peer is asked under a salt of its own, so that one reply, sent again from the address of another peer, is no
    /// second one. A reply that tells of its server alone makes no query answered, until all have replied.
    Strict,
}

/// To whom of those that are asked a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// All of them.
    All,
    /// Those that have not replied.
    Silent,
    /// Those that could not be sent to before.
    Unsent,
}

/// When a request is sent again: counted from `since`, in parts of the wait.
#[derive(Clone, Copy, Debug)]
struct Again {
    at: Instant,
    since: Instant,
    part: Duration,
    /// How often it was sent again since then.
    done: u32,
    /// How often it may be still.
    times: u32,
}

impl Again {
    /// Counts one sending.
    fn count(&mut self, now: Instant, latest: Instant) {
        self.times = self.times.saturating_sub(1);
        self.done = self.done.saturating_add(1);
        let parts = 2_u32.saturating_pow(self.done.saturating_add(1)).saturating_sub(1);
        let next = self.since.checked_add(self.part.saturating_mul(parts)).unwrap_or(latest).min(latest);
        self.at = next.max(later(now, self.part.min(FIRST_PAUSE)));
    }
}

fn later(now: Instant, pause: Duration) -> Instant {
    now.checked_add(pause).unwrap_or(now)
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

    /// How many replies tell of the configuration, and not of their server alone.
    #[must_use]
    pub fn answers(&self) -> usize {
        self.heard.iter().filter(|heard| heard.reply.is_of_the_configuration()).count()
    }

    /// Whether nothing more is waited for.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        match self.manner {
            Manner::Ganetis => self.heard.len() >= self.needed,
            Manner::Strict => self.answers() >= self.needed || self.heard.len() >= self.asked.len(),
        }
    }

    /// Who could not be sent to.
    #[must_use]
    pub fn unsent(&self) -> &[Trouble] {
        &self.unsent
    }

    /// Sends the request to some of the peers: `send` answers why it could not be done.
    pub fn send(&mut self, to: To, mut send: impl FnMut(IpAddr, &[u8]) -> Option<String>) {
        for (number, peer) in self.asked.iter().enumerate() {
            let is_meant = match to {
                To::All => true,
                To::Silent => self.heard.iter().all(|heard| heard.peer != *peer),
                To::Unsent => self.unsent.iter().any(|(other, _)| other == peer),
            };
            let datagram = self.datagrams.get(number).or(self.datagrams.first());
            if let Some(datagram) = datagram.filter(|_| is_meant) {
                self.unsent.retain(|(other, _)| other != peer);
                self.unsent.extend(send(*peer, datagram).map(|reason| (*peer, reason)));
            }
        }
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

    /// Counts one sending, if it is time for one.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.again.times > 0 && self.again.at <= now && !self.is_answered();
        if is_due {
            self.again.count(now, later(self.sent, LATEST));
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
    manner: Manner,
    /// How often a request is sent again.
    retries: u32,
    open: HashMap<String, Exchange>,
}

impl Book {
    /// No queries. A request is sent again `retries` times at most.
    #[must_use]
    pub fn new(key: Key, retries: u32, manner: Manner) -> Self {
        Self { key, manner, retries, open: HashMap::new() }
    }

    /// The same with no query open: for a process that has inherited what its parent has asked.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self::new(self.key.clone(), self.retries, self.manner)
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Opens a query to peers, to be sent at `seconds` since 1970.
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
    ) -> Result<&mut Exchange> {
        if self.open.contains_key(request.salt()) {
            return Err(Error::argument("rsalt", "is that of a query that is open: each needs one of its own"));
        }
        let datagrams = match self.manner {
            Manner::Ganetis => vec![packet::request(&request, &request.salt, &self.key, seconds)?],
            Manner::Strict => (0..asked.len())
                .map(|number| packet::request(&request, &salt_of(&request.salt, number), &self.key, seconds))
                .collect::<Result<_>>()?,
        };
        let again = Again { at: later(now, FIRST_PAUSE), since: now, part: FIRST_PAUSE, done: 0, times: self.retries };
        let exchange = Exchange {
            datagrams,
            asked,
            unsent: Vec::new(),
            needed,
            heard: Vec::new(),
            manner: self.manner,
            sent: now,
            expiry: later(now, LIFETIME),
            again,
        };
        Ok(self.open.entry(request.salt).or_insert(exchange))
    }

    /// A query that is open.
    #[must_use]
    pub fn get(&self, salt: &str) -> Option<&Exchange> {
        self.open.get(salt)
    }

    /// The queries that are open and not answered.
    pub fn unanswered(&mut self) -> impl Iterator<Item = &mut Exchange> {
        self.open.values_mut().filter(|exchange| !exchange.is_answered())
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
            let part = (limit / PARTS).max(LEAST_PAUSE);
            let at = exchange.again.at.min(later(now, part.min(FIRST_PAUSE)));
            exchange.again = Again { at, since: now, part, done: 0, times: exchange.again.times };
        }
    }

    /// What a datagram from an address means.
    ///
    /// # Errors
    /// [`Discard`]: nothing has changed.
    pub fn take(&mut self, datagram: &[u8], from: IpAddr, now: Instant) -> std::result::Result<Taken, Discard> {
        let (exchange, salt, peer, reply) = self.opened(datagram, from, now)?;
        exchange.hear(peer, reply.clone(), now);
        Ok(Taken { salt, reply })
    }

    /// Takes a datagram from an address, for whoever reads the query itself.
    ///
    /// # Errors
    /// As [`Book::take`].
    pub fn hear(&mut self, datagram: &[u8], from: IpAddr, now: Instant) -> std::result::Result<(), Discard> {
        let (exchange, _, peer, reply) = self.opened(datagram, from, now)?;
        exchange.hear(peer, reply, now);
        Ok(())
    }

    /// The query that a datagram answers, its salt, whose reply it is, and the reply.
    fn opened(
        &mut self,
        datagram: &[u8],
        from: IpAddr,
        now: Instant,
    ) -> std::result::Result<(&mut Exchange, String, IpAddr, Reply), Discard> {
        let Signed { salt, reply } = packet::reply(datagram, &self.key)?;
        let (salt, number) = match self.manner {
            Manner::Ganetis => (salt, None),
            Manner::Strict => {
                let (salt, number) = salt.rsplit_once(BETWEEN).ok_or(Discard::NotOpen)?;
                (salt.to_owned(), Some(number.parse::<usize>().map_err(|_| Discard::NotOpen)?))
            }
        };
        let exchange = self.open.get_mut(&salt).filter(|exchange| now < exchange.expiry).ok_or(Discard::NotOpen)?;
        // An IPv4 address may come in the form that a socket of IPv6 has for it.
        let is_from = |peer: &&IpAddr| peer.to_canonical() == from.to_canonical();
        let peer = match number {
            Some(number) => exchange.asked.get(number).filter(is_from),
            None => exchange.asked.iter().find(is_from),
        };
        let peer = *peer.ok_or(Discard::NotAsked)?;
        Ok((exchange, salt, peer, reply))
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

    /// The queries that are to be sent again now, to those that have not replied.
    pub fn due(&mut self, now: Instant) -> impl Iterator<Item = &mut Exchange> {
        self.open.values_mut().filter_map(move |exchange| exchange.is_due(now).then_some(exchange))
    }

    /// When something is to be sent again.
    #[must_use]
    pub fn next_sending(&self) -> Option<Instant> {
        let waiting = self.open.values().filter(|exchange| exchange.again.times > 0 && !exchange.is_answered());
        waiting.map(|exchange| exchange.again.at).min()
    }
}

/// What parts the salt of a query from the number of a peer.
const BETWEEN: char = '-';

/// The salt under which one of the peers is asked.
fn salt_of(salt: &str, number: usize) -> String {
    format!("{salt}{BETWEEN}{number}")
}

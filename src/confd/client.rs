//! A client: whom it asks, and what has come.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::book::{Book, Exchange, Manner, Taken, To};
use super::key::Key;
use super::packet::{Discard, LONGEST_REPLY};
use super::quorum;
use super::request::Request;
use super::socket::Socket;
use crate::error::{Error, Result};

/// A client of the master candidates of one Ganeti cluster.
#[derive(Debug)]
pub struct Client {
    socket: Arc<Socket>,
    peers: Vec<IpAddr>,
    port: u16,
    book: Book,
}

impl Client {
    /// A client of peers, all of one family, that listen on one port. A request is sent again `retries` times at most.
    ///
    /// # Errors
    /// [`Error::Argument`] for peers that are none; [`Error::Resources`] where no socket can be had.
    pub fn new(key: Key, peers: &[String], port: u16, retries: u32, manner: Manner) -> Result<Self> {
        Self::on(|_| None, key, peers, port, retries, manner)
    }

    /// The same on a socket that is there already, if `spare` has one: of IPv4, or of IPv6.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn on(
        spare: impl FnOnce(bool) -> Option<Arc<Socket>>,
        key: Key,
        peers: &[String],
        port: u16,
        retries: u32,
        manner: Manner,
    ) -> Result<Self> {
        let peers = parsed(peers)?;
        let socket = spare(is_ipv4(&peers)).map_or_else(|| opened(&peers), Ok)?;
        Ok(Self { socket, peers, port, book: Book::new(key, retries, manner) })
    }

    /// Whether the peers are of IPv4.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        is_ipv4(&self.peers)
    }

    /// The same for a child that was forked off: with a socket of its own, and nothing of what its parent has asked.
    ///
    /// # Errors
    /// [`Error::Resources`].
    pub fn renewed(&self) -> Result<Self> {
        let (peers, book) = (self.peers.clone(), self.book.emptied());
        Ok(Self { socket: opened(&peers)?, peers, port: self.port, book })
    }

    /// Takes other peers. Of another family, the replies to what is open already are lost.
    ///
    /// # Errors
    /// As [`Client::new`]; then the peers are those of before.
    pub fn update_peers(&mut self, peers: &[String]) -> Result<()> {
        let peers = parsed(peers)?;
        if family(&peers) != family(&self.peers) {
            self.socket = opened(&peers)?;
        }
        self.peers = peers;
        Ok(())
    }

    /// The peers.
    #[must_use]
    pub fn peers(&self) -> &[IpAddr] {
        &self.peers
    }

    /// The queries that are open.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// The queries that are open.
    pub fn book_mut(&mut self) -> &mut Book {
        &mut self.book
    }

    /// The socket, for a thread that waits while others send.
    #[must_use]
    pub fn socket(&self) -> Arc<Socket> {
        self.socket.clone()
    }

    /// Sends a request to `coverage` peers, as in [`quorum::coverage`]. It is answered with `replies`, as in
    /// [`quorum::replies`]. A peer that cannot be sent to does not keep the others from being asked.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn send(&mut self, request: Request, coverage: i64, replies: Option<i64>) -> Result<()> {
        let asked = quorum::coverage(coverage, self.peers.len())?;
        let needed = quorum::replies(replies, asked)?;
        let mut peers = self.peers.clone();
        fastrand::shuffle(&mut peers);
        peers.truncate(asked);
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let (socket, port) = (&self.socket, self.port);
        let exchange = self.book.open(request, peers, needed, Instant::now(), seconds)?;
        exchange.send(To::All, |peer, datagram| socket.send(datagram, (peer, port).into()));
        Ok(())
    }

    /// Sends what could not be sent before, of the queries that are not answered.
    pub fn flush(&mut self) {
        let (socket, port) = (&self.socket, self.port);
        for exchange in self.book.unanswered() {
            exchange.send(To::Unsent, |peer, datagram| socket.send(datagram, (peer, port).into()));
        }
    }

    /// Sends again what is due.
    pub fn resend(&mut self) {
        let (socket, port) = (&self.socket, self.port);
        for exchange in self.book.due(Instant::now()) {
            exchange.send(To::Silent, |peer, datagram| socket.send(datagram, (peer, port).into()));
        }
    }

    /// Closes the queries whose time is up, and returns their salts.
    pub fn expire(&mut self) -> Vec<String> {
        self.book.expire(Instant::now())
    }

    /// What a datagram from an address means.
    ///
    /// # Errors
    /// [`Discard`].
    pub fn handle(&mut self, datagram: &[u8], from: IpAddr) -> std::result::Result<Taken, Discard> {
        self.book.take(datagram, from, Instant::now())
    }

    /// Receives until a query is answered, or until `end`, and takes what has come besides: a newer answer may be in it.
    /// What is discarded is added to `discarded`.
    ///
    /// # Errors
    /// What the operating system says of a socket that cannot be used.
    pub fn wait_for(&mut self, salt: &str, end: Instant, discarded: &mut Discarded) -> io::Result<()> {
        with_buffer(|buffer| {
            while self.book.get(salt).is_some_and(|exchange| !exchange.is_answered()) {
                self.resend();
                let until = self.book.next_sending().map_or(end, |next| next.min(end));
                if let Some((length, from)) = self.socket.receive(until, buffer)? {
                    self.hear(salt, buffer.get(..length).unwrap_or_default(), from.ip(), discarded);
                }
                // However fast others send: no datagram makes the wait longer.
                if Instant::now() >= end {
                    break;
                }
            }
            for _ in 0..self.book.get(salt).map_or(0, |exchange| exchange.asked().len()) {
                let Some((length, from)) = self.socket.receive_at_once(buffer)? else { break };
                self.hear(salt, buffer.get(..length).unwrap_or_default(), from.ip(), discarded);
            }
            Ok(())
        })
    }

    /// Takes a datagram. Once several were discarded, those of senders that were not asked are not read any more.
    fn hear(&mut self, salt: &str, datagram: &[u8], from: IpAddr, discarded: &mut Discarded) {
        let is_asked = || self.book.get(salt).is_some_and(|exchange| exchange.asked().contains(&from));
        if discarded.are_many() && !is_asked() {
            return;
        }
        match self.book.hear(datagram, from, Instant::now()) {
            // The last reply to a question that was answered without it: the socket may have had others before.
            Ok(()) | Err(Discard::NotOpen) => {}
            Err(reason) => discarded.add(from, reason),
        }
    }

    /// An open query.
    #[must_use]
    pub fn exchange(&self, salt: &str) -> Option<&Exchange> {
        self.book.get(salt)
    }
}

/// What was discarded while somebody waited: each reason once for each sender, up to a number.
#[derive(Debug, Default)]
pub struct Discarded {
    reasons: HashSet<(IpAddr, Discard)>,
    count: usize,
}

impl Discarded {
    const MOST: usize = 16;

    /// Adds a datagram.
    pub fn add(&mut self, from: IpAddr, reason: Discard) {
        self.count = self.count.saturating_add(1);
        if self.reasons.len() < Self::MOST {
            self.reasons.insert((from, reason));
        }
    }

    /// Whether so many came that somebody sends them on purpose.
    fn are_many(&self) -> bool {
        self.count >= Self::MOST
    }

    /// Who sent what was discarded, and why it was.
    pub fn reasons(&self) -> impl Iterator<Item = (IpAddr, Discard)> + '_ {
        self.reasons.iter().copied()
    }
}

/// Lends out a buffer for whatever comes: each thread has one.
pub fn with_buffer<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(LONGEST_REPLY, 0);
        work(buffer)
    })
}

fn parsed(peers: &[String]) -> Result<Vec<IpAddr>> {
    let mut parsed = Vec::with_capacity(peers.len());
    for peer in peers {
        let address = peer.trim().parse::<IpAddr>().map_err(|_| {
            Error::argument("peers", format!("{} is not an address: host names are not looked up", shown(peer)))
        })?;
        if !parsed.contains(&address) {
            parsed.push(address);
        }
    }
    match family(&parsed) {
        None => Err(Error::argument("peers", "is empty: there is no master candidate to ask")),
        Some(is_ipv4) if parsed.iter().any(|peer| peer.is_ipv4() != is_ipv4) => {
            Err(Error::argument("peers", "must be of one family, IPv4 or IPv6"))
        }
        Some(_) => Ok(parsed),
    }
}

/// Whether they are IPv4.
fn family(peers: &[IpAddr]) -> Option<bool> {
    peers.first().map(IpAddr::is_ipv4)
}

fn is_ipv4(peers: &[IpAddr]) -> bool {
    family(peers) == Some(true)
}

fn shown(peer: &str) -> String {
    const LONGEST: usize = 60;
    peer.chars().take(LONGEST).flat_map(char::escape_default).collect()
}

fn opened(peers: &[IpAddr]) -> Result<Arc<Socket>> {
    Socket::open(is_ipv4(peers)).map(Arc::new).map_err(|error| Error::resources("open a socket", &error))
}

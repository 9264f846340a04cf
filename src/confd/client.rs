//! The socket: one, and not connected. A connected one would fail where a peer's port is closed.

use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::book::{Book, Exchange, Taken};
use super::key::Key;
use super::packet::{Discard, LONGEST_REPLY};
use super::quorum;
use super::request::Request;
use crate::error::{Error, Result};

/// Why a peer could not be sent to.
pub type Trouble = (IpAddr, ErrorKind);

/// A client of the master candidates of one Ganeti cluster.
#[derive(Debug)]
pub struct Client {
    socket: Arc<UdpSocket>,
    peers: Vec<IpAddr>,
    port: u16,
    book: Book,
    /// What could not be sent, and to whom.
    unsent: Vec<(IpAddr, Vec<u8>, ErrorKind)>,
}

impl Client {
    /// A client of peers, all of one family, that listen on one port. A request is sent again `retries` times at most.
    ///
    /// # Errors
    /// [`Error::Argument`] for peers that are none; [`Error::Resources`] where no socket can be had.
    pub fn new(key: Key, peers: &[String], port: u16, retries: u32) -> Result<Self> {
        let peers = parsed(peers)?;
        Ok(Self { socket: opened(&peers)?, peers, port, book: Book::new(key, retries), unsent: Vec::new() })
    }

    /// The same for a child that was forked off: with a socket of its own, and nothing of what its parent has asked.
    ///
    /// # Errors
    /// [`Error::Resources`].
    pub fn renewed(&self) -> Result<Self> {
        let (peers, book) = (self.peers.clone(), self.book.emptied());
        Ok(Self { socket: opened(&peers)?, peers, port: self.port, book, unsent: Vec::new() })
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
    pub fn socket(&self) -> Arc<UdpSocket> {
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
        let datagram = self.book.open(request, peers.clone(), needed, Instant::now(), seconds)?;
        for peer in peers {
            if let Err(error) = sent(&self.socket, datagram, (peer, self.port).into()) {
                self.unsent.push((peer, datagram.to_vec(), error.kind()));
            }
        }
        Ok(())
    }

    /// Sends what could not be sent before.
    pub fn flush(&mut self) {
        for (peer, datagram, _) in std::mem::take(&mut self.unsent) {
            self.send_to(peer, datagram);
        }
    }

    /// Which peers could not be sent to.
    pub fn troubles(&self) -> impl Iterator<Item = Trouble> + '_ {
        self.unsent.iter().map(|(peer, _, kind)| (*peer, *kind))
    }

    /// Sends again what is due.
    pub fn resend(&mut self) {
        for (peer, datagram) in self.book.due(Instant::now()) {
            self.unsent.retain(|(other, _, _)| *other != peer);
            self.send_to(peer, datagram);
        }
    }

    /// Closes the queries whose time is up, and returns their salts.
    pub fn expire(&mut self) -> Vec<String> {
        let over = self.book.expire(Instant::now());
        if self.book.is_empty() {
            self.unsent.clear();
        }
        over
    }

    /// What a datagram from an address means.
    ///
    /// # Errors
    /// [`Discard`].
    pub fn handle(&mut self, datagram: &[u8], from: IpAddr) -> std::result::Result<Taken, Discard> {
        self.book.take(datagram, from, Instant::now())
    }

    /// Receives until a query is answered, or until `end`. What is discarded is added to `discarded`.
    pub fn wait_for(
        &mut self,
        salt: &str,
        end: Instant,
        buffer: &mut [u8],
        discarded: &mut Discarded,
    ) -> io::Result<()> {
        while self.book.get(salt).is_some_and(|exchange| !exchange.is_answered()) {
            self.resend();
            let until = self.book.next_sending().map_or(end, |next| next.min(end));
            match received(&self.socket, until, buffer)? {
                Some((length, from)) => {
                    if let Err(reason) = self.handle(buffer.get(..length).unwrap_or_default(), from.ip()) {
                        discarded.add(from.ip(), reason);
                    }
                }
                None if Instant::now() >= end => break,
                None => {}
            }
        }
        Ok(())
    }

    /// An open query.
    #[must_use]
    pub fn exchange(&self, salt: &str) -> Option<&Exchange> {
        self.book.get(salt)
    }

    fn send_to(&mut self, peer: IpAddr, datagram: Vec<u8>) {
        if let Err(error) = sent(&self.socket, &datagram, (peer, self.port).into()) {
            self.unsent.push((peer, datagram, error.kind()));
        }
    }
}

/// What was discarded while somebody waited: each reason once for each sender, up to a number.
#[derive(Debug, Default)]
pub struct Discarded {
    reasons: HashSet<(IpAddr, Discard)>,
    /// How many datagrams.
    pub count: u64,
}

impl Discarded {
    const MOST: usize = 16;

    /// Counts a datagram.
    pub fn add(&mut self, from: IpAddr, reason: Discard) {
        self.count = self.count.saturating_add(1);
        if self.reasons.len() < Self::MOST {
            self.reasons.insert((from, reason));
        }
    }

    /// Who sent what was discarded, and why it was.
    pub fn reasons(&self) -> impl Iterator<Item = (IpAddr, Discard)> + '_ {
        self.reasons.iter().copied()
    }
}

/// A buffer for whatever comes.
#[must_use]
pub fn buffer() -> Vec<u8> {
    vec![0; LONGEST_REPLY]
}

/// Receives one datagram, until `end` at the latest. A signal ends the wait early, and so may nothing at all.
///
/// # Errors
/// What the operating system says of a socket that cannot be used.
pub fn received(socket: &UdpSocket, end: Instant, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
    let left = end.saturating_duration_since(Instant::now());
    let result = if left.is_zero() {
        socket.set_nonblocking(true)?;
        let result = socket.recv_from(buffer);
        socket.set_nonblocking(false)?;
        result
    } else {
        // The system counts in ticks of its own, and takes what is less than one for no limit at all.
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        socket.recv_from(buffer)
    };
    match result {
        Ok(came) => Ok(Some(came)),
        Err(error) if is_passing(error.kind()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Nothing came, or something that another receive may outlive.
fn is_passing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock
            | ErrorKind::TimedOut
            | ErrorKind::Interrupted
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
    )
}

fn sent(socket: &UdpSocket, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
    loop {
        match socket.send_to(datagram, to) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result.map(drop),
        }
    }
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

fn shown(peer: &str) -> String {
    const LONGEST: usize = 60;
    peer.chars().take(LONGEST).flat_map(char::escape_default).collect()
}

fn opened(peers: &[IpAddr]) -> Result<Arc<UdpSocket>> {
    let any: IpAddr =
        if family(peers) == Some(true) { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind((any, 0)).map(Arc::new).map_err(|error| Error::resources("open a socket", &error))
}

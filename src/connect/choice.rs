//! Which server, and which of its addresses, a connection of a session goes to next. Pure: the clock and the dice are the
//! caller's.
//!
//! Tries go in rounds. In a round every address is tried once, so that the one that has just failed is not tried again
//! while others are untried. Between two rounds there is a pause, which grows; there is none within a round. An address that
//! is known to serve, because it has answered a probe, comes before all others.
//!
//! Invariant: while one address accepts sessions, it is reached within one round.
//! Source: the client of ZooKeeper in Java (`StaticHostProvider`), whose pause is one second and constant; the pause here
//! is a bounded exponential one with jitter, so that a fleet does not come back in one moment.

use std::time::Duration;

/// The first pause between two rounds.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest. A fleet of ten thousand hosts comes back to its ensemble with two to four thousand tries a second.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The longest, as a part of the session's timeout: an outage that ends leaves a session this long at least to return in.
const PART_OF_SESSION: u32 = 4;
/// Doublings that make no difference any more.
const MOST_DOUBLINGS: u32 = 10;

/// Whether a server may be tried now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It may.
    Now,
    /// Another server comes first.
    Another,
    /// All have failed. There is a pause first, and [`Choice::begin_round`] after it.
    After(Duration),
}

#[derive(Clone, Debug)]
struct Server<A> {
    /// Those that were found by name, and whether they have failed in this round.
    addresses: Vec<(A, bool)>,
    /// Its name could not be resolved in this round.
    is_unknown: bool,
}

impl<A> Server<A> {
    fn is_tried(&self) -> bool {
        self.is_unknown || (!self.addresses.is_empty() && self.addresses.iter().all(|(_, failed)| *failed))
    }
}

/// What is known of the servers of one session. `A` is an address.
#[derive(Clone, Debug)]
pub struct Choice<A> {
    servers: Vec<Server<A>>,
    /// It has answered a probe, while another one was silent.
    preferred: Option<(usize, A)>,
    /// It has failed last, and is not the first of the next round.
    last: Option<(usize, A)>,
    /// Rounds since there was a session.
    rounds: u32,
    longest_pause: Duration,
}

impl<A: Clone + PartialEq> Choice<A> {
    /// For a session of `servers` servers with this timeout.
    #[must_use]
    pub fn new(servers: usize, session_timeout: Duration) -> Self {
        let unknown = || Server { addresses: Vec::new(), is_unknown: false };
        Self {
            servers: (0..servers).map(|_| unknown()).collect(),
            preferred: None,
            last: None,
            rounds: 0,
            longest_pause: LONGEST_PAUSE.min(session_timeout / PART_OF_SESSION),
        }
    }

    /// Whether a server may be tried now. `dice`: between 0 and 1.
    #[must_use]
    pub fn turn(&self, server: usize, dice: f64) -> Turn {
        if let Some((preferred, _)) = &self.preferred {
            return if *preferred == server { Turn::Now } else { Turn::Another };
        }
        if !self.servers[server].is_tried() {
            let is_last = self.last.as_ref().is_some_and(|(last, _)| *last == server);
            let has_another = |it: &Server<A>| it.addresses.iter().filter(|(_, failed)| !failed).count() != 1;
            let others = self.servers.iter().enumerate().any(|(other, it)| other != server && !it.is_tried());
            // Of the server that failed last only the very address is to be left out.
            return if is_last && others && !has_another(&self.servers[server]) { Turn::Another } else { Turn::Now };
        }
        if self.servers.iter().all(Server::is_tried) {
            Turn::After(self.pause(dice))
        } else {
            Turn::Another
        }
    }

    fn pause(&self, dice: f64) -> Duration {
        let full = FIRST_PAUSE.saturating_mul(1 << self.rounds.min(MOST_DOUBLINGS)).min(self.longest_pause);
        full.mul_f64(0.5 + dice.clamp(0.0, 1.0) / 2.0)
    }

    /// All may be tried again.
    pub fn begin_round(&mut self) {
        self.rounds = self.rounds.saturating_add(1);
        for server in &mut self.servers {
            server.is_unknown = false;
            server.addresses.iter_mut().for_each(|(_, failed)| *failed = false);
        }
    }

    /// Somebody has come who wants an answer soon: pauses begin anew.
    pub fn hurry(&mut self) {
        self.rounds = 0;
    }

    /// Which of the addresses of a server to try, and `None` if there is none that has not failed in this round. `dice`:
    /// between 0 and 1.
    pub fn address(&mut self, server: usize, found: &[A], dice: f64) -> Option<A> {
        let before = std::mem::take(&mut self.servers[server].addresses);
        let failed = |address: &A| before.iter().any(|(known, failed)| known == address && *failed);
        self.servers[server].addresses = found.iter().map(|address| (address.clone(), failed(address))).collect();
        if let Some((_, address)) = self.preferred.take_if(|(preferred, _)| *preferred == server) {
            if found.contains(&address) {
                return Some(address);
            }
        }
        let untried: Vec<&A> =
            self.servers[server].addresses.iter().filter(|(_, failed)| !failed).map(|(it, _)| it).collect();
        let is_last = |address: &A| self.last.as_ref().is_some_and(|(last, it)| *last == server && it == address);
        let better: Vec<&A> = untried.iter().copied().filter(|address| !is_last(address)).collect();
        let among = if better.is_empty() { untried } else { better };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let index = (dice.clamp(0.0, 1.0) * among.len() as f64) as usize;
        among.get(index.min(among.len().saturating_sub(1))).map(|address| (*address).clone())
    }

    /// A server's name could not be resolved.
    pub fn name_failed(&mut self, server: usize) {
        self.preferred.take_if(|(preferred, _)| *preferred == server);
        self.servers[server].is_unknown = true;
    }

    /// An address of a server has failed: it could not be connected to, or its connection was lost.
    pub fn failed(&mut self, server: usize, address: &A) {
        for (known, failed) in &mut self.servers[server].addresses {
            *failed |= known == address;
        }
        self.last = Some((server, address.clone()));
    }

    /// An address of a server has answered a probe; it is next.
    pub fn prefer(&mut self, server: usize, address: A) {
        let server_known = &mut self.servers[server];
        server_known.is_unknown = false;
        match server_known.addresses.iter_mut().find(|(known, _)| *known == address) {
            Some((_, failed)) => *failed = false,
            None => server_known.addresses.push((address.clone(), false)),
        }
        self.preferred = Some((server, address));
    }

    /// A session lasted by way of an address, and has lost it: whatever failed before may be tried again.
    pub fn connected(&mut self) {
        self.begin_round();
        (self.rounds, self.preferred, self.last) = (0, None, None);
    }
}

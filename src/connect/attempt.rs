//! One try with one address, and the connection that has come of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::seen::Seen;
use super::wire::Watch;

/// Whoever makes the connections of a session.
pub(super) trait Dials: Sized {
    /// A server, and the address that was tried, as people read it.
    fn named(&self, server: usize, address: SocketAddr) -> String;
    /// Whether the session has a connection.
    fn is_established(&self) -> bool;
    /// The session has a connection.
    fn established(&self);
    /// Whether the session is over, or was closed: then a connection that ends is no loss.
    fn is_over(&self) -> bool;
    /// Notes that a try with an address is over.
    fn over(&self, attempt: &Attempt<Self>);
}

/// A try with an address. When it ends, by whatever end, the address counts as failed.
pub(super) struct Attempt<D: Dials> {
    dialer: Arc<D>,
    pub(super) server: usize,
    pub(super) address: SocketAddr,
    pub(super) seen: Seen,
    /// Since when it is the session's connection.
    pub(super) established: Option<Instant>,
    /// The server, or the network, has ended the connection.
    pub(super) has_ended: bool,
}

impl<D: Dials> Attempt<D> {
    pub(super) fn new(dialer: Arc<D>, server: usize, address: SocketAddr) -> Self {
        Self { dialer, server, address, seen: Seen::NoConnection, established: None, has_ended: false }
    }
}

impl<D: Dials> Drop for Attempt<D> {
    fn drop(&mut self) {
        if self.established.is_some() && !self.dialer.is_over() {
            let server = self.dialer.named(self.server, self.address);
            log::info!("the connection to {server} is lost; another server is looked for");
        }
        self.dialer.over(self);
    }
}

impl<D: Dials> Watch for Attempt<D> {
    fn is_established(&self) -> bool {
        self.dialer.is_established()
    }

    fn established(&mut self) {
        self.established = Some(Instant::now());
        self.dialer.established();
        log::info!("connected to {}", self.dialer.named(self.server, self.address));
    }

    fn saw(&mut self, seen: Seen) {
        self.seen = seen;
    }

    fn ended(&mut self) {
        self.has_ended = true;
    }
}

//! The socket: not connected. A connected one would fail where a peer's port is closed.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::net::{recvfrom, sendto, RecvFlags, SendFlags};

/// A receive that may wait longer ends after this and is begun again: its limit is set once, and not each time.
const PAUSE: Duration = Duration::from_millis(45);
/// The system counts in ticks of its own, and takes what is less than one for no limit at all.
const LEAST: Duration = Duration::from_millis(1);

/// A socket for datagrams, of which several threads may receive at once.
#[derive(Debug)]
pub struct Socket {
    udp: UdpSocket,
    /// Which socket the descriptor is of. None is like it.
    identity: (u64, u64),
    opened: Instant,
    /// Whether a receive has a shorter limit than [`PAUSE`].
    is_short: AtomicBool,
}

impl Socket {
    /// A socket on a port that is free.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(is_ipv4: bool) -> io::Result<Self> {
        let any = if is_ipv4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let udp = UdpSocket::bind(SocketAddr::new(any, 0))?;
        udp.set_read_timeout(Some(PAUSE))?;
        let identity = identity(udp.as_fd())?;
        Ok(Self { udp, identity, opened: Instant::now(), is_short: AtomicBool::new(false) })
    }

    /// Whether the descriptor is still that of this socket. Otherwise somebody in this process has closed it, and it may be
    /// of something of theirs by now: then it must not be closed here.
    #[must_use]
    pub fn is_there(&self) -> bool {
        identity(self.fd()).is_ok_and(|found| found == self.identity)
    }

    /// How long ago it was opened.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Takes out what has come and nobody has received. Returns whether it was no more than so many datagrams.
    pub fn empty(&self, most: usize) -> bool {
        (0..=most).any(|_| !matches!(self.receive_at_once(&mut [0]), Ok(Some(_))))
    }

    /// Its descriptor, for a loop of somebody else's.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.udp.as_raw_fd()
    }

    /// Sends a datagram, and answers why that could not be done. It does not wait until there is room for it.
    #[must_use]
    pub fn send(&self, datagram: &[u8], to: SocketAddr) -> Option<String> {
        loop {
            match sendto(self.fd(), datagram, SendFlags::DONTWAIT, &to) {
                Err(rustix::io::Errno::INTR) => {}
                result => return result.err().map(|error| io::Error::from(io::Error::from(error).kind()).to_string()),
            }
        }
    }

    /// Receives one datagram, until `end` at the latest. It may return without one earlier than that.
    ///
    /// # Errors
    /// What the operating system says of a socket that cannot be used.
    pub fn receive(&self, end: Instant, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return self.receive_at_once(buffer);
        }
        self.limit(left)?;
        self.received(buffer, RecvFlags::empty())
    }

    /// Receives a datagram that is there already.
    ///
    /// # Errors
    /// As [`Socket::receive`].
    pub fn receive_at_once(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        self.received(buffer, RecvFlags::DONTWAIT)
    }

    fn limit(&self, left: Duration) -> io::Result<()> {
        if left < PAUSE {
            self.is_short.store(true, Ordering::Release);
            self.udp.set_read_timeout(Some(left.max(LEAST)))
        } else if self.is_short.swap(false, Ordering::AcqRel) {
            self.udp.set_read_timeout(Some(PAUSE))
        } else {
            Ok(())
        }
    }

    fn received(&self, buffer: &mut [u8], flags: RecvFlags) -> io::Result<Option<(usize, SocketAddr)>> {
        match recvfrom(self.fd(), buffer, flags).map_err(io::Error::from) {
            Ok((_, length, from)) => {
                Ok(from.and_then(|from| SocketAddr::try_from(from).ok()).map(|from| (length, from)))
            }
            Err(error) if is_passing(error.kind()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.udp.as_fd()
    }
}

fn identity(fd: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).map_err(io::Error::from)
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

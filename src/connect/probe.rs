//! Whether a server serves, asked on a connection of its own.
//!
//! `srvr` is one of the words that ZooKeeper answers by default, whatever its version. A server that is told not to answer it
//! says so; one that wants TLS closes the connection, or sends an alert. All of that shows that its process runs.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// As long as the header of a TLS record, without which a server that wants TLS waits for more.
pub(super) const QUESTION: &[u8] = b"srvr\n";
/// Bytes; the answer is shorter.
const MOST: u64 = 4096;

/// What a probe has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probed {
    /// A server that is part of a quorum.
    Serves,
    /// Something that answers, and does not say whether it serves.
    Answers,
    /// Something that closes the connection without a word. A server that wants TLS may do so.
    Closes,
    /// A server that serves nobody, since it has no quorum.
    NoQuorum,
    /// A server that has no quorum, and serves reads to those who say that they want no more.
    ReadOnly,
    /// Nothing answers.
    Silent,
}

impl Probed {
    /// Whether a session is to be had there, as far as one can tell.
    pub(crate) fn serves(self, speaks_tls: bool) -> bool {
        matches!(self, Self::Serves | Self::Answers) || (speaks_tls && self == Self::Closes)
    }
}

/// Asks the server at an address, for `limit` at most.
pub(crate) async fn probe(address: SocketAddr, limit: Duration) -> Probed {
    let asking = async { ask(TcpStream::connect(address).await.ok()?).await };
    timeout(limit, asking).await.ok().flatten().unwrap_or(Probed::Silent)
}

/// Asks the server at the other end of a new connection. `None`: the question cannot be sent.
pub(crate) async fn ask(mut stream: TcpStream) -> Option<Probed> {
    stream.write_all(QUESTION).await.ok()?;
    let mut answer = Vec::new();
    // A server that resets the connection has answered as well.
    let _ = stream.take(MOST).read_to_end(&mut answer).await;
    Some(judge(&answer))
}

fn judge(answer: &[u8]) -> Probed {
    let text = String::from_utf8_lossy(answer);
    if text.is_empty() {
        Probed::Closes
    } else if text.contains("not currently serving requests") {
        Probed::NoQuorum
    } else if text.contains("Mode: read-only") {
        Probed::ReadOnly
    } else if text.starts_with("Zookeeper version") {
        Probed::Serves
    } else {
        Probed::Answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_whether_the_server_serves() {
        assert_eq!(judge(b"Zookeeper version: 3.8.0\nMode: follower\n"), Probed::Serves);
        assert_eq!(judge(b"Zookeeper version: 3.8.0\nMode: read-only\n"), Probed::ReadOnly);
        assert_eq!(judge(b"This ZooKeeper instance is not currently serving requests\n"), Probed::NoQuorum);
        assert_eq!(judge(b"srvr is not executed because it is not in the whitelist.\n"), Probed::Answers);
        assert_eq!(judge(b"\x15\x03\x03\x00\x02\x02\x46"), Probed::Answers);
        assert_eq!(judge(b""), Probed::Closes);
    }
}

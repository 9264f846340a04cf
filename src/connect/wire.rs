//! A connection of a session: whether its server has fallen silent, and whether a reply gets on.

use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::connect::seen::Seen;

/// Bytes of a reply that have to come in a second. A reply that stops and starts keeps the protocol client waiting for ever.
const SLOWEST: f64 = 256.0;

/// Whoever has made a connection, and wants to know what becomes of it.
pub(crate) trait Watch {
    /// Whether the session's connection is established: then it is this one.
    fn is_established(&self) -> bool;
    /// The connection has become the session's.
    fn established(&self);
    /// Why the connection will be of no use.
    fn saw(&mut self, seen: Seen);
}

/// A connection that is watched for silence until it is the session's, and for replies that do not get on.
pub(crate) struct Wire<W> {
    stream: TcpStream,
    attempt: W,
    /// Ends when the server is silent and another one serves. `None`, once the connection is the session's.
    silence: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    received: usize,
    /// `None`, where TLS has records of its own: the protocol client hears nothing of one that does not get on.
    reply: Option<Reply>,
}

impl<W: Watch> Wire<W> {
    /// `silence` ends when the server is silent and another one serves. A reply in plain text has to get on within `limit`.
    pub(crate) fn new(
        stream: TcpStream,
        attempt: W,
        silence: impl Future<Output = ()> + Send + 'static,
        limit: Option<Duration>,
    ) -> Self {
        Self { stream, attempt, silence: Some(Box::pin(silence)), received: 0, reply: limit.map(Reply::new) }
    }

    /// Whether the server is silent, and another one serves.
    fn is_left(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(silence) = &mut self.silence else { return false };
        if self.attempt.is_established() {
            self.silence = None;
            self.attempt.established();
            return false;
        }
        let is_left = silence.as_mut().poll(cx).is_ready();
        if is_left {
            self.silence = None;
        }
        is_left
    }
}

impl<W: Watch + Unpin> AsyncRead for Wire<W> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.is_left(cx) {
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => {
                this.attempt.saw(Seen::of_stream(this.received, Some(&error)));
                Poll::Ready(Err(error))
            }
            Poll::Ready(Ok(())) => {
                let got = &buf.filled()[before..];
                if got.is_empty() {
                    this.attempt.saw(Seen::of_stream(this.received, None));
                } else if this.reply.as_mut().is_some_and(|reply| reply.stalls(got, Instant::now())) {
                    this.attempt.saw(Seen::Stalling);
                    return Poll::Ready(Err(ErrorKind::TimedOut.into()));
                }
                if this.silence.is_some() && !got.is_empty() {
                    // Whatever comes next, the server was not silent.
                    this.attempt.saw(Seen::Lost);
                }
                this.received += got.len();
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<W: Watch + Unpin> AsyncWrite for Wire<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The reply that is being received, as far as its length tells: four bytes, and as many as they say.
struct Reply {
    limit: Duration,
    /// Bytes of the length that have come.
    head: [u8; 4],
    has: usize,
    /// Bytes of the body that are to come.
    rest: usize,
    began: Option<Instant>,
    came: usize,
}

impl Reply {
    fn new(limit: Duration) -> Self {
        Self { limit, head: [0; 4], has: 0, rest: 0, began: None, came: 0 }
    }

    /// Takes what has come; whether the reply that it is a part of has not got on for too long.
    fn stalls(&mut self, mut got: &[u8], now: Instant) -> bool {
        while !got.is_empty() {
            self.began.get_or_insert(now);
            if self.has < self.head.len() {
                self.head[self.has] = got[0];
                self.has += 1;
                self.came += 1;
                got = &got[1..];
                if self.has == self.head.len() {
                    self.rest = usize::try_from(u32::from_be_bytes(self.head)).unwrap_or(usize::MAX);
                }
            } else {
                let part = self.rest.min(got.len());
                self.rest -= part;
                self.came += part;
                got = &got[part..];
            }
            if self.has == self.head.len() && self.rest == 0 {
                (self.has, self.began, self.came) = (0, None, 0);
            }
        }
        let Some(began) = self.began else { return false };
        let lasted = now.saturating_duration_since(began);
        #[allow(clippy::cast_precision_loss)]
        let rate = self.came as f64 / lasted.as_secs_f64();
        lasted > self.limit && rate < SLOWEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(4);

    fn framed(length: u32) -> Vec<u8> {
        let mut frame = length.to_be_bytes().to_vec();
        frame.extend(vec![0; length as usize]);
        frame
    }

    #[test]
    fn a_reply_of_a_byte_a_second_stalls() {
        let (mut reply, start) = (Reply::new(LIMIT), Instant::now());
        let stalled = framed(20)
            .iter()
            .zip(0..)
            .position(|(byte, second)| reply.stalls(&[*byte], start + Duration::from_secs(second)));
        assert_eq!(stalled, Some(5), "the limit is four seconds, and the first byte came at none");
    }

    #[test]
    fn whole_replies_do_not_however_seldom_they_come() {
        let (mut reply, start) = (Reply::new(LIMIT), Instant::now());
        for minute in 0..60 {
            let replies = [framed(16), framed(300), framed(0)].concat();
            assert!(!reply.stalls(&replies, start + Duration::from_secs(60 * minute)));
        }
    }

    #[test]
    fn a_great_reply_over_a_slow_line_does_not() {
        let (mut reply, start) = (Reply::new(LIMIT), Instant::now());
        for (part, second) in framed(100_000).chunks(2000).zip(0..) {
            assert!(!reply.stalls(part, start + Duration::from_secs(second)));
        }
    }
}

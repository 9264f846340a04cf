//! A connection of a session: whether its server has fallen silent, and whether a reply gets on.

use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{sleep_until, Sleep};

use crate::connect::seen::Seen;

/// Bytes of a reply that have to come in a second. A reply that stops and starts keeps the protocol client waiting for ever.
const SLOWEST: f64 = 256.0;
/// Bytes of requests that are sent together.
const FLIGHT: usize = 8 * 1024;

/// Whoever has made a connection, and wants to know what becomes of it.
pub(crate) trait Watch {
    /// Whether the session's connection is established: then it is this one.
    fn is_established(&self) -> bool;
    /// The connection has become the session's.
    fn established(&mut self);
    /// Why the connection will be of no use.
    fn saw(&mut self, seen: Seen);
    /// The server, or the network, has ended the connection. Without this, whoever drops it has given it up.
    fn ended(&mut self);
}

/// A connection that is watched for silence until it is the session's, and for replies that do not get on.
pub(crate) struct Wire<W> {
    /// The protocol client writes each request of a flight for itself. Sent like that, each would be a packet of its own,
    /// and wake the server. In TLS each is sent at once all the same.
    stream: BufWriter<TcpStream>,
    /// The protocol client has flushed, and has written nothing since.
    is_flushing: bool,
    attempt: W,
    /// Ends when the server is silent and another one serves. `None`, once the connection is the session's.
    silence: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    received: usize,
    /// `None`, where TLS has records of its own: the protocol client hears nothing of one that does not get on.
    reply: Option<Reply>,
    /// When a reply that is not complete has to have got on.
    due: Option<Pin<Box<Sleep>>>,
}

impl<W: Watch> Wire<W> {
    /// `silence` ends when the server is silent and another one serves. A reply in plain text has to get on within `limit`.
    pub(crate) fn new(
        stream: TcpStream,
        attempt: W,
        silence: impl Future<Output = ()> + Send + 'static,
        limit: Option<Duration>,
    ) -> Self {
        // `futures-rustls` 0.26 neither flushes the alert with which it gives up, nor remembers a flush that is pending.
        let capacity = if limit.is_some() { FLIGHT } else { 0 };
        let (stream, silence) = (BufWriter::with_capacity(capacity, stream), Some(Box::pin(silence) as Pin<Box<_>>));
        Self { stream, is_flushing: false, attempt, silence, received: 0, reply: limit.map(Reply::new), due: None }
    }

    /// Whether the reply that is being received has not got on for too long.
    fn stalls(&mut self, cx: &mut Context<'_>) -> bool {
        let (Some(reply), Some(due)) = (&self.reply, &mut self.due) else { return false };
        while due.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if reply.is_stalled(now) {
                return true;
            }
            due.as_mut().reset((now + reply.limit).into());
        }
        false
    }

    /// Takes what was received.
    fn receive(&mut self, got: &[u8]) {
        self.received += got.len();
        if let Some(reply) = &mut self.reply {
            reply.receive(got, Instant::now());
            match reply.began {
                None => self.due = None,
                Some(began) if self.due.is_none() => {
                    self.due = Some(Box::pin(sleep_until((began + reply.limit).into())))
                }
                Some(_) => {}
            }
        }
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
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        let got = &buf.filled()[before..];
        match &read {
            Poll::Pending => {}
            Poll::Ready(Ok(())) if !got.is_empty() => {
                this.receive(got);
                if this.silence.is_some() {
                    // Whatever comes next, the server was not silent.
                    this.attempt.saw(Seen::Lost);
                }
            }
            Poll::Ready(end) => {
                this.attempt.saw(Seen::of_stream(this.received, end.as_ref().err()));
                this.attempt.ended();
            }
        }
        if this.stalls(cx) {
            this.attempt.saw(Seen::Stalling);
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl<W: Watch + Unpin> AsyncWrite for Wire<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.is_flushing = false;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_flushing = false;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// The protocol client flushes before it takes the next request of a flight. So what it has written is sent in its
    /// next turn, if it has written nothing more by then.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_flushing && !self.stream.buffer().is_empty() {
            self.is_flushing = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
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

    /// Takes what has come.
    fn receive(&mut self, mut got: &[u8], now: Instant) {
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
    }

    /// Whether a reply has not got on for too long.
    fn is_stalled(&self, now: Instant) -> bool {
        let Some(began) = self.began else { return false };
        let lasted = now.saturating_duration_since(began);
        #[allow(clippy::cast_precision_loss)]
        let rate = self.came as f64 / lasted.as_secs_f64();
        lasted >= self.limit && rate < SLOWEST
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(4);

    struct Established;

    impl Watch for Established {
        fn is_established(&self) -> bool {
            true
        }
        fn established(&mut self) {}
        fn saw(&mut self, _: Seen) {}
        fn ended(&mut self) {}
    }

    async fn connected(limit: Option<Duration>) -> io::Result<(Wire<Established>, TcpStream)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let stream = TcpStream::connect(listener.local_addr()?).await?;
        Ok((Wire::new(stream, Established, pending(), limit), listener.accept().await?.0))
    }

    #[tokio::test]
    async fn a_flight_is_sent_in_one_piece() -> io::Result<()> {
        let (mut wire, mut server) = connected(Some(LIMIT)).await?;
        wire.write_all(b"one").await?;
        let flushed = poll_fn(|cx| Poll::Ready(Pin::new(&mut wire).poll_flush(cx))).await;
        assert!(flushed.is_pending());
        wire.write_all(b"two").await?;
        wire.flush().await?;
        let mut received = [0; 16];
        let count = server.read(&mut received).await?;
        assert_eq!(&received[..count], b"onetwo");
        Ok(())
    }

    /// An alert is the last that its library writes, and it does not flush.
    #[tokio::test]
    async fn nothing_waits_for_a_flush_in_tls() -> io::Result<()> {
        let (mut wire, mut server) = connected(None).await?;
        wire.write_all(b"alert").await?;
        drop(wire);
        let mut received = Vec::new();
        server.read_to_end(&mut received).await?;
        assert_eq!(received, b"alert");
        Ok(())
    }

    fn framed(length: u32) -> Vec<u8> {
        let mut frame = length.to_be_bytes().to_vec();
        frame.extend(vec![0; length as usize]);
        frame
    }

    #[test]
    fn a_reply_of_a_byte_a_second_stalls() {
        let (mut reply, start) = (Reply::new(LIMIT), Instant::now());
        let stalled = framed(20).iter().zip(0..).position(|(byte, second)| {
            let now = start + Duration::from_secs(second);
            reply.receive(&[*byte], now);
            reply.is_stalled(now)
        });
        assert_eq!(stalled, Some(4), "the limit is four seconds, and the first byte came at none");
    }

    #[test]
    fn a_reply_that_stops_stalls() {
        let (mut reply, start) = (Reply::new(LIMIT), Instant::now());
        reply.receive(&framed(20)[..7], start);
        assert!(!reply.is_stalled(start + LIMIT / 2));
        assert!(reply.is_stalled(start + LIMIT));
    }

    #[test]
    fn whole_replies_do_not_however_seldom_they_come() {
        let (mut reply, start) = (Reply::new(LIMIT), Instant::now());
        for minute in 0..60 {
            let replies = [framed(16), framed(300), framed(0)].concat();
            reply.receive(&replies, start + Duration::from_secs(60 * minute));
            assert!(!reply.is_stalled(start + Duration::from_secs(60 * minute + 50)));
        }
    }

    #[test]
    fn a_great_reply_over_a_slow_line_does_not() {
        let (mut reply, start) = (Reply::new(LIMIT), Instant::now());
        for (part, second) in framed(100_000).chunks(2000).zip(0..) {
            reply.receive(part, start + Duration::from_secs(second));
            assert!(!reply.is_stalled(start + Duration::from_secs(second)));
        }
    }
}

//! A stand-in for `async-net` 2.0 that holds the one type `zookeeper-client` uses of it.
//!
//! The real crate registers its sockets with the process-wide reactor of `async-io`, which does not
//! survive `fork()`; see the sibling crate `async-io` for the story and for when to delete both.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::ToSocketAddrs;

/// A TCP connection with the traits of `futures`, on tokio's reactor.
#[derive(Debug)]
pub struct TcpStream(tokio::net::TcpStream);

impl TcpStream {
    /// Connects to the first of `addr`'s addresses that answers, without Nagle's delay.
    ///
    /// # Errors
    /// Those of name resolution and of `connect(2)`.
    pub async fn connect<A: ToSocketAddrs>(addr: A) -> io::Result<Self> {
        let stream = tokio::net::TcpStream::connect(addr).await?;
        // A request is one small segment and waits for its reply: Nagle's algorithm would hold the
        // second request of a pipeline back until the first is acknowledged.
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        Pin::new(&mut self.get_mut().0).poll_read(cx, &mut buf).map_ok(|()| buf.filled().len())
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn carries_bytes_both_ways_and_closes() -> io::Result<()> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let (client, server) = tokio::join!(TcpStream::connect(("127.0.0.1", port)), listener.accept());
        let (mut client, server) = (client?, server?.0);
        assert!(client.0.nodelay()?);
        let mut server = TcpStream(server);
        let sent = client.write_vectored(&[IoSlice::new(b"ping"), IoSlice::new(b"ed")]).await?;
        assert_eq!(sent, 6, "a vectored write takes all slices in one call");
        let mut got = [0; 6];
        server.read_exact(&mut got).await?;
        assert_eq!(&got, b"pinged");
        client.close().await?;
        assert_eq!(server.read(&mut got).await?, 0);
        Ok(())
    }
}

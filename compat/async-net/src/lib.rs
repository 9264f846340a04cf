//! A stand-in for `async-net` 2.0 that holds the one type `zookeeper-client` uses of it.
//!
//! The real crate registers its sockets with the process-wide reactor of `async-io`, which does not
//! survive `fork()`; see the sibling crate `async-io` for the story and for when to delete both.
//!
//! It has one thing more: a [`Dial`], which a caller names for the connections of a task. The protocol client goes through
//! its list of servers in an order of its own, and learns nothing from the connections that have failed. A `Dial` does.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};
use tokio::io::{AsyncRead as TokioRead, AsyncWrite as TokioWrite, ReadBuf};

tokio::task_local! {
    static DIALER: Arc<dyn Dial>;
}

/// What a connection is made of.
pub trait Stream: TokioRead + TokioWrite + Send + Unpin {}

impl<T: TokioRead + TokioWrite + Send + Unpin> Stream for T {}

/// A connection, or why there is none.
pub type Dialed<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// Makes the connections of a task.
pub trait Dial: Send + Sync {
    /// Connects to a server of the client's list. An error at once makes the client go on to the next server.
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> Dialed<'a>;
}

/// Runs `work`, whose connections are made by `dialer`. A task that `work` spawns has to be told so as well.
pub async fn dialed_by<F: Future>(dialer: Arc<dyn Dial>, work: F) -> F::Output {
    DIALER.scope(dialer, work).await
}

/// A TCP connection with the traits of `futures`, on tokio's reactor.
pub struct TcpStream(Box<dyn Stream>);

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpStream").finish_non_exhaustive()
    }
}

impl TcpStream {
    /// Connects as the task's [`Dial`] does it; where the task has none, to the first of the server's addresses that
    /// answers.
    ///
    /// # Errors
    /// Those of name resolution and of `connect(2)`, and those of the `Dial`.
    pub async fn connect((host, port): (&str, u16)) -> io::Result<Self> {
        if let Ok(dialer) = DIALER.try_with(Arc::clone) {
            return dialer.dial(host, port).await.map(Self);
        }
        let stream = tokio::net::TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self(Box::new(stream)))
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

    struct To(u16);

    impl Dial for To {
        fn dial<'a>(&'a self, host: &'a str, _: u16) -> Dialed<'a> {
            Box::pin(async move {
                let stream = tokio::net::TcpStream::connect((host, self.0)).await?;
                Ok(Box::new(stream) as Box<dyn Stream>)
            })
        }
    }

    #[tokio::test]
    async fn carries_bytes_both_ways_and_closes() -> io::Result<()> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let (client, server) = tokio::join!(TcpStream::connect(("127.0.0.1", port)), listener.accept());
        let (mut client, server) = (client?, server?.0);
        let mut server = TcpStream(Box::new(server));
        let sent = client.write_vectored(&[IoSlice::new(b"ping"), IoSlice::new(b"ed")]).await?;
        assert_eq!(sent, 6, "a vectored write takes all slices in one call");
        let mut got = [0; 6];
        server.read_exact(&mut got).await?;
        assert_eq!(&got, b"pinged");
        client.close().await?;
        assert_eq!(server.read(&mut got).await?, 0);
        Ok(())
    }

    #[tokio::test]
    async fn a_task_has_its_connections_made_by_its_dialer() -> io::Result<()> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let dialer = Arc::new(To(listener.local_addr()?.port()));
        let connecting = dialed_by(dialer, TcpStream::connect(("127.0.0.1", 1)));
        let (client, server) = tokio::join!(connecting, listener.accept());
        assert!(client.is_ok() && server.is_ok());
        Ok(())
    }
}

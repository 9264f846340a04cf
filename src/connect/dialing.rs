//! How the protocol client comes to make its connections by the dialer.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::sync::atomic::Ordering;
use std::sync::Arc;

use async_net::{Dial, Dialed};
use futures::future::BoxFuture;

use crate::connect::dialer::Dialer;

/// The dialer, as the protocol client has it.
pub(crate) struct Dialing(pub(crate) Arc<Dialer>);

impl Dial for Dialing {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> Dialed<'a> {
        let server = self.0.position(host, port);
        Box::pin(async move {
            let server = server.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "no server of this session"))?;
            let stream = self.0.clone().connect(server).await?;
            self.0.connections.fetch_add(1, Ordering::AcqRel);
            Ok(stream)
        })
    }
}

/// Runs `connecting`, which is the protocol client's, so that its connections are made by the dialer: those that it makes
/// now, and those of the task that it starts.
pub(crate) async fn dialed<T>(dialer: &Arc<Dialer>, connecting: BoxFuture<'_, T>) -> T {
    let dialing: Arc<dyn Dial> = Arc::new(Dialing(dialer.clone()));
    let spawner = Spawner(dialing.clone());
    let mut connecting = connecting;
    let spawning = poll_fn(move |cx| {
        let _scope = spawns_core::enter(&spawner);
        connecting.as_mut().poll(cx)
    });
    async_net::dialed_by(dialing, spawning).await
}

/// Starts the tasks of the protocol client.
struct Spawner(Arc<dyn Dial>);

impl spawns_core::Spawn for Spawner {
    fn spawn(&self, task: spawns_core::Task) {
        tokio::spawn(async_net::dialed_by(self.0.clone(), Box::into_pin(task.future)));
    }
}

//! The certificates and the key of a session, read again when their files have changed.
//!
//! A session may last for longer than its certificate. Before each of its connections the files are looked at; where they have
//! changed, and what is in them can be used, the connection is made with that. What cannot be used is left alone: the one before
//! may still do. Files that are replaced one after the other do not fit together for a moment, and are looked at again before
//! the next connection.
//!
//! A file may be on a file system that hangs. So a thread looks, for which a connection waits only for so long.

use std::fs::metadata;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use zookeeper_client as zk;

use crate::connect::certificates::Material;
use crate::connect::tls::Tls;
use crate::error::{Error, Result};

/// Which state of a file was seen: device, inode, size, and the times of its last change in nanoseconds.
type Stamp = Option<(u64, u64, u64, [i64; 4])>;

/// What a session's TLS is made of at a time.
pub(crate) struct Certificates {
    tls: Tls,
    certs: zk::TlsDynamicCerts,
    state: Mutex<State>,
}

struct State {
    material: Arc<Material>,
    stamps: Vec<Stamp>,
    /// What is in the files now cannot be used, and why.
    refused: Option<Error>,
    is_reading: bool,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// Ends the reading of the files when it is dropped.
struct Over<'a>(&'a Certificates);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.state().is_reading = false;
    }
}

impl Certificates {
    /// Reads the files, and checks that they fit together. It takes its time, above all for an encrypted key.
    ///
    /// # Errors
    /// [`Error::Argument`]: a file is missing or damaged, or does not fit the others.
    pub(crate) fn load(tls: Tls) -> Result<Self> {
        let stamps = stamps(&tls);
        let material = Material::load(&tls)?;
        let certs = zk::TlsDynamicCerts::new(material.certs()?);
        let state = State { material: Arc::new(material), stamps, refused: None, is_reading: false };
        Ok(Self { tls, certs, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the connections are made with now.
    pub(crate) fn material(&self) -> Arc<Material> {
        self.state().material.clone()
    }

    /// The same, for the protocol client, whose next connections have what [`Certificates::renew`] finds.
    pub(crate) fn options(&self) -> zk::TlsOptions {
        self.material().options(self.certs.clone())
    }

    /// Why what is in the files now is not used, where that is so.
    pub(crate) fn refused(&self) -> Option<String> {
        let reason = self.state().refused.as_ref()?.to_string();
        Some(format!("the files of the certificates have changed, and those before are still used: {reason}"))
    }

    /// Reads the files again if they have changed. Where that takes longer than `limit` it goes on, and what it finds is for
    /// the next connection.
    pub(crate) async fn renew(self: &Arc<Self>, limit: Duration) {
        if std::mem::replace(&mut self.state().is_reading, true) {
            return;
        }
        let (sender, done) = oneshot::channel();
        let this = self.clone();
        let reading = move || {
            // Also where it panics: else nothing would be read ever again.
            let _over = Over(&this);
            this.read_again();
            let _ = sender.send(());
        };
        if thread::Builder::new().name("zkcoord-certificates".to_owned()).spawn(reading).is_err() {
            self.state().is_reading = false;
            return;
        }
        let _ = timeout(limit, done).await;
    }

    fn read_again(&self) {
        let stamps = stamps(&self.tls);
        if stamps == self.state().stamps {
            return;
        }
        let renewed = Material::load(&self.tls).and_then(|material| Ok((material.certs()?, material)));
        let mut state = self.state();
        // As they were before they were read: a change in between is seen the next time.
        state.stamps = stamps;
        match renewed {
            Ok((certs, material)) => {
                self.certs.update(certs);
                (state.material, state.refused) = (Arc::new(material), None);
            }
            Err(error) => state.refused = Some(error),
        }
    }
}

fn stamps(tls: &Tls) -> Vec<Stamp> {
    let client = tls.client.iter().flat_map(|client| [&client.certfile, &client.keyfile]);
    let stamp = |path: &String| {
        let found = metadata(path).ok()?;
        let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
        Some((found.dev(), found.ino(), found.size(), times))
    };
    std::iter::once(&tls.ca_certs).chain(client).map(stamp).collect()
}

//! Whether a server belongs to an ensemble, asked by a session of its own: where its four-letter words do not tell.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::timeout_at;

use crate::client::Client;
use crate::connect::findings::Findings;
use crate::connect::settings::Identity;
use crate::ensemble::configuration::Configuration;
use crate::ensemble::survey::{parsed, CONFIG};
use crate::session::Session;

/// Why the server at `address` is not server `id` of this ensemble. `None`: it is, or it does not say until `end`. It is
/// asked as nobody: it may be anybody's.
pub(crate) async fn stranger(
    client: &Client,
    address: &str,
    id: i64,
    ours: &Configuration,
    end: Instant,
) -> Option<String> {
    let mut identity = Identity::clone(&client.settings().identity);
    identity.servers = vec![address.to_owned()];
    identity.credentials = None;
    if let Some(tls) = &mut identity.tls {
        tls.client = None;
    }
    let identity = Arc::new(identity);
    let asking = async {
        let session = Box::pin(Session::open(&identity, CONFIG, &Findings::default(), true)).await.ok()?;
        let read = session.get_data(CONFIG).await;
        let own = i64::from(session.id().to_be_bytes()[0]);
        session.close().await;
        Some((own, parsed(&read.ok()?.0).ok()?))
    };
    let (own, known) = timeout_at(end.into(), asking).await.ok()??;
    if own != id & 0xff {
        return Some(format!("says that it is server.{own}"));
    }
    let is_ours =
        known.is_same(ours) || known.version < ours.version && known.members().any(|it| ours.member(it.id) == Some(it));
    (!is_ours).then(|| format!("is server.{own} of another ensemble"))
}

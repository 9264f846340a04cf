//! Work that takes long, beside the runtime.

use std::thread;

use tokio::sync::oneshot;

/// Does work that takes long on a thread of its own; or here, where none can be started. The runtime's own threads for
/// such work panic then.
pub(crate) async fn apart<A, T>(argument: A, work: fn(&A) -> T) -> T
where
    A: Clone + Send + 'static,
    T: Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    let given = argument.clone();
    let started =
        thread::Builder::new().name("zkcoord-apart".to_owned()).spawn(move || drop(sender.send(work(&given))));
    match started {
        Ok(_) => receiver.await.unwrap_or_else(|_| work(&argument)),
        Err(_) => work(&argument),
    }
}

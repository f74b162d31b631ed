//! The mutating webhook: an HTTPS server that answers `POST /mutate` with what [`inject`](crate::inject) says of a pod.
//!
//! ```text
//! API server --AdmissionReview--> review --MeshRef, TunMesh, namespace--> inject --> patch or refusal
//! Secret tunmesh-webhook-ca <-> authority --> certificate in memory; bundle --> MutatingWebhookConfiguration tunmesh
//! ```
//!
//! It makes nothing and remembers nothing, so a dry run is answered like any other request. Any number of replicas serve
//! at once: they share the authority, and each signs a certificate of its own.

mod authority;
mod bundle;
mod directory;
mod metrics;
mod review;
mod server;
mod serving;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use kube::Client;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::inject::Defaults;
pub use authority::{AuthorityError, SECRET};
pub use directory::Directory;
use metrics::Metrics;
use review::Reviewer;
use serving::Serving;

/// Why the webhook cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or not this machine's.
    #[error("failed to listen at {address} for the webhook")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// There is no certificate to serve with.
    #[error("failed to get a certificate for the webhook")]
    Certificate(#[from] AuthorityError),
    /// Its metrics cannot be registered.
    #[error("failed to register the metrics of the webhook")]
    Metrics(#[from] prometheus::Error),
    /// TLS cannot be set up.
    #[error("failed to set up TLS for the webhook")]
    Tls(#[from] rustls::Error),
}

/// Serves at `address` until `shutdown` says `true`, or nobody is left to say so; requests under way are then answered
/// within some seconds.
///
/// It gives the pods what mesh and pod do not say from `defaults`, and puts its metrics into `registry`. With `client` it
/// renews its certificate, of an authority in `namespace`, that of the operator, and keeps the `caBundle` of the
/// configuration right all the while. What fails later than the start is logged and tried again.
///
/// # Errors
///
/// What fails at the start.
pub async fn serve(
    address: SocketAddr,
    client: Client,
    namespace: String,
    directory: Arc<impl Directory>,
    defaults: Defaults,
    registry: Registry,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), ServeError> {
    let metrics = Metrics::new(&registry)?;
    let serving = Serving::start(client.clone(), namespace).await?;
    let config = serving.server_config()?;
    let listener = TcpListener::bind(address).await.map_err(|source| ServeError::Bind { address, source })?;
    let router = review::router(Reviewer { client, defaults, directory, metrics });
    let (stop, stopping) = watch::channel(());
    tokio::select! {
        never = server::accept(listener, config, router, stopping) => match never {},
        never = serving.keep() => match never {},
        // An error is that the sender is gone.
        _ = shutdown.wait_for(|stop| *stop) => {}
    }
    server::finish(stop).await;
    Ok(())
}

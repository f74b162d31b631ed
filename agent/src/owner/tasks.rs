use std::sync::Arc;
use std::time::Instant;

use tunmesh_mesh::{MeetFailure, RegisterFailure};
use tunmesh_protocol::{ControlUrl, Implementation, NodeId, Registration};

use crate::client::{Channel, Exchange, ExchangeError, FailureKind};
use crate::incidents::RefusalKind;
use crate::peers::Peer;
use crate::shared::Shared;

/// How a task of the owner ended.
pub(super) enum Outcome {
    /// The other node's registration, and what it can do beyond the original.
    Met {
        url: ControlUrl,
        result: Result<(Registration, Option<Implementation>), MeetFailure>,
    },
    Registered {
        id: NodeId,
        result: Result<Registration, RegisterFailure>,
    },
    SessionOpened {
        id: NodeId,
        opened: bool,
    },
}

/// Finds out who listens at `url` and registers there with the cluster token.
///
/// The registration goes to the URL that `node_info` names, as `url` may be a load balancer's.
pub(super) async fn meet(shared: Arc<Shared>, url: ControlUrl, ours: Registration) -> Outcome {
    let exchange = Exchange::new(&shared);
    let attempt = async {
        let info = exchange.node_info(&url).await.map_err(|error| failed(&shared, &url, &error))?;
        if info.id == shared.id {
            tracing::debug!(%url, "the URL leads to ourselves");
            return Err(MeetFailure::Itself);
        }
        let answer = exchange
            .register_by_cluster(&info.listen_url, &info.id, &Channel::default(), &ours)
            .await
            .map_err(|error| failed(&shared, &info.listen_url, &error))?;
        if shared.live.load().tls.identity.is_some() && !answer.local.listen_url.same_place(&info.listen_url) {
            // The certificate was shown there, and proves nothing of another place.
            tracing::warn!(asked = %info.listen_url, named = %answer.local.listen_url, "a node names another URL than its own");
            return Err(MeetFailure::Unverified);
        }
        Ok((answer, info.implementation))
    };
    let result = attempt.await;
    Outcome::Met { url, result }
}

/// Registers again at a known member: within its session if there is one, else with the cluster token.
pub(super) async fn register(shared: Arc<Shared>, peer: Arc<Peer>, ours: Registration) -> Outcome {
    let exchange = Exchange::new(&shared);
    let by_cluster = async || {
        let url = peer.url();
        let answer = exchange.register_by_cluster(&url, &peer.id, &peer.channel, &ours).await;
        answer.inspect_err(|error| note_denial(&shared, &url, error))
    };
    let result = match exchange.register_by_session(&peer, &ours).await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => by_cluster().await,
        Err(error) if error.is_not_found() => by_cluster().await,
        Err(error) => {
            if error.kind() == FailureKind::Refused {
                peer.outbound.store(None);
                let _stopping = shared.owner.session_lost(peer.id.clone()).await;
            }
            Err(error)
        }
    };
    let result = result.map_err(|error| {
        tracing::warn!(peer = %peer.id, error = crate::logging::chain(&error), "registration failed");
        match error.kind() {
            FailureKind::Refused => RegisterFailure::Denied,
            FailureKind::Failed | FailureKind::Unverified => RegisterFailure::Failed,
            FailureKind::Unreachable => RegisterFailure::Unreachable,
        }
    });
    Outcome::Registered { id: peer.id.clone(), result }
}

/// Opens or rotates the session towards `peer`.
pub(super) async fn open_session(shared: Arc<Shared>, peer: Arc<Peer>, rotate: bool) -> Outcome {
    let result = Exchange::new(&shared).open_session(&peer, rotate).await;
    if let Err(error) = &result {
        tracing::warn!(peer = %peer.id, error = crate::logging::chain(error), "no session");
    }
    Outcome::SessionOpened { id: peer.id.clone(), opened: result.is_ok() }
}

fn failed(shared: &Shared, url: &ControlUrl, error: &ExchangeError) -> MeetFailure {
    note_denial(shared, url, error);
    tracing::warn!(error = crate::logging::chain(error), "failed to register at a new node");
    tracing::debug!(%url, "the node was expected there");
    match error.kind() {
        FailureKind::Failed | FailureKind::Refused => MeetFailure::Refused,
        FailureKind::Unreachable => MeetFailure::Unreachable,
        FailureKind::Unverified => MeetFailure::Unverified,
    }
}

/// Takes note that a node does not take our cluster secret, or our clock.
fn note_denial(shared: &Shared, url: &ControlUrl, error: &ExchangeError) {
    if error.is_denied() {
        shared.incidents.refused(RefusalKind::WeAreDenied, url.to_string(), Instant::now());
    }
}

use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::rand;
use axum::extract::State;
use axum::response::Response;
use tunmesh_membership::RefusedRecord;
use tunmesh_protocol::{NodeId, answer_session};

use super::ServerState;
use super::auth::{ClusterSigned, SessionSigned, signed};
use super::error::ApiError;
use crate::client::Exchange;
use crate::peers::{OutboundSession, Peer};
use crate::shared::Shared;
use crate::tls::Proof;

/// `POST /tunmesh/auth/v0/init_session`: a member gets a session, with the cluster token.
pub(super) async fn by_cluster(State(state): State<ServerState>, request: ClusterSigned) -> Result<Response, ApiError> {
    let issuer = request.issuer.ok_or(ApiError::NoIssuer)?;
    let peer = state.shared.peer_soon(&issuer).await.ok_or(ApiError::UnknownNode)?;
    check_sender(&state.shared, &peer, request.proof.as_ref()).await?;
    let body = make(&peer, &request.body)?;
    Ok(signed(&state.shared, state.shared.live.load().cluster.signing(), &peer.id, body))
}

/// `POST /tunmesh/auth/v0/init_session/:id`: a member replaces its session within the running one.
pub(super) async fn by_session(State(state): State<ServerState>, request: SessionSigned) -> Result<Response, ApiError> {
    let session = outbound(&state.shared, &request.peer).await?;
    let body = make(&request.peer, &request.body)?;
    Ok(signed(&state.shared, &session.token, &request.peer.id, body))
}

/// The session this node signs answers with, opened first if there is none.
pub(super) async fn outbound(shared: &Shared, peer: &Arc<Peer>) -> Result<Arc<OutboundSession>, ApiError> {
    if let Some(session) = peer.outbound.load_full() {
        return Ok(session);
    }
    Exchange::new(shared).open_session(peer, false).await.map_err(ApiError::Callback)?;
    peer.outbound.load_full().ok_or(ApiError::NoSession)
}

/// Whoever opens a session sends as `peer` from then on, so where members have certificates for their addresses it must have the
/// one of `peer`. Only a node of the original, which cannot prove that, may go without.
async fn check_sender(shared: &Shared, peer: &Peer, proof: Option<&Proof>) -> Result<(), ApiError> {
    if shared.live.load().tls.identity.is_none() || proof.is_some() {
        return check_proof(shared, peer, proof);
    }
    let info =
        Exchange::new(shared).node_info_of(&peer.url(), peer.address()).await.map_err(ApiError::not_called_back)?;
    if info.id == peer.id && info.implementation.is_none() { Ok(()) } else { check_proof(shared, peer, None) }
}

/// Whether a request signed with the cluster token is by `peer`, where members have certificates for their addresses.
pub(super) fn check_proof(shared: &Shared, peer: &Peer, proof: Option<&Proof>) -> Result<(), ApiError> {
    let live = shared.live.load();
    let Some(identity) = &live.tls.identity else {
        return Ok(());
    };
    let address = peer.address();
    let verdict = proof.map_or(Err(RefusedRecord::BadSignature), |proof| identity.check(proof, address));
    verdict.map_err(|refused| {
        tracing::warn!(peer = %peer.id, %address, %refused, "somebody without the certificate of a member asks in its name");
        ApiError::NotCertified
    })
}

/// Makes a session for `peer` to sign with; the running one is refused from here on.
fn make(peer: &Peer, request: &[u8]) -> Result<Vec<u8>, ApiError> {
    let mut id = [0; 16];
    let mut secret = [0; 64];
    rand::fill(&mut id).and_then(|()| rand::fill(&mut secret)).map_err(|_| ApiError::NoSession)?;
    let (body, token) = answer_session(request, NodeId::from_random(id).as_str(), &secret)
        .map_err(|error| ApiError::Malformed { what: "a session request", reason: crate::logging::chain(&error) })?;
    peer.replace_inbound(token, Instant::now());
    Ok(body)
}

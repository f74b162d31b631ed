use std::time::Instant;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use tunmesh_mesh::{Contested, Proof, Refusal};
use tunmesh_protocol::{NodeId, Registration, Token};

use super::ServerState;
use super::auth::{ClusterSigned, SessionSigned, signed};
use super::error::ApiError;
use crate::client::{Exchange, Features};
use crate::further;
use crate::shared::Shared;

/// `POST /tunmesh/control/v0/registrations/register`: a node joins, or comes back, with the cluster token.
pub(super) async fn by_cluster(State(state): State<ServerState>, request: ClusterSigned) -> Result<Response, ApiError> {
    let registration = parse(&request.body)?;
    let issuer = request.issuer.ok_or(ApiError::NoIssuer)?;
    let answer = register(&state.shared, registration, Some(issuer.clone()), None).await?;
    Ok(answered(&state.shared, state.shared.live.load().cluster.signing(), &issuer, &answer))
}

/// `POST /tunmesh/control/v0/registrations/register/:id`: a member reports within its session.
///
/// The answer is signed with the session the member gave us, so there must be one; where there is none yet it is
/// opened before answering, as the original does.
pub(super) async fn by_session(State(state): State<ServerState>, request: SessionSigned) -> Result<Response, ApiError> {
    let registration = parse(&request.body)?;
    let answer = register(&state.shared, registration, None, Some(request.peer.id.clone())).await?;
    let session = super::sessions::outbound(&state.shared, &request.peer).await?;
    Ok(answered(&state.shared, &session.token, &request.peer.id, &answer))
}

/// Our registration, and beside it our further addresses.
fn answered(shared: &Shared, token: &Token, reader: &NodeId, answer: &Registration) -> Response {
    let mut response = signed(shared, token, reader, answer.to_json());
    if let Some(told) = further::tell(shared, token, reader).and_then(|told| HeaderValue::try_from(told).ok()) {
        response.headers_mut().insert(HeaderName::from_static(further::HEADER), told);
    }
    response
}

fn parse(body: &[u8]) -> Result<Registration, ApiError> {
    let registration = Registration::parse(body)
        .map_err(|error| ApiError::Malformed { what: "a registration", reason: crate::logging::chain(&error) })?;
    if registration.skipped_remotes > 0 {
        let (node, skipped) = (&registration.local.id, registration.skipped_remotes);
        tracing::debug!(%node, skipped, "entries of a registration are left out, as they name no usable member");
    }
    Ok(registration)
}

async fn register(
    shared: &Shared,
    registration: Registration,
    issuer: Option<NodeId>,
    route: Option<NodeId>,
) -> Result<Registration, ApiError> {
    let screening = shared.owner.screen(registration.clone(), issuer, route).await??;
    let exchange = Exchange::new(shared);
    let mut features = None;
    if screening.callback {
        let local = &registration.local;
        let info = exchange
            .node_info_of(&local.listen_url, local.address.address())
            .await
            .map_err(ApiError::not_called_back)?;
        if info.id != registration.local.id {
            return Err(ApiError::Malformed {
                what: "the registrant's own",
                reason: "another node listens there".into(),
            });
        }
        let offered = Features::of(info.implementation.as_ref());
        if shared.live.load().config.clustering.auth.refuse_original && !(offered.datagrams || offered.streams) {
            return Err(ApiError::OriginalRefused);
        }
        features = Some(offered);
    }
    let vacated = match screening.contested {
        Some(contested) => Some(vacated(&exchange, contested).await.inspect_err(|refusal| {
            shared.incidents.claim_refused(refusal, &registration.local, &shared.id, Instant::now());
        })?),
        None => None,
    };
    // Where both take datagrams, the gossip tells.
    let tells_more = features
        .is_some_and(|features: Features| features.further && (shared.endpoints.is_empty() || !features.datagrams));
    let proof = Proof { called_back: screening.callback, vacated, tells_more };
    Ok(shared.owner.accept(registration, proof, features).await??)
}

/// Proves that the owner of a contested address is gone: its URL answers with another id, or not at all.
async fn vacated(exchange: &Exchange<'_>, contested: Contested) -> Result<Contested, Refusal> {
    let owner = &contested.owner;
    let info = exchange.node_info_of(&owner.listen_url, owner.address.address()).await;
    if info.is_ok_and(|info| info.id == owner.id) {
        return Err(Refusal::AddressTaken { owner: owner.id.clone() });
    }
    Ok(contested)
}

use axum::extract::State;
use axum::response::Response;
use tunmesh_mesh::{Contested, Proof, Refusal};
use tunmesh_protocol::{NodeId, Registration};

use super::ServerState;
use super::auth::{ClusterSigned, SessionSigned, signed};
use super::error::ApiError;
use crate::client::{Exchange, takes_pipelining};
use crate::shared::Shared;

/// `POST /tunmesh/control/v0/registrations/register`: a node joins, or comes back, with the cluster token.
pub(super) async fn by_cluster(State(state): State<ServerState>, request: ClusterSigned) -> Result<Response, ApiError> {
    let registration = parse(&request.body)?;
    let issuer = request.issuer.ok_or(ApiError::NoIssuer)?;
    let answer = register(&state.shared, registration, Some(issuer.clone()), None).await?;
    Ok(signed(&state.shared, state.shared.live.load().cluster.signing(), &issuer, answer.to_json()))
}

/// `POST /tunmesh/control/v0/registrations/register/:id`: a member reports within its session.
///
/// The answer is signed with the session the member gave us, so there must be one; where there is none yet it is
/// opened before answering, as the original does.
pub(super) async fn by_session(State(state): State<ServerState>, request: SessionSigned) -> Result<Response, ApiError> {
    let registration = parse(&request.body)?;
    let answer = register(&state.shared, registration, None, Some(request.peer.id.clone())).await?;
    let session = super::sessions::outbound(&state.shared, &request.peer).await?;
    Ok(signed(&state.shared, &session.token, &request.peer.id, answer.to_json()))
}

fn parse(body: &[u8]) -> Result<Registration, ApiError> {
    Registration::parse(body)
        .map_err(|error| ApiError::Malformed { what: "a registration", reason: crate::logging::chain(&error) })
}

async fn register(
    shared: &Shared,
    registration: Registration,
    issuer: Option<NodeId>,
    route: Option<NodeId>,
) -> Result<Registration, ApiError> {
    let screening = shared.owner.screen(registration.clone(), issuer, route).await??;
    let exchange = Exchange::new(shared);
    let mut pipelining = None;
    if screening.callback {
        let info = exchange.node_info(&registration.local.listen_url).await.map_err(ApiError::Callback)?;
        if info.id != registration.local.id {
            return Err(ApiError::Malformed {
                what: "the registrant's own",
                reason: "another node listens there".into(),
            });
        }
        pipelining = Some(takes_pipelining(&info));
    }
    let vacated = match screening.contested {
        Some(contested) => Some(vacated(&exchange, contested).await?),
        None => None,
    };
    let proof = Proof { called_back: screening.callback, vacated };
    Ok(shared.owner.accept(registration, proof, pipelining).await??)
}

/// Proves that the owner of a contested address is gone: its URL answers with another id, or not at all.
async fn vacated(exchange: &Exchange<'_>, contested: Contested) -> Result<Contested, ApiError> {
    let owner = &contested.owner;
    if exchange.node_info(&owner.listen_url).await.is_ok_and(|info| info.id == owner.id) {
        return Err(Refusal::AddressTaken { owner: owner.id.clone() }.into());
    }
    Ok(contested)
}

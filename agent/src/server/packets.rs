use std::cell::RefCell;

use axum::extract::State;
use axum::http::StatusCode;
use tunmesh_protocol::Decoder;

use super::ServerState;
use super::auth::SessionSigned;
use super::error::ApiError;
use crate::data::Delivery;
use crate::shared::Forwarding;

/// `POST /tunmesh/control/v0/packet/rx/:id`: one packet.
pub(super) async fn single(State(state): State<ServerState>, request: SessionSigned) -> Result<StatusCode, ApiError> {
    let forwarding = state.shared.forwarding.borrow().clone();
    let delivery = delivery(&state, &forwarding, &request);
    with_decoder(|decoder| match decoder.decode_single(&request.body) {
        Ok(packet) => {
            delivery.packet(&packet);
            Ok(StatusCode::NO_CONTENT)
        }
        Err(error) => {
            delivery.undecodable(&error);
            Err(ApiError::Malformed { what: "a packet", reason: error.to_string() })
        }
    })
}

/// `POST /tunmesh/control/v0/packet/rx/:id/batch`: several. What can be decoded is delivered, the rest is counted; only a
/// body that is no list of texts is refused.
pub(super) async fn batch(State(state): State<ServerState>, request: SessionSigned) -> Result<StatusCode, ApiError> {
    let forwarding = state.shared.forwarding.borrow().clone();
    let delivery = delivery(&state, &forwarding, &request);
    with_decoder(|decoder| {
        decoder.decode_batch(&request.body, |decoded| match decoded {
            Ok(packet) => delivery.packet(&packet),
            Err(error) => delivery.undecodable(&error),
        })
    })
    .map_err(|error| ApiError::Malformed { what: "a batch", reason: crate::logging::chain(&error) })?;
    Ok(StatusCode::NO_CONTENT)
}

fn delivery<'a>(state: &'a ServerState, forwarding: &'a Forwarding, request: &'a SessionSigned) -> Delivery<'a> {
    let ServerState { device, relay, shared } = state;
    Delivery { device, forwarding, peer: &request.peer, relay, shared }
}

/// Decoding needs scratch room; one per thread of the runtime, as no decoding waits in between.
fn with_decoder<T>(work: impl FnOnce(&mut Decoder) -> T) -> T {
    thread_local! {
        static DECODER: RefCell<Decoder> = RefCell::default();
    }
    DECODER.with_borrow_mut(work)
}

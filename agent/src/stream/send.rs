use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::SendStream;
use tunmesh_mesh::DropReason;
use tunmesh_protocol::MAX_CAPSULE_LEN;

use super::IDLE_LIMIT;
use super::open::{OpenStream, StreamError, open};
use crate::peers::Peer;
use crate::shared::Shared;

/// Sends what is queued for the stream to `peer`, in order, until aborted: opens the stream with the first packet, closes it
/// when none come, opens it again when it breaks. The owner learns when that fails.
pub(crate) async fn run_stream(shared: Arc<Shared>, peer: Arc<Peer>) {
    let mut failures = 0;
    loop {
        if peer.stream.is_empty() {
            peer.stream.filled().await;
            continue;
        }
        let begun = Instant::now();
        // Boxed, as most peers are never reached this way.
        let carried = peer.stream.carry();
        let outcome = Box::pin(carry(&shared, &peer)).await;
        drop(carried);
        let Err(error) = outcome else {
            failures = 0;
            continue;
        };
        tracing::debug!(peer = %peer.id, error = crate::logging::chain(&error), "no stream");
        peer.counters.faults.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        failures = if begun.elapsed() >= STEADY { 1 } else { failures + 1 };
        if failures >= MAX_FAILURES || error.is_final() {
            let _stopping = shared.owner.stream_failed(peer.id.clone()).await;
        }
        tokio::time::sleep((FIRST_PAUSE * (1 << failures.min(9))).min(MAX_PAUSE)).await;
    }
}

/// Opens a stream and sends until there is nothing to send for a while.
async fn carry(shared: &Shared, peer: &Peer) -> Result<(), StreamError> {
    let OpenStream { mut connection, mut answer, mut sending } = open(shared, peer).await?;
    tracing::debug!(peer = %peer.id, "stream open");
    let expired = peer.stream.expire(shared.forwarding.borrow().routes.packet_expiration(&peer.id));
    shared.counters.drops.add_many(DropReason::Expired, expired);
    peer.counters.drops.add_many(DropReason::Expired, expired);
    let mut sent_at = Instant::now();
    loop {
        let (has_packets, is_ending) = (!peer.stream.is_empty(), peer.stream.is_ending());
        tokio::select! {
            biased;
            ended = &mut connection => return ended.map_or_else(|error| Err(error.into()), |()| Err(StreamError::Closed)),
            message = answer.data() => match message {
                Some(Ok(unasked)) => answer.flow_control().release_capacity(unasked.len())?,
                Some(Err(error)) => return Err(error.into()),
                None => return Err(StreamError::Closed),
            },
            room = poll_fn(|cx| poll_room(&mut sending, cx)), if has_packets => {
                room?;
                hand_over(shared, peer, &mut sending)?;
                sent_at = Instant::now();
            }
            () = peer.stream.filled(), if !has_packets && !is_ending => {}
            () = tokio::time::sleep_until((sent_at + IDLE_LIMIT).into()), if !has_packets && !is_ending => break,
            () = std::future::ready(()), if !has_packets && is_ending => break,
        }
    }
    sending.send_data(Bytes::new(), true)?;
    // The peer closes its half once it has all packets; if that takes long, so be it.
    let closed = async {
        tokio::select! {
            _ended = &mut connection => {}
            _closed = answer.data() => {}
        }
    };
    let _late = tokio::time::timeout(CLOSE_LIMIT, closed).await;
    Ok(())
}

/// Waits until the longest capsule fits, so that none needs to be held back half sent.
fn poll_room(sending: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
    sending.reserve_capacity(MAX_CAPSULE_LEN);
    while sending.capacity() < MAX_CAPSULE_LEN {
        match ready!(sending.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(error.into())),
            None => return Poll::Ready(Err(StreamError::Closed)),
        }
    }
    Poll::Ready(Ok(()))
}

/// Moves packets from the queue to the connection while there is room.
fn hand_over(shared: &Shared, peer: &Peer, sending: &mut SendStream<Bytes>) -> Result<(), StreamError> {
    while sending.capacity() >= MAX_CAPSULE_LEN
        && let Some(capsule) = peer.stream.pop()
    {
        let (count, bytes) = capsule.packets;
        sending.send_data(capsule.bytes, false)?;
        shared.counters.remote_tx.add_many(count, bytes);
        peer.counters.tx.add_many(count, bytes);
        sending.reserve_capacity(MAX_CAPSULE_LEN);
    }
    Ok(())
}

/// Wait for the peer's end of a stream that is closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// Attempts in a row that fail before packets go another way.
const MAX_FAILURES: u32 = 3;

/// Age at which a stream that breaks counts as having worked.
const STEADY: Duration = Duration::from_secs(5);

/// Half the pause after the first failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(15);

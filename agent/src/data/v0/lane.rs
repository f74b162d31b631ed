use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OwnedRwLockReadGuard;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tunmesh_mesh::DropReason;
use tunmesh_protocol::{BodyDigest, ControlUrl, Encoder, authorize};

use super::queue::QueuedPacket;
use super::response::{Response, take_response};
use crate::client::{connect, prove_member};
use crate::peers::{OutboundSession, Peer};
use crate::shared::Shared;

/// Sends what is queued for `peer` as POSTs on one connection, in order, until aborted.
///
/// A peer of our kind gets up to [`PIPELINE_DEPTH`] requests before the first answer (RFC 9112, section 9.3.2); any
/// other gets the next one after the answer, as the original does. While requests are unanswered, packets gather to
/// batches of up to `max_batch_size`; an idle lane sends a packet at once.
pub(crate) async fn run_lane(shared: Arc<Shared>, peer: Arc<Peer>) {
    let mut lane = Lane {
        encoder: Encoder::new(&shared.id),
        shared,
        peer,
        buffer: Vec::new(),
        connection: None,
        in_flight: VecDeque::new(),
        again: Vec::new(),
        batches_refused: false,
    };
    loop {
        lane.turn().await;
    }
}

struct Lane {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    encoder: Encoder,
    /// Room for a request, used again for the next.
    buffer: Vec<u8>,
    connection: Option<Connection>,
    in_flight: VecDeque<InFlight>,
    /// Packets to send once more, before those of the queue.
    again: Vec<QueuedPacket>,
    /// The peer answered 404 to a batch: single packets from then on, as the original does.
    batches_refused: bool,
}

struct Connection {
    stream: TlsStream<TcpStream>,
    received: BytesMut,
    url: ControlUrl,
    used_at: Instant,
}

struct InFlight {
    packets: Vec<QueuedPacket>,
    is_batch: bool,
    is_repeat: bool,
    sent_at: Instant,
    _gate: OwnedRwLockReadGuard<()>,
}

impl Lane {
    async fn turn(&mut self) {
        let may_send = self.in_flight.len() < self.depth();
        let has_packets = !self.again.is_empty() || !self.peer.queue.is_empty();
        if may_send && has_packets && self.send_next().await {
            return;
        }
        let peer = Arc::clone(&self.peer);
        let deadline = self.deadline();
        tokio::select! {
            answer = next_response(self.connection.as_mut()), if self.connection.is_some() => match answer {
                Ok(response) => self.answered(&response).await,
                Err(_) => self.disconnected(),
            },
            () = peer.queue.filled(), if may_send => {}
            () = tokio::time::sleep_until(deadline.into()) => self.overdue(),
        }
    }

    fn depth(&self) -> usize {
        if self.peer.takes_pipelining.load(Relaxed) && !self.batches_refused { PIPELINE_DEPTH } else { 1 }
    }

    /// When to look again if nothing happens: the oldest request is overdue, the connection idle, packets expire.
    fn deadline(&self) -> Instant {
        let limit = self.shared.live.load().request_timeout();
        match (self.in_flight.front(), &self.connection) {
            (Some(oldest), _) => oldest.sent_at + limit,
            (None, _) if !self.again.is_empty() || !self.peer.queue.is_empty() => Instant::now() + self.expiration(),
            (None, Some(connection)) => connection.used_at + IDLE_LIMIT,
            (None, None) => Instant::now() + IDLE_LIMIT,
        }
    }

    fn expiration(&self) -> Duration {
        self.shared.forwarding.borrow().routes.packet_expiration(&self.peer.id)
    }

    /// Sends one request; `false` if there is no session to sign with, or nothing left to send.
    async fn send_next(&mut self) -> bool {
        let Some((session, gate)) = self.session() else {
            self.take_packets(0);
            return false;
        };
        if self.in_flight.is_empty() && self.connection.as_ref().is_some_and(|open| open.url != self.peer.url()) {
            self.connection = None;
        }
        let is_repeat = !self.again.is_empty();
        let packets = self.take_packets(self.max_batch());
        if packets.is_empty() {
            return false;
        }
        let in_flight =
            InFlight { is_batch: packets.len() > 1, packets, is_repeat, sent_at: Instant::now(), _gate: gate };
        let limit = self.shared.live.load().request_timeout();
        let request = self.encode(&in_flight, &session);
        let written = timeout(limit, self.write(&request)).await;
        self.buffer = request;
        match written {
            Ok(Ok(())) => {
                self.peer.counters.requests.fetch_add(1, Relaxed);
                for packet in &in_flight.packets {
                    self.shared.counters.remote_tx.add(packet.data.len());
                    self.peer.counters.tx.add(packet.data.len());
                }
                self.in_flight.push_back(in_flight);
            }
            Ok(Err(_)) => {
                self.in_flight.push_back(in_flight);
                self.disconnected();
            }
            Err(_) => {
                self.in_flight.push_back(in_flight);
                self.lose();
            }
        }
        true
    }

    /// The running session, with proof that it is not being replaced; none while there is none or it is being replaced.
    fn session(&self) -> Option<(Arc<OutboundSession>, OwnedRwLockReadGuard<()>)> {
        let gate = Arc::clone(&self.peer.gate).try_read_owned().ok()?;
        Some((self.peer.outbound.load_full()?, gate))
    }

    fn max_batch(&self) -> usize {
        if self.batches_refused { 1 } else { self.shared.live.load().config.control_api.max_batch_size }
    }

    /// Takes up to `max` packets that are still worth sending; expired ones are dropped on the way.
    fn take_packets(&mut self, max: usize) -> Vec<QueuedPacket> {
        let expiration = self.expiration();
        let rest = self.again.split_off(max.min(self.again.len()));
        let mut packets = std::mem::replace(&mut self.again, rest);
        if packets.is_empty() {
            self.peer.queue.take(max, &mut packets);
        }
        let is_fresh = |packet: &QueuedPacket| packet.read_at.elapsed() <= expiration;
        let before = packets.len();
        packets.retain(is_fresh);
        self.count(DropReason::Expired, before - packets.len());
        if max == 0 {
            let expired = self.peer.queue.expire(expiration);
            self.count(DropReason::Expired, expired);
        }
        packets
    }

    /// Head and body of one request, in the lane's buffer.
    fn encode(&mut self, request: &InFlight, session: &OutboundSession) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.clear();
        bytes.resize(HEAD_LEN, 0);
        if request.is_batch {
            self.encoder.begin_batch(&mut bytes);
            for packet in &request.packets {
                self.encoder.push(packet.ethertype, &packet.data, packet.stamp, &mut bytes);
            }
            self.encoder.finish_batch(&mut bytes);
        } else {
            for packet in &request.packets {
                self.encoder.encode_single(packet.ethertype, &packet.data, packet.stamp, &mut bytes);
            }
        }
        let head = self.head(request, session, &bytes[HEAD_LEN..]);
        // The head depends on the body's hash, so its room was kept free; it hardly ever needs all of it.
        bytes.splice(..HEAD_LEN, head.into_bytes());
        bytes
    }

    fn head(&self, request: &InFlight, session: &OutboundSession, body: &[u8]) -> String {
        let (id, peer, live) = (&self.shared.id, &self.peer.id, self.shared.live.load());
        let digest = BodyDigest::of(body);
        let authorization = authorize(&session.token, id, peer, digest, &live.windows, self.shared.clock.wall());
        let suffix = if request.is_batch { "/batch" } else { "" };
        format!(
            "POST /tunmesh/control/v0/packet/rx/{id}{suffix} HTTP/1.1\r\n\
             Host: {}\r\nContent-Type: application/json\r\nAuthorization: {authorization}\r\n\
             Content-Length: {}\r\n\r\n",
            self.peer.url().authority(),
            body.len()
        )
    }

    async fn write(&mut self, request: &[u8]) -> io::Result<()> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let (live, url) = (self.shared.live.load_full(), self.peer.url());
                let stream = connect(&url, &live.tls.client, live.request_timeout())
                    .await
                    .and_then(|stream| {
                        prove_member(&stream, &url, &live.tls, self.peer.address())?;
                        Ok(stream)
                    })
                    .map_err(|error| {
                        tracing::debug!(peer = %self.peer.id, error = crate::logging::chain(&error), "no packet connection");
                        io::ErrorKind::NotConnected
                    })?;
                let received = BytesMut::with_capacity(RECEIVE_LEN);
                self.connection.insert(Connection { stream, received, url, used_at: Instant::now() })
            }
        };
        connection.stream.write_all(request).await?;
        connection.stream.flush().await?;
        connection.used_at = Instant::now();
        Ok(())
    }

    async fn answered(&mut self, response: &Response) {
        let Some(request) = self.in_flight.pop_front() else {
            self.connection = None;
            return;
        };
        let micros = u64::try_from(request.sent_at.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.peer.counters.answer_micros.store(micros, Relaxed);
        match response.status {
            200..300 => {}
            404 if request.is_batch => {
                self.batches_refused = true;
                self.repeat(request);
            }
            400..500 => {
                // Not our session any more, or the peer restarted and does not know us.
                self.batches_refused = false;
                self.peer.outbound.store(None);
                self.repeat(request);
                let _stopping = self.shared.owner.session_lost(self.peer.id.clone()).await;
            }
            _ => {
                self.count(DropReason::Exception, request.packets.len());
                self.fault();
            }
        }
        if response.closes {
            self.disconnected();
        }
    }

    /// Puts the packets of a refused or unanswered request in front, once.
    fn repeat(&mut self, request: InFlight) {
        if request.is_repeat {
            self.count(DropReason::Exception, request.packets.len());
            self.fault();
        } else {
            self.again.extend(request.packets);
        }
    }

    /// The connection ended: what it left unanswered is sent once more on a new one, as the original does.
    fn disconnected(&mut self) {
        self.connection = None;
        for request in std::mem::take(&mut self.in_flight) {
            self.repeat(request);
        }
    }

    /// No answer in time: the packets are not repeated, as the peer may have delivered them.
    fn lose(&mut self) {
        self.connection = None;
        let lost: usize = self.in_flight.drain(..).map(|request| request.packets.len()).sum();
        self.count(DropReason::Expired, lost);
        self.fault();
    }

    fn overdue(&mut self) {
        if !self.in_flight.is_empty() {
            self.lose();
        } else if self.connection.as_ref().is_some_and(|connection| connection.used_at.elapsed() >= IDLE_LIMIT) {
            self.connection = None;
            self.buffer = Vec::new();
        }
    }

    fn fault(&self) {
        self.peer.counters.faults.fetch_add(1, Relaxed);
        self.shared.owner.fault(&self.peer.id);
    }

    fn count(&self, reason: DropReason, packets: usize) {
        for _ in 0..packets {
            self.shared.counters.drops.add(reason);
            self.peer.counters.drops.add(reason);
        }
    }
}

/// Waits for the next whole answer. Cancel safe: what was read stays in the connection.
async fn next_response(connection: Option<&mut Connection>) -> io::Result<Response> {
    let Some(connection) = connection else {
        return std::future::pending().await;
    };
    loop {
        let taken = take_response(&mut connection.received);
        if let Some(response) = taken.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
            return Ok(response);
        }
        if connection.stream.read_buf(&mut connection.received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Requests sent before the first answer, to a peer of our kind: 256 packets, enough for 400 Mbit/s at 7 ms.
const PIPELINE_DEPTH: usize = 4;

/// Idle time after which a connection is not used again.
const IDLE_LIMIT: Duration = Duration::from_secs(10);

/// Room for the head of a request, in bytes.
const HEAD_LEN: usize = 1024;

/// Room for answers, in bytes.
const RECEIVE_LEN: usize = 1024;

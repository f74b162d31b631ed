//! How other tasks reach the owner of the mesh core.

mod report;

use tokio::sync::{mpsc, oneshot};
use tunmesh_mesh::{Proof, Refusal, Screening, Settings};
use tunmesh_protocol::{NodeId, Registration};

use crate::client::Features;

pub(crate) use self::report::{Contest, DeviceReport, GossipReport, KnownMember, PathReport, Report};

/// Asks the owner; every call waits its turn in a queue of [`QUEUE_LEN`] requests.
#[derive(Clone)]
pub(crate) struct OwnerHandle(mpsc::Sender<Request>);

/// The other end of the handle, for [`crate::owner::run`].
pub(crate) struct Requests(pub(crate) mpsc::Receiver<Request>);

/// A connected pair.
pub(crate) fn channel() -> (OwnerHandle, Requests) {
    let (sender, receiver) = mpsc::channel(QUEUE_LEN);
    (OwnerHandle(sender), Requests(receiver))
}

impl OwnerHandle {
    /// First step of an inbound registration: whether it may stand, and what must be proven before.
    pub(crate) async fn screen(
        &self,
        registration: Registration,
        issuer: Option<NodeId>,
        route: Option<NodeId>,
    ) -> Result<Result<Screening, Refusal>, Stopped> {
        self.ask(|reply| Request::Screen { registration, issuer, route, reply }).await
    }

    /// Second step: stores the registration and returns ours.
    pub(crate) async fn accept(
        &self,
        registration: Registration,
        proof: Proof,
        features: Option<Features>,
    ) -> Result<Result<Registration, Refusal>, Stopped> {
        self.ask(|reply| Request::Accept { registration, proof, features, reply }).await
    }

    /// Members and health of this moment.
    pub(crate) async fn report(&self) -> Result<Report, Stopped> {
        self.ask(|reply| Request::Report { reply }).await
    }

    /// Tells the others that this node stops.
    pub(crate) async fn leave(&self) -> Result<(), Stopped> {
        self.ask(|reply| Request::Leave { reply }).await
    }

    /// Puts new settings in force.
    pub(crate) async fn reconfigure(&self, settings: Settings) -> Result<(), Stopped> {
        self.0.send(Request::Reconfigure { settings: Box::new(settings) }).await.map_err(|_| Stopped)
    }

    /// A peer refused our session; waits for room in the queue, as the peer is cut off until the owner knows.
    pub(crate) async fn session_lost(&self, id: NodeId) -> Result<(), Stopped> {
        self.0.send(Request::SessionLost { id }).await.map_err(|_| Stopped)
    }

    /// No stream to a member can be opened; waits for room in the queue, as its packets go nowhere until the owner knows.
    pub(crate) async fn stream_failed(&self, id: NodeId) -> Result<(), Stopped> {
        self.0.send(Request::StreamFailed { id }).await.map_err(|_| Stopped)
    }

    /// Takes note that a packet request failed. Dropped when the queue is full: the next one says the same.
    pub(crate) fn fault(&self, id: &NodeId) {
        let _full = self.0.try_send(Request::Fault { id: id.clone() });
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.0.send(request(reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}

/// The agent is stopping; there is no owner to ask.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the agent is stopping")]
pub(crate) struct Stopped;

/// What a handle may ask.
pub(crate) enum Request {
    Accept {
        registration: Registration,
        proof: Proof,
        features: Option<Features>,
        reply: oneshot::Sender<Result<Registration, Refusal>>,
    },
    Leave {
        reply: oneshot::Sender<()>,
    },
    Fault {
        id: NodeId,
    },
    Reconfigure {
        settings: Box<Settings>,
    },
    Report {
        reply: oneshot::Sender<Report>,
    },
    Screen {
        registration: Registration,
        issuer: Option<NodeId>,
        route: Option<NodeId>,
        reply: oneshot::Sender<Result<Screening, Refusal>>,
    },
    SessionLost {
        id: NodeId,
    },
    StreamFailed {
        id: NodeId,
    },
}

/// Requests that may wait for the owner; further askers wait, notes are dropped.
const QUEUE_LEN: usize = 1024;

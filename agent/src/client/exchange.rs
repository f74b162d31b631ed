use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::StatusCode;
use tunmesh_protocol::{
    AuthError, BodyDigest, ControlUrl, Implementation, NodeId, NodeInfo, NodeInfoError, Registration,
    RegistrationError, SessionError, Token, authorize, verify,
};

use super::channel::{Call, Channel, Reply, RequestError, check};
use crate::further::{self, FURTHER};
use crate::peers::{OutboundSession, Peer};
use crate::shared::Shared;
use crate::stream::STREAM;

/// The client's half of the v0 control protocol: every request this node makes, each answer verified.
pub(crate) struct Exchange<'a> {
    shared: &'a Shared,
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Self {
        Self { shared }
    }

    /// Asks who listens at `url`, on a connection of its own. Unauthenticated, as in the original.
    pub(crate) async fn node_info(&self, url: &ControlUrl) -> Result<NodeInfo, ExchangeError> {
        self.ask(url, &Channel::default()).await
    }

    /// The same where the member with this address should listen, which it proves where members have certificates for that.
    pub(crate) async fn node_info_of(&self, url: &ControlUrl, address: Ipv4Addr) -> Result<NodeInfo, ExchangeError> {
        self.ask(url, &Channel::to_member(address)).await
    }

    async fn ask(&self, url: &ControlUrl, channel: &Channel) -> Result<NodeInfo, ExchangeError> {
        let call = Call { authorization: None, body: None, path: "/tunmesh/control/v0/node_info", proof: None };
        let live = self.shared.live.load();
        let reply = channel.send(url, &call, &live.tls, live.request_timeout()).await?;
        Ok(NodeInfo::parse(&expect_json(url, reply)?.body)?)
    }

    /// Registers at a node with the cluster token and returns its verified answer.
    pub(crate) async fn register_by_cluster(
        &self,
        url: &ControlUrl,
        id: &NodeId,
        channel: &Channel,
        registration: &Registration,
    ) -> Result<Registration, ExchangeError> {
        let live = self.shared.live.load();
        let body = Bytes::from(registration.to_json());
        let reply = self
            .post(url, id, channel, "/tunmesh/control/v0/registrations/register", live.cluster.signing(), body)
            .await?;
        self.verified(url, id, &live.cluster.accepted(), &reply)?;
        let answer = self.answer_of(id, &reply, &live.cluster.accepted())?;
        check(url, live.tls.identity.as_ref(), reply.certificate.as_ref(), answer.local.address.address())?;
        Ok(answer)
    }

    /// Registers at a member within the session it gave us; `None` if there is no such session yet.
    pub(crate) async fn register_by_session(
        &self,
        peer: &Peer,
        registration: &Registration,
    ) -> Result<Option<Registration>, ExchangeError> {
        let _in_flight = peer.gate.read().await;
        let Some(session) = peer.outbound.load_full() else {
            return Ok(None);
        };
        let url = peer.url();
        let path = format!("/tunmesh/control/v0/registrations/register/{}", self.shared.id);
        let reply = self
            .post(&url, &peer.id, &peer.channel, &path, &session.token, Bytes::from(registration.to_json()))
            .await?;
        self.verified_by_session(&url, peer, &reply)?;
        let sessions = peer.inbound_answer_sessions();
        let tokens: Vec<_> = sessions.iter().map(|session| &session.token).collect();
        self.answer_of(&peer.id, &reply, &tokens).map(Some)
    }

    /// Replaces the session towards `peer`: with the running one if `rotate` and there is one, else with the cluster token.
    ///
    /// Waits until no request signed with the running session is unanswered, as the peer forgets it at once.
    pub(crate) async fn open_session(&self, peer: &Arc<Peer>, rotate: bool) -> Result<(), ExchangeError> {
        let key = self.shared.session_key.wait().await;
        let live = self.shared.live.load_full();
        let url = peer.url();
        let _nothing_in_flight = peer.gate.write().await;
        if !rotate && peer.outbound.load().is_some() {
            // Somebody else opened one while we waited.
            return Ok(());
        }
        let body = Bytes::copy_from_slice(key.request_json());
        let rotated = match peer.outbound.load_full().filter(|_| rotate) {
            Some(running) => {
                let path = format!("/tunmesh/auth/v0/init_session/{}", self.shared.id);
                let reply = self.post(&url, &peer.id, &peer.channel, &path, &running.token, body.clone()).await;
                reply
                    .and_then(|reply| self.verified_by_session(&url, peer, &reply).map(|()| reply))
                    .inspect_err(|error| tracing::debug!(peer = %peer.id, %error, "rotation refused, falling back to the cluster token"))
                    .ok()
            }
            None => None,
        };
        let reply = match rotated {
            Some(reply) => reply,
            None => {
                // Whatever stood here is of no use any more, also if the next request fails.
                peer.outbound.store(None);
                let reply = self
                    .post(&url, &peer.id, &peer.channel, "/tunmesh/auth/v0/init_session", live.cluster.signing(), body)
                    .await?;
                self.verified(&url, &peer.id, &live.cluster.accepted(), &reply)?;
                reply
            }
        };
        let key = Arc::clone(&key);
        let token =
            tokio::task::spawn_blocking(move || key.open(&reply.body)).await.map_err(|_| ExchangeError::Stopped)??;
        peer.outbound.store(Some(Arc::new(OutboundSession { token, opened_at: Instant::now() })));
        Ok(())
    }

    async fn post(
        &self,
        url: &ControlUrl,
        id: &NodeId,
        channel: &Channel,
        path: &str,
        token: &Token,
        body: Bytes,
    ) -> Result<Reply, ExchangeError> {
        let live = self.shared.live.load_full();
        let authorization =
            authorize(token, &self.shared.id, id, BodyDigest::of(&body), &live.windows, self.shared.clock.wall());
        // A session token proves who signs, the cluster token only that it is a member.
        let identity = live.tls.identity.as_ref().filter(|_| token.id() == live.cluster.signing().id());
        let proof = identity.map(|identity| identity.prove(&authorization));
        let call = Call { authorization: Some(&authorization), body: Some(body), path, proof: proof.as_deref() };
        let reply = channel.send(url, &call, &live.tls, live.request_timeout()).await?;
        expect_json(url, reply)
    }

    /// What a verified reply says, with the further addresses beside it; those must be signed too, and certified where
    /// addresses are.
    fn answer_of(&self, id: &NodeId, reply: &Reply, tokens: &[&Token]) -> Result<Registration, ExchangeError> {
        let mut answer = Registration::parse(&reply.body)?;
        if answer.local.id != *id {
            return Err(ExchangeError::OtherNode { expected: id.clone(), found: answer.local.id });
        }
        let live = self.shared.live.load();
        let may_have = |addresses: &Vec<_>| match (&live.tls.identity, &reply.certificate) {
            (None, _) => true,
            (Some(identity), Some(shown)) => identity.certifies_all(shown, addresses).is_ok(),
            (Some(_), None) => false,
        };
        let told = reply.further.as_ref().and_then(|header| further::read(self.shared, header, tokens, id));
        answer.further = Some(told.filter(may_have).unwrap_or_default());
        Ok(answer)
    }

    fn verified_by_session(&self, url: &ControlUrl, peer: &Peer, reply: &Reply) -> Result<(), ExchangeError> {
        let sessions = peer.inbound_answer_sessions();
        let tokens: Vec<_> = sessions.iter().map(|session| &session.token).collect();
        self.verified(url, &peer.id, &tokens, reply)
    }

    fn verified(&self, url: &ControlUrl, id: &NodeId, tokens: &[&Token], reply: &Reply) -> Result<(), ExchangeError> {
        let unsigned = || ExchangeError::Unsigned { url: url.clone(), id: id.clone() };
        let header = reply.authorization.as_deref().ok_or_else(unsigned)?;
        let verified = verify(header, tokens, &self.shared.id, self.shared.clock.wall())?;
        Ok(verified.matches(BodyDigest::of(&reply.body))?)
    }
}

/// The original takes 200 and JSON, nothing else; a redirect or a 201 is a refusal.
fn expect_json(url: &ControlUrl, reply: Reply) -> Result<Reply, ExchangeError> {
    if reply.status != StatusCode::OK {
        return Err(ExchangeError::Status { url: url.clone(), status: reply.status });
    }
    if !reply.is_json {
        return Err(ExchangeError::ContentType { url: url.clone() });
    }
    Ok(reply)
}

/// Why an exchange with another node failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error("the signature of the answer does not hold")]
    Auth(#[from] AuthError),
    #[error("the answer of {url} is not application/json")]
    ContentType { url: ControlUrl },
    #[error("the answer is not a node_info")]
    NodeInfo(#[from] NodeInfoError),
    #[error("expected node {expected}, found {found}")]
    OtherNode { expected: NodeId, found: NodeId },
    #[error("the answer is not a registration")]
    Registration(#[from] RegistrationError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("the answer holds no usable session")]
    Session(#[from] SessionError),
    #[error("{url} answered {status}")]
    Status { url: ControlUrl, status: StatusCode },
    #[error("the agent is stopping")]
    Stopped,
    #[error("{url} did not sign its answer as {id}")]
    Unsigned { url: ControlUrl, id: NodeId },
}

/// What a failure says of the other node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// It answered that it cannot (5xx and whatever else is no success).
    Failed,
    /// It does not take our token, or does not know us (4xx).
    Refused,
    /// Nothing answered.
    Unreachable,
    /// The answer cannot be read or trusted.
    Unverified,
}

/// What a node can do beyond the original.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Features {
    /// It takes datagrams over UDP.
    pub(crate) datagrams: bool,
    /// Its answers to registrations tell of further addresses.
    pub(crate) further: bool,
    /// It takes further requests on a connection before the first is answered, and answers them in order.
    pub(crate) pipelining: bool,
    /// It takes packets in TLS streams.
    pub(crate) streams: bool,
}

impl Features {
    /// What `node_info` says; `None` is the original.
    pub(crate) fn of(implementation: Option<&Implementation>) -> Self {
        let offers = |feature| implementation.is_some_and(|implementation| implementation.offers(feature));
        let datagrams = implementation.is_some_and(|implementation| !implementation.endpoints.is_empty());
        Self { datagrams, further: offers(FURTHER), pipelining: offers(PIPELINING), streams: offers(STREAM) }
    }
}

/// Name of pipelining in `node_info`.
pub(crate) const PIPELINING: &str = "pipelining";

impl ExchangeError {
    pub(crate) fn kind(&self) -> FailureKind {
        match self {
            Self::Auth(_)
            | Self::Request(RequestError::NotCertified { .. })
            | Self::ContentType { .. }
            | Self::NodeInfo(_)
            | Self::OtherNode { .. }
            | Self::Registration(_)
            | Self::Session(_)
            | Self::Unsigned { .. } => FailureKind::Unverified,
            Self::Request(_) => FailureKind::Unreachable,
            Self::Status { status, .. } if status.is_client_error() => FailureKind::Refused,
            Self::Status { .. } | Self::Stopped => FailureKind::Failed,
        }
    }

    /// Whether the peer answered 401 or 403: it takes neither our secret nor our clock, it does not say which.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self, Self::Status { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. })
    }

    /// Whether the other end has no certificate for the address that is or should be its own.
    pub(crate) fn is_not_certified(&self) -> bool {
        matches!(self, Self::Request(RequestError::NotCertified { .. }))
    }

    /// Whether the peer answered 404: it does not know us, or not the route.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { status, .. } if *status == StatusCode::NOT_FOUND)
    }
}

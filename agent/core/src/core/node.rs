use std::time::Instant;

use tunmesh_mesh::{Event, MeetFailure, Proof, Refusal, RegisterFailure};
use tunmesh_protocol::{ControlUrl, NodeId, Registration};

use super::Core;
use crate::output::Output;

/// What is told to the v0 core; each call does what that of the same name of [`tunmesh_mesh::Node`] does.
impl Core {
    /// Stores the sender of a registration that came in.
    ///
    /// # Errors
    ///
    /// Why it is not accepted.
    pub fn accept(&mut self, registration: &Registration, proof: Proof, now: Instant) -> Result<(), Refusal> {
        self.node.accept(registration, proof, now)
    }

    /// Takes the outcome of [`Action::Meet`](tunmesh_mesh::Action::Meet).
    ///
    /// # Errors
    ///
    /// If the answer is verified but cannot be accepted.
    pub fn handle_met(
        &mut self,
        url: &ControlUrl,
        outcome: Result<&Registration, MeetFailure>,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.node.handle_met(url, outcome, now)
    }

    /// Takes the outcome of [`Action::Register`](tunmesh_mesh::Action::Register).
    ///
    /// # Errors
    ///
    /// If the answer is verified but cannot be accepted.
    pub fn handle_registered(
        &mut self,
        id: &NodeId,
        outcome: Result<&Registration, RegisterFailure>,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.node.handle_registered(id, outcome, now)
    }

    /// Takes the outcome of [`Action::OpenSession`](tunmesh_mesh::Action::OpenSession).
    pub fn handle_session_opened(&mut self, id: &NodeId, opened: bool, now: Instant) {
        if opened {
            self.node.handle_session_opened(id, now);
        } else {
            self.node.handle_session_failed(id, now);
        }
    }

    /// Takes note that a member no longer knows the v0 session in which we send to it.
    pub fn handle_session_lost(&mut self, id: &NodeId, now: Instant) {
        self.node.handle_session_lost(id, now);
    }

    /// Takes note that a request with packets did not reach a member.
    pub fn handle_fault(&mut self, id: &NodeId, now: Instant) {
        self.node.handle_fault(id, now);
    }

    /// Heeds what the node tells, and passes it on.
    pub(super) fn heed_node(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(event) = self.node.poll_event() {
            any = true;
            self.outputs.push_back(Output::Event(event.clone()));
            match event {
                Event::MemberJoined { member } => self.admit(&member.id, now),
                Event::MemberLeft { member, .. } => {
                    self.dismiss(&member.id);
                    self.note_waiting(&member.id);
                    self.offer_waiting(now);
                }
                Event::ConfigReloadDue | Event::RoutesChanged => {}
            }
        }
        any
    }
}

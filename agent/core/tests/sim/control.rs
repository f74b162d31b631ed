//! The v0 control exchanges, carried as the shell would: requests that may be lost, callbacks included.

use std::time::Duration;

use tunmesh_mesh::{Action, MeetFailure, Proof, RegisterFailure};
use tunmesh_protocol::{ControlUrl, NodeId, Registration};

use crate::world::{Mail, World};

pub(crate) enum Answer {
    Met(ControlUrl, Result<(Registration, usize), MeetFailure>),
    Registered(NodeId, Result<Registration, RegisterFailure>),
    Session(NodeId, bool),
}

impl World {
    pub(crate) fn handle_request(&mut self, from: usize, sender: &NodeId, action: &Action) {
        if !self.is_running(from, sender) {
            return;
        }
        let lost = self.is_lost();
        let answer = if lost { None } else { self.serve(from, action) };
        let answer = if self.is_lost() { None } else { answer };
        // Nothing comes back: the sender waits for its request timeout.
        let delay = if answer.is_some() { self.delay() } else { Duration::from_secs(1) };
        let answer = answer.unwrap_or_else(|| unreachable_answer(action));
        self.post(delay, Mail::Answer { to: from, reader: sender.clone(), answer });
    }

    pub(crate) fn handle_answer(&mut self, to: usize, reader: &NodeId, answer: Answer) {
        if !self.is_running(to, reader) {
            return;
        }
        let now = self.time(to);
        match answer {
            Answer::Met(url, outcome) => {
                let core = &mut self.agent_mut(to).core;
                let met = outcome.as_ref().map(|met| &met.0).map_err(|failure| *failure);
                let _refused = core.handle_met(&url, met, now.instant);
                self.carry_out(to);
                if let Ok((answer, host)) = outcome {
                    self.note_features(to, &answer.local.id, host);
                    let endpoint = self.hosts[host].inner;
                    self.agent_mut(to).core.join(&[endpoint], now);
                }
            }
            Answer::Registered(id, outcome) => {
                let outcome = outcome.as_ref().map_err(|failure| *failure);
                let _refused = self.agent_mut(to).core.handle_registered(&id, outcome, now.instant);
            }
            Answer::Session(id, opened) => {
                self.agent_mut(to).core.handle_session_opened(&id, opened, now.instant);
                self.open_lane(to, &id, opened);
            }
        }
        self.carry_out(to);
    }

    /// What the receiver makes of a request; nothing, if it does not get there.
    fn serve(&mut self, from: usize, action: &Action) -> Option<Answer> {
        match action {
            Action::Meet { url, .. } => {
                let to = self.host_at(from, url)?;
                if to == from {
                    return Some(Answer::Met(url.clone(), Err(MeetFailure::Itself)));
                }
                let outcome = self.register(from, to).map(|answer| (answer, to)).ok_or(MeetFailure::Refused);
                Some(Answer::Met(url.clone(), outcome))
            }
            Action::Register { member } => {
                let to = self.host_at(from, &member.listen_url)?;
                let outcome = if self.is_running(to, &member.id) {
                    self.register(from, to).ok_or(RegisterFailure::Failed)
                } else {
                    Err(RegisterFailure::Denied)
                };
                Some(Answer::Registered(member.id.clone(), outcome))
            }
            Action::OpenSession { member, .. } => {
                let to = self.host_at(from, &member.listen_url)?;
                let asking = &self.hosts[from].agent.as_ref()?.id;
                let receiver = self.hosts[to].agent.as_ref()?;
                let known = receiver.id == member.id && receiver.core.node().member(asking).is_some();
                Some(Answer::Session(member.id.clone(), known))
            }
        }
    }

    /// Registers one node to another, with the callbacks that the other asks for.
    fn register(&mut self, from: usize, to: usize) -> Option<Registration> {
        let (sent_at, now) = (self.time(from), self.time(to));
        let registration = self.hosts[from].agent.as_ref()?.core.node().answer(sent_at.unix);
        let id = registration.local.id.clone();
        let screening = self.hosts[to].agent.as_ref()?.core.node().screen(&registration, Some(&id), None).ok()?;
        let answers =
            |url: &ControlUrl, id: &NodeId| self.host_at(to, url).is_some_and(|host| self.is_running(host, id));
        let called_back = screening.callback && answers(&registration.local.listen_url, &id);
        let vacated = screening.contested.filter(|claim| !answers(&claim.owner.listen_url, &claim.owner.id));
        let proof = Proof { called_back, vacated, ..Proof::default() };
        self.agent_mut(to).core.accept(&registration, proof, now.instant).ok()?;
        // The peer must exist before the answer leaves.
        self.carry_out(to);
        self.note_features(to, &id, from);
        self.carry_out(to);
        Some(self.hosts[to].agent.as_ref()?.core.node().answer(now.unix))
    }

    /// The node on `host` learns what the one with `id`, on `other`, can do.
    fn note_features(&mut self, host: usize, id: &NodeId, other: usize) {
        let (takes, now) = (self.hosts[other].takes_streams(), self.time(host).instant);
        let core = &mut self.agent_mut(host).core;
        core.note_datagrams(id, true);
        core.note_streams(id, takes, now);
    }

    /// The running host at `url` if `from` reaches it. Control connections pass every NAT: their port is forwarded.
    pub(crate) fn host_at(&self, from: usize, url: &ControlUrl) -> Option<usize> {
        let index: usize = url.host().strip_prefix("host")?.parse().ok()?;
        let to = self.hosts.get(index).filter(|host| host.agent.is_some())?;
        (to.part == self.hosts[from].part).then_some(index)
    }
}

fn unreachable_answer(action: &Action) -> Answer {
    match action {
        Action::Meet { url, .. } => Answer::Met(url.clone(), Err(MeetFailure::Unreachable)),
        Action::OpenSession { member, .. } => Answer::Session(member.id.clone(), false),
        Action::Register { member } => Answer::Registered(member.id.clone(), Err(RegisterFailure::Unreachable)),
    }
}

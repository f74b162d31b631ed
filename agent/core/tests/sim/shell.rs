//! What the core of a host wants done, as the shell does it.

use std::net::SocketAddr;

use tunmesh_core::{Destination, LinkChange, Output};
use tunmesh_mesh::{Action, Event, Way};
use tunmesh_protocol::NodeId;

use crate::checks;
use crate::host::{Agent, Link};
use crate::world::{Mail, World};

impl World {
    /// Does what the core of a host wants done, and sets its alarm.
    pub(crate) fn carry_out(&mut self, index: usize) {
        let now = self.time(index);
        let Some(mut agent) = self.hosts[index].agent.take() else {
            return;
        };
        let mut rerouted = false;
        while let Some(output) = agent.core.poll_output(now) {
            match output {
                Output::Action(action) => {
                    let (delay, sender) = (self.delay(), agent.id.clone());
                    self.requests[match &action {
                        Action::Meet { .. } => 0,
                        Action::Register { .. } => 1,
                        Action::OpenSession { .. } => 2,
                    }] += 1;
                    self.post(delay, Mail::Request { from: index, sender, action });
                }
                Output::Event(Event::MemberJoined { member }) => {
                    let before = agent.links.insert(member.id, Link { way: Some(Way::V0), ..Link::default() });
                    assert!(before.is_none(), "a member that joined twice, {}", self.place());
                }
                Output::Event(Event::MemberLeft { member, .. }) => {
                    assert!(agent.links.remove(&member.id).is_some(), "a stranger left, {}", self.place());
                }
                Output::Event(Event::RoutesChanged) => rerouted = true,
                Output::Event(Event::ConfigReloadDue) | Output::Note(_) => {}
                Output::Link(id, change) => self.relink(index, &mut agent, &id, change),
                Output::SessionAdded { peer, session } => {
                    agent.inbound.insert(session.local_index(), (peer, session));
                }
                Output::SessionRemoved { local_index } => {
                    agent.inbound.remove(&local_index);
                }
                Output::Transmit { to, datagram } => self.transmit(index, &agent, to, &datagram),
            }
        }
        if rerouted && self.rules.checks_all {
            checks::check_routes(self, &agent);
        }
        if let Some(at) = agent.core.poll_timeout().map(|at| at.max(self.now))
            && agent.wake_at.is_none_or(|wake_at| at < wake_at)
        {
            agent.wake_at = Some(at);
            self.post(at - self.now, Mail::Wake(index));
        }
        self.hosts[index].agent = Some(agent);
    }

    fn relink(&mut self, index: usize, agent: &mut Agent, id: &NodeId, change: LinkChange) {
        let place = self.place();
        let Some(link) = agent.links.get_mut(id) else {
            return assert!(agent.core.node().member(id).is_none(), "a member without a link, {place}");
        };
        match change {
            LinkChange::Advertised(endpoint) => {
                link.endpoint.get_or_insert(endpoint);
            }
            LinkChange::Heard(endpoint) => link.endpoint = Some(endpoint),
            LinkChange::Largest { .. } => {}
            LinkChange::Session(session) => link.session = session,
            LinkChange::Way(way) => {
                link.way = Some(way);
                link.asked = false;
                // Without a session they are lost, as they would wait for this very change again.
                let is_lost = way == Way::Unknown || (way == Way::Udp && link.session.is_none());
                for packet in std::mem::take(&mut link.waiting).into_iter().filter(|_| !is_lost) {
                    self.send(index, agent, id, packet);
                }
            }
        }
    }

    fn transmit(&mut self, index: usize, agent: &Agent, to: Destination, datagram: &[u8]) {
        match to {
            Destination::Address(to) => self.send_datagram(index, to, datagram.to_vec()),
            Destination::Peer { id, also } => {
                let heard_at = agent.links.get(&id).and_then(|link| link.endpoint);
                let others = also.into_iter().filter(|to| Some(*to) != heard_at);
                for to in heard_at.into_iter().chain(others) {
                    self.send_datagram(index, to, datagram.to_vec());
                }
            }
        }
    }

    pub(crate) fn send_datagram(&mut self, index: usize, to: SocketAddr, bytes: Vec<u8>) {
        self.datagrams += 1;
        let (now, host) = (self.now, &mut self.hosts[index]);
        let from = host.nat.as_mut().map_or(host.inner, |nat| nat.translate(to, now));
        let part = host.part;
        let reaches = self.by_ip.get(&to.ip()).is_some_and(|other| self.hosts[*other].part == part);
        if reaches && !self.is_lost() {
            let delay = self.delay();
            self.post(delay, Mail::Datagram { from, to, bytes });
        }
    }
}

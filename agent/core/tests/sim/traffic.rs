//! Packets between pairs of hosts, carried as packet threads and lanes would, and what must hold for each of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tunmesh_core::{Control, ControlKind};
use tunmesh_mesh::{Inbound, Outbound, Way};
use tunmesh_protocol::NodeId;
use tunmesh_session::{Session, receiver_index};

use crate::host::{Agent, Host};
use crate::world::{Mail, World};

/// What is sent between which hosts, and what becomes of it.
#[derive(Default)]
pub(crate) struct Traffic {
    flows: Vec<Flow>,
    under_way: BTreeMap<u64, Journey>,
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    /// Packets delivered by each way that the last hop took.
    pub(crate) by_way: BTreeMap<&'static str, u64>,
}

/// Packets from one host, or its device, to another.
struct Flow {
    from: End,
    to: End,
    delivered_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) host: usize,
    pub(crate) is_device: bool,
}

/// Where one packet has been.
struct Journey {
    flow: usize,
    sent_at: Instant,
    /// Whether its source is the address of somebody else.
    is_forged: bool,
    visited: Vec<usize>,
}

impl World {
    pub(crate) fn add_flow(&mut self, from: End, to: End) {
        self.traffic.flows.push(Flow { from, to, delivered_at: None });
    }

    /// Sends a packet on every flow whose ends run.
    pub(crate) fn send_traffic(&mut self) {
        for flow in 0..self.traffic.flows.len() {
            let Flow { from, to, .. } = self.traffic.flows[flow];
            let ends = [from, to].map(|end| end.address(&self.hosts[end.host]));
            if self.hosts[from.host].agent.is_some() && self.hosts[to.host].agent.is_some() && ends[0] != ends[1] {
                self.traffic.sent += 1;
                let number = self.traffic.sent;
                let other = self.hosts[self.random.index(self.hosts.len())].address;
                let is_forged =
                    number.is_multiple_of(16) && !ends.contains(&other) && other != self.hosts[from.host].address;
                let journey = Journey { flow, sent_at: self.now, is_forged, visited: vec![from.host] };
                self.traffic.under_way.insert(number, journey);
                self.emit(from, packet(if is_forged { other } else { ends[0] }, ends[1], number), is_forged);
            }
        }
        let old = self.now.checked_sub(Duration::from_secs(120));
        self.traffic.under_way.retain(|_, journey| old.is_none_or(|old| journey.sent_at > old));
    }

    /// Every flow whose ends run brought a packet within the last seconds, unless `excluded` says that it cannot.
    pub(crate) fn flows(&self, excluded: impl Fn(End) -> bool) -> Result<(), String> {
        let broken = |flow: &&Flow| {
            let runs = |end: End| self.hosts[end.host].agent.is_some() && !excluded(end);
            let recent = flow.delivered_at.is_some_and(|at| self.now - at < Duration::from_secs(2));
            runs(flow.from) && runs(flow.to) && !recent
        };
        match self.traffic.flows.iter().find(broken) {
            None => Ok(()),
            Some(Flow { from, to, .. }) => {
                let view = self.hosts[from.host].agent.as_ref().and_then(|agent| {
                    let other = self.hosts[to.host].agent.as_ref()?;
                    agent.core.path(&other.id).map(|path| (path.way, path.suite, path.gossip))
                });
                Err(format!("no packets from {from:?} to {to:?} ({view:?})"))
            }
        }
    }

    /// A host, or its device, sends a packet; one with a forged source without asking whether it may.
    fn emit(&mut self, from: End, packet: Vec<u8>, is_forged: bool) {
        let header = tunmesh_packet::parse(&packet).expect("a packet");
        let Some(mut agent) = self.hosts[from.host].agent.take() else {
            return;
        };
        let routes = agent.core.node().routes();
        let stray = (!from.is_device && self.random.chance(5)).then(|| self.random.index(agent.links.len().max(1)));
        let to = if let Some(stray) = stray {
            // To a member that may have nothing to do with it, as by routes of another moment.
            agent.core.node().members().map(|view| &view.member.id).nth(stray)
        } else if is_forged {
            routes.owner(header.destination()).filter(|to| **to != self.hosts[from.host].device_id())
        } else if from.is_device {
            let id = self.hosts[from.host].device_id();
            routes.inbound(&id, header.source(), header.destination()).ok().and_then(|verdict| match verdict {
                Inbound::Forward(to) => Some(to),
                Inbound::Deliver => None,
            })
        } else {
            routes.outbound(&header).ok().and_then(|verdict| match verdict {
                Outbound::Unicast(to) => Some(to),
                Outbound::Broadcast(_) => None,
            })
        };
        let to = to.cloned();
        if let Some(to) = to {
            self.send(from.host, &mut agent, &to, packet);
        }
        self.hosts[from.host].agent = Some(agent);
        self.carry_out(from.host);
    }

    /// Sends a packet to a member the way its packets go.
    pub(crate) fn send(&mut self, index: usize, agent: &mut Agent, to: &NodeId, packet: Vec<u8>) {
        let now = self.now;
        let Some(link) = agent.links.get_mut(to) else {
            return;
        };
        match link.way {
            Some(Way::Udp) => {
                let sealed = link.session.as_ref().and_then(|session| seal(session, &packet));
                if let (Some(session), Some(endpoint), Some(sealed)) = (&link.session, link.endpoint, sealed) {
                    session.note_sent(now, true);
                    link.traffic.0 += 1;
                    return self.send_datagram(index, endpoint, sealed);
                }
            }
            Some(Way::V0) if !link.is_open => {
                link.lane.push_back(packet);
                if link.lane.len() > MAX_WAITING {
                    link.lane.pop_front();
                }
                return;
            }
            Some(way @ (Way::V0 | Way::Stream)) => {
                let (delay, sender) = (self.delay(), agent.id.clone());
                return self.post(delay, Mail::Packet { way, from: index, sender, to: to.clone(), packet });
            }
            Some(Way::Unknown) | None => {}
        }
        link.waiting.push_back(packet);
        if link.waiting.len() > MAX_WAITING {
            link.waiting.pop_front();
        }
        if !std::mem::replace(&mut link.asked, true) {
            agent.core.handle_wanted(to, now);
        }
    }

    /// A v0 session to a member was opened, or ended.
    pub(crate) fn open_lane(&mut self, index: usize, id: &NodeId, opened: bool) {
        let Some(mut agent) = self.hosts[index].agent.take() else {
            return;
        };
        if let Some(link) = agent.links.get_mut(id) {
            link.is_open = opened;
            for packet in std::mem::take(&mut link.lane) {
                self.send(index, &mut agent, id, packet);
            }
        }
        self.hosts[index].agent = Some(agent);
    }

    /// A packet comes by v0 or by stream, which lose nothing unless nobody is there.
    pub(crate) fn handle_packet(&mut self, way: Way, from: usize, sender: &NodeId, to: &NodeId, packet: Vec<u8>) {
        if !self.is_running(from, sender) {
            return;
        }
        let host = self.hosts.iter().find(|host| host.agent.as_ref().is_some_and(|agent| agent.id == *to));
        let reached = host.filter(|host| host.part == self.hosts[from].part).map(|host| host.index);
        let known =
            |index: usize| self.hosts[index].agent.as_ref().is_some_and(|agent| agent.links.contains_key(sender));
        let taken = reached.filter(|index| known(*index));
        let now = self.now;
        let agent = self.agent_mut(from);
        match (way, taken.is_some(), reached.is_some()) {
            (Way::V0, _, false) => agent.core.handle_fault(to, now),
            (Way::V0, false, true) => {
                if let Some(link) = agent.links.get_mut(to) {
                    link.is_open = false;
                }
                agent.core.handle_session_lost(to, now);
            }
            (Way::Stream, false, _) => agent.core.handle_stream_failed(to, now),
            (Way::V0, true, true) | (Way::Stream | Way::Udp | Way::Unknown, ..) => {}
        }
        self.carry_out(from);
        if let Some(index) = taken {
            self.judge(index, sender, &packet, way);
            self.carry_out(index);
        }
    }

    /// A sealed datagram comes.
    pub(crate) fn handle_sealed(&mut self, index: usize, from: SocketAddr, mut datagram: Vec<u8>) {
        let now = self.now;
        let agent = self.agent_mut(index);
        let Some((peer, session)) = receiver_index(&datagram).and_then(|index| agent.inbound.get(&index)).cloned()
        else {
            return;
        };
        let Ok(opened) = session.opening().open(&mut datagram) else {
            return;
        };
        if opened.confirms {
            assert!(agent.core.handle_confirmed(session.local_index(), now), "a session the core does not know");
        }
        let plaintext = &datagram[opened.plaintext];
        session.note_received(now, !plaintext.is_empty());
        let Some(link) = agent.links.get_mut(&peer) else {
            return;
        };
        link.endpoint = Some(from);
        link.traffic.1 += u64::from(!plaintext.is_empty());
        match Control::parse(plaintext) {
            Some(Control { kind: ControlKind::Pong, number, len }) => {
                agent.core.handle_pong(&peer, number, len, now);
            }
            Some(Control { kind: ControlKind::Ping, number, len }) => {
                let mut pong = vec![0; len];
                Control { kind: ControlKind::Pong, number, len }.write(&mut pong);
                let sealed = link.session.as_ref().and_then(|session| seal(session, &pong));
                if let Some(sealed) = sealed {
                    self.send_datagram(index, from, sealed);
                }
            }
            None if plaintext.is_empty() => {}
            None => self.judge(index, &peer, plaintext, Way::Udp),
        }
    }

    /// Looks at a packet that the member `from` sent to this host, and passes it on or takes it in.
    fn judge(&mut self, index: usize, from: &NodeId, packet: &[u8], way: Way) {
        let header = tunmesh_packet::parse(packet).expect("what was sent was a packet");
        let number = u64::from_be_bytes(*packet.last_chunk().expect("a number"));
        let place = self.place();
        let Some(journey) = self.traffic.under_way.get_mut(&number) else {
            return;
        };
        assert!(!journey.visited.contains(&index), "packet {number} runs in circles: {:?}, {place}", journey.visited);
        journey.visited.push(index);
        assert!(journey.visited.len() <= MAX_HOSTS, "packet {number} goes too far: {:?}, {place}", journey.visited);
        let agent = self.hosts[index].agent.as_ref().expect("it runs");
        let routes = agent.core.node().routes();
        let host = &self.hosts[index];
        let taken_by = match routes.inbound(from, header.source(), header.destination()) {
            Ok(Inbound::Deliver) => End { host: index, is_device: false },
            Ok(Inbound::Forward(to)) if *to == host.device_id() => End { host: index, is_device: true },
            Ok(Inbound::Forward(to)) => {
                let mut agent = self.hosts[index].agent.take().expect("it runs");
                self.send(index, &mut agent, to, packet.to_vec());
                self.hosts[index].agent = Some(agent);
                return;
            }
            Err(_) => return,
        };
        let destination = taken_by.address(host);
        assert_eq!(IpAddr::V4(destination), header.destination(), "packet {number} came to a stranger, {place}");
        let Some(Journey { flow, is_forged, .. }) = self.traffic.under_way.remove(&number) else {
            return;
        };
        assert!(!is_forged, "packet {number} of {from} has a forged source, {place}");
        let flow = &mut self.traffic.flows[flow];
        if taken_by == flow.to {
            flow.delivered_at = Some(self.now);
        }
        self.traffic.delivered += 1;
        *self.traffic.by_way.entry(way.as_str()).or_default() += 1;
    }
}

impl End {
    pub(crate) fn node(host: usize) -> Self {
        Self { host, is_device: false }
    }

    /// Where it is now.
    fn address(self, host: &Host) -> Ipv4Addr {
        host.device.filter(|_| self.is_device).unwrap_or(host.address)
    }
}

fn seal(session: &Session, plaintext: &[u8]) -> Option<Vec<u8>> {
    let counter = session.reserve(1)?;
    let mut datagram = vec![0; Session::HEADER_LEN];
    datagram.extend(plaintext);
    datagram.resize(datagram.len() + Session::TAG_LEN, 0);
    session.seal(counter, 0, &mut datagram);
    Some(datagram)
}

/// An IPv4 packet that carries a number.
fn packet(from: Ipv4Addr, to: Ipv4Addr, number: u64) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 253, 0, 0];
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(number.to_be_bytes());
    packet
}

/// Packets that wait for a way, per member.
const MAX_WAITING: usize = 64;

/// Hosts a packet visits at most: that of its device, and that of the other's.
const MAX_HOSTS: usize = 2;

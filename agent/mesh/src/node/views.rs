use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use tunmesh_protocol::{Member, NodeId};

use super::Node;
use super::meetings::Contact;
use crate::agenda::later;
use crate::peers::Peer;
use crate::route_table::RouteTable;
use crate::settings::Settings;
use crate::vouched::Vouched;

/// What can be asked.
impl Node {
    /// The settings in use.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The routes as they are now; the same table until [`Event::RoutesChanged`](super::Event::RoutesChanged).
    pub fn routes(&self) -> Arc<RouteTable> {
        let build = || {
            Arc::new(RouteTable::new(
                &self.settings,
                self.joined.clone(),
                self.peers.iter().map(|peer| (&peer.member, peer.vouched.as_ref().unwrap_or(&peer.told))),
            ))
        };
        Arc::clone(self.routes.get_or_init(build))
    }

    /// The known members, by id.
    pub fn members(&self) -> impl Iterator<Item = MemberView<'_>> {
        self.peers.iter().map(|peer| self.view(peer))
    }

    /// The known member `id`.
    pub fn member(&self, id: &NodeId) -> Option<MemberView<'_>> {
        self.peers.by_id(id).map(|peer| self.view(peer))
    }

    /// Which known member has which address, by address, those without a route included.
    pub fn owners(&self) -> impl Iterator<Item = (Ipv4Addr, &NodeId)> {
        self.peers.owners()
    }

    /// How the node does.
    pub fn health(&self, now: Instant) -> Health {
        let in_grace = now < later(self.started_at, self.settings.startup_grace);
        let calls_first = self.contacts.values().any(Contact::is_first_call_under_way);
        let is_alone = self.peers.is_empty();
        Health { registered: in_grace || !is_alone, settled: !is_alone || !calls_first }
    }

    fn view<'a>(&self, peer: &'a Peer) -> MemberView<'a> {
        MemberView {
            member: &peer.member,
            stamp: peer.stamp,
            last_seen: peer.heard_at,
            near: self.is_near(&peer.member),
            vouched: peer.vouched.as_ref(),
        }
    }
}

/// One member as status pages show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberView<'a> {
    /// The member as it registered.
    pub member: &'a Member,
    /// Its clock when it last registered or answered, in Unix seconds.
    pub stamp: i64,
    /// When it last registered or answered, by our clock.
    pub last_seen: Instant,
    /// Whether it is in our own subnet.
    pub near: bool,
    /// What its signed record says, while the gossip vouches for it.
    pub vouched: Option<&'a Vouched>,
}

/// How a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether a member is known, or the grace after the start is not over.
    pub registered: bool,
    /// Whether a member is known, or every place of the bootstrap groups was called once and led to none: the node is alone
    /// then, as far as it can know.
    pub settled: bool,
}

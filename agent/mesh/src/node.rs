mod admission;
mod groups;
mod meetings;
mod registrations;
mod sessions;
mod views;
mod vouching;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tunmesh_protocol::{ControlUrl, Member, NodeId};

use crate::agenda::{Agenda, Timer, later};
use crate::peers::Peers;
use crate::place::Place;
use crate::route_table::RouteTable;
use crate::settings::{Settings, Timers};

pub use self::admission::{Contested, Proof, Refusal, Screening};
use self::groups::Group;
use self::meetings::Contact;
pub use self::meetings::MeetFailure;
pub use self::registrations::RegisterFailure;
pub use self::views::{Health, MemberView};

/// One node of a mesh: whom it knows, whom it calls, and the routes that follow.
///
/// It does nothing by itself. Its owner
///
/// 1. reports what happened: [`screen`](Self::screen) and [`accept`](Self::accept) for registrations that came in,
///    `handle_*` for the outcome of each action and for [`handle_timeout`](Self::handle_timeout);
/// 2. carries out what [`poll_action`](Self::poll_action) returns until it returns nothing, and likewise heeds
///    [`poll_event`](Self::poll_event);
/// 3. waits until something happens or [`poll_timeout`](Self::poll_timeout) has passed.
///
/// Every action is answered by exactly one `handle_*` call, in any order and as many at once as the owner likes. Until
/// then no other action for the same purpose and target is issued; one that is never answered counts as failed after a
/// minute, or ten times `request_timeout` if that is longer. Times handed in must not run backwards.
///
/// At most 10,000 members and 10,000 addresses to call are kept. When there is no room the newcomer is refused, so that
/// nobody can push out those who are there.
#[derive(Debug)]
pub struct Node {
    settings: Settings,
    started_at: Instant,
    peers: Peers,
    contacts: BTreeMap<Place, Contact>,
    groups: BTreeMap<String, Group>,
    agenda: Agenda,
    orders: VecDeque<Order>,
    events: VecDeque<Event>,
    /// Multicast groups that applications here have joined.
    joined: BTreeSet<IpAddr>,
    /// Whether [`Event::RoutesChanged`] is still to be told.
    routes_changed: bool,
    /// Built when first asked for after a change.
    routes: OnceLock<Arc<RouteTable>>,
}

impl Node {
    /// A node that knows nobody and is about to call the URLs of all its groups.
    pub fn new(settings: Settings, now: Instant) -> Self {
        let mut node = Self {
            settings,
            started_at: now,
            peers: Peers::default(),
            contacts: BTreeMap::new(),
            groups: BTreeMap::new(),
            agenda: Agenda::default(),
            orders: VecDeque::new(),
            events: VecDeque::new(),
            joined: BTreeSet::new(),
            routes_changed: false,
            routes: OnceLock::new(),
        };
        node.start_groups(now);
        node
    }

    /// Takes new settings; all of them count from now on, for members that are known already too.
    ///
    /// New groups and new URLs are called at once, groups that are gone no more; their members stay.
    pub fn reconfigure(&mut self, settings: Settings, now: Instant) {
        self.settings = settings;
        let ids: Vec<NodeId> = self.peers.iter().map(|peer| peer.member.id.clone()).collect();
        for id in ids {
            self.reschedule(&id);
        }
        self.start_groups(now);
        self.touch_routes();
    }

    /// Does all that is due by `now`. Calling it early or twice does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.agenda.pop_due(now) {
            match timer {
                Timer::Group(name) => self.call_group(&name, now),
                Timer::Meet(place) => self.contact_due(&place, now),
                Timer::Register(id) => self.registration_due(&id, now),
                Timer::Session(id) => self.session_due(&id, now),
                Timer::Stale(id) => self.depart(&id, Departure::Stale, now),
            }
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next. Any other call may change it.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.agenda.next()
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        loop {
            let action = match self.orders.pop_front()? {
                Order::Meet(place) => self.contacts.get(&place).map(Contact::action),
                Order::OpenSession { id, rotate } => {
                    self.peers.by_id(&id).map(|peer| Action::OpenSession { member: peer.member.clone(), rotate })
                }
                Order::Register(id) => {
                    self.peers.by_id(&id).map(|peer| Action::Register { member: peer.member.clone() })
                }
            };
            if action.is_some() {
                return action;
            }
        }
    }

    /// The next thing to know. [`Event::RoutesChanged`] comes after all others, once for any number of changes.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front().or_else(|| std::mem::take(&mut self.routes_changed).then_some(Event::RoutesChanged))
    }

    /// Takes note that sending packets to the member `id` failed; it is registered to sooner than planned.
    pub fn handle_fault(&mut self, id: &NodeId, now: Instant) {
        if self.peers.contains(id) {
            self.hurry(id, now);
        }
    }

    /// Takes note of the multicast groups that applications here have joined.
    pub fn set_joined(&mut self, joined: BTreeSet<IpAddr>) {
        if self.joined != joined {
            self.joined = joined;
            self.touch_routes();
        }
    }

    /// Whether `id` is this node, or a device that is reached through it.
    fn is_own(&self, id: &NodeId) -> bool {
        *id == self.settings.local.id || self.settings.devices.iter().any(|device| device.id == *id)
    }

    /// Whether a newcomer cannot have `address`: this node has it, or a device that is reached through it. Who was there
    /// before the device keeps it.
    fn has_address(&self, address: IpAddr, claimant: &NodeId) -> bool {
        let is_devices = || self.settings.devices.iter().any(|device| device.addresses.contains(&address));
        address == IpAddr::V4(self.settings.local.address.address()) || (!self.peers.contains(claimant) && is_devices())
    }

    /// Timers towards a member with that address.
    fn timers(&self, member: &Member) -> &Timers {
        if self.is_near(member) { &self.settings.near } else { &self.settings.far }
    }

    fn is_near(&self, member: &Member) -> bool {
        self.settings.local.address.contains(member.address.address())
    }

    /// When an action begun `now` counts as failed because nobody answered it.
    fn give_up_at(&self, now: Instant) -> Instant {
        later(now, (self.settings.request_timeout.saturating_mul(10)).max(Duration::from_secs(60)))
    }

    fn touch_routes(&mut self) {
        self.routes.take();
        self.routes_changed = true;
    }
}

/// What the node wants done. Everything in it is as of the moment it is polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Find out who is at `url`: get its node_info, register with the cluster token to the `listen_url` that names, verify
    /// the answer; then call [`Node::handle_met`]. If the answer names another URL than `url`, that one is to be met next.
    Meet {
        /// Where to ask. A load balancer may stand there.
        url: ControlUrl,
        /// Who is said to be there; hearsay, another one is as welcome.
        expected: Option<NodeId>,
        /// The bootstrap group that has this URL, for the log.
        group: Option<String>,
    },
    /// Open a session in which to send to `member`, then call [`Node::handle_session_opened`] or
    /// [`Node::handle_session_failed`].
    OpenSession {
        /// The receiver.
        member: Member,
        /// Whether to ask with the token of the present session, which stays in use until then, or with the cluster token.
        rotate: bool,
    },
    /// Register to `member` in its session, or with the cluster token while there is none; then call
    /// [`Node::handle_registered`].
    Register {
        /// The receiver.
        member: Member,
    },
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A group is about to be called again because none of its members is known: the moment to read the configuration
    /// file anew, for `reload_config_on_bootstrap`. The calls are made whether or not that is done.
    ConfigReloadDue,
    /// A member is known from now on.
    MemberJoined {
        /// The member.
        member: Member,
    },
    /// A member is no longer known.
    MemberLeft {
        /// The member.
        member: Member,
        /// Why.
        reason: Departure,
    },
    /// [`Node::routes`] returns another table from now on.
    RoutesChanged,
}

/// Why a member is no longer known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It no longer answered where it used to, and another member claims its address.
    AddressVacated,
    /// It said that it leaves.
    Left,
    /// Another member answers at its control URL: it was started anew.
    Replaced,
    /// It was silent for too long.
    Stale,
}

/// An action to be made up when it is polled. There is at most one per target and purpose.
#[derive(Debug, PartialEq, Eq)]
enum Order {
    Meet(Place),
    OpenSession { id: NodeId, rotate: bool },
    Register(NodeId),
}

/// A point in `window` that is the same each time for one node and one purpose, and differs between nodes.
fn spread(window: Duration, ours: &NodeId, purpose: &str) -> Duration {
    let mut hash: u32 = 0x811c_9dc5; // FNV-1a, 32 bits
    for byte in ours.as_str().bytes().chain(purpose.bytes()) {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    (window / 1024) * ((hash ^ hash >> 16) & 1023)
}

/// Members kept; see [`Node`].
const MAX_MEMBERS: usize = 10_000;

/// Places kept that were heard of from others; see [`Node`].
const MAX_CONTACTS: usize = 10_000;

/// Longest wait between two attempts that keep failing, and the pace at which a lost part of the mesh is looked for.
const SLOWEST: Duration = Duration::from_secs(60);

/// Shortest wait where the configuration would allow none.
const FASTEST: Duration = Duration::from_millis(100);

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tunmesh_core::{Core, Now, capabilities};
use tunmesh_membership::{
    Identity, KeyIdentity, KeyRing, Membership, Record, RecordDraft, RefusedRecord, Signed, Signer,
};
use tunmesh_mesh::{BootstrapGroup, Device, Node, Retries, Settings, Timers, Way};
use tunmesh_protocol::config::Paths;
use tunmesh_protocol::{ControlUrl, Ipv4Cidr, Member, NodeId, Secret, UnixTime};
use tunmesh_session::{Endpoint, PrivateKey, Session};

use crate::nat::Nat;
use crate::random::Random;

/// A machine that runs a node, or does not at the moment.
pub(crate) struct Host {
    pub(crate) index: usize,
    /// Where its UDP port is on its own network.
    pub(crate) inner: SocketAddr,
    pub(crate) nat: Option<Nat>,
    /// Its address in the mesh, which somebody else may have too.
    pub(crate) address: Ipv4Addr,
    /// A WireGuard device that is a member through it.
    pub(crate) device: Option<Ipv4Addr>,
    /// Hosts that cannot reach each other are in different parts.
    pub(crate) part: u64,
    pub(crate) starts: u64,
    pub(crate) agent: Option<Agent>,
    /// What its clock is ahead of time.
    ahead: Duration,
}

/// The core of a node, and what its shell would keep.
pub(crate) struct Agent {
    pub(crate) core: Core,
    pub(crate) id: NodeId,
    pub(crate) links: BTreeMap<NodeId, Link>,
    /// Sessions in which others send to us.
    pub(crate) inbound: BTreeMap<u32, (NodeId, Arc<Session>)>,
    pub(crate) wake_at: Option<Instant>,
    /// When it was last woken, and how often then.
    pub(crate) woken: (Instant, u32),
    /// Incarnation and start of every record it ever had.
    pub(crate) held: BTreeMap<NodeId, (u64, u64)>,
}

/// How packets reach a member.
#[derive(Default)]
pub(crate) struct Link {
    pub(crate) way: Option<Way>,
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) endpoint: Option<SocketAddr>,
    /// Packets that wait for a way.
    pub(crate) waiting: VecDeque<Vec<u8>>,
    pub(crate) asked: bool,
    /// Packets that wait for a v0 session.
    pub(crate) lane: VecDeque<Vec<u8>>,
    pub(crate) is_open: bool,
    /// Packets sent and received.
    pub(crate) traffic: (u64, u64),
}

/// What all hosts have in common.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    /// Whether records are signed for real, or by what costs nothing to verify.
    pub(crate) signs: bool,
    pub(crate) seeds: usize,
    /// Wait before a member is called that another one told of.
    pub(crate) hearsay_delay: Duration,
}

impl Host {
    pub(crate) fn new(index: usize, random: &mut Random) -> Self {
        let [.., high, low] = u32::try_from(index).expect("a small number").to_be_bytes();
        let public = IpAddr::V4(Ipv4Addr::new(192, 0, high, low));
        // Every fifth is behind a NAT of its own, and none of these is a seed.
        let nat = (index % 5 == 3).then(|| Nat::new(public));
        let inner = if nat.is_some() { "192.168.1.2:4600".parse().expect("an address") } else { (public, 4600).into() };
        Self {
            index,
            inner,
            nat,
            address: mesh_address(index),
            device: (index % 7 == 2).then(|| Ipv4Addr::new(10, 1, high, low)),
            part: 0,
            starts: 0,
            agent: None,
            ahead: Duration::from_millis(random.below(5000)),
        }
    }

    pub(crate) fn url(&self) -> ControlUrl {
        host_url(self.index)
    }

    pub(crate) fn time(&self, start: Instant, now: Instant) -> Now {
        Now { instant: now, unix: UnixTime::new(EPOCH + (now - start) + self.ahead) }
    }

    /// Starts its node, with a new id; what ran there before is gone.
    pub(crate) fn start(&mut self, scale: Scale, random: &mut Random, now: Now) {
        self.starts += 1;
        let id: NodeId = format!("n{}-{}", self.index, self.starts).parse().expect("an id");
        let private = PrivateKey::from_bytes(random.seed());
        let draft = self.draft(&id, *private.public_key().as_bytes());
        let keys = KeyRing::new(&secret(), &[]);
        let settings = tunmesh_membership::Settings::new(draft);
        let identity: Box<dyn Identity> = if scale.signs {
            Box::new(KeyIdentity::new(&random.seed()).expect("any seed is a key"))
        } else {
            Box::new(CheapIdentity(random.seed()))
        };
        let membership = Membership::new(settings, keys, identity, random.seed(), now).expect("a short record");
        let node = Node::new(self.settings(&id, scale), now.instant);
        let endpoint = Endpoint::new(private, now.instant, random.seed());
        let core = tunmesh_core::Settings {
            secrets: vec![secret()],
            keepalive: None,
            paths: Paths { stream: self.takes_streams(), udp: true, v0: true },
            mtu: 1400,
        };
        self.agent = Some(Agent {
            core: Core::new(core, node, Some(membership), endpoint),
            id,
            links: BTreeMap::new(),
            inbound: BTreeMap::new(),
            wake_at: None,
            woken: (now.instant, 0),
            held: BTreeMap::new(),
        });
    }

    pub(crate) fn takes_streams(&self) -> bool {
        self.index.is_multiple_of(2)
    }

    /// The name of its device among members.
    pub(crate) fn device_id(&self) -> NodeId {
        format!("device{}", self.index).parse().expect("an id")
    }

    fn draft(&self, id: &NodeId, public_key: [u8; 32]) -> RecordDraft {
        RecordDraft {
            id: id.clone(),
            url: self.url(),
            endpoints: vec![self.inner],
            public_key,
            addresses: std::iter::once(self.address).chain(self.device).map(|one| IpAddr::V4(one).into()).collect(),
            groups: Vec::new(),
            capabilities: capabilities(!self.index.is_multiple_of(3), self.takes_streams()),
            version: "1.0.0".into(),
        }
    }

    fn settings(&self, id: &NodeId, scale: Scale) -> Settings {
        let timers = |reregistration, stale| Timers {
            reregistration_interval: Duration::from_secs(reregistration),
            stale_threshold: Duration::from_secs(stale),
            packet_expiration: Duration::from_millis(100),
        };
        let seeds = BootstrapGroup { urls: (0..scale.seeds).map(host_url).collect(), retries: Retries::Forever };
        let device = |address: Ipv4Addr| Device { id: self.device_id(), addresses: vec![address.into()] };
        Settings {
            local: Member {
                id: id.clone(),
                listen_url: self.url(),
                network: Ipv4Cidr::new(Ipv4Addr::new(10, 0, 0, 0), 8).expect("a network"),
                address: Ipv4Cidr::new(self.address, 24).expect("an address"),
            },
            enable_broadcast: false,
            groom_interval: Duration::from_secs(5),
            bootstrap_retry_interval: Duration::from_secs(15),
            startup_grace: Duration::ZERO,
            near: timers(5, 30),
            far: timers(30, 120),
            further_networks: Vec::new(),
            hearsay_delay: scale.hearsay_delay,
            ipv6: None,
            devices: self.device.into_iter().map(device).collect(),
            request_timeout: Duration::from_secs(1),
            session_max_age: Duration::from_secs(3600),
            session_validity: Duration::from_secs(30),
            bootstrap_groups: [("seeds".into(), seeds)].into(),
        }
    }
}

/// Signatures as long as those of Ed25519 that cost nothing to verify, for many nodes: they show nothing about forgery.
struct CheapIdentity([u8; 32]);

impl Identity for CheapIdentity {
    fn sign(&self, message: &[u8]) -> Signed {
        Signed { signer: Signer::Key(self.0), signature: vec![message.len() as u8; 64] }
    }

    fn verify(&self, _: &Record, signer: &Signer, message: &[u8], signature: &[u8]) -> Result<(), RefusedRecord> {
        match signer {
            Signer::Certificate(_) => Err(RefusedRecord::WrongSigner),
            Signer::Key(_) if signature == [message.len() as u8; 64] => Ok(()),
            Signer::Key(_) => Err(RefusedRecord::BadSignature),
        }
    }
}

/// The address that a host has of its own.
pub(crate) fn mesh_address(index: usize) -> Ipv4Addr {
    let number = u32::try_from(index).expect("a small number");
    // None is the broadcast address of its subnet.
    let [[.., high], [.., low]] = [number / 250, number % 250 + 1].map(u32::to_be_bytes);
    // A third of the hosts is in another subnet.
    Ipv4Addr::new(10, if index % 3 == 2 { 2 } else { 0 }, high, low)
}

fn host_url(index: usize) -> ControlUrl {
    format!("https://host{index}:4567").parse().expect("a URL")
}

fn secret() -> Secret {
    Secret::from_bytes(b"the secret of this cluster".to_vec())
}

/// When the clocks start, in Unix time.
const EPOCH: Duration = Duration::from_secs(1_795_000_000);

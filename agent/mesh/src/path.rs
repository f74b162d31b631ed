//! Which way packets to one peer go: sealed datagrams while they get through, else a stream, else the v0 protocol.

mod size;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use self::size::SizeSearch;

/// Where packets to a peer go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Way {
    /// Nowhere yet: they wait while a way is looked for.
    Unknown,
    /// Into sealed datagrams.
    Udp,
    /// Into the TLS stream.
    Stream,
    /// Into requests of the v0 protocol.
    V0,
}

impl Way {
    /// All ways, by their number.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Udp, Self::Stream, Self::V0];

    /// The word for logs and status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "none",
            Self::Udp => "udp",
            Self::Stream => "stream",
            Self::V0 => "v0",
        }
    }
}

/// Which ways both ends can go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// Sealed datagrams.
    pub udp: bool,
    /// Whether datagrams carry pings; without, as with a `WireGuard` device, the session alone tells whether they get through.
    pub pings: bool,
    /// A TLS stream.
    pub stream: bool,
    /// Requests of the v0 protocol.
    pub v0: bool,
}

/// What is to be done for a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathAction {
    /// Make a session, unless one is under way.
    Connect,
    /// Send a ping of this number and length in bytes on the session.
    Ping {
        /// To be told to [`Path::handle_pong`].
        number: u64,
        /// Length of the message; 0 for as short as there is.
        len: usize,
    },
    /// Packets go that way from now on, those that waited first. With [`Way::Unknown`] those are dropped, and the next one
    /// is to be told to [`Path::handle_wanted`].
    Take(Way),
    /// What fits a datagram from now on.
    Fit {
        /// Largest packet, in bytes.
        largest: usize,
        /// Whether senders are to be told; while the size is still looked for, they would be held to less than fits.
        settled: bool,
    },
}

/// The path to one peer, told the time.
///
/// While packets flow, a ping is sent every 400 ms. After three unanswered ones in silence, or eight whatever else comes in,
/// packets take the next best way, and come back with the first answer. Nothing is sent for a peer without traffic.
#[derive(Debug)]
pub struct Path {
    offers: Offers,
    way: Way,
    has_session: bool,
    /// When anything last came in a session.
    heard_at: Option<Instant>,
    /// When packets last went either way.
    active_at: Option<Instant>,
    /// When to ask for a session again while packets go another way.
    next_connect: Instant,
    /// When packets that wait take what way there is; none while nothing waits.
    give_up_at: Option<Instant>,
    ping: Option<(u64, Instant)>,
    next_number: u64,
    next_ping: Instant,
    /// Pings in a row without an answer.
    lost: u32,
    size: SizeSearch,
    counts: (u64, u64),
    quality: Quality,
    actions: VecDeque<PathAction>,
}

/// How well datagrams get through, for status pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    /// Smoothed round trip (RFC 6298, section 2).
    pub round_trip: Option<Duration>,
    /// Pings sent, without those that looked for the packet size.
    pub pings: u64,
    /// Answers.
    pub pongs: u64,
}

impl Path {
    /// A path on which packets go `way` for now; a packet on the device has at most `mtu` bytes.
    pub fn new(offers: Offers, way: Way, mtu: usize, now: Instant) -> Self {
        Self {
            offers,
            way,
            has_session: false,
            heard_at: None,
            active_at: None,
            next_connect: now,
            give_up_at: None,
            ping: None,
            next_number: 0,
            next_ping: now,
            lost: 0,
            size: SizeSearch::new(mtu),
            counts: (0, 0),
            quality: Quality::default(),
            actions: VecDeque::new(),
        }
    }

    /// The way packets go.
    pub fn way(&self) -> Way {
        self.way
    }

    /// Which ways both ends can go.
    pub fn offers(&self) -> Offers {
        self.offers
    }

    /// How well datagrams get through.
    pub fn quality(&self) -> Quality {
        self.quality
    }

    /// Largest packet known to fit a datagram, in bytes.
    pub fn largest(&self) -> usize {
        self.size.largest()
    }

    /// Whether [`tick`](Self::tick) has anything to do before the next event.
    pub fn is_busy(&self) -> bool {
        self.has_session || self.give_up_at.is_some() || (self.offers.udp && self.way != Way::Unknown)
    }

    /// Takes new offers, when what the peer can do became known or changed.
    pub fn offer(&mut self, offers: Offers, now: Instant) {
        self.offers = offers;
        let gone = match self.way {
            Way::Udp => !offers.udp,
            Way::Stream => !offers.stream,
            Way::V0 => !offers.v0,
            Way::Unknown => false,
        };
        if offers.udp && self.way != Way::Udp && !self.is_active(now) {
            // The next packet asks for a session.
            return self.take(Way::Unknown);
        }
        if gone || (self.way == Way::V0 && offers.stream) {
            self.fall_back();
        }
    }

    /// Packets wait for a way.
    pub fn handle_wanted(&mut self, now: Instant) {
        self.active_at = Some(now);
        if self.way != Way::Unknown {
            return self.actions.push_back(PathAction::Take(self.way));
        }
        if !self.offers.udp {
            return self.fall_back();
        }
        self.actions.push_back(PathAction::Connect);
        self.give_up_at.get_or_insert(now + PATIENCE);
    }

    /// There is a session to send in.
    pub fn handle_session(&mut self, now: Instant) {
        let first = !std::mem::replace(&mut self.has_session, true);
        self.heard_at = Some(now);
        self.lost = 0;
        if !self.offers.udp {
            return;
        }
        self.take(Way::Udp);
        if first && self.offers.pings {
            self.send_ping(now);
            self.size.start(now);
            self.probe_size(now);
        }
    }

    /// The last session ended.
    pub fn handle_session_lost(&mut self, now: Instant) {
        self.has_session = false;
        self.ping = None;
        if self.way != Way::Udp {
            return;
        }
        if self.is_active(now) {
            self.fall_back();
        } else {
            // The next packet starts anew.
            self.take(Way::Unknown);
        }
    }

    /// No handshake was answered for a long time.
    pub fn handle_unreachable(&mut self) {
        if self.way == Way::Unknown {
            self.fall_back();
        }
    }

    /// A ping of length `len` came back; returns its round trip, unless it only looked for the packet size.
    pub fn handle_pong(&mut self, number: u64, len: usize, at: Instant) -> Option<Duration> {
        self.heard_at = Some(at);
        self.lost = 0;
        let answered = self.ping.take_if(|(expected, _)| *expected == number);
        let sample = answered.map(|(_, sent_at)| at.saturating_duration_since(sent_at));
        if let Some(sample) = sample {
            self.quality.pongs += 1;
            self.quality.round_trip = Some(match self.quality.round_trip {
                Some(smoothed) => smoothed - smoothed / 8 + sample / 8,
                None => sample,
            });
        }
        if self.size.handle_pong(number, len) {
            self.fit();
            self.probe_size(at);
        }
        if self.has_session && self.offers.udp && self.way != Way::Udp {
            self.take(Way::Udp);
        }
        sample
    }

    /// The outgoing interface takes no datagram that carries a packet of `len` bytes.
    pub fn handle_too_big(&mut self, len: usize, now: Instant) {
        if self.size.handle_too_big(len) {
            self.fit();
            self.probe_size(now);
        }
    }

    /// Packets on the device have at most `mtu` bytes from now on. Fewer than before change nothing here: none is larger.
    pub fn handle_mtu(&mut self, mtu: usize, now: Instant) {
        if self.size.raise(mtu) {
            self.fit();
            if self.has_session {
                self.probe_size(now);
            }
        }
    }

    /// Looks at the path: `sent` and `received` are its packets since the start. To be called every [`TICK`] while
    /// [`is_busy`](Self::is_busy).
    pub fn tick(&mut self, sent: u64, received: u64, now: Instant) {
        let before = std::mem::replace(&mut self.counts, (sent, received));
        if before != self.counts {
            self.active_at = Some(now);
        }
        let has_way = self.offers.stream || self.offers.v0 || self.has_session;
        if has_way && self.give_up_at.is_some_and(|at| at <= now) {
            self.fall_back();
        }
        if before.1 != received && self.way == Way::Udp {
            self.heard_at = Some(now);
        }
        let is_active = self.is_active(now);
        let is_wanted = is_active || self.give_up_at.is_some();
        if self.offers.udp && !self.has_session && is_wanted && self.next_connect <= now {
            self.next_connect = now + CONNECT_INTERVAL;
            self.actions.push_back(PathAction::Connect);
        }
        if !self.has_session || !self.offers.udp || !self.offers.pings {
            return;
        }
        if self.ping.take_if(|(_, at)| now.saturating_duration_since(*at) >= PING_TIMEOUT).is_some() {
            self.lost = self.lost.saturating_add(1);
        }
        let silent = self.heard_at.is_none_or(|at| now.saturating_duration_since(at) >= SILENCE);
        // What comes in does not show that anything gets out, but makes an accident likelier.
        if self.way == Way::Udp && (self.lost >= LOST_PINGS && silent || self.lost >= LOST_PINGS_ONE_WAY) {
            self.fall_back();
        }
        if is_active && self.ping.is_none() && self.next_ping <= now {
            self.send_ping(now);
        }
        if self.size.tick(now) {
            self.fit();
        }
        if is_active || self.size.is_searching() {
            self.probe_size(now);
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<PathAction> {
        self.actions.pop_front()
    }

    fn is_active(&self, now: Instant) -> bool {
        self.active_at.is_some_and(|at| now.saturating_duration_since(at) < IDLE)
    }

    fn send_ping(&mut self, now: Instant) {
        let number = self.number();
        self.ping = Some((number, now));
        self.next_ping = now + PING_INTERVAL;
        self.quality.pings += 1;
        self.actions.push_back(PathAction::Ping { number, len: 0 });
    }

    fn probe_size(&mut self, now: Instant) {
        if let Some(len) = self.size.due(now) {
            let number = self.number();
            self.size.sent(number, now);
            self.actions.push_back(PathAction::Ping { number, len });
        }
    }

    fn fit(&mut self) {
        let (largest, settled) = (self.size.largest(), !self.size.is_searching());
        self.actions.push_back(PathAction::Fit { largest, settled });
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn take(&mut self, way: Way) {
        self.way = way;
        self.give_up_at = None;
        self.actions.push_back(PathAction::Take(way));
    }

    /// Goes the best way that is no datagrams. If there is none, packets that wait go in datagrams or, without a session, are
    /// dropped.
    fn fall_back(&mut self) {
        if self.offers.stream {
            self.take(Way::Stream);
        } else if self.offers.v0 {
            self.take(Way::V0);
        } else if self.way == Way::Unknown {
            self.take(if self.offers.udp && self.has_session { Way::Udp } else { Way::Unknown });
        }
    }
}

/// How often [`Path::tick`] is to be called.
pub const TICK: Duration = Duration::from_millis(200);

/// Between two pings while packets flow.
const PING_INTERVAL: Duration = Duration::from_millis(400);

/// Unanswered pings in a row after which datagrams count as blocked.
const LOST_PINGS: u32 = 3;

/// The same while something is heard: one direction alone may be blocked.
const LOST_PINGS_ONE_WAY: u32 = 8;

/// Wait for an answer; longer than any round trip on Earth.
const PING_TIMEOUT: Duration = Duration::from_millis(400);

/// Silence with which [`LOST_PINGS`] count.
const SILENCE: Duration = Duration::from_millis(1200);

/// Wait for a first session before packets go another way.
const PATIENCE: Duration = Duration::from_millis(600);

/// Between two attempts to make a session while packets go another way.
const CONNECT_INTERVAL: Duration = Duration::from_secs(5);

/// Silence in both directions after which a path is left alone.
const IDLE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;

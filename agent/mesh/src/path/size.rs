use std::time::{Duration, Instant};

/// Looks for the largest packet that fits a datagram on a path, by padded pings (RFC 8899, datagram packetization layer path
/// MTU discovery): the device's MTU first, then by halving the range. Looked at anew now and then, as paths change.
#[derive(Debug)]
pub(super) struct SizeSearch {
    mtu: usize,
    /// Known to fit, or the least that every path takes.
    fits: usize,
    /// Known not to fit; `mtu + 1` while nothing is.
    too_big: usize,
    largest: usize,
    probe: Option<Probe>,
    state: State,
}

#[derive(Debug)]
struct Probe {
    number: u64,
    len: usize,
    sent_at: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// Looking; so many probes of this length were lost.
    Searching {
        lost: u32,
    },
    /// Found; look again then.
    Found {
        again_at: Instant,
    },
}

impl SizeSearch {
    pub(super) fn new(mtu: usize) -> Self {
        Self { mtu, fits: LEAST.min(mtu), too_big: mtu + 1, largest: mtu, probe: None, state: State::Idle }
    }

    /// The device takes packets of `mtu` bytes from now on; whether that is news. What is known to fit counts until more is.
    pub(super) fn raise(&mut self, mtu: usize) -> bool {
        if mtu <= self.mtu {
            return false;
        }
        self.mtu = mtu;
        self.too_big = mtu + 1;
        self.probe = None;
        match self.state {
            State::Idle => self.largest = mtu,
            State::Found { .. } | State::Searching { .. } => self.state = State::Searching { lost: 0 },
        }
        true
    }

    /// What packets may have now. Until something else is known that is the MTU of the device.
    pub(super) fn largest(&self) -> usize {
        self.largest
    }

    pub(super) fn is_searching(&self) -> bool {
        matches!(self.state, State::Searching { .. })
    }

    /// Begins to look, for a session has just been made.
    pub(super) fn start(&mut self, now: Instant) {
        match self.state {
            State::Found { again_at } if now < again_at => {}
            State::Idle | State::Found { .. } | State::Searching { .. } => self.restart(),
        }
    }

    fn restart(&mut self) {
        self.fits = LEAST.min(self.mtu);
        self.too_big = self.mtu + 1;
        self.probe = None;
        self.state = State::Searching { lost: 0 };
    }

    /// Length of the probe to send now, if one is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<usize> {
        if let State::Found { again_at } = self.state
            && again_at <= now
        {
            self.restart();
        }
        (self.is_searching() && self.probe.is_none()).then(|| self.candidate())
    }

    pub(super) fn sent(&mut self, number: u64, now: Instant) {
        self.probe = Some(Probe { number, len: self.candidate(), sent_at: now });
    }

    /// Whether the answer was to a probe; what fits may have changed then.
    pub(super) fn handle_pong(&mut self, number: u64, len: usize) -> bool {
        let Some(probe) = self.probe.take_if(|probe| probe.number == number && probe.len == len) else {
            return false;
        };
        self.fits = self.fits.max(probe.len);
        self.state = State::Searching { lost: 0 };
        self.conclude(probe.sent_at);
        true
    }

    /// Takes note that no datagram with a packet of `len` bytes can leave; whether that is news.
    pub(super) fn handle_too_big(&mut self, len: usize) -> bool {
        if len >= self.too_big || len <= LEAST {
            return false;
        }
        self.too_big = len;
        if self.fits >= len {
            // What was found does not hold any more.
            self.fits = LEAST.min(self.mtu);
        }
        self.largest = self.largest.min(len - 1);
        self.probe = None;
        self.state = State::Searching { lost: 0 };
        true
    }

    /// Counts a probe that was not answered; whether what fits has changed, or is certain now.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        let Some(probe) = self.probe.take_if(|probe| now.saturating_duration_since(probe.sent_at) >= PROBE_TIMEOUT)
        else {
            return false;
        };
        let State::Searching { lost } = self.state else {
            return false;
        };
        if lost + 1 < PROBES {
            self.state = State::Searching { lost: lost + 1 };
            return false;
        }
        self.too_big = probe.len;
        self.state = State::Searching { lost: 0 };
        // Packets that do not fit are lost, so the safe size counts until the search is over.
        self.largest = self.fits;
        self.conclude(now);
        true
    }

    fn candidate(&self) -> usize {
        if self.too_big > self.mtu { self.mtu } else { self.fits.midpoint(self.too_big) }
    }

    fn conclude(&mut self, now: Instant) {
        let close_enough = self.too_big - self.fits <= PRECISION;
        if self.fits == self.mtu || close_enough {
            self.largest = self.fits;
            self.state = State::Found { again_at: now + AGAIN };
        } else if self.too_big <= self.mtu {
            self.largest = self.fits;
        }
    }
}

/// What every path takes: the least MTU of IPv6 (RFC 8200, section 5) less 80 bytes of headers and seal.
const LEAST: usize = 1200;

/// Bytes between what fits and what does not at which the search ends.
const PRECISION: usize = 8;

/// Probes of one length before it counts as too big.
const PROBES: u32 = 3;

/// Wait for the answer to a probe.
const PROBE_TIMEOUT: Duration = Duration::from_millis(400);

/// After which a path is looked at anew (RFC 8899, `PMTU_RAISE_TIMER`).
const AGAIN: Duration = Duration::from_secs(600);

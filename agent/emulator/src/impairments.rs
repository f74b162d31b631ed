//! What a link does to packets.

use std::num::NonZeroU64;
use std::time::Duration;

/// What a link does to packets, alike in both directions.
///
/// Default: nothing. A rate limit would have a queue of 50 ms, and a packet be held back for 3 ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Impairments {
    /// Packets that are dropped whatever else is set.
    pub block: Block,
    /// Time from one end to the other.
    pub delay: Duration,
    /// Packets that arrive twice.
    pub duplicate: Percent,
    /// How far the delay varies, evenly, to either side; packets stay in order.
    pub jitter: Duration,
    /// Packets that are lost.
    pub loss: Percent,
    /// Longest backlog of the rate limit; a packet that would wait longer is dropped. Zero lets a packet pass only when
    /// the link is idle.
    pub queue: Duration,
    /// Bits per second of whole packets, or no limit.
    pub rate: Option<NonZeroU64>,
    /// Packets that are held back, so that later ones overtake them.
    pub reorder: Percent,
    /// How much later a packet held back arrives.
    pub reorder_delay: Duration,
}

impl Default for Impairments {
    fn default() -> Self {
        Self {
            block: Block::None,
            delay: Duration::ZERO,
            duplicate: Percent::default(),
            jitter: Duration::ZERO,
            loss: Percent::default(),
            queue: Duration::from_millis(50),
            rate: None,
            reorder: Percent::default(),
            reorder_delay: Duration::from_millis(3),
        }
    }
}

impl Impairments {
    /// Sets one of them by its name, as it is written on the command line and on standard input.
    ///
    /// | name | value |
    /// |---|---|
    /// | `block` | `none`, `udp`, `all` |
    /// | `delay`, `jitter`, `queue`, `reorder-delay` | milliseconds |
    /// | `duplicate`, `loss`, `reorder` | percent of packets |
    /// | `rate` | Mbit/s, 0 for no limit |
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SetError> {
        match name {
            "block" => self.block = block(value)?,
            "delay" => self.delay = milliseconds(value)?,
            "duplicate" => self.duplicate = percent(value)?,
            "jitter" => self.jitter = milliseconds(value)?,
            "loss" => self.loss = percent(value)?,
            "queue" => self.queue = milliseconds(value)?,
            "rate" => self.rate = rate(value)?,
            "reorder" => self.reorder = percent(value)?,
            "reorder-delay" => self.reorder_delay = milliseconds(value)?,
            _ => return Err(SetError::Name { name: name.to_owned() }),
        }
        Ok(())
    }

    /// Whether something is done to single packets, so that they must not come joined to a super packet.
    pub fn is_per_packet(&self) -> bool {
        let chances = [self.loss, self.duplicate, self.reorder];
        self.rate.is_some() || chances.into_iter().any(|chance| chance != Percent::default())
    }
}

/// Packets a link drops all of.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Block {
    /// Every packet: the link is down.
    All,
    /// No packet.
    #[default]
    None,
    /// UDP, as some networks do; behind an IPv6 extension header it is not recognized.
    Udp,
}

/// A share of packets, 0 to 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Percent(f64);

impl Percent {
    /// A share of `percent`, unless it is no number from 0 to 100.
    pub fn new(percent: f64) -> Option<Self> {
        (0.0..=100.0).contains(&percent).then_some(Self(percent))
    }

    /// Whether the next packet is one of them.
    pub(crate) fn draw(self, rng: &mut fastrand::Rng) -> bool {
        self.0 > 0.0 && rng.f64() * 100.0 < self.0
    }
}

/// Why an impairment was not set.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SetError {
    /// No block rule.
    #[error("{value:?} is no block rule: none, udp or all")]
    Block {
        /// What was given.
        value: String,
    },
    /// No time.
    #[error("{value:?} is no number of milliseconds from 0 to 60000")]
    Milliseconds {
        /// What was given.
        value: String,
    },
    /// No impairment of that name.
    #[error("no impairment {name:?}: block, delay, duplicate, jitter, loss, queue, rate, reorder or reorder-delay")]
    Name {
        /// What was given.
        name: String,
    },
    /// No share.
    #[error("{value:?} is no percentage from 0 to 100")]
    Percent {
        /// What was given.
        value: String,
    },
    /// No rate.
    #[error("{value:?} is no rate from 0.001 to 1000000 Mbit/s, nor 0")]
    Rate {
        /// What was given.
        value: String,
    },
}

fn block(value: &str) -> Result<Block, SetError> {
    match value {
        "all" => Ok(Block::All),
        "none" => Ok(Block::None),
        "udp" => Ok(Block::Udp),
        _ => Err(SetError::Block { value: value.to_owned() }),
    }
}

fn milliseconds(value: &str) -> Result<Duration, SetError> {
    let parsed = value.parse().ok().filter(|millis| (0.0..=60_000.0).contains(millis));
    let seconds = parsed.map(|millis: f64| Duration::from_secs_f64(millis / 1000.0));
    seconds.ok_or_else(|| SetError::Milliseconds { value: value.to_owned() })
}

fn percent(value: &str) -> Result<Percent, SetError> {
    let share = value.parse().ok().and_then(Percent::new);
    share.ok_or_else(|| SetError::Percent { value: value.to_owned() })
}

fn rate(value: &str) -> Result<Option<NonZeroU64>, SetError> {
    match value.parse::<f64>() {
        Ok(0.0) => Ok(None),
        Ok(megabits) if (0.001..=1_000_000.0).contains(&megabits) => Ok(NonZeroU64::new((megabits * 1e6) as u64)),
        Ok(_) | Err(_) => Err(SetError::Rate { value: value.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_impairment_is_set_by_its_name() {
        let mut impairments = Impairments::default();

        for (name, value) in [
            ("block", "udp"),
            ("delay", "20.5"),
            ("duplicate", "0.1"),
            ("jitter", "2"),
            ("loss", "1"),
            ("queue", "60"),
            ("rate", "100"),
            ("reorder", "100"),
            ("reorder-delay", "4"),
        ] {
            impairments.set(name, value).unwrap();
        }

        let expected = Impairments {
            block: Block::Udp,
            delay: Duration::from_micros(20_500),
            duplicate: Percent(0.1),
            jitter: Duration::from_millis(2),
            loss: Percent(1.0),
            queue: Duration::from_millis(60),
            rate: NonZeroU64::new(100_000_000),
            reorder: Percent(100.0),
            reorder_delay: Duration::from_millis(4),
        };
        assert_eq!(impairments, expected);
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_changes_nothing() {
        let mut impairments = Impairments::default();

        for (name, value) in [
            ("block", "tcp"),
            ("delay", "-1"),
            ("delay", "60001"),
            ("delay", "NaN"),
            ("jitter", "2ms"),
            ("loss", "101"),
            ("loss", "NaN"),
            ("loss", ""),
            ("rate", "-0.5"),
            ("rate", "0.0001"),
            ("rate", "inf"),
            ("losses", "1"),
        ] {
            assert!(impairments.set(name, value).is_err(), "{name} {value}");
        }

        assert_eq!(impairments, Impairments::default());
    }

    #[test]
    fn only_what_strikes_single_packets_needs_them_single() {
        let with = |name, value| {
            let mut impairments = Impairments::default();
            impairments.set(name, value).unwrap();
            impairments.is_per_packet()
        };

        for (name, value) in [("loss", "1"), ("duplicate", "1"), ("reorder", "1"), ("rate", "1")] {
            assert!(with(name, value), "{name}");
        }
        for (name, value) in [("loss", "0"), ("rate", "0"), ("delay", "20"), ("jitter", "5"), ("block", "udp")] {
            assert!(!with(name, value), "{name}");
        }
    }
}

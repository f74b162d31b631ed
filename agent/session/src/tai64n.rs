use std::time::Duration;

/// A TAI64N label: seconds since 1970 TAI plus 2^62, 8 bytes, then nanoseconds, 4 bytes, both big endian, so that
/// comparing bytes compares times (paper, section 5.1, and <https://cr.yp.to/libtai/tai64.html>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tai64n([u8; Self::LEN]);

impl Tai64n {
    pub(crate) const LEN: usize = 12;

    /// The label of `unix`, time since 1970 UTC, rounded down to 2^24 ns, so that it tells nobody the exact clock.
    pub(crate) fn at(unix: Duration) -> Self {
        Self::from_parts(unix.as_secs().saturating_add(UNIX_EPOCH), unix.subsec_nanos() & !WHITENED)
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The first label of that rounding after this one.
    pub(crate) fn next(self) -> Self {
        let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3] = self.0;
        let seconds = u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        let nanos = (u32::from_be_bytes([n0, n1, n2, n3]) & !WHITENED) + WHITENED + 1;
        if nanos < NANOS_PER_SEC {
            Self::from_parts(seconds, nanos)
        } else {
            Self::from_parts(seconds.saturating_add(1), 0)
        }
    }

    fn from_parts(seconds: u64, nanos: u32) -> Self {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&seconds.to_be_bytes());
        bytes[8..].copy_from_slice(&nanos.to_be_bytes());
        Self(bytes)
    }
}

/// 1970-01-01 00:00:00 UTC, which is 10 s past in TAI.
const UNIX_EPOCH: u64 = (1 << 62) + 10;

/// Bits of the nanoseconds that are cleared: steps of 16.8 ms, far below the 5 s between two initiations.
const WHITENED: u32 = (1 << 24) - 1;

const NANOS_PER_SEC: u32 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_libtai_and_ordered_as_time_is() {
        let label = Tai64n::at(Duration::new(1, 0x0200_0001));

        assert_eq!(label.as_bytes(), &[0x40, 0, 0, 0, 0, 0, 0, 0x0b, 2, 0, 0, 0]);
        assert!(label > Tai64n::at(Duration::new(1, 0)) && label < Tai64n::at(Duration::new(2, 0)));
    }

    #[test]
    fn the_next_label_is_later_and_crosses_seconds() {
        let mut label = Tai64n::at(Duration::from_secs(7));
        for _ in 0..200 {
            assert!(label.next() > label);
            label = label.next();
        }
        assert!(label > Tai64n::at(Duration::from_secs(10)) && label < Tai64n::at(Duration::from_secs(11)));
    }
}

//! Messages between the two ends of a sealed session that are no IP packets; only between our own agents.

/// A message in place of an IP packet: its first byte is neither 0x4… nor 0x6….
///
/// ```text
/// byte  0  1 = ping, 2 = pong
///       1  number that the pong repeats, 8 bytes, little-endian
///       9  zeros, so that the datagram has the size whose path is asked for
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// Which of the two.
    pub kind: ControlKind,
    /// What a pong repeats of its ping.
    pub number: u64,
    /// Length of the whole message in bytes, [`Control::LEN`] or more.
    pub len: usize,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlKind {
    /// Asks whether datagrams get through, and how long ones.
    Ping,
    /// Answers a ping.
    Pong,
}

impl Control {
    /// Length without padding.
    pub const LEN: usize = 9;

    /// Reads a message; `None` if it is none.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let kind = match message.first()? {
            1 => ControlKind::Ping,
            2 => ControlKind::Pong,
            _ => return None,
        };
        let number = u64::from_le_bytes(*message.get(1..)?.first_chunk()?);
        Some(Self { kind, number, len: message.len() })
    }

    /// Writes the message over all of `out`, whose length must be `len`.
    pub fn write(&self, out: &mut [u8]) {
        out.fill(0);
        if let Some((kind, rest)) = out.split_first_mut() {
            *kind = match self.kind {
                ControlKind::Ping => 1,
                ControlKind::Pong => 2,
            };
            if let Some(number) = rest.first_chunk_mut() {
                *number = self.number.to_le_bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        for kind in [ControlKind::Ping, ControlKind::Pong] {
            for len in [Control::LEN, 1400] {
                let message = Control { kind, number: 0x1234_5678_9abc_def0, len };
                let mut bytes = vec![0xff; len];
                message.write(&mut bytes);
                assert_eq!(Control::parse(&bytes), Some(message));
            }
        }
    }

    #[test]
    fn packets_and_scraps_are_no_messages() {
        for bytes in [&[][..], &[1; 8], &[0x45; 20], &[0x60; 40], &[3; 9]] {
            assert_eq!(Control::parse(bytes), None);
        }
    }
}

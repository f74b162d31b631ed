use std::error::Error;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tunmesh_protocol::{Capsule, CapsuleError, NodeId};

use super::deliver::Delivery;
use crate::data::{Device, Relay};
use crate::shared::Shared;

/// Delivers what comes in on a stream of the member `peer` until either end has enough.
pub(crate) async fn receive(
    shared: &Shared,
    device: &Device,
    relay: &Relay,
    peer: &NodeId,
    connection: &mut h2::server::Connection<TlsStream<TcpStream>, Bytes>,
    mut body: RecvStream,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut reader = Reader::default();
    let mut heard_at = Instant::now();
    loop {
        tokio::select! {
            biased;
            chunk = body.data() => {
                let Some(chunk) = chunk else { return Ok(()) };
                let chunk = chunk?;
                body.flow_control().release_capacity(chunk.len())?;
                let Some(delivery) = Delivery::new(shared, device, relay, peer) else { return Ok(()) };
                reader.read(&chunk, |capsule| delivery.capsule(capsule))?;
                heard_at = Instant::now();
            }
            other = connection.accept() => match other {
                Some(other) => other?.1.send_reset(Reason::REFUSED_STREAM),
                None => return Ok(()),
            },
            () = tokio::time::sleep_until((heard_at + SILENCE_LIMIT).into()) => return Ok(()),
        }
    }
}

/// Cuts what comes in into capsules; keeps the beginning of one that is not all there.
#[derive(Default)]
struct Reader {
    partial: Vec<u8>,
}

impl Reader {
    fn read(&mut self, chunk: &[u8], mut each: impl FnMut(Capsule<'_>)) -> Result<(), CapsuleError> {
        if self.partial.is_empty() {
            let taken = take_all(chunk, &mut each)?;
            self.partial.extend_from_slice(&chunk[taken..]);
        } else {
            self.partial.extend_from_slice(chunk);
            let taken = take_all(&self.partial, &mut each)?;
            self.partial.drain(..taken);
        }
        Ok(())
    }
}

/// Hands out all whole capsules and returns how many bytes they have.
fn take_all(bytes: &[u8], mut each: impl FnMut(Capsule<'_>)) -> Result<usize, CapsuleError> {
    let mut taken = 0;
    while let Some((capsule, len)) = Capsule::decode(&bytes[taken..])? {
        each(capsule);
        taken += len;
    }
    Ok(taken)
}

/// Silence after which a stream counts as forgotten; its sender closes it long before.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn capsules_come_out_whole_however_the_stream_is_cut(
            lens in prop::collection::vec(0usize..3000, 1..20),
            cuts in prop::collection::vec(1usize..2000, 1..40),
        ) {
            let packets: Vec<Vec<u8>> = lens.iter().enumerate().map(|(at, len)| vec![at as u8; *len]).collect();
            let mut stream = Vec::new();
            for packet in &packets {
                Capsule::Packet(packet).encode(&mut stream);
            }

            let (mut reader, mut found) = (Reader::default(), Vec::new());
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                let (chunk, after) = rest.split_at(rest.len().min(*cut));
                rest = after;
                let each = |capsule: Capsule<'_>| {
                    let Capsule::Packet(packet) = capsule else { panic!("{capsule:?}") };
                    found.push(packet.to_vec());
                };
                reader.read(chunk, each).unwrap();
                if rest.is_empty() {
                    break;
                }
            }

            prop_assert_eq!(found, packets);
            prop_assert!(reader.partial.is_empty());
        }
    }
}

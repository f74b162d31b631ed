//! The handshake `Noise_IKpsk2` with the bodies of WireGuard's messages (paper, section 5.4.2 and 5.4.3).
//!
//! The state machine is that of `snow`; its primitives are in [`primitives`]. The steps of Noise are those of the paper:
//! its construction is the name of the protocol, its identifier the prologue, the timestamp the payload of the first
//! message. `snow` frees its chaining key without clearing it; the private keys and the transport keys are cleared here.

mod primitives;
#[cfg(test)]
mod tests;

use snow::params::NoiseParams;
use snow::{Builder, HandshakeState};
use zeroize::Zeroizing;

use crate::key::{KEY_LEN, PresharedKey, PrivateKey, PublicKey};
use crate::suite::Suite;
use crate::tai64n::Tai64n;
use crate::wire::{INITIATION_BODY_LEN, RESPONSE_BODY_LEN};

use self::primitives::Primitives;

/// Keys of a session, by direction.
pub(crate) struct TransportKeys {
    pub(crate) sending: Zeroizing<[u8; KEY_LEN]>,
    pub(crate) receiving: Zeroizing<[u8; KEY_LEN]>,
}

/// A message that was not made by whom it claims, for us, with this suite and preshared key; or a public key on which no
/// secret can be agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HandshakeFailed;

impl From<snow::Error> for HandshakeFailed {
    fn from(_: snow::Error) -> Self {
        Self
    }
}

/// Whoever sent the first message and waits for the second.
pub(crate) struct Initiator(HandshakeState);

impl Initiator {
    /// Makes the body of the first message to `remote`.
    pub(crate) fn start(
        suite: Suite,
        local: &PrivateKey,
        remote: &PublicKey,
        ephemeral: Zeroizing<[u8; KEY_LEN]>,
        timestamp: Tai64n,
    ) -> Result<(Self, [u8; INITIATION_BODY_LEN]), HandshakeFailed> {
        let mut state = builder(suite, local, ephemeral)?.remote_public_key(remote.as_bytes())?.build_initiator()?;
        let mut body = [0; INITIATION_BODY_LEN];
        state.write_message(timestamp.as_bytes(), &mut body)?;
        Ok((Self(state), body))
    }

    /// Reads the body of the second message. After a failure the genuine one can still be read.
    pub(crate) fn finish(
        &mut self,
        psk: Option<&PresharedKey>,
        body: &[u8; RESPONSE_BODY_LEN],
    ) -> Result<TransportKeys, HandshakeFailed> {
        self.0.set_psk(PSK_LOCATION, psk_bytes(psk))?;
        self.0.read_message(body, &mut [])?;
        let (sending, receiving) = split(&mut self.0);
        Ok(TransportKeys { sending, receiving })
    }
}

/// Whoever read the first message and has not answered yet.
pub(crate) struct Responder {
    state: HandshakeState,
    /// Who proved to have sent the first message.
    pub(crate) remote: PublicKey,
    /// When the first message was made, by the clock of its sender.
    pub(crate) timestamp: Tai64n,
}

impl Responder {
    /// Reads the body of the first message.
    pub(crate) fn read(
        suite: Suite,
        local: &PrivateKey,
        ephemeral: Zeroizing<[u8; KEY_LEN]>,
        body: &[u8; INITIATION_BODY_LEN],
    ) -> Result<Self, HandshakeFailed> {
        let mut state = builder(suite, local, ephemeral)?.build_responder()?;
        let mut timestamp = [0; Tai64n::LEN];
        state.read_message(body, &mut timestamp)?;
        let remote = state.get_remote_static().and_then(|key| key.try_into().ok()).ok_or(HandshakeFailed)?;
        Ok(Self { state, remote: PublicKey::from_bytes(remote), timestamp: Tai64n::from_bytes(timestamp) })
    }

    /// Makes the body of the second message.
    pub(crate) fn respond(
        mut self,
        psk: Option<&PresharedKey>,
    ) -> Result<(TransportKeys, [u8; RESPONSE_BODY_LEN]), HandshakeFailed> {
        self.state.set_psk(PSK_LOCATION, psk_bytes(psk))?;
        let mut body = [0; RESPONSE_BODY_LEN];
        self.state.write_message(&[], &mut body)?;
        let (receiving, sending) = split(&mut self.state);
        Ok((TransportKeys { sending, receiving }, body))
    }
}

fn builder(
    suite: Suite,
    local: &PrivateKey,
    ephemeral: Zeroizing<[u8; KEY_LEN]>,
) -> Result<Builder<'_>, HandshakeFailed> {
    let params: NoiseParams = NAME.parse()?;
    let builder = Builder::with_resolver(params, Box::new(Primitives { ephemeral }));
    Ok(builder.prologue(suite.prologue())?.local_private_key(local.as_bytes())?)
}

fn psk_bytes(psk: Option<&PresharedKey>) -> &[u8; KEY_LEN] {
    psk.map_or(&[0; KEY_LEN], PresharedKey::as_bytes)
}

/// The key of the initiator for sending, then that of the responder.
fn split(state: &mut HandshakeState) -> (Zeroizing<[u8; KEY_LEN]>, Zeroizing<[u8; KEY_LEN]>) {
    let (initiator, responder) = state.dangerously_get_raw_split();
    (Zeroizing::new(initiator), Zeroizing::new(responder))
}

/// The construction of both suites.
const NAME: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";

/// `psk2`: at the end of the second message.
const PSK_LOCATION: usize = 2;

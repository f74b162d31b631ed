use std::fmt;

use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use ipnet::IpNet;

use crate::record::Record;
use crate::signed::{Signed, Signer};

/// How a mesh decides that a member may say what its record says.
pub trait Identity: Send {
    /// Signs `message` as this node.
    fn sign(&self, message: &[u8]) -> Signed;

    /// Whether `signer` signed `message` and may say all that is in `record`, which is what `message` holds.
    ///
    /// Called once per record that is new here; never for one whose id is known by another [`Signer::Key`].
    ///
    /// # Errors
    ///
    /// Why the record is refused. It is then neither kept nor passed on.
    fn verify(&self, record: &Record, signer: &Signer, message: &[u8], signature: &[u8]) -> Result<(), RefusedRecord>;
}

/// Why a record is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedRecord {
    /// The certificate does not name that address.
    #[error("address {address} is not in the certificate")]
    AddressNotCertified {
        /// The first such address.
        address: IpNet,
    },
    /// The signer did not sign this.
    #[error("wrong signature")]
    BadSignature,
    /// As many members as there is room for are known already.
    #[error("no room for another member")]
    Full,
    /// The certificate does not name that node.
    #[error("the certificate is another member's")]
    IdNotCertified,
    /// Another id has the same hash.
    #[error("another id has the same hash")]
    IdCollision,
    /// The id is known, and what vouched for it was another key.
    #[error("the id is known by another key")]
    KeyChanged,
    /// The bytes are no record.
    #[error("the record is malformed")]
    Malformed,
    /// No chain to a trusted authority, or out of its validity.
    #[error("the certificate is not trusted")]
    UntrustedCertificate,
    /// A key where a certificate is wanted, or the reverse.
    #[error("another kind of signer is wanted")]
    WrongSigner,
}

/// An Ed25519 key made at start and kept in memory only: whoever knows the cluster secret may join, nobody may speak for
/// another member as long as that one is known.
pub struct KeyIdentity(Ed25519KeyPair);

impl KeyIdentity {
    /// The key pair of `seed`, 32 fresh random bytes (RFC 8032, section 5.1.5).
    ///
    /// # Errors
    ///
    /// When the cryptographic library refuses; no seed is known for which it does.
    pub fn new(seed: &[u8; 32]) -> Result<Self, KeyRejected> {
        Ed25519KeyPair::from_seed_unchecked(seed).map(Self)
    }
}

impl Identity for KeyIdentity {
    fn sign(&self, message: &[u8]) -> Signed {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        Signed { signer: Signer::Key(key), signature: self.0.sign(message).as_ref().to_vec() }
    }

    fn verify(&self, _record: &Record, signer: &Signer, message: &[u8], signature: &[u8]) -> Result<(), RefusedRecord> {
        match signer {
            Signer::Certificate(_) => Err(RefusedRecord::WrongSigner),
            Signer::Key(key) => UnparsedPublicKey::new(&ED25519, key)
                .verify(message, signature)
                .map_err(|_| RefusedRecord::BadSignature),
        }
    }
}

impl fmt::Debug for KeyIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyIdentity(redacted)")
    }
}

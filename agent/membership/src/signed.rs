use std::sync::Arc;

use crate::record::{Record, RecordError};
use crate::wire::{Malformed, Reader, put_long};

/// A record as it travels: who signed it, the signature, the bytes of the [`Record`].
///
/// 0 and 32 bytes of key, or 1 and length (2) and certificate; length (2) and signature; length (2) and record. What is
/// signed is [`SIGNED_PREFIX`] and then the bytes of the record. At most [`MAX_SIGNED_LEN`] bytes in all. Cloning is a
/// reference count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignedRecord(Arc<[u8]>);

impl SignedRecord {
    /// Puts the parts together.
    ///
    /// # Errors
    ///
    /// [`RecordError::TooLong`].
    pub(crate) fn new(encoded: &[u8], signed: &Signed) -> Result<Self, RecordError> {
        let mut out = Vec::with_capacity(encoded.len() + 128);
        match &signed.signer {
            Signer::Key(key) => {
                out.push(KEY);
                out.extend(key);
            }
            Signer::Certificate(der) => {
                out.push(CERTIFICATE);
                put_long(&mut out, der);
            }
        }
        put_long(&mut out, &signed.signature);
        put_long(&mut out, encoded);
        if out.len() > MAX_SIGNED_LEN {
            return Err(RecordError::TooLong { found: out.len(), most: MAX_SIGNED_LEN });
        }
        Ok(Self(out.into()))
    }

    /// Keeps `parts` as they were read.
    pub(crate) fn keep(parts: &SignedParts<'_>) -> Self {
        Self(parts.all.into())
    }

    /// Takes it apart.
    pub(crate) fn parts(&self) -> SignedParts<'_> {
        SignedParts::read(&self.0).expect("it was put together or read here before")
    }
}

/// A signed record taken apart, nothing verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SignedParts<'a> {
    all: &'a [u8],
    certificate: bool,
    signer: &'a [u8],
    pub(crate) signature: &'a [u8],
    pub(crate) encoded: &'a [u8],
}

impl<'a> SignedParts<'a> {
    pub(crate) fn read(all: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(all);
        let (certificate, signer) = match reader.u8()? {
            KEY => (false, reader.bytes(32)?),
            CERTIFICATE => (true, reader.long()?),
            _ => return Err(Malformed),
        };
        let parts = Self { all, certificate, signer, signature: reader.long()?, encoded: reader.long()? };
        if reader.is_empty() && all.len() <= MAX_SIGNED_LEN { Ok(parts) } else { Err(Malformed) }
    }

    pub(crate) fn signer(&self) -> Signer {
        match (self.certificate, self.signer.try_into()) {
            (false, Ok(key)) => Signer::Key(key),
            _ => Signer::Certificate(self.signer.into()),
        }
    }

    pub(crate) const fn all(&self) -> &'a [u8] {
        self.all
    }

    /// The id and the incarnation the record claims.
    pub(crate) fn peek(&self) -> Result<(&'a str, u64), Malformed> {
        Record::peek(self.encoded)
    }
}

/// What vouches for a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// The member's certificate, DER.
    Certificate(Vec<u8>),
    /// An Ed25519 key the member made for itself.
    Key([u8; 32]),
}

/// A signature and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Who signed.
    pub signer: Signer,
    /// The signature.
    pub signature: Vec<u8>,
}

/// The message a member signs.
pub(crate) fn message(encoded: &[u8]) -> Vec<u8> {
    [SIGNED_PREFIX, encoded].concat()
}

/// Longest signed record, in bytes: one fits into a datagram with room to spare for what it is sent with.
pub const MAX_SIGNED_LEN: usize = 1100;

/// What every signed message begins with, so that no signature made for another purpose is one of a record.
pub const SIGNED_PREFIX: &[u8] = b"tunmesh v1 record\0";

const KEY: u8 = 0;
const CERTIFICATE: u8 = 1;

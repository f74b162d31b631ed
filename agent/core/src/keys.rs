//! Keys that follow from others, by HKDF-SHA256 (RFC 5869). None of them is ever written anywhere.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use tunmesh_membership::KeyId;
use tunmesh_protocol::{NodeId, Secret};

/// 32 bytes that follow from `secret` and tell nothing about it; `info` says what they are for.
pub fn derive(secret: &[u8], info: &[&[u8]]) -> [u8; 32] {
    let mut key = [0; 32];
    Salt::new(HKDF_SHA256, &[])
        .extract(secret)
        .expand(info, Length)
        .and_then(|okm| okm.fill(&mut key))
        .expect("HKDF gives up to 8160 bytes");
    key
}

/// The key that two members share beside their public keys: it follows from a cluster secret that both know.
///
/// While secrets change, both choose the same one: of those of the member with the lower id, newest first, the first that
/// the other knows too. `ours` are our secrets with their public names; `None` if there is no common one.
pub(crate) fn preshared(
    ours: &[(KeyId, &Secret)],
    theirs: &[KeyId],
    (our_id, their_id): (&NodeId, &NodeId),
) -> Option<[u8; 32]> {
    let known = |id: &KeyId| ours.iter().find(|(ours, _)| ours == id).map(|(_, secret)| *secret);
    let (low, high) = if our_id < their_id { (our_id, their_id) } else { (their_id, our_id) };
    let secret = if our_id < their_id {
        ours.iter().find(|(id, _)| theirs.contains(id)).map(|(_, secret)| *secret)
    } else {
        theirs.iter().find_map(known)
    }?;
    let info: [&[u8]; 4] = [b"tunmesh v1 psk ", low.as_str().as_bytes(), b" ", high.as_str().as_bytes()];
    Some(derive(secret.as_bytes(), &info))
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::from_bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn both_ends_choose_the_same_key_however_far_a_change_of_secrets_is() {
        let [old, new] = [secret("old"), secret("new")];
        let (o, n) = ((KeyId([1; 4]), &old), (KeyId([2; 4]), &new));
        let (a, b): (NodeId, NodeId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let stages = [vec![o], vec![o, n], vec![n, o], vec![n]];
        for ours in &stages {
            for theirs in &stages {
                let ids = |known: &[(KeyId, &Secret)]| known.iter().map(|(id, _)| *id).collect::<Vec<_>>();
                let here = preshared(ours, &ids(theirs), (&a, &b));
                let there = preshared(theirs, &ids(ours), (&b, &a));
                assert_eq!(here, there);
                assert_eq!(here.is_some(), ids(ours).iter().any(|id| ids(theirs).contains(id)));
            }
        }
    }

    #[test]
    fn every_pair_has_a_key_of_its_own() {
        let secret = secret("s");
        let ours = [(KeyId([1; 4]), &secret)];
        let [a, b, c]: [NodeId; 3] = ["a", "b", "c"].map(|id| id.parse().unwrap());
        let key = |one, other| preshared(&ours, &[KeyId([1; 4])], (one, other)).unwrap();
        assert_ne!(key(&a, &b), key(&a, &c));
    }
}

use super::*;

fn secret(text: &str) -> Secret {
    Secret::from_bytes(text.as_bytes().to_vec())
}

fn peer(public_key: Option<[u8; 32]>) -> WireGuardPeer {
    WireGuardPeer { address: [192, 168, 129, 70].into(), public_key }
}

/// The public key of a node, as a device has it.
fn node(tls_key: &[u8], secret_text: &str, address: [u8; 4]) -> String {
    node_key(tls_key, &secret(secret_text), address.into()).public_key().to_string()
}

#[test]
fn the_key_of_a_node_stays_over_restarts_and_versions() {
    assert_eq!(node(b"tls key", "s", [192, 168, 129, 10]), "pID4s0EX/f9ma498i3y+lHSFqqCQe90Xia6yVTFBc34=");
}

#[test]
fn the_key_of_a_node_differs_by_certificate_secret_and_address() {
    let keys = [
        node(b"tls key", "s", [192, 168, 129, 10]),
        node(b"another", "s", [192, 168, 129, 10]),
        node(b"tls key", "t", [192, 168, 129, 10]),
        node(b"tls key", "s", [192, 168, 129, 20]),
    ];

    for (index, key) in keys.iter().enumerate() {
        assert!(!keys[..index].contains(key), "{index}");
    }
}

#[test]
fn the_keys_of_a_device_stay_and_differ_by_secret_and_name() {
    let phone = DeviceKeys::new(&secret("s"), "phone", &peer(None));
    assert_eq!(phone.public.to_string(), "wZtr8Xs2l8z/PVZV+9l7Vlf8pBUajsm+FoGLoRTCwFU=");
    assert_eq!(phone.private.as_ref().map(PrivateKey::public_key), Some(phone.public));

    for (other, name) in [("s", "phones"), ("t", "phone")] {
        let device = DeviceKeys::new(&secret(other), name, &peer(None));
        assert_ne!(device.public, phone.public, "{other} {name}");
        assert_ne!(device.preshared, phone.preshared, "{other} {name}");
    }
}

#[test]
fn a_device_that_has_its_own_key_still_shares_a_secret_with_its_node() {
    let device = DeviceKeys::new(&secret("s"), "phone", &peer(Some([7; 32])));

    assert_eq!(device.public, PublicKey::from_bytes([7; 32]));
    assert!(device.private.is_none());
    assert_eq!(device.preshared, DeviceKeys::new(&secret("s"), "phone", &peer(None)).preshared);
}

#[test]
fn a_device_is_another_member_under_another_name_or_address() {
    let id_of = |name, last| id(name, [192, 168, 129, last].into());

    assert_eq!(id_of("phone", 70), id_of("phone", 70));
    assert_ne!(id_of("phone", 70), id_of("laptop", 70));
    assert_ne!(id_of("phone", 70), id_of("phone", 71));
}

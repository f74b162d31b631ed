use std::path::PathBuf;
use std::sync::Arc;

use rustls::{ClientConnection, ServerConnection};
use rustls_pki_types::ServerName;
use tunmesh_protocol::config::Ssl;

use super::Tls;

fn recorded(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "protocol/tests/vectors/tunmesh-v0/tls", name].iter().collect()
}

fn load(cert: &str, key: &str, ca: Option<&str>, verify_hostname: bool) -> Tls {
    Tls::load(&Ssl {
        ca_file_path: ca.map(recorded),
        cert_file_path: recorded(cert),
        key_file_path: recorded(key),
        verify_hostname,
    })
    .unwrap()
}

/// Runs one handshake in memory and returns what the client says of the server.
#[expect(
    clippy::unwrap_in_result,
    reason = "only the verdict of the other end is a result; all else is the test's own"
)]
fn handshake(client: &Tls, server: &Tls, name: &str) -> Result<(), rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(&client.client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(&server.server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut unread = bytes.as_slice();
        while !unread.is_empty() {
            server.read_tls(&mut unread).unwrap();
            server.process_new_packets()?;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut unread = bytes.as_slice();
        while !unread.is_empty() {
            client.read_tls(&mut unread).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok(())
}

#[test]
fn one_self_signed_ca_certificate_serves_as_leaf_and_anchor() {
    let shared = load("cert.pem", "key.pem", None, false);

    assert_eq!(handshake(&shared, &shared, "10.77.0.1"), Ok(()));
}

#[test]
fn leaves_of_the_ca_file_are_accepted_whatever_their_name() {
    let trusting = load("cert.pem", "key.pem", Some("ca.pem"), false);

    for (cert, key) in [("leaf.pem", "leaf.key"), ("leaf_ecdsa.pem", "leaf_ecdsa.key")] {
        assert_eq!(handshake(&trusting, &load(cert, key, None, false), "10.77.0.4"), Ok(()), "{cert}");
    }
}

#[test]
fn expired_and_foreign_certificates_are_refused() {
    let trusting = load("cert.pem", "key.pem", Some("ca.pem"), false);

    for (cert, key) in [("untrusted.pem", "untrusted.key"), ("expired.pem", "expired.key"), ("cert.pem", "key.pem")] {
        assert!(handshake(&trusting, &load(cert, key, None, false), "10.77.0.4").is_err(), "{cert}");
    }
}

#[test]
fn an_expired_certificate_is_refused_even_as_its_own_anchor() {
    let expired = load("expired.pem", "expired.key", None, false);

    assert!(matches!(
        handshake(&expired, &expired, "10.77.0.4"),
        Err(rustls::Error::InvalidCertificate(rustls::CertificateError::Expired))
    ));
}

#[test]
fn the_host_name_is_compared_on_request() {
    let strict = load("cert.pem", "key.pem", Some("ca.pem"), true);
    let leaf = load("leaf.pem", "leaf.key", None, false);

    assert!(handshake(&strict, &leaf, "10.77.0.4").is_err());
    assert_eq!(handshake(&strict, &leaf, "leaf.local"), Ok(()));
}

use std::net::Ipv4Addr;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SignatureAlgorithm, date_time_ymd};
use rustls_pki_types::PrivateKeyDer;
use tunmesh_membership::Capabilities;

use super::*;

const OWN: [u8; 4] = [192, 168, 129, 10];
const DEVICE: &str = "192.168.129.11";
const OTHERS: &str = "192.168.129.20";

#[test]
fn a_record_with_certified_addresses_is_accepted_whatever_the_kind_of_key() {
    let authority = authority();
    for kind in
        [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256]
    {
        let identity = issue(&authority, &["192.168.129.10", "fd00::10", DEVICE], kind);

        let verdict =
            verdict(&identity, &identity, &record(&["192.168.129.10/32", "fd00::10/128", "192.168.129.11/32"]));

        assert_eq!(verdict, Ok(()), "{kind:?}");
    }
}

#[test]
fn an_address_that_is_not_in_the_certificate_is_refused_own_or_routed() {
    let identity = issue(&authority(), &["192.168.129.10"], &rcgen::PKCS_ED25519);
    let cases: [(&[&str], &str); 4] = [
        (&["192.168.129.20/32"], "192.168.129.20/32"),
        (&["192.168.129.10/32", "192.168.129.11/32"], "192.168.129.11/32"),
        (&["192.168.129.10/32", "fd00::10/128"], "fd00::10/128"),
        // A network holds more than the address that is named.
        (&["192.168.129.10/32", "192.168.129.10/31"], "192.168.129.10/31"),
    ];

    for (addresses, refused) in cases {
        let address = refused.parse().unwrap();
        let verdict = verdict(&identity, &identity, &record(addresses));
        assert_eq!(verdict, Err(RefusedRecord::AddressNotCertified { address }));
    }
}

#[test]
fn an_id_that_does_not_belong_to_the_address_is_refused() {
    let identity = issue(&authority(), &["192.168.129.10"], &rcgen::PKCS_ED25519);
    let own = record(&["192.168.129.10/32"]);
    let others = node_id([7; 8], OTHERS.parse().unwrap());
    let unbound = NodeId::from_random([9; 16]);

    for id in [others, unbound, "7".parse().unwrap()] {
        let verdict = verdict(&identity, &identity, &Record { id, ..own.clone() });
        assert_eq!(verdict, Err(RefusedRecord::IdNotCertified));
    }
    assert_eq!(verdict(&identity, &identity, &record(&[])), Err(RefusedRecord::IdNotCertified));
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let ours = issue(&authority(), &["192.168.129.10"], &rcgen::PKCS_ED25519);
    let theirs = issue(&authority(), &["192.168.129.10"], &rcgen::PKCS_ED25519);

    let verdict = verdict(&ours, &theirs, &record(&["192.168.129.10/32"]));

    assert_eq!(verdict, Err(RefusedRecord::UntrustedCertificate));
}

#[test]
fn the_authority_itself_is_no_member() {
    let authority = authority();
    let key = key_of(authority.key());
    let provider = aws_lc_rs::default_provider();
    let itself = CertificateIdentity::new(authority.der().clone(), key, &[authority.der().clone()], &provider);

    assert_eq!(verdict(&itself, &itself, &record(&["192.168.129.10/32"])), Err(RefusedRecord::UntrustedCertificate));
}

#[test]
fn a_certificate_out_of_its_validity_is_refused() {
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["192.168.129.10".into()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    let leaf = params.signed_by(&key, &authority).unwrap();
    let provider = aws_lc_rs::default_provider();
    let identity = CertificateIdentity::new(leaf.der().clone(), key_of(&key), &[authority.der().clone()], &provider);
    let (record, message) = (record(&["192.168.129.10/32"]), b"record");
    let Signed { signer, signature } = identity.sign(message);

    let days = [(18_261, false), (18_263, true), (18_627, true), (18_629, false)];
    for (day, valid) in days {
        let at = UnixTime::since_unix_epoch(Duration::from_secs(day * 86_400));
        let expected = if valid { Ok(()) } else { Err(RefusedRecord::UntrustedCertificate) };
        assert_eq!(identity.verify_at(&record, &signer, message, &signature, at), expected, "day {day}");
    }
}

#[test]
fn a_signature_that_is_not_of_this_message_this_key_and_this_scheme_is_refused() {
    let authority = authority();
    let identity = issue(&authority, &["192.168.129.10"], &rcgen::PKCS_ECDSA_P256_SHA256);
    let other = issue(&authority, &["192.168.129.10"], &rcgen::PKCS_ECDSA_P256_SHA256);
    let record = record(&["192.168.129.10/32"]);
    let Signed { signer, signature } = identity.sign(b"record");
    let mut altered = signature.clone();
    altered[10] ^= 1;
    let with_scheme = |scheme: SignatureScheme| [&u16::from(scheme).to_be_bytes(), &signature[2..]].concat();
    let cases: [(&[u8], Vec<u8>); 8] = [
        (b"another", signature.clone()),
        (b"record", altered),
        (b"record", other.sign(b"record").signature),
        (b"record", with_scheme(SignatureScheme::ED25519)),
        (b"record", with_scheme(SignatureScheme::ECDSA_NISTP384_SHA384)),
        (b"record", with_scheme(SignatureScheme::Unknown(0xfefe))),
        (b"record", signature[..1].to_vec()),
        (b"record", Vec::new()),
    ];

    assert_eq!(identity.verify(&record, &signer, b"record", &signature), Ok(()));
    for (index, (message, signature)) in cases.into_iter().enumerate() {
        let verdict = identity.verify(&record, &signer, message, &signature);
        assert_eq!(verdict, Err(RefusedRecord::BadSignature), "case {index}");
    }
}

#[test]
fn a_key_without_a_certificate_is_no_signer() {
    let identity = issue(&authority(), &["192.168.129.10"], &rcgen::PKCS_ED25519);

    let verdict = identity.verify(&record(&["192.168.129.10/32"]), &Signer::Key([1; 32]), b"record", &[0; 64]);

    assert_eq!(verdict, Err(RefusedRecord::WrongSigner));
}

#[test]
fn a_proof_holds_for_one_request_and_one_address() {
    let authority = authority();
    let identity = issue(&authority, &["192.168.129.10"], &rcgen::PKCS_ED25519);
    let value = identity.prove("Bearer: a");
    let proof = |authorization: &str, value: &str| Proof { authorization: authorization.into(), value: value.into() };
    let own = Ipv4Addr::from(OWN);

    assert_eq!(identity.check(&proof("Bearer: a", &value), own), Ok(()));
    assert_eq!(identity.check(&proof("Bearer: b", &value), own), Err(RefusedRecord::BadSignature));
    let address = "192.168.129.20/32".parse().unwrap();
    let verdict = identity.check(&proof("Bearer: a", &value), OTHERS.parse().unwrap());
    assert_eq!(verdict, Err(RefusedRecord::AddressNotCertified { address }));
    for malformed in ["", ".", "a.b.c", "=.="] {
        assert!(identity.check(&proof("Bearer: a", malformed), own).is_err(), "{malformed:?}");
    }
    // A signature of a record is none of a request.
    let record = identity.sign(b"Bearer: a").signature;
    let mixed = [&identity.certificate[..], &record].map(|part| URL_SAFE_NO_PAD.encode_to_string(part)).join(".");
    assert_eq!(identity.check(&proof("Bearer: a", &mixed), own), Err(RefusedRecord::BadSignature));
}

fn verdict(at: &CertificateIdentity, by: &CertificateIdentity, record: &Record) -> Result<(), RefusedRecord> {
    let Signed { signer, signature } = by.sign(b"record");
    at.verify(record, &signer, b"record", &signature)
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(
    authority: &CertifiedIssuer<'_, KeyPair>,
    names: &[&str],
    kind: &'static SignatureAlgorithm,
) -> CertificateIdentity {
    let key = KeyPair::generate_for(kind).unwrap();
    let params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    let leaf = params.signed_by(&key, authority).unwrap();
    let provider = aws_lc_rs::default_provider();
    CertificateIdentity::new(leaf.der().clone(), key_of(&key), &[authority.der().clone()], &provider)
}

fn key_of(key: &KeyPair) -> Arc<dyn SigningKey> {
    let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    aws_lc_rs::default_provider().key_provider.load_private_key(der).unwrap()
}

/// What the node with [`OWN`] says of itself, but for the addresses.
fn record(addresses: &[&str]) -> Record {
    let addresses: Vec<IpNet> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    Record {
        id: node_id([7; 8], addresses.first().map_or_else(|| IpAddr::from(OWN), IpNet::addr)),
        incarnation: 1,
        started: 1,
        left: false,
        url: "https://10.77.0.1:4567".parse().unwrap(),
        endpoints: Vec::new(),
        public_key: [1; 32],
        addresses,
        groups: Vec::new(),
        capabilities: Capabilities::default(),
        version: String::new(),
        secrets: Vec::new(),
    }
}

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use proptest::prelude::*;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tunmesh_crds::Trust;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{Issued, LeafRequest, MeshName, MeshTrust, TrustError, authority_lifetime};

#[test]
fn a_certificate_chains_to_its_authority_and_says_who_it_is_of() {
    let trust = generate();
    let request = request();

    let issued = trust.issue(&request, now()).unwrap();

    verify(&trust.authorities_pem(), &issued, now()).unwrap();
    let der = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
    let leaf = EndEntityCert::try_from(&der).unwrap();
    for name in ["10.77.0.9", "fd77::a4d:9", "10.244.1.7", "vm.example"] {
        leaf.verify_is_valid_for_subject_name(&ServerName::try_from(name).unwrap()).unwrap();
    }
    assert!(leaf.verify_is_valid_for_subject_name(&ServerName::try_from("10.77.0.10").unwrap()).is_err());
    let (_, parsed) = X509Certificate::from_der(&der).unwrap();
    let names = &parsed.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert!(names.contains(&GeneralName::URI("spiffe://m.default.tunmesh.io/ns/apps/member/web-0")));
    assert!(!parsed.is_ca());
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth);
}

#[test]
fn the_key_is_that_of_the_certificate() {
    let issued = generate().issue(&request(), now()).unwrap();

    let certificate = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.private_key_pem.as_bytes()).unwrap();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    rustls::sign::CertifiedKey::new(vec![certificate], key).keys_match().unwrap();
}

#[test]
fn a_certificate_of_another_mesh_is_not_trusted() {
    let issued = generate().issue(&request(), now()).unwrap();

    assert_eq!(verify(&generate().authorities_pem(), &issued, now()), Err(webpki::Error::UnknownIssuer));
}

#[test]
fn members_trust_the_next_and_the_previous_authority_too() {
    let [current, next, previous] = [generate(), generate(), generate()];
    let mut data = current.to_secret_data();
    for (other, generation) in [(&next, "next"), (&previous, "previous")] {
        data.extend(other.to_secret_data().into_iter().map(|(key, value)| (key.replace("current", generation), value)));
    }

    let trust = MeshTrust::from_secret(&data).unwrap();

    for other in [&current, &next, &previous] {
        let issued = other.issue(&request(), now()).unwrap();
        verify(&trust.authorities_pem(), &issued, now()).unwrap();
    }
    let issued = trust.issue(&request(), now()).unwrap();
    verify(&current.authorities_pem(), &issued, now()).unwrap();
    assert_eq!(trust.cluster_secret(), current.cluster_secret());
    let beside: Vec<_> = trust.previous_cluster_secrets().collect();
    assert_eq!(beside, [next.cluster_secret(), previous.cluster_secret()]);
    assert_eq!(trust.to_secret_data(), data);
}

#[test]
fn what_was_stored_is_read_as_it_was() {
    let trust = generate();

    let read = MeshTrust::from_secret(&trust.to_secret_data()).unwrap();

    assert_eq!(read.to_secret_data(), trust.to_secret_data());
    assert_eq!(read.authority_created(), now());
    assert_eq!(read.authority_expires(), now() + Duration::from_secs(2 * 8760 * 3600));
    assert_eq!(read.cluster_secret_created(), now());
    let issued = read.issue(&request(), now()).unwrap();
    verify(&trust.authorities_pem(), &issued, now()).unwrap();
}

#[test]
fn a_damaged_secret_is_an_error_that_names_the_key_only() {
    let other = generate().to_secret_data();
    let leaf = generate().issue(&request(), now()).unwrap();
    let damages: [(&str, Option<&[u8]>, &str); 12] = [
        ("ca-current.crt", None, "ca-current.crt is missing"),
        ("ca-current.key", None, "ca-current.key is missing"),
        ("cluster-secret-current", None, "cluster-secret-current is missing"),
        ("cluster-secret-current-created", None, "cluster-secret-current-created is missing"),
        ("ca-current.crt", Some(b"\xff"), "ca-current.crt of the Secret of the mesh is not the certificate"),
        (
            "ca-current.crt",
            Some(leaf.certificate_pem.as_bytes()),
            "ca-current.crt of the Secret of the mesh is not the cert",
        ),
        (
            "ca-current.key",
            Some(b"-----BEGIN PRIVATE KEY-----\n"),
            "ca-current.key of the Secret of the mesh is not a private",
        ),
        ("ca-current.key", Some(&other["ca-current.key"].0), "is not the private key of its certificate"),
        ("cluster-secret-current", Some(b"c2hvcnQ="), "is not 256 bits in base64"),
        ("cluster-secret-current", Some(b"#"), "is not 256 bits in base64"),
        ("cluster-secret-current-created", Some(b"today"), "is not a time such as"),
        ("ca-next.key", Some(&other["ca-current.key"].0), "ca-next.crt is missing"),
    ];
    for (key, value, text) in damages {
        let mut data = generate().to_secret_data();
        data.remove(key);
        data.extend(value.map(|value| (key.to_owned(), ByteString(value.to_vec()))));

        let error = MeshTrust::from_secret(&data).err().unwrap().to_string();

        assert!(error.contains(text), "{key}: {error}");
        assert!(error.ends_with("restore it from a backup, or make the mesh again"), "{error}");
    }
}

#[test]
fn no_secret_is_shown() {
    let trust = generate();
    let issued = trust.issue(&request(), now()).unwrap();

    let shown = format!("{trust:?} {issued:?}");

    assert!(!shown.contains(trust.cluster_secret()) && !shown.contains("PRIVATE KEY"), "{shown}");
    assert!(!shown.contains("BEGIN"), "{shown}");
}

#[test]
fn a_certificate_ends_with_its_authority() {
    let trust = generate();
    let end = trust.authority_expires();
    let late = end - Duration::from_secs(3600);

    assert_eq!(trust.issue(&request(), late).unwrap().not_after, end);
    assert!(matches!(trust.issue(&request(), end), Err(TrustError::AuthorityEnded { ended }) if ended == end));
    let never_rotated: Trust = serde_json::from_str(r#"{"rotation": {"authority": "0s"}}"#).unwrap();
    assert!(authority_lifetime(&never_rotated) > 50 * 365 * DAY);
}

#[test]
fn a_clock_that_is_some_minutes_behind_takes_a_new_certificate() {
    let trust = generate();
    let issued = trust.issue(&request(), now()).unwrap();

    verify(&trust.authorities_pem(), &issued, now() - Duration::from_secs(299)).unwrap();
    assert!(verify(&trust.authorities_pem(), &issued, now() - Duration::from_secs(301)).is_err());
    assert!(verify(&trust.authorities_pem(), &issued, now() + DAY + Duration::from_secs(1)).is_err());
}

#[test]
fn members_made_at_once_are_renewed_one_after_the_other() {
    let trust = generate();
    let renewals: Vec<_> = (0..50)
        .map(|ordinal| {
            trust.issue(&LeafRequest { name: format!("web-{ordinal}"), ..request() }, now()).unwrap().renew_at
        })
        .collect();

    let [earliest, latest] = [now() + DAY * 56 / 100, now() + DAY * 2 / 3];
    assert!(renewals.iter().all(|at| (earliest..=latest).contains(at)), "{renewals:?}");
    let minutes: std::collections::BTreeSet<_> = renewals.iter().map(|at| at.as_second() / 60).collect();
    assert!(minutes.len() > 25, "{minutes:?}");
}

#[test]
fn a_certificate_of_other_names_or_of_another_authority_is_replaced_at_once() {
    let trust = generate();
    let issued = trust.issue(&request(), now()).unwrap();
    let pem = issued.certificate_pem.as_bytes();
    let renew_at = |trust: &MeshTrust, request: &LeafRequest| trust.renew_at(request, pem);

    assert_eq!(renew_at(&trust, &request()), Some(issued.renew_at));
    let reordered = request().addresses.into_iter().rev().collect();
    assert_eq!(renew_at(&trust, &LeafRequest { addresses: reordered, ..request() }), Some(issued.renew_at));
    assert_eq!(renew_at(&trust, &LeafRequest { addresses: vec![], ..request() }), None);
    assert_eq!(renew_at(&trust, &LeafRequest { dns_names: vec!["a".into()], ..request() }), None);
    assert_eq!(renew_at(&trust, &LeafRequest { name: "web-1".into(), ..request() }), None);
    assert_eq!(renew_at(&generate(), &request()), None);
    assert_eq!(trust.renew_at(&request(), b"-----BEGIN CERTIFICATE-----"), None);
}

#[test]
fn a_name_that_a_certificate_cannot_hold_is_refused() {
    let named = LeafRequest { dns_names: vec!["münchen".into()], ..request() };

    let outcome = generate().issue(&named, now());

    assert!(matches!(outcome, Err(TrustError::NameUnusable { name }) if name == "münchen"));
}

proptest! {
    #[test]
    fn no_secret_data_makes_it_panic(key in 0_usize..4, value: Vec<u8>, cut: prop::sample::Index) {
        let mut data = generate().to_secret_data();
        let key = data.keys().nth(key).cloned().unwrap();
        let cut = cut.index(data[&key].0.len());
        data.get_mut(&key).unwrap().0.truncate(cut);
        data.get_mut(&key).unwrap().0.extend(value);

        if let Ok(trust) = MeshTrust::from_secret(&data) {
            trust.issue(&request(), now()).unwrap();
        }
        prop_assert!(MeshTrust::from_secret(&BTreeMap::new()).is_err());
    }
}

fn generate() -> MeshTrust {
    MeshTrust::generate(&mesh(), &Trust::default(), now()).unwrap()
}

fn mesh() -> MeshName {
    MeshName { namespace: "default".into(), name: "m".into() }
}

fn request() -> LeafRequest {
    let addresses = ["10.77.0.9", "fd77::a4d:9", "10.244.1.7"].map(|address| address.parse::<IpAddr>().unwrap());
    LeafRequest {
        mesh: mesh(),
        namespace: "apps".into(),
        name: "web-0".into(),
        addresses: addresses.to_vec(),
        dns_names: vec!["vm.example".into()],
        lifetime: DAY,
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

#[expect(clippy::unwrap_in_result, reason = "only the verdict is a result; all else is the test's own")]
fn verify(authorities: &str, issued: &Issued, now: Timestamp) -> Result<(), webpki::Error> {
    let anchors: Vec<_> = CertificateDer::pem_slice_iter(authorities.as_bytes()).map(Result::unwrap).collect();
    let anchors: Vec<_> = anchors.iter().map(|anchor| anchor_from_trusted_cert(anchor).unwrap()).collect();
    let der = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
    let leaf = EndEntityCert::try_from(&der).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_second().try_into().unwrap()));
    for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
        leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &[], now, usage, None, None)?;
    }
    Ok(())
}

const DAY: Duration = Duration::from_secs(24 * 3600);

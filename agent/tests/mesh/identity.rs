//! Certificates that name addresses (`clustering.auth.address_certificates`): nobody has the address of another.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, RsaKeySize, SignatureAlgorithm};
use serde_json::Value;
use tunmesh_protocol::{NodeId, NodeInfo, mesh_ipv6, mesh_ipv6_network};

use crate::QUICK;
use crate::impostor::{Gossiper, Impostor, id_for};
use crate::support::{Agent, Lab, SLOW, overlay, wait_for};

#[test]
fn nodes_with_certificates_for_their_addresses_talk_by_datagrams() {
    let (lab, authority) = lab(2);

    let _agents = [1, 2].map(|number| authority.start(&lab, number, &[overlay(number)]));

    lab.wait_for_mesh(&[1, 2]);
    for (from, to) in [(1, 2), (2, 1)] {
        wait_for("datagrams carry the packets", SLOW, || lab.peer(from, to).is_some_and(|peer| peer["path"] == "udp"));
    }
}

#[test]
fn nodes_with_certificates_talk_by_v0_and_by_stream_too() {
    for paths in ["v0", "stream"] {
        let (lab, authority) = lab(2);
        let _agents = [1, 2].map(|number| {
            let file = authority.config(&lab, number, &[overlay(number)]);
            lab.edit(&file, "networking:\n", &format!("networking:\n    data_plane: {{paths: [{paths}]}}\n"));
            lab.start_from(number, &file)
        });

        lab.wait_for_mesh(&[1, 2]);
        if paths == "stream" {
            let network = mesh_ipv6_network("192.168.129.0/24".parse().unwrap());
            let other = mesh_ipv6(network, overlay(2)).to_string();
            let pings = || lab.run(1, "ping", &["-6", "-n", "-c", "1", "-W", "1", &other]).status.success();
            wait_for("the addresses told beside answers are certified too", SLOW, pings);
        }
    }
}

#[test]
fn a_node_whose_certificate_lacks_an_address_does_not_start_and_says_which() {
    let (lab, authority) = lab(1);
    let file = authority.config(&lab, 1, &[overlay(3)]);
    lab.edit(&file, "networking:\n", "networking:\n    wireguard_peers: {phone: {address: 192.168.129.11}}\n");

    let mut agent = lab.start_from(1, &file);

    assert_ne!(agent.wait(), 0);
    let log = agent.log();
    let parts = [
        "node1.pem",
        "does not name IP:192.168.129.10,IP:fd",
        ",IP:192.168.129.11,",
        "subjectAltName=IP:192.168.129.10,",
    ];
    for part in parts {
        assert!(log.contains(part), "{part:?} is not in\n{log}");
    }
}

#[test]
fn a_node_with_a_certificate_of_another_authority_does_not_start() {
    let (lab, authority) = lab(1);
    let file = authority.config(&lab, 1, &[overlay(1)]);
    Authority::new().issue(&lab, "node1", &[overlay(1)], &rcgen::PKCS_ECDSA_P256_SHA256);

    let mut agent = lab.start_from(1, &file);

    assert_ne!(agent.wait(), 0);
    let log = agent.log();
    assert!(log.contains("node1.pem is not one that") && log.contains("authority.pem signed directly"), "{log}");
}

#[test]
fn a_certificate_that_is_too_long_for_a_datagram_is_refused_with_advice() {
    let (lab, authority) = lab(1);
    let file = authority.config(&lab, 1, &[overlay(1)]);
    let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_4096).unwrap();
    let (certificate, key) = authority.certify(&[overlay(1)], key);
    lab.write("node1.pem", &pem(&certificate));
    lab.write("node1.key", &key.serialize_pem());

    let mut agent = lab.start_from(1, &file);

    assert_ne!(agent.wait(), 0);
    assert!(agent.log().contains("ECDSA P-256 or Ed25519"), "{}", agent.log());
}

#[test]
fn a_record_for_an_address_or_id_of_another_is_refused() {
    let (lab, authority) = lab(3);
    let _agents = [1, 2].map(|number| authority.start(&lab, number, &[overlay(number)]));
    lab.wait_for_mesh(&[1, 2]);
    let victim = node_id(&lab, 1, 2);
    let (certificate, key) = authority.issue(&lab, "node3", &[overlay(3)], &rcgen::PKCS_ECDSA_P256_SHA256);
    let key = Arc::new(key);
    let refused = || lab.ask(1).unwrap()["gossip"]["records_refused"].as_u64().unwrap();
    let free = Ipv4Addr::new(192, 168, 129, 40);
    let claims = [
        (id_for(overlay(2)), vec![overlay(2)]),
        (id_for(free), vec![free]),
        (id_for(overlay(3)), vec![overlay(3), overlay(2)]),
        (victim.clone(), vec![overlay(3)]),
    ];

    for (id, addresses) in claims {
        let before = refused();
        let mut gossiper = Gossiper::new(&lab, 3, id, &addresses, (certificate.clone(), Arc::clone(&key)));
        wait_for("the record is refused", SLOW, || {
            gossiper.turn(1);
            refused() > before
        });
        assert!(lab.peer(1, 3).is_none(), "{addresses:?}");
        assert_eq!(node_id(&lab, 1, 2), victim);
    }

    // The same program is let in with what its certificate does say.
    let mut gossiper = Gossiper::new(&lab, 3, id_for(overlay(3)), &[overlay(3)], (certificate, key));
    wait_for("the honest record is accepted", SLOW, || {
        gossiper.turn(1);
        lab.peer(1, 3).is_some()
    });
    assert!(lab.pings(1, 2));
}

#[test]
fn a_registration_for_an_address_without_its_certificate_is_refused() {
    let (lab, authority) = lab(3);
    let agents = [1, 2].map(|number| authority.start(&lab, number, &[overlay(number)]));
    lab.wait_for_mesh(&[1, 2]);
    authority.issue(&lab, "node3", &[overlay(3)], &rcgen::PKCS_ECDSA_P256_SHA256);
    let first: NodeId = lab.ask(1).unwrap()["node_id"].as_str().unwrap().parse().unwrap();
    let impostor = Impostor::start(&lab, 3, "node3");

    for address in [overlay(2), Ipv4Addr::new(192, 168, 129, 40)] {
        impostor.claim(address);
        assert_eq!(impostor.register(1, &first), 403, "{address}");
        agents[0].wait_for_log(1, &format!("has no certificate for {address} of the mesh"));
    }
    assert_eq!(lab.ask(1).unwrap()["peers"].as_array().unwrap().len(), 1);

    // A node of the original, which this one is like, needs a certificate and nothing else.
    impostor.claim(overlay(3));
    assert_eq!(impostor.register(1, &first), 200);
    assert_eq!(node_id(&lab, 1, 3), impostor.id());
    assert_eq!(impostor.open_session(1, &first, &impostor.id()), 200);
}

#[test]
fn a_session_in_the_name_of_a_member_is_refused_without_its_certificate() {
    let (lab, authority) = lab(3);
    let agents = [1, 2].map(|number| authority.start(&lab, number, &[overlay(number)]));
    lab.wait_for_mesh(&[1, 2]);
    authority.issue(&lab, "node3", &[overlay(3)], &rcgen::PKCS_ECDSA_P256_SHA256);
    let first = node_id(&lab, 2, 1);
    let impostor = Impostor::start(&lab, 3, "node3");

    assert_eq!(impostor.open_session(1, &first, &node_id(&lab, 1, 2)), 403);

    agents[0].wait_for_log(1, "somebody without the certificate of a member asks in its name");
    assert!(lab.pings(1, 2) && lab.pings(2, 1));
}

#[test]
fn a_member_that_shows_another_certificate_is_not_talked_to() {
    let (lab, authority) = lab(2);
    let [first, second] = [1, 2].map(|number| authority.start(&lab, number, &[overlay(number)]));
    lab.wait_for_mesh(&[1, 2]);
    let victim = node_id(&lab, 1, 2);
    authority.issue(&lab, "node3", &[overlay(3)], &rcgen::PKCS_ECDSA_P256_SHA256);

    second.kill();
    let impostor = Impostor::start(&lab, 2, "node3");
    impostor.claim(overlay(2));
    impostor.say(NodeInfo { id: victim, ..impostor.info() });

    first.wait_for_log(1, "has no certificate for 192.168.129.20 of the mesh");
    wait_for("the member is gone", SLOW, || lab.peer(1, 2).is_none());
    // Asking who is there and naming oneself is all that happened.
    let asked = impostor.asked();
    let is_open = |line: &String| line.contains("/node_info ") || line.contains("/registrations/register ");
    assert!(asked.iter().all(is_open), "{asked:?}");
}

#[test]
fn a_lying_node_info_lets_nobody_in() {
    let (lab, authority) = lab(3);
    let _first = authority.start(&lab, 1, &[overlay(1)]);
    wait_for("node 1 runs", SLOW, || lab.ask(1).is_some());
    let victim: NodeId = lab.ask(1).unwrap()["node_id"].as_str().unwrap().parse().unwrap();
    authority.issue(&lab, "node3", &[overlay(3)], &rcgen::PKCS_ECDSA_P256_SHA256);
    let impostor = Impostor::start(&lab, 3, "node3");
    let file = authority.config(&lab, 2, &[overlay(2)]);
    // All it is told of the mesh is the URL of somebody who lies, knows the secret, and has a certificate of its own.
    lab.edit(&file, "https://10.77.0.1:4567\"]", "https://10.77.0.3:4567\"]");
    let honest = impostor.info();

    impostor.claim(overlay(1));
    impostor.say(NodeInfo { id: victim, ..honest.clone() });
    let second = lab.start_from(2, &file);
    second.wait_for_log(2, "has no certificate for 192.168.129.10 of the mesh");
    assert!(peers(&lab, 2).is_empty());

    impostor.claim(overlay(3));
    impostor.say(honest.clone());
    impostor.name_in_answers("https://10.77.0.1:4567");
    second.wait_for_log(1, "a node names another URL than its own");
    assert!(peers(&lab, 2).is_empty());

    impostor.name_in_answers(honest.listen_url.as_str());
    wait_for("the honest node is let in", SLOW, || lab.peer(2, 3).is_some());
}

#[test]
fn without_the_secret_a_lying_node_info_lets_nobody_in_either() {
    let lab = Lab::new(3);
    let impostor = Impostor::start(&lab, 3, "cert");
    impostor.forget_the_secret();
    let file = lab.config(2, QUICK);
    lab.edit(&file, "https://10.77.0.1:4567\"]", "https://10.77.0.3:4567\"]");

    let second = lab.start_from(2, &file);

    second.wait_for_log(2, "the signature of the answer does not hold");
    assert!(peers(&lab, 2).is_empty());
}

#[test]
fn a_changed_certificate_signs_the_record_from_then_on() {
    let (lab, authority) = lab(2);
    let agent = authority.start(&lab, 1, &[overlay(1)]);
    let (certificate, key) = authority.issue(&lab, "node2", &[overlay(2)], &rcgen::PKCS_ECDSA_P256_SHA256);
    let mut gossiper = Gossiper::new(&lab, 2, id_for(overlay(2)), &[overlay(2)], (certificate, Arc::new(key)));
    let seen: Arc<Mutex<Vec<Vec<u8>>>> = gossiper.seen();
    let shown = || seen.lock().unwrap().last().cloned();
    wait_for("the record came", SLOW, || {
        gossiper.turn(1);
        shown().is_some()
    });

    let (changed, key) = authority.make(&[overlay(1)], &rcgen::PKCS_ED25519);
    lab.replace(&lab.folder.join("node1.key"), &key.serialize_pem());
    lab.replace(&lab.folder.join("node1.pem"), &pem(&changed));
    agent.reload();

    wait_for("the record came anew", SLOW, || {
        gossiper.turn(1);
        shown().as_ref() == Some(&changed)
    });
    // One that does not name the address is not taken over.
    let (useless, key) = authority.make(&[overlay(2)], &rcgen::PKCS_ED25519);
    lab.replace(&lab.folder.join("node1.key"), &key.serialize_pem());
    lab.replace(&lab.folder.join("node1.pem"), &pem(&useless));
    agent.wait_for_log(1, "does not name IP:192.168.129.10,");
    assert_eq!(shown(), Some(changed));
}

fn lab(count: usize) -> (Lab, Authority) {
    let (lab, authority) = (Lab::new(count), Authority::new());
    lab.write("authority.pem", &authority.0.pem());
    (lab, authority)
}

fn peers(lab: &Lab, number: usize) -> Vec<Value> {
    wait_for("the node runs", SLOW, || lab.ask(number).is_some());
    lab.ask(number).unwrap()["peers"].as_array().unwrap().clone()
}

/// The id of node `of`, as node `number` knows it.
fn node_id(lab: &Lab, number: usize, of: usize) -> NodeId {
    lab.peer(number, of).unwrap()["node_id"].as_str().unwrap().parse().unwrap()
}

/// Who signs the certificates of one mesh.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for these addresses and the IPv6 ones that follow from them.
    fn make(&self, addresses: &[Ipv4Addr], kind: &'static SignatureAlgorithm) -> (Vec<u8>, KeyPair) {
        self.certify(addresses, KeyPair::generate_for(kind).unwrap())
    }

    fn certify(&self, addresses: &[Ipv4Addr], key: KeyPair) -> (Vec<u8>, KeyPair) {
        let network = mesh_ipv6_network("192.168.129.0/24".parse().unwrap());
        let names = addresses.iter().flat_map(|own| [own.to_string(), mesh_ipv6(network, *own).to_string()]);
        let names: Vec<_> = names.collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        (certificate.der().to_vec(), key)
    }

    /// Writes `name`.pem and `name`.key.
    fn issue(
        &self,
        lab: &Lab,
        name: &str,
        addresses: &[Ipv4Addr],
        kind: &'static SignatureAlgorithm,
    ) -> (Vec<u8>, KeyPair) {
        let (certificate, key) = self.make(addresses, kind);
        lab.write(&format!("{name}.pem"), &pem(&certificate));
        lab.write(&format!("{name}.key"), &key.serialize_pem());
        (certificate, key)
    }

    /// The file of a node with a certificate for these addresses.
    fn config(&self, lab: &Lab, number: usize, addresses: &[Ipv4Addr]) -> PathBuf {
        let name = format!("node{number}");
        self.issue(lab, &name, addresses, &rcgen::PKCS_ECDSA_P256_SHA256);
        let file = lab.config(number, QUICK);
        let ssl = format!("ca_file_path: authority.pem, cert_file_path: {name}.pem, key_file_path: {name}.key");
        lab.edit(&file, "cert_file_path: cert.pem, key_file_path: key.pem", &ssl);
        lab.edit(&file, "auth: {", "auth: {address_certificates: true, ");
        file
    }

    fn start(&self, lab: &Lab, number: usize, addresses: &[Ipv4Addr]) -> Agent {
        let file = self.config(lab, number, addresses);
        lab.start_from(number, &file)
    }
}

fn pem(certificate: &[u8]) -> String {
    let lines: Vec<_> = base64_simd::STANDARD
        .encode_to_string(certificate)
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

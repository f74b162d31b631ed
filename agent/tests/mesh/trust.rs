//! Certificates. The shared self-signed one of the recorded set-up is what all other tests use.

use crate::QUICK;
use crate::support::{Agent, Lab};

#[test]
fn leaf_certificates_of_a_common_authority_serve() {
    let lab = Lab::new(2);

    let _agents = [1, 2]
        .map(|number| start(&lab, number, "ca_file_path: ca.pem, cert_file_path: leaf.pem, key_file_path: leaf.key"));

    lab.wait_for_mesh(&[1, 2]);
}

#[test]
fn a_certificate_without_the_right_name_is_refused_only_with_verify_hostname() {
    let lab = Lab::new(3);
    let plain = "cert_file_path: cert.pem, key_file_path: key.pem";
    let [_first, _second] = [1, 2].map(|number| start(&lab, number, plain));

    let strict = start(&lab, 3, &format!("{plain}, verify_hostname: true"));

    strict.wait_for_log(1, "failed to register at a new node");
    assert!(strict.log().contains("NotValidForName") || strict.log().contains("not valid for"), "{}", strict.log());
    lab.wait_for_mesh(&[1, 2]);
    assert_eq!(lab.ask(3).unwrap()["peers"].as_array().unwrap().len(), 0);
}

#[test]
fn a_certificate_with_the_right_name_passes_verify_hostname() {
    let lab = Lab::new(2);
    let names = ["10.77.0.1", "10.77.0.2"].map(String::from);
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    lab.write("named.pem", &made.cert.pem());
    lab.write("named.key", &made.signing_key.serialize_pem());

    let ssl = "cert_file_path: named.pem, key_file_path: named.key, verify_hostname: true";
    let _agents = [1, 2].map(|number| start(&lab, number, ssl));

    lab.wait_for_mesh(&[1, 2]);
}

#[test]
fn a_certificate_of_somebody_else_is_refused() {
    let lab = Lab::new(2);
    let made = rcgen::generate_simple_self_signed(vec!["tunmesh.local".into()]).unwrap();
    lab.write("other.pem", &made.cert.pem());
    lab.write("other.key", &made.signing_key.serialize_pem());

    let _first = start(&lab, 1, "cert_file_path: cert.pem, key_file_path: key.pem");
    let second = start(&lab, 2, "cert_file_path: other.pem, key_file_path: other.key");

    second.wait_for_log(1, "failed to register at a new node");
    assert!(second.log().contains("invalid peer certificate"), "{}", second.log());
    for number in [1, 2] {
        assert_eq!(lab.ask(number).unwrap()["peers"].as_array().unwrap().len(), 0);
    }
}

fn start(lab: &Lab, number: usize, ssl: &str) -> Agent {
    let file = lab.config(number, QUICK);
    lab.edit(&file, "cert_file_path: cert.pem, key_file_path: key.pem", ssl);
    lab.start_from(number, &file)
}

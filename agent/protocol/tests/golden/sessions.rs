use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, PrivateDecryptingKey};
use serde_json::{Value, json};
use tunmesh_protocol::{BodyDigest, NodeId, Secret, SessionKey, Token, Windows, answer_session, authorize};

use crate::recording::{base64, mesh, messages, probes, read, time};

#[test]
fn the_keys_and_secrets_of_the_vectors_are_those_of_the_original() {
    for vector in read("vectors.json")["rsa"].as_array().unwrap() {
        let key = key(&vector["private_key_pem"]);

        let token = key.open(&response(&vector["ciphertext_wire"])).unwrap();

        assert_eq!(key.request_json(), json!({"public_key": vector["public_key_wire"]}).to_string().as_bytes());
        assert_same(&token, &Token::session("id", &Secret::from_bytes(base64(&vector["plaintext_b64"]))));
    }
}

#[test]
fn every_session_of_the_recorded_mesh_opens() {
    let secrets = read("mesh/secrets.json");
    let nodes: Vec<_> = secrets["nodes"].as_object().unwrap().values().collect();
    let mut opened = 0;
    for (exchange, messages) in mesh() {
        let [request, response] = &messages[..] else { panic!("two messages") };
        if !request.path.contains("/init_session") || response.status != 200 {
            continue;
        }
        let node = nodes.iter().find(|node| node["name"] == exchange["from"]).unwrap();
        let key = key(&node["rsa_private_pem"]);

        let token = key.open(&response.body).unwrap();

        let secret = &secrets["session_tokens"][token.id()]["secret_b64"];
        assert_same(&token, &Token::session(token.id(), &Secret::from_bytes(base64(secret))));
        assert_eq!(key.request_json(), request.body);
        opened += 1;
    }
    assert_eq!(opened, secrets["session_tokens"].as_object().unwrap().len());
}

#[test]
fn we_answer_the_keys_that_the_original_answers_from_2048_bits_on() {
    let secrets = read("probe/session/probe_secrets.json");
    let pem = pem::parse(secrets["probe_rsa_private_pem"].as_str().unwrap()).unwrap();
    let probe_key = SessionKey::from_pkcs8(pem.contents()).unwrap();
    for name in ["init_ok", "init_b64_lines", "init_extra_fields", "init_pem", "init_pkcs1_der"] {
        let (response, token) = answer_session(&request(name), "our-id", &[7; 64]).expect(name);

        assert_same(&probe_key.open(&response).unwrap(), &token);
        assert_eq!(token.id(), "our-id");
    }
    assert!(answer_session(&request("init_rsa4096"), "our-id", &[7; 64]).is_ok());
    // The original answers 1024 bits too.
    let refused = ["ec_key", "garbage_key", "malformed_json", "missing_key", "null_key", "rsa1024"];
    for name in refused {
        assert!(answer_session(&request(&format!("init_{name}")), "our-id", &[7; 64]).is_err(), "{name}");
    }
}

#[test]
fn a_pem_of_pkcs1_is_answered() {
    let wire = &read("vectors.json")["rsa"][0]["public_key_wire"];
    // SubjectPublicKeyInfo of a 2048 bit key: 24 bytes, then the PKCS#1 form.
    let pem = pem::encode(&pem::Pem::new("RSA PUBLIC KEY", &base64(wire)[24..]));
    let request = json!({"public_key": base64_simd::STANDARD.encode_to_string(pem)}).to_string();

    assert!(answer_session(request.as_bytes(), "our-id", &[7; 64]).is_ok());
}

#[test]
fn a_new_key_opens_what_is_sealed_for_it_and_only_that() {
    let (ours, other) = (SessionKey::generate(0).unwrap(), SessionKey::generate(2048).unwrap());

    let (response, token) = answer_session(ours.request_json(), "id", &[7; 64]).unwrap();

    assert_same(&ours.open(&response).unwrap(), &token);
    assert!(other.open(&response).is_err());
    assert_eq!(format!("{ours:?}"), "SessionKey(2048 bits, redacted)");
}

#[test]
fn a_response_needs_an_id_and_a_secret() {
    let key = SessionKey::generate(2048).unwrap();
    let (response, _) = answer_session(key.request_json(), "id", &[7; 64]).unwrap();
    let response: Value = serde_json::from_slice(&response).unwrap();
    let with = |field: &str, value: Value| {
        let mut response = response.clone();
        response[field] = value;
        key.open(response.to_string().as_bytes())
    };
    assert!(with("extra", json!(1)).is_ok());
    for (field, value) in [
        ("id", json!(null)),
        ("id", json!("")),
        ("id", json!("x".repeat(129))),
        ("secret", json!(null)),
        ("secret", json!("")),
        ("secret", json!("!!!!")),
        ("secret", json!("AAAA")),
    ] {
        assert!(with(field, value.clone()).is_err(), "{field}: {value}");
    }
}

#[test]
fn what_the_probes_sealed_for_a_node_of_the_original_opens() {
    let secrets = read("probe/secrets.json");
    let mut opened = 0;
    for (_, probe) in probes("client") {
        for message in messages(&probe) {
            let body: Value = serde_json::from_slice(&message.body).unwrap_or_default();
            let Some(id) = body["id"].as_str().filter(|id| secrets["session_tokens"].get(*id).is_some()) else {
                continue;
            };
            let Some(node) = probe["ruby_id"].as_str().and_then(|id| secrets["ruby_nodes"].get(id)) else {
                continue;
            };
            if message.is_request || !message.path.contains("/init_session") {
                continue;
            }
            let token = key(&node["rsa_private_pem"]).open(&message.body).unwrap();

            assert_same(&token, &Token::session(id, &Secret::from_bytes(base64(&secrets["session_tokens"][id]))));
            opened += 1;
        }
    }
    assert_eq!(opened, 18);
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_are_refused_quietly(bytes in proptest::collection::vec(0_u8.., 0..400)) {
        let public_key = base64_simd::STANDARD.encode_to_string(&bytes);
        let request = json!({"public_key": public_key}).to_string();
        proptest::prop_assert!(answer_session(&bytes, "id", &[7; 64]).is_err());
        proptest::prop_assert!(answer_session(request.as_bytes(), "id", &[7; 64]).is_err());
    }
}

/// Tokens are the same if they sign the same.
fn assert_same(token: &Token, other: &Token) {
    let node: NodeId = "a".parse().unwrap();
    let sign =
        |token| authorize(token, &node, &node, BodyDigest::of(b""), &Windows::default(), time(&json!(1_000_000)));
    assert_eq!(sign(token).rsplit('.').next(), sign(other).rsplit('.').next());
}

/// A key of the original, which it keeps as PKCS#1 in PEM.
fn key(pem: &Value) -> SessionKey {
    let pair = KeyPair::from_der(pem::parse(pem.as_str().unwrap()).unwrap().contents()).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    assert!(PrivateDecryptingKey::from_pkcs8(der.as_ref()).is_ok());
    SessionKey::from_pkcs8(der.as_ref()).unwrap()
}

fn response(secret: &Value) -> Vec<u8> {
    json!({"id": "id", "secret": secret}).to_string().into_bytes()
}

fn request(probe: &str) -> Vec<u8> {
    messages(&read(&format!("probe/session/{probe}.json"))["exchanges"]).remove(0).body
}

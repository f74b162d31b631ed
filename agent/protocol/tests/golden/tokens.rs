use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Map, Value, json};
use tunmesh_protocol::{AuthReason, BodyDigest, NodeId, Secret, Token, UnixTime, Window, Windows, authorize, verify};

use crate::recording::{Message, base64, cluster_token, id, mesh, messages, probes, read, session_tokens, time};

#[test]
fn every_message_of_the_recorded_mesh_verifies_and_is_signed_the_same_by_us() {
    let secrets = read("mesh/secrets.json");
    let node = |name: &Value| {
        let mut nodes = secrets["nodes"].as_object().unwrap().iter();
        nodes.find(|(_, node)| node["name"] == *name).unwrap().0.parse::<NodeId>().unwrap()
    };
    let (cluster, sessions) = (cluster_token(), session_tokens("mesh"));
    let tokens = [&[&cluster][..], &sessions.iter().collect::<Vec<_>>()].concat();
    let mut signed = 0;

    for (exchange, messages) in mesh() {
        for message in messages.iter().filter(|message| message.authorization.is_some()) {
            let (from, to) = (node(&exchange["from"]), node(&exchange["to"]));
            let (issuer, audience) = if message.is_request { (from, to) } else { (to, from) };
            let header = message.authorization.as_ref().unwrap();

            let verified = verify(header.as_bytes(), &tokens, &audience, time(&exchange["t"])).unwrap();

            let body = BodyDigest::of(&message.body);
            verified.matches(body).unwrap();
            assert_eq!(verified.issuer.as_ref(), Some(&issuer));
            let iat = time(&message.claims.as_ref().unwrap()["iat"]);
            assert_eq!(&authorize(verified.token, &issuer, &audience, body, &Windows::default(), iat), header);
            signed += 1;
        }
    }
    assert_eq!(signed, 199);
}

#[test]
fn every_message_the_original_signed_in_the_probes_verifies_and_is_signed_the_same_by_us() {
    let secrets = read("probe/secrets.json");
    let (cluster, sessions) = (cluster_token(), session_tokens("probe"));
    let tokens = [&[&cluster][..], &sessions.iter().collect::<Vec<_>>()].concat();
    let mut signed = 0;

    for group in GROUPS {
        for (name, probe) in probes(group) {
            for message in messages(&probe) {
                let Some(claims) = message.claims else { continue };
                let is_of_the_original =
                    claims["iss"].as_str().is_some_and(|iss| secrets["ruby_nodes"].get(iss).is_some());
                if !is_of_the_original || name == "self_registration_iss_self" {
                    continue;
                }
                let (issuer, audience, iat) = (id(&claims["iss"]), id(&claims["aud"]), time(&claims["iat"]));
                let header = message.authorization.unwrap();

                let verified = verify(header.as_bytes(), &tokens, &audience, iat).expect(&name);

                let body = BodyDigest::of(&message.body);
                verified.matches(body).expect(&name);
                assert_eq!(
                    authorize(verified.token, &issuer, &audience, body, &Windows::default(), iat),
                    header,
                    "{name}"
                );
                signed += 1;
            }
        }
    }
    assert_eq!(signed, 254);
}

#[test]
fn what_the_original_answers_with_401_we_refuse_and_what_it_lets_pass_we_let_pass() {
    /// Which session belongs to which peer is decided by who holds the tokens, not here.
    const NEED_THE_OWNER_OF_THE_SESSION: [&str; 2] = ["register_id_old_session", "url_id_other_peer"];
    /// Answered before the header is looked at.
    const NEVER_LOOKED_AT: [&str; 1] = ["init_id_before_session"];
    let secrets = read("probe/secrets.json");
    let (cluster, sessions) = (cluster_token(), session_tokens("probe"));
    let (cluster, sessions) = (vec![&cluster], sessions.iter().collect::<Vec<_>>());
    let any_node: NodeId = secrets["ruby_nodes"].as_object().unwrap().keys().next().unwrap().parse().unwrap();
    let (mut refused, mut passed) = (0, 0);

    for group in ["register", "session", "packet", "batch"] {
        for (name, probe) in probes(group) {
            if NEED_THE_OWNER_OF_THE_SESSION.contains(&&*name) || NEVER_LOOKED_AT.contains(&&*name) {
                continue;
            }
            if probe.get("at").is_none() {
                continue;
            }
            let at = time(&probe["at"]);
            let Some(request) = messages(&probe["exchanges"]).into_iter().find(is_authorized_route) else {
                continue;
            };
            let audience = request.claims.as_ref().and_then(|claims| claims["aud"].as_str());
            let audience = audience.filter(|aud| secrets["ruby_nodes"].get(*aud).is_some());
            let audience = audience.map_or_else(|| any_node.clone(), |aud| aud.parse().unwrap());
            let is_cluster_route = request.path.ends_with("/register") || request.path.ends_with("/init_session");
            let tokens = if is_cluster_route { &cluster } else { &sessions };

            let header = request.authorization.unwrap_or_default();
            let outcome = verify(header.as_bytes(), tokens, &audience, at)
                .and_then(|verified| verified.matches(BodyDigest::of(&request.body)));

            match request.status {
                401 => {
                    assert!(outcome.is_err(), "{group}/{name}");
                    refused += 1;
                }
                200 | 204 | 421 => {
                    outcome.unwrap_or_else(|err| panic!("{group}/{name}: {}", err.reason()));
                    passed += 1;
                }
                500 if matches!(group, "packet" | "batch") => {
                    outcome.unwrap_or_else(|err| panic!("{group}/{name}: {}", err.reason()));
                    passed += 1;
                }
                _ => {}
            }
        }
    }
    assert_eq!((refused, passed), (32, 106));
}

#[test]
fn the_tokens_of_the_vectors_are_signed_the_same_by_us() {
    for vector in read("vectors.json")["jwt"].as_array().unwrap() {
        let secret = Secret::from_bytes(base64(&vector["secret_b64"]));
        let token = Token::session(vector["sub"].as_str().unwrap(), &secret);
        let (issuer, audience) = (id(&vector["iss"]), id(&vector["claims"]["aud"]));
        let body = BodyDigest::of(&base64(&vector["body_b64"]));

        let header = authorize(&token, &issuer, &audience, body, &Windows::default(), time(&vector["claims"]["iat"]));

        assert_eq!(header, vector["header_line"].as_str().unwrap());
    }
}

#[test]
fn windows_that_were_configured_as_integers_are_written_as_integers() {
    let probe = read("probe/register/exp_nbf_ints.json");
    let request = messages(&probe["exchanges"]).remove(0);
    let claims = request.claims.unwrap();
    let windows = Windows { early: Window::integer(5), validity: Window::integer(30) };

    let body = BodyDigest::of(&request.body);
    let header =
        authorize(&cluster_token(), &id(&claims["iss"]), &id(&claims["aud"]), body, &windows, time(&claims["iat"]));

    assert_eq!(header, request.authorization.unwrap());
}

#[test]
fn each_claim_is_checked_and_every_refusal_looks_the_same() {
    let digest = "0/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let other_body = digest.replace("e3b0", "0000");
    for (claim, value, outcome) in [
        ("iss", json!("other"), Ok(())),
        ("iss", json!(null), Ok(())),
        ("iss", json!("a/b"), Ok(())),
        ("iat", json!(null), Ok(())),
        ("iat", json!(NOW + 600), Ok(())),
        ("iat", json!("soon"), Ok(())),
        ("extra", json!([1]), Ok(())),
        ("exp", json!(null), Err(AuthReason::Expired)),
        ("exp", json!(NOW), Err(AuthReason::Expired)),
        ("exp", json!(NOW as f64), Err(AuthReason::Expired)),
        ("exp", json!(NOW as f64 + 0.9), Err(AuthReason::Expired)),
        ("exp", json!(NOW + 1), Ok(())),
        ("exp", json!(NOW as f64 + 1.0), Ok(())),
        ("exp", json!(-1), Err(AuthReason::Expired)),
        ("exp", json!("1795177999"), Err(AuthReason::Expired)),
        ("nbf", json!(null), Err(AuthReason::Early)),
        ("nbf", json!(NOW), Ok(())),
        ("nbf", json!(NOW as f64), Ok(())),
        ("nbf", json!(NOW + 1), Err(AuthReason::Early)),
        ("nbf", json!("0"), Err(AuthReason::Early)),
        ("aud", json!(null), Err(AuthReason::Audience)),
        ("aud", json!("other"), Err(AuthReason::Audience)),
        ("aud", json!(["reader"]), Err(AuthReason::Audience)),
        ("sub", json!(null), Err(AuthReason::Subject)),
        ("sub", json!("Session"), Err(AuthReason::Subject)),
        ("sig", json!(null), Err(AuthReason::Body)),
        ("sig", json!(digest.to_uppercase()), Err(AuthReason::Body)),
        ("sig", json!("1/d41d8cd98f00b204e9800998ecf8427e"), Err(AuthReason::Body)),
        ("sig", json!(other_body), Err(AuthReason::Body)),
        ("sig", json!(&digest[2..]), Err(AuthReason::Body)),
    ] {
        let mut claims = good_claims();
        claims.insert(claim.into(), value.clone());
        assert_eq!(check(&bearer(Algorithm::HS256, b"secret", &claims)), outcome, "{claim}: {value}");
    }
    for (absent, outcome) in [
        ("iss", Ok(())),
        ("iat", Ok(())),
        ("nbf", Ok(())),
        ("exp", Ok(())),
        ("aud", Err(AuthReason::Audience)),
        ("sub", Err(AuthReason::Subject)),
        ("sig", Err(AuthReason::Body)),
    ] {
        let mut claims = good_claims();
        claims.remove(absent);
        assert_eq!(check(&bearer(Algorithm::HS256, b"secret", &claims)), outcome, "without {absent}");
    }
}

#[test]
fn only_the_bearer_scheme_with_a_colon_and_hs256_with_our_secret_count() {
    let good = bearer(Algorithm::HS256, b"secret", &good_claims());
    let jwt = good.strip_prefix("Bearer: ").unwrap();
    let (message, _) = jwt.rsplit_once('.').unwrap();
    let (_, claims) = message.split_once('.').unwrap();
    for (header, outcome) in [
        (good.clone(), Ok(())),
        (format!("bearer: {jwt}"), Ok(())),
        (format!(" BEARER:  {jwt} "), Ok(())),
        (String::new(), Err(AuthReason::Scheme)),
        (format!("Bearer {jwt}"), Err(AuthReason::Scheme)),
        (format!("Bearer:{jwt}"), Err(AuthReason::Scheme)),
        (format!("Basic: {jwt}"), Err(AuthReason::Scheme)),
        (format!("Bearer: {jwt} x"), Err(AuthReason::Scheme)),
        ("Bearer:".into(), Err(AuthReason::Scheme)),
        (jwt.into(), Err(AuthReason::Scheme)),
        ("Bearer: garbage".into(), Err(AuthReason::Signature)),
        ("Bearer: ..".into(), Err(AuthReason::Signature)),
        (format!("Bearer: {message}."), Err(AuthReason::Signature)),
        (format!("Bearer: eyJhbGciOiJub25lIn0.{claims}."), Err(AuthReason::Signature)),
        (bearer(Algorithm::HS256, b"Secret", &good_claims()), Err(AuthReason::Signature)),
        (bearer(Algorithm::HS512, b"secret", &good_claims()), Err(AuthReason::Signature)),
        (bearer(Algorithm::HS384, b"secret", &good_claims()), Err(AuthReason::Signature)),
    ] {
        assert_eq!(check(&header), outcome, "{header}");
    }
}

#[test]
fn of_several_tokens_the_one_that_signed_is_found() {
    let (old, new) = (token(b"old"), token(b"secret"));
    let header = bearer(Algorithm::HS256, b"secret", &good_claims());

    let verified = verify(header.as_bytes(), &[&old, &new], &reader(), now()).unwrap();

    assert!(std::ptr::eq(verified.token, &new));
    assert_eq!(verify(header.as_bytes(), &[], &reader(), now()).unwrap_err().reason(), AuthReason::Signature);
    assert!(!format!("{new:?}").contains("secret"));
}

proptest::proptest! {
    #[test]
    fn arbitrary_headers_are_refused_quietly(text in "\\PC*", bytes in proptest::collection::vec(0_u8.., 0..200)) {
        let token = token(b"secret");
        let words = format!("Bearer: {text}");
        proptest::prop_assert!(verify(words.as_bytes(), &[&token], &reader(), now()).is_err());
        proptest::prop_assert!(verify(&[b"Bearer: ", &bytes[..]].concat(), &[&token], &reader(), now()).is_err());
        proptest::prop_assert!(verify(&bytes, &[&token], &reader(), now()).is_err());
    }

    #[test]
    fn arbitrary_signed_claims_make_no_panic(name in "exp|nbf|aud|sub|sig|iss", number in proptest::num::f64::ANY, text in "\\PC*") {
        for value in [json!(number), json!(text)] {
            let mut claims = good_claims();
            claims.insert(name.clone(), value);
            let _ = check(&bearer(Algorithm::HS256, b"secret", &claims));
        }
    }
}

/// Verifies a header over an empty body and makes sure that all refusals print the same.
fn check(header: &str) -> Result<(), AuthReason> {
    let token = token(b"secret");
    let outcome = verify(header.as_bytes(), &[&token], &reader(), now())
        .and_then(|verified| verified.matches(BodyDigest::of(b"")));
    outcome.map_err(|err| {
        assert_eq!(err.to_string(), "unauthorized");
        assert!(std::error::Error::source(&err).is_none());
        err.reason()
    })
}

fn good_claims() -> Map<String, Value> {
    let claims = json!({
        "iss": "sender", "iat": NOW, "nbf": NOW as f64 - 5.0, "exp": NOW as f64 + 30.0, "aud": "reader",
        "sig": "0/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "sub": "session",
    });
    claims.as_object().unwrap().clone()
}

fn bearer(algorithm: Algorithm, secret: &[u8], claims: &Map<String, Value>) -> String {
    format!("Bearer: {}", encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret)).unwrap())
}

fn token(secret: &[u8]) -> Token {
    Token::session("session", &Secret::from_bytes(secret.to_vec()))
}

fn reader() -> NodeId {
    "reader".parse().unwrap()
}

fn now() -> UnixTime {
    UnixTime::new(Duration::from_millis(NOW * 1000 + 50))
}

/// Whether a message is a request to a route that needs a token and was not refused for its content type.
fn is_authorized_route(message: &Message) -> bool {
    let routes = ["/register", "/init_session", "/packet/rx/"];
    message.is_request && message.status != 400 && routes.iter().any(|route| message.path.contains(route))
}

const GROUPS: [&str; 11] = [
    "batch",
    "broadcast",
    "client",
    "http",
    "monitoring_none",
    "packet",
    "poison",
    "poison_remote",
    "register",
    "session",
    "startup_grace",
];
const NOW: u64 = 1_795_178_000;

use serde_json::Value;
use tunmesh_protocol::{
    ListedNode, Member, MemberError, NodeId, NodeInfo, Registration, RegistrationError, RegistrationListing,
};

use crate::recording::{mesh, messages, probes, read};

#[test]
fn every_registration_of_the_recorded_mesh_is_written_as_it_was_read() {
    let mut registrations = 0;
    for message in mesh().into_iter().flat_map(|(_, messages)| messages) {
        if message.path.contains("/registrations/register") && message.status == 200 {
            let registration = Registration::parse(&message.body).unwrap();

            assert_eq!(String::from_utf8(registration.to_json()), String::from_utf8(message.body));
            assert_eq!(registration.skipped_remotes, 0);
            registrations += 1;
        }
    }
    assert_eq!(registrations, 84);
}

#[test]
fn the_registration_of_the_vectors_is_written_as_it_was_read() {
    let vectors = read("vectors.json");
    let body = vectors["registration_json"].as_str().unwrap();

    assert_eq!(Registration::parse(body.as_bytes()).unwrap().to_json(), body.as_bytes());
}

#[test]
fn what_the_original_takes_for_no_registration_neither_do_we() {
    const REFUSED: [&str; 18] = [
        "empty_body",
        "json_array",
        "json_empty_object",
        "json_nan",
        "json_null",
        "listen_url_http",
        "local_id_missing",
        "local_missing",
        "malformed_json",
        "malformed_json_html",
        "remote_strings",
        "stamp_float",
        "stamp_string",
        "trailing_comma",
        "unknown_cidr_field",
        "unknown_local_field",
        "unknown_proto",
        "unknown_remote_field",
    ];
    let mut seen = 0;
    for (name, probe) in probes("register") {
        let Some(request) =
            messages(&probe["exchanges"]).into_iter().find(|m| m.is_request && m.path.ends_with("/register"))
        else {
            continue;
        };
        if matches!(&*name, "register_get" | "unknown_top_field") || request.body.is_empty() && name != "empty_body" {
            continue;
        }
        assert_eq!(Registration::parse(&request.body).is_err(), REFUSED.contains(&&*name), "{name}");
        seen += 1;
    }
    assert_eq!(seen, 76);
    let unknown = parse_probe("register/unknown_top_field").unwrap_err();
    assert!(matches!(unknown, RegistrationError::Shape { source: MemberError::UnknownField { .. } }), "{unknown:?}");
}

#[test]
fn a_sender_that_others_could_not_use_is_refused() {
    for (name, probe) in probes("poison") {
        let request = messages(&probe["exchanges"]).remove(0);
        let outcome = Registration::parse(&request.body);
        match &*name {
            "remote_missing" | "remote_object" => assert!(outcome.unwrap().remote.is_empty(), "{name}"),
            "remote_null" => assert!(matches!(outcome, Err(RegistrationError::RemoteShape)), "{outcome:?}"),
            "stamp_missing" => assert!(matches!(outcome, Err(RegistrationError::Stamp)), "{outcome:?}"),
            _ => assert!(matches!(outcome, Err(RegistrationError::Local { .. })), "{name}: {outcome:?}"),
        }
    }
}

#[test]
fn a_poisoned_entry_of_a_neighbour_is_left_out() {
    for (name, probe) in probes("poison_remote") {
        let request = messages(&probe["exchanges"]).remove(0);

        let registration = Registration::parse(&request.body).expect(&name);

        assert_eq!((registration.remote.len(), registration.skipped_remotes), (0, 1), "{name}");
    }
    let good = r#"{"id":"b","listen_url":"https://b:1","network_addresses":{"ipv4":{"cidr":"10.0.0.0/8"}},"node_addresses":{"ipv4":{"cidr":"10.0.0.2/8"}}}"#;
    for bad in [
        good.replace("https", "http"),
        good.replace("\"b\"", "\"b/c\""),
        good.replace("\"b\"", "7"),
        good.replace("10.0.0.2/8", "10.0.0.2"),
        good.replace("10.0.0.2/8", "fd00::2/64"),
        good.replace("10.0.0.2/8", "10.0.0.2/99"),
        "{}".into(),
    ] {
        let registration = with_remote(&format!("{bad},{good}")).unwrap();
        assert_eq!((registration.remote.len(), registration.skipped_remotes), (1, 1), "{bad}");
    }
}

#[test]
fn an_entry_of_no_known_form_spoils_the_registration() {
    for entry in [
        "1",
        "null",
        r#""a""#,
        r#"{"extra":1}"#,
        r#"{"node_addresses":{"ipv6":{}}}"#,
        r#"{"id":7,"network_addresses":{"ipv4":{"cidr":"bogus","mask":1}}}"#,
    ] {
        let outcome = with_remote(entry);
        assert!(matches!(outcome, Err(RegistrationError::Remote { .. })), "{entry}: {outcome:?}");
    }
}

#[test]
fn of_a_key_that_occurs_twice_the_last_counts() {
    let registration = parse_probe("register/duplicate_keys").unwrap();

    assert_eq!(registration.stamp, 1_795_177_998);
}

#[test]
fn the_listing_is_that_of_the_original() {
    let mut listings = 0;
    let recorded = ["http", "register", "poison", "client"].into_iter().flat_map(probes).map(|(_, probe)| probe);
    for message in recorded.chain([read("endpoints/08_registrations_list.json")]).flat_map(|probe| messages(&probe)) {
        let is_listing = message.path.ends_with("/registrations") && !message.is_request && message.status == 200;
        if !is_listing || message.body.is_empty() {
            continue;
        }
        let listing: Value = serde_json::from_slice(&message.body).unwrap();
        let Ok(members) = members(&message.body) else { continue };
        let owners: Vec<(_, NodeId)> = ordered(&message.body, "\"node_ids_by_address\"")
            .into_iter()
            .map(|(address, id)| (address.parse().unwrap(), id.parse().unwrap()))
            .collect();
        let node = |member| {
            let NodeEntry { stamp, stale } = entry(&listing, member);
            ListedNode { member, stamp, stale }
        };

        let ours = RegistrationListing {
            nodes: members.iter().map(node).collect(),
            owners: owners.iter().map(|(address, id)| (*address, id)).collect(),
        };

        assert_eq!(String::from_utf8(ours.to_json()), String::from_utf8(message.body));
        listings += 1;
    }
    assert_eq!(listings, 19);
    assert_eq!(RegistrationListing::default().to_json(), br#"{"nodes":{},"node_ids_by_address":{}}"#);
}

#[test]
fn every_recorded_node_info_is_read() {
    let mut read = 0;
    for message in mesh().into_iter().flat_map(|(_, messages)| messages) {
        if message.path.ends_with("/node_info") && !message.is_request {
            assert_eq!(NodeInfo::parse(&message.body).unwrap().to_json(), message.body);
            read += 1;
        }
    }
    assert_eq!(read, 10);
    let extra = read_node_info("node_info_extra_fields").unwrap();
    assert_eq!(extra.implementation, None);
    assert!(read_node_info("node_info_missing_listen_url").is_err());
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_are_refused_quietly(bytes in proptest::collection::vec(0_u8.., 0..200), text in "\\PC*") {
        for body in [&bytes[..], text.as_bytes()] {
            proptest::prop_assert!(Registration::parse(body).is_err());
            proptest::prop_assert!(NodeInfo::parse(body).is_err());
        }
    }

    #[test]
    fn arbitrary_values_make_no_panic(text in "\\PC*") {
        let vectors = read("vectors.json");
        let body = vectors["registration_json"].as_str().unwrap();
        for old in ["192.168.129.10/26", "https://192.168.128.1:4567", "22cbac32-c384-4c63-8822-dcc57575f567", "ipv4"] {
            let _ = Registration::parse(body.replacen(old, &text, 1).as_bytes());
        }
    }
}

fn parse_probe(path: &str) -> Result<Registration, RegistrationError> {
    Registration::parse(&messages(&read(&format!("probe/{path}.json"))["exchanges"]).remove(0).body)
}

fn read_node_info(probe: &str) -> Result<NodeInfo, tunmesh_protocol::NodeInfoError> {
    let messages = messages(&read(&format!("probe/client/{probe}.json")));
    NodeInfo::parse(&messages.iter().find(|m| m.path.ends_with("/node_info") && !m.is_request).unwrap().body)
}

fn with_remote(entries: &str) -> Result<Registration, RegistrationError> {
    let vectors = read("vectors.json");
    let registration = Registration::parse(vectors["registration_json"].as_str().unwrap().as_bytes()).unwrap();
    let empty = Registration { remote: Vec::new(), ..registration }.to_json();
    let body = String::from_utf8(empty).unwrap().replace(r#""remote":[]"#, &format!(r#""remote":[{entries}]"#));
    Registration::parse(body.as_bytes())
}

/// The members of a recorded listing in their order, or an error if one of them is malformed.
fn members(listing: &[u8]) -> Result<Vec<Member>, RegistrationError> {
    let text = std::str::from_utf8(listing).unwrap();
    let starts = text.match_indices(r#""node_info":"#).map(|(at, key)| at + key.len());
    starts
        .map(|start| {
            let end = start + text[start..].find(r#","stamp":"#).unwrap();
            let body = format!(r#"{{"local":{},"stamp":0}}"#, &text[start..end]);
            Registration::parse(body.as_bytes()).map(|registration| registration.local)
        })
        .collect()
}

struct NodeEntry {
    stamp: i64,
    stale: bool,
}

fn entry(listing: &Value, member: &Member) -> NodeEntry {
    let entry = &listing["nodes"][member.id.as_str()];
    NodeEntry { stamp: entry["stamp"].as_i64().unwrap(), stale: entry["stale"].as_bool().unwrap() }
}

/// The pairs of text under a key at the end of a listing, in their order, which a parsed object has lost.
fn ordered(listing: &[u8], key: &str) -> Vec<(String, String)> {
    let text = std::str::from_utf8(listing).unwrap();
    let (_, pairs) = text.split_once(key).unwrap();
    let words: Vec<_> = pairs.split('"').skip(1).step_by(2).filter(|word| *word != "ipv4").map(String::from).collect();
    words.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

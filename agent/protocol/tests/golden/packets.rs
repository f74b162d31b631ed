use serde_json::Value;
use tunmesh_protocol::{BatchError, Decoder, Encoder, NodeId, PacketError, Stamp};

use crate::recording::{Message, base64, mesh, messages, probes, read};

#[test]
fn every_packet_of_the_recorded_mesh_is_read_and_survives_our_encoding() {
    let mut packets = 0;
    for message in mesh().into_iter().flat_map(|(_, messages)| messages) {
        if message.is_request && message.path.contains("/packet/rx/") {
            for text in texts(&message) {
                assert_reads(&serde_json::from_str(&text).unwrap(), &text);
                packets += 1;
            }
            assert_eq!(batch(&message).0.is_ok(), message.path.ends_with("/batch"));
        }
    }
    assert_eq!(packets, 136);
}

#[test]
fn every_size_of_the_vectors_is_read_and_written_the_same_but_for_the_line_breaks() {
    let vectors = read("vectors.json");
    let packets = vectors["packets"].as_array().unwrap();
    assert_eq!(packets.len(), 22);
    for packet in packets {
        let text = packet["wire_json"].as_str().unwrap();
        if base64(&packet["data_b64"]).is_empty() {
            assert_eq!(Decoder::new().decode_single(text.as_bytes()), Err(PacketError::Empty));
        } else {
            assert_reads(packet, text);
        }
    }
}

#[test]
fn the_batch_of_the_vectors_is_read_and_written_the_same_but_for_the_line_breaks() {
    let vectors = read("vectors.json");
    let recorded = vectors["batch_of_first_three"].as_str().unwrap();
    let texts: Vec<String> = serde_json::from_str(recorded).unwrap();

    let mut ours = Vec::new();
    let outcome = Decoder::new().decode_batch(recorded.as_bytes(), |packet| ours.push(packet.unwrap().data.to_vec()));

    assert_eq!(outcome, Ok(()));
    let data = |text: &String| base64(&serde_json::from_str::<Value>(&text.replace("\\n", "")).unwrap()["b64_data"]);
    assert_eq!(ours, texts.iter().map(data).collect::<Vec<_>>());
}

#[test]
fn our_batch_is_what_the_original_would_send_without_line_breaks() {
    let exchange = mesh().into_iter().flat_map(|(_, messages)| messages);
    let batches: Vec<_> = exchange.filter(|m| m.is_request && m.path.ends_with("/batch")).collect();
    assert!(!batches.is_empty());
    for recorded in batches {
        let texts = texts(&recorded);
        let first: Value = serde_json::from_str(&texts[0]).unwrap();
        let encoder = Encoder::new(&first["source_node_id"].as_str().unwrap().parse().unwrap());

        let mut body = Vec::new();
        encoder.begin_batch(&mut body);
        let outcome = Decoder::new().decode_batch(&recorded.body, |packet| {
            let packet = packet.unwrap();
            encoder.push(packet.ethertype, packet.data, packet.stamp, &mut body);
        });
        encoder.finish_batch(&mut body);

        assert_eq!(outcome, Ok(()));
        let unwrapped = String::from_utf8(recorded.body).unwrap().replace(r"\\n", "");
        assert_eq!(String::from_utf8(body).unwrap(), unwrapped);
    }
}

#[test]
fn what_the_original_cannot_read_as_a_packet_neither_can_we() {
    let field = |name| Err(PacketError::Field { name });
    let mut seen = 0;
    for (name, probe) in probes("packet") {
        let Some(request) =
            messages(&probe["exchanges"]).into_iter().find(|m| m.is_request && m.path.contains("/packet/rx/"))
        else {
            continue;
        };
        let outcome = match &*name {
            "b64_garbage" => Err(PacketError::Base64),
            "b64_missing" => field("b64_data"),
            "b64_urlsafe" => Err(PacketError::Base64),
            "bad_md5" | "md5_upper" => Err(PacketError::Md5),
            "empty_data" => Err(PacketError::Empty),
            "ethertype_missing" | "ethertype_over_u16" => field("ethertype"),
            "json_array" | "malformed_json" => Err(PacketError::Json),
            "md5_missing" => field("md5"),
            "source_node_id_missing" => field("source_node_id"),
            "stamp_float" | "stamp_negative" | "stamp_over_u64" => field("internal_stamp"),
            "version_2" | "version_4" | "version_missing" | "version_string" => Err(PacketError::Version),
            _ => Ok(()),
        };
        assert_eq!(Decoder::new().decode_single(&request.body).map(|_| ()), outcome, "{name}");
        if request.status == 204 {
            assert_eq!(outcome, Ok(()), "{name}");
        }
        seen += 1;
    }
    assert_eq!(seen, 59);
}

#[test]
fn batches_are_read_as_by_the_original_but_a_bad_packet_takes_no_other_with_it() {
    for (name, probe) in probes("batch") {
        let Some(request) = messages(&probe["exchanges"]).into_iter().find(|m| m.is_request) else {
            continue;
        };
        let (outcome, packets) = batch(&request);
        match &*name {
            "bad_middle" => {
                assert_eq!(outcome, Ok(()));
                assert_eq!(packets, [Ok(()), Err(PacketError::Md5), Ok(())]);
            }
            "empty" | "object" => assert_eq!((outcome, packets), (Ok(()), vec![]), "{name}"),
            "malformed" => assert!(outcome.is_err()),
            "null" | "single_on_batch" => assert_eq!((outcome, packets), (Err(BatchError::NotAList), vec![]), "{name}"),
            "objects" => assert_eq!((outcome, packets), (Err(BatchError::NotText), vec![])),
            _ => assert!(outcome.is_ok() && packets.iter().all(Result::is_ok), "{name}: {outcome:?} {packets:?}"),
        }
    }
}

/// Reads one packet on the fast and on the slow way, writes it, and compares.
fn assert_reads(expected: &Value, text: &str) {
    let mut decoder = Decoder::new();
    let b64_data = expected.get("b64_data").unwrap_or_else(|| &expected["data_b64"]).as_str().unwrap();
    let data = base64(&Value::from(b64_data.replace('\n', "")));
    let ethertype = u16::try_from(expected["ethertype"].as_u64().unwrap()).unwrap();
    let stamp = Stamp::from_raw(expected["internal_stamp"].as_u64().unwrap());
    let in_another_order = serde_json::to_string_pretty(&serde_json::from_str::<Value>(text).unwrap()).unwrap();
    for text in [text, &in_another_order] {
        let packet = decoder.decode_single(text.as_bytes()).unwrap();
        assert_eq!((packet.ethertype, packet.stamp, packet.data), (ethertype, stamp, &data[..]));
    }

    let Ok(source) = expected["source_node_id"].as_str().unwrap().parse::<NodeId>() else {
        return;
    };
    let mut ours = Vec::new();
    Encoder::new(&source).encode_single(ethertype, &data, stamp, &mut ours);
    assert_eq!(String::from_utf8(ours).unwrap(), text.replace("\\n", ""));
}

/// The packets of a request, each as JSON.
fn texts(request: &Message) -> Vec<String> {
    if request.path.ends_with("/batch") {
        serde_json::from_slice(&request.body).unwrap()
    } else {
        vec![String::from_utf8(request.body.clone()).unwrap()]
    }
}

fn batch(request: &Message) -> (Result<(), BatchError>, Vec<Result<(), PacketError>>) {
    let mut packets = Vec::new();
    let outcome = Decoder::new().decode_batch(&request.body, |packet| packets.push(packet.map(|_| ())));
    (outcome, packets)
}

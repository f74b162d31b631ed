//! A few nodes with a network that loses nothing: what each call does, and what an attacker cannot do.

mod support;

use std::time::Duration;

use ipnet::IpNet;
use support::{Net, draft, draft_of, host_of, key_identity, outside};
use tunmesh_membership::{
    Event, Health, Identity, KeyIdentity, KeyRing, Membership, Record, RecordDraft, RecordError, Refused,
    RefusedRecord, Settings, Signed, Signer,
};
use tunmesh_protocol::Secret;

#[test]
fn two_nodes_find_each_other() {
    let mut net = Net::with_nodes(2);
    net.join(0, 1);

    net.run_millis(200);

    assert_eq!((net.known(0), net.known(1)), (vec![1], vec![0]));
    assert!(matches!(net.events(0).as_slice(), [Event::Up(record)] if record.id == draft(1).id));
    assert_eq!(net.node(0).health(&draft(1).id), Some(Health::Alive));
    assert_eq!(net.node(0).seen_at(&draft(1).id), Some(outside(1)));
}

#[test]
fn a_change_is_told_to_all() {
    let mut net = joined(5);
    let changed = RecordDraft { version: "2.0.0".into(), ..draft(2) };

    net.with(2, |node, now| node.update(now, changed.clone())).unwrap();
    net.run_millis(1000);

    for index in [0, 1, 3, 4] {
        assert!(matches!(net.events(index).as_slice(), [Event::Changed(record)] if record.version == "2.0.0"));
    }
    let other = RecordDraft { id: draft(3).id, ..changed };
    assert_eq!(net.with(2, |node, now| node.update(now, other)), Err(RecordError::OtherId));
}

#[test]
fn who_leaves_is_gone_at_once_and_answers_no_more() {
    let mut net = joined(5);

    net.with(2, Membership::leave);
    net.run_millis(1000);

    for index in [0, 1, 3, 4] {
        assert_eq!(net.events(index), vec![Event::Down { id: draft(2).id, left: true }]);
    }
    assert_eq!(net.deliver(2, outside(0), b"anything"), Err(Refused::Left));
    assert_eq!(net.node(2).poll_timeout(), None);
}

#[test]
fn a_node_that_was_only_out_of_reach_comes_back_in_a_higher_incarnation() {
    let mut net = joined(4);
    let before = net.node(0).own().incarnation;
    net.rules.split_at = Some(1);
    net.run_until(Duration::from_secs(15), "the split seen", |net| net.known(0).is_empty() && net.known(3) == [1, 2]);

    net.rules.split_at = None;
    net.run_until(Duration::from_secs(15), "healed", Net::is_complete);

    assert!(net.node(3).get(&draft(0).id).unwrap().incarnation > before);
    let events = net.events(3);
    let zero = draft(0).id;
    let of_zero: Vec<&Event> = events
        .iter()
        .filter(|event| match event {
            Event::Down { id, .. } => *id == zero,
            Event::Up(record) => record.id == zero,
            Event::Changed(_) | Event::Contested { .. } => false,
        })
        .collect();
    assert!(matches!(of_zero.as_slice(), [Event::Down { left: false, .. }, Event::Up(_)]), "{of_zero:?}");
}

#[test]
fn every_datagram_counts_once_and_not_after_30_seconds() {
    let mut net = joined(2);
    net.tape = Some(Vec::new());
    net.run(Duration::from_secs(5));
    let tape = net.tape.take().unwrap();
    let to_1: Vec<_> = tape.iter().filter(|(_, to, _)| *to == outside(1)).collect();
    assert!(to_1.len() > 5);
    net.stop(0);
    net.run_millis(100);

    for (from, _, bytes) in &to_1 {
        assert_eq!(net.deliver(1, *from, bytes), Err(Refused::Replayed));
    }
    net.run(Duration::from_secs(31));
    for (from, _, bytes) in &to_1 {
        assert_eq!(net.deliver(1, *from, bytes), Err(Refused::ClockSkew));
    }
    assert_eq!(net.node(1).health(&draft(0).id), None, "no replay keeps a dead node alive");
    assert_eq!(net.node(1).counters().datagrams_refused, 2 * to_1.len() as u64);
}

#[test]
fn altered_bytes_and_other_secrets_change_nothing() {
    let mut net = Net::with_nodes(2);
    net.tape = Some(Vec::new());
    net.join(0, 1);
    let (from, _, mut bytes) = net.tape.take().unwrap().remove(0);
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(net.deliver(1, from, &bytes), Err(Refused::Unauthentic));

    let stranger = KeyRing::new(&Secret::from_bytes(b"another secret".to_vec()), &[]);
    let now = net.time();
    let settings = Settings::new(draft(7));
    let mut stranger = Membership::new(settings, stranger, key_identity(7, 0), [7; 32], now).unwrap();
    stranger.join(now, outside(1));
    let (_, bytes) = stranger.poll_transmit().unwrap();
    assert_eq!(net.deliver(1, from, &bytes), Err(Refused::UnknownKey));
    assert!(net.node(1).is_empty());
}

#[test]
fn an_id_that_is_known_by_one_key_is_refused_to_another() {
    let mut net = joined(3);
    net.add(3, key_identity(99, 0), RecordDraft { id: draft(1).id, url: draft(3).url, ..draft(3) });
    let before = net.node(0).get(&draft(1).id).cloned();

    net.join(3, 0);
    net.run(Duration::from_secs(3));

    assert_eq!(net.node(0).get(&draft(1).id).map(|record| &record.url), before.as_ref().map(|record| &record.url));
    assert!(net.node(0).counters().records_refused > 0);
    assert_eq!(net.known(2), [0, 1]);
}

#[test]
fn a_forged_address_is_refused_and_never_passed_on() {
    let mut net = Net::new(1);
    for index in 0..4 {
        net.add(index, Box::new(Certified(index)), draft(index));
    }
    net.add(4, Box::new(Certified(4)), RecordDraft { addresses: draft(1).addresses, ..draft(4) });
    for index in 1..5 {
        net.join(index, 0);
    }

    net.run(Duration::from_secs(5));

    for index in 0..4 {
        assert!(!net.known(index).contains(&4), "{index}");
        // Only who meets it has to refuse it: nobody hears of it from another.
        assert_eq!(net.node(index).counters().records_refused > 0, index == 0, "{index}");
        assert_eq!(net.node(index).owner_of(draft(1).addresses[0]).map(|record| host_of(record)), Some(1));
    }
    assert!(net.node(0).counters().records_refused < 3, "a refusal does not call for more of the same");
    let now = net.time();
    let refused = net.with(4, |node, _| {
        node.join(now, outside(2));
        node.poll_transmit().unwrap().1
    });
    let outcome = net.deliver(2, outside(4), &refused);
    let address = draft(1).addresses[0];
    assert_eq!(outcome, Err(Refused::Record(RefusedRecord::AddressNotCertified { address })));
}

#[test]
fn two_claims_of_one_address_are_reported_and_all_agree_on_the_owner() {
    let mut net = joined(3);
    net.run_millis(50);
    net.add(3, key_identity(3, 0), RecordDraft { addresses: draft(1).addresses, ..draft(3) });
    net.join(3, 0);
    net.run(Duration::from_secs(1));
    let address: IpNet = draft(1).addresses[0];

    for index in 0..4 {
        assert_eq!(net.node(index).owner_of(address).map(|record| host_of(record)), Some(1), "{index}");
        let contested: Vec<_> = net
            .events(index)
            .into_iter()
            .filter_map(|event| match event {
                Event::Contested { address, holder, claimant } => Some((address, host_of(&holder), host_of(&claimant))),
                Event::Changed(_) | Event::Down { .. } | Event::Up(_) => None,
            })
            .collect();
        assert_eq!(contested, [(address, 1, 3)], "{index}");
    }
    net.with(1, Membership::leave);
    net.run(Duration::from_secs(1));
    assert_eq!(net.node(0).owner_of(address).map(|record| host_of(record)), Some(3));
}

#[test]
fn cluster_secrets_change_without_loss_and_every_record_tells_which_are_known() {
    let [a, b] = ["the secret of this cluster", "the next one"].map(|text| Secret::from_bytes(text.into()));
    let mut net = joined(3);
    let steps: [(&Secret, &[Secret]); 3] = [(&a, std::slice::from_ref(&b)), (&b, std::slice::from_ref(&a)), (&b, &[])];
    for (current, previous) in steps {
        for index in 0..3 {
            net.with(index, |node, now| node.rekey(now, KeyRing::new(current, previous))).unwrap();
            net.run(Duration::from_secs(2));
        }
        let ids = KeyRing::new(current, previous).ids();
        for index in 0..3 {
            assert_eq!(net.known(index).len(), 2);
            assert!(net.node(index).members().all(|record| record.secrets == ids));
        }
    }
    assert_eq!(net.node(0).counters().deaths, 0);
}

#[test]
fn a_member_is_reached_where_it_is_seen_when_its_endpoint_leads_nowhere() {
    let mut net = Net::new(4);
    net.add(0, key_identity(0, 0), draft(0));
    net.add(1, key_identity(1, 0), RecordDraft { endpoints: vec!["192.168.0.9:4600".parse().unwrap()], ..draft(1) });
    net.hide(1);
    net.join(1, 0);
    net.run(Duration::from_secs(30));

    assert_eq!((net.known(0), net.known(1)), (vec![1], vec![0]));
    assert_eq!((net.node(0).counters().deaths, net.node(1).counters().refutations), (0, 0));
}

#[test]
fn a_newcomer_is_refused_when_there_is_no_room_unless_somebody_is_gone() {
    let net = Net::new(2);
    let now = net.time();
    let node = |index: usize, max_members: usize| {
        let settings = Settings { max_members, ..Settings::new(draft(index)) };
        let seed = [u8::try_from(index).unwrap(); 32];
        Membership::new(settings, support::key_ring(), key_identity(index, 0), seed, now).unwrap()
    };
    let (mut full, mut others) = (node(0, 3), [node(1, 3), node(2, 3), node(3, 3)]);
    let mut join = |other: &mut Membership| {
        other.join(now, outside(0));
        let (_, bytes) = other.poll_transmit().unwrap();
        full.handle_datagram(now, outside(1), &bytes)
    };
    assert_eq!([join(&mut others[0]), join(&mut others[1])], [Ok(()), Ok(())]);
    assert_eq!(join(&mut others[2]), Err(Refused::Record(RefusedRecord::Full)));

    full.poll_transmit().unwrap();
    let answer = std::iter::from_fn(|| full.poll_transmit()).last().unwrap().1;
    others[0].handle_datagram(now, outside(0), &answer).unwrap();
    while others[0].poll_transmit().is_some() {}
    others[0].leave(now);
    let (_, goodbye) = others[0].poll_transmit().unwrap();
    full.handle_datagram(now, outside(1), &goodbye).unwrap();
    others[2].join(now, outside(0));
    let (_, bytes) = others[2].poll_transmit().unwrap();

    assert_eq!(full.handle_datagram(now, outside(3), &bytes), Ok(()));
    assert_eq!(full.members().map(|record| host_of(record)).collect::<std::collections::BTreeSet<_>>(), [2, 3].into());
}

#[test]
fn a_record_too_long_for_a_datagram_is_an_error() {
    let addresses = (0..64_u128).map(|index| IpNet::new(std::net::Ipv6Addr::from(index).into(), 128).unwrap());
    let too_long = RecordDraft { addresses: addresses.collect(), ..draft(0) };
    let net = Net::new(1);
    let node = Membership::new(Settings::new(too_long), support::key_ring(), key_identity(0, 0), [1; 32], net.time());
    assert!(matches!(node.err(), Some(RecordError::TooLong { found: 1101.., most: 1100 })));
}

#[test]
fn a_node_started_anew_with_a_clock_set_back_outdoes_its_old_record() {
    let mut net = joined(3);
    net.with(1, |node, now| {
        for _ in 0..100 {
            node.update(now, draft(1)).unwrap();
        }
    });
    net.run(Duration::from_secs(1));
    let old = net.node(0).get(&draft(1).id).unwrap().incarnation;
    // The same key, as with a certificate, and an incarnation below the last one.
    let now = net.time();
    let seconds_back = Duration::from_secs(10);
    let unix = tunmesh_protocol::UnixTime::new(now.unix.since_epoch() - seconds_back);
    let past = tunmesh_membership::Now { unix, ..now };
    let node =
        Membership::new(Settings::new(draft(1)), support::key_ring(), key_identity(1, 0), [5; 32], past).unwrap();
    assert!(node.own().incarnation < old);
    net.replace(1, node);
    net.join(1, 0);

    net.run_until(Duration::from_secs(20), "equal views", Net::is_complete);

    assert!(net.node(1).own().incarnation > old);
}

/// A certificate authority that certifies for each host the address of its own draft, and signatures nobody can forge as
/// long as nobody tries: what is shown is what follows from a refusal.
struct Certified(usize);

impl Identity for Certified {
    fn sign(&self, message: &[u8]) -> Signed {
        let signature = key_of(self.0).sign(message).signature;
        Signed { signer: Signer::Certificate(self.0.to_be_bytes().to_vec()), signature }
    }

    fn verify(&self, record: &Record, signer: &Signer, message: &[u8], signature: &[u8]) -> Result<(), RefusedRecord> {
        let Signer::Certificate(der) = signer else {
            return Err(RefusedRecord::WrongSigner);
        };
        let der = der.as_slice().try_into().map_err(|_| RefusedRecord::UntrustedCertificate)?;
        let host = usize::from_be_bytes(der);
        let key = key_of(host);
        key.verify(record, &key.sign(b"").signer, message, signature)?;
        let certified = draft_of(host, 0).addresses;
        match record.addresses.iter().find(|address| !certified.contains(address)) {
            Some(address) => Err(RefusedRecord::AddressNotCertified { address: *address }),
            None => Ok(()),
        }
    }
}

fn key_of(host: usize) -> KeyIdentity {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&host.to_be_bytes());
    KeyIdentity::new(&seed).expect("any seed is a key")
}

/// So many nodes that know each other, with nothing left to say.
fn joined(count: usize) -> Net {
    let mut net = Net::with_nodes(count);
    for index in 1..count {
        net.join(index, 0);
    }
    net.run(Duration::from_secs(3));
    assert!(net.is_complete());
    for index in 0..count {
        net.events(index);
    }
    net
}

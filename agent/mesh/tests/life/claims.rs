//! Who is taken as a member, and whose address it is.

use tunmesh_mesh::{Device, Proof, Refusal, RegisterFailure, Screening, Settings, Vouched};
use tunmesh_protocol::Registration;

use crate::support::*;

const CALLED_BACK: Proof = Proof { called_back: true, vacated: None, tells_more: false };

#[test]
fn registrations_are_refused_in_the_order_of_the_original() {
    let mut bench = Bench::new(settings());
    bench.settle(&member("b", "10.0.0.2/24"));
    let [local, b, x] = [id("local"), id("b"), id("x")];
    let claim = |name: &str, address: &str| registration(&member(name, address), &[]);
    let screen = |claim: &_, issuer, route| bench.node.screen(claim, issuer, route);

    // register/self_registration: the issuer is looked at later.
    assert_eq!(screen(&claim("local", "10.0.0.1/24"), Some(&x), None), Err(Refusal::ToSelf));
    // register/iss_other and session/register_id_other_local_id
    assert_eq!(screen(&claim("b", "10.0.0.2/24"), Some(&x), None), Err(Refusal::IdMismatch));
    assert_eq!(screen(&claim("b", "10.0.0.2/24"), None, Some(&local)), Err(Refusal::IdMismatch));
    // register/address_is_receivers_own: the original takes it.
    assert_eq!(screen(&claim("x", "10.0.0.1/16"), Some(&x), None), Err(Refusal::AddressIsOurs));
    // register/address_change_same_id
    let [before, claimed] = ["10.0.0.2", "10.0.0.3"].map(|address| address.parse().unwrap());
    let changed = Refusal::AddressChanged { before, claimed };
    assert_eq!(screen(&claim("b", "10.0.0.3/24"), Some(&b), None), Err(changed));
    // register/ok_new, register/ok_new_and_refresh
    let callback = |callback| Ok(Screening { callback, contested: None });
    assert_eq!(screen(&claim("x", "10.0.0.3/24"), Some(&x), None), callback(true));
    assert_eq!(screen(&claim("b", "10.0.0.2/24"), None, Some(&b)), callback(false));
    // register/listen_url_change_same_id; another spelling of the same place is none.
    let mut moved = claim("b", "10.0.0.2/24");
    moved.local.listen_url = url("https://b:443/");
    assert_eq!(screen(&moved, Some(&b), None), callback(false));
    moved.local.listen_url = url("https://b2");
    assert_eq!(screen(&moved, Some(&b), None), callback(true));
}

#[test]
fn nobody_takes_the_id_or_the_address_of_our_device() {
    let device = Device { id: id("phone"), addresses: vec!["10.0.0.70".parse().unwrap(), "fd00::70".parse().unwrap()] };
    let mut bench = Bench::new(Settings { devices: vec![device], ..settings() });
    let mut take = |name, address| {
        let member = member(name, address);
        let screened = bench.node.screen(&registration(&member, &[]), None, None).map(|_| ());
        assert_eq!(bench.node.vouch(member, Vouched::default(), bench.now), screened);
        screened
    };

    assert_eq!(take("phone", "10.0.0.2/24"), Err(Refusal::ToSelf));
    assert_eq!(take("b", "10.0.0.70/24"), Err(Refusal::AddressIsOurs));
    assert_eq!(take("b", "10.0.0.2/24"), Ok(()));
}

#[test]
fn nobody_new_is_stored_without_a_callback() {
    let mut bench = Bench::new(settings());
    let b = member("b", "10.0.0.2/24");

    assert_eq!(bench.node.accept(&registration(&b, &[]), Proof::default(), bench.now), Err(Refusal::Unproven));
    assert_eq!(bench.known(), Vec::<String>::new());
    assert_eq!(bench.node.accept(&registration(&b, &[]), CALLED_BACK, bench.now), Ok(()));
    assert_eq!(bench.node.accept(&registration(&b, &[]), Proof::default(), bench.now), Ok(()));
}

#[test]
fn a_known_node_moves_to_another_url_only_after_a_callback() {
    let mut bench = Bench::new(settings());
    let mut b = member("b", "10.0.0.2/24");
    bench.settle(&b);
    b.listen_url = url("https://b2");

    assert_eq!(bench.node.accept(&registration(&b, &[]), Proof::default(), bench.now), Err(Refusal::Unproven));
    assert_eq!(bench.node.accept(&registration(&b, &[]), CALLED_BACK, bench.now), Ok(()));
    assert_eq!(bench.node.member(&id("b")).unwrap().member.listen_url, url("https://b2"));
}

#[test]
fn further_addresses_count_while_the_gossip_does_not_vouch_for_the_member() {
    let mut bench = Bench::new(settings());
    let b = member("b", "10.0.0.2/24");
    let proof = Proof { tells_more: true, ..CALLED_BACK };
    bench.node.accept(&registration(&b, &[]), proof, bench.now).unwrap();
    bench.node.handle_timeout(bench.now);
    assert_eq!(bench.actions(), ["open b", "register b"], "asked at once");

    let further = |addresses: &[&str]| addresses.iter().map(|address| address.parse().unwrap()).collect::<Vec<_>>();
    let owner =
        |bench: &Bench, address: &str| bench.node.routes().owner(address.parse().unwrap()).map(ToString::to_string);
    let answer = Registration { further: Some(further(&["10.0.0.70", "10.0.0.71"])), ..registration(&b, &[]) };
    bench.node.handle_registered(&b.id, Ok(&answer), bench.now).unwrap();
    assert_eq!(owner(&bench, "10.0.0.70").as_deref(), Some("b"));

    // A registration of its own says nothing of them; its next answer takes one back.
    bench.register(&b, &[]).unwrap();
    let answer = Registration { further: Some(further(&["10.0.0.71"])), ..registration(&b, &[]) };
    assert_eq!(owner(&bench, "10.0.0.70").as_deref(), Some("b"));
    bench.node.handle_registered(&b.id, Ok(&answer), bench.now).unwrap();
    assert_eq!((owner(&bench, "10.0.0.70"), owner(&bench, "10.0.0.71").as_deref()), (None, Some("b")));

    let vouched = Vouched { addresses: further(&["10.0.0.72"]), ..Vouched::default() };
    bench.node.vouch(b.clone(), vouched, bench.now).unwrap();
    assert_eq!((owner(&bench, "10.0.0.71"), owner(&bench, "10.0.0.72").as_deref()), (None, Some("b")));
}

#[test]
fn an_answer_from_another_url_is_followed_up_by_a_meeting_there() {
    let mut bench = Bench::new(settings());
    let mut b = member("b", "10.0.0.2/24");
    bench.settle(&b);
    bench.pass(secs(5));
    assert_eq!(bench.actions(), ["register b"]);
    b.listen_url = url("https://b2");

    bench.node.handle_registered(&id("b"), Ok(&registration(&b, &[])), bench.now).unwrap();

    assert_eq!(bench.actions(), ["meet https://b2"]);
    assert_eq!(bench.node.member(&id("b")).unwrap().last_seen, bench.now);
    bench.node.handle_met(&url("https://b2"), Ok(&registration(&b, &[])), bench.now).unwrap();
    assert_eq!(bench.node.member(&id("b")).unwrap().member.listen_url, url("https://b2"));
}

#[test]
fn a_live_members_address_cannot_be_taken() {
    let mut bench = Bench::new(settings());
    let (owner, thief) = (member("owner", "10.0.0.2/24"), member("thief", "10.0.0.2/24"));
    bench.settle(&owner);
    let claim = registration(&thief, &[]);
    let taken = Refusal::AddressTaken { owner: owner.id.clone() };

    let screening = bench.node.screen(&claim, Some(&thief.id), None).unwrap();
    assert_eq!(screening.contested.as_ref().map(|contested| &contested.owner), Some(&owner));

    // The owner still answers: no proof. Nor is it one for a meeting that the thief is met first.
    assert_eq!(bench.node.accept(&claim, CALLED_BACK, bench.now), Err(taken.clone()));
    assert_eq!(bench.node.handle_met(&thief.listen_url, Ok(&claim), bench.now), Err(taken.clone()));
    // The owner did not answer but is heard of before the claim is decided.
    bench.pass(secs(1));
    bench.register(&owner, &[]).unwrap();
    let proof = Proof { called_back: true, vacated: screening.contested, tells_more: false };
    assert_eq!(bench.node.accept(&claim, proof, bench.now), Err(taken));
    assert_eq!(bench.routed(), ["owner"]);
}

#[test]
fn an_owner_that_is_gone_makes_room_for_the_claimant() {
    let mut bench = Bench::new(settings());
    let (owner, heir) = (member("owner", "10.0.0.2/24"), member("heir", "10.0.0.2/24"));
    bench.settle(&owner);
    let claim = registration(&heir, &[]);
    let contested = bench.node.screen(&claim, None, None).unwrap().contested;

    bench.node.accept(&claim, Proof { called_back: true, vacated: contested, tells_more: false }, bench.now).unwrap();

    assert_eq!(bench.events(), ["left owner AddressVacated", "joined heir", "routes"]);
    assert_eq!(bench.routed(), ["heir"]);
}

#[test]
fn a_restarted_node_replaces_itself_by_answering_at_its_old_url() {
    let mut bench = Bench::new(settings());
    bench.settle(&member("old", "10.0.0.2/24"));
    let mut new = member("new", "10.0.0.2/24");
    new.listen_url = url("https://OLD:443/");

    let screening = bench.node.screen(&registration(&new, &[]), Some(&new.id), None);
    assert_eq!(screening, Ok(Screening { callback: true, contested: None }));
    bench.register(&new, &[]).unwrap();

    assert_eq!(bench.events(), ["left old Replaced", "joined new", "routes"]);
    assert_eq!(bench.routed(), ["new"]);
}

#[test]
fn an_answer_that_names_the_url_of_a_member_does_not_replace_it() {
    let mut bench = Bench::new(settings());
    let victim = member("victim", "10.0.0.2/24");
    bench.settle(&victim);
    let mut thief = member("thief", "10.0.0.2/24");
    thief.listen_url = victim.listen_url.clone();

    bench.node.handle_met(&url("https://thief"), Ok(&registration(&thief, &[])), bench.now).unwrap();

    assert_eq!(bench.actions(), ["meet https://victim"]);
    bench.node.handle_met(&victim.listen_url, Ok(&registration(&victim, &[])), bench.now).unwrap();
    assert_eq!(bench.routed(), ["victim"]);
    assert_eq!(bench.events(), Vec::<String>::new());
}

#[test]
fn answers_that_lead_in_a_circle_are_not_followed_forever() {
    let mut bench = Bench::new(settings());
    bench.register(&member("b", "10.0.0.2/24"), &[member("x", "10.0.0.3/24")]).unwrap();
    let mut calls = 0;
    while bench.now < bench.start + secs(25) {
        let (_, actions) = bench.next_actions(secs(1));
        for at in actions.iter().filter_map(|action| action.strip_prefix("meet ")) {
            calls += 1;
            let mut liar = member("liar", "10.0.0.4/24");
            liar.listen_url = url(if at == "https://x" { "https://y" } else { "https://x" });
            bench.node.handle_met(&url(at), Ok(&registration(&liar, &[])), bench.now).unwrap();
        }
    }

    assert_eq!(calls, 2);
}

#[test]
fn a_node_restarted_with_another_address_leaves_no_old_one_behind() {
    let mut bench = Bench::new(settings());
    bench.settle(&member("old", "10.0.0.2/24"));
    let mut new = member("new", "10.0.0.3/24");
    new.listen_url = url("https://old");

    bench.register(&new, &[]).unwrap();

    assert_eq!(bench.known(), ["new"]);
    assert_eq!(bench.node.owners().count(), 1);
}

#[test]
fn a_restarted_node_that_does_not_call_us_is_found_by_its_refusal() {
    let mut bench = Bench::new(settings());
    let old = member("old", "10.0.0.2/24");
    bench.settle(&old);
    bench.pass(secs(5));
    assert_eq!(bench.actions(), ["register old"]);

    bench.node.handle_registered(&old.id, Err(RegisterFailure::Denied), bench.now).unwrap();
    assert_eq!(bench.actions(), ["meet https://old"]);
    let mut new = member("new", "10.0.0.2/24");
    new.listen_url = url("https://old");
    bench.node.handle_met(&url("https://old"), Ok(&registration(&new, &[])), bench.now).unwrap();

    assert_eq!(bench.known(), ["new"]);
}

#[test]
fn a_stranger_that_answers_for_a_member_is_no_sign_of_its_life() {
    let mut bench = Bench::new(settings());
    let b = member("b", "10.0.0.2/24");
    bench.settle(&b);
    bench.pass(secs(5));
    bench.actions();

    let stranger = registration(&member("stranger", "10.0.0.9/24"), &[]);
    assert_eq!(bench.node.handle_registered(&b.id, Ok(&stranger), bench.now), Err(Refusal::IdMismatch));

    assert_eq!(bench.actions(), ["meet https://b"]);
    assert_eq!(bench.node.member(&b.id).unwrap().last_seen, bench.start);
}

#[test]
fn members_outside_the_network_or_with_another_network_are_kept_and_the_former_not_routed() {
    let mut bench = Bench::new(settings());
    // register/address_outside_mesh and register/network_addresses_other
    let mut foreign = member("foreign", "10.0.0.9/24");
    foreign.network = "10.0.0.0/8".parse().unwrap();
    bench.register(&member("outside", "203.0.113.9/24"), &[]).unwrap();
    bench.register(&foreign, &[]).unwrap();

    assert_eq!(bench.known(), ["foreign", "outside"]);
    assert_eq!(bench.routed(), ["foreign"]);
    assert_eq!(bench.node.answer(tunmesh_protocol::UnixTime::new(secs(77))).remote.len(), 2);
}

#[test]
fn when_the_table_is_full_newcomers_are_refused_and_nobody_is_pushed_out() {
    let mut bench = Bench::new(settings());
    for index in 0u32..10_000 {
        let address = format!("10.0.{}.{}/24", 1 + index / 250, 1 + index % 250);
        bench.register(&member(&format!("n{index}"), &address), &[]).unwrap();
    }

    assert_eq!(bench.register(&member("late", "10.0.200.1/24"), &[]), Err(Refusal::Full));
    let mut restarted = member("again", "10.0.1.1/24");
    restarted.listen_url = url("https://n0");
    assert_eq!(bench.register(&restarted, &[]), Ok(()));
    assert_eq!(bench.known().len(), 10_000);
    let told: Vec<_> = (0u32..11_000).map(|index| member(&format!("t{index}"), "10.0.250.1/24")).collect();
    bench.actions();
    bench.register(&restarted, &told).unwrap();
    assert_eq!(bench.actions().len(), 10_000);
}

#[test]
fn of_two_members_vouched_for_with_one_address_the_one_that_started_first_has_it() {
    let started = |started_at| Vouched { started_at, ..Vouched::default() };
    let taken = |owner: &str| Err(Refusal::AddressTaken { owner: id(owner) });
    let claim = |name| member(name, "10.0.0.2/24");
    let mut bench = Bench::new(settings());
    bench.node.vouch(claim("late"), started(30), bench.now).unwrap();
    bench.events();

    assert_eq!(bench.node.vouch(claim("later"), started(31), bench.now), taken("late"));
    assert_eq!(bench.node.vouch(claim("zero"), started(30), bench.now), taken("late"));
    assert_eq!(bench.node.vouch(claim("early"), started(20), bench.now), Ok(()));

    assert_eq!(bench.events(), ["left late AddressVacated", "joined early", "routes"]);
    assert_eq!(bench.node.vouch(claim("late"), started(30), bench.now), taken("early"));
    assert_eq!(bench.routed(), ["early"]);
}

#[test]
fn a_record_that_is_refused_for_its_address_drives_nobody_from_the_place_it_names() {
    let mut bench = Bench::new(settings());
    let started = |started_at| Vouched { started_at, ..Vouched::default() };
    bench.node.vouch(member("b", "10.0.0.2/24"), started(1), bench.now).unwrap();
    bench.node.vouch(member("c", "10.0.0.3/24"), started(1), bench.now).unwrap();
    bench.settle(&member("d", "10.0.0.4/24"));
    let mut newcomer = member("x", "10.0.0.2/24");
    newcomer.listen_url = url("https://d");

    let outcome = bench.node.vouch(newcomer, started(2), bench.now);

    assert_eq!(outcome, Err(Refusal::AddressTaken { owner: id("b") }));
    assert_eq!(bench.known(), ["b", "c", "d"]);
}

#[test]
fn a_member_that_nobody_vouches_for_keeps_its_address() {
    let mut bench = Bench::new(settings());
    bench.settle(&member("b", "10.0.0.2/24"));

    let outcome = bench.node.vouch(member("c", "10.0.0.2/24"), Vouched::default(), bench.now);

    assert_eq!(outcome, Err(Refusal::AddressTaken { owner: id("b") }));
}

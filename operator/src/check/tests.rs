use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tunmesh_crds::TunMeshMember;

use super::{Facts, Level, findings};
use crate::member::PodFacts;

fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A cluster where all is well, with one mesh of one pod.
fn well() -> Facts {
    let pod = of(json!({
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "u1",
            "labels": {"tunmesh.io/mesh": "m"}, "annotations": {"tunmesh.io/secret": "s"},
        },
        "spec": {"nodeName": "a", "containers": []},
    }));
    Facts {
        now: Timestamp::from_second(10_000).unwrap(),
        namespace: "tunmesh-system".into(),
        missing_kinds: vec![],
        webhook: Some(of(json!({"metadata": {}, "webhooks": [{
            "name": "pods.tunmesh.io", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
            "clientConfig": {"caBundle": "YQ=="},
        }]}))),
        operators: (1, 1),
        helpers: BTreeSet::from(["a".to_owned()]),
        meshes: vec![of(json!({
            "metadata": {"name": "m", "namespace": "shop"}, "spec": {},
            "status": {"conditions": [condition("Ready", "True", "Working")]},
        }))],
        members: vec![of(json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"mesh": {"name": "m"}, "pod": {"name": "web", "uid": "u1"}},
            "status": {
                "addresses": {"ipv4": "10.77.0.9"},
                "conditions": [condition("Ready", "True", "Connected")],
                "material": {"fingerprint": "f", "renews": "1970-01-01T02:40:00Z", "expires": "1970-01-01T04:00:00Z"},
            },
        }))],
        claims: vec![of(json!({
            "metadata": {"name": "c"},
            "spec": {
                "mesh": {"namespace": "shop", "name": "m", "uid": "mu"}, "address": "10.77.0.9",
                "owner": {"kind": "Pod", "namespace": "shop", "name": "web", "uid": "u1"},
            },
        }))],
        pods: vec![PodFacts::of(&pod).unwrap()],
    }
}

fn condition(type_: &str, status: &str, reason: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": "", "lastTransitionTime": "1970-01-01T00:00:00Z"})
}

#[test]
fn where_all_is_well_nothing_is_found() {
    assert_eq!(findings(&well()), []);
}

#[test]
fn every_fault_has_its_code() {
    type Case = (&'static str, Level, fn(&mut Facts));
    let cases: [Case; 14] = [
        ("TM1001", Level::Error, |facts| facts.missing_kinds.push("TunMeshAddress")),
        ("TM1002", Level::Error, |facts| facts.webhook = None),
        ("TM1002", Level::Error, |facts| hook(facts).client_config.ca_bundle = None),
        ("TM1002", Level::Warning, |facts| hook(facts).failure_policy = Some("Ignore".into())),
        ("TM1003", Level::Error, |facts| facts.operators = (2, 0)),
        ("TM1004", Level::Error, |facts| facts.helpers.clear()),
        ("TM1005", Level::Error, |facts| facts.meshes[0].status = None),
        ("TM1005", Level::Error, |facts| mesh_says(facts, "TrustReady", "SecretDamaged")),
        ("TM1005", Level::Warning, |facts| mesh_says(facts, "AddressPoolHealthy", "NearlyExhausted")),
        ("TM1006", Level::Error, |facts| member_says(facts, "AddressClaimed", "PoolExhausted")),
        ("TM1007", Level::Error, |facts| facts.pods[0].secret = None),
        ("TM1008", Level::Warning, |facts| facts.now = Timestamp::from_second(10_300).unwrap()),
        ("TM1008", Level::Error, |facts| facts.now = Timestamp::from_second(14_400).unwrap()),
        ("TM1009", Level::Error, |facts| facts.claims[0].spec.owner.uid = "other".into()),
    ];
    for (index, (code, level, spoil)) in cases.into_iter().enumerate() {
        let mut facts = well();
        spoil(&mut facts);

        let found = findings(&facts);

        let seen: Vec<_> = found.iter().map(|finding| (finding.code, finding.level)).collect();
        assert_eq!(seen, [(code, level)], "case {index}: {found:#?}");
        assert!([&found[0].found, &found[0].cause, &found[0].fix].iter().all(|text| !text.is_empty()), "{found:#?}");
    }
}

#[test]
fn a_late_certificate_of_a_machine_outside_is_found_with_what_to_carry() {
    let mut facts = well();
    let mut machine: TunMeshMember = of(json!({
        "metadata": {"name": "vm", "namespace": "shop", "uid": "u2"},
        "spec": {"mesh": {"name": "m"}, "outside": {"advertisedAddress": "192.0.2.10"}},
        "status": {"secretName": "tunmesh-member-vm"},
    }));
    machine.status.as_mut().unwrap().material = facts.members[0].status.as_ref().unwrap().material.clone();
    facts.members = vec![machine];
    facts.now = Timestamp::from_second(10_300).unwrap();

    let found = findings(&facts);

    assert_eq!(
        found.iter().map(|finding| (finding.code, finding.level)).collect::<Vec<_>>(),
        [("TM1008", Level::Warning)]
    );
    assert!(found[0].fix.ends_with("then carry Secret shop/tunmesh-member-vm to the machine"), "{}", found[0].fix);
}

fn hook(facts: &mut Facts) -> &mut k8s_openapi::api::admissionregistration::v1::MutatingWebhook {
    &mut facts.webhook.as_mut().unwrap().webhooks.as_mut().unwrap()[0]
}

fn mesh_says(facts: &mut Facts, type_: &str, reason: &str) {
    facts.meshes[0].status.as_mut().unwrap().conditions.push(of(condition(type_, "False", reason)));
}

fn member_says(facts: &mut Facts, type_: &str, reason: &str) {
    facts.members[0].status.as_mut().unwrap().conditions.push(of(condition(type_, "False", reason)));
}

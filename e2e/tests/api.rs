//! The cluster API on a real API server: it takes the definitions, every example, and of the table of objects what it
//! should, and answers the others with our text. Needs etcd and kube-apiserver (`tunmesh_e2e::api_server`).
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams, ValidationDirective};
use kube::{Client, Resource, ResourceExt};
use serde::Deserialize;
use serde_json::Value;
use tunmesh_crds::{
    AddressMesh, AddressOwner, OwnerKind, TunMesh, TunMeshAddress, TunMeshAddressSpec, TunMeshMember, address_name,
};
use tunmesh_e2e::api_server::ApiServer;

#[tokio::test]
async fn every_object_of_the_table_is_taken_or_refused_with_our_text() {
    let (client, namespace) = cluster("cases").await;
    let cases: Vec<Case> = serde_saphyr::from_str(&read("crds/tests/cases.yaml")).unwrap();
    for case in cases {
        let api = api(&client, &namespace, &case.object);
        let name = case.object["metadata"]["name"].as_str().unwrap().to_owned();
        let refused = case.refused.clone().unwrap_or_default();
        let outcome = case.carry_out(&api, &name).await;
        match &outcome {
            Ok(stored) => {
                assert!(refused.is_empty(), "{}: taken, but it should be refused: {refused:?}", case.name);
                assert!(
                    contains(&stored.data, &case.stored),
                    "{}: {:#} has not {:#}",
                    case.name,
                    stored.data,
                    case.stored
                );
                read_as_type(stored);
            }
            Err(Refusal { step, text }) => {
                assert!(!refused.is_empty(), "{}: refused at step {step}: {text}", case.name);
                assert_eq!(*step, case.changes.len(), "{}: refused before its last step: {text}", case.name);
                for part in refused {
                    assert!(text.contains(&part), "{}: {part:?} is not in: {text}", case.name);
                }
            }
        }
        let _absent_if_refused = api.delete(&name, &Default::default()).await;
    }
}

#[tokio::test]
async fn every_example_is_taken() {
    let (client, namespace) = cluster("examples").await;
    let mut taken = 0;
    for file in files("docs/examples") {
        let text = fs::read_to_string(file).unwrap();
        if text.contains("apiVersion: tunmesh.io/") {
            let object: Value = serde_saphyr::from_str(&text).unwrap();
            let stored = create(&api(&client, &namespace, &object), &object).await.unwrap();
            read_as_type(&stored);
            taken += 1;
        }
    }
    assert_ne!(taken, 0, "there are examples");
}

#[tokio::test]
async fn an_address_is_claimed_once() {
    let (client, namespace) = cluster("claims").await;
    let claims = Api::<TunMeshAddress>::all(client.clone());
    let uid = api_uid(&client, &namespace).await;
    for address in ["10.77.0.9", "255.255.255.255", "fd77::9", "fd77:1:2:3:4:5:6:7", "::1"] {
        let address = address.parse().unwrap();
        let claim = |owner| claim(&namespace, &uid, address, owner);

        claims.create(&PostParams::default(), &claim("first")).await.unwrap();
        let second = claims.create(&PostParams::default(), &claim("second")).await;

        assert!(matches!(second, Err(kube::Error::Api(status)) if status.reason == "AlreadyExists"), "{address}");
    }
}

/// One row of the table; crds/tests/cases.yaml says what its parts are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    object: Value,
    #[serde(default)]
    changes: Vec<Value>,
    refused: Option<Vec<String>>,
    #[serde(default)]
    stored: Value,
}

/// What the API server said, and to which step: 0 for the creation.
struct Refusal {
    step: usize,
    text: String,
}

impl Case {
    async fn carry_out(&self, api: &Api<DynamicObject>, name: &str) -> Result<DynamicObject, Refusal> {
        let refusal = |step| {
            move |error: kube::Error| {
                let kube::Error::Api(status) = error else { panic!("{}: {error}", self.name) };
                Refusal { step, text: status.message }
            }
        };
        let mut stored = create(api, &self.object).await.map_err(refusal(0))?;
        for (index, change) in self.changes.iter().enumerate() {
            let params = PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::default() };
            let patch = Patch::Merge(change);
            let outcome = match change.get("status") {
                Some(_) => api.patch_status(name, &params, &patch).await,
                None => api.patch(name, &params, &patch).await,
            };
            stored = outcome.map_err(refusal(index + 1))?;
        }
        Ok(stored)
    }
}

/// A client of a cluster that has our definitions, and a namespace of the test's own.
async fn cluster(test: &str) -> (Client, String) {
    let server = ApiServer::shared().unwrap_or_else(|error| panic!("{error}"));
    let client = server.client().await.unwrap_or_else(|error| panic!("{error}"));
    server.define(&client).await.unwrap_or_else(|error| panic!("{error}"));
    let namespace = server.namespace(&client, test).await.unwrap();
    (client, namespace)
}

const RESOURCES: [fn() -> ApiResource; 3] = [
    || ApiResource::erase::<TunMesh>(&()),
    || ApiResource::erase::<TunMeshMember>(&()),
    || ApiResource::erase::<TunMeshAddress>(&()),
];

fn api(client: &Client, namespace: &str, object: &Value) -> Api<DynamicObject> {
    let resource =
        RESOURCES.iter().map(|resource| resource()).find(|resource| object["kind"] == *resource.kind).unwrap();
    match &*resource.kind {
        "TunMeshAddress" => Api::all_with(client.clone(), &resource),
        _ => Api::namespaced_with(client.clone(), namespace, &resource),
    }
}

async fn create(api: &Api<DynamicObject>, object: &Value) -> Result<DynamicObject, kube::Error> {
    let mut typed = object.clone();
    typed["apiVersion"] = TunMesh::api_version(&()).into();
    let stored = api.create(&PostParams::default(), &serde_json::from_value(typed).unwrap()).await?;
    assert!(contains(&stored.data["spec"], &object["spec"]), "a field was dropped: {object:#} {:#}", stored.data);
    Ok(stored)
}

/// What the API server takes, our types can read.
fn read_as_type(stored: &DynamicObject) {
    let value = serde_json::to_value(stored).unwrap();
    let read = match &*stored.types.as_ref().unwrap().kind {
        "TunMesh" => serde_json::from_value::<TunMesh>(value).map(drop),
        "TunMeshMember" => serde_json::from_value::<TunMeshMember>(value).map(drop),
        _ => serde_json::from_value::<TunMeshAddress>(value).map(drop),
    };
    assert!(read.is_ok(), "{read:?}: {stored:?}");
}

async fn api_uid(client: &Client, namespace: &str) -> String {
    let meshes = Api::<TunMesh>::namespaced(client.clone(), namespace);
    let mesh = meshes.create(&PostParams::default(), &TunMesh::new("m", Default::default())).await.unwrap();
    mesh.uid().unwrap()
}

fn claim(namespace: &str, uid: &str, address: IpAddr, owner: &str) -> TunMeshAddress {
    let mesh = AddressMesh { namespace: namespace.into(), name: "m".into(), uid: uid.into() };
    let owner = AddressOwner {
        kind: OwnerKind::Pod,
        namespace: namespace.into(),
        name: owner.into(),
        uid: owner.into(),
        ordinal: None,
    };
    let certificate_lifetime = "24h".parse().unwrap();
    let spec = TunMeshAddressSpec { mesh, address, owner, certificate_lifetime };
    TunMeshAddress::new(&address_name(uid, address), spec)
}

/// Whether `whole` has every field of `part` with its value.
fn contains(whole: &Value, part: &Value) -> bool {
    let Value::Object(fields) = part else { return part.is_null() || whole == part };
    fields.iter().all(|(name, value)| contains(&whole[name], value))
}

fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

use std::path::Path;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{GroupVersionKind, TypeMeta};
use kube::discovery::ApiResource;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tunmesh_crds::{TunMesh, TunMeshAddress, TunMeshMember};
use tunmesh_e2e::api_server::ApiServer;

use crate::lab::{Lab, Operator, eventually};

#[tokio::test]
async fn the_rights_of_the_manifest_are_enough_and_no_more() {
    let lab = Lab::new("rights").await;
    install(&lab.client).await;
    let operator = Operator::start_serving(account("tunmesh-operator")).await;

    let mesh = lab.mesh("m", json!({"exposure": {"type": "NodePort"}})).await;
    lab.pod("web", "m", json!({})).await;
    lab.runs("web", "192.0.2.1").await;
    lab.member("web", |member| member.status.as_ref().is_some_and(|it| it.ready && it.material.is_some())).await;
    lab.mesh_when("m", |mesh| mesh.status.as_ref().is_some_and(|it| it.members.ready == 1)).await;
    // An event, a claim that rests and is freed, and the end of the mesh.
    lab.pod("lost", "m", json!({"metadata": {"annotations": {"tunmesh.io/address": "192.0.2.9"}}})).await;
    lab.event("lost", "AddressOutside").await;
    lab.delete_pod("web").await;
    eventually("no claim", || async { lab.claims(&mesh).await.is_empty().then_some(()) }, |()| true).await;
    lab.delete_pod("lost").await;
    lab.api::<TunMesh>().delete("m", &DeleteParams::default()).await.unwrap();
    eventually(
        "no mesh",
        || async { lab.api::<TunMesh>().get_opt("m").await.unwrap().is_none().then_some(()) },
        |()| true,
    )
    .await;
    let refused = operator.errors("forbidden").await;
    operator.stop().await;
    assert_eq!(refused, 0, "the API server refused what the operator did");

    let (operator, helper) = (account("tunmesh-operator"), account("tunmesh-node-helper"));
    refuses("list Secrets", Api::<Secret>::all(operator.clone()).list(&Default::default()).await);
    refuses(
        "delete pods",
        Api::<Pod>::namespaced(operator.clone(), &lab.namespace).delete("x", &Default::default()).await,
    );
    let set = Api::<StatefulSet>::namespaced(operator.clone(), &lab.namespace);
    let more = Patch::Merge(json!({"spec": {"replicas": 9}}));
    refuses("change workloads", set.patch("x", &PatchParams::default(), &more).await);
    refuses("read Secrets", Api::<Secret>::namespaced(helper.clone(), &lab.namespace).get("x").await);
    refuses("list members", Api::<TunMeshMember>::all(helper.clone()).list(&Default::default()).await);
    refuses("read claims", Api::<TunMeshAddress>::all(helper).get("x").await);
}

/// All that the operator is given and called by.
pub(crate) async fn install(client: &Client) {
    for file in ["1-namespace.yaml", "2-rights.yaml", "4-webhook.yaml"] {
        apply(client, file).await;
    }
}

/// A client of one of our accounts, with its rights.
pub(crate) fn account(name: &str) -> Client {
    let server = ApiServer::shared().unwrap_or_else(|error| panic!("{error}"));
    let mut config = server.config();
    config.auth_info.impersonate = Some(format!("system:serviceaccount:tunmesh-system:{name}"));
    Client::try_from(config).unwrap()
}

fn refuses<T: std::fmt::Debug>(what: &str, answer: Result<T, kube::Error>) {
    assert!(matches!(&answer, Err(kube::Error::Api(status)) if status.is_forbidden()), "{what}: {answer:?}");
}

/// Applies every object of a manifest.
async fn apply(client: &Client, file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    for document in text.split("\n---\n") {
        let mut object: DynamicObject = serde_saphyr::from_str(document).unwrap();
        // Nobody is there to be called: pods of tests are as the webhook leaves them.
        if let Some(hooks) = object.data.get_mut("webhooks").and_then(Value::as_array_mut) {
            hooks.iter_mut().for_each(|hook| hook["namespaceSelector"] = json!({"matchLabels": {"none": "such"}}));
        }
        let TypeMeta { api_version, kind } = object.types.clone().unwrap();
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
        let api: Api<DynamicObject> = match object.namespace() {
            Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        api.patch(&object.name_any(), &PatchParams::apply("test"), &Patch::Apply(&object)).await.unwrap();
    }
    Api::<Namespace>::all(client.clone()).get("tunmesh-system").await.unwrap();
}

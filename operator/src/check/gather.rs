use std::fmt::Debug;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tunmesh_crds::names::MESH_LABEL;
use tunmesh_crds::{TunMesh, TunMeshAddress, TunMeshMember};

use super::Facts;
use crate::error::Error;
use crate::layout;
use crate::member::PodFacts;
use crate::pods::is_ready;

/// Asks the API server.
pub(super) async fn gather(client: Client, namespace: &str, now: Timestamp) -> Result<Facts, Error> {
    let mut missing_kinds = Vec::new();
    let meshes = kind::<TunMesh>(&client, "TunMesh", &mut missing_kinds).await?;
    let members = kind::<TunMeshMember>(&client, "TunMeshMember", &mut missing_kinds).await?;
    let claims = kind::<TunMeshAddress>(&client, "TunMeshAddress", &mut missing_kinds).await?;
    let webhook = Api::<MutatingWebhookConfiguration>::all(client.clone()).get_opt(layout::WEBHOOK).await;
    let ours = Api::<Pod>::namespaced(client.clone(), namespace);
    let operators = pods(&ours, layout::OPERATOR_PODS).await?;
    let helpers = pods(&ours, layout::HELPER_PODS).await?;
    let labelled = pods(&Api::all(client), MESH_LABEL).await?;
    Ok(Facts {
        now,
        namespace: namespace.to_owned(),
        missing_kinds,
        webhook: webhook.map_err(Error::api("read the webhook configuration"))?,
        operators: (operators.len(), operators.iter().filter(|pod| is_ready(pod)).count()),
        helpers: helpers.iter().filter(|pod| is_ready(pod)).filter_map(|pod| pod.spec.clone()?.node_name).collect(),
        meshes,
        members,
        claims,
        pods: labelled.iter().filter_map(PodFacts::of).collect(),
    })
}

/// All objects of a kind of ours; none of one that is not served.
async fn kind<K>(client: &Client, name: &'static str, missing: &mut Vec<&'static str>) -> Result<Vec<K>, Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    match Api::<K>::all(client.clone()).list(&ListParams::default()).await {
        Ok(list) => Ok(list.items),
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            missing.push(name);
            Ok(Vec::new())
        }
        Err(error) => Err(Error::api(format!("list {name}"))(error)),
    }
}

async fn pods(api: &Api<Pod>, label: &str) -> Result<Vec<Pod>, Error> {
    let list = api.list(&ListParams::default().labels(label)).await;
    Ok(list.map_err(Error::api(format!("list pods with {label}")))?.items)
}

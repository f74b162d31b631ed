use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tunmesh_crds::{NamespacesFrom, TunMesh};

use crate::context::Context;
use crate::error::Error;
use crate::known::{Occupied, Surroundings};
use crate::layout;
use crate::pods::is_ready;

/// What else there is in the cluster, as of at most [`MAX_AGE`] ago.
pub(super) async fn current(context: &Context) -> Result<Arc<Surroundings>, Error> {
    let mut known = context.surroundings.lock().await;
    if let Some((_, surroundings)) = known.as_ref().filter(|(at, _)| at.elapsed() < MAX_AGE) {
        return Ok(surroundings.clone());
    }
    let surroundings = Arc::new(Surroundings::read(context).await?);
    *known = Some((Instant::now(), surroundings.clone()));
    Ok(surroundings)
}

impl Surroundings {
    /// Asks the API server.
    async fn read(context: &Context) -> Result<Self, Error> {
        let client = || context.client.clone();
        // From the API server's own cache, not its database.
        let all = ListParams::default().match_any();
        let nodes = Api::<Node>::all(client()).list(&all).await.map_err(Error::api("list Nodes"))?;
        let services = Api::<ServiceCIDR>::all(client()).list(&all).await.map_err(Error::api("list ServiceCIDRs"))?;
        let helpers = ListParams::default().labels(layout::HELPER_PODS);
        let helpers = Api::<Pod>::namespaced(client(), &context.settings.namespace).list(&helpers).await;
        let helpers = helpers.map_err(Error::api("list the node helpers"))?;
        let webhooks = Api::<MutatingWebhookConfiguration>::all(client()).get_opt(layout::WEBHOOK).await;
        let webhooks = webhooks.map_err(Error::api("read the webhook configuration"))?;
        let mut found = Self { webhook: webhooks.is_some_and(|it| is_served(&it)), ..Self::default() };
        for node in &nodes.items {
            found.node(node);
        }
        for range in &services.items {
            let cidrs = range.spec.as_ref().and_then(|spec| spec.cidrs.clone()).unwrap_or_default();
            cidrs.iter().for_each(|cidr| found.occupy(cidr, format!("Services, ServiceCIDR {}", range.name_any())));
        }
        found.helpers =
            helpers.items.iter().filter(|pod| is_ready(pod)).filter_map(|pod| pod.spec.clone()?.node_name).collect();
        Ok(found)
    }

    fn node(&mut self, node: &Node) {
        let name = node.name_any();
        let spec = node.spec.clone().unwrap_or_default();
        let pod_ranges = spec.pod_cidrs.unwrap_or_else(|| spec.pod_cidr.into_iter().collect());
        pod_ranges.iter().for_each(|cidr| self.occupy(cidr, format!("pods of node {name}")));
        let addresses = node.status.as_ref().and_then(|status| status.addresses.clone()).unwrap_or_default();
        for address in addresses.iter().filter(|address| address.type_ == "InternalIP") {
            self.occupy(&address.address, format!("node {name}"));
            self.nodes.push(address.address.clone());
        }
    }

    fn occupy(&mut self, network: &str, by: String) {
        let parsed = network.parse().or_else(|_| network.parse::<std::net::IpAddr>().map(IpNet::from));
        if let Ok(network) = parsed {
            self.occupied.push(Occupied { network, by, mesh: false });
        }
    }
}

/// Networks of other meshes whose pods can be in the namespaces of `mesh`: one pod network would have both.
pub(super) fn of_other_meshes(mesh: &TunMesh, all: &[Arc<TunMesh>]) -> Vec<Occupied> {
    let reaches_out = |mesh: &TunMesh| mesh.spec.members.namespaces.from != NamespacesFrom::Same;
    let others = all.iter().filter(|other| other.uid() != mesh.uid());
    let meets = |other: &TunMesh| reaches_out(mesh) || reaches_out(other) || other.namespace() == mesh.namespace();
    let others = others.filter(|other| meets(other));
    let of = |other: &TunMesh| {
        let by = format!("TunMesh {}/{}", other.namespace().unwrap_or_default(), other.name_any());
        let networks = other.status.as_ref().map(|status| status.address_pools.clone()).unwrap_or_default();
        networks.into_iter().map(move |network| Occupied { network, by: by.clone(), mesh: true })
    };
    others.flat_map(|other| of(other).collect::<Vec<_>>()).collect()
}

/// A webhook without an authority for its certificate is refused by the API server.
fn is_served(webhooks: &MutatingWebhookConfiguration) -> bool {
    let hooks = webhooks.webhooks.as_deref().unwrap_or_default();
    hooks.iter().any(|hook| hook.client_config.ca_bundle.is_some())
}

/// Nodes, ranges and helpers change seldom.
const MAX_AGE: Duration = Duration::from_secs(30);

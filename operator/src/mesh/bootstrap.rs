//! How members find each other: a Service without selector, and the `EndpointSlice`s of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ObjectReference, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{self, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};
use tunmesh_crds::names::{MANAGED_BY_LABEL, MANAGER};
use tunmesh_crds::{ExposureType, TunMesh};

use crate::labels::mesh_labels;
use crate::layout::{MAX_SLICE_ENDPOINTS, PORT, exposed_service, service as service_name, slice};

/// A member that can be called.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Its UID.
    pub uid: String,
    /// Namespace and name, of a pod.
    pub pod: Option<(String, String)>,
    /// Its address outside the mesh.
    pub address: IpAddr,
    /// TCP and UDP port.
    pub port: u16,
    /// The node it runs on.
    pub node: Option<String>,
}

/// The Service of `mesh`: headless, so that its name leads to the members themselves, or of the type that the mesh is
/// exposed by.
pub fn service(mesh: &TunMesh, exposed: ExposureType) -> Service {
    let (name, type_) = match exposed {
        ExposureType::None => (service_name(&mesh.name_any()), "ClusterIP"),
        ExposureType::NodePort => (exposed_service(&mesh.name_any()), "NodePort"),
        ExposureType::LoadBalancer => (exposed_service(&mesh.name_any()), "LoadBalancer"),
    };
    let is_headless = exposed == ExposureType::None;
    let port = |protocol: &str, name: &str| ServicePort {
        name: Some(name.to_owned()),
        port: PORT.into(),
        protocol: Some(protocol.to_owned()),
        target_port: Some(IntOrString::Int(PORT.into())),
        ..ServicePort::default()
    };
    Service {
        metadata: metadata(mesh, name),
        spec: Some(ServiceSpec {
            type_: Some(type_.to_owned()),
            cluster_ip: is_headless.then(|| "None".to_owned()),
            // The packets of one machine go to the member that knows it.
            session_affinity: (!is_headless).then(|| "ClientIP".to_owned()),
            ports: Some(vec![port("TCP", "control"), port("UDP", "data")]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// The slices of `service`. A slice has one family and one port and at most [`MAX_SLICE_ENDPOINTS`] endpoints. Which one a
/// member is in is decided by its UID, so that a new member changes one slice and not all.
pub fn slices(mesh: &TunMesh, service: &str, endpoints: &[Endpoint]) -> Vec<EndpointSlice> {
    let mut groups: BTreeMap<(bool, u16), Vec<&Endpoint>> = BTreeMap::new();
    for endpoint in endpoints {
        groups.entry((endpoint.address.is_ipv6(), endpoint.port)).or_default().push(endpoint);
    }
    let buckets =
        groups.into_iter().flat_map(|(key, endpoints)| spread(endpoints).into_iter().map(move |bucket| (key, bucket)));
    let filled = buckets.filter(|(_, bucket)| !bucket.is_empty());
    filled
        .enumerate()
        .map(|(number, ((is_ipv6, port), bucket))| built(mesh, service, number, is_ipv6, port, &bucket))
        .collect()
}

/// Parts of at most [`MAX_SLICE_ENDPOINTS`]: as few as a power of two allows, and each endpoint in the part of its UID.
fn spread(endpoints: Vec<&Endpoint>) -> Vec<Vec<&Endpoint>> {
    let mut count = endpoints.len().div_ceil(MAX_SLICE_ENDPOINTS).next_power_of_two();
    loop {
        let mut parts = vec![Vec::new(); count];
        for endpoint in &endpoints {
            parts[hash(&endpoint.uid) % count].push(*endpoint);
        }
        // UIDs that all fall into one part are not made by Kubernetes; then the parts are cut by number.
        if parts.iter().all(|part| part.len() <= MAX_SLICE_ENDPOINTS) {
            return parts;
        }
        if count > endpoints.len() {
            return endpoints.chunks(MAX_SLICE_ENDPOINTS).map(<[_]>::to_vec).collect();
        }
        count *= 2;
    }
}

/// FNV-1a, 32 bits.
fn hash(uid: &str) -> usize {
    uid.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)) as usize
}

fn built(
    mesh: &TunMesh,
    service: &str,
    number: usize,
    is_ipv6: bool,
    port: u16,
    bucket: &[&Endpoint],
) -> EndpointSlice {
    let mut metadata = metadata(mesh, slice(service, number));
    let labels = metadata.labels.get_or_insert_default();
    labels.insert("kubernetes.io/service-name".to_owned(), service.to_owned());
    labels.insert("endpointslice.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned());
    let ports = [("TCP", "control"), ("UDP", "data")].map(|(protocol, name)| EndpointPort {
        name: Some(name.to_owned()),
        port: Some(port.into()),
        protocol: Some(protocol.to_owned()),
        app_protocol: None,
    });
    let mut endpoints: Vec<_> = bucket.iter().map(|endpoint| one(endpoint)).collect();
    endpoints.sort_by(|a, b| a.addresses.cmp(&b.addresses));
    EndpointSlice {
        address_type: if is_ipv6 { "IPv6" } else { "IPv4" }.to_owned(),
        endpoints,
        metadata,
        ports: Some(ports.into()),
    }
}

fn one(endpoint: &Endpoint) -> v1::Endpoint {
    v1::Endpoint {
        addresses: vec![endpoint.address.to_string()],
        conditions: Some(EndpointConditions { ready: Some(true), ..EndpointConditions::default() }),
        node_name: endpoint.node.clone(),
        target_ref: endpoint.pod.as_ref().map(|(namespace, name)| ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: Some(namespace.clone()),
            name: Some(name.clone()),
            uid: Some(endpoint.uid.clone()),
            ..ObjectReference::default()
        }),
        ..v1::Endpoint::default()
    }
}

fn metadata(mesh: &TunMesh, name: String) -> ObjectMeta {
    let mut labels = mesh_labels(mesh);
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned());
    ObjectMeta {
        name: Some(name),
        namespace: mesh.namespace(),
        labels: Some(labels),
        owner_references: mesh
            .controller_owner_ref(&())
            .map(|owner| vec![OwnerReference { block_owner_deletion: Some(false), ..owner }]),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn endpoint(number: u32) -> Endpoint {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + number).into();
        let uid = format!("{:08x}-0d53-4c1a-9a55-0b1d0a3c77e1", number.wrapping_mul(2_654_435_761));
        Endpoint { uid, pod: None, address, port: PORT, node: None }
    }

    fn addresses(slice: &EndpointSlice) -> BTreeSet<String> {
        slice.endpoints.iter().flat_map(|endpoint| endpoint.addresses.clone()).collect()
    }

    #[test]
    fn slices_are_small_complete_and_mostly_unchanged_by_a_new_member() {
        let mesh = TunMesh::new("m", Default::default());
        let endpoints: Vec<_> = (0..1_000).map(endpoint).collect();
        let all = slices(&mesh, "tunmesh-m", &endpoints);
        let one_less = slices(&mesh, "tunmesh-m", &endpoints[..999]);

        assert!(all.iter().all(|slice| slice.endpoints.len() <= MAX_SLICE_ENDPOINTS));
        assert_eq!(all.iter().flat_map(addresses).collect::<BTreeSet<_>>().len(), 1_000);
        assert!(all.len() <= 32, "{}", all.len());
        let changed = all.iter().zip(&one_less).filter(|(a, b)| a != b).count();
        assert_eq!(changed, 1);
    }

    #[test]
    fn families_and_ports_have_slices_of_their_own() {
        let mesh = TunMesh::new("m", Default::default());
        let vm = Endpoint { port: 4568, ..endpoint(1) };
        let ipv6 = Endpoint { address: "2001:db8::9".parse().unwrap(), ..endpoint(2) };

        let slices = slices(&mesh, "tunmesh-m", &[endpoint(0), vm, ipv6]);

        let seen: Vec<_> = slices
            .iter()
            .map(|slice| (&*slice.address_type, slice.ports.as_ref().unwrap()[0].port, slice.endpoints.len()))
            .collect();
        assert_eq!(seen, [("IPv4", Some(4567), 1), ("IPv4", Some(4568), 1), ("IPv6", Some(4567), 1)]);
    }
}

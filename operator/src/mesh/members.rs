use std::collections::BTreeSet;
use std::net::SocketAddr;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tunmesh_crds::{MemberCounts, TunMesh, TunMeshMember};

use crate::context::Context;
use crate::inject;
use crate::layout::PORT;
use crate::member::{PodFacts, is_usable_outside};

use super::bootstrap::Endpoint;

/// The pods and machines of one mesh.
pub(super) struct Members {
    pub(super) counts: MemberCounts,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) without_address: usize,
    pub(super) without_sidecar: BTreeSet<String>,
    pub(super) outdated: BTreeSet<String>,
    pub(super) without_helper: BTreeSet<String>,
}

impl Members {
    pub(super) fn of(context: &Context, mesh: &TunMesh, helpers: &BTreeSet<String>) -> Self {
        let mut found = Self {
            counts: MemberCounts::default(),
            endpoints: Vec::new(),
            without_address: 0,
            without_sidecar: BTreeSet::new(),
            outdated: BTreeSet::new(),
            without_helper: BTreeSet::new(),
        };
        let key = (mesh.namespace().unwrap_or_default(), mesh.name_any());
        for pod in context.stores.pods.state() {
            let Some(facts) = PodFacts::of(&pod).filter(|facts| facts.mesh == key && !facts.over) else { continue };
            // A label can be written by whoever makes pods; the mesh says from where it takes them.
            if context.takes(mesh, &facts.namespace) {
                found.pod(context, mesh, &pod, &facts, helpers);
            }
        }
        for member in context.stores.members.state() {
            let own = member.namespace().unwrap_or_default();
            let mesh_namespace = member.spec.mesh.namespace.as_ref().unwrap_or(&own);
            if (mesh_namespace, &member.spec.mesh.name) == (&key.0, &key.1) && context.takes(mesh, &own) {
                found.member(mesh, &member);
            }
        }
        found
    }

    fn pod(&mut self, context: &Context, mesh: &TunMesh, pod: &Pod, facts: &PodFacts, helpers: &BTreeSet<String>) {
        self.counts.total += 1;
        let template = inject::fingerprint_for(mesh, &context.settings.defaults, pod.annotations());
        let workload = || facts.workload.clone();
        if facts.secret.is_none() {
            self.without_sidecar.insert(workload());
        } else if facts.template.as_ref() != Some(&template) {
            self.outdated.insert(workload());
        }
        self.counts.drifted += u32::from(facts.secret.is_none() || facts.template.as_ref() != Some(&template));
        self.counts.ready += u32::from(facts.ready);
        self.counts.waiting += u32::from(!facts.ready);
        if facts.running {
            let pod = Some((facts.namespace.clone(), facts.name.clone()));
            let of = |address: &std::net::IpAddr| Endpoint {
                uid: facts.uid.clone(),
                pod: pod.clone(),
                address: *address,
                port: PORT,
                node: facts.node.clone(),
            };
            self.endpoints.extend(facts.addresses.iter().map(of));
        }
        if let Some(node) =
            facts.node.as_ref().filter(|node| !facts.ready && facts.uses_helper(mesh) && !helpers.contains(*node))
        {
            self.without_helper.insert(node.clone());
        }
    }

    fn member(&mut self, mesh: &TunMesh, member: &TunMeshMember) {
        let status = member.status.clone().unwrap_or_default();
        let waits = |reason: &str| status.conditions.iter().any(|condition| condition.reason == reason);
        self.without_address += usize::from(waits("PoolExhausted"));
        let Some(outside) = &member.spec.outside else { return };
        self.counts.total += 1;
        self.counts.ready += u32::from(status.ready);
        self.counts.waiting += u32::from(status.material.is_none());
        let address = outside.advertised_address.as_ref().and_then(|host| host.parse().ok());
        if let Some(address) = address.filter(|address| status.material.is_some() && is_usable_outside(mesh, *address))
        {
            let uid = member.uid().unwrap_or_default();
            self.endpoints.push(Endpoint { uid, pod: None, address, port: outside.port.0, node: None });
        }
    }

    /// URLs of some of those that run.
    pub(super) fn running(&self) -> Vec<(String, String)> {
        let url = |endpoint: &Endpoint| {
            (endpoint.uid.clone(), format!("https://{}", SocketAddr::new(endpoint.address, endpoint.port)))
        };
        self.endpoints.iter().take(RUNNING).map(url).collect()
    }
}

/// Members that others may be told of in their files.
const RUNNING: usize = 64;

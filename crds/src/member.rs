use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::mesh::HOST_RULE;
use crate::schema;

/// One member: a pod, written by the operator under the pod's name; or a machine outside the cluster, written by a person.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "tunmesh.io",
    version = "v1alpha1",
    kind = "TunMeshMember",
    plural = "tunmeshmembers",
    shortname = "tmm",
    category = "tunmesh-all",
    namespaced,
    status = "TunMeshMemberStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "A member of a mesh: a pod, written by the operator, or a machine outside the cluster, written by a person.",
    validation = Rule::new("!has(self.spec.pod) || self.spec.pod.name == self.metadata.name")
        .message("pod.name must be metadata.name, since the member of a pod has the pod's name: correct one of them; a machine outside the cluster has spec.outside")
        .field_path(".spec.pod.name"),
    printcolumn(name = "Mesh", type_ = "string", json_path = ".spec.mesh.name"),
    printcolumn(name = "Ready", type_ = "boolean", json_path = ".status.ready"),
    printcolumn(name = "IPv4", type_ = "string", json_path = ".status.addresses.ipv4"),
    printcolumn(name = "IPv6", type_ = "string", json_path = ".status.addresses.ipv6", priority = "1"),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.node"),
    printcolumn(name = "Seen", type_ = "date", json_path = ".status.lastSeen"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version", priority = "1"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.secretName", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.pod) != has(self.outside)")
    .message("spec must have exactly one of pod and outside: write outside for a machine outside the cluster; pod is the operator's"))]
#[x_kube(validation = Rule::new("has(self.pod) == has(oldSelf.pod)")
    .message("pod and outside cannot be exchanged: make a new TunMeshMember"))]
pub struct TunMeshMemberSpec {
    /// The mesh it belongs to. Immutable.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("mesh cannot be changed, since the address and the certificate are of that mesh: make a new TunMeshMember"))]
    pub mesh: MemberMesh,
    /// The pod, for a member that is one. Immutable.
    #[schemars(with = "MemberPod")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("pod cannot be changed, since another pod is another member: make a new TunMeshMember"))]
    pub pod: Option<MemberPod>,
    /// The machine, for a member outside the cluster.
    #[schemars(with = "OutsideMember")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<OutsideMember>,
}

/// The mesh of a member.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberMesh {
    /// Name of the `TunMesh`.
    #[schemars(schema_with = "schema::namespace")]
    pub name: String,
    /// Its namespace; that of the member if absent.
    #[schemars(schema_with = "schema::namespace")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// The pod that is a member.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberPod {
    /// Its name, which is also the member's.
    #[schemars(schema_with = "schema::name")]
    pub name: String,
    /// Its UID: a pod that is made again under its name is another member.
    #[schemars(schema_with = "schema::uid")]
    pub uid: String,
}

/// A machine outside the cluster.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.advertisedAddress)")
    .message("outside.advertisedAddress is needed, since members call a new one back before they take it: write the IP address or DNS name at which they reach the machine; behind a NAT, forward its port")
    .field_path(".advertisedAddress"))]
#[x_kube(validation = Rule::new("has(self.address) == has(oldSelf.address) && (!has(self.address) || self.address == oldSelf.address)")
    .message("outside.address cannot be changed, since others know the member by it: make a new TunMeshMember")
    .field_path(".address"))]
pub struct OutsideMember {
    /// The mesh address it wants, within `status.addressPools` of the mesh; any free one if absent. Immutable.
    #[schemars(schema_with = "schema::address")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// IP address or DNS name at which other members reach it. Needed, since they call a new member back before they take
    /// it.
    #[schemars(schema_with = "host")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertised_address: Option<String>,
    /// TCP and UDP port it listens at.
    #[schemars(schema_with = "port")]
    #[serde(default)]
    pub port: Port,
}

/// A port, 4567 by default.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Port(pub u16);

impl Default for Port {
    fn default() -> Self {
        Self(4567)
    }
}

/// What became of a member.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TunMeshMemberStatus {
    /// Generation of the spec that this status is about.
    #[schemars(with = "i64")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One per type of the table of conditions.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Its mesh addresses.
    #[serde(default)]
    pub addresses: MemberAddresses,
    /// Where other members reach it, as host:port.
    #[schemars(schema_with = "schema::endpoints")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<String>,
    /// The node its pod runs on.
    #[schemars(schema_with = "schema::name")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Version of its agent.
    #[schemars(schema_with = "schema::name")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether it is in the mesh; the condition `Ready` says why not.
    #[serde(default)]
    pub ready: bool,
    /// When it was last seen in the mesh.
    #[schemars(with = "Time")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,
    /// Secret with its config, certificate and keys, in the namespace of the member.
    #[schemars(schema_with = "schema::name")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// What that Secret was last written with.
    #[schemars(with = "MemberMaterial")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub material: Option<MemberMaterial>,
}

/// What the Secret of a member was last written with.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberMaterial {
    /// Digest of what it was made of, apart from the certificate's times: while it is the same, the Secret is current.
    #[schemars(schema_with = "schema::name")]
    pub fingerprint: String,
    /// When the certificate is renewed.
    pub renews: Time,
    /// When the certificate ends.
    pub expires: Time,
}

/// Mesh addresses of a member.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MemberAddresses {
    /// Its IPv4 address.
    #[schemars(with = "Ipv4Addr")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    #[schemars(with = "Ipv6Addr")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
}

fn host(_: &mut SchemaGenerator) -> Schema {
    schema::text(schema::NAME_LENGTH, &[HOST_RULE])
}

fn port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int32", "minimum": 1, "maximum": 65_535})
}

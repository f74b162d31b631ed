use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::schema;

/// What the operator made of a `TunMesh`.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(oldSelf.addressPools) || has(self.addressPools)")
    .message("addressPools is append-only, since addresses of a recorded network are in use: keep it")
    .field_path(".addressPools"))]
pub struct TunMeshStatus {
    /// Generation of the spec that this status is about.
    #[schemars(with = "i64")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One per type of the table of conditions.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Networks in use: those of the spec, and those the operator chose. Never changed, only added to.
    #[schemars(schema_with = "schema::networks")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(validation = Rule::new("oldSelf.all(p, p in self)")
        .message("addressPools is append-only, since addresses of a recorded network are in use: keep it"))]
    pub address_pools: Vec<IpNet>,
    /// Addresses by what became of them.
    #[serde(default)]
    pub addresses: AddressUse,
    /// Members by what became of them.
    #[serde(default)]
    pub members: MemberCounts,
    /// Certificates and secrets.
    #[serde(default)]
    pub trust: TrustStatus,
    /// Largest packet inside the mesh, in bytes.
    #[schemars(schema_with = "mtu")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// Where members outside the cluster reach the mesh, as host:port.
    #[schemars(schema_with = "schema::endpoints")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<String>,
}

/// Counts of IPv4 addresses.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AddressUse {
    /// That a member can have.
    #[schemars(schema_with = "count")]
    pub capacity: u32,
    /// Claimed.
    #[schemars(schema_with = "count")]
    pub used: u32,
    /// Given back, and not given out again yet.
    #[schemars(schema_with = "count")]
    pub quarantined: u32,
}

/// Counts of members.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MemberCounts {
    /// All of them, outside members included.
    #[schemars(schema_with = "count")]
    pub total: u32,
    /// In the mesh.
    #[schemars(schema_with = "count")]
    pub ready: u32,
    /// Not in the mesh yet, for want of an address or until their agent is ready.
    #[schemars(schema_with = "count")]
    pub waiting: u32,
    /// With a sidecar of an older template, or with the label but without a sidecar.
    #[schemars(schema_with = "count")]
    pub drifted: u32,
}

/// Certificates and secrets of a mesh.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TrustStatus {
    /// When the certificate of the current authority ends.
    #[schemars(with = "Time")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority_expires: Option<Time>,
    /// When the current authority was made.
    #[schemars(with = "Time")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority_rotated: Option<Time>,
    /// When the current cluster secret was made.
    #[schemars(with = "Time")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_secret_rotated: Option<Time>,
}

fn count(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int64", "minimum": 0})
}

fn mtu(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int32", "minimum": 0, "maximum": 65_535})
}

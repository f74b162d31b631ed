use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::schema;

/// How members outside the cluster reach the mesh.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.type != 'None' || !has(self.advertisedAddresses) || size(self.advertisedAddresses) == 0")
    .message("advertisedAddresses is used with type: NodePort or LoadBalancer only: remove it, or set type")
    .field_path(".advertisedAddresses"))]
pub struct Exposure {
    /// `None`: not at all. `NodePort` and `LoadBalancer`: through a Service of this type.
    #[serde(default, rename = "type")]
    pub kind: ExposureType,
    /// IP addresses or DNS names that outside members are told, in this order. If absent, the addresses of the load
    /// balancer or of the nodes.
    #[schemars(schema_with = "advertised_addresses")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advertised_addresses: Vec<String>,
}

/// Services that [`Exposure`] makes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
pub enum ExposureType {
    /// With an address of the cluster's load balancer.
    LoadBalancer,
    /// With a port on every node.
    NodePort,
    /// No Service: members are in the cluster only, or outside members have addresses that pods reach.
    #[default]
    None,
}

/// Which other implementations may join.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Compatibility {
    /// Members that speak only the original protocol. `Allow`: they may join. `Deny`: members refuse them.
    pub v0: Allowance,
}

/// Whether something may join.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
pub enum Allowance {
    /// It may.
    #[default]
    Allow,
    /// It may not.
    Deny,
}

fn advertised_addresses(_: &mut SchemaGenerator) -> Schema {
    schema::array(16, &schema::text(schema::NAME_LENGTH, &[HOST_RULE]), &[])
}

/// An IP address, or a DNS name whose last label begins with a letter, so that no mistyped address passes for a name.
pub(crate) const HOST_RULE: schema::Rule = (
    "isIP(self) || self.matches('^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.])*[a-z]([-a-z0-9]{0,61}[a-z0-9])?$')",
    "an advertised address must be an IP address or a DNS name in lower case: write 203.0.113.7 or mesh.example.com, without scheme and port",
);

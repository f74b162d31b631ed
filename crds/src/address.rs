use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::period::is_period;
use crate::{Period, schema};

/// The claim of one address of one mesh. Its creation is the claim, its deletion the end of it.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "tunmesh.io",
    version = "v1alpha1",
    kind = "TunMeshAddress",
    plural = "tunmeshaddresses",
    shortname = "tma",
    category = "tunmesh-all",
    status = "TunMeshAddressStatus",
    derive = "PartialEq",
    doc = "The claim of one address of one mesh, named by both, so that the API server takes one claim only. Written by the operator.",
    validation = Rule::new(NAME_RULE)
        .message("metadata.name must be made of address and mesh.uid, which is what keeps a claim exclusive: write the IPv4 address, or the eight full groups of the IPv6 address, with -, then . and the UID"),
    printcolumn(name = "Address", type_ = "string", json_path = ".spec.address"),
    printcolumn(name = "Mesh", type_ = "string", json_path = ".spec.mesh.name"),
    printcolumn(name = "Mesh-Namespace", type_ = "string", json_path = ".spec.mesh.namespace"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Owner-Kind", type_ = "string", json_path = ".spec.owner.kind"),
    printcolumn(name = "Owner", type_ = "string", json_path = ".spec.owner.name"),
    printcolumn(name = "Owner-Namespace", type_ = "string", json_path = ".spec.owner.namespace"),
    printcolumn(name = "Released", type_ = "date", json_path = ".status.releasedAt", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.mesh == oldSelf.mesh && self.address == oldSelf.address && self.owner == oldSelf.owner")
    .message("spec cannot be changed, since a claim is its creation: delete the TunMeshAddress and make another"))]
pub struct TunMeshAddressSpec {
    /// The mesh the address is of.
    pub mesh: AddressMesh,
    /// The address.
    #[schemars(schema_with = "schema::address")]
    pub address: IpAddr,
    /// Whose it is.
    pub owner: AddressOwner,
    /// How long the longest certificate that names the address is valid, written before it is issued. Once given back, the
    /// address rests for twice this long. It can only grow, since a certificate that was issued stays valid.
    #[x_kube(validation = Rule::new(concat!("!", is_period!("self"), " || duration(self) >= duration(oldSelf)"))
        .message("certificateLifetime can only grow, since a certificate that was issued stays valid: put it back"))]
    #[serde(default = "longest")]
    pub certificate_lifetime: Period,
}

/// The mesh an address is of.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AddressMesh {
    /// Namespace of the `TunMesh`.
    #[schemars(schema_with = "schema::namespace")]
    pub namespace: String,
    /// Its name.
    #[schemars(schema_with = "schema::namespace")]
    pub name: String,
    /// Its UID.
    #[schemars(schema_with = "schema::uid")]
    pub uid: String,
}

/// Whose an address is.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.ordinal) == (self.kind == 'StatefulSet')")
    .message("owner.ordinal is needed with kind: StatefulSet and used with no other kind: add or remove it")
    .field_path(".ordinal"))]
pub struct AddressOwner {
    /// `Pod`: this pod only. `StatefulSet`: whatever pod has `ordinal` in it. `TunMeshMember`: a machine outside the
    /// cluster.
    pub kind: OwnerKind,
    /// Namespace of the owner.
    #[schemars(schema_with = "schema::namespace")]
    pub namespace: String,
    /// Its name.
    #[schemars(schema_with = "schema::name")]
    pub name: String,
    /// Its UID; when no object has it any more, the address is given back.
    #[schemars(schema_with = "schema::uid")]
    pub uid: String,
    /// Ordinal of the pod in its StatefulSet.
    #[schemars(schema_with = "ordinal")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordinal: Option<u32>,
}

/// What owns an address.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
pub enum OwnerKind {
    /// One pod.
    Pod,
    /// One ordinal of a StatefulSet.
    StatefulSet,
    /// A machine outside the cluster.
    TunMeshMember,
}

/// What became of a claim.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.phase) || (self.phase == 'Claimed') != has(self.releasedAt)")
    .message("releasedAt is needed with phase: Released and Quarantined and used with no other: add or remove it")
    .field_path(".releasedAt"))]
pub struct TunMeshAddressStatus {
    /// `Claimed`: its owner has it. `Released`: the owner was seen gone once. `Quarantined`: the owner is gone, and the
    /// address rests until certificates with it have ended.
    #[schemars(with = "AddressPhase")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<AddressPhase>,
    /// When the owner was first seen gone.
    #[schemars(with = "Time")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_at: Option<Time>,
}

/// Phases of a claim, in this order.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
pub enum AddressPhase {
    /// Its owner has it.
    Claimed,
    /// Its owner was seen gone once.
    Released,
    /// Its owner is gone; nobody gets the address yet.
    Quarantined,
}

fn ordinal(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int32", "minimum": 0})
}

/// The longest that `spec.trust.certificateLifetime` of a mesh can be.
const fn longest() -> Period {
    Period::from_hours(8760)
}

/// [`address_name`](crate::address_name()) as a CEL rule. Of IPv6, the full form has 39 characters.
const NAME_RULE: &str = "!isIP(self.spec.address) || (ip(self.spec.address).family() == 4 \
    ? self.metadata.name == self.spec.address.replace('.', '-') + '.' + self.spec.mesh.uid \
    : self.metadata.name.size() == 40 + self.spec.mesh.uid.size() \
      && self.metadata.name.endsWith('.' + self.spec.mesh.uid) \
      && isIP(self.metadata.name.substring(0, 39).replace('-', ':')) \
      && ip(self.metadata.name.substring(0, 39).replace('-', ':')) == ip(self.spec.address))";

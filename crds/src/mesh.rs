use ipnet::IpNet;
use kube::{CustomResource, KubeSchema};
use schemars::{Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::{Mtu, schema};

mod exposure;
mod scope;
mod sidecar;
mod status;
mod trust;

pub(crate) use exposure::HOST_RULE;
pub use exposure::{Allowance, Compatibility, Exposure, ExposureType};
pub use scope::{Members, NamespaceScope, NamespacesFrom};
pub use sidecar::{EnvVar, LogLevel, Resources, Sidecar, TunMode};
pub use status::{AddressUse, MemberCounts, TrustStatus, TunMeshStatus};
pub use trust::{Issuer, IssuerKind, Rotation, Trust};

/// What a person wants of a mesh. All of it is optional: an empty spec is a working mesh.
///
/// `addressPools` is append-only and `trust.issuer` immutable; everything else may change at any time.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "tunmesh.io",
    version = "v1alpha1",
    kind = "TunMesh",
    plural = "tunmeshes",
    shortname = "tm",
    category = "tunmesh-all",
    namespaced,
    status = "TunMeshStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "A private layer-3 network between the pods that carry the label tunmesh.io/mesh with its name, and machines outside the cluster.",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$')")
        .message("metadata.name must be at most 40 lower-case letters, digits and -, since labels and names of Services are made of it: choose a shorter name without dots"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Members", type_ = "integer", json_path = ".status.members.total"),
    printcolumn(name = "Up", type_ = "integer", json_path = ".status.members.ready"),
    printcolumn(name = "Drifted", type_ = "integer", json_path = ".status.members.drifted", priority = "1"),
    printcolumn(name = "Networks", type_ = "string", json_path = ".status.addressPools"),
    printcolumn(name = "Used", type_ = "integer", json_path = ".status.addresses.used", priority = "1"),
    printcolumn(name = "MTU", type_ = "integer", json_path = ".status.mtu", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {}))]
#[x_kube(validation = Rule::new("!has(oldSelf.addressPools) || has(self.addressPools)")
    .message("addressPools is append-only, since addresses of a listed network may be in use: put its networks back")
    .field_path(".addressPools"))]
pub struct TunMeshSpec {
    /// Networks that members get their addresses from, in this order. Any number of IPv4 networks of /8 to /29, and at
    /// most one IPv6 network of /8 to /64, in which a member has its IPv4 address in the last 32 bits. Append-only. A
    /// family without a network here gets one from the operator: a private IPv4 /16 that overlaps no pod, service or node
    /// range it can see, and a unique local IPv6 /64 made from the UID. `status.addressPools` has what is in use.
    #[schemars(schema_with = "address_pools")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub address_pools: Vec<IpNet>,
    /// Who may be a member.
    #[serde(default)]
    pub members: Members,
    /// The container that the webhook adds to pods. Changes reach a pod when it is made again.
    #[serde(default)]
    pub sidecar: Sidecar,
    /// Certificates and secrets.
    #[serde(default)]
    pub trust: Trust,
    /// How members outside the cluster reach the mesh.
    #[serde(default)]
    pub exposure: Exposure,
    /// Which other implementations may join.
    #[serde(default)]
    pub compatibility: Compatibility,
    /// Largest packet inside the mesh, in bytes: `Auto` for what the smallest underlay between members carries, or 1280
    /// to 9000.
    #[serde(default)]
    pub mtu: Mtu,
    /// The operator leaves the mesh as it is: running members keep running, new pods wait.
    #[serde(default)]
    pub paused: bool,
}

fn address_pools(_: &mut SchemaGenerator) -> Schema {
    schema::array(MAX_POOLS, &schema::text(schema::CIDR_LENGTH, POOL_RULES), POOLS_RULES)
}

/// Most networks a person may list.
const MAX_POOLS: u32 = 8;

const POOL_RULES: &[schema::Rule] = &[
    ("isCIDR(self)", "addressPools must be networks: write an address and a prefix, such as 10.77.0.0/16 or fd77::/64"),
    (
        "!isCIDR(self) || cidr(self) == cidr(self).masked()",
        "addressPools must have no host bits: write the first address of the network, 10.77.0.0/16 for 10.77.0.1/16",
    ),
    (
        "!isCIDR(self) || cidr(self).ip().family() != 4 || (cidr(self).prefixLength() >= 8 && cidr(self).prefixLength() <= 29)",
        "addressPools must have IPv4 networks of /8 to /29: correct the prefix",
    ),
    (
        "!isCIDR(self) || cidr(self).ip().family() != 6 || (cidr(self).prefixLength() >= 8 && cidr(self).prefixLength() <= 64)",
        "addressPools must have IPv6 networks of /8 to /64: correct the prefix",
    ),
    (
        "!isCIDR(self) || (cidr(self).ip().isGlobalUnicast() && !(cidr(self).ip().family() == 4 && cidr('240.0.0.0/4').containsCIDR(cidr(self))))",
        "addressPools must have unicast addresses: take a private network (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fd00::/8), not a loopback, link-local, multicast or reserved one",
    ),
];

const POOLS_RULES: &[schema::Rule] = &[
    (
        "self.all(a, !isCIDR(a) || self.filter(b, isCIDR(b) && (cidr(a).containsCIDR(b) || cidr(b).containsCIDR(a))).size() == 1)",
        "addressPools must not overlap one another: remove the smaller network, or take another",
    ),
    (
        "self.filter(p, isCIDR(p) && cidr(p).ip().family() == 6).size() <= 1",
        "addressPools must have at most one IPv6 network: every member has its IPv4 address in it, so it cannot be exhausted; remove the others",
    ),
    (
        "oldSelf.all(p, p in self)",
        "addressPools is append-only, since addresses of a listed network may be in use: put its networks back and add others after them",
    ),
];

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::period::is_period;
use crate::{Period, schema};

/// Certificates and secrets of a mesh.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(concat!("!", is_period!("self.certificateLifetime"), " || !", is_period!("self.rotation.authority"), " || duration(self.rotation.authority) == duration('0s') || duration(self.rotation.authority) >= duration(self.certificateLifetime) + duration(self.certificateLifetime)"))
    .message("rotation.authority must be at least twice certificateLifetime, so that no certificate outlives its authority: raise it, or shorten certificateLifetime")
    .field_path(".rotation.authority"))]
pub struct Trust {
    /// How long the certificate of a member is valid, from 1m to 8760h; it is renewed after two thirds. An address that
    /// was given back stays unused for twice this long, or for twice the longest that this was while the address was used.
    #[x_kube(validation = Rule::new(concat!("!", is_period!("self"), " || (duration(self) >= duration('1m') && duration(self) <= duration('8760h'))"))
        .message("certificateLifetime must be from 1m to 8760h: write 24h"))]
    #[serde(default = "certificate_lifetime")]
    pub certificate_lifetime: Period,
    /// How often what members share is changed.
    #[serde(default)]
    pub rotation: Rotation,
    /// Who signs. Immutable, since members of two authorities would not trust each other: a mesh with another issuer is
    /// a new mesh.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("issuer cannot be changed, since members of two authorities would not trust each other: put it back, or make a new TunMesh"))]
    #[serde(default)]
    pub issuer: Issuer,
}

impl Default for Trust {
    fn default() -> Self {
        Self { certificate_lifetime: certificate_lifetime(), rotation: Rotation::default(), issuer: Issuer::default() }
    }
}

/// How often what members share is changed, without an interruption.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// The cluster secret, from 10m to 87600h; `0s` for never.
    #[x_kube(validation = Rule::new(concat!("!", is_period!("self"), " || duration(self) == duration('0s') || (duration(self) >= duration('10m') && duration(self) <= duration('87600h'))"))
        .message("rotation.clusterSecret must be 0s or from 10m to 87600h: write 720h"))]
    #[serde(default = "cluster_secret")]
    pub cluster_secret: Period,
    /// The certificate authority, from 10m to 87600h and at least twice `certificateLifetime`; `0s` for never.
    #[x_kube(validation = Rule::new(concat!("!", is_period!("self"), " || duration(self) == duration('0s') || (duration(self) >= duration('10m') && duration(self) <= duration('87600h'))"))
        .message("rotation.authority must be 0s or from 10m to 87600h: write 8760h"))]
    #[serde(default = "authority")]
    pub authority: Period,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { cluster_secret: cluster_secret(), authority: authority() }
    }
}

/// Who signs the certificates of members.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.kind == 'Internal' || has(self.name)")
    .message("issuer.name is needed with this kind: write the name of the cert-manager issuer, or set kind to Internal")
    .field_path(".name"))]
#[x_kube(validation = Rule::new("self.kind != 'Internal' || !has(self.name)")
    .message("issuer.name is not used with kind: Internal: remove it, or set kind to Issuer or ClusterIssuer")
    .field_path(".name"))]
pub struct Issuer {
    /// `Internal`: an authority that the operator makes and keeps. `Issuer` and `ClusterIssuer`: one of
    /// cert-manager, which this version does not support: `TrustReady` says so, and no member gets a certificate.
    #[serde(default)]
    pub kind: IssuerKind,
    /// Name of the cert-manager issuer, for an `Issuer` in the namespace of the mesh.
    #[schemars(schema_with = "issuer_name")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Kinds of [`Issuer`].
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
pub enum IssuerKind {
    /// A cert-manager `ClusterIssuer`.
    ClusterIssuer,
    /// The operator.
    #[default]
    Internal,
    /// A cert-manager `Issuer`.
    Issuer,
}

fn issuer_name(generator: &mut SchemaGenerator) -> Schema {
    schema::name(generator)
}

const fn certificate_lifetime() -> Period {
    Period::from_hours(24)
}

const fn cluster_secret() -> Period {
    Period::from_hours(720)
}

const fn authority() -> Period {
    Period::from_hours(8760)
}

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::schema;

/// The container that the webhook adds to pods.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sidecar {
    /// Where the TUN device comes from. `NodeHelper`: from the helper on the node; the sidecar has no capability at all.
    /// `HostDevice`: the sidecar makes it; needs NET_ADMIN and /dev/net/tun, which a namespace that enforces
    /// PodSecurity `baseline` or `restricted` refuses.
    #[serde(default)]
    pub tun: TunMode,
    /// Image of the agent; the operator's own version if absent.
    #[schemars(schema_with = "image")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Least important lines that the agent logs.
    #[serde(default)]
    pub log_level: LogLevel,
    /// Requests and limits of the container; where no request is given, the operator requests 10m of CPU and 16Mi of
    /// memory.
    #[serde(default)]
    pub resources: Resources,
    /// Environment variables of the container, by plain value.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
}

/// Where the TUN device of a pod comes from.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
pub enum TunMode {
    /// The sidecar makes it.
    HostDevice,
    /// The helper on the node hands it over.
    #[default]
    NodeHelper,
}

/// The agent's `logging/level`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Detailed.
    Debug,
    /// Somebody must act.
    Error,
    /// What a user would notice.
    #[default]
    Info,
    /// Odd, but working.
    Warn,
}

/// Requests and limits of a container, by name of the resource.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Resources {
    /// Most that the container may use.
    #[schemars(schema_with = "quantities")]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Quantity>,
    /// What the scheduler sets aside.
    #[schemars(schema_with = "quantities")]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, Quantity>,
}

/// An environment variable.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct EnvVar {
    /// Its name.
    #[schemars(schema_with = "env_name")]
    pub name: String,
    /// Its value.
    #[schemars(length(max = 4096))]
    pub value: String,
}

fn image(_: &mut SchemaGenerator) -> Schema {
    schema::text(
        512,
        &[(
            "self.matches('^[a-zA-Z0-9][-a-zA-Z0-9._:/@+]*$')",
            "image must be an image reference: write registry.example/tunmesh/agent:0.1.0, without scheme and spaces",
        )],
    )
}

fn env_name(_: &mut SchemaGenerator) -> Schema {
    schema::text(
        128,
        &[
            (
                "self.matches('^[A-Za-z_][A-Za-z0-9_]*$')",
                "env must have names of letters, digits and _ that begin with no digit: correct the name",
            ),
            (
                "self != 'TUNMESH_CONFIG_PATH'",
                "env must not have TUNMESH_CONFIG_PATH, which the operator sets: remove it",
            ),
        ],
    )
}

fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 8,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "maxLength": 32,
            "x-kubernetes-validations": [{
                "rule": "type(self) == int ? self >= 0 : isQuantity(self) && !quantity(self).isLessThan(quantity('0'))",
                "message": "resources must be quantities of zero or more: write 100m, 1 or 64Mi",
            }],
        },
    })
}

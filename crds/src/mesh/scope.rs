use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who may be a member.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Members {
    /// Namespaces whose pods may join.
    pub namespaces: NamespaceScope,
}

/// Namespaces whose pods may join.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.from != 'Selector' || has(self.selector)")
    .message("selector is needed with from: Selector: add matchLabels, or set from to Same or All")
    .field_path(".selector"))]
#[x_kube(validation = Rule::new("self.from == 'Selector' || !has(self.selector)")
    .message("selector is used with from: Selector only: remove it, or set from to Selector")
    .field_path(".selector"))]
pub struct NamespaceScope {
    /// `Same`: the namespace of the mesh. `Selector`: those whose labels match `selector`. `All`: every one.
    #[serde(default)]
    pub from: NamespacesFrom,
    /// Labels of namespaces; an empty selector matches all of them.
    #[schemars(with = "LabelSelector")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// How [`NamespaceScope`] chooses.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
pub enum NamespacesFrom {
    /// Every namespace.
    All,
    /// The namespace of the mesh.
    #[default]
    Same,
    /// Namespaces whose labels match.
    Selector,
}

//! docs/api.md.

use std::fmt::Write;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;
use tunmesh_crds::names::{self, Generation, PodAnnotation, member_secret};
use tunmesh_crds::{MemberCondition, MemberReason, MeshCondition, MeshReason};

/// One field of a kind.
pub(crate) struct Field {
    /// From the root of the object: `.spec.addressPools[]`.
    pub(crate) path: String,
    /// Its type in words.
    pub(crate) kind: String,
    /// Whether text has a longest length.
    pub(crate) is_bounded: bool,
    default: String,
    meaning: String,
    rules: Vec<String>,
}

/// The page.
pub(crate) fn page(definitions: &[CustomResourceDefinition]) -> String {
    let mut text = String::from(HEAD);
    for definition in definitions {
        kind(&mut text, definition);
    }
    conditions(&mut text);
    names(&mut text);
    text
}

/// Every field of a kind, top down.
pub(crate) fn fields(definition: &CustomResourceDefinition) -> Vec<Field> {
    let mut fields = Vec::new();
    let root = schema(definition);
    for part in ["spec", "status"] {
        collect(&mut fields, &format!(".{part}"), &root["properties"][part], is_required(&root, part));
    }
    fields
}

fn schema(definition: &CustomResourceDefinition) -> Value {
    serde_json::to_value(&definition.spec.versions[0].schema).unwrap()["openAPIV3Schema"].take()
}

fn collect(fields: &mut Vec<Field>, path: &str, schema: &Value, is_required: bool) {
    fields.push(Field {
        path: path.to_owned(),
        kind: kind_of(schema),
        is_bounded: ["maxLength", "enum", "format"].iter().any(|bound| schema.get(bound).is_some()),
        default: match schema.get("default") {
            Some(value) => format!("`{value}`"),
            None if is_required => "required".into(),
            None => String::new(),
        },
        meaning: line(schema["description"].as_str().unwrap_or_default()),
        rules: rules(schema),
    });
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        collect(fields, &format!("{path}.{name}"), property, self::is_required(schema, name));
    }
    for (suffix, key) in [("[]", "items"), (".NAME", "additionalProperties")] {
        // Plain text in a list has nothing more to tell than the list.
        if let Some(items) = schema.get(key).filter(|items| items.is_object()) {
            collect(fields, &format!("{path}{suffix}"), items, false);
        }
    }
}

fn is_required(schema: &Value, name: &str) -> bool {
    schema["required"].as_array().is_some_and(|required| required.iter().any(|field| field == name))
}

fn kind_of(schema: &Value) -> String {
    if let Some(words) = schema["enum"].as_array() {
        return words
            .iter()
            .map(|word| format!("`{}`", word.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(", ");
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return "number or text".into();
    }
    let bound = |key: &str| schema[key].as_f64().map(|bound| format!("{bound:.0}"));
    match schema["type"].as_str().unwrap_or_default() {
        "array" => format!("list{}", bound("maxItems").map_or(String::new(), |most| format!(" of at most {most}"))),
        "boolean" => "true or false".into(),
        "integer" => match (bound("minimum"), bound("maximum")) {
            (Some(least), Some(most)) => format!("number from {least} to {most}"),
            (Some(least), None) => format!("number from {least}"),
            _ => "number".into(),
        },
        "object" if schema.get("additionalProperties").is_some() => "map".into(),
        "object" => "group".into(),
        "string" => match schema["format"].as_str() {
            Some("date-time") => "text, time (RFC 3339)".into(),
            Some(format) => format!("text, {format}"),
            None => format!("text{}", bound("maxLength").map_or(String::new(), |most| format!(" of at most {most}"))),
        },
        other => other.to_owned(),
    }
}

fn rules(schema: &Value) -> Vec<String> {
    let rules = schema["x-kubernetes-validations"].as_array();
    rules.into_iter().flatten().filter_map(|rule| rule["message"].as_str()).map(line).collect()
}

fn kind(text: &mut String, definition: &CustomResourceDefinition) {
    let names = &definition.spec.names;
    let root = schema(definition);
    let short = names.short_names.as_deref().unwrap_or_default().join(", ");
    let _infallible = write!(
        text,
        "\n## {}\n\n{}\n\n`kubectl get {}`, short `{short}`; {}.\n",
        names.kind,
        line(root["description"].as_str().unwrap_or_default()),
        names.plural,
        if definition.spec.scope == "Namespaced" { "in a namespace" } else { "of the whole cluster" },
    );
    for rule in rules(&root) {
        let _infallible = writeln!(text, "\nRefused: {rule}.");
    }
    let _infallible = writeln!(text, "\n| field | value | default | meaning | refused |\n|---|---|---|---|---|");
    for Field { path, kind, default, meaning, rules, .. } in fields(definition) {
        let rules = rules.join("<br>");
        let _infallible = writeln!(text, "| `{path}` | {kind} | {default} | {meaning} | {rules} |");
    }
}

fn conditions(text: &mut String) {
    text.push_str(
        "\n## Conditions of a TunMesh\n\nOf each, `True` is good.\n\n| condition | `True` says |\n|---|---|\n",
    );
    for condition in MeshCondition::ALL {
        let _infallible = writeln!(text, "| `{}` | {} |", condition.as_str(), condition.meaning());
    }
    text.push_str(REASONS);
    for info in MeshReason::ALL.iter().map(|reason| reason.info()) {
        let (condition, status) = (info.condition.as_str(), info.verdict.as_str());
        let _infallible =
            writeln!(text, "| `{condition}` | {status} | `{}` | {} | {} |", info.reason, info.meaning, info.action);
    }
    text.push_str(
        "\n## Conditions of a TunMeshMember\n\nOf each, `True` is good.\n\n| condition | `True` says |\n|---|---|\n",
    );
    for condition in MemberCondition::ALL {
        let _infallible = writeln!(text, "| `{}` | {} |", condition.as_str(), condition.meaning());
    }
    text.push_str(REASONS);
    for info in MemberReason::ALL.iter().map(|reason| reason.info()) {
        let (condition, status) = (info.condition.as_str(), info.verdict.as_str());
        let _infallible =
            writeln!(text, "| `{condition}` | {status} | `{}` | {} | {} |", info.reason, info.meaning, info.action);
    }
}

fn names(text: &mut String) {
    text.push_str("\n## Labels and annotations of a pod\n\n| name | written by | meaning |\n|---|---|---|\n");
    let mut row = |name: &str, by: &str, meaning: &str| {
        let _infallible = writeln!(text, "| `{name}` | {by} | {meaning} |");
    };
    row(names::MESH_LABEL, "a person", "Label: name of the `TunMesh` the pod joins.");
    row(names::MESH_NAMESPACE_LABEL, "a person", "Label: namespace of that `TunMesh`; that of the pod if absent.");
    for annotation in PodAnnotation::ALL {
        row(annotation.key(), "a person", annotation.meaning());
    }
    row(names::SECRET_ANNOTATION, "the webhook", "Name of the Secret that the pod's volume waits for.");
    row(names::TEMPLATE_ANNOTATION, "the webhook", "Fingerprint of the template the sidecar was made of.");
    text.push_str("\nThe sidecar container is `");
    text.push_str(names::SIDECAR);
    text.push_str("`. What the operator makes for a mesh also has the labels `");
    text.push_str(&[names::MESH_UID_LABEL, names::POD_UID_LABEL, names::MANAGED_BY_LABEL].join("`, `"));
    text.push_str("`.\n\n## Secrets\n\n| Secret | key | value |\n|---|---|---|\n");
    let mut row = |secret: &str, key: &str, value: &str| {
        let _infallible = writeln!(text, "| {secret} | `{key}` | {value} |");
    };
    row("of a member", member_secret::CONFIG, "Configuration of the agent.");
    row("of a member", member_secret::CERTIFICATE, "Its certificate, PEM.");
    row("of a member", member_secret::PRIVATE_KEY, "Its private key, PEM.");
    row("of a member", member_secret::AUTHORITIES, "Authorities it trusts, PEM.");
    row("of a member", member_secret::CLUSTER_SECRET, "Secret of the mesh, base64.");
    for generation in Generation::ALL {
        let which = format!("{generation:?}").to_lowercase();
        row("of a mesh", generation.authority_certificate(), &format!("Certificate of the {which} authority, PEM."));
        row("of a mesh", generation.authority_private_key(), &format!("Private key of the {which} authority, PEM."));
        row("of a mesh", generation.cluster_secret(), &format!("The {which} cluster secret, base64."));
    }
}

/// One line of a table.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

const REASONS: &str = "\n| condition | status | reason | what is the case | what to do |\n|---|---|---|---|---|\n";

const HEAD: &str = "# The cluster API

Written by `make docs` from the types of the crate `tunmesh-crds`; do not edit by hand.

Group `tunmesh.io`, version `v1alpha1`, for Kubernetes 1.31 or later. `kubectl get tunmesh-all` lists all kinds. The definitions are in `crds/yaml`, examples in
`docs/examples`. What the API server refuses, it refuses with the text of the last column.
";

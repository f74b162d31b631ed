//! docs/examples/*.yaml.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};
use tunmesh_crds::{
    Exposure, ExposureType, MemberMesh, Members, Mtu, NamespaceScope, NamespacesFrom, OutsideMember, Port, Resources,
    Sidecar, TunMesh, TunMeshMember, TunMeshMemberSpec, TunMeshSpec,
};

/// Every example: its file, its text.
pub(crate) fn all() -> Vec<(&'static str, String)> {
    vec![
        ("mesh-minimal.yaml", document("The smallest mesh: everything has a default.", minimal())),
        (
            "mesh-namespaces.yaml",
            document(
                "A mesh across the namespaces with a label, with networks of its own and bounded sidecars.",
                serde_json::to_value(namespaces()).unwrap(),
            ),
        ),
        (
            "mesh-outside.yaml",
            document(
                "A mesh that machines outside the cluster reach at the nodes.",
                serde_json::to_value(exposed()).unwrap(),
            ),
        ),
        (
            "member-laptop.yaml",
            document(
                "A laptop that others reach by its name. The Secret that status.secretName names then has the config to run there.",
                serde_json::to_value(laptop()).unwrap(),
            ),
        ),
        (
            "member-vm.yaml",
            document(
                "A virtual machine that others reach, with an address of its own choice.",
                serde_json::to_value(virtual_machine()).unwrap(),
            ),
        ),
    ]
}

fn document(comment: &str, mut value: Value) -> String {
    // What is as the default is not worth writing.
    let defaults = serde_json::to_value(TunMeshSpec::default()).unwrap();
    if let (true, Some(spec)) = (value["kind"] == "TunMesh", value.get_mut("spec")) {
        strip(spec, &defaults);
    }
    format!("# {comment}\n{}", crate::yaml(&value))
}

fn strip(value: &mut Value, default: &Value) {
    let (Value::Object(fields), Value::Object(defaults)) = (value, default) else { return };
    fields.retain(|name, field| defaults.get(name) != Some(field));
    for (name, field) in fields {
        strip(field, defaults.get(name).unwrap_or(&Value::Null));
    }
}

/// Without a spec, which a Rust value always has.
fn minimal() -> Value {
    json!({"apiVersion": "tunmesh.io/v1alpha1", "kind": "TunMesh", "metadata": {"name": "home"}})
}

fn namespaces() -> TunMesh {
    let selector = LabelSelector {
        match_labels: Some([("team".to_owned(), "shop".to_owned())].into()),
        ..LabelSelector::default()
    };
    let quantities = |cpu: &str, memory: &str| {
        BTreeMap::from([("cpu".to_owned(), Quantity(cpu.into())), ("memory".to_owned(), Quantity(memory.into()))])
    };
    mesh(
        "shop",
        TunMeshSpec {
            address_pools: vec!["10.77.0.0/16".parse().unwrap(), "fd77::/64".parse().unwrap()],
            members: Members {
                namespaces: NamespaceScope { from: NamespacesFrom::Selector, selector: Some(selector) },
            },
            sidecar: Sidecar {
                resources: Resources { requests: quantities("50m", "32Mi"), limits: quantities("2", "128Mi") },
                ..Sidecar::default()
            },
            ..TunMeshSpec::default()
        },
    )
}

fn exposed() -> TunMesh {
    let exposure = Exposure {
        kind: ExposureType::NodePort,
        advertised_addresses: vec!["mesh.example.com".into(), "203.0.113.7".into()],
    };
    mesh("office", TunMeshSpec { exposure, mtu: Mtu::Bytes(1280), ..TunMeshSpec::default() })
}

fn mesh(name: &str, spec: TunMeshSpec) -> TunMesh {
    TunMesh::new(name, spec)
}

fn laptop() -> TunMeshMember {
    member(
        "laptop",
        OutsideMember { advertised_address: Some("laptop.example.com".into()), ..OutsideMember::default() },
    )
}

fn virtual_machine() -> TunMeshMember {
    member(
        "database-vm",
        OutsideMember {
            address: Some("10.77.200.1".parse().unwrap()),
            advertised_address: Some("192.0.2.10".into()),
            port: Port(4568),
        },
    )
}

fn member(name: &str, outside: OutsideMember) -> TunMeshMember {
    let mesh = MemberMesh { name: "office".into(), namespace: None };
    TunMeshMember::new(name, TunMeshMemberSpec { mesh, pod: None, outside: Some(outside) })
}

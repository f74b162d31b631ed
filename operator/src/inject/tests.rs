use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;
use serde_json::{Value, json};
use tunmesh_crds::TunMesh;
use tunmesh_crds::names::{PodAnnotation, SECRET_ANNOTATION, SIDECAR, TEMPLATE_ANNOTATION};

use super::{
    Defaults, Injection, MeshRef, Refusal, Request, fingerprint_for, inject, is_allowed, is_secret_name,
    random_secret_name,
};

#[test]
fn a_pod_gets_the_sidecar_first_and_keeps_all_it_had() {
    let before = pod(json!({"metadata": {"name": "p", "annotations": {"a/b": "c"}}, "spec": {
        "initContainers": [{"name": "migrate", "image": "i"}],
        "containers": [{"name": "app", "image": "i"}],
        "volumes": [{"name": "data", "emptyDir": {}}],
        "unknownToUs": 1,
    }}));

    let after = injected(&before, &mesh(json!({})), SECRET).unwrap();

    let typed: Pod = serde_json::from_value(after.clone()).unwrap();
    let spec = typed.spec.unwrap();
    let names: Vec<_> = spec.init_containers.unwrap().iter().map(|container| container.name.clone()).collect();
    assert_eq!(names, [SIDECAR, "migrate"]);
    let volumes: Vec<_> = spec.volumes.unwrap().iter().map(|volume| volume.name.clone()).collect();
    assert_eq!(volumes, ["data", "tunmesh-config", "tunmesh-run", "tunmesh-token"]);
    assert_eq!(after["spec"]["volumes"][1]["secret"]["secretName"], SECRET);
    assert_eq!(after["metadata"]["annotations"]["a/b"], "c");
    assert_eq!(after["metadata"]["annotations"][SECRET_ANNOTATION], SECRET);
    assert_eq!(after["spec"]["unknownToUs"], 1);
}

#[test]
fn a_pod_with_the_sidecar_stays_as_it_is_whatever_others_added() {
    let mesh = mesh(json!({}));
    let first = injected(&plain(), &mesh, SECRET).unwrap();
    let mut other = first.clone();
    let spec = &mut other["spec"];
    spec["initContainers"][0]["env"].as_array_mut().unwrap().push(json!({"name": "PROXY", "value": "x"}));
    spec["initContainers"][0]["image"] = "mirror.example/agent".into();
    spec["initContainers"][0]["resources"] = json!({"limits": {"cpu": "1"}});
    spec["initContainers"][0]["imagePullPolicy"] = "Always".into();
    spec["initContainers"].as_array_mut().unwrap().insert(0, json!({"name": "other", "image": "i"}));
    spec["volumes"].as_array_mut().unwrap().insert(0, json!({"name": "other", "emptyDir": {}}));

    for pod in [first, other] {
        let outcome = outcome(&pod, &mesh, "default", &BTreeMap::new(), "tunmesh-2");
        assert_eq!(outcome, Ok(Injection::Present { secret: SECRET.into() }));
    }
}

#[test]
fn a_sidecar_that_is_not_of_the_current_template_is_refused() {
    let ours = || injected(&plain(), &mesh(json!({})), SECRET).unwrap();
    let changes: [(&str, &str, Value); 8] = [
        ("/spec/initContainers/0/args", "args", json!(["sh"])),
        ("/spec/initContainers/0/securityContext/runAsUser", "user", json!(0)),
        ("/spec/initContainers/0/restartPolicy", "restart", json!(null)),
        ("/spec/initContainers/0/volumeMounts/0/mountPath", "mount", json!("/app")),
        ("/spec/volumes/0/secret/secretName", "secret", json!("another")),
        ("/metadata/annotations/tunmesh.io~1secret", "name", json!("../x")),
        ("/metadata/annotations/tunmesh.io~1sidecar-template", "template", json!("0000000000000000")),
        ("/metadata/annotations", "annotations", json!({})),
    ];
    for (path, name, value) in changes {
        let mut pod = ours();
        *pod.pointer_mut(path).unwrap() = value;

        let refusal = refusal(&pod, &mesh(json!({})));

        assert_eq!(refusal, Refusal::SidecarDuplicate { place: "spec.initContainers" }, "{name}");
    }
}

#[test]
fn pods_that_cannot_be_members_are_refused() {
    let mount = json!([{"name": "tunmesh-config", "mountPath": "/x"}]);
    let cases = [
        (json!({"hostNetwork": true}), "spec.hostNetwork is true"),
        (json!({"shareProcessNamespace": true}), "spec.shareProcessNamespace is true"),
        (json!({"os": {"name": "windows"}}), "spec.os.name is windows"),
        (json!({"nodeSelector": {"kubernetes.io/os": "windows"}}), "spec.nodeSelector[kubernetes.io/os] is windows"),
        (json!({"containers": [{"name": SIDECAR}]}), "spec.containers has a container tunmesh"),
        (json!({"initContainers": [{"name": SIDECAR}]}), "spec.initContainers has a container tunmesh"),
        (json!({"volumes": [{"name": "tunmesh-token", "emptyDir": {}}]}), "spec.volumes has a volume tunmesh-token"),
        (json!({"containers": [{"name": "app", "volumeMounts": mount}]}), "container app mounts volume tunmesh-config"),
        (
            json!({"initContainers": [{"name": "one", "volumeMounts": mount}]}),
            "container one mounts volume tunmesh-config",
        ),
        (
            json!({"containers": [{"name": "app", "volumeDevices": [{"name": "tunmesh-device", "devicePath": "/x"}]}]}),
            "container app mounts volume tunmesh-device",
        ),
    ];
    for (spec, text) in cases {
        let mut pod = plain();
        pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());

        let refusal = refusal(&pod, &mesh(json!({})));

        assert!(refusal.to_string().starts_with(text), "{refusal}");
    }
}

#[test]
fn no_volume_but_the_sidecars_has_a_token_for_the_node_helper() {
    let token = |audience: &str| {
        json!({"name": "mine", "projected": {"sources": [
            {"configMap": {"name": "c"}}, {"serviceAccountToken": {"audience": audience, "path": "t"}},
        ]}})
    };
    let mesh = mesh(json!({}));
    for mut pod in [plain(), injected(&plain(), &mesh, SECRET).unwrap()] {
        let volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        let with = |audience| json!([volumes.clone(), vec![token(audience)]].concat());
        pod["spec"]["volumes"] = with("vault");
        assert!(outcome(&pod, &mesh, "default", &BTreeMap::new(), SECRET).is_ok());

        pod["spec"]["volumes"] = with("tunmesh-node-helper");
        let refusal = refusal(&pod, &mesh);

        assert_eq!(refusal, Refusal::TokenReserved { volume: "mine".into() });
        assert!(
            refusal
                .to_string()
                .starts_with("spec.volumes has a volume mine with a token for the audience tunmesh-node")
        );
    }
}

#[test]
fn annotations_that_mean_nothing_are_refused() {
    let cases = [
        (
            PodAnnotation::CpuLimit.key(),
            "1 core",
            "metadata.annotations[tunmesh.io/cpu-limit] is \"1 core\": write a quantity",
        ),
        (PodAnnotation::CpuRequest.key(), "-1", "write a quantity"),
        (PodAnnotation::MemoryLimit.key(), "", "write a quantity"),
        (PodAnnotation::MemoryRequest.key(), "64MiB", "write a quantity"),
        (PodAnnotation::Image.key(), "https://x/y z", "write an image reference"),
        (PodAnnotation::LogLevel.key(), "trace", "write debug, info, warn or error"),
        (PodAnnotation::Tun.key(), "hostDevice", "write NodeHelper or HostDevice"),
        (PodAnnotation::Address.key(), "fd77::1", "write an IPv4 address"),
        (
            PodAnnotation::Address.key(),
            "10.78.0.1",
            "is 10.78.0.1, which no member of the mesh can have: take one within 10.77.0.0/16,",
        ),
        (PodAnnotation::Address.key(), "10.77.0.0", "neither the first nor the last"),
        (
            "tunmesh.io/addres",
            "10.77.0.1",
            "metadata.annotations[tunmesh.io/addres] is not known: remove it, or write one of tunmesh.io/address",
        ),
        (SECRET_ANNOTATION, SECRET, "metadata.annotations[tunmesh.io/secret] is written by the webhook only"),
        (TEMPLATE_ANNOTATION, "x", "metadata.annotations[tunmesh.io/sidecar-template] is written by the webhook only"),
    ];
    for (key, value, text) in cases {
        let refusal = refusal(&annotated(&[(key, value)]), &mesh(json!({})));

        assert!(refusal.to_string().contains(text), "{key}={value}: {refusal}");
    }
}

#[test]
fn annotations_take_the_place_of_what_the_mesh_says() {
    let mesh = mesh(json!({"sidecar": {
        "image": "mesh.example/agent", "logLevel": "warn", "env": [
            {"name": "A", "value": "b"}, {"name": "TUNMESH_ADVERTISE_ADDRESS", "value": "1.2.3.4"}
        ],
        "resources": {"limits": {"cpu": "5m", "memory": "1Gi"}, "requests": {"ephemeral-storage": "1Mi"}},
    }}));
    let sidecar = |pod: &Value| -> Container {
        let after = injected(pod, &mesh, "s").unwrap();
        serde_json::from_value(after["spec"]["initContainers"][0].clone()).unwrap()
    };
    let quantities = |container: &Container| serde_json::to_value(container.resources.clone()).unwrap();

    let plain = sidecar(&plain());
    assert_eq!(plain.image.as_deref(), Some("mesh.example/agent"));
    assert_eq!(plain.args, Some(vec!["run".to_owned(), "--supervise".to_owned()]));
    let names: Vec<_> = plain.env.iter().flatten().map(|variable| variable.name.clone()).collect();
    assert_eq!(names, ["A", "TUNMESH_CONFIG_PATH", "TUNMESH_ADVERTISE_ADDRESS"]);
    assert!(plain.env.iter().flatten().all(|variable| variable.value.as_deref() != Some("1.2.3.4")));
    let requests = json!({"cpu": "5m", "memory": "16Mi", "ephemeral-storage": "1Mi"});
    assert_eq!(quantities(&plain), json!({"limits": {"cpu": "5m", "memory": "1Gi"}, "requests": requests}));

    let own = sidecar(&annotated(&[
        (PodAnnotation::Image.key(), "pod.example/agent@sha256:0"),
        (PodAnnotation::CpuLimit.key(), "2"),
        (PodAnnotation::CpuRequest.key(), "1"),
        (PodAnnotation::MemoryRequest.key(), "64Mi"),
    ]));
    assert_eq!(own.image.as_deref(), Some("pod.example/agent@sha256:0"));
    let requests = json!({"cpu": "1", "memory": "64Mi", "ephemeral-storage": "1Mi"});
    assert_eq!(quantities(&own), json!({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": requests}));
}

#[test]
fn a_host_device_needs_root_one_capability_and_the_device() {
    let pod = annotated(&[(PodAnnotation::Tun.key(), "HostDevice")]);

    let after = injected(&pod, &mesh(json!({})), "s").unwrap();

    let sidecar = &after["spec"]["initContainers"][0];
    assert_eq!(sidecar["args"], json!(["run"]), "a supervisor would keep the rights");
    assert_eq!(
        sidecar["securityContext"]["capabilities"],
        json!({"add": ["NET_ADMIN", "SETGID", "SETPCAP", "SETUID"], "drop": ["ALL"]})
    );
    assert_eq!(sidecar["securityContext"]["runAsUser"], 0);
    assert_eq!(after["spec"]["volumes"][2]["hostPath"], json!({"path": "/dev/net/tun", "type": "CharDevice"}));
    assert!(after["spec"]["volumes"].as_array().unwrap().iter().all(|volume| volume["projected"].is_null()));
}

#[test]
fn the_fingerprint_follows_what_makes_another_sidecar_and_nothing_else() {
    let defaults = defaults();
    let of = |spec: Value, annotations: &[(&str, &str)]| fingerprint_for(&mesh(spec), &defaults, &map(annotations));
    let base = of(json!({}), &[]);
    let same = [
        of(json!({"paused": true, "sidecar": {"logLevel": "debug"}}), &[]),
        of(json!({}), &[(PodAnnotation::Address.key(), "10.77.0.9"), (PodAnnotation::LogLevel.key(), "error")]),
        of(json!({"sidecar": {"image": defaults.agent_image}}), &[]),
    ];
    let others = [
        of(json!({"sidecar": {"image": "other"}}), &[]),
        of(json!({"sidecar": {"tun": "HostDevice"}}), &[]),
        of(json!({"sidecar": {"env": [{"name": "A", "value": "b"}]}}), &[]),
        of(json!({}), &[(PodAnnotation::MemoryLimit.key(), "1Gi")]),
    ];
    assert_eq!(of(json!({}), &[(PodAnnotation::Tun.key(), "?")]), "");
    assert!(same.iter().all(|fingerprint| *fingerprint == base));
    assert!(others.iter().all(|fingerprint| *fingerprint != base));
    let annotated = injected(&plain(), &mesh(json!({})), "s").unwrap();
    assert_eq!(annotated["metadata"]["annotations"][TEMPLATE_ANNOTATION], base);
}

#[test]
fn namespaces_join_as_the_mesh_says() {
    let matching = json!({"from": "Selector", "selector": {"matchLabels": {"team": "a"}, "matchExpressions": [
        {"key": "env", "operator": "NotIn", "values": ["prod"]}
    ]}});
    let cases = [
        (json!({"from": "Same"}), "default", &[][..], true),
        (json!({"from": "Same"}), "other", &[], false),
        (json!({"from": "All"}), "other", &[], true),
        (matching.clone(), "other", &[("team", "a")], true),
        (matching.clone(), "other", &[("team", "a"), ("env", "prod")], false),
        (matching.clone(), "default", &[("team", "b")], false),
        (json!({"from": "Selector", "selector": {}}), "other", &[], true),
    ];
    for (namespaces, namespace, labels, allowed) in cases {
        let mesh = mesh(json!({"members": {"namespaces": namespaces}}));

        let outcome = outcome(&plain(), &mesh, namespace, &map(labels), "s");

        assert_eq!(outcome.is_ok(), allowed, "{namespaces} {namespace} {labels:?}");
        assert_eq!(is_allowed(&mesh, namespace, &map(labels)), allowed);
        if let Err(refusal) = outcome {
            assert_eq!(refusal.category(), "NamespaceDenied");
        }
    }
    let broken = json!({"from": "Selector", "selector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}});
    let broken = mesh(json!({"members": {"namespaces": broken}}));
    assert_eq!(refusal(&plain(), &broken), Refusal::SelectorInvalid { mesh: "default/m".into() });
}

#[test]
fn a_mesh_that_is_being_deleted_takes_nobody() {
    let mut mesh = mesh(json!({}));
    mesh.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());

    assert_eq!(refusal(&plain(), &mesh).category(), "MeshEnding");
}

#[test]
fn a_container_that_wants_the_port_of_the_agent_is_warned_of() {
    let mut pod = plain();
    pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80}, {"containerPort": 4567, "protocol": "UDP"}]);

    let Ok(Injection::Add { warnings, .. }) = outcome(&pod, &mesh(json!({})), "default", &BTreeMap::new(), "s") else {
        panic!("it is injected")
    };

    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("container app wants port 4567"), "{warnings:?}");
}

#[test]
fn labels_name_the_mesh() {
    let of = |labels: &[(&str, &str)]| MeshRef::of(Some(&map(labels)), "pods");
    let mesh = |namespace: &str| Ok(Some(MeshRef { namespace: namespace.into(), name: "m".into() }));

    assert_eq!(of(&[("tunmesh.io/mesh", "m")]), mesh("pods"));
    assert_eq!(of(&[("tunmesh.io/mesh", "m"), ("tunmesh.io/mesh-namespace", "meshes")]), mesh("meshes"));
    assert_eq!(of(&[("tunmesh.io/mesh-namespace", "meshes")]), Ok(None));
    assert_eq!(MeshRef::of(None, "pods"), Ok(None));
    for name in ["", "../../secrets/x", "a.b", "A", "-a", "a-", "a%2fb", &"a".repeat(64)] {
        let refusals =
            [of(&[("tunmesh.io/mesh", name)]), of(&[("tunmesh.io/mesh", "m"), ("tunmesh.io/mesh-namespace", name)])];
        assert!(refusals.into_iter().all(|outcome| outcome.err().unwrap().category() == "MeshNameInvalid"), "{name}");
    }
}

#[test]
fn names_of_secrets_differ_and_are_known_again() {
    let names = [random_secret_name().unwrap(), random_secret_name().unwrap()];

    assert_ne!(names[0], names[1]);
    assert!(names.iter().all(|name| is_secret_name(name)));
    for other in ["tunmesh-webhook-ca", "tunmesh-", &SECRET[1..], &SECRET.to_uppercase(), &format!("{SECRET}/../x")] {
        assert!(!is_secret_name(other), "{other}");
    }
}

#[test]
fn a_refusal_repeats_little_of_what_was_written() {
    let long = "x".repeat(100_000);
    let pods = [
        annotated(&[(PodAnnotation::Image.key(), &format!("{long}!"))]),
        annotated(&[(&format!("tunmesh.io/{long}"), "")]),
    ];
    for pod in pods {
        assert!(refusal(&pod, &mesh(json!({}))).to_string().len() < 500);
    }
}

fn plain() -> Value {
    pod(json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "app", "image": "i"}]}}))
}

fn annotated(annotations: &[(&str, &str)]) -> Value {
    let mut pod = plain();
    pod["metadata"]["annotations"] = json!(map(annotations));
    pod
}

fn pod(mut value: Value) -> Value {
    value["metadata"]["labels"] = json!({"tunmesh.io/mesh": "m"});
    value
}

fn mesh(spec: Value) -> TunMesh {
    serde_json::from_value(json!({
        "apiVersion": "tunmesh.io/v1alpha1", "kind": "TunMesh",
        "metadata": {"name": "m", "namespace": "default"},
        "spec": spec,
        "status": {"addressPools": ["10.77.0.0/16", "fd77::/64"]},
    }))
    .unwrap()
}

fn defaults() -> Defaults {
    Defaults { agent_image: "registry.example/tunmesh/agent:0.1.0".into() }
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn outcome(
    pod: &Value,
    mesh: &TunMesh,
    namespace: &str,
    namespace_labels: &BTreeMap<String, String>,
    secret_name: &str,
) -> Result<Injection, Refusal> {
    let pod: Pod = serde_json::from_value(pod.clone()).unwrap_or_else(|error| panic!("{error}: {pod}"));
    assert!(!pod.name_any().is_empty());
    let defaults = defaults();
    inject(&Request { pod: &pod, namespace, namespace_labels, mesh, defaults: &defaults }, secret_name)
}

/// The pod with the patch applied to what was asked for, as the API server does.
fn injected(pod: &Value, mesh: &TunMesh, secret_name: &str) -> Result<Value, Refusal> {
    let outcome = outcome(pod, mesh, "default", &BTreeMap::new(), secret_name)?;
    let Injection::Add { patch, .. } = outcome else { panic!("nothing was added") };
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &patch).unwrap_or_else(|error| panic!("{error}"));
    Ok(pod)
}

fn refusal(pod: &Value, mesh: &TunMesh) -> Refusal {
    outcome(pod, mesh, "default", &BTreeMap::new(), "s").err().unwrap()
}

const SECRET: &str = "tunmesh-0123456789abcdef0123456789abcdef";

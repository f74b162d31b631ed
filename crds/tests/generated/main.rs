//! The committed definitions, examples and reference are those of the types. `UPDATE_DOCS=1 cargo test -p tunmesh-crds`
//! writes them anew.
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

mod examples;
mod reference;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde::Serialize;
use tunmesh_crds::{TunMesh, TunMeshAddress, TunMeshMember};

#[test]
fn definitions_are_current() {
    let mut files = BTreeSet::new();
    for crd in definitions() {
        let file = format!("{}.yaml", crd.spec.names.plural);
        let head = "# Written by `make docs` from the types of the crate; do not edit by hand.\n";
        expect(&root().join("crds/yaml").join(&file), &format!("{head}{}", yaml(&crd)));
        files.insert(file);
    }
    assert_eq!(names(&root().join("crds/yaml")), files);
}

#[test]
fn examples_are_current() {
    for (file, text) in examples::all() {
        expect(&root().join("docs/examples").join(file), &text);
    }
}

#[test]
fn the_reference_is_current() {
    expect(&root().join("docs/api.md"), &reference::page(&definitions()));
}

#[test]
fn every_string_and_list_of_a_spec_is_bounded() {
    for crd in definitions() {
        for field in reference::fields(&crd) {
            let is_text = field.kind.starts_with("text") && field.path.starts_with(".spec");
            let is_foreign = field.path.starts_with(".spec.members.namespaces.selector");
            assert!(!is_text || field.is_bounded || is_foreign, "{}{}", crd.spec.names.kind, field.path);
        }
    }
}

#[test]
fn no_category_hides_a_kind_from_kubectl() {
    // It looks a word up as a category first: with a category `tunmesh`, `kubectl get tunmesh NAME` fails.
    for names in definitions().map(|crd| crd.spec.names) {
        for category in names.categories.unwrap() {
            assert!(definitions().iter().all(|crd| crd.spec.names.singular.as_ref() != Some(&category)), "{category}");
        }
    }
}

/// The definitions of all kinds.
fn definitions() -> [CustomResourceDefinition; 3] {
    [TunMesh::crd(), TunMeshMember::crd(), TunMeshAddress::crd()]
}

fn yaml(value: &impl Serialize) -> String {
    // By way of JSON, so that absent fields are absent.
    serde_saphyr::to_string(&serde_json::to_value(value).unwrap()).unwrap()
}

/// Compares `path` with what it should be, or writes it.
fn expect(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(committed == text, "{} is stale: UPDATE_DOCS=1 cargo test -p tunmesh-crds", path.display());
}

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

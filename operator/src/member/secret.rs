use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use tunmesh_crds::names::{MANAGED_BY_LABEL, MANAGER, MESH_LABEL, MESH_NAMESPACE_LABEL, member_secret};

use crate::error::{Category, Error};

/// The Secret of one member, before it is written.
pub(super) struct MemberSecret {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    /// The pod or the member: with it goes the Secret.
    pub(super) owner: OwnerReference,
    pub(super) config: String,
    pub(super) certificate: String,
    pub(super) private_key: String,
    pub(super) authorities: String,
    pub(super) cluster_secret: String,
}

/// What became of it.
pub(super) enum Written {
    Done,
    /// There is one of that name that is not this member's. It was left alone.
    NotOurs,
    /// The API server does not take it.
    Refused(String),
}

impl MemberSecret {
    /// Makes it. `None` if there is one of that name.
    pub(super) async fn create(&self, client: &Client) -> Result<Option<Written>, Error> {
        match self.api(client).create(&PostParams::default(), &self.build()).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(None),
            created => taken(&self.name, created).map(Some),
        }
    }

    /// Puts it in the place of the one there is, unless that is not this member's. `None` if there is none.
    pub(super) async fn replace(&self, client: &Client) -> Result<Option<Written>, Error> {
        let (api, name) = (self.api(client), &self.name);
        let attempt = || format!("read Secret {name}");
        let stored = api.get_metadata_opt(name).await.map_err(Error::api(attempt()))?;
        let Some(stored) = stored else { return Ok(None) };
        // A pod that was a member of another mesh, too, keeps what it has of that one.
        let is_same = |label: &&str| stored.labels().get(*label) == self.labels.get(*label);
        let is_ours = stored.labels().get(MANAGED_BY_LABEL).is_some_and(|manager| manager == MANAGER)
            && [MESH_LABEL, MESH_NAMESPACE_LABEL].iter().all(is_same)
            && stored.owner_references().iter().any(|reference| reference.uid == self.owner.uid);
        if !is_ours {
            return Ok(Some(Written::NotOurs));
        }
        // Of that very version: what somebody put in its place since is not overwritten either.
        let mut secret = self.build();
        secret.metadata.resource_version = stored.resource_version();
        taken(name, api.replace(name, &PostParams::default(), &secret).await).map(Some)
    }

    fn api(&self, client: &Client) -> Api<Secret> {
        Api::namespaced(client.clone(), &self.namespace)
    }

    fn build(&self) -> Secret {
        let mut labels = self.labels.clone();
        labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned());
        let data = [
            (member_secret::CONFIG, &self.config),
            (member_secret::CERTIFICATE, &self.certificate),
            (member_secret::PRIVATE_KEY, &self.private_key),
            (member_secret::AUTHORITIES, &self.authorities),
            (member_secret::CLUSTER_SECRET, &self.cluster_secret),
        ];
        Secret {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                labels: Some(labels),
                owner_references: Some(vec![self.owner.clone()]),
                ..ObjectMeta::default()
            },
            data: Some(
                data.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.clone().into_bytes()))).collect(),
            ),
            type_: Some("kubernetes.io/tls".to_owned()),
            ..Secret::default()
        }
    }
}

fn taken(name: &str, written: Result<Secret, kube::Error>) -> Result<Written, Error> {
    let Err(error) = written.map_err(Error::api(format!("write Secret {name}"))) else { return Ok(Written::Done) };
    match (&error, error.category()) {
        (Error::Api { source: kube::Error::Api(status), .. }, Category::Forbidden | Category::Refused) => {
            Ok(Written::Refused(status.message.clone()))
        }
        (_, _) => Err(error),
    }
}

/// A digest of `parts`, in hexadecimal: the same for the same, in this order.
pub(super) fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for part in parts {
        text.push_str(part);
        text.push('\0');
    }
    digest(&SHA256, text.as_bytes()).as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

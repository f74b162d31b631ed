//! Our kinds on an API server that tests started.

use std::fs;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, ValidationDirective};
use kube::{Client, ResourceExt};
use tokio::time::{sleep, timeout};

use crate::api_server::{ApiServer, ApiServerError};

impl ApiServer {
    /// Applies the definitions of `crds/yaml` and waits until the kinds are served, a moment after they were taken.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or the API server does not take it.
    pub async fn define(&self, client: &Client) -> Result<(), ApiServerError> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/yaml");
        let unreadable = |source| ApiServerError::Start { attempt: "read crds/yaml", source };
        let definitions = Api::<CustomResourceDefinition>::all(client.clone());
        for file in fs::read_dir(folder).map_err(unreadable)? {
            let text = fs::read_to_string(file.map_err(unreadable)?.path()).map_err(unreadable)?;
            let definition: CustomResourceDefinition =
                serde_saphyr::from_str(&text).map_err(|error| unreadable(std::io::Error::other(error.to_string())))?;
            let params =
                PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("e2e") };
            definitions.patch(&definition.name_any(), &params, &Patch::Apply(&definition)).await?;
            let kind = &definition.spec.names;
            let version = definition.spec.versions.first().map(|version| version.name.clone()).unwrap_or_default();
            let named = GroupVersionKind::gvk(&definition.spec.group, &version, &kind.kind);
            let api = Api::<DynamicObject>::all_with(
                client.clone(),
                &ApiResource::from_gvk_with_plural(&named, &kind.plural),
            );
            let served = async {
                while api.list(&Default::default()).await.is_err() {
                    sleep(POLL).await;
                }
            };
            timeout(SERVED_TIMEOUT, served)
                .await
                .map_err(|_| ApiServerError::NotReady { log: format!("{} is not served", kind.kind) })?;
        }
        Ok(())
    }
}

const SERVED_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use axum::{Json, Router};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation};
use kube::core::{DynamicObject, dynamic::ParseDynamicObjectError};
use kube::{Api, Client};
use tunmesh_crds::NamespacesFrom;

use super::Directory;
use super::metrics::Metrics;
use crate::inject::{Defaults, Injection, MeshRef, Refusal, Request, inject, random_secret_name};

/// Answers requests.
pub(super) struct Reviewer<D> {
    pub(super) client: Client,
    pub(super) defaults: Defaults,
    pub(super) directory: Arc<D>,
    pub(super) metrics: Metrics,
}

pub(super) fn router<D: Directory>(reviewer: Reviewer<D>) -> Router {
    Router::new()
        .route("/mutate", post(mutate::<D>))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Arc::new(reviewer))
}

async fn mutate<D: Directory>(
    State(reviewer): State<Arc<Reviewer<D>>>,
    Json(review): Json<AdmissionReview<DynamicObject>>,
) -> Json<AdmissionReview<DynamicObject>> {
    let _timer = reviewer.metrics.start();
    let response = match review.try_into() {
        Ok(request) => reviewer.answer(&request).await,
        Err(error) => {
            reviewer.metrics.count(UNREADABLE);
            AdmissionResponse::invalid(error)
        }
    };
    Json(response.into_review())
}

/// Why there is no answer to a request but its refusal.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the pod cannot be read: {0}")]
    Unreadable(ParseDynamicObjectError),
    #[error("the operator cannot ask the API server about the mesh of the pod: try again, and see its log")]
    Unknown(#[from] kube::Error),
    #[error("the operator has no randomness for the name of a Secret: try again")]
    NoRandomness(#[from] aws_lc_rs::error::Unspecified),
    #[error("the operator cannot write its answer: {0}")]
    Unwritable(#[from] kube::core::admission::SerializePatchError),
}

impl<D: Directory> Reviewer<D> {
    async fn answer(&self, request: &AdmissionRequest<DynamicObject>) -> AdmissionResponse {
        let response = AdmissionResponse::from(request);
        match self.review(request, response.clone()).await {
            Ok((response, verdict)) => {
                self.metrics.count(verdict);
                response
            }
            Err(failure) => {
                let verdict = failure.verdict();
                self.metrics.count(verdict);
                let namespace = request.namespace.as_deref().unwrap_or_default();
                tracing::info!(namespace, pod = request.name, verdict, error = &failure as &dyn Error, "pod refused");
                let mut response = response.deny(format!("Tun Mesh: {failure}"));
                response.result.code = failure.code();
                response
            }
        }
    }

    async fn review(
        &self,
        request: &AdmissionRequest<DynamicObject>,
        mut response: AdmissionResponse,
    ) -> Result<(AdmissionResponse, &'static str), Failure> {
        let (Some(object), Operation::Create, None) = (&request.object, &request.operation, &request.sub_resource)
        else {
            return Ok((response, PASSED));
        };
        let namespace = request.namespace.as_deref().unwrap_or_default();
        let Some(mesh_ref) = MeshRef::of(object.metadata.labels.as_ref(), namespace)? else {
            return Ok((response, PASSED));
        };
        let pod: Pod = object.clone().try_parse().map_err(Failure::Unreadable)?;
        match self.inject(&mesh_ref, &pod, namespace).await? {
            Injection::Add { patch, warnings } => {
                response.warnings = (!warnings.is_empty()).then_some(warnings);
                Ok((response.with_patch(patch)?, "Added"))
            }
            // The webhook is called again for a pod that is not made yet, and whose Secret is not either.
            Injection::Present { secret } if self.has_secret(namespace, &secret).await? => {
                Err(Refusal::SecretTaken { secret }.into())
            }
            Injection::Present { .. } => Ok((response, "Present")),
        }
    }

    async fn has_secret(&self, namespace: &str, name: &str) -> Result<bool, kube::Error> {
        let secrets = Api::<Secret>::namespaced(self.client.clone(), namespace);
        Ok(secrets.get_metadata_opt(name).await?.is_some())
    }

    async fn inject(&self, mesh_ref: &MeshRef, pod: &Pod, namespace: &str) -> Result<Injection, Failure> {
        let MeshRef { namespace: mesh_namespace, name } = mesh_ref.clone();
        let Some(mesh) = self.directory.mesh(&mesh_namespace, &name).await? else {
            return Err(Refusal::MeshMissing { namespace: mesh_namespace, name }.into());
        };
        let namespace_labels = match mesh.spec.members.namespaces.from {
            NamespacesFrom::All | NamespacesFrom::Same => BTreeMap::new(),
            NamespacesFrom::Selector => self.directory.namespace_labels(namespace).await?,
        };
        let request =
            Request { pod, namespace, namespace_labels: &namespace_labels, mesh: &mesh, defaults: &self.defaults };
        Ok(inject(&request, &random_secret_name()?)?)
    }
}

impl Failure {
    fn verdict(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.category(),
            Self::Unreadable(_) => UNREADABLE,
            Self::Unknown(_) | Self::NoRandomness(_) | Self::Unwritable(_) => "Failed",
        }
    }

    /// HTTP status that whoever makes the pod gets.
    fn code(&self) -> u16 {
        match self {
            Self::Refused(_) => 403,
            Self::Unreadable(_) => 422,
            Self::Unknown(_) | Self::NoRandomness(_) | Self::Unwritable(_) => 503,
        }
    }
}

const PASSED: &str = "Passed";
const UNREADABLE: &str = "Unreadable";

/// Above what the API server takes of a person: 3 MiB.
const MAX_BODY: usize = 4 << 20;

//! The `caBundle` of the configuration of the webhook: whom the API server trusts to be us.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, TestOperation};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::PatchParams;
use kube::{Api, Client};
use serde_json::Value;

use crate::layout::WEBHOOK;

/// Writes `bundle` where it is not, into every webhook of the configuration, and leaves everything else alone. A
/// configuration that does not exist is not made.
pub(super) async fn repair(client: &Client, bundle: &str) -> Result<(), kube::Error> {
    let configurations = Api::<MutatingWebhookConfiguration>::all(client.clone());
    let Some(configuration) = configurations.get_opt(WEBHOOK).await? else {
        tracing::warn!(name = WEBHOOK, "the configuration of the webhook does not exist, so no pod gets a sidecar");
        return Ok(());
    };
    let patch = plan(&configuration, bundle);
    if patch.0.is_empty() {
        return Ok(());
    }
    let patch = kube::api::Patch::Json::<()>(patch);
    configurations.patch(WEBHOOK, &PatchParams::default(), &patch).await?;
    tracing::info!(name = WEBHOOK, "wrote the authorities of the webhook into its configuration");
    Ok(())
}

/// The changes. Each is of a webhook that still has its name, so that none hits another one.
fn plan(configuration: &MutatingWebhookConfiguration, bundle: &str) -> Patch {
    let bundle = ByteString(bundle.as_bytes().to_vec());
    let wanted = serde_json::to_value(&bundle).unwrap_or_default();
    let wrong = configuration.webhooks.iter().flatten().enumerate();
    let wrong = wrong.filter(|(_, webhook)| webhook.client_config.ca_bundle.as_ref() != Some(&bundle));
    let operations = wrong.flat_map(|(index, webhook)| {
        let path = |tokens: &[&str]| {
            let index = index.to_string();
            PointerBuf::from_tokens(["webhooks", &index].into_iter().chain(tokens.iter().copied()))
        };
        let name = Value::String(webhook.name.clone());
        [
            PatchOperation::Test(TestOperation { path: path(&["name"]), value: name }),
            PatchOperation::Add(AddOperation { path: path(&["clientConfig", "caBundle"]), value: wanted.clone() }),
        ]
    });
    Patch(operations.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_bundle_of_webhooks_that_have_another_one_is_written() {
        let mut configuration = json!({"metadata": {"name": WEBHOOK}, "webhooks": [
            {"name": "right.tunmesh.io", "clientConfig": {"caBundle": "UEVN"}},
            {"name": "wrong.tunmesh.io", "clientConfig": {"caBundle": "T1RIRVI=", "url": "https://a"}},
            {"name": "none.tunmesh.io", "clientConfig": {}},
        ]});
        for webhook in configuration["webhooks"].as_array_mut().unwrap() {
            webhook["admissionReviewVersions"] = json!(["v1"]);
            webhook["sideEffects"] = "None".into();
        }
        let typed = |configuration: &Value| serde_json::from_value(configuration.clone()).unwrap();

        let patch = plan(&typed(&configuration), "PEM");

        let mut patched = configuration.clone();
        json_patch::patch(&mut patched, &patch).unwrap();
        assert_eq!(patch.0.len(), 4);
        assert_eq!(plan(&typed(&patched), "PEM"), Patch(Vec::new()));
        assert_eq!(patched["webhooks"][1]["clientConfig"], json!({"caBundle": "UEVN", "url": "https://a"}));
        // Not of another webhook that took the place.
        configuration["webhooks"].as_array_mut().unwrap().reverse();
        configuration["webhooks"].as_array_mut().unwrap().remove(0);
        assert!(json_patch::patch(&mut configuration, &patch).is_err());
    }
}

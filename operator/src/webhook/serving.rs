use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use rcgen::SanType;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::sleep;

use super::authority::{Authorities, AuthorityError, shared};
use super::bundle;
use crate::layout::WEBHOOK;
use crate::trust::leaf::{self, SignedLeaf};
use crate::trust::moment::{between, later};
use crate::trust::names;

/// The certificate that this replica serves with, and what it takes to keep it.
pub(super) struct Serving {
    client: Client,
    namespace: String,
    slot: Arc<Slot>,
}

/// The certificate in use.
#[derive(Debug)]
struct Slot {
    held: RwLock<Arc<Held>>,
}

#[derive(Debug)]
struct Held {
    key: Arc<CertifiedKey>,
    /// Certificate of the authority that signed it, PEM.
    authority: String,
    renew_at: Timestamp,
}

impl Serving {
    /// Gets the first certificate.
    pub(super) async fn start(client: Client, namespace: String) -> Result<Self, AuthorityError> {
        let now = Timestamp::now();
        let authorities = shared(&client, &namespace, now).await?;
        let held = Held::sign(&authorities, &namespace, now)?;
        let slot = Arc::new(Slot { held: RwLock::new(Arc::new(held)) });
        Ok(Self { client, namespace, slot })
    }

    /// TLS with whatever certificate is in use.
    pub(super) fn server_config(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Slot>::clone(&self.slot));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Keeps certificate and bundle right for ever: after every change of the configuration, and every [`ROUND`].
    pub(super) async fn keep(&self) -> Infallible {
        let configurations = Api::<PartialObjectMeta<MutatingWebhookConfiguration>>::all(self.client.clone());
        let name = format!("metadata.name={}", WEBHOOK);
        let changes = watcher(configurations, watcher::Config::default().fields(&name)).default_backoff();
        let mut changes = pin!(changes);
        loop {
            if let Err(error) = self.round(Timestamp::now()).await {
                tracing::warn!(error = &*error, "failed to keep the certificate of the webhook");
            }
            tokio::select! {
                change = changes.next() => {
                    if let Some(Err(error)) = change {
                        tracing::debug!(%error, "failed to watch the configuration of the webhook");
                    }
                }
                () = sleep(ROUND) => {}
            }
        }
    }

    /// The bundle first: nobody trusts a certificate of an authority that is not in it.
    async fn round(&self, now: Timestamp) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let authorities = shared(&self.client, &self.namespace, now).await?;
        bundle::repair(&self.client, &authorities.bundle()).await?;
        let held = self.slot.held();
        if now >= held.renew_at || authorities.signer(now).certificate_pem() != held.authority {
            self.slot.hold(Held::sign(&authorities, &self.namespace, now)?);
        }
        Ok(())
    }
}

impl Held {
    fn sign(authorities: &Authorities, namespace: &str, now: Timestamp) -> Result<Self, AuthorityError> {
        let authority = authorities.signer(now);
        let host = format!("{SERVICE}.{namespace}.svc");
        let alternative = vec![SanType::DnsName(names::ia5(&host)?)];
        let signed = leaf::sign(authority, SERVICE, alternative, LIFETIME, now)?;
        Ok(Self {
            key: Arc::new(certified(&signed)?),
            authority: authority.certificate_pem().to_owned(),
            renew_at: later(now, between(now, signed.not_after) * 2 / 3),
        })
    }
}

fn certified(signed: &SignedLeaf) -> Result<CertifiedKey, rustls::Error> {
    let unreadable = |error: pem::Error| rustls::Error::General(error.to_string());
    let certificate = CertificateDer::from_pem_slice(signed.certificate_pem.as_bytes()).map_err(unreadable)?;
    let key = PrivateKeyDer::from_pem_slice(signed.private_key_pem.as_bytes()).map_err(unreadable)?;
    Ok(CertifiedKey::new(vec![certificate], aws_lc_rs::sign::any_supported_type(&key)?))
}

impl Slot {
    fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn hold(&self, held: Held) {
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(held);
    }
}

impl ResolvesServerCert for Slot {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.held().key))
    }
}

/// Name of the Service of the webhook.
const SERVICE: &str = "tunmesh-webhook";

const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// Between two looks at the authority and the configuration, if nothing is seen to change.
const ROUND: Duration = Duration::from_secs(30);

//! The authority that signs the certificates of the webhook: in a Secret, the same for all replicas.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tunmesh_crds::names::{Generation, MANAGED_BY_LABEL, MANAGER};

use crate::trust::authority::Authority;
use crate::trust::moment::{between, later};
use crate::trust::{TrustError, stored};

/// Name of the Secret with the authority, in the namespace of the operator.
pub const SECRET: &str = "tunmesh-webhook-ca";

/// Why there is no authority of the webhook.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// What is stored cannot be read.
    #[error("Secret {namespace}/{SECRET} holds no authority: delete it, and the operator makes another")]
    Damaged {
        /// Namespace of the operator.
        namespace: String,
    },
    /// The API server did not do as asked.
    #[error("failed to {attempt} Secret {namespace}/{SECRET}")]
    Request {
        /// What was asked.
        attempt: &'static str,
        /// Namespace of the operator.
        namespace: String,
        /// Its answer.
        source: kube::Error,
    },
    /// Nothing can be signed.
    #[error("failed to make a certificate for the webhook")]
    Signing(#[from] TrustError),
    /// What was signed cannot be used.
    #[error("failed to use a new certificate for the webhook")]
    Unusable(#[from] rustls::Error),
}

/// The authorities of the webhook.
#[derive(Debug)]
pub(super) struct Authorities {
    current: Authority,
    previous: Option<Authority>,
}

impl Authorities {
    /// The one that signs at this time: a new one only when every API server had time to learn of it.
    pub(super) fn signer(&self, now: Timestamp) -> &Authority {
        let settled = later(self.current.created(), SETTLING);
        self.previous.as_ref().filter(|previous| now < settled && now < previous.not_after()).unwrap_or(&self.current)
    }

    /// Certificates of all of them, PEM.
    pub(super) fn bundle(&self) -> String {
        let previous = self.previous.as_ref().map_or("", Authority::certificate_pem);
        format!("{}{previous}", self.current.certificate_pem())
    }

    fn generate(now: Timestamp) -> Result<Self, TrustError> {
        let current = Authority::generate("Tun Mesh webhook", Vec::new(), LIFETIME, now)?;
        Ok(Self { current, previous: None })
    }

    /// Those after a renewal, if it is time for one.
    fn renewed(&self, now: Timestamp) -> Result<Option<BTreeMap<String, ByteString>>, TrustError> {
        let life = between(self.current.created(), self.current.not_after());
        if now < later(self.current.created(), life * 2 / 3) {
            return Ok(None);
        }
        let mut data = Self::generate(now)?.write();
        stored::write_authority(&mut data, Generation::Previous, &self.current);
        Ok(Some(data))
    }

    fn read(data: &BTreeMap<String, ByteString>) -> Option<Self> {
        let current = stored::authority(data, Generation::Current).ok()??;
        let previous = stored::authority(data, Generation::Previous).ok()?;
        Some(Self { current, previous })
    }

    fn write(&self) -> BTreeMap<String, ByteString> {
        let mut data = BTreeMap::new();
        stored::write_authority(&mut data, Generation::Current, &self.current);
        data
    }
}

/// The authorities as they are stored: made if there are none, and renewed if it is time. Of several replicas that do so
/// at once one succeeds, and the others read what it wrote.
pub(super) async fn shared(client: &Client, namespace: &str, now: Timestamp) -> Result<Authorities, AuthorityError> {
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    let failed = |attempt| move |source| AuthorityError::Request { attempt, namespace: namespace.to_owned(), source };
    let read = |secret: &Secret| {
        let authorities = secret.data.as_ref().and_then(Authorities::read);
        authorities.ok_or_else(|| AuthorityError::Damaged { namespace: namespace.to_owned() })
    };
    let stored = match secrets.get_opt(SECRET).await.map_err(failed("read"))? {
        Some(stored) => stored,
        None => {
            let new = secret(Authorities::generate(now)?.write());
            match secrets.create(&PostParams::default(), &new).await {
                Err(kube::Error::Api(status)) if status.is_already_exists() => {
                    secrets.get(SECRET).await.map_err(failed("read"))?
                }
                outcome => outcome.map_err(failed("create"))?,
            }
        }
    };
    let authorities = read(&stored)?;
    let Some(data) = authorities.renewed(now)? else { return Ok(authorities) };
    let renewed = Secret { data: Some(data), ..stored };
    match secrets.replace(SECRET, &PostParams::default(), &renewed).await {
        Err(kube::Error::Api(status)) if status.is_conflict() => {
            read(&secrets.get(SECRET).await.map_err(failed("read"))?)
        }
        outcome => read(&outcome.map_err(failed("replace"))?),
    }
}

fn secret(data: BTreeMap<String, ByteString>) -> Secret {
    let labels = BTreeMap::from([(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned())]);
    let metadata = ObjectMeta { name: Some(SECRET.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
    Secret { metadata, data: Some(data), ..Secret::default() }
}

const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// From the renewal of the authority to its use: many times what it takes the bundle to get from us to an API server.
const SETTLING: Duration = Duration::from_secs(10 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn an_authority_is_renewed_after_two_thirds_and_signs_when_it_is_known() {
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        let first = Authorities::generate(start).unwrap();
        let due = start + 365 * DAY * 2 / 3;
        assert!(first.renewed(due - Duration::from_secs(1)).unwrap().is_none());

        let second = Authorities::read(&first.renewed(due).unwrap().unwrap()).unwrap();

        assert_eq!(second.bundle().matches("BEGIN CERTIFICATE").count(), 2);
        assert!(second.bundle().contains(first.current.certificate_pem()));
        let is_first = |at| second.signer(at).certificate_pem() == first.current.certificate_pem();
        assert!(is_first(due) && is_first(due + Duration::from_secs(599)));
        assert!(!is_first(due + Duration::from_secs(600)));
        // The next renewal leaves the first one out.
        let third = Authorities::read(&second.renewed(due + 365 * DAY).unwrap().unwrap()).unwrap();
        assert!(!third.bundle().contains(first.current.certificate_pem()));
        assert!(third.bundle().contains(second.current.certificate_pem()));
    }

    #[test]
    fn an_authority_that_ended_does_not_sign() {
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        let first = Authorities::generate(start).unwrap();
        let late = start + 400 * DAY;

        let renewed = Authorities::read(&first.renewed(late).unwrap().unwrap()).unwrap();

        assert_ne!(renewed.signer(late).certificate_pem(), first.current.certificate_pem());
    }
}

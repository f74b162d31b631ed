use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Api, ResourceExt};
use tunmesh_crds::names::POD_UID_LABEL;
use tunmesh_crds::{
    AddressOwner, LogLevel, MemberAddresses, MemberCondition, MemberMaterial, MemberReason, Period, TunMesh,
    TunMeshMember, TunMeshMemberStatus, Verdict,
};

use crate::addresses::Pools;
use crate::claims::holds;
use crate::conditions::{Finding, changed, conditions};
use crate::context::Context;
use crate::error::Error;
use crate::labels::mesh_labels;
use crate::layout;
use crate::trust::{LeafRequest, MeshName, MeshTrust};

use super::address::{Claimed, claim};
use super::config::{Device, MemberConfig};
use super::secret::{MemberSecret, Written, fingerprint};

/// A member, and what it is to have.
pub(super) struct Wanted {
    /// Who people are told about: the pod or the member.
    pub(super) about: ObjectReference,
    /// With whom the Secret goes.
    pub(super) owner: OwnerReference,
    /// Whose the address is.
    pub(super) address_owner: AddressOwner,
    /// The address it asks for, as it is written.
    pub(super) address: Option<String>,
    /// What came of claiming it, if that was tried just now.
    pub(super) claimed: Option<Claimed>,
    pub(super) secret_name: String,
    /// Host and port at which others reach it; if there is no host, they do not unless through the mesh.
    pub(super) host: Option<String>,
    pub(super) port: u16,
    /// Addresses outside the mesh that its certificate names.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) names: Vec<String>,
    pub(super) lifetime: Period,
    pub(super) device: Device,
    pub(super) log_level: LogLevel,
    pub(super) bootstrap: Vec<String>,
    pub(super) peers: Vec<String>,
    /// The status it has apart from address and Secret.
    pub(super) status: TunMeshMemberStatus,
    /// The findings that only its kind has.
    pub(super) findings: Vec<Finding<MemberReason>>,
    /// Whether its Secret is to be written again in any case.
    pub(super) renew: bool,
    /// When to look again at the latest.
    pub(super) look_again: Duration,
}

/// Gives `member` of `mesh` its address and its Secret, and writes what came of it into its status.
pub(super) async fn provide(
    context: &Context,
    mesh: &TunMesh,
    member: TunMeshMember,
    wanted: Wanted,
) -> Result<Action, Error> {
    let mut provider = Provider { context, mesh, member, wanted, findings: Vec::new() };
    let again = provider.run().await?;
    let is_waiting = provider.findings.iter().any(|finding| finding.reason == MemberReason::TrustPending);
    // While an operator that has just started reads the authority, what a member has is no less good.
    if !(is_waiting && provider.wanted.status.material.is_some()) {
        provider.report().await?;
    }
    Ok(Action::requeue(again.min(provider.wanted.look_again)))
}

struct Provider<'a> {
    context: &'a Context,
    mesh: &'a TunMesh,
    member: TunMeshMember,
    wanted: Wanted,
    findings: Vec<Finding<MemberReason>>,
}

impl Provider<'_> {
    /// Returns after how long to look again if nothing happens before.
    async fn run(&mut self) -> Result<Duration, Error> {
        self.say(Finding::plain(MemberReason::Taken));
        let networks = self.mesh.status.as_ref().map(|status| status.address_pools.clone()).unwrap_or_default();
        let uid = self.mesh.uid().unwrap_or_default();
        let (false, Some(trust)) = (networks.is_empty(), self.context.trust(&uid)) else {
            self.say(Finding::plain(MemberReason::TrustPending));
            return Ok(TRUST_RETRY);
        };
        let pools = Pools::new(&networks);
        let Some(addresses) = self.address(&pools).await? else { return Ok(ADDRESS_RETRY) };
        self.wanted.status.addresses = addresses;
        self.material(&trust, &pools).await
    }

    async fn address(&mut self, pools: &Pools) -> Result<Option<MemberAddresses>, Error> {
        let given = self.member.status.as_ref().and_then(|status| status.addresses.ipv4);
        // A status outlives its mesh, and anybody with the right can write one: the claim says whose an address is.
        let mesh_uid = self.mesh.uid().unwrap_or_default();
        let held = match given {
            Some(address) if pools.contains(address) => {
                let Wanted { address_owner, lifetime, .. } = &self.wanted;
                holds(self.context, &mesh_uid, address, address_owner, *lifetime).await?.then_some(address)
            }
            Some(_) | None => None,
        };
        let address = match held {
            Some(address) => address,
            None => match self.claim().await? {
                Ok(address) => address,
                Err(finding) => {
                    self.say(finding);
                    return Ok(None);
                }
            },
        };
        self.say(Finding::plain(MemberReason::Claimed));
        Ok(Some(MemberAddresses { ipv4: Some(address), ipv6: pools.ipv6_of(address) }))
    }

    async fn claim(&mut self) -> Result<Claimed, Error> {
        if let Some(claimed) = self.wanted.claimed.take() {
            return Ok(claimed);
        }
        let Wanted { address_owner, address, lifetime, .. } = &self.wanted;
        claim(self.context, self.mesh, address_owner, address.as_deref(), *lifetime).await
    }

    /// Writes the Secret if what it is made of changed, or its certificate is to be renewed.
    async fn material(&mut self, trust: &Arc<MeshTrust>, pools: &Pools) -> Result<Duration, Error> {
        let now = Timestamp::now();
        let Some(config) = self.config(trust, pools, &[]) else {
            self.say(Finding::plain(MemberReason::AddressOutside));
            return Ok(ADDRESS_RETRY);
        };
        let fingerprint = self.fingerprint(trust, &config);
        self.wanted.status.secret_name = Some(self.wanted.secret_name.clone());
        let current = self.member.status.as_ref().and_then(|status| status.material.clone());
        if let Some(material) = current.filter(|material| material.fingerprint == fingerprint && !self.wanted.renew)
            && now < material.renews.0
        {
            let again = until(now, material.renews.0);
            self.wanted.status.material = Some(material);
            self.say(Finding::plain(MemberReason::SecretCurrent));
            return Ok(again);
        }
        let ends = current_end(&self.wanted.status);
        let issued = trust.issue(&self.leaf(), now).map_err(Error::trust("issue a certificate"))?;
        let secret = MemberSecret {
            namespace: self.member.namespace().unwrap_or_default(),
            name: self.wanted.secret_name.clone(),
            labels: self.labels(),
            owner: self.wanted.owner.clone(),
            config: self.config(trust, pools, &self.wanted.peers).unwrap_or(config),
            certificate: issued.certificate_pem.clone(),
            private_key: issued.private_key_pem.to_string(),
            authorities: trust.authorities_pem(),
            cluster_secret: trust.cluster_secret().to_owned(),
        };
        match self.write_secret(&secret).await? {
            Written::Done => {}
            Written::NotOurs => {
                let message = format!("Secret {} is not this member's", self.wanted.secret_name);
                self.say(Finding::new(MemberReason::SecretNotOurs, message));
                return Ok(REFUSED_RETRY);
            }
            Written::Refused(message) => {
                self.say(Finding::new(MemberReason::SecretRefused, message));
                return Ok(REFUSED_RETRY);
            }
        }
        self.say(Finding::plain(MemberReason::SecretCurrent));
        if self.member.spec.outside.is_some() && self.wanted.status.material.is_some() {
            let note = format!("Secret {} is new: carry it to the machine before {ends}", self.wanted.secret_name);
            self.context.tell(&self.wanted.about, EventType::Normal, "SecretRenewed", "Provide", note).await;
        }
        self.wanted.status.material =
            Some(MemberMaterial { fingerprint, renews: Time(issued.renew_at), expires: Time(issued.not_after) });
        Ok(until(now, issued.renew_at))
    }

    /// Writes the Secret, and the addresses into the status if they are news: the node helper gives a device what stands there.
    ///
    /// A new Secret at the same time, as a pod waits for both. Of two operators that claimed different addresses the one whose
    /// status is taken has its way with the Secret, too; the other's address is given up, and rests for as long as the
    /// certificate lasts.
    async fn write_secret(&mut self, secret: &MemberSecret) -> Result<Written, Error> {
        let client = &self.context.client;
        let before = self.member.status.clone().unwrap_or_default();
        let is_noted = before.addresses == self.wanted.status.addresses;
        let note = async { if is_noted { Ok(()) } else { self.write().await } };
        let written = if before.material.is_some() {
            note.await?;
            match secret.replace(client).await? {
                None => secret.create(client).await?,
                replaced => replaced,
            }
        } else {
            let (noted, created) = futures::join!(note, secret.create(client));
            noted?;
            match created? {
                None => secret.replace(client).await?,
                created => created,
            }
        };
        Ok(written.unwrap_or_else(|| Written::Refused("it came or went in between".to_owned())))
    }

    /// `None` if the address is in no network of the mesh.
    fn config(&self, trust: &MeshTrust, pools: &Pools, peers: &[String]) -> Option<String> {
        let addresses = &self.wanted.status.addresses;
        let ipv4 = addresses.ipv4?;
        let network = pools.network_of(ipv4)?;
        let mesh_host = ipv4.to_string();
        let config = MemberConfig {
            ipv4: (ipv4, network),
            networks: pools.ipv4(),
            ipv6: addresses.ipv6.zip(pools.ipv6()),
            host: self.wanted.host.as_deref().unwrap_or(&mesh_host),
            port: self.wanted.port,
            mtu: self.mesh.status.as_ref().and_then(|status| status.mtu).unwrap_or(layout::DEFAULT_MTU),
            log_level: self.wanted.log_level,
            v0: self.mesh.spec.compatibility.v0,
            bootstrap: &self.wanted.bootstrap,
            peers,
            secret: trust.cluster_secret(),
            previous_secrets: trust.previous_cluster_secrets().collect(),
            device: self.wanted.device,
            keepalive: self.wanted.host.is_none(),
        };
        Some(config.to_yaml())
    }

    /// Of all that the Secret is made of and that is not chosen anew each time.
    fn fingerprint(&self, trust: &MeshTrust, config: &str) -> String {
        let leaf = self.leaf();
        let addresses: Vec<_> = leaf.addresses.iter().map(IpAddr::to_string).collect();
        let authorities = trust.authorities_pem();
        let lifetime = leaf.lifetime.as_secs().to_string();
        let parts = [config, &authorities, &lifetime, &self.wanted.secret_name];
        fingerprint(
            parts
                .into_iter()
                .chain(addresses.iter().map(String::as_str))
                .chain(leaf.dns_names.iter().map(String::as_str)),
        )
    }

    fn leaf(&self) -> LeafRequest {
        let addresses = &self.wanted.status.addresses;
        // No address of the mesh that it did not claim, whatever it is said to be reached at.
        let networks = self.mesh.status.as_ref().map(|status| status.address_pools.clone()).unwrap_or_default();
        let is_inside = |address: &IpAddr| networks.iter().any(|network| network.contains(address));
        let outside = self.wanted.addresses.iter().copied().filter(|address| !is_inside(address));
        let mesh_addresses = [addresses.ipv4.map(IpAddr::V4), addresses.ipv6.map(IpAddr::V6)];
        LeafRequest {
            mesh: MeshName { namespace: self.mesh.namespace().unwrap_or_default(), name: self.mesh.name_any() },
            namespace: self.member.namespace().unwrap_or_default(),
            name: self.member.name_any(),
            addresses: mesh_addresses.into_iter().flatten().chain(outside).collect(),
            dns_names: self.wanted.names.clone(),
            lifetime: self.wanted.lifetime.duration(),
        }
    }

    fn labels(&self) -> std::collections::BTreeMap<String, String> {
        let mut labels = mesh_labels(self.mesh);
        if let Some(pod) = &self.member.spec.pod {
            labels.insert(POD_UID_LABEL.to_owned(), pod.uid.clone());
        }
        labels
    }

    fn say(&mut self, finding: Finding<MemberReason>) {
        self.findings.push(finding);
    }

    /// Writes the status if it changed, and tells people what is wrong.
    async fn report(&mut self) -> Result<(), Error> {
        let mut findings = std::mem::take(&mut self.findings);
        let provided = findings.iter().any(|finding| finding.reason == MemberReason::SecretCurrent);
        let of_its_kind = std::mem::take(&mut self.wanted.findings);
        // What its agent says counts once there can be one.
        findings.extend(of_its_kind.into_iter().map(|finding| {
            let is_ready = finding.reason.info().condition == MemberCondition::Ready;
            if is_ready && !provided { Finding::plain(MemberReason::NotProvided) } else { finding }
        }));
        let before = self.member.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
        for finding in changed(&findings, &before) {
            let info = finding.reason.info();
            if info.verdict == Verdict::False && !PASSING.contains(&finding.reason) {
                let note = [&*finding.message, info.meaning, info.action];
                let note = note.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
                self.context.tell(&self.wanted.about, EventType::Warning, info.reason, "Provide", note).await;
            }
        }
        let generation = self.member.metadata.generation;
        self.wanted.status.observed_generation = generation;
        self.wanted.status.conditions = conditions(&findings, &before, generation, Timestamp::now());
        self.write().await
    }

    /// Whoever read the member at the same time and writes first has its way: a member gets one address, once.
    async fn write(&mut self) -> Result<(), Error> {
        if self.member.status.as_ref() == Some(&self.wanted.status) {
            return Ok(());
        }
        let (namespace, name) = (self.member.namespace().unwrap_or_default(), self.member.name_any());
        let api = Api::<TunMeshMember>::namespaced(self.context.client.clone(), &namespace);
        let member = TunMeshMember { status: Some(self.wanted.status.clone()), ..self.member.clone() };
        let attempt = format!("write the status of TunMeshMember {namespace}/{name}");
        self.member = api.replace_status(&name, &PostParams::default(), &member).await.map_err(Error::api(attempt))?;
        Ok(())
    }
}

/// When the certificate that a member has ends.
fn current_end(status: &TunMeshMemberStatus) -> String {
    status.material.as_ref().map(|material| material.expires.0.to_string()).unwrap_or_default()
}

fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default().clamp(Duration::from_secs(5), RESYNC)
}

/// What is so for a moment at every start; whoever waits sees it in the conditions.
const PASSING: [MemberReason; 3] = [MemberReason::NotProvided, MemberReason::TrustPending, MemberReason::AgentNotReady];

/// The mesh itself is being made; its members are told when it is.
const TRUST_RETRY: Duration = Duration::from_secs(5);
/// Somebody has the address, or all are taken: looked at again this often.
const ADDRESS_RETRY: Duration = Duration::from_secs(3);
const REFUSED_RETRY: Duration = Duration::from_secs(15);
/// At the latest everything is looked at again.
pub(super) const RESYNC: Duration = Duration::from_secs(3600);

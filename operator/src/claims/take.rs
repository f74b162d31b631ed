use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::PostParams;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};
use tunmesh_crds::names::FINALIZER;
use tunmesh_crds::{
    AddressMesh, AddressOwner, AddressPhase, OwnerKind, Period, TunMeshAddress, TunMeshAddressSpec, address_name,
};

use crate::addresses::{Claiming, Holder, Pools, Step};
use crate::context::Context;
use crate::error::Error;

use super::review;

/// What a member asks for.
pub(crate) struct Asked<'a> {
    /// The mesh.
    pub(crate) mesh: AddressMesh,
    /// Its networks.
    pub(crate) pools: &'a Pools,
    /// Who asks.
    pub(crate) owner: AddressOwner,
    /// The one address that it takes; any if `None`.
    pub(crate) wanted: Option<Ipv4Addr>,
    /// How long its certificates are valid.
    pub(crate) lifetime: Period,
}

/// What became of it.
pub(crate) enum Outcome {
    /// The address is the owner's.
    Held(Ipv4Addr),
    /// The one address that it takes is this one's, or rests.
    Taken(Box<TunMeshAddress>),
    /// The one address that it takes is in no network of the mesh.
    Outside(Ipv4Addr),
    /// No address is free.
    Exhausted,
    /// The `StatefulSet` that the owner is said to be of is not there.
    Ownerless,
}

/// Claims an address, asking the API server until it says whose it is.
pub(crate) async fn take(context: &Context, asked: Asked<'_>) -> Result<Outcome, Error> {
    let Asked { mesh, pools, owner, wanted, lifetime } = asked;
    if let Some(address) = wanted.filter(|address| !pools.contains(*address)) {
        return Ok(Outcome::Outside(address));
    }
    if !is_there(context, &owner).await? {
        return Ok(Outcome::Ownerless);
    }
    let mut claims = Claims { api: Api::all(context.client.clone()), mesh, owner, lifetime };
    let remembered = || claims.remembered(context);
    let mut claiming = wanted.map_or_else(
        || Claiming::any(pools, claims.owner.clone(), remembered()),
        |address| Claiming::one(address, claims.owner.clone()),
    );
    let mut met = None;
    loop {
        let address = match claiming.next(|address| claims.holder(context, address)) {
            Step::Held(address) => return Ok(Outcome::Held(address)),
            Step::Exhausted => {
                // A wanted address that the cache shows as another's was not asked about.
                let other = match (met, wanted) {
                    (None, Some(address)) => claims.read(address).await?,
                    (met, _) => met,
                };
                return Ok(other
                    .filter(|_| wanted.is_some())
                    .map_or(Outcome::Exhausted, |claim| Outcome::Taken(Box::new(claim))));
            }
            Step::Create(address) => {
                if claims.create(address).await? {
                    claiming.created(address);
                    continue;
                }
                address
            }
            Step::Read(address) => address,
        };
        match claims.read(address).await? {
            Some(claim) if wanted.is_some() && claims.may_inherit(&claim) => {
                // The certificates of the one before are not over yet.
                claims.lifetime = claims.lifetime.max(claim.spec.certificate_lifetime);
                claims.free(&claim).await?;
                claiming.missing(address);
            }
            Some(claim) => {
                if claim.spec.owner == claims.owner {
                    review::cover(&claims.api, &claim, claims.lifetime).await?;
                }
                claiming.exists(address, &claim.spec.owner);
                met = Some(claim);
            }
            None => claiming.missing(address),
        }
    }
}

/// Pods and members were read from the API server; of a `StatefulSet` there is only what the pod says, which whoever makes
/// pods can write.
async fn is_there(context: &Context, owner: &AddressOwner) -> Result<bool, Error> {
    match owner.kind {
        OwnerKind::Pod | OwnerKind::TunMeshMember => Ok(true),
        OwnerKind::StatefulSet => {
            let sets = Api::<StatefulSet>::namespaced(context.client.clone(), &owner.namespace);
            let set = sets.get_metadata_opt(&owner.name).await;
            let set = set.map_err(Error::api(format!("read StatefulSet {}", owner.name)))?;
            Ok(set.is_some_and(|set| set.uid().as_ref() == Some(&owner.uid)))
        }
    }
}

/// Whether the claim of `address` in the mesh of this UID is `owner`'s. It then says that certificates of this lifetime name
/// the address.
pub(crate) async fn holds(
    context: &Context,
    mesh_uid: &str,
    address: Ipv4Addr,
    owner: &AddressOwner,
    lifetime: Period,
) -> Result<bool, Error> {
    let name = address_name(mesh_uid, address.into());
    let api = Api::<TunMeshAddress>::all(context.client.clone());
    let claim = match context.stores.claims.get(&ObjectRef::new(&name)) {
        Some(claim) => Some(claim),
        None => {
            let claim = api.get_opt(&name).await.map_err(Error::api(format!("read the claim of {address}")))?;
            claim.map(Arc::new)
        }
    };
    let Some(claim) = claim.filter(|claim| claim.spec.owner == *owner) else { return Ok(false) };
    review::cover(&api, &claim, lifetime).await?;
    Ok(true)
}

struct Claims {
    api: Api<TunMeshAddress>,
    mesh: AddressMesh,
    owner: AddressOwner,
    lifetime: Period,
}

impl Claims {
    /// An address that the owner has as far as is known: that of an ordinal was claimed for an earlier pod.
    fn remembered(&self, context: &Context) -> Option<Ipv4Addr> {
        let is_ours = |claim: &TunMeshAddress| claim.spec.mesh.uid == self.mesh.uid && claim.spec.owner == self.owner;
        context.stores.claims.find(is_ours).and_then(|claim| ipv4(claim.spec.address))
    }

    fn holder(&self, context: &Context, address: Ipv4Addr) -> Holder {
        let name = address_name(&self.mesh.uid, address.into());
        context.stores.claims.get(&ObjectRef::new(&name)).map_or(Holder::Nobody, |claim| {
            if claim.spec.owner == self.owner || self.may_inherit(&claim) { Holder::Owner } else { Holder::Other }
        })
    }

    /// Whether the claim was made; if not, there is one already.
    async fn create(&self, address: Ipv4Addr) -> Result<bool, Error> {
        let name = address_name(&self.mesh.uid, address.into());
        let (mesh, owner) = (self.mesh.clone(), self.owner.clone());
        let spec = TunMeshAddressSpec { mesh, address: address.into(), owner, certificate_lifetime: self.lifetime };
        let mut claim = TunMeshAddress::new(&name, spec);
        // A person who deletes a claim must not free an address that is in use.
        claim.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        match self.api.create(&PostParams::default(), &claim).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
            Err(error) => Err(Error::api(format!("claim {address}"))(error)),
        }
    }

    async fn read(&self, address: Ipv4Addr) -> Result<Option<TunMeshAddress>, Error> {
        let name = address_name(&self.mesh.uid, address.into());
        self.api.get_opt(&name).await.map_err(Error::api(format!("read the claim of {address}")))
    }

    /// An address that a pod asks for by name goes from a pod that is gone to its successor in the same namespace, which
    /// could have been given the other's certificate as well.
    fn may_inherit(&self, claim: &TunMeshAddress) -> bool {
        let phase = claim.status.as_ref().and_then(|status| status.phase);
        phase == Some(AddressPhase::Quarantined)
            && (claim.spec.owner.kind, self.owner.kind) == (OwnerKind::Pod, OwnerKind::Pod)
            && claim.spec.owner.namespace == self.owner.namespace
            && claim.spec.owner != self.owner
    }

    async fn free(&self, claim: &TunMeshAddress) -> Result<(), Error> {
        review::delete(&self.api, claim).await
    }
}

const fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

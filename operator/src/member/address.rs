use std::net::Ipv4Addr;

use kube::ResourceExt;
use tunmesh_crds::{AddressMesh, AddressOwner, MemberReason, Period, TunMesh};

use crate::addresses::Pools;
use crate::claims::{Asked, Outcome, take};
use crate::conditions::Finding;
use crate::context::Context;
use crate::error::Error;

/// The address that a member claimed, or why it has none.
pub(super) type Claimed = Result<Ipv4Addr, Finding<MemberReason>>;

/// Claims an address of `mesh` for `owner`: the one that it asks for, or any. Its certificates are valid for
/// `lifetime`.
///
/// # Errors
///
/// The API server did not answer. What it answers is a [`Claimed`].
pub(super) async fn claim(
    context: &Context,
    mesh: &TunMesh,
    owner: &AddressOwner,
    wanted: Option<&str>,
    lifetime: Period,
) -> Result<Claimed, Error> {
    let Ok(wanted) = wanted.map(|text| text.parse().map_err(|_| text)).transpose() else {
        let message = format!("{} is no IPv4 address", wanted.unwrap_or_default());
        return Ok(Err(Finding::new(MemberReason::AddressOutside, message)));
    };
    let networks = mesh.status.as_ref().map_or(&[][..], |status| &status.address_pools);
    let pools = Pools::new(networks);
    let of = AddressMesh {
        namespace: mesh.namespace().unwrap_or_default(),
        name: mesh.name_any(),
        uid: mesh.uid().unwrap_or_default(),
    };
    let asked = Asked { mesh: of, pools: &pools, owner: owner.clone(), wanted, lifetime };
    Ok(Err(match take(context, asked).await? {
        Outcome::Held(address) => return Ok(Ok(address)),
        Outcome::Taken(claim) => {
            let owner = &claim.spec.owner;
            let message = format!("{} is {:?} {}/{}'s", claim.spec.address, owner.kind, owner.namespace, owner.name);
            Finding::new(MemberReason::AddressTaken, message)
        }
        Outcome::Outside(address) => {
            let networks = networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Finding::new(MemberReason::AddressOutside, format!("{address} is in none of {networks}"))
        }
        Outcome::Ownerless => {
            let message = format!("there is no StatefulSet {}/{} of UID {}", owner.namespace, owner.name, owner.uid);
            Finding::new(MemberReason::AddressTaken, message)
        }
        Outcome::Exhausted => {
            Finding::new(MemberReason::PoolExhausted, format!("none of {} addresses is free", pools.capacity()))
        }
    }))
}

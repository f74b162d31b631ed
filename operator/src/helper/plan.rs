use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use tunmesh_crds::{TunMesh, TunMeshMember, TunMeshMemberStatus};

use super::identity::Identity;
use crate::layout::DEFAULT_MTU;

/// How the device of a pod is to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Plan {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) networks: Vec<IpNet>,
    pub(super) mtu: u16,
    /// Where the pod is reached outside the mesh; none before the API server knows.
    pub(super) pod_addresses: Vec<IpAddr>,
}

/// Why a pod gets no device, or not yet.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum NoMember {
    #[error("the TunMeshMember has no address yet")]
    NoAddress,
    #[error("the TunMesh has no network yet")]
    NoNetwork,
    #[error("the TunMeshMember is that of another pod of the same name")]
    OtherPod,
}

/// Namespace and name of the mesh of a member.
pub(super) fn mesh_of<'a>(member: &'a TunMeshMember, pod: &'a Identity) -> (&'a str, &'a str) {
    let mesh = &member.spec.mesh;
    (mesh.namespace.as_deref().unwrap_or(&pod.namespace), &mesh.name)
}

/// The device of `pod`, by what the operator wrote of it.
pub(super) fn plan(pod: &Identity, member: &TunMeshMember, mesh: &TunMesh) -> Result<Plan, NoMember> {
    if member.spec.pod.as_ref().is_none_or(|its| its.uid != pod.uid) {
        return Err(NoMember::OtherPod);
    }
    let TunMeshMemberStatus { addresses, endpoints, .. } = member.status.as_ref().ok_or(NoMember::NoAddress)?;
    let ipv4 = addresses.ipv4.ok_or(NoMember::NoAddress)?;
    let addresses = [Some(IpAddr::V4(ipv4)), addresses.ipv6.map(IpAddr::V6)].into_iter().flatten().collect();
    let status = mesh.status.as_ref().filter(|status| !status.address_pools.is_empty()).ok_or(NoMember::NoNetwork)?;
    let (networks, mtu) = (status.address_pools.clone(), status.mtu.unwrap_or(DEFAULT_MTU));
    let pod_addresses =
        endpoints.iter().filter_map(|endpoint| endpoint.parse().ok()).map(|endpoint: SocketAddr| endpoint.ip());
    Ok(Plan { addresses, networks, mtu, pod_addresses: pod_addresses.collect() })
}

#[cfg(test)]
mod tests {
    use tunmesh_crds::{MemberAddresses, MemberMesh, MemberPod, TunMeshMemberSpec, TunMeshSpec, TunMeshStatus};

    use super::*;

    fn pod() -> Identity {
        Identity { namespace: "shop".into(), name: "web-0".into(), uid: "uid-1".into() }
    }

    fn member() -> TunMeshMember {
        let pod = Some(MemberPod { name: "web-0".into(), uid: "uid-1".into() });
        let mesh = MemberMesh { name: "blue".into(), namespace: None };
        let mut member = TunMeshMember::new("web-0", TunMeshMemberSpec { mesh, pod, outside: None });
        let addresses =
            MemberAddresses { ipv4: Some([10, 77, 0, 5].into()), ipv6: Some("fd77::a4d:5".parse().unwrap()) };
        let endpoints = vec!["192.0.2.7:4567".into(), "[2001:db8::7]:4567".into()];
        member.status = Some(TunMeshMemberStatus { addresses, endpoints, ..TunMeshMemberStatus::default() });
        member
    }

    fn mesh() -> TunMesh {
        let mut mesh = TunMesh::new("blue", TunMeshSpec::default());
        let address_pools = vec!["10.77.0.0/16".parse().unwrap(), "fd77::/64".parse().unwrap()];
        mesh.status = Some(TunMeshStatus { address_pools, ..TunMeshStatus::default() });
        mesh
    }

    #[test]
    fn a_member_has_its_addresses_and_all_networks_of_its_mesh() {
        let plan = plan(&pod(), &member(), &mesh()).unwrap();

        assert_eq!(plan.addresses, [IpAddr::from([10, 77, 0, 5]), "fd77::a4d:5".parse().unwrap()]);
        assert_eq!((plan.networks.len(), plan.mtu), (2, 1420));
        assert_eq!(plan.pod_addresses, [IpAddr::from([192, 0, 2, 7]), "2001:db8::7".parse().unwrap()]);
    }

    #[test]
    fn the_mtu_is_that_of_the_mesh() {
        let mut mesh = mesh();
        mesh.status.as_mut().unwrap().mtu = Some(1380);

        assert_eq!(plan(&pod(), &member(), &mesh).unwrap().mtu, 1380);
    }

    #[test]
    fn a_mesh_may_be_in_another_namespace() {
        let mut other = member();
        other.spec.mesh.namespace = Some("infra".into());

        assert_eq!(mesh_of(&member(), &pod()), ("shop", "blue"));
        assert_eq!(mesh_of(&other, &pod()), ("infra", "blue"));
    }

    #[test]
    fn what_is_not_written_yet_or_anothers_is_refused() {
        let mut other = member();
        other.spec.pod.as_mut().unwrap().uid = "uid-2".into();
        let mut outside = member();
        outside.spec.pod = None;
        let mut bare = member();
        bare.status = None;
        let mut new = mesh();
        new.status = None;

        for other in [other, outside] {
            assert_eq!(plan(&pod(), &other, &mesh()), Err(NoMember::OtherPod));
        }
        assert_eq!(plan(&pod(), &bare, &mesh()), Err(NoMember::NoAddress));
        assert_eq!(plan(&pod(), &member(), &new), Err(NoMember::NoNetwork));
    }
}

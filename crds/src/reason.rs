use crate::{MemberCondition, MeshCondition};

/// What goes with a reason.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReasonInfo<Condition> {
    /// The condition that can have it.
    pub condition: Condition,
    /// The status the condition then has.
    pub verdict: Verdict,
    /// The `reason` of the condition.
    pub reason: &'static str,
    /// What is the case.
    pub meaning: &'static str,
    /// What a person can do about it; empty where there is nothing to do.
    pub action: &'static str,
}

/// The `status` of a condition.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verdict {
    /// Not so, and a person may have to act.
    False,
    /// So.
    True,
    /// Not known yet.
    Unknown,
}

impl Verdict {
    /// As it stands in a condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::False => "False",
            Self::True => "True",
            Self::Unknown => "Unknown",
        }
    }
}

/// Writes an enum of reasons, the list of all and the table of what goes with each, from one row per reason.
macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident of $condition:ident {
        $($of:ident $verdict:ident $reason:ident: $meaning:literal, $action:literal;)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum $name {
            $(#[doc = $meaning] #[doc = $action] $reason,)+
        }

        impl $name {
            /// All of them, by condition.
            pub const ALL: &[Self] = &[$(Self::$reason),+];

            /// The condition, its status, the texts.
            pub const fn info(self) -> ReasonInfo<$condition> {
                match self {
                    $(Self::$reason => ReasonInfo {
                        condition: $condition::$of,
                        verdict: Verdict::$verdict,
                        reason: stringify!($reason),
                        meaning: $meaning,
                        action: $action,
                    },)+
                }
            }
        }
    };
}

reasons! {
    /// Reasons of the conditions of a [`TunMesh`](crate::TunMesh).
    MeshReason of MeshCondition {
        Ready True Working: "Every other condition is True and no member waits.", "";
        Ready False MembersWaiting: "Some members are not in the mesh yet.", "See kubectl get tunmeshmembers for which, and the conditions of one for why.";
        Ready False Degraded: "Another condition is not True.", "See the condition that the message names.";
        Accepted True Valid: "The spec can be carried out.", "";
        Accepted False SelectorInvalid: "spec.members.namespaces.selector is no selector of labels.", "Correct the operator and values of its matchExpressions.";
        Accepted False PoolOverlapsCluster: "A network of spec.addressPools overlaps a pod, service or node range of the cluster.", "Make the TunMesh again with a network that the message does not name.";
        Accepted False PoolOverlapsMesh: "A network of spec.addressPools overlaps that of another mesh whose pods are in the same namespaces.", "Make the TunMesh again with another network.";
        Accepted False NoFreeNetwork: "No private network is left that overlaps nothing in the cluster.", "Write an IPv4 network into spec.addressPools.";
        Programmed True Written: "Everything the spec asks for is written.", "";
        Programmed Unknown Writing: "The operator is about to write what the spec asks for.", "";
        Programmed Unknown Paused: "spec.paused is true.", "Set spec.paused to false to have changes carried out.";
        Programmed False WriteFailed: "The API server refused an object of the mesh.", "See the message: mostly a quota, an admission policy or a missing right of the operator.";
        Programmed False NotOurs: "An object with the name of one of ours exists and is not ours; it is left alone.", "Delete or rename the object that the message names.";
        Programmed Unknown NotAccepted: "The spec cannot be carried out.", "See the condition Accepted.";
        TrustReady True Issued: "Authority and cluster secret are there.", "";
        TrustReady Unknown Issuing: "Authority and cluster secret are being made.", "";
        TrustReady False IssuerNotReady: "The issuer is one of cert-manager, which this version does not support.", "Make the TunMesh again with spec.trust.issuer.kind: Internal.";
        TrustReady False SecretDamaged: "A Secret of the mesh is missing or cannot be read.", "Restore it from a backup; where there is none, delete the TunMesh and make it again.";
        TrustReady False AuthorityExpiring: "The authority ends before certificates of a full lifetime do.", "See the events of the TunMesh for what holds up its rotation.";
        AddressPoolHealthy True Available: "Less than 80 % of the addresses are in use.", "";
        AddressPoolHealthy False NearlyExhausted: "80 % or more of the addresses are in use.", "Add an IPv4 network to spec.addressPools.";
        AddressPoolHealthy False Exhausted: "No address is free; pods wait for one.", "Add an IPv4 network to spec.addressPools.";
        AddressPoolHealthy False PoolOverlaps: "A range of the cluster that came later overlaps a network of the mesh.", "Move the range that the message names, or make a new TunMesh with another network.";
        InjectionReady True Injecting: "Pods with the label get the sidecar of the current template.", "";
        InjectionReady False WebhookUnavailable: "No replica of the webhook can be reached; pods with the label cannot be made.", "See the pods and log of the operator.";
        InjectionReady False SidecarMissing: "Pods carry the label but no sidecar: they were made while no webhook was there.", "Restart the workloads that the message names.";
        InjectionReady False SidecarOutdated: "Pods have a sidecar of an older template.", "Restart the workloads that the message names, when it suits.";
        InjectionReady False HelperMissing: "Nodes with members have no node helper.", "See the DaemonSet of the node helper, or set spec.sidecar.tun to HostDevice.";
        MtuHealthy True Fits: "Packets of the MTU of the mesh fit into the underlay.", "";
        MtuHealthy Unknown Measuring: "No member has measured the underlay yet.", "";
        MtuHealthy False UnderlayTooSmall: "An underlay between members carries smaller packets than spec.mtu needs; larger ones are lost.", "Set spec.mtu to Auto, or to at most the number in the message.";
    }
}

reasons! {
    /// Reasons of the conditions of a [`TunMeshMember`](crate::TunMeshMember).
    MemberReason of MemberCondition {
        Ready True Connected: "It is in the mesh.", "";
        Ready Unknown Starting: "Its agent has not reported yet.", "";
        Ready False AgentNotReady: "Its agent runs and is not ready.", "See kubectl logs of the sidecar, or tunmesh check on the machine.";
        Ready False Ended: "Its pod is over.", "Delete the pod when its logs are no longer needed.";
        Ready False NotProvided: "It has no address or no Secret yet.", "See the conditions Accepted, AddressClaimed and SecretWritten.";
        Accepted True Taken: "The mesh exists and takes this member.", "";
        Accepted False MeshNotFound: "There is no TunMesh of this name.", "Correct the name, or make the TunMesh.";
        Accepted False NamespaceNotAllowed: "The mesh takes no members from this namespace.", "Allow it in spec.members.namespaces of the TunMesh.";
        Accepted False AdvertisedAddressUnusable: "outside.advertisedAddress is in a network of the mesh, or reaches nobody else.", "Write the address at which members reach the machine without the mesh.";
        Accepted False NotThePod: "spec.pod is not the pod that runs under this name.", "Delete the TunMeshMember: the operator writes those of pods.";
        AddressClaimed True Claimed: "It has an address.", "";
        AddressClaimed False AddressTaken: "The address it asked for is another member's, or rests.", "Ask for another, or wait until the other TunMeshAddress is gone.";
        AddressClaimed False AddressOutside: "The address it asked for is in no network of the mesh.", "Ask for one within status.addressPools of the TunMesh.";
        AddressClaimed False PoolExhausted: "No address is free.", "Add an IPv4 network to spec.addressPools of the TunMesh.";
        SecretWritten True SecretCurrent: "Its Secret is written.", "";
        SecretWritten False SecretNotOurs: "A Secret of the name exists and is not the operator's; it is left alone.", "Delete that Secret, and the pod for a new name.";
        SecretWritten False SecretRefused: "The API server refused the Secret.", "See the message: mostly a quota or an admission policy of the namespace.";
        SecretWritten False TrustPending: "The mesh has no authority yet.", "See the condition TrustReady of the TunMesh.";
        UpToDate True Current: "Its sidecar is of the current template.", "";
        UpToDate False TemplateOutdated: "Its sidecar is of an older template.", "Restart its workload, when it suits.";
        UpToDate False SidecarAbsent: "The pod carries the label but no sidecar.", "Restart its workload.";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Debug;

    use super::*;

    fn check<Condition: Copy + Debug + Ord>(infos: &[ReasonInfo<Condition>], conditions: &[Condition]) {
        let names: BTreeSet<_> = infos.iter().map(|info| info.reason).collect();
        assert_eq!(names.len(), infos.len(), "a reason belongs to one condition");
        for condition in conditions {
            let good = infos.iter().filter(|info| info.condition == *condition && info.verdict == Verdict::True);
            assert_eq!(good.count(), 1, "{condition:?}");
        }
        for info in infos {
            assert_eq!(
                info.action.is_empty(),
                info.verdict != Verdict::False && info.reason != "Paused" && info.reason != "NotAccepted",
                "{info:?}"
            );
            assert!(info.meaning.ends_with('.') && (info.action.is_empty() || info.action.ends_with('.')), "{info:?}");
        }
    }

    #[test]
    fn every_condition_can_be_true_and_every_bad_reason_says_what_to_do() {
        check(&MeshReason::ALL.iter().map(|reason| reason.info()).collect::<Vec<_>>(), &MeshCondition::ALL);
        check(&MemberReason::ALL.iter().map(|reason| reason.info()).collect::<Vec<_>>(), &MemberCondition::ALL);
    }
}

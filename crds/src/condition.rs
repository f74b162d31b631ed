/// Types of the conditions of a [`TunMesh`](crate::TunMesh). Of each, `True` is good.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum MeshCondition {
    /// The spec can be carried out.
    Accepted,
    /// Every member can have an address that is nobody else's.
    AddressPoolHealthy,
    /// Pods with the label get the sidecar of the current template.
    InjectionReady,
    /// Packets of the MTU of the mesh fit into the underlay.
    MtuHealthy,
    /// Everything the spec asks for is written.
    Programmed,
    /// The mesh works as a whole: every other condition is `True` and no member waits.
    Ready,
    /// Certificates and secrets are there and valid for long enough.
    TrustReady,
}

impl MeshCondition {
    /// All of them, in the order people should read them.
    pub const ALL: [Self; 7] = [
        Self::Ready,
        Self::Accepted,
        Self::Programmed,
        Self::TrustReady,
        Self::AddressPoolHealthy,
        Self::InjectionReady,
        Self::MtuHealthy,
    ];

    /// The `type` of the condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::AddressPoolHealthy => "AddressPoolHealthy",
            Self::InjectionReady => "InjectionReady",
            Self::MtuHealthy => "MTUHealthy",
            Self::Programmed => "Programmed",
            Self::Ready => "Ready",
            Self::TrustReady => "TrustReady",
        }
    }

    /// What `True` says, for people.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Accepted => "The spec can be carried out.",
            Self::AddressPoolHealthy => "Every member can have an address that is nobody else's.",
            Self::InjectionReady => "Pods with the label get the sidecar of the current template.",
            Self::MtuHealthy => "Packets of the MTU of the mesh fit into the underlay.",
            Self::Programmed => "Everything the spec asks for is written.",
            Self::Ready => "Every other condition is `True` and no member waits.",
            Self::TrustReady => "Certificates and secrets are there and valid for long enough.",
        }
    }
}

/// Types of the conditions of a [`TunMeshMember`](crate::TunMeshMember). Of each, `True` is good.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum MemberCondition {
    /// The mesh exists and takes this member.
    Accepted,
    /// It has an address.
    AddressClaimed,
    /// It is in the mesh.
    Ready,
    /// Its Secret is written.
    SecretWritten,
    /// Its sidecar is of the current template.
    UpToDate,
}

impl MemberCondition {
    /// All of them, in the order people should read them.
    pub const ALL: [Self; 5] = [Self::Ready, Self::Accepted, Self::AddressClaimed, Self::SecretWritten, Self::UpToDate];

    /// The `type` of the condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::AddressClaimed => "AddressClaimed",
            Self::Ready => "Ready",
            Self::SecretWritten => "SecretWritten",
            Self::UpToDate => "UpToDate",
        }
    }

    /// What `True` says, for people.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Accepted => "The mesh exists and takes this member.",
            Self::AddressClaimed => "It has an address.",
            Self::Ready => "It is in the mesh.",
            Self::SecretWritten => "Its Secret is written.",
            Self::UpToDate => "Its sidecar is of the current template.",
        }
    }
}

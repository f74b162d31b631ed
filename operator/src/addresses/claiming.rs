use std::net::Ipv4Addr;

use tunmesh_crds::AddressOwner;

use super::Pools;

/// How one owner gets an address: what to ask the API server, step by step.
///
/// Its driver asks [`next`](Self::next), carries the step out, and reports what came of it, until the answer is
/// [`Step::Held`] or there is nothing left to ask. Any number of drivers may do that at once for one owner, with knowledge
/// of any age: the address that the API server says is the owner's is, and no other.
pub struct Claiming {
    owner: AddressOwner,
    candidates: Box<dyn Iterator<Item = Ipv4Addr> + Send>,
    held: Option<Ipv4Addr>,
    /// To be asked for, or about, before the next candidate.
    pending: Option<Step>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Create the claim of this address, then call [`Claiming::created`] or, if there is one, read it and call
    /// [`Claiming::exists`].
    Create(Ipv4Addr),
    /// Read the claim of this address, then call [`Claiming::exists`], or [`Claiming::missing`] if there is none.
    Read(Ipv4Addr),
    /// The address is the owner's.
    Held(Ipv4Addr),
    /// All addresses that it may have are taken: try again when a claim is deleted, or a pool added.
    Exhausted,
}

/// Whose an address is, as far as is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody's.
    Nobody,
    /// Somebody else's.
    Other,
    /// The owner's.
    Owner,
}

impl Claiming {
    /// Any address of `pools` for `owner`. `remembered` is an address it is remembered to have: it is asked about first.
    pub fn any(pools: &Pools, owner: AddressOwner, remembered: Option<Ipv4Addr>) -> Self {
        let candidates = Box::new(pools.candidates(&owner));
        Self { owner, candidates, held: None, pending: remembered.map(Step::Read) }
    }

    /// This address for `owner`, and no other.
    pub fn one(address: Ipv4Addr, owner: AddressOwner) -> Self {
        Self { owner, candidates: Box::new(std::iter::once(address)), held: None, pending: None }
    }

    /// What to do next. `holder` tells what is remembered of an address; an old answer costs a question or skips a free
    /// address, and no more.
    pub fn next(&mut self, holder: impl Fn(Ipv4Addr) -> Holder) -> Step {
        if let Some(address) = self.held {
            return Step::Held(address);
        }
        if let Some(step) = self.pending.take() {
            return step;
        }
        for address in self.candidates.by_ref() {
            match holder(address) {
                Holder::Nobody => return Step::Create(address),
                Holder::Owner => return Step::Read(address),
                Holder::Other => {}
            }
        }
        Step::Exhausted
    }

    /// The API server took the claim of `address`.
    pub fn created(&mut self, address: Ipv4Addr) {
        self.held = Some(address);
    }

    /// There is a claim of `address`, by `owner`.
    pub fn exists(&mut self, address: Ipv4Addr, owner: &AddressOwner) {
        if *owner == self.owner {
            self.held = Some(address);
        }
    }

    /// There is no claim of `address` after all.
    pub fn missing(&mut self, address: Ipv4Addr) {
        self.pending = Some(Step::Create(address));
    }
}

use std::net::Ipv4Addr;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::{Member, NodeId, json};

/// The answer to `GET registrations`.
///
/// ```text
/// {"nodes":{"<id>":{"node_info":<member>,"stamp":<s>,"stale":<bool>},...},"node_ids_by_address":{"ipv4":{"<address>":"<id>",...}}}
/// ```
#[derive(Clone, Debug, Default)]
pub struct RegistrationListing<'a> {
    /// The nodes known here, in the order they are written.
    pub nodes: Vec<ListedNode<'a>>,
    /// Who owns which address; of several nodes that claim one only the last to do so.
    pub owners: Vec<(Ipv4Addr, &'a NodeId)>,
}

/// One entry of [`RegistrationListing`].
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ListedNode<'a> {
    /// The node as it registered.
    #[serde(rename = "node_info")]
    pub member: &'a Member,
    /// The clock of that node when it last registered, in Unix seconds.
    pub stamp: i64,
    /// Whether it has not registered for too long.
    pub stale: bool,
}

impl RegistrationListing<'_> {
    /// The response body.
    pub fn to_json(&self) -> Vec<u8> {
        json::write(self)
    }
}

impl Serialize for RegistrationListing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("nodes", &Entries(self.nodes.iter().map(|node| (&node.member.id, node))))?;
        let family = (!self.owners.is_empty()).then(|| ("ipv4", Entries(self.owners.iter().copied())));
        map.serialize_entry("node_ids_by_address", &Entries(family.iter().map(|(name, owners)| (name, owners))))?;
        map.end()
    }
}

/// Writes the pairs of an iterator as an object, in its order.
#[derive(Clone)]
pub(super) struct Entries<I>(pub(super) I);

impl<K: Serialize, V: Serialize, I: Iterator<Item = (K, V)> + Clone> Serialize for Entries<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.clone())
    }
}

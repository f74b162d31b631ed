use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::Ipv6Net;

use crate::{ControlUrl, Ipv4Cidr, Secret, Window};

/// One validated value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Address(IpAddr),
    Bool(bool),
    Choice(&'static str),
    Cidr(Ipv4Cidr),
    Endpoint(SocketAddr),
    File(PathBuf),
    /// A group is there; its keys have values of their own.
    Group,
    Integer(i64),
    Ipv6Prefix(Ipv6Net),
    Labels(BTreeMap<String, String>),
    List(Vec<Self>),
    /// Names of the groups a user named.
    Names(Vec<String>),
    Secret(Secret),
    Text(String),
    Timing(Window),
    Url(ControlUrl),
    Version,
    WireGuardKey([u8; 32]),
}

/// Validated values with the line they stand on, by their path below the root (`control_api/ssl/cert_file_path`).
///
/// Every key of the schema that is present or has a default is there, unless it was a problem; only a file without
/// problems is turned into a [`super::Config`].
#[derive(Debug, Default)]
pub(super) struct Values(pub(super) BTreeMap<String, (Value, Option<usize>)>);

macro_rules! readers {
    ($($name:ident, $variant:ident, $kind:ty;)*) => {$(
        pub(super) fn $name(&self, path: &str) -> Option<$kind> {
            match self.0.get(path) {
                Some((Value::$variant(value), _)) => Some(value.clone()),
                _ => None,
            }
        }
    )*};
}

macro_rules! list_readers {
    ($($name:ident, $variant:ident, $kind:ty;)*) => {$(
        pub(super) fn $name(&self, path: &str) -> Vec<$kind> {
            let Some((Value::List(entries), _)) = self.0.get(path) else {
                return Vec::new();
            };
            let own = |entry: &Value| if let Value::$variant(value) = entry { Some(value.clone()) } else { None };
            entries.iter().filter_map(own).collect()
        }
    )*};
}

impl Values {
    readers! {
        address, Address, IpAddr;
        bool, Bool, bool;
        choice, Choice, &'static str;
        cidr, Cidr, Ipv4Cidr;
        file, File, PathBuf;
        integer, Integer, i64;
        ipv6_prefix, Ipv6Prefix, Ipv6Net;
        labels, Labels, BTreeMap<String, String>;
        names, Names, Vec<String>;
        secret, Secret, Secret;
        text, Text, String;
        timing, Timing, Window;
        url, Url, ControlUrl;
        wireguard_key, WireGuardKey, [u8; 32];
    }

    list_readers! {
        choices, Choice, &'static str;
        cidrs, Cidr, Ipv4Cidr;
        endpoints, Endpoint, SocketAddr;
        secrets, Secret, Secret;
        urls, Url, ControlUrl;
    }

    /// Line of the file a value stands on; `None` for a default.
    pub(super) fn line(&self, path: &str) -> Option<usize> {
        self.0.get(path).and_then(|(_, line)| *line)
    }
}

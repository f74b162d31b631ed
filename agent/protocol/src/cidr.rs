use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// An IPv4 address with the prefix length of its subnet, host bits kept: `192.168.129.10/26`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ipv4Cidr(Ipv4Net);

impl Ipv4Cidr {
    /// `address` in a subnet of `prefix_len` bits (0 to 32).
    pub fn new(address: Ipv4Addr, prefix_len: u8) -> Result<Self, ParseCidrError> {
        Ipv4Net::new(address, prefix_len)
            .map(Self)
            .map_err(|_| ParseCidrError::Prefix { found: prefix_len.to_string() })
    }

    /// The address, host bits included.
    pub fn address(self) -> Ipv4Addr {
        self.0.addr()
    }

    /// Length of the prefix in bits, 0 to 32.
    pub fn prefix_len(self) -> u8 {
        self.0.prefix_len()
    }

    /// The address with the host bits cleared.
    pub fn network(self) -> Ipv4Addr {
        self.0.network()
    }

    /// The subnet's broadcast address; a /31 or /32 has none (RFC 3021) and answers `None`.
    pub fn broadcast(self) -> Option<Ipv4Addr> {
        (self.prefix_len() < 31).then(|| self.0.broadcast())
    }

    /// Whether `address` lies in the subnet.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        self.0.contains(&address)
    }
}

impl std::str::FromStr for Ipv4Cidr {
    type Err = ParseCidrError;

    /// Accepts `address`, `address/bits` and `address/netmask`, as the original does.
    fn from_str(text: &str) -> Result<Self, ParseCidrError> {
        let (address, suffix) = text.split_once('/').map_or((text, None), |(address, suffix)| (address, Some(suffix)));
        let address = address.parse().map_err(|_| ParseCidrError::Address { found: address.into() })?;
        let Some(suffix) = suffix else {
            return Self::new(address, 32);
        };
        if let Ok(bits) = suffix.parse::<u8>() {
            return Self::new(address, bits);
        }
        let mask: Ipv4Addr = suffix.parse().map_err(|_| ParseCidrError::Prefix { found: suffix.into() })?;
        Ipv4Net::with_netmask(address, mask).map(Self).map_err(|_| ParseCidrError::Prefix { found: suffix.into() })
    }
}

impl TryFrom<String> for Ipv4Cidr {
    type Error = ParseCidrError;

    fn try_from(text: String) -> Result<Self, ParseCidrError> {
        text.parse()
    }
}

impl From<Ipv4Cidr> for String {
    fn from(cidr: Ipv4Cidr) -> Self {
        cidr.to_string()
    }
}

impl fmt::Display for Ipv4Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is not an IPv4 address with a prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseCidrError {
    /// The part before the slash is no IPv4 address.
    #[error("{found:?} is not an IPv4 address")]
    Address {
        /// What stood there.
        found: String,
    },
    /// The part after the slash is neither 0 to 32 nor a contiguous netmask.
    #[error("{found:?} is not a prefix length from 0 to 32 or a netmask")]
    Prefix {
        /// What stood there.
        found: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_address_is_a_subnet_of_one() {
        let cidr: Ipv4Cidr = "192.168.129.10".parse().unwrap();
        assert_eq!(cidr.to_string(), "192.168.129.10/32");
        assert_eq!(cidr.broadcast(), None);
    }

    #[test]
    fn a_netmask_is_a_prefix_length() {
        assert_eq!("10.0.0.1/255.255.255.0".parse::<Ipv4Cidr>().unwrap().to_string(), "10.0.0.1/24");
        assert!("10.0.0.1/255.0.255.0".parse::<Ipv4Cidr>().is_err());
    }

    #[test]
    fn host_bits_are_kept_and_the_broadcast_is_of_the_subnet() {
        let cidr: Ipv4Cidr = "192.168.129.10/26".parse().unwrap();
        assert_eq!(cidr.address(), Ipv4Addr::new(192, 168, 129, 10));
        assert_eq!(cidr.network(), Ipv4Addr::new(192, 168, 129, 0));
        assert_eq!(cidr.broadcast(), Some(Ipv4Addr::new(192, 168, 129, 63)));
    }

    #[test]
    fn bogus_text_names_the_bad_half() {
        assert_eq!("bogus/24".parse::<Ipv4Cidr>(), Err(ParseCidrError::Address { found: "bogus".into() }));
        assert_eq!("1.2.3.4/33".parse::<Ipv4Cidr>(), Err(ParseCidrError::Prefix { found: "33".into() }));
    }
}

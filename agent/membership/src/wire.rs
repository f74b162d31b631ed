//! Reading and writing bytes: big endian, every length checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// The bytes do not have the form that the type read from them documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes do not have the documented form")]
pub struct Malformed;

/// Bytes still to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// Bytes after their length as two bytes.
    pub(crate) fn long(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u16()?;
        self.bytes(usize::from(len))
    }

    /// UTF-8 text after its length as two bytes.
    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.long()?).map_err(|_| Malformed)
    }

    /// A count as one byte, at most `most`, then as many items.
    pub(crate) fn list<T>(
        &mut self,
        most: usize,
        item: impl Fn(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = usize::from(self.u8()?);
        if count > most {
            return Err(Malformed);
        }
        (0..count).map(|_| item(self)).collect()
    }

    /// 4 or 6, then the address.
    pub(crate) fn ip(&mut self) -> Result<IpAddr, Malformed> {
        match self.u8()? {
            4 => Ok(Ipv4Addr::from(self.array::<4>()?).into()),
            6 => Ok(Ipv6Addr::from(self.array::<16>()?).into()),
            _ => Err(Malformed),
        }
    }

    /// An address, then a port other than 0.
    pub(crate) fn endpoint(&mut self) -> Result<SocketAddr, Malformed> {
        let ip = self.ip()?;
        match self.u16()? {
            0 => Err(Malformed),
            port => Ok(SocketAddr::new(ip, port)),
        }
    }

    /// 4 or 6, the prefix length, then as many bytes as the prefix touches; bits behind the prefix are 0.
    pub(crate) fn net(&mut self) -> Result<IpNet, Malformed> {
        let family = self.u8()?;
        let prefix = self.u8()?;
        let touched = self.bytes(usize::from(prefix).div_ceil(8))?;
        let ip: IpAddr = match family {
            4 => Ipv4Addr::from(padded::<4>(touched)?).into(),
            6 => Ipv6Addr::from(padded::<16>(touched)?).into(),
            _ => return Err(Malformed),
        };
        let net = IpNet::new(ip, prefix).map_err(|_| Malformed)?;
        if net.trunc() == net { Ok(net) } else { Err(Malformed) }
    }
}

fn padded<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Malformed> {
    let mut array = [0; N];
    array.get_mut(..bytes.len()).ok_or(Malformed)?.copy_from_slice(bytes);
    Ok(array)
}

pub(crate) fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    debug_assert!(bytes.len() <= usize::from(u16::MAX), "callers bound their lengths");
    out.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(bytes);
}

pub(crate) fn put_list<T>(out: &mut Vec<u8>, items: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    debug_assert!(items.len() <= usize::from(u8::MAX), "callers bound their lengths");
    out.push(u8::try_from(items.len()).unwrap_or(u8::MAX));
    for item in items {
        put(out, item);
    }
}

pub(crate) fn put_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend(ip.octets());
        }
    }
}

pub(crate) fn put_endpoint(out: &mut Vec<u8>, endpoint: SocketAddr) {
    put_ip(out, endpoint.ip());
    out.extend(endpoint.port().to_be_bytes());
}

pub(crate) fn put_net(out: &mut Vec<u8>, net: IpNet) {
    let touched = usize::from(net.prefix_len()).div_ceil(8);
    match net.trunc() {
        IpNet::V4(net) => {
            out.extend([4, net.prefix_len()]);
            out.extend(&net.addr().octets()[..touched]);
        }
        IpNet::V6(net) => {
            out.extend([6, net.prefix_len()]);
            out.extend(&net.addr().octets()[..touched]);
        }
    }
}

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

    /// 4 and 32 or 6 and 128, the length of a prefix that is one address; then the address.
    pub(crate) fn host(&mut self) -> Result<IpNet, Malformed> {
        let ip: IpAddr = match self.array()? {
            [4, 32] => Ipv4Addr::from(self.array::<4>()?).into(),
            [6, 128] => Ipv6Addr::from(self.array::<16>()?).into(),
            _ => return Err(Malformed),
        };
        Ok(ip.into())
    }
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

pub(crate) fn put_host(out: &mut Vec<u8>, host: IpNet) {
    debug_assert_eq!(host.prefix_len(), host.max_prefix_len(), "callers refuse networks");
    match host {
        IpNet::V4(host) => {
            out.extend([4, 32]);
            out.extend(host.addr().octets());
        }
        IpNet::V6(host) => {
            out.extend([6, 128]);
            out.extend(host.addr().octets());
        }
    }
}

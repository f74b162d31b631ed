use std::fmt::Write;
use std::net::IpAddr;

/// The name of the [`TunMeshAddress`](crate::TunMeshAddress) by which the mesh of `mesh_uid` claims `address`.
///
/// The address comes first, with `-` for the dots of IPv4 or between the eight full groups of IPv6, then a dot and the
/// UID: `10-77-0-9.6f1c…`, `fd77-0000-0000-0000-0000-0000-0000-0009.6f1c…`. Two claims of one address in one mesh thus
/// have one name, of which the API server takes one; no two addresses or meshes share a name, and a mesh that is made
/// again under its old name has claims of its own. A UID of Kubernetes (36 characters) gives at most 76 characters, a
/// DNS subdomain (RFC 1123). The API server refuses a claim whose name is not this one.
pub fn address_name(mesh_uid: &str, address: IpAddr) -> String {
    let mut name = String::with_capacity(40 + mesh_uid.len());
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            let _infallible = write!(name, "{a}-{b}-{c}-{d}");
        }
        IpAddr::V6(address) => {
            for (index, group) in address.segments().into_iter().enumerate() {
                let _infallible = write!(name, "{}{group:04x}", if index == 0 { "" } else { "-" });
            }
        }
    }
    name.push('.');
    name.push_str(mesh_uid);
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "6f1c2a9e-0d53-4c1a-9a55-0b1d0a3c77e1";

    #[test]
    fn the_address_stands_before_the_uid() {
        for (address, label) in [
            ("10.77.0.9", "10-77-0-9"),
            ("fd77::9", "fd77-0000-0000-0000-0000-0000-0000-0009"),
            ("::", "0000-0000-0000-0000-0000-0000-0000-0000"),
            ("::ffff:10.77.0.9", "0000-0000-0000-0000-0000-ffff-0a4d-0009"),
        ] {
            assert_eq!(address_name(UID, address.parse().unwrap()), format!("{label}.{UID}"));
        }
    }

    fn uid() -> impl Strategy<Value = String> {
        "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    }

    /// A DNS subdomain as RFC 1123 and Kubernetes have it.
    fn is_dns_subdomain(name: &str) -> bool {
        let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        name.len() <= 253
            && name.split('.').all(|label| {
                label.bytes().all(|byte| is_alphanumeric(byte) || byte == b'-')
                    && label.bytes().next().is_some_and(is_alphanumeric)
                    && label.bytes().last().is_some_and(is_alphanumeric)
            })
    }

    /// The address a name was made of.
    fn address(label: &str) -> Option<IpAddr> {
        label.replace('-', ".").parse().or_else(|_| label.replace('-', ":").parse()).ok()
    }

    proptest! {
        #[test]
        fn a_name_is_a_dns_subdomain_and_tells_the_mesh_and_the_address_back(uid in uid(), ip: IpAddr) {
            let name = address_name(&uid, ip);

            prop_assert!(is_dns_subdomain(&name), "{}", name);
            prop_assert!(name.len() <= 76);
            let (label, mesh) = name.split_once('.').unwrap();
            prop_assert_eq!((mesh, address(label)), (uid.as_str(), Some(ip)));
        }
    }
}

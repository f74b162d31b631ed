use std::net::IpAddr;
use std::path::Path;

use rustls_pki_types::{CertificateDer, ServerName};
use webpki::EndEntityCert;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::facts::Certificate;

/// What is of interest in a certificate of the file at `path`; nothing if it cannot be read.
pub(super) fn describe(path: &Path, certificate: &CertificateDer<'_>, host: &str) -> Option<Certificate> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(Certificate {
        path: path.to_owned(),
        subject: parsed.subject().to_string(),
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
        names_host: names(certificate, host),
        addresses: addresses(&parsed),
    })
}

fn names(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let (Ok(leaf), Ok(name)) = (EndEntityCert::try_from(certificate), ServerName::try_from(host)) else {
        return false;
    };
    leaf.verify_is_valid_for_subject_name(&name).is_ok()
}

fn addresses(certificate: &X509Certificate<'_>) -> Vec<IpAddr> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let address = |name: &GeneralName<'_>| match name {
        GeneralName::IPAddress(bytes) => <[u8; 4]>::try_from(*bytes)
            .map(IpAddr::from)
            .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
            .ok(),
        GeneralName::DNSName(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::Invalid(..)
        | GeneralName::OtherName(..)
        | GeneralName::RFC822Name(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::URI(_)
        | GeneralName::X400Address(_) => None,
    };
    extension.value.general_names.iter().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_those_of_the_subject_alternative_names() {
        let names = ["a.example", "192.168.129.10", "fd00::a"].map(String::from);
        let made = rcgen::generate_simple_self_signed(names).unwrap();

        let of = |host: &str| describe(Path::new("cert.pem"), made.cert.der(), host).unwrap();

        assert_eq!(
            of("a.example").addresses,
            ["192.168.129.10".parse::<IpAddr>().unwrap(), "fd00::a".parse().unwrap()]
        );
        let named: Vec<_> =
            ["a.example", "192.168.129.10", "b.example", "192.0.2.1"].map(|host| of(host).names_host).into();
        assert_eq!(named, [true, true, false, false]);
    }
}

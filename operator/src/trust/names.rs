//! Names in certificates.

use rcgen::string::Ia5String;

use super::{LeafRequest, MeshName, TrustError};

/// The trust domain of a mesh (SPIFFE-ID, section 2.1), as the URI that names it.
pub(super) fn trust_domain(mesh: &MeshName) -> String {
    format!("spiffe://{}.{}.tunmesh.io", mesh.name, mesh.namespace)
}

/// The SPIFFE ID of a member.
pub(super) fn spiffe_id(request: &LeafRequest) -> String {
    format!("{}/ns/{}/member/{}", trust_domain(&request.mesh), request.namespace, request.name)
}

/// The text as certificates hold names.
pub(crate) fn ia5(name: &str) -> Result<Ia5String, TrustError> {
    Ia5String::try_from(name).map_err(|_| TrustError::NameUnusable { name: name.to_owned() })
}

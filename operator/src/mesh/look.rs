//! What members say of their mesh. The operator is no member; it asks a few of those that run, over the routes that anybody
//! may read, and trusts their certificates.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use futures::future::join_all;
use hyper_util::rt::TokioIo;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tunmesh_crds::TunMesh;

use crate::context::Context;
use crate::known::Look;
use crate::layout::PORT;

/// Looks at every mesh again and again, and tells `changed` of those of which something new is known.
pub(crate) async fn keep(context: Arc<Context>, changed: impl Fn(&TunMesh) + Send) {
    let mut measured = HashMap::new();
    loop {
        let meshes = context.stores.meshes.state();
        let uids: Vec<_> = meshes.iter().filter_map(|mesh| mesh.uid()).collect();
        measured.retain(|uid, _| uids.contains(uid));
        for mesh in meshes {
            let uid = mesh.uid().unwrap_or_default();
            let paths: &mut Paths = measured.entry(uid.clone()).or_default();
            let mut look = match look(&context, &mesh).await {
                Some(look) => look,
                // That one does not answer is nothing; that nobody does is that nothing is known any more.
                None if paths.is_silent() => Look::default(),
                None => continue,
            };
            look.largest_packet = paths.settled(look.largest_packet);
            if context.look(&uid).as_ref() != Some(&look) {
                context.set_look(&uid, look);
                changed(&mesh);
            }
        }
        sleep(INTERVAL).await;
    }
}

/// The largest packet as it was measured: a path that is new carries little until larger packets were tried on it.
#[derive(Default)]
struct Paths {
    last: Option<u16>,
    times: u32,
    settled: Option<u16>,
    /// Looks in a row that nobody answered.
    silent: u32,
}

impl Paths {
    /// Nobody answered; whether that is so for the [`SETTLED`]th time in a row.
    fn is_silent(&mut self) -> bool {
        self.silent += 1;
        self.silent >= SETTLED
    }

    /// What was found [`SETTLED`] times in a row, or for a larger packet [`GROWN`] times, or else what that was before: not
    /// every look meets the narrowest path, and every member is told of a change.
    fn settled(&mut self, found: Option<u16>) -> Option<u16> {
        self.silent = 0;
        self.times = if self.last == found { self.times + 1 } else { 1 };
        self.last = found;
        let needed = if self.settled.is_some() && found > self.settled { GROWN } else { SETTLED };
        if self.times >= needed {
            self.settled = found;
        }
        self.settled
    }
}

/// Asks members that are ready; `None` if none answers.
async fn look(context: &Context, mesh: &TunMesh) -> Option<Look> {
    let trust = context.trust(&mesh.uid()?)?;
    let connector = connector(&trust.authorities_pem())?;
    let (namespace, name) = (mesh.namespace(), mesh.name_any());
    let members = context.stores.members.state_filter(|member| {
        let own = member.namespace();
        let is_its = (member.spec.mesh.namespace.as_ref().or(own.as_ref()), &member.spec.mesh.name)
            == (namespace.as_ref(), &name);
        is_its && member.spec.pod.is_some() && member.status.as_ref().is_some_and(|status| status.ready)
    });
    // Other ones every time: what one cannot see, another does.
    let first = usize::try_from(Timestamp::now().as_second()).unwrap_or_default();
    let start = first.checked_rem(members.len())?;
    let chosen = members.iter().cycle().skip(start).take(ASKED.min(members.len()));
    let answers = join_all(chosen.filter_map(|member| {
        let status = member.status.as_ref()?;
        let endpoint = status.endpoints.first()?.parse().ok()?;
        Some(timeout(ANSWER_TIMEOUT, ask(&connector, endpoint, status.addresses.ipv4?)))
    }));
    let answers: Vec<_> = answers.await.into_iter().flatten().flatten().collect();
    let largest = answers.iter().filter_map(|(_, largest)| *largest).min();
    let members: BTreeSet<_> = answers.iter().flat_map(|(members, _)| members).copied().collect();
    (!answers.is_empty()).then_some(Look { members, largest_packet: largest })
}

fn connector(authorities: &str) -> Option<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        roots.add(certificate.ok()?).ok()?;
    }
    let config = ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into());
    let config = config.with_safe_default_protocol_versions().ok()?.with_root_certificates(roots).with_no_client_auth();
    Some(TlsConnector::from(Arc::new(config)))
}

/// The members that one knows, and the largest packet that all its paths take. Its certificate must name its mesh address.
async fn ask(
    connector: &TlsConnector,
    endpoint: SocketAddr,
    address: Ipv4Addr,
) -> Option<(Vec<Ipv4Addr>, Option<u16>)> {
    let stream = TcpStream::connect(endpoint).await.ok()?;
    let name = ServerName::from(IpAddr::V4(address));
    let stream = connector.connect(name, stream).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let asking = async {
        let listing: Listing = get(&mut sender, "/tunmesh/control/v0/registrations").await?;
        let health: Health = get(&mut sender, "/health").await?;
        let fresh = listing.nodes.into_values().filter(|node| !node.stale);
        let known = fresh.filter_map(|node| node.node_info.node_addresses.ipv4.cidr.split('/').next()?.parse().ok());
        Some((known.chain([address]).collect(), health.tunmesh.largest_packet))
    };
    tokio::select! {
        answer = asking => answer,
        _ended = connection => None,
    }
}

async fn get<T: serde::de::DeserializeOwned>(
    sender: &mut hyper::client::conn::http1::SendRequest<Body>,
    path: &str,
) -> Option<T> {
    let request = Request::get(path).header("host", format!("member:{PORT}")).body(Body::empty()).ok()?;
    let answer = sender.send_request(request).await.ok()?;
    let body = to_bytes(Body::new(answer.into_body()), MAX_ANSWER).await.ok()?;
    serde_json::from_slice(&body).ok()
}

#[derive(Deserialize)]
struct Listing {
    nodes: BTreeMap<String, Listed>,
}

#[derive(Deserialize)]
struct Listed {
    node_info: ListedNode,
    #[serde(default)]
    stale: bool,
}

#[derive(Deserialize)]
struct ListedNode {
    node_addresses: Families,
}

#[derive(Deserialize)]
struct Families {
    ipv4: Address,
}

#[derive(Deserialize)]
struct Address {
    cidr: String,
}

#[derive(Deserialize)]
struct Health {
    tunmesh: Detail,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(default)]
    largest_packet: Option<u16>,
}

/// Members of one mesh that are asked at a time.
const ASKED: usize = 3;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// What ten thousand members come to, and more.
const MAX_ANSWER: usize = 16 << 20;
const INTERVAL: Duration = Duration::from_secs(10);
/// Half a minute: a path is measured anew in less.
const SETTLED: u32 = 3;
/// Ten minutes.
const GROWN: u32 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_counts_once_it_was_found_three_times_in_a_row() {
        let mut paths = Paths::default();
        let found = [Some(1280), Some(1420), Some(1420), Some(1420), Some(1280), Some(1420), None];
        let settled = found.map(|found| paths.settled(found));

        assert_eq!(settled, [None, None, None, Some(1420), Some(1420), Some(1420), Some(1420)]);
        let down = [1380; 3].map(|found| paths.settled(Some(found)));
        assert_eq!(down, [Some(1420), Some(1420), Some(1380)]);
        let up: Vec<_> = (0..GROWN).map(|_| paths.settled(Some(1420))).collect();
        assert_eq!((up[58], up[59]), (Some(1380), Some(1420)));
        assert_eq!([(); 3].map(|()| paths.is_silent()), [false, false, true]);
    }
}

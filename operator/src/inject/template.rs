use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use aws_lc_rs::digest::{SHA256, digest};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use tunmesh_crds::names::{PodAnnotation, SECRET_ANNOTATION, TEMPLATE_ANNOTATION};
use tunmesh_crds::{EnvVar, LogLevel, Resources, TunMesh, TunMode};

use super::refusal::shortened;
use super::{Refusal, container, quantity, volumes};
use crate::addresses::Pools;

/// What the operator adds where mesh and pod say nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Image of the agent.
    pub agent_image: String,
}

/// What the sidecar of one pod is to be: what the pod asks for by annotations, else the mesh, else the operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// The mesh address that the pod wants; only its controller needs to know.
    pub address: Option<Ipv4Addr>,
    /// Environment variables.
    pub env: Vec<EnvVar>,
    /// Image of the agent.
    pub image: String,
    /// Least important lines that the agent logs; stands in its configuration, so a change needs no new pod.
    pub log_level: LogLevel,
    /// Requests and limits.
    pub resources: Resources,
    /// Where its device comes from.
    pub tun: TunMode,
}

impl Template {
    /// The template of a pod of `mesh` with these annotations.
    ///
    /// # Errors
    ///
    /// [`Refusal`] of an annotation of ours that is unknown or has a value it cannot have.
    pub fn new(mesh: &TunMesh, defaults: &Defaults, annotations: &BTreeMap<String, String>) -> Result<Self, Refusal> {
        let own = Own::read(annotations)?;
        let sidecar = &mesh.spec.sidecar;
        Ok(Self {
            address: own.address(mesh)?,
            env: sidecar.env.clone(),
            image: own.image()?.or_else(|| sidecar.image.clone()).unwrap_or_else(|| defaults.agent_image.clone()),
            log_level: own.log_level()?.unwrap_or(sidecar.log_level),
            resources: own.resources(sidecar.resources.clone())?,
            tun: own.tun()?.unwrap_or(sidecar.tun),
        })
    }

    /// Tells templates apart: 16 hexadecimal digits, the same for all pods whose sidecars would be the same.
    pub fn fingerprint(&self) -> String {
        let parts = (container::build(self), volumes::build(self.tun, ""));
        let text = serde_json::to_string(&parts).unwrap_or_default();
        digest(&SHA256, text.as_bytes()).as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What [`TEMPLATE_ANNOTATION`] is on a pod with a sidecar of the current template. On another pod it is an old one.
///
/// Empty for annotations that would be refused, as only a pod that was changed later has: no sidecar is made of them.
pub fn fingerprint_for(mesh: &TunMesh, defaults: &Defaults, annotations: &BTreeMap<String, String>) -> String {
    Template::new(mesh, defaults, annotations).map(|template| template.fingerprint()).unwrap_or_default()
}

/// What a pod asks for.
struct Own<'a> {
    annotations: &'a BTreeMap<String, String>,
}

impl<'a> Own<'a> {
    fn read(annotations: &'a BTreeMap<String, String>) -> Result<Self, Refusal> {
        let known = |key: &str| {
            [SECRET_ANNOTATION, TEMPLATE_ANNOTATION].contains(&key)
                || PodAnnotation::ALL.iter().any(|known| known.key() == key)
        };
        match annotations.keys().find(|key| key.starts_with(PREFIX) && !known(key)) {
            None => Ok(Self { annotations }),
            Some(key) => {
                let known = PodAnnotation::ALL.map(PodAnnotation::key).join(", ");
                Err(Refusal::AnnotationUnknown { key: shortened(key), known })
            }
        }
    }

    fn value<T>(
        &self,
        annotation: PodAnnotation,
        wanted: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let key = annotation.key();
        let Some(value) = self.annotations.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| Refusal::AnnotationInvalid { key, value: shortened(value), wanted })
    }

    fn address(&self, mesh: &TunMesh) -> Result<Option<Ipv4Addr>, Refusal> {
        let wanted = "an IPv4 address, such as 10.77.0.9";
        let Some(address) = self.value(PodAnnotation::Address, wanted, |text| text.parse().ok())? else {
            return Ok(None);
        };
        // Before the mesh has its networks nobody knows better; the controller looks again.
        let pools = mesh.status.as_ref().map_or(&[][..], |status| &status.address_pools);
        if pools.is_empty() || Pools::new(pools).contains(address) {
            return Ok(Some(address));
        }
        let pools = pools.iter().filter(|pool| pool.addr().is_ipv4()).copied().collect();
        Err(Refusal::AddressOutside { address, pools })
    }

    fn image(&self) -> Result<Option<String>, Refusal> {
        let wanted = "an image reference, such as registry.example/tunmesh/agent:0.1.0";
        self.value(PodAnnotation::Image, wanted, |text| is_image(text).then(|| text.to_owned()))
    }

    fn log_level(&self) -> Result<Option<LogLevel>, Refusal> {
        self.value(PodAnnotation::LogLevel, "debug, info, warn or error", |text| match text {
            "debug" => Some(LogLevel::Debug),
            "error" => Some(LogLevel::Error),
            "info" => Some(LogLevel::Info),
            "warn" => Some(LogLevel::Warn),
            _ => None,
        })
    }

    fn tun(&self) -> Result<Option<TunMode>, Refusal> {
        self.value(PodAnnotation::Tun, "NodeHelper or HostDevice", |text| match text {
            "HostDevice" => Some(TunMode::HostDevice),
            "NodeHelper" => Some(TunMode::NodeHelper),
            _ => None,
        })
    }

    /// Those of the mesh, with the pod's own in their place; and a request, though none above its limit, where there is
    /// none.
    fn resources(&self, mut resources: Resources) -> Result<Resources, Refusal> {
        let wanted = "a quantity of zero or more, such as 100m, 1 or 64Mi";
        let quantity = |annotation| {
            let read = |text: &str| quantity::nanos(text).map(|_| Quantity(text.to_owned()));
            self.value(annotation, wanted, read)
        };
        for (name, limit, request, default) in [
            ("cpu", PodAnnotation::CpuLimit, PodAnnotation::CpuRequest, DEFAULT_CPU),
            ("memory", PodAnnotation::MemoryLimit, PodAnnotation::MemoryRequest, DEFAULT_MEMORY),
        ] {
            if let Some(limit) = quantity(limit)? {
                resources.limits.insert(name.to_owned(), limit);
            }
            if let Some(request) = quantity(request)? {
                resources.requests.insert(name.to_owned(), request);
            }
            let limit = resources.limits.get(name).filter(|limit| quantity::nanos(&limit.0) < quantity::nanos(default));
            let request = limit.cloned().unwrap_or_else(|| Quantity(default.to_owned()));
            resources.requests.entry(name.to_owned()).or_insert(request);
        }
        Ok(resources)
    }
}

/// As the rule of `spec.sidecar.image`.
fn is_image(text: &str) -> bool {
    text.len() <= 512
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:/@+".contains(&byte))
}

const PREFIX: &str = "tunmesh.io/";
const DEFAULT_CPU: &str = "10m";
const DEFAULT_MEMORY: &str = "16Mi";

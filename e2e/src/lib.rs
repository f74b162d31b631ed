//! What Tun Mesh claims about clusters, shown on real API servers and real kubelets: the harnesses that tests share.
#![forbid(unsafe_code)]

pub mod api_server;
pub mod cluster;
mod definitions;

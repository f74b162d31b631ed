//! The operator against a real API server: what becomes of a mesh, of pods with its label, of machines outside. There is
//! no kubelet; the tests write what one would.
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

mod hostile;
mod lab;
mod labels;
mod members;
mod meshes;
mod owners;
mod rights;
mod together;
mod waiting;

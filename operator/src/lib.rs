//! What the operator decides, apart from how it talks to the API: no clock, no I/O.
#![forbid(unsafe_code)]

pub mod addresses;

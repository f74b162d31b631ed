//! `tunmesh`: one node of a Tun Mesh, and the commands around it.
#![forbid(unsafe_code)]

mod args;
mod check;
mod client;
mod clock;
mod commands;
mod counters;
mod data;
mod further;
mod health;
mod incidents;
mod keys;
mod logging;
mod metrics;
mod owner;
mod peers;
mod requests;
mod run;
mod server;
mod settings;
mod shared;
mod status;
mod stream;
mod supervise;
mod tls;
mod wireguard;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match commands::dispatch(args::Args::parse()) {
        Ok(code) => code,
        Err(error) => commands::fail(&error),
    }
}

//! `tunmesh-emulator`: a link between two network namespaces, driven by lines on standard input.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use ipnet::IpNet;
use serde_json::json;
use tunmesh_emulator::{End, Impairments, Link, LinkError, SetError};
use tunmesh_sys::netns::{Netns, NetnsError};

/// Connects two network namespaces by a link with delay, loss and other impairments.
///
/// Prints "ready" when both devices are up, then obeys lines on standard input and ends with it:
/// "set NAME VALUE" answers "ok"; "stats" answers one line of JSON; what is wrong is answered by a line "error: ...".
/// Names: block (none, udp, all); delay, jitter, queue, reorder-delay (ms, each way); loss, duplicate, reorder (percent);
/// rate (Mbit/s, 0 for none).
#[derive(Debug, Parser)]
struct Args {
    /// Namespace of the first end, such as /proc/42/ns/net.
    #[arg(long)]
    netns_a: PathBuf,
    /// Namespace of the second end.
    #[arg(long)]
    netns_b: PathBuf,
    /// Address of the first end with its prefix; may be repeated, one of them IPv4.
    #[arg(long, required = true)]
    address_a: Vec<IpNet>,
    /// Address of the second end.
    #[arg(long, required = true)]
    address_b: Vec<IpNet>,
    /// Device of the first end.
    #[arg(long, default_value = "wan0")]
    name_a: String,
    /// Device of the second end.
    #[arg(long, default_value = "wan0")]
    name_b: String,
    /// Largest packet in bytes.
    #[arg(long, default_value_t = 1500)]
    mtu: u32,
    /// Packets that may wait in a device before the kernel drops further ones.
    #[arg(long, default_value_t = 10_000)]
    queue_len: u32,
    /// Seed of everything left to chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// An impairment from the start, such as delay=20; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("failed to read or answer a command")]
    Command(#[source] io::Error),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error(transparent)]
    Set(#[from] SetError),
    #[error("no command {line:?}: set NAME VALUE, or stats")]
    Unknown { line: String },
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell should that fail too.
            let _ignored = writeln!(io::stderr(), "tunmesh-emulator: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Error> {
    let Args { netns_a, netns_b, address_a, address_b, name_a, name_b, mtu, queue_len, seed, settings } = args;
    let (mtu, queue_len) = (*mtu, *queue_len);
    let mut impairments = Impairments::default();
    for setting in settings {
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        impairments.set(name, value)?;
    }
    let (netns_a, netns_b) = (Netns::open(netns_a)?, Netns::open(netns_b)?);
    let first = End { netns: &netns_a, name: name_a, addresses: address_a, mtu, queue_len };
    let second = End { netns: &netns_b, name: name_b, addresses: address_b, mtu, queue_len };
    let link = Link::start([first, second], impairments, *seed)?;
    answer("ready")?;
    for line in io::stdin().lines() {
        match obey(&line.map_err(Error::Command)?, &link, &mut impairments) {
            Err(error @ (Error::Set(_) | Error::Unknown { .. })) => answer(&format!("error: {error}"))?,
            obeyed => answer(&obeyed?)?,
        }
    }
    Ok(())
}

/// Does what a line says, and returns the answer.
fn obey(line: &str, link: &Link, impairments: &mut Impairments) -> Result<String, Error> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["set", name, value] => {
            impairments.set(name, value)?;
            link.set(*impairments)?;
            Ok("ok".to_owned())
        }
        ["stats"] => {
            let [from_a, from_b] = link.counters()?;
            Ok(json!({ "from_a": from_a, "from_b": from_b }).to_string())
        }
        _ => Err(Error::Unknown { line: line.to_owned() }),
    }
}

fn answer(line: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Error::Command)
}

/// The error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

//! What an application that wants a device of its own would try: to be an agent at the socket of the node helper.
//!
//! `dial SOCKET [TOKEN-FILE]` ends with 0 if a device was handed over and with 1 if not, and says why.
#![expect(clippy::print_stdout, reason = "what it found is all it is for")]

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs};

use tunmesh_sys::tun::{Wanted, receive};

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let socket = arguments.next().unwrap_or_default();
    let token = arguments.next().map(fs::read).transpose();
    let outcome = token.map_err(Box::<dyn Error>::from).and_then(|token| {
        let token = token.unwrap_or_default();
        let wanted = Wanted { queues: 1, max_segments: None, token: &token };
        Ok(receive(&socket, &wanted, LIMIT)?)
    });
    match outcome {
        Ok(received) => {
            println!("a device: {}", received.tun.name());
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("no device: {error}");
            ExitCode::FAILURE
        }
    }
}

const LIMIT: Duration = Duration::from_secs(5);

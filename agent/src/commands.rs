//! Every command but `run`, which has rooms of its own.

mod check;
mod demo;
mod export;
mod ready;
mod status;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;

use crate::args::{Args, Command, ConfigCommand, ExportCommand};
use crate::settings::{self, Source};
use crate::{run, supervise};

/// Does what the command line says.
pub(crate) fn dispatch(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Check { config, device, json } => return check::run(&config, device.as_deref(), json),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "tunmesh", &mut io::stdout());
        }
        Command::Config { command: ConfigCommand::Check { file } } => {
            let parsed = settings::read(&file)?;
            for warning in &parsed.warnings {
                print(&format!("warning: {warning}\n"))?;
            }
            print(&format!("{}: OK\n", file.display()))?;
        }
        Command::Config { command: ConfigCommand::Example } => print(&tunmesh_protocol::config::example())?,
        Command::Demo { json, keep, seconds } => return demo::run(&demo::Options { json, keep, seconds }),
        Command::DemoStage { json, keep, seconds } => demo::stage(&demo::Options { json, keep, seconds })?,
        Command::Export { command: ExportCommand::Wg { config, name, qr } } => export::wg(&config, &name, qr)?,
        Command::Ready { device, wait } => ready::wait(device.as_deref(), wait)?,
        Command::Run { supervise: true, .. } => return supervise::run(),
        Command::Run { config, advertise_address, supervise: false, supervised_by, previous_end } => {
            if let Some(supervisor) = supervised_by {
                supervise::join(supervisor)?;
            }
            run::run(&Source { path: config, advertise_address }, previous_end.as_deref())?;
        }
        Command::Status { device, json, watch } => status::show(&device, json, watch)?,
        Command::Version => print(&format!("tunmesh {}\n", env!("CARGO_PKG_VERSION")))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints why nothing came of it. Exit status 1; clap has taken 2 for a wrong command line.
pub(crate) fn fail(error: &anyhow::Error) -> ExitCode {
    let _closed = writeln!(io::stderr(), "tunmesh: {error:#}");
    ExitCode::FAILURE
}

/// Prints to standard output; a reader that went away is an error like any other, not a panic.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

//! Starts programs in private namespaces, and holds what is to vanish with a process. Used by `tests/private.rs` and
//! `tests/nft.rs`.
//!
//! - `secluded run PROGRAM ARG…` runs one and ends with its status.
//! - `secluded parent` runs `secluded child`.
//! - `secluded child` makes a TUN device, starts a sleeper and waits for it.
//! - `secluded table DEVICE` owns an nftables table until its standard input ends.
//! - `secluded without-root PROGRAM ARG…`, for root inside, gives every user a `/dev/net/tun`, copies itself beside it
//!   and does `run` as user 65534.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use tunmesh_sys::{nft, private, tun};

fn main() -> io::Result<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    let role = args.next().unwrap_or_default();
    let args: Vec<OsString> = args.collect();
    match role.to_str() {
        Some("run") => {
            let [program, args @ ..] = args.as_slice() else { return Ok(ExitCode::FAILURE) };
            run(Path::new(program), args)
        }
        Some("parent") => run(&std::env::current_exe()?, &["child".into()]),
        Some("child") => child(),
        Some("table") => table(&args),
        Some("without-root") => without_root(&args),
        _ => Ok(ExitCode::FAILURE),
    }
}

fn run(program: &Path, args: &[OsString]) -> io::Result<ExitCode> {
    let mut child = private::spawn(program, args).map_err(io::Error::other)?;
    let code = child.wait()?.code().unwrap_or(255);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(255)))
}

fn child() -> io::Result<ExitCode> {
    let settings = tun::TunSettings {
        name: "mesh0",
        address: ipnet::Ipv4Net::new_assert([192, 168, 129, 10].into(), 26),
        network: ipnet::Ipv4Net::new_assert([192, 168, 129, 0].into(), 24),
        extra_addresses: &[],
        routes: &[],
        mtu: 1400,
        queue_len: 100,
    };
    let _device = tun::create(&settings).map_err(io::Error::other)?;
    let mut sleeper = Command::new("sleep").arg("1000").spawn()?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", std::fs::read_link("/proc/self/ns/net")?.display())?;
    out.flush()?;
    sleeper.wait()?;
    Ok(ExitCode::SUCCESS)
}

fn table(args: &[OsString]) -> io::Result<ExitCode> {
    let device = args.first().and_then(|device| device.to_str()).unwrap_or_default();
    let _table = nft::OwnedTable::clamp_segment_size(device).map_err(io::Error::other)?;
    let mut out = io::stdout().lock();
    writeln!(out, "made")?;
    out.flush()?;
    io::stdin().read_line(&mut String::new())?;
    Ok(ExitCode::SUCCESS)
}

fn without_root(args: &[OsString]) -> io::Result<ExitCode> {
    use nix::mount::{MsFlags, mount};
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    mount(Some("tmpfs"), "/dev/net", Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    nix::sys::stat::umask(Mode::empty());
    mknod("/dev/net/tun", SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(10, 200))?;
    let copy = Path::new("/dev/net/secluded");
    std::fs::copy(std::env::current_exe()?, copy)?;
    let status = Command::new(copy).arg("run").args(args).uid(65534).gid(65534).current_dir("/").status()?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(255)).unwrap_or(255)))
}

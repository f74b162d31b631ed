//! A mesh of real agents in network namespaces of the test's own. Everything goes when the values are dropped.
#![expect(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "what tests share fails like a test")]
#![expect(clippy::print_stderr, reason = "a failed test shows the logs of its agents")]

pub(crate) mod https;

use std::fs::{self, File};
use std::io::Read;
use std::net::Ipv4Addr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tunmesh_sys::netns::Netns;
use tunmesh_sys::star::Star;

/// The cluster secret of the recorded set-up.
pub(crate) const SECRET: &str = "bih0ohBoh4quib4apiehang6ohcahh9yo7eiw9ha";

/// Namespaces around a switch, and a folder for files.
pub(crate) struct Lab {
    pub(crate) star: Star,
    pub(crate) folder: PathBuf,
}

impl Lab {
    /// `count` namespaces with 10.77.0.1, .2, … on the wire.
    pub(crate) fn new(count: usize) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this test makes network namespaces: run it as root (make test)");
        let star = Star::build("10.77.0.0/24".parse().unwrap(), count, 1500).unwrap();
        let folder =
            std::env::temp_dir().join(format!("tunmesh-test-{}-{:?}", std::process::id(), std::thread::current().id()));
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let lab = Self { star, folder };
        for name in ["cert.pem", "key.pem", "ca.pem", "leaf.pem", "leaf.key"] {
            let recorded =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol/tests/vectors/tunmesh-v0/tls").join(name);
            lab.write(name, &fs::read_to_string(recorded).unwrap());
        }
        lab
    }

    /// The namespace of node `number`, counted from 1.
    pub(crate) fn netns(&self, number: usize) -> &Netns {
        &self.star.leaves[number - 1]
    }

    /// Writes a file the agents can read after they changed user.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    /// A file like the recorded ones: node 1 bootstraps from nobody, all others from node 1. `extra` is appended at the
    /// level of the groups under `tun_mesh` (two spaces), so it can add a group or repeat one, the last of which counts.
    pub(crate) fn config(&self, number: usize, extra: &str) -> PathBuf {
        self.write(&format!("node{number}.yaml"), &Self::text(number, extra))
    }

    /// The text of that file.
    pub(crate) fn text(number: usize, extra: &str) -> String {
        let urls = if number == 1 { "[]" } else { "[\"https://10.77.0.1:4567\"]" };
        format!(
            "tun_mesh:
  config_version: 1.1
  clustering:
    bootstrap_groups: {{default: {{bootstrap_node_urls: {urls}}}}}
    control_api_advertise_url: https://10.77.0.{number}:4567
    auth: {{secret: {SECRET}}}
  control_api:
    ssl: {{cert_file_path: cert.pem, key_file_path: key.pem}}
  monitoring: {{method: prometheus}}
  networking:
    ipv4: {{network_cidr: 192.168.129.0/24, node_address_cidr: {}/26}}
  process:
    uid: 65532
{extra}",
            overlay(number)
        )
    }

    /// Starts the agent of node `number` from its file.
    pub(crate) fn start(&self, number: usize, extra: &str) -> Agent {
        let config = self.config(number, extra);
        self.start_from(number, &config)
    }

    /// Like [`start`](Self::start), a node that carries packets in requests of the v0 protocol only.
    pub(crate) fn start_v0(&self, number: usize, extra: &str) -> Agent {
        let config = self.config_v0(number, extra);
        self.start_from(number, &config)
    }

    /// The file of such a node.
    pub(crate) fn config_v0(&self, number: usize, extra: &str) -> PathBuf {
        let config = self.config(number, extra);
        self.edit(&config, "networking:\n", "networking:\n    data_plane: {paths: [v0]}\n");
        config
    }

    /// Starts an agent in the namespace of node `number` from any file.
    pub(crate) fn start_from(&self, number: usize, config: &Path) -> Agent {
        let log = self.folder.join(format!("node{number}.log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_tunmesh"));
        command.args(["run", "--config"]).arg(config).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::options().create(true).append(true).open(&log).unwrap());
        self.netns(number).join_on_exec(&mut command).unwrap();
        Agent { child: command.spawn().unwrap(), log, number }
    }

    /// Starts an agent by a command of which `run --config FILE` will be the last arguments, such as `setpriv … tunmesh`.
    pub(crate) fn start_by(&self, number: usize, command: &[&str], stdin: Stdio, config: &Path) -> Agent {
        let log = self.folder.join(format!("node{number}.log"));
        let mut process = Command::new(command[0]);
        process.args(&command[1..]).args(["run", "--config"]).arg(config).stdin(stdin).stdout(Stdio::null());
        process.stderr(File::options().create(true).append(true).open(&log).unwrap());
        self.netns(number).join_on_exec(&mut process).unwrap();
        Agent { child: process.spawn().unwrap(), log, number }
    }

    /// A copy of the agent where any user can run it, whatever folder the workspace is in.
    pub(crate) fn binary(&self) -> String {
        let copy = self.folder.join("tunmesh");
        fs::copy(env!("CARGO_BIN_EXE_tunmesh"), &copy).unwrap();
        copy.to_str().unwrap().to_owned()
    }

    /// Replaces a part of a file by renaming, so that a reader sees the old or the new text and nothing between.
    pub(crate) fn edit(&self, path: &Path, from: &str, to: &str) {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(from), "{from:?} is not in\n{text}");
        self.replace(path, &text.replace(from, to));
    }

    /// Replaces a whole file by renaming.
    pub(crate) fn replace(&self, path: &Path, text: &str) {
        fs::rename(self.write("replacement", text), path).unwrap();
    }

    /// Like [`status`](Self::status), but without a process of its own, for what is asked many times a second.
    pub(crate) fn ask(&self, number: usize) -> Option<Value> {
        let address = SocketAddr::from_abstract_name("tunmesh-status.tun1").unwrap();
        let mut stream = self.netns(number).run(|| UnixStream::connect_addr(&address)).unwrap().ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// What node `number` says of the member with the mesh address of node `of`.
    pub(crate) fn peer(&self, number: usize, of: usize) -> Option<Value> {
        let address = format!("{}/", overlay(of));
        let status = self.ask(number)?;
        let mut peers = status["peers"].as_array()?.iter();
        peers.find(|peer| peer["address"].as_str().is_some_and(|found| found.starts_with(&address))).cloned()
    }

    /// Packets node `number` dropped for `reason`.
    pub(crate) fn drops(&self, number: usize, reason: &str) -> u64 {
        self.ask(number).and_then(|status| status["drops"][reason].as_u64()).unwrap_or(0)
    }

    /// Runs a program in the namespace of node `number` to its end.
    pub(crate) fn run(&self, number: usize, program: &str, args: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null());
        self.netns(number).join_on_exec(&mut command).unwrap();
        command
            .output()
            .unwrap_or_else(|error| panic!("{program} could not be started ({error}); make setup installs it"))
    }

    /// Whether one echo from node `from` to the mesh address of node `to` comes back within a second.
    pub(crate) fn pings(&self, from: usize, to: usize) -> bool {
        self.pings_at(from, overlay(to), "1")
    }

    /// Whether one echo from node `from` to an address comes back within so many seconds.
    pub(crate) fn pings_at(&self, from: usize, to: Ipv4Addr, seconds: &str) -> bool {
        self.run(from, "ping", &["-n", "-c", "1", "-W", seconds, &to.to_string()]).status.success()
    }

    /// What `tunmesh status --json` says in the namespace of node `number`; `None` if no node answers.
    pub(crate) fn status(&self, number: usize) -> Option<Value> {
        let output = self.run(number, env!("CARGO_BIN_EXE_tunmesh"), &["status", "--json"]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// Waits until every one of these nodes reaches every other.
    pub(crate) fn wait_for_mesh(&self, numbers: &[usize]) {
        for from in numbers {
            for to in numbers.iter().filter(|to| *to != from) {
                wait_for(&format!("node {from} reaches node {to}"), SLOW, || self.pings_at(*from, overlay(*to), "0.2"));
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
                if entry.path().extension().is_some_and(|extension| extension == "log") {
                    eprintln!(
                        "--- {}\n{}",
                        entry.path().display(),
                        fs::read_to_string(entry.path()).unwrap_or_default()
                    );
                }
            }
        }
        let _gone = fs::remove_dir_all(&self.folder);
    }
}

/// A running agent; killed when dropped.
pub(crate) struct Agent {
    pub(crate) child: Child,
    pub(crate) log: PathBuf,
    pub(crate) number: usize,
}

impl Agent {
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Process number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of the process by itself and returns its exit status; fails the test if a signal ended it.
    pub(crate) fn wait(&mut self) -> i32 {
        let mut status = None;
        wait_for("the agent ends", SLOW, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code().unwrap_or_else(|| panic!("{status:?}"))
    }

    /// Has the node read its file again, and waits until it says that it uses what it read.
    pub(crate) fn reload(&self) {
        let before = self.log().matches("configuration reloaded").count();
        self.signal(nix::sys::signal::Signal::SIGHUP);
        self.wait_for_log(before + 1, "configuration reloaded");
    }

    /// Waits until the log holds `text` at least `times` times.
    pub(crate) fn wait_for_log(&self, times: usize, text: &str) {
        let found = || self.log().matches(text).count();
        wait_for(&format!("{times} times {text:?} in the log of node {}", self.number), SLOW, || found() >= times);
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Kills the process as nothing can prevent, and waits for its end.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Address of node `number` in the mesh: .10, .20, …
pub(crate) fn overlay(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 129, u8::try_from(number * 10).unwrap())
}

/// Polls until `condition` holds and returns the time it took; fails the test after `limit`.
pub(crate) fn wait_for(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    start.elapsed()
}

/// The beginning of a command that runs another without any right, as the user the agents become.
pub(crate) const UNPRIVILEGED: [&str; 9] = [
    "setpriv",
    "--reuid=65532",
    "--regid=65532",
    "--clear-groups",
    "--inh-caps=-all",
    "--ambient-caps=-all",
    "--bounding-set=-all",
    "--no-new-privs",
    "--",
];

/// The beginning of a command that runs another where every user can open /dev/net/tun, in a mount namespace of its own.
pub(crate) const TUN_FOR_ALL: [&str; 6] = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    "set -e; mount -t tmpfs -o mode=0755 tunmesh-test /dev/net; mknod -m 666 /dev/net/tun c 10 200; exec \"$@\"",
    "sh",
];

/// Bound for what should take a fraction of a second, on a machine that does other things too.
pub(crate) const SLOW: Duration = Duration::from_secs(20);

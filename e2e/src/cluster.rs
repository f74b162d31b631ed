//! A real cluster with Tun Mesh on it, made by the scripts of `e2e/cluster`.
//!
//! A test that needs one is marked `#[ignore = "needs make e2e"]`; run without a cluster, it fails and says how to get one.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::{env, fs};

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// A running cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its name, as given to the scripts of `e2e/cluster`.
    pub name: String,
    folder: PathBuf,
    kubectl: PathBuf,
}

/// Why something of a cluster could not be done.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No cluster was named.
    #[error(
        "{VARIABLE} names no cluster: run `make e2e`, or make cluster e2e-install and \
         {VARIABLE}=tunmesh cargo test -p tunmesh-e2e --test cluster -- --ignored --test-threads 1"
    )]
    Unnamed,
    /// There is none of that name.
    #[error("there is no cluster {name}: run `make cluster e2e-install NAME={name}`")]
    Missing {
        /// Its name.
        name: String,
    },
    /// A program could not be run.
    #[error("failed to run {program}")]
    Run {
        /// Which one.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A program ended badly.
    #[error("{command} ended with {status}: {said}")]
    Ended {
        /// The command.
        command: String,
        /// How.
        status: std::process::ExitStatus,
        /// What it said on standard error, or else on standard output.
        said: String,
    },
    /// The file that leads to the cluster cannot be used.
    #[error("the kubeconfig cannot be used")]
    Kubeconfig(#[from] KubeconfigError),
    /// No client can be made.
    #[error("failed to make a client")]
    Client(#[from] kube::Error),
}

impl Cluster {
    /// The cluster that the environment names.
    ///
    /// # Errors
    ///
    /// There is none; the text says how to get one.
    pub fn from_env() -> Result<Self, ClusterError> {
        let name = env::var(VARIABLE).map_err(|_| ClusterError::Unnamed)?;
        let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let cache = env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
        let folder = cache.join("tunmesh/clusters").join(&name);
        if !folder.join(KUBECONFIG).is_file() {
            return Err(ClusterError::Missing { name });
        }
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/tools.py");
        let found = run(Command::new("python3").arg(tools).args(["--built", "kubectl"]))?;
        Ok(Self { name, folder, kubectl: PathBuf::from(found.trim()) })
    }

    /// A client of the administrator's. Each test needs one of its own, as a client ends with the runtime of its test.
    ///
    /// # Errors
    ///
    /// The kubeconfig is damaged.
    pub async fn client(&self) -> Result<Client, ClusterError> {
        let kubeconfig = Kubeconfig::read_from(self.folder.join(KUBECONFIG))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// Runs kubectl and returns what it wrote.
    ///
    /// # Errors
    ///
    /// It ended badly; the text has what it said.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, ClusterError> {
        run(self.command().args(arguments))
    }

    /// Starts kubectl, with its outputs to be read; for what runs while something else is done.
    ///
    /// # Errors
    ///
    /// It could not be started.
    pub fn start_kubectl(&self, arguments: &[&str]) -> Result<Child, ClusterError> {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(|source| ClusterError::Run { program: "kubectl".to_owned(), source })
    }

    /// Applies `manifests`, YAML, in `namespace`.
    ///
    /// # Errors
    ///
    /// The API server refuses one of them.
    pub fn apply(&self, namespace: &str, manifests: &str) -> Result<String, ClusterError> {
        let mut command = self.command();
        command.args(["--namespace", namespace, "apply", "--server-side", "--filename", "-"]);
        run_with(&mut command, manifests)
    }

    /// Runs a shell script in a container of a pod, and returns what it wrote.
    ///
    /// # Errors
    ///
    /// It ended badly.
    pub fn shell(&self, namespace: &str, pod: &str, container: &str, script: &str) -> Result<String, ClusterError> {
        self.kubectl(&["--namespace", namespace, "exec", pod, "--container", container, "--", "sh", "-c", script])
    }

    /// A program as it is installed in the cluster: `tunmesh` or `tunmesh-operator`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join("programs").join(name)
    }

    /// The network namespace in which the nodes of the cluster are reached.
    pub fn network(&self) -> String {
        format!("tunmesh-{}", self.name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(self.folder.join(KUBECONFIG));
        command
    }
}

/// Processes of this machine in the container of this ID, by number; those of the nodes are among them. Needs root.
pub fn processes(container: &str) -> Vec<u32> {
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = folders.filter_map(|folder| folder.file_name().to_str()?.parse().ok());
    let is_in =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(container));
    pids.filter(is_in).collect()
}

/// Runs a program and returns what it wrote on standard output.
///
/// # Errors
///
/// It could not be started, or ended badly.
pub fn run(command: &mut Command) -> Result<String, ClusterError> {
    let output = command.stdin(Stdio::null()).output();
    ended(command, output)
}

fn run_with(command: &mut Command, input: &str) -> Result<String, ClusterError> {
    let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let output = started.and_then(|mut child| {
        // Closed by its end, which is what the program waits for.
        child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()))?;
        child.wait_with_output()
    });
    ended(command, output)
}

fn ended(command: &Command, output: io::Result<Output>) -> Result<String, ClusterError> {
    let program = || command.get_program().to_string_lossy().into_owned();
    let output = output.map_err(|source| ClusterError::Run { program: program(), source })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let arguments = command.get_args().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    Err(ClusterError::Ended {
        command: format!("{} {arguments}", program()),
        status: output.status,
        said: text(said).trim().to_owned(),
    })
}

const KUBECONFIG: &str = "kubeconfig";

/// The environment variable that names the cluster.
const VARIABLE: &str = "TUNMESH_E2E_CLUSTER";

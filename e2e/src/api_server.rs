//! A Kubernetes API server without nodes: etcd and kube-apiserver on this machine, for tests that need only the API.
//!
//! One per test binary, shared by its tests; each test takes a namespace of its own. A shell holds both processes and
//! waits for the end of a pipe from this process: whatever way this process ends, the pipe does too, and the shell kills
//! both and removes their folder. No exit handler could do that after SIGKILL or a panic.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{env, fs, process};

use http::{Request, Uri};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::AuthInfo;
use kube::{Client, Config, ResourceExt};
use tokio::time::sleep;

/// A running API server, with RBAC, and with admission by webhooks.
pub struct ApiServer {
    uri: Uri,
    folder: PathBuf,
    /// Ends the processes when it is closed, so it lives as long as this.
    _keeper: Child,
}

/// Why there is no API server.
#[derive(Debug, thiserror::Error)]
pub enum ApiServerError {
    /// The programs are not built.
    #[error("etcd and kube-apiserver are missing: {0}")]
    Missing(String),
    /// A file or process could not be made.
    #[error("failed to {attempt}")]
    Start {
        /// What was attempted.
        attempt: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// No key could be made for tokens of service accounts.
    #[error("failed to make a key")]
    Key(#[from] rcgen::Error),
    /// It did not become ready.
    #[error("no API server after {} s; the end of its log:\n{log}", READY_TIMEOUT.as_secs())]
    NotReady {
        /// The last lines of the log.
        log: String,
    },
    /// It refused a request.
    #[error("the API server refused")]
    Request(#[from] kube::Error),
}

impl ApiServer {
    /// The API server of this test binary, started by the first call.
    ///
    /// # Errors
    ///
    /// [`ApiServerError::Missing`] with the command that builds the programs, or what went wrong.
    pub fn shared() -> Result<&'static Self, &'static ApiServerError> {
        static SHARED: OnceLock<Result<ApiServer, ApiServerError>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    fn start() -> Result<Self, ApiServerError> {
        let [etcd, api_server] = programs()?;
        let folder = env::temp_dir().join(format!("tunmesh-api-{}", process::id()));
        let at = |attempt| move |source| ApiServerError::Start { attempt, source };
        fs::create_dir(&folder).map_err(at("make a folder"))?;
        let mut token = [0; 16];
        aws_lc_rs::rand::fill(&mut token).map_err(|_| at("draw a token")(io::Error::other("no randomness")))?;
        let token = u128::from_be_bytes(token);
        fs::write(folder.join("token"), format!("{token:032x}")).map_err(at("write the token"))?;
        let users = format!("{token:032x},admin,admin,system:masters\n");
        fs::write(folder.join("tokens.csv"), users).map_err(at("write the users"))?;
        let key = rcgen::KeyPair::generate()?;
        fs::write(folder.join("sa.key"), key.serialize_pem()).map_err(at("write the key"))?;
        fs::write(folder.join("sa.pub"), key.public_key_pem()).map_err(at("write the key"))?;
        let port = free_port().map_err(at("find a free port"))?;
        let uri = Uri::try_from(format!("https://127.0.0.1:{port}"));
        let uri = uri.map_err(|error| at("name the server")(io::Error::other(error)))?;
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .args([&etcd, &api_server, &folder])
            .arg(port.to_string())
            .stdin(Stdio::piped())
            // Not ended by the terminal's ^C before it has cleaned up.
            .process_group(0)
            .spawn()
            .map_err(at("start a shell"))?;
        Ok(Self { uri, folder, _keeper: keeper })
    }

    /// A configuration for clients as the administrator. `auth_info.impersonate` makes it somebody else's.
    pub fn config(&self) -> Config {
        let mut config = Config::new(self.uri.clone());
        config.root_cert_file = Some(self.folder.join(CERTIFICATE));
        let token_file = self.folder.join("token").to_string_lossy().into_owned();
        config.auth_info = AuthInfo { token_file: Some(token_file), ..AuthInfo::default() };
        config
    }

    /// A client of the administrator's, once the API server is ready. Each test needs one of its own, as a client ends
    /// with the runtime of its test.
    ///
    /// # Errors
    ///
    /// [`ApiServerError::NotReady`] after a minute.
    pub async fn client(&self) -> Result<Client, ApiServerError> {
        let deadline = Instant::now() + READY_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(client) = self.ready_client().await {
                return Ok(client);
            }
            sleep(POLL).await;
        }
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(20).collect();
        Err(ApiServerError::NotReady { log: lines.into_iter().rev().collect::<Vec<_>>().join("\n") })
    }

    async fn ready_client(&self) -> Option<Client> {
        if !self.folder.join(CERTIFICATE).exists() {
            return None;
        }
        let client = Client::try_from(self.config()).ok()?;
        let request = Request::get("/readyz").body(Vec::new()).ok()?;
        (client.request_text(request).await.ok()? == "ok").then_some(client)
    }

    /// A new namespace, named after the test.
    ///
    /// # Errors
    ///
    /// What the API server answers, for a name that is no DNS label for example.
    pub async fn namespace(&self, client: &Client, test: &str) -> Result<String, ApiServerError> {
        let metadata = ObjectMeta { generate_name: Some(format!("{test}-")), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        Ok(Api::all(client.clone()).create(&PostParams::default(), &namespace).await?.name_any())
    }
}

/// The paths of etcd and kube-apiserver, as the folder of the local cluster keeps them.
fn programs() -> Result<[PathBuf; 2], ApiServerError> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/tools.py");
    let output = Command::new("python3")
        .arg(tools)
        .args(["--built", "etcd", "kube-apiserver"])
        .output()
        .map_err(|source| ApiServerError::Start { attempt: "run python3", source })?;
    let said = String::from_utf8_lossy(&output.stdout);
    let mut paths = said.lines().map(PathBuf::from);
    match (output.status.success(), paths.next(), paths.next()) {
        (true, Some(etcd), Some(api_server)) => Ok([etcd, api_server]),
        _ => Err(ApiServerError::Missing(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

/// A port that was free a moment ago.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Under load the server takes a few seconds.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// The certificate that the server makes for itself at start, in the folder.
const CERTIFICATE: &str = "certs/apiserver.crt";

/// Arguments: etcd, kube-apiserver, the folder, the port. The API server is killed first: one whose etcd is gone hangs.
/// Without controllers no namespace gets its default ServiceAccount, so the admission that asks for one is off.
const KEEPER: &str = r#"
cd "$3" || exit 1
"$1" --data-dir="$3/etcd" --unsafe-no-fsync --listen-client-urls="unix://$3/etcd.sock" \
  --advertise-client-urls="unix://$3/etcd.sock" --listen-peer-urls="unix://$3/peer.sock" >etcd.log 2>&1 &
etcd=$!
"$2" --etcd-servers="unix://$3/etcd.sock" --bind-address=127.0.0.1 --secure-port="$4" --cert-dir="$3/certs" \
  --service-cluster-ip-range=10.0.0.0/24 --allow-privileged=true --authorization-mode=RBAC \
  --token-auth-file="$3/tokens.csv" --service-account-issuer=https://kubernetes.default.svc \
  --service-account-key-file="$3/sa.pub" --service-account-signing-key-file="$3/sa.key" \
  --disable-admission-plugins=ServiceAccount >log 2>&1 &
api_server=$!
read -r _
kill -9 "$api_server" "$etcd"
wait
rm -rf "$3"
"#;

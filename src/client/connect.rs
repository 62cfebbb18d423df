//! How the service finds its cluster.

use std::path::{Path, PathBuf};

use http::HeaderValue;
use http::header::USER_AGENT;
use kube::config::Kubeconfig;
use kube::{Client, Config};

use super::error::{Call, ClusterError};
use super::kubelet::KubeletClient;
use super::retry::{Deadline, with_retries};
use crate::files;

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("in cluster: {0}")]
    InCluster(#[from] kube::config::InClusterError),
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    #[error("client: {0}")]
    Client(#[from] kube::Error),
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    File(PathBuf, std::io::Error),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// How a cluster is reached: its API server, and its kubelets, each at an address of its own.
pub struct Connection {
    pub client: Client,
    pub kubelets: KubeletClient,
}

/// As a pod of the cluster (true), by kubeconfig (false), or whichever works, in that order (None).
pub async fn connect(
    in_cluster: Option<bool>,
    identity: &str,
    kubelet_insecure_tls: bool,
) -> Result<Connection, ConnectError> {
    let checked = tokio::task::spawn_blocking(check_files).await;
    checked.map_err(|error| ConnectError::File(PathBuf::new(), error.into()))??;
    let mut config = match in_cluster {
        Some(true) => Config::incluster()?,
        Some(false) => Config::from_kubeconfig(&Default::default()).await?,
        None => match Config::incluster() {
            Ok(config) => config,
            Err(_) => Config::from_kubeconfig(&Default::default()).await?,
        },
    };
    // Retries are this service's own: they keep to the budget of a request and name the call that
    // failed.
    config.default_retry = false;
    // The API server's audit log tells the replicas apart by it.
    let agent = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
    if let Ok(agent) = HeaderValue::try_from(format!("{agent} ({identity})")) {
        config.headers.push((USER_AGENT, agent));
    }
    let kubelets = KubeletClient::new(&config, kubelet_insecure_tls)?;
    let client = Client::try_from(config)?;
    reach(&client).await?;
    Ok(Connection { client, kubelets })
}

const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The client reads these files by itself, and would wait for ever for one that is a pipe.
fn check_files() -> Result<(), ConnectError> {
    let check = |path: PathBuf| {
        files::read(&path, files::SMALL).map_err(|error| ConnectError::File(path, error))
    };
    for name in ["token", "ca.crt"] {
        let path = Path::new(SERVICE_ACCOUNT).join(name);
        if path.exists() {
            check(path)?;
        }
    }
    for path in kubeconfigs().into_iter().filter(|path| path.exists()) {
        let text = check(path.clone())?;
        // What cannot be understood is told of by the client.
        let Ok(kubeconfig) = Kubeconfig::from_yaml(&String::from_utf8_lossy(&text)) else {
            continue;
        };
        let clusters = kubeconfig.clusters.into_iter().filter_map(|cluster| cluster.cluster);
        let users = kubeconfig.auth_infos.into_iter().filter_map(|user| user.auth_info);
        let named = clusters.filter_map(|cluster| cluster.certificate_authority).chain(
            users.flat_map(|user| {
                [user.client_certificate, user.client_key, user.token_file].into_iter().flatten()
            }),
        );
        let folder = path.parent().unwrap_or(Path::new("."));
        for file in named.map(|file| folder.join(file)).filter(|file| file.exists()) {
            check(file)?;
        }
    }
    Ok(())
}

fn kubeconfigs() -> Vec<PathBuf> {
    match std::env::var_os("KUBECONFIG").filter(|paths| !paths.is_empty()) {
        Some(paths) => std::env::split_paths(&paths).collect(),
        None => std::env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect(),
    }
}

/// What the API server offers for changing a running pod's resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResizeSupport {
    pub by: ResizeBy,
    /// Memory limits are lowered in place, without a restart: since 1.34.
    pub memory_cuts: bool,
    /// Whether kubelets carry out what is asked for a container that does not run. Those before
    /// 1.37 start it with its new limit, under the old one of the pod's cgroup, where it is killed
    /// again and again.
    pub resizes_down: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResizeBy {
    /// `pods/resize`, since 1.32.
    Subresource,
    /// 1.27 to 1.31: the pod itself is patched, if the cluster has the alpha feature on.
    PodPatch,
    /// Before 1.27: only the owner's template.
    None,
}

/// A client is of use once the API server has answered.
async fn reach(client: &Client) -> Result<(), ClusterError> {
    let call = Call { verb: "get", resource: "version", namespace: String::new(), name: None };
    with_retries(call, Deadline::default(), || client.apiserver_version()).await.map(drop)
}

pub async fn resize_support(client: &Client) -> Result<ResizeSupport, ClusterError> {
    let call = Call { verb: "get", resource: "version", namespace: String::new(), name: None };
    let version = with_retries(call, Deadline::default(), || client.apiserver_version()).await?;
    let digits = |text: &str| {
        text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().unwrap_or(0)
    };
    let version = (digits(&version.major), digits(&version.minor));
    let call = Call { verb: "get", resource: "api/v1", namespace: String::new(), name: None };
    let resources =
        with_retries(call, Deadline::default(), || client.list_core_api_resources("v1")).await?;
    let by = match resources.resources.iter().any(|resource| resource.name == "pods/resize") {
        true => ResizeBy::Subresource,
        false if version >= (1, 27) => ResizeBy::PodPatch,
        false => ResizeBy::None,
    };
    Ok(ResizeSupport { by, memory_cuts: version >= (1, 34), resizes_down: version >= (1, 37) })
}

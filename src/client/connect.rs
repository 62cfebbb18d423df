//! How the service finds its cluster.

use http::HeaderValue;
use http::header::USER_AGENT;
use kube::{Client, Config};

use super::error::{Call, ClusterError};
use super::kubelet::KubeletClient;
use super::retry::{Deadline, with_retries};

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("in cluster: {0}")]
    InCluster(#[from] kube::config::InClusterError),
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    #[error("client: {0}")]
    Client(#[from] kube::Error),
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

/// What the API server offers for changing a running pod's resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResizeSupport {
    pub by: ResizeBy,
    /// Memory limits are lowered in place, without a restart: since 1.34.
    pub memory_cuts: bool,
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
    Ok(ResizeSupport { by, memory_cuts: version >= (1, 34) })
}

//! The service from start to stop.

pub mod certificate;
pub mod connection;
pub mod listen;
pub mod places;
pub mod state;
pub mod token;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use clap::Args;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::connection::Patience;
use self::listen::Bounds;
use self::places::Places;
use self::state::AppState;
use crate::client::kubelet::KubeletClient;
use crate::clock::Clock;
use crate::cluster::events::{self, Delivery, Queue};
use crate::config::{Config, ConfigOverrides};
use crate::core::event::PodEvent;
use crate::core::features::FeatureSet;
use crate::leader::{self, LeaderArgs, Leadership};
use crate::model::shipped::{self, Found};
use crate::scaler::autoscale::Autoscaler;
use crate::scaler::births::Births;
use crate::scaler::cycle::Scaler;
use crate::scaler::dispatcher::Dispatcher;
use crate::scaler::recorded_history::RecordedHistory;
use crate::scaler::second_look::SecondLook;
use crate::sim;
use crate::sim::simulation::Simulation;
use crate::store::{self, Sources, Store};

/// Connections that the kernel keeps until they are accepted: in a storm a probe whose connection
/// it drops comes back after a second, which is too late.
const WAITING: u32 = 4096;

#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Address to listen on
    #[arg(long, env = "HOST", default_value = "0.0.0.0")]
    pub host: IpAddr,
    /// Port to listen on
    #[arg(long, env = "PORT", default_value_t = 5000)]
    pub port: u16,
    /// YAML file with configuration; environment and flags win over it
    #[arg(long, env = "CONFIG")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub simulate: SimulateArgs,
    /// Folder for the state that outlives the process; without it the state is kept in memory only
    #[arg(long, env = "DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub leader: LeaderArgs,
    #[command(flatten)]
    pub config_overrides: ConfigOverrides,
}

/// A cluster in this process instead of a real one.
#[derive(Debug, Clone, Args)]
pub struct SimulateArgs {
    /// Run on a simulated cluster in this process instead of a real one
    #[arg(long, env = "SIMULATE")]
    pub simulate: bool,
    /// Let the simulated pods replay recordings: a folder of CSV files
    /// (timestamp_s,cpu_cores,memory_mib)
    #[arg(long, env = "SIMULATE_RECORDINGS", value_name = "DIR", requires = "simulate")]
    pub simulate_recordings: Option<PathBuf>,
    /// Also serve the simulated cluster's Kubernetes API here, for kubectl: kubectl -s
    /// http://ADDRESS get pods -A
    #[arg(long, env = "SIMULATE_LISTEN", value_name = "ADDRESS", requires = "simulate")]
    pub simulate_listen: Option<SocketAddr>,
    /// How many times faster than the wall clock the simulated cluster lives, 0.1 to 1000
    #[arg(long, env = "SPEED", default_value_t = 1.0, value_parser = speed, requires = "simulate")]
    pub speed: f64,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(speed) if (0.1..=1000.0).contains(&speed) => Ok(speed),
        _ => Err("a number from 0.1 to 1000 is wanted".to_owned()),
    }
}

/// `router` answers on the shared state, on threads of its own: what reads and decides on a large
/// cluster has all of the others to itself, and no request waits behind it.
pub async fn serve(
    args: ServeArgs,
    answering: Handle,
    router: impl FnOnce(Arc<AppState>) -> Router,
) -> anyhow::Result<()> {
    let config = Config::load(args.config.as_deref(), args.config_overrides);
    let (config, origins) = config.context("configuration")?;
    let (tls_cert, tls_key) = (config.tls_cert.clone(), config.tls_key.clone());
    let (most, most_from_one_address) =
        (config.max_connections, config.max_connections_per_address);
    if let Some(file) = &config.write_token_file {
        token::read(file).await.with_context(|| format!("token {}", file.display()))?;
    }
    let stopping = CancellationToken::new();
    let (queue, events) = Queue::new();
    let (scaler, shipped_model) = load_scaler(&config, queue, stopping.clone())?;
    let clock = Clock::new(args.simulate.speed);
    let leadership = Leadership::new(&args.leader);
    let leadership = leadership.map_err(anyhow::Error::msg).context("leader election")?;
    let state = AppState::new(config, scaler, clock, Arc::new(leadership), stopping.clone());
    let state = AppState { shipped_model, simulated: args.simulate.simulate, ..state };
    let state = AppState { origins: Arc::new(origins), ..state };
    let store = args.data_dir.as_deref().map(|folder| Store::open(folder, sources(&state)));
    let store = store.transpose().context("state")?;
    let address = SocketAddr::new(args.host, args.port);
    let listener = listen_at(address)?;
    if args.simulate.simulate {
        introduce(listener.local_addr()?, args.simulate.speed);
    }
    tracing::info!(
        address = %listener.local_addr()?, dry_run = state.config().dry_run,
        "dqn-scaler is ready"
    );
    let connecting = if args.simulate.simulate {
        simulate(&args.simulate, &state).await?
    } else {
        tokio::spawn(state.clone().connect())
    };
    let following = tokio::spawn(state.clone().follow_config());
    let (worked, ended) = (CancellationToken::new(), CancellationToken::new());
    let publishing = tokio::spawn(publish(&state, events, worked.clone()));
    let storing = tokio::spawn(store::run(store, ended.clone()));
    let electing = tokio::spawn(elect(&state, ended.clone()));
    let autoscaling = tokio::spawn(autoscaler(&state).run(stopping.clone()));
    let looking = tokio::spawn(second_look(&state).run(stopping.clone()));
    let dispatching = tokio::spawn(dispatcher(&state).run(stopping.clone()));
    let recalling = tokio::spawn(recorded_history(&state).run(stopping.clone()));
    let keeping_births = tokio::spawn(births(&state).run(stopping.clone()));
    let stop = stopping.clone();
    let stop = async move {
        stop_requested().await;
        tracing::info!("stopping: what is under way is finished, nothing new is begun");
        stop.cancel();
    };
    let bounds = Bounds {
        places: Places::with_descriptors(most, most_from_one_address),
        patience: Patience::default(),
        counted: state.scaler.metrics.connections.clone(),
    };
    let _reminding = tls_cert.clone().map(|file| {
        AbortOnDropHandle::new(tokio::spawn(certificate::watch(file, state.certificate.clone())))
    });
    let (router, tls) = (router(Arc::new(state.clone())), tls_cert.zip(tls_key));
    let listener = listener.into_std().context("serving")?;
    let answered = answering.spawn(async move {
        let listener = TcpListener::from_std(listener)?;
        listen::answer(listener, router, tls, bounds, stop).await
    });
    answered.await?.context("serving")?;
    stopping.cancel();
    connecting.abort();
    following.abort();
    autoscaling.await.context("the autoscale loop")?;
    looking.await.context("the looks between cycles")?;
    dispatching.await.context("the dispatcher")?;
    recalling.await.context("the asking of Prometheus")?;
    keeping_births.await.context("the keeping of what new pods are made with")?;
    state.under_way.close();
    state.under_way.wait().await;
    worked.cancel();
    publishing.await.context("the sending of events")?;
    // Only now may another replica act.
    ended.cancel();
    electing.await.context("the leader election")?;
    storing.await.context("the storing of the state")?;
    Ok(())
}

// Each task gets what it uses.

pub fn autoscaler(state: &AppState) -> Autoscaler {
    Autoscaler {
        config: state.config.clone(),
        cluster: state.cluster.clone(),
        scaler: state.scaler.clone(),
        clock: state.clock,
        alive: state.autoscaler_alive.clone(),
    }
}

pub fn dispatcher(state: &AppState) -> Dispatcher {
    Dispatcher {
        config: state.config.clone(),
        cluster: state.cluster.clone(),
        scaler: state.scaler.clone(),
    }
}

pub fn second_look(state: &AppState) -> SecondLook {
    SecondLook {
        config: state.config.clone(),
        cluster: state.cluster.clone(),
        scaler: state.scaler.clone(),
        clock: state.clock,
    }
}

pub fn recorded_history(state: &AppState) -> RecordedHistory {
    RecordedHistory {
        config: state.config.clone(),
        scaler: state.scaler.clone(),
        clock: state.clock,
        health: state.prometheus.clone(),
    }
}

pub fn births(state: &AppState) -> Births {
    Births {
        config: state.config.clone(),
        cluster: state.cluster.clone(),
        scaler: state.scaler.clone(),
        clock: state.clock,
    }
}

pub fn sources(state: &AppState) -> Sources {
    Sources {
        config: state.config.clone(),
        scaler: state.scaler.clone(),
        clock: state.clock,
        health: state.store_health.clone(),
    }
}

pub fn publish(
    state: &AppState,
    events: Receiver<PodEvent>,
    ended: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let (cluster, scaler) = (state.cluster.clone(), state.scaler.clone());
    let delivered = move |delivery| {
        scaler.metrics.event(match delivery {
            Delivery::Sent => "sent",
            Delivery::Failed => "failed",
        });
    };
    events::run(events, cluster, delivered, ended)
}

pub fn elect(state: &AppState, ended: CancellationToken) -> impl Future<Output = ()> + use<> {
    let cluster = state.cluster.clone();
    let client = async move { cluster.connected().await.direct().clone() };
    leader::run(state.leadership.clone(), state.config.clone(), client, ended)
}

/// Starts a cluster in this process and connects the service to it.
async fn simulate(args: &SimulateArgs, state: &AppState) -> anyhow::Result<JoinHandle<()>> {
    let simulation = match &args.simulate_recordings {
        Some(folder) => Simulation::of_folder(state.clock, folder).context("simulated cluster")?,
        None => Simulation::demo(state.clock),
    };
    let kubelets = KubeletClient::over(simulation.kubelets());
    state.connected_to(simulation.client(), Some(kubelets));
    if let Some(address) = args.simulate_listen {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
        tracing::info!(
            "the simulated cluster answers kubectl -s http://{}",
            listener.local_addr()?
        );
        tokio::spawn(sim::api::server::serve(simulation.clone(), listener));
    }
    Ok(tokio::spawn(simulation.run()))
}

/// What a newcomer can do with the simulated cluster.
fn introduce(address: SocketAddr, speed: f64) {
    let host = if address.ip().is_unspecified() {
        "localhost".to_owned()
    } else {
        address.ip().to_string()
    };
    let at = format!("http://{host}:{}", address.port());
    println!(
        "dqn-scaler answers on {at}. Its cluster is simulated: an hour passes there in {:.0} s. \
            Look at it on

  {at}/dashboard

or try:

  curl '{at}/pods'                                      # what runs, with requests and limits
  curl -X POST '{at}/scale/pod/default/debug-shell'     # a decision: Q values, changes, and why
  curl '{at}/decisions?limit=5'                         # what was decided last

Ctrl-C ends it.
",
        3600.0 / speed
    );
}

/// A broken model stops the start: better no service than one that guesses.
fn load_scaler(
    config: &Config,
    events: Queue,
    stopping: CancellationToken,
) -> anyhow::Result<(Scaler, bool)> {
    let path = &config.model_path;
    let Found { network, file, shipped } =
        shipped::find(path).with_context(|| format!("model {}", path.display()))?;
    let place = match &file {
        Some(file) => file.display().to_string(),
        None => "the binary itself".to_owned(),
    };
    let features =
        FeatureSet::from_names(network.features()).with_context(|| format!("model {place}"))?;
    anyhow::ensure!(
        config.state_dim.is_none_or(|width| width == features.len()),
        "model {place}: it takes {} features, but STATE_DIM is {}",
        features.len(),
        config.state_dim.unwrap_or_default()
    );
    tracing::info!(from = place, shipped, features = features.len(), "the model is loaded");
    Ok((Scaler::new(network, features, events, stopping), shipped))
}

/// What to do where the address cannot be had.
fn listen_at(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(WAITING)
    };
    listen().map_err(|error: std::io::Error| {
        let advice = match error.kind() {
            ErrorKind::AddrInUse => {
                "another program listens there: end it, or choose another port with --port or PORT"
            }
            ErrorKind::PermissionDenied => {
                "ports below 1024 need a right: choose another with --port or PORT"
            }
            ErrorKind::AddrNotAvailable => "no interface has this address: see --host or HOST",
            _ => "see --host and --port",
        };
        anyhow::anyhow!("listening on {address}: {error}: {advice}")
    })
}

async fn stop_requested() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

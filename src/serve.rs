//! The service from start to stop.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::clock::Clock;
use crate::cluster::events;
use crate::config::{Config, Layer};
use crate::leader::{self, LeaderArgs, Leadership};
use crate::listen;
use crate::model::Network;
use crate::model::features::FeatureSet;
use crate::scaler::autoscale;
use crate::scaler::cycle::Scaler;
use crate::sim;
use crate::sim::simulation::Simulation;
use crate::state::AppState;
use crate::store::{self, Store};

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
    pub layer: Layer,
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
    /// How many times faster than the wall clock the simulated cluster lives
    #[arg(long, env = "SPEED", default_value_t = 1.0, value_parser = speed, requires = "simulate")]
    pub speed: f64,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(speed) if (0.1..=1000.0).contains(&speed) => Ok(speed),
        _ => Err("a number from 0.1 to 1000 is wanted".to_owned()),
    }
}

pub async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let config = Config::load(args.config.as_deref(), args.layer).context("configuration")?;
    let (tls_cert, tls_key) = (config.tls_cert.clone(), config.tls_key.clone());
    if let Some(file) = &config.write_token_file {
        api::access::read_token(file).await.with_context(|| format!("token {}", file.display()))?;
    }
    let stopping = CancellationToken::new();
    let scaler = load_scaler(&config, stopping.clone())?;
    let clock = Clock::new(args.simulate.speed);
    let leadership =
        Leadership::new(&args.leader).map_err(anyhow::Error::msg).context("leader election")?;
    let mut state = AppState::new(config, scaler, clock, stopping.clone());
    state.leadership = Arc::new(leadership);
    let state = Arc::new(state);
    let store = args
        .data_dir
        .as_deref()
        .map(|folder| Store::open(folder, &state))
        .transpose()
        .context("state")?;
    let address = SocketAddr::new(args.host, args.port);
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
    if args.simulate.simulate {
        introduce(listener.local_addr()?, args.simulate.speed);
    }
    tracing::info!(address = %listener.local_addr()?, dry_run = state.config().dry_run, "dqn-scaler is ready");
    let connecting = if args.simulate.simulate {
        simulate(&args.simulate, &state).await?
    } else {
        tokio::spawn(state.clone().connect())
    };
    let (worked, ended) = (CancellationToken::new(), CancellationToken::new());
    let telling = tokio::spawn(events::run(state.clone(), worked.clone()));
    let storing = tokio::spawn(store::run(state.clone(), store, ended.clone()));
    let electing = tokio::spawn(leader::run(state.clone(), ended.clone()));
    let autoscaling = tokio::spawn(autoscale::run(state.clone()));
    let stop = stopping.clone();
    let stop = async move {
        stop_requested().await;
        tracing::info!("stopping: what is under way is finished, nothing new is begun");
        stop.cancel();
    };
    let tls = tls_cert.as_deref().zip(tls_key.as_deref());
    listen::answer(listener, api::router(state.clone()), tls, stop).await.context("serving")?;
    stopping.cancel();
    connecting.abort();
    autoscaling.await.context("the autoscale loop")?;
    state.under_way.close();
    state.under_way.wait().await;
    worked.cancel();
    telling.await.context("the sending of events")?;
    // Only now may another replica act.
    ended.cancel();
    electing.await.context("the leader election")?;
    storing.await.context("the storing of the state")?;
    Ok(())
}

/// Starts a cluster in this process and connects the service to it.
async fn simulate(args: &SimulateArgs, state: &AppState) -> anyhow::Result<JoinHandle<()>> {
    let simulation = match &args.simulate_recordings {
        Some(folder) => Simulation::of_folder(state.clock, folder).context("simulated cluster")?,
        None => Simulation::demo(state.clock),
    };
    state.connected(simulation.client());
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
        "dqn-scaler answers on {at}. Its cluster is simulated: an hour passes there in {:.0} s. Look at it on

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
fn load_scaler(config: &Config, stopping: CancellationToken) -> anyhow::Result<Scaler> {
    let path = config.find_model();
    let network = Network::load(&path).with_context(|| format!("model {}", path.display()))?;
    let features = FeatureSet::from_names(network.features())
        .with_context(|| format!("model {}", path.display()))?;
    anyhow::ensure!(
        features.len() == config.state_dim,
        "model {}: it takes {} features, but STATE_DIM is {}",
        path.display(),
        features.len(),
        config.state_dim
    );
    Ok(Scaler::new(network, features, stopping))
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

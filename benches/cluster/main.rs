//! The whole service against a whole cluster: `cargo bench --bench cluster`.
//!
//! For each size a simulated API server is started in a process of its own, and the release binary
//! in another; both share the machine. Measured are cycles in dry run, the service's answers
//! meanwhile, its memory and its start; then a service that changes pods.

mod apiserver;
mod beside;
mod contents;
mod lacking;
mod live;
mod load;
mod plot;
mod report;
mod scrape;
mod service;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;

use self::load::Latency;
use self::report::Measured;
use self::service::Service;

#[derive(Parser)]
struct Arguments {
    /// Pods, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "1000,15000,150000")]
    sizes: Vec<usize>,
    /// Cycles that are measured after the first
    #[arg(long, default_value_t = 5)]
    cycles: usize,
    /// Minutes that changes are made for after the first cycle
    #[arg(long, default_value_t = 6.0)]
    minutes: f64,
    /// Another version's binary: only what both spend beside each other in dry run is measured
    #[arg(long)]
    beside: Option<PathBuf>,
    /// Where plots and figures go
    #[arg(long, default_value = "target/benchmark")]
    out: PathBuf,
    /// Be the API server with this many pods
    #[arg(long, hide = true)]
    serve: Option<usize>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(pods) = arguments.serve {
        return apiserver::run(pods);
    }
    std::fs::create_dir_all(&arguments.out)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cluster = |pods: usize| {
        eprintln!("{pods} pods: the cluster is being built");
        ApiServer::start(pods, &arguments.out)
    };
    if let Some(other) = &arguments.beside {
        return arguments.sizes.iter().try_for_each(|pods| {
            let cluster = cluster(*pods)?;
            runtime.block_on(beside::measure(&cluster, *pods, other, arguments.cycles))
        });
    }
    let (mut dry, mut live) = (Vec::new(), Vec::new());
    for pods in &arguments.sizes {
        let cluster = cluster(*pods)?;
        eprintln!("{pods} pods: dry run");
        dry.push(runtime.block_on(measure(&cluster, *pods, arguments.cycles))?);
        eprintln!("{pods} pods: live");
        let length = Duration::from_secs_f64(60.0 * arguments.minutes);
        live.push(runtime.block_on(live::measure(&cluster, *pods, length))?);
    }
    report::print(&dry);
    report::live(&live);
    let figures = serde_json::json!({ "dry_run": dry, "live": live });
    std::fs::write(arguments.out.join("cluster.json"), format!("{figures:#}"))?;
    plot::all(&dry, &arguments.out)?;
    plot::live(&live, &arguments.out)
}

struct ApiServer {
    process: Child,
    port: u16,
    kubeconfig: PathBuf,
}

impl ApiServer {
    fn start(pods: usize, folder: &Path) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["--serve", &pods.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .context("the API server")?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("its output")?).read_line(&mut line)?;
        let port = line.trim().parse().context("the API server's port")?;
        let kubeconfig = std::path::absolute(folder.join("kubeconfig"))?;
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: bench\n\
             clusters: [{{name: bench, cluster: {{server: \"http://127.0.0.1:{port}\"}}}}]\n\
             contexts: [{{name: bench, context: {{cluster: bench,
                 user: bench}}}}]\nusers: [{{name: bench, user: {{}}}}]\n"
        );
        std::fs::write(&kubeconfig, text)?;
        Ok(Self { process, port, kubeconfig })
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Bytes that it has sent so far.
    async fn sent(&self) -> anyhow::Result<u64> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(client.get(self.url("/sent")).send().await?.text().await?.parse()?)
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A service in dry run, with one cycle after the other.
async fn measure(cluster: &ApiServer, pods: usize, cycles: usize) -> anyhow::Result<Measured> {
    let before_start = cluster.sent().await?;
    let namespaces = contents::namespaces(pods);
    let mut service = Service::start(&cluster.kubeconfig, &namespaces, false, 2)?;
    let (first_health, first) = service.first_cycle(pods).await?;
    let start_bytes = cluster.sent().await? - before_start;
    // Asked while cycles run: small answers all the time, then the list of all pods.
    let (before, cpu_before, began) =
        (cluster.sent().await?, service.cpu()?, std::time::Instant::now());
    let (end, ended) = tokio::sync::watch::channel(false);
    let health =
        tokio::spawn(load::ask(service.url("/health"), Duration::from_millis(5), ended.clone()));
    let decisions =
        tokio::spawn(load::ask(service.url("/decisions"), Duration::from_millis(50), ended));
    let measured = following(&mut service, cycles).await?;
    end.send_replace(true);
    let (seconds, cpu, bytes) = (
        began.elapsed().as_secs_f64(),
        service.cpu()? - cpu_before,
        cluster.sent().await? - before,
    );
    let (health, decisions) = (Latency::of(health.await??), Latency::of(decisions.await??));
    let rss_without_list = service.memory("VmHWM")?;
    let (end, ended) = tokio::sync::watch::channel(false);
    let list =
        tokio::spawn(load::ask(service.url("/pods"), Duration::from_millis(200), ended.clone()));
    let page = service.url("/pods/overview?sort=cpu_utilization&order=desc");
    let page = tokio::spawn(load::ask(page, Duration::from_millis(200), ended.clone()));
    let metrics =
        tokio::spawn(load::ask(service.url("/metrics"), Duration::from_millis(200), ended));
    following(&mut service, 2).await?;
    end.send_replace(true);
    let (list, page) = (Latency::of(list.await??), Latency::of(page.await??));
    let metrics = Latency::of(metrics.await??);
    let (end, ended) = tokio::sync::watch::channel(false);
    let workloads = service.url("/workloads/overview");
    let workloads = tokio::spawn(load::ask(workloads, Duration::from_millis(200), ended));
    following(&mut service, 1).await?;
    end.send_replace(true);
    let workloads = Latency::of(workloads.await??);
    Ok(Measured {
        pods,
        first_health,
        first_cycle: first.ended.as_secs_f64(),
        start_bytes,
        phases: service::mean(&measured),
        wanted: measured.iter().map(|cycle| cycle.wanted).sum::<u64>() as f64
            / measured.len() as f64,
        bytes: bytes / measured.len() as u64,
        cpu_share: cpu / seconds,
        peak_rss: service.memory("VmHWM")?,
        rss_without_list,
        health,
        decisions,
        list,
        page,
        workloads,
        metrics,
    })
}

/// The next cycles of the service, while others go on asking it.
async fn following(service: &mut Service, cycles: usize) -> anyhow::Result<Vec<service::Cycle>> {
    let mut measured = Vec::new();
    while measured.len() < cycles {
        measured.push(service.next_cycle().await?);
    }
    Ok(measured)
}

//! The whole service against a whole cluster: `cargo bench --bench cluster`.
//!
//! For each size a simulated API server is started in a process of its own, and the release binary
//! in another; both share the machine. Measured are cycles in dry run and live, the service's
//! answers meanwhile, its memory and its start.

mod apiserver;
mod load;
mod plot;
mod report;
mod service;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;

use self::load::Latency;
use self::report::{Measured, Mode};
use self::service::Service;

#[derive(Parser)]
struct Arguments {
    /// Pods, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "1000,15000,150000")]
    sizes: Vec<usize>,
    /// Cycles that are measured after the first
    #[arg(long, default_value_t = 5)]
    cycles: usize,
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
    let mut all = Vec::new();
    for pods in &arguments.sizes {
        eprintln!("{pods} pods: the cluster is being built");
        let cluster = ApiServer::start(*pods, &arguments.out)?;
        for mode in [Mode::DryRun, Mode::Live] {
            eprintln!("{pods} pods: {}", mode.name());
            all.push(runtime.block_on(measure(&cluster, *pods, mode, arguments.cycles))?);
        }
    }
    report::print(&all);
    std::fs::write(arguments.out.join("cluster.json"), serde_json::to_string_pretty(&all)?)?;
    plot::all(&all, &arguments.out)
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

    /// Bytes that it has sent so far.
    async fn sent(&self) -> anyhow::Result<u64> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(client
            .get(format!("http://127.0.0.1:{}/sent", self.port))
            .send()
            .await?
            .text()
            .await?
            .parse()?)
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn measure(
    cluster: &ApiServer,
    pods: usize,
    mode: Mode,
    cycles: usize,
) -> anyhow::Result<Measured> {
    let before_start = cluster.sent().await?;
    let namespaces = apiserver::namespaces(pods);
    let mut service = Service::start(&cluster.kubeconfig, &namespaces, mode == Mode::Live, 2)?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    while load::once(&client, &service.url("/health")).await.is_err() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let first_health = service.started.elapsed().as_secs_f64();
    // Before the watches are complete a cycle may be given up; it is not told of then.
    let first = service.next_cycle().await?;
    anyhow::ensure!(
        first.pods as usize == pods,
        "the first cycle saw {} of {pods} pods",
        first.pods
    );
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
    let rss_without_list = service.peak_rss()?;
    let (end, ended) = tokio::sync::watch::channel(false);
    let list =
        tokio::spawn(load::ask(service.url("/pods"), Duration::from_millis(200), ended.clone()));
    let page = service.url("/pods/overview?sort=cpu_utilization&order=desc");
    let page = tokio::spawn(load::ask(page, Duration::from_millis(200), ended.clone()));
    let metrics =
        tokio::spawn(load::ask(service.url("/metrics"), Duration::from_millis(200), ended));
    following(&mut service, 2).await?;
    end.send_replace(true);
    let (list, page, metrics) =
        (Latency::of(list.await??), Latency::of(page.await??), Latency::of(metrics.await??));
    Ok(Measured {
        pods,
        mode,
        first_health,
        first_cycle: first.ended.as_secs_f64(),
        start_bytes,
        phases: report::mean(&measured),
        wanted: measured.iter().map(|cycle| cycle.wanted).sum::<u64>() as f64
            / measured.len() as f64,
        bytes: bytes / measured.len() as u64,
        cpu_share: cpu / seconds,
        peak_rss: service.peak_rss()?,
        rss_without_list,
        health,
        decisions,
        list,
        page,
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

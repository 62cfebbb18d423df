//! The service under test: the release binary in a process of its own.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::load;

/// By name: seconds, and seconds of CPU of the whole process.
pub type Phases = BTreeMap<String, (f64, f64)>;

/// A cycle as the service's log tells it.
#[derive(Debug, Clone)]
pub struct Cycle {
    /// Since the service's start.
    pub ended: Duration,
    pub pods: u64,
    /// Changes that it left to be made.
    pub wanted: u64,
    pub phases: Phases,
}

pub struct Service {
    process: Child,
    pub port: u16,
    pub started: Instant,
    cycles: UnboundedReceiver<Cycle>,
}

impl Service {
    pub fn start(
        kubeconfig: &Path,
        namespaces: &[String],
        live: bool,
        interval: u64,
    ) -> anyhow::Result<Self> {
        Self::start_program(&program(), kubeconfig, namespaces, live, interval)
    }

    pub fn start_program(
        program: &OsStr,
        kubeconfig: &Path,
        namespaces: &[String],
        live: bool,
        interval: u64,
    ) -> anyhow::Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let started = Instant::now();
        let mut process = Command::new(program)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["--host", "127.0.0.1", "--in-cluster=false", "--port", &port.to_string()])
            .args([
                format!("--dry-run={}", !live),
                format!("--namespaces={}", namespaces.join(",")),
            ])
            .arg(format!("--auto-scale-interval={interval}"))
            .envs([
                ("LOG_FORMAT", "json"),
                ("RUST_LOG", "error,dqn_scaler::scaler::autoscale=debug"),
            ])
            .env("KUBECONFIG", kubeconfig)
            .stderr(Stdio::piped())
            .spawn()
            .context("the service")?;
        let log = BufReader::new(process.stderr.take().context("the service's log")?);
        let (sender, cycles) = unbounded_channel();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                match cycle(&line, started.elapsed()) {
                    Some(cycle) => drop(sender.send(cycle)),
                    None => eprintln!("  service: {line}"),
                }
            }
        });
        Ok(Self { process, port, started, cycles })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub async fn next_cycle(&mut self) -> anyhow::Result<Cycle> {
        let cycle = tokio::time::timeout(Duration::from_secs(300), self.cycles.recv()).await;
        cycle.context("no cycle ended within 300 s")?.context("the service has ended")
    }

    /// Waits for the first answer and for the first cycle; says when the answer was there.
    pub async fn first_cycle(&mut self, pods: usize) -> anyhow::Result<(f64, Cycle)> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        while load::once(&client, &self.url("/health")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let first_health = self.started.elapsed().as_secs_f64();
        // Before the watches are complete a cycle may be given up; it is not told of then.
        let first = self.next_cycle().await?;
        let seen = first.pods as usize;
        anyhow::ensure!(seen == pods, "the first cycle saw {seen} of {pods} pods");
        Ok((first_health, first))
    }

    /// Those that have ended and were not asked for.
    pub fn cycles_so_far(&mut self) -> Vec<Cycle> {
        std::iter::from_fn(|| self.cycles.try_recv().ok()).collect()
    }

    /// In MiB: `VmRSS` is the resident set, `VmHWM` the largest so far.
    pub fn memory(&self, name: &str) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let mut lines = status.lines().filter_map(|line| line.split_once(':'));
        let (_, line) = lines.find(|(field, _)| *field == name).context("the memory")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }

    /// Seconds of CPU so far.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |index: usize| {
            fields.get(index).and_then(|text| text.parse::<f64>().ok()).context("stat")
        };
        Ok((ticks(11)? + ticks(12)?) / 100.0)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The binary that is measured.
pub fn program() -> OsString {
    std::env::var_os("DQN_SCALER").unwrap_or_else(|| env!("CARGO_BIN_EXE_dqn-scaler").into())
}

pub fn total(phases: &Phases) -> (f64, f64) {
    phases.values().fold((0.0, 0.0), |sum, phase| (sum.0 + phase.0, sum.1 + phase.1))
}

pub fn mean(cycles: &[Cycle]) -> Phases {
    let mut phases = Phases::new();
    for (name, spent) in cycles.iter().flat_map(|cycle| &cycle.phases) {
        let sum = phases.entry(name.clone()).or_default();
        *sum = (sum.0 + spent.0 / cycles.len() as f64, sum.1 + spent.1 / cycles.len() as f64);
    }
    phases
}

fn cycle(line: &str, ended: Duration) -> Option<Cycle> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let phases = line.get("phases")?.as_str()?.split(' ').filter_map(|phase| {
        let (name, spent) = phase.split_once('=')?;
        let (wall, cpu) = spent.split_once('/')?;
        Some((name.to_owned(), (wall.parse().ok()?, cpu.parse().ok()?)))
    });
    Some(Cycle {
        ended,
        pods: line["pods"].as_u64()?,
        // Older versions do not tell.
        wanted: line["wanted"].as_u64().unwrap_or_default(),
        phases: phases.collect(),
    })
}

//! `dqn-scaler top`: the workloads in a table, which goes on as long as one looks.

use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};
use console::{Alignment, Key, Term, measure_text_width, pad_str, style, truncate_str};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::{Server, ServerArgs, escaped};
use crate::core::words::ago;

/// Show the workloads as they are: used, requested, limit, needed, and what was changed last
#[derive(Args)]
pub struct TopArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Only workloads of this namespace
    #[arg(long, short)]
    namespace: Option<String>,
    /// Only workloads whose namespace, kind or name contains this
    #[arg(long)]
    search: Option<String>,
    /// What they are sorted by
    #[arg(long, value_enum, default_value_t = Sort::Cpu)]
    sort: Sort,
    /// Print the table once, as is done where the output is no terminal
    #[arg(long)]
    once: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    Name,
    Cpu,
    Memory,
    SavedCpu,
    SavedMemory,
    LastChange,
    Kills,
    AtRisk,
}

impl Sort {
    /// By the key that chooses it.
    const KEYS: [(char, Self); 8] = [
        ('n', Self::Name),
        ('c', Self::Cpu),
        ('m', Self::Memory),
        ('C', Self::SavedCpu),
        ('M', Self::SavedMemory),
        ('l', Self::LastChange),
        ('k', Self::Kills),
        ('r', Self::AtRisk),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::SavedCpu => "saved_cpu",
            Self::SavedMemory => "saved_memory",
            Self::LastChange => "last_change",
            Self::Kills => "kills",
            Self::AtRisk => "at_risk",
        }
    }

    fn order(self) -> &'static str {
        if self == Self::Name { "asc" } else { "desc" }
    }
}

#[derive(Deserialize)]
struct Page {
    found: usize,
    workloads: Vec<Row>,
    timestamp: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Row {
    namespace: String,
    kind: String,
    name: String,
    replicas: usize,
    now: Sizes,
    needed: Sizes,
    used: Used,
    last_change: Option<Change>,
    kills: usize,
    at_risk: usize,
}

#[derive(Deserialize)]
struct Sizes {
    cpu_request: f64,
    cpu_limit: f64,
    memory_request_mb: f64,
    memory_limit_mb: f64,
}

#[derive(Deserialize)]
struct Used {
    cpu_cores: Option<f64>,
    memory_mb: Option<f64>,
}

#[derive(Deserialize)]
struct Change {
    timestamp: DateTime<Utc>,
    what: String,
    course: String,
}

#[derive(Deserialize)]
struct Outcome {
    live: bool,
    saved: Saved,
    at_risk: AtRisk,
}

#[derive(Deserialize)]
struct Saved {
    cpu_cores: f64,
    memory_mb: f64,
}

#[derive(Deserialize)]
struct AtRisk {
    pods: usize,
}

/// Rows that are asked for.
const MOST: usize = 500;
const PAUSE: Duration = Duration::from_secs(2);
/// Where the output is no terminal.
const WIDTH: usize = 160;

pub async fn run(args: TopArgs) -> anyhow::Result<()> {
    let (server, term) = (Server::new(&args.server)?, Term::stdout());
    let mut sort = args.sort;
    if args.once || !term.is_term() {
        let lines = ask(&server, &args, sort).await?.lines(WIDTH, sort);
        for line in lines {
            term.write_line(&line)?;
        }
        return Ok(());
    }
    let mut keys = keys();
    term.hide_cursor()?;
    let ended = loop {
        let shown = ask(&server, &args, sort).await;
        let (height, width) = term.size();
        let (height, width) = (usize::from(height), usize::from(width));
        let lines = match shown {
            Ok(shown) => shown.lines(width, sort),
            Err(error) => vec![format!("{error:#}"), "It is asked again; q quits.".into()],
        };
        term.clear_screen()?;
        for line in lines.iter().take(height.saturating_sub(1)) {
            term.write_line(&truncate_str(line, width, "…"))?;
        }
        tokio::select! {
            key = keys.recv() => match key {
                Some(Key::Char('q') | Key::Escape | Key::CtrlC) | None => break Ok(()),
                Some(Key::Char(key)) => {
                    let chosen = Sort::KEYS.iter().find(|(known, _)| *known == key);
                    sort = chosen.map_or(sort, |(_, sort)| *sort);
                }
                Some(_) => {}
            },
            _ = tokio::signal::ctrl_c() => break Ok(()),
            () = tokio::time::sleep(PAUSE) => {}
        }
    };
    term.show_cursor()?;
    ended
}

/// What is typed, read where waiting for it holds nobody up.
fn keys() -> mpsc::Receiver<Key> {
    let (typed, keys) = mpsc::channel(16);
    std::thread::spawn(move || {
        while let Ok(key) = Term::stdout().read_key_raw() {
            if typed.blocking_send(key).is_err() {
                return;
            }
        }
    });
    keys
}

struct Shown {
    page: Page,
    outcome: Outcome,
    url: String,
}

async fn ask(server: &Server, args: &TopArgs, sort: Sort) -> anyhow::Result<Shown> {
    let mut path =
        format!("/workloads/overview?limit={MOST}&sort={}&order={}", sort.name(), sort.order());
    for (name, value) in [("namespace", &args.namespace), ("search", &args.search)] {
        if let Some(value) = value {
            let _ = write!(path, "&{name}={}", escaped(value));
        }
    }
    let page = server.get(&path).await?;
    let outcome = server.get("/statistics/outcome").await?;
    Ok(Shown { page, outcome, url: server.url.clone() })
}

impl Shown {
    fn lines(&self, width: usize, sort: Sort) -> Vec<String> {
        let Self { page, outcome, url } = self;
        let mode = if outcome.live { style("live").red() } else { style("dry run").cyan() };
        let mut lines = vec![
            format!(
                "dqn-scaler {url} · {mode} · {} workloads · saved {} CPU, {} · {} pods at risk · \
                    {}",
                page.found,
                cores(outcome.saved.cpu_cores),
                mib(outcome.saved.memory_mb),
                outcome.at_risk.pods,
                page.timestamp.format("%F %T UTC"),
            ),
            format!(
                "sorted by {}: n name, c/m CPU and memory, C/M saved, l last change, k kills, \
                    r risk; q quits",
                sort.name().replace('_', " ")
            ),
            String::new(),
        ];
        let head = [
            "WORKLOAD",
            "PODS",
            "CPU USED",
            "REQ",
            "LIMIT",
            "NEEDED",
            "MEM USED",
            "REQ",
            "LIMIT",
            "NEEDED",
            "KILLS",
            "LAST CHANGE",
        ];
        let rows: Vec<_> = page.workloads.iter().map(|row| row.cells(page.timestamp)).collect();
        let mut widths = head.map(measure_text_width);
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(measure_text_width(cell));
            }
        }
        let line = |cells: &[String]| {
            let mut line = String::new();
            for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
                let is_text = index == 0 || index + 1 == head.len();
                let side = if is_text { Alignment::Left } else { Alignment::Right };
                let _ = write!(line, "{}  ", pad_str(cell, width, side, None));
            }
            truncate_str(line.trim_end(), width, "…").into_owned()
        };
        lines.push(style(line(&head.map(str::to_owned))).bold().to_string());
        lines.extend(page.workloads.iter().zip(&rows).map(|(row, cells)| {
            let text = line(cells);
            if row.at_risk > 0 { style(text).yellow().to_string() } else { text }
        }));
        lines
    }
}

impl Row {
    fn cells(&self, now: DateTime<Utc>) -> [String; 12] {
        let last = self.last_change.as_ref().map_or_else(
            || "-".to_owned(),
            |change| {
                let when = ago((now - change.timestamp).num_seconds());
                let course = match change.course.as_str() {
                    "done" => String::new(),
                    course => format!(" ({})", course.replace('_', " ")),
                };
                format!("{when}: {}{course}", change.what)
            },
        );
        [
            format!("{}/{} {}", self.namespace, self.kind, self.name),
            self.replicas.to_string(),
            self.used.cpu_cores.map_or("-".into(), cores),
            cores(self.now.cpu_request),
            cores(self.now.cpu_limit),
            cores(self.needed.cpu_limit),
            self.used.memory_mb.map_or("-".into(), mib),
            mib(self.now.memory_request_mb),
            mib(self.now.memory_limit_mb),
            mib(self.needed.memory_limit_mb),
            self.kills.to_string(),
            last,
        ]
    }
}

/// As Kubernetes writes them.
fn cores(amount: f64) -> String {
    match amount.abs() {
        0.0 => "0".to_owned(),
        small if small < 0.9995 => format!("{:.0}m", amount * 1000.0),
        _ => format!("{amount:.2}"),
    }
}

fn mib(amount: f64) -> String {
    match amount.abs() {
        0.0 => "0".to_owned(),
        small if small < 1023.5 => format!("{amount:.0}Mi"),
        _ => format!("{:.2}Gi", amount / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_measured_is_a_dash() {
        let sizes = serde_json::json!({"cpu_request": 0.1, "cpu_limit": 0.5,
            "memory_request_mb": 128.0, "memory_limit_mb": 256.0});
        let row = |cpu: Option<f64>| {
            let row = serde_json::json!({"namespace": "shop", "kind": "Deployment", "name": "web",
                "replicas": 1, "now": sizes, "needed": sizes, "last_change": null, "kills": 0,
                "at_risk": 0, "used": {"cpu_cores": cpu, "memory_mb": cpu}});
            let row: Row = serde_json::from_value(row).unwrap();
            row.cells(DateTime::UNIX_EPOCH)
        };
        assert_eq!((&*row(None)[2], &*row(None)[6]), ("-", "-"));
        assert_eq!((&*row(Some(0.0))[2], &*row(Some(2.0))[6]), ("0", "2Mi"));
    }
}

//! `dqn-scaler explain NAMESPACE/POD`: every figure of a decision, and where each setting comes
//! from.

use clap::Args;
use console::{Term, style};
use serde::Deserialize;
use serde_json::Value;

use super::{Server, ServerArgs, escaped};
use crate::core::resource::Resource;
use crate::core::words::{amount, when};

/// Explain what would be decided on a pod now: every figure, and where each setting comes from
#[derive(Args)]
pub struct ExplainArgs {
    /// The pod: NAMESPACE/POD
    pod: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Deserialize)]
struct Explained {
    namespace: String,
    pod_name: String,
    workload: Option<String>,
    outcome: String,
    containers: Vec<Container>,
    settings: Vec<Setting>,
}

#[derive(Deserialize)]
struct Container {
    name: String,
    reasoning: String,
    cpu: Option<Figures>,
    memory: Option<Figures>,
}

#[derive(Deserialize)]
struct Figures {
    usage: Option<f64>,
    request: f64,
    limit: f64,
    utilization: f64,
    trend: f64,
    q_values: [f32; 3],
    confidence: f64,
    preferred: String,
    action: String,
    new_limit: f64,
    expected_usage: f64,
    recent_peak: f64,
    recent_peak_age_seconds: i64,
    recent_peak_age_least_seconds: i64,
    killed_at: Option<f64>,
    lowest_safe_limit: f64,
    typical_use: f64,
    known_need: Option<f64>,
    step_down: f64,
    guard: Option<String>,
    waits: Option<String>,
    action_reason: Option<String>,
    room_reason: Option<String>,
}

#[derive(Deserialize)]
struct Setting {
    name: String,
    value: Value,
    source: String,
}

pub async fn run(args: ExplainArgs) -> anyhow::Result<()> {
    let Some((namespace, name)) = args.pod.split_once('/') else {
        anyhow::bail!("{:?} is no NAMESPACE/POD", args.pod);
    };
    let server = Server::new(&args.server)?;
    let path = format!("/pods/{}/{}/explanation", escaped(namespace), escaped(name));
    let explained: Explained = server.get(&path).await?;
    let term = Term::stdout();
    for line in lines(&explained) {
        term.write_line(&line)?;
    }
    Ok(())
}

fn lines(explained: &Explained) -> Vec<String> {
    let Explained { namespace, pod_name, workload, outcome, containers, settings } = explained;
    let of = workload.as_deref().map(|of| format!(" of {of}")).unwrap_or_default();
    let title = format!("Pod {namespace}/{pod_name}{of}");
    let mut lines = vec![style(title).bold().to_string(), format!("{outcome}.")];
    for container in containers {
        lines.push(String::new());
        lines.push(style(format!("Container {}", container.name)).bold().to_string());
        lines.push(container.reasoning.clone());
        let (Some(cpu), Some(memory)) = (&container.cpu, &container.memory) else { continue };
        lines.extend(cpu.reasons(Resource::Cpu).chain(memory.reasons(Resource::Memory)));
        lines.push(format!("  {:<22}{:>24}{:>24}", "", "CPU", "memory"));
        let (cpu, memory) = (cpu.told(Resource::Cpu), memory.told(Resource::Memory));
        for ((label, cpu), (_, memory)) in cpu.into_iter().zip(memory) {
            lines.push(format!("  {label:<22}{cpu:>24}{memory:>24}"));
        }
    }
    lines.push(String::new());
    lines.push(style("Settings, and where they come from").bold().to_string());
    let widest = settings.iter().map(|setting| setting.name.len()).max().unwrap_or_default();
    for Setting { name, value, source } in settings {
        let value = match value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        lines.push(format!("  {name:<widest$}  {value:<24}  {source}"));
    }
    lines
}

impl Figures {
    /// What the network goes by most of all.
    fn reasons(&self, resource: Resource) -> impl Iterator<Item = String> {
        let told = |what: &str, why: &Option<String>| {
            let label = resource.label();
            why.as_ref().map(|why| format!("{label}: {what} goes most of all by {why}."))
        };
        let action = told("what the network prefers", &self.action_reason);
        action.into_iter().chain(told("the room that it gives", &self.room_reason))
    }

    fn told(&self, resource: Resource) -> Vec<(&'static str, String)> {
        let said = |value: f64| amount(resource, value);
        let known = |value: f64| if value > 0.0 { said(value) } else { "not known".to_owned() };
        let (least, most) = (self.recent_peak_age_least_seconds, self.recent_peak_age_seconds);
        let when = if self.recent_peak > 0.0 { when(least, most) } else { "-".to_owned() };
        let [decrease, maintain, increase] = self.q_values.map(|value| format!("{value:.3}"));
        vec![
            ("usage", self.usage.map_or("not measured".into(), said)),
            ("request", said(self.request)),
            ("limit", said(self.limit)),
            ("share of the limit", format!("{:.0} %", self.utilization * 100.0)),
            ("trend", format!("{:.3}", self.trend)),
            ("Q of DECREASE", decrease),
            ("Q of MAINTAIN", maintain),
            ("Q of INCREASE", increase),
            ("confidence", format!("{:.0} %", self.confidence * 100.0)),
            ("the network prefers", self.preferred.clone()),
            ("guard", self.guard.clone().unwrap_or_else(|| "-".into()).replace('_', " ")),
            ("waits", if self.waits.is_some() { "yes" } else { "no" }.to_owned()),
            ("action", self.action.clone()),
            ("new limit", said(self.new_limit)),
            ("expected usage", said(self.expected_usage)),
            ("recent peak", known(self.recent_peak)),
            ("when that was", when),
            ("killed at a limit of", self.killed_at.map_or("-".into(), said)),
            ("lowest safe limit", known(self.lowest_safe_limit)),
            ("typical use", known(self.typical_use)),
            ("need of the workload", self.known_need.map_or("not known".into(), said)),
            ("one step down", said(self.step_down)),
        ]
    }
}

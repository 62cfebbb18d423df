//! `dqn-scaler migrate`: from another autoscaler to this one.

pub mod objects;
pub mod vpa;

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use self::objects::Found;
use self::vpa::{Translation, translate};
use crate::config::Config;
use crate::core::resource::{PerResource, Resource};

/// Print the annotations and settings that mean what VerticalPodAutoscalers say
#[derive(Debug, Clone, Args)]
pub struct VpaArgs {
    /// YAML or JSON with VerticalPodAutoscalers, and perhaps their targets; - is standard input;
    /// without files the cluster of the kubeconfig is read
    pub files: Vec<PathBuf>,
    /// Namespaces; without them all
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub namespaces: Vec<String>,
    /// Print JSON instead of commands for a shell
    #[arg(long)]
    pub json: bool,
}

/// What is to be done about one VerticalPodAutoscaler.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    pub namespace: String,
    pub name: String,
    /// Kind and name of what it is for.
    pub target: String,
    #[serde(flatten)]
    pub translation: Translation,
}

pub async fn vpa(args: &VpaArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let found = match args.files.as_slice() {
        [] => objects::of_cluster(&args.namespaces).await?,
        files => objects::of_files(files)?,
    };
    let steps = steps(found, &args.namespaces);
    let settings = settings(&steps);
    if args.json {
        let all = serde_json::json!({"workloads": steps, "settings": settings});
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
    } else {
        write!(out, "{}", shown(&steps, &settings))?;
    }
    Ok(())
}

pub fn steps(found: Found, namespaces: &[String]) -> Vec<Step> {
    let wanted = |namespace: &String| namespaces.is_empty() || namespaces.contains(namespace);
    let vpas = found.vpas.iter().filter(|vpa| wanted(&vpa.namespace));
    let step = |vpa: &objects::Vpa| {
        let target = vpa.spec.target_ref.clone().unwrap_or_default();
        let containers = found.containers_of(&vpa.namespace, &target);
        let mut translation = translate(&vpa.spec, containers);
        if !is_annotated(&target.kind) {
            translation.remarks.push(format!(
                "annotations on a {} are not read: put them into its pod template",
                target.kind
            ));
        }
        Step {
            namespace: vpa.namespace.clone(),
            name: vpa.name.clone(),
            target: format!("{}/{}", target.kind.to_lowercase(), target.name),
            translation,
        }
    };
    vpas.map(step).collect()
}

fn is_annotated(kind: &str) -> bool {
    matches!(kind, "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
}

/// Options that must be other than their defaults, or the bounds of annotations would be cut off.
fn settings(steps: &[Step]) -> Vec<String> {
    let policy = Config::default().policy();
    let of = |bound: fn(&Translation) -> PerResource<Option<f64>>, resource| {
        steps.iter().filter_map(move |step| bound(&step.translation)[resource])
    };
    let mut settings = Vec::new();
    for (resource, name) in [(Resource::Cpu, "CPU"), (Resource::Memory, "MEMORY")] {
        let amount = |amount: f64| match resource {
            Resource::Cpu => format!("{amount}"),
            Resource::Memory => format!("{amount:.0}"),
        };
        let least = of(|of| of.least, resource).fold(f64::INFINITY, f64::min);
        if least < policy.min[resource] {
            settings.push(format!("MIN_{name}={}", amount(least)));
        }
        let most = of(|of| of.most, resource).fold(0.0, f64::max);
        if most > policy.max[resource] {
            settings.push(format!("MAX_{name}={}", amount(most)));
        }
    }
    let mut namespaces: Vec<&str> = steps.iter().map(|step| step.namespace.as_str()).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    if !namespaces.is_empty() {
        settings.push(format!("NAMESPACES={}", namespaces.join(",")));
    }
    settings
}

/// Commands, with what is to be known as comments.
pub fn shown(steps: &[Step], settings: &[String]) -> String {
    let mut text = String::new();
    let mut line = |of: String| {
        text.push_str(&of);
        text.push('\n');
    };
    if steps.is_empty() {
        line("# There is no VerticalPodAutoscaler.".into());
        return text;
    }
    line("# Settings of the service:".into());
    settings.iter().for_each(|setting| line(format!("#   {setting}")));
    for step in steps {
        let Step { namespace, name, target, translation } = step;
        line(format!("\n# VerticalPodAutoscaler {namespace}/{name}, for {target}"));
        translation.remarks.iter().for_each(|remark| line(format!("# note: {remark}")));
        let none = translation.no_counterpart.iter();
        none.for_each(|what| line(format!("# no counterpart: {what}")));
        line(format!("kubectl --namespace={namespace} annotate --overwrite {target} \\"));
        line(format!("    {}", translation.arguments().join(" ")));
    }
    line(
        "\n# As long as a VerticalPodAutoscaler acts, its pods are left to it. To hand over:"
            .into(),
    );
    for Step { namespace, name, .. } in steps {
        let off = r#"{"spec":{"updatePolicy":{"updateMode":"Off"}}}"#;
        line(format!(
            "kubectl --namespace={namespace} patch vpa {name} --type=merge --patch='{off}'"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECTS: &str = r#"
apiVersion: autoscaling.k8s.io/v1
kind: VerticalPodAutoscaler
metadata: {name: web, namespace: shop}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  updatePolicy: {updateMode: Recreate, minReplicas: 2}
  resourcePolicy:
    containerPolicies:
    - containerName: "*"
      minAllowed: {cpu: 25m, memory: 64Mi}
      maxAllowed: {cpu: 6, memory: 12Gi}
---
apiVersion: v1
kind: List
items:
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: web, namespace: shop}
  spec:
    template:
      spec:
        containers:
        - name: app
          resources: {requests: {cpu: 500m, memory: 1Gi}, limits: {cpu: 1, memory: 2Gi}}
- apiVersion: autoscaling.k8s.io/v1beta2
  kind: VerticalPodAutoscaler
  metadata: {name: nightly}
  spec:
    targetRef: {apiVersion: batch/v1, kind: CronJob, name: nightly}
    updatePolicy: {updateMode: "Off"}
"#;

    #[test]
    fn commands_and_settings_are_printed_and_what_has_none_is_told() {
        let found = objects::read(OBJECTS).unwrap();
        let steps = steps(found, &[]);
        let text = shown(&steps, &settings(&steps));
        for line in [
            "#   MIN_CPU=0.05",
            "#   MAX_CPU=12",
            "#   MAX_MEMORY=24576",
            "#   NAMESPACES=default,shop",
            "# VerticalPodAutoscaler shop/web, for deployment/web",
            "# no counterpart: minReplicas: no pod is evicted",
            "kubectl --namespace=shop annotate --overwrite deployment/web \\",
            "    dqn-scaler.io/max-cpu=12 dqn-scaler.io/max-memory=24Gi dqn-scaler.io/min-cpu=50m \
             dqn-scaler.io/min-memory=128Mi dqn-scaler.io/mode=live",
            "# note: annotations on a CronJob are not read: put them into its pod template",
            "    dqn-scaler.io/mode=recommend",
        ] {
            assert!(text.lines().any(|of| of == line), "{line}:\n{text}");
        }
        let one = super::steps(objects::read(OBJECTS).unwrap(), &["default".to_owned()]);
        assert_eq!(one.len(), 1);
        assert!(shown(&[], &[]).contains("no VerticalPodAutoscaler"));
    }
}

//! Puts pods back to what their templates give, in place: the way out.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use futures::StreamExt;
use kube::Client;

use super::apply::{Fallback, Resize};
use crate::client::connect;
use crate::client::retry::Deadline;
use crate::clock::Clock;
use crate::cluster::{Cluster, WriteTurn};
use crate::config::Config;
use crate::core::context::OwnedPod;
use crate::core::plan::{Change, Plan};
use crate::core::pod::PodContainer;
use crate::core::resource::Resource;
use crate::core::revert::{Template, back, is_ours};
use crate::leader::Leadership;

/// Pods that are resized at the same time.
const AT_ONCE: usize = 4;
/// For the first answer of a cluster.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Put pods back to their templates' resources, in place; without --apply only tell which
#[derive(Debug, Clone, Args)]
pub struct RevertArgs {
    /// Namespaces whose pods are put back
    #[arg(long, env = "NAMESPACES", value_delimiter = ',', default_value = "default")]
    namespaces: Vec<String>,
    /// Do it
    #[arg(long)]
    apply: bool,
    /// As the service has it
    #[arg(long, env = "KUBERNETES_IN_CLUSTER")]
    in_cluster: Option<bool>,
}

pub async fn run(args: RevertArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let connecting = connect::connect(args.in_cluster, "revert", false);
    let client = connecting.await.context("the cluster")?.client;
    revert(client, Clock::new(1.0), &args.namespaces, args.apply, out).await
}

/// An error where not every pod could be put back.
pub async fn revert(
    client: Client,
    clock: Clock,
    namespaces: &[String],
    apply: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let config = Config { namespaces: namespaces.to_vec(), ..Config::default() };
    let cluster = Cluster::new(client, clock, Arc::new(Leadership::alone()), &config);
    let mut listing = cluster.pods(namespaces, Deadline::after(TIMEOUT)).await?;
    listing.pods.sort_unstable_by(|a, b| a.pod.key.cmp(&b.pod.key));
    let mut faults = 0;
    for unreadable in &listing.unreadable {
        writeln!(out, "{}: {}", unreadable.namespace, unreadable.error)?;
        faults += 1;
    }
    for namespace in namespaces {
        let is_read = listing.unreadable.iter().all(|of| of.namespace != *namespace);
        if is_read && listing.pods.iter().all(|owned| owned.pod.key.namespace != *namespace) {
            writeln!(out, "{namespace}: it has no pods, or there is no such namespace")?;
        }
        faults += usize::from(!forget_sizes(&cluster, namespace, apply, out).await?);
    }
    let mut templates: HashMap<String, Option<Template>> = HashMap::new();
    let mut due = Vec::new();
    for owned in listing.pods.into_iter().filter(|owned| is_there(owned) && is_ours(&owned.pod)) {
        let key = owned.pod.key.clone();
        let Some(owner) = owned.pod.owner.clone() else {
            writeln!(out, "{}/{}: it has no template", key.namespace, key.name)?;
            continue;
        };
        if !templates.contains_key(&owner.uid) {
            let found = cluster.template_of(&key.namespace, &owner).await;
            if let Err(error) = &found {
                writeln!(out, "{}/{}: {error}", key.namespace, key.name)?;
                faults += 1;
            }
            templates.insert(owner.uid.clone(), found.ok());
        }
        let Some(Some(template)) = templates.get(&owner.uid) else { continue };
        let plan = back(&owned.pod, template);
        if !plan.is_empty() {
            writeln!(out, "{}/{}: {}", key.namespace, key.name, words(&owned, &plan))?;
            due.push((owned, plan));
        }
    }
    if !apply {
        writeln!(out, "{} pods differ. Nothing was changed: --apply does it.", due.len())?;
    } else {
        let (done, failed) = carry_out(&cluster, due, out).await?;
        writeln!(out, "{done} pods are as their templates have them, {failed} are not.")?;
        faults += failed;
    }
    anyhow::ensure!(faults == 0, "not everything could be put back");
    Ok(())
}

fn is_there(owned: &OwnedPod) -> bool {
    !owned.pod.deleting && !owned.pod.mirror && *owned.pod.phase == *"Running"
}

/// What new pods of a namespace are made with; false where it could not be deleted.
async fn forget_sizes(
    cluster: &Cluster,
    namespace: &str,
    apply: bool,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    // Who may not read it has none: the right is the component's that makes it.
    let there = cluster.sizes(namespace).await.is_ok_and(|sizes| !sizes.is_empty());
    if !there {
        return Ok(true);
    }
    writeln!(out, "{namespace}: new pods are made with what is remembered, and no longer")?;
    if !apply {
        return Ok(true);
    }
    let deleted = cluster.delete_sizes(namespace).await;
    if let Err(error) = &deleted {
        writeln!(out, "{namespace}: {error}")?;
    }
    Ok(deleted.is_ok())
}

/// How many pods are as they should be, and how many are not.
async fn carry_out(
    cluster: &Cluster,
    due: Vec<(OwnedPod, Plan)>,
    out: &mut impl Write,
) -> anyhow::Result<(usize, usize)> {
    let work = due.into_iter().map(|(owned, plan)| async move {
        let timeout = Duration::from_secs(Config::default().resize_timeout);
        let resize = Resize::by_parts(owned.clone(), plan, Fallback::None);
        let attempts = resize.carry_through(cluster, timeout, &WriteTurn::default()).await;
        let said = attempts.into_iter().filter_map(|attempt| match attempt.result {
            Ok(applied) => applied.pending.map(|pending| (true, pending.to_string())),
            Err(error) => Some((false, error.to_string())),
        });
        (owned.pod.key.clone(), said.collect::<Vec<_>>())
    });
    let mut work = futures::stream::iter(work).buffer_unordered(AT_ONCE);
    let (mut done, mut failed) = (0, 0);
    while let Some((key, said)) = work.next().await {
        for (_, what) in &said {
            writeln!(out, "{}/{}: {what}", key.namespace, key.name)?;
        }
        match said.iter().all(|(accepted, _)| *accepted) {
            true => done += 1,
            false => failed += 1,
        }
    }
    Ok((done, failed))
}

/// `app: cpu limit 300m -> 1, memory request 64Mi -> 128Mi`
fn words(owned: &OwnedPod, plan: &Plan) -> String {
    let of_container = |container: &PodContainer| {
        let steps = steps(container, plan.get(&*container.name)?).join(", ");
        Some(format!("{}: {steps}", container.name))
    };
    owned.pod.containers.iter().filter_map(of_container).collect::<Vec<_>>().join("; ")
}

fn steps(container: &PodContainer, change: &Change) -> Vec<String> {
    let now = &container.resources;
    let kinds =
        [("request", &change.requests, &now.requests), ("limit", &change.limits, &now.limits)];
    let steps = Resource::ALL.into_iter().flat_map(|resource| {
        kinds.into_iter().filter_map(move |(kind, wanted, now)| {
            let (name, none) = (resource.name(), "none".to_owned());
            let (wanted, now) = (wanted.get(name)?, now.get(name).unwrap_or(&none).clone());
            Some(format!("{name} {kind} {now} -> {wanted}"))
        })
    });
    steps.collect()
}

//! VerticalPodAutoscalers and their targets, from a cluster or from files.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::Value;

use super::vpa::{Spec, TargetContainer, TargetRef};
use crate::client::connect::connect;
use crate::client::error::describe;
use crate::core::quantity;
use crate::core::resource::{PerResource, Resource};
use crate::files;

/// A whole cluster's worth of YAML.
const LONGEST: u64 = 64 << 20;
const PAGE: u32 = 500;

/// One VerticalPodAutoscaler.
#[derive(Debug, Clone)]
pub struct Vpa {
    pub namespace: String,
    pub name: String,
    pub spec: Spec,
}

#[derive(Debug, Clone, Default)]
pub struct Found {
    pub vpas: Vec<Vpa>,
    /// By namespace, kind and name.
    targets: BTreeMap<(String, String, String), Vec<TargetContainer>>,
}

impl Found {
    pub fn containers_of(&self, namespace: &str, target: &TargetRef) -> Option<&[TargetContainer]> {
        let key = (namespace.to_owned(), target.kind.clone(), target.name.clone());
        self.targets.get(&key).map(Vec::as_slice)
    }

    /// Takes in an object, or those of a list.
    fn take(&mut self, object: &Value) -> anyhow::Result<()> {
        if let Some(items) = object["items"].as_array() {
            return items.iter().try_for_each(|item| self.take(item));
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
        if kind == "VerticalPodAutoscaler" {
            let spec = Spec::deserialize(&object["spec"])
                .with_context(|| format!("VerticalPodAutoscaler {namespace}/{name}"))?;
            self.vpas.push(Vpa { namespace, name, spec });
        } else if let Some(containers) = containers(object) {
            self.targets.insert((namespace, kind, name), containers);
        }
        Ok(())
    }
}

/// Of the pod template of an object, or of the jobs that it makes.
fn containers(object: &Value) -> Option<Vec<TargetContainer>> {
    let spec = &object["spec"];
    let templates = [&spec["template"], &spec["jobTemplate"]["spec"]["template"]];
    let template = templates.into_iter().find(|of| of["spec"]["containers"].is_array())?;
    let amounts = |list: &Value| {
        PerResource::build(|resource| {
            let text = match &list[Resource::name(resource)] {
                Value::String(text) => text.clone(),
                // As YAML reads `cpu: 1`.
                Value::Number(number) => number.to_string(),
                _ => return None,
            };
            quantity::amount(resource, &text)
        })
    };
    let container = |of: &Value| TargetContainer {
        name: of["name"].as_str().unwrap_or_default().to_owned(),
        requests: amounts(&of["resources"]["requests"]),
        limits: amounts(&of["resources"]["limits"]),
    };
    let of = |list: &str| template["spec"][list].as_array().into_iter().flatten();
    let sidecars = of("initContainers").filter(|container| container["restartPolicy"] == "Always");
    Some(of("containers").chain(sidecars).map(container).collect())
}

pub fn of_files(paths: &[PathBuf]) -> anyhow::Result<Found> {
    let mut found = Found::default();
    for path in paths {
        let text = match path == Path::new("-") {
            true => {
                let mut text = String::new();
                std::io::stdin().take(LONGEST).read_to_string(&mut text).map(|_| text)
            }
            false => files::read_text(path, LONGEST),
        };
        let file = || format!("{}", path.display());
        take_text(&mut found, &text.with_context(file)?).with_context(file)?;
    }
    Ok(found)
}

/// What is in a text of YAML documents, of which JSON is one.
#[cfg(test)]
pub fn read(text: &str) -> anyhow::Result<Found> {
    let mut found = Found::default();
    take_text(&mut found, text)?;
    Ok(found)
}

fn take_text(found: &mut Found, text: &str) -> anyhow::Result<()> {
    for document in serde_norway::Deserializer::from_str(text) {
        found.take(&Value::deserialize(document)?)?;
    }
    Ok(())
}

/// Those of the cluster, and the templates of what they are for, as far as they can be read.
pub async fn of_cluster(namespaces: &[String]) -> anyhow::Result<Found> {
    let client = connect(None, "migrate", false).await.context("cannot connect")?.client;
    let vpas = ApiResource::from_gvk(&GroupVersionKind::gvk(
        "autoscaling.k8s.io",
        "v1",
        "VerticalPodAutoscaler",
    ));
    let mut found = Found::default();
    let apis: Vec<Api<DynamicObject>> = match namespaces {
        [] => vec![Api::all_with(client.clone(), &vpas)],
        named => named
            .iter()
            .map(|namespace| Api::namespaced_with(client.clone(), namespace, &vpas))
            .collect(),
    };
    for api in apis {
        let mut parameters = ListParams::default().limit(PAGE);
        loop {
            let page = api.list(&parameters).await.map_err(|error| {
                let message = describe(&error);
                anyhow::anyhow!("cannot list verticalpodautoscalers: {message}")
            })?;
            for object in page.items {
                found.take(&with_kind(object, "VerticalPodAutoscaler")?)?;
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => break,
            }
        }
    }
    let targets: Vec<_> = found
        .vpas
        .iter()
        .filter_map(|vpa| Some((vpa.namespace.clone(), vpa.spec.target_ref.clone()?)))
        .collect();
    for (namespace, target) in targets {
        if let Some(object) = target_of(&client, &namespace, &target).await {
            found.take(&object)?;
        }
    }
    Ok(found)
}

async fn target_of(client: &Client, namespace: &str, target: &TargetRef) -> Option<Value> {
    let (group, version) = target.api_version.split_once('/').unwrap_or(("", &target.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &target.kind));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    match api.get(&target.name).await {
        Ok(object) => with_kind(object, &target.kind).ok(),
        Err(error) => {
            let (kind, name) = (&target.kind, &target.name);
            tracing::warn!(namespace, kind, name, error = describe(&error), "not read");
            None
        }
    }
}

/// The items of a list do not tell their kind.
fn with_kind(object: DynamicObject, kind: &str) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(object)?;
    value["kind"] = kind.into();
    Ok(value)
}

//! What runs in a new simulated cluster: a shop whose limits were guessed, as they are everywhere.

use serde_json::{Value, json};

use super::json::set;
use super::node::{Node, address};
use super::physics::Resources;
use super::resources::Resource;
use super::store::Key;
use super::validation;
use super::workload::{Kind, Workload};
use super::world::World;

const HOUR: f64 = 3600.0;

/// A workload of the demonstration: who it is, what it was given, and what it wants.
struct App {
    resource: Resource,
    namespace: &'static str,
    name: &'static str,
    replicas: usize,
    /// Quantities of CPU and memory, parted by a slash; "" is none.
    requests: &'static str,
    limits: &'static str,
    demand: (Kind, f64, f64),
}

#[rustfmt::skip]
const APPS: [App; 14] = {
    use Kind::{Batch, Bursty, Daily, Leaking, Ramping, Steady};
    use Resource::{DaemonSets, Deployments, Pods, StatefulSets};
    const fn app(
        resource: Resource, namespace: &'static str, name: &'static str, replicas: usize,
        requests: &'static str, limits: &'static str, demand: (Kind, f64, f64),
    ) -> App {
        App { resource, namespace, name, replicas, requests, limits, demand }
    }
    [
        app(Deployments, "default", "web", 3, "250m/256Mi", "1/512Mi", (Daily, 0.30, 210.0)),
        app(Deployments, "default", "api", 3, "200m/300Mi", "400m/600Mi", (Bursty, 0.25, 260.0)),
        app(Deployments, "default", "worker", 2, "1/2Gi", "4/4Gi", (Batch, 0.40, 500.0)),
        app(Deployments, "default", "redis", 1, "100m/128Mi", "500m/256Mi", (Steady, 0.08, 90.0)),
        app(Deployments, "default", "static-files", 2, "", "", (Steady, 0.02, 40.0)),
        app(Pods, "default", "debug-shell", 1, "100m/64Mi", "500m/256Mi", (Steady, 0.03, 40.0)),
        app(Deployments, "shop", "checkout", 2, "1/1Gi", "1/1Gi", (Steady, 0.45, 400.0)),
        app(Deployments, "shop", "cart", 2, "300m/512Mi", "1500m/1Gi", (Ramping, 0.40, 380.0)),
        app(Deployments, "shop", "recommender", 2, "500m/512Mi", "2/1280Mi", (Leaking, 0.6, 420.0)),
        app(Deployments, "shop", "search", 2, "500m/1Gi", "", (Daily, 0.50, 700.0)),
        app(StatefulSets, "data", "postgres", 2, "500m/1Gi", "2/4Gi", (Daily, 0.70, 1300.0)),
        app(StatefulSets, "data", "kafka", 3, "1/2Gi", "2/3Gi", (Bursty, 0.50, 1400.0)),
        app(Deployments, "data", "etl", 1, "500m/512Mi", "1/2Gi", (Batch, 0.50, 250.0)),
        app(
            DaemonSets, "monitoring", "log-agent", 1, "50m/64Mi", "200m/256Mi",
            (Steady, 0.04, 90.0),
        ),
    ]
};

/// Three nodes, four namespaces, and what runs in them.
pub fn fill(world: &mut World) {
    add_nodes(world, 3, 16.0, 64.0);
    for namespace in ["default", "shop", "data", "monitoring", "kube-system"] {
        add_namespace(world, namespace);
    }
    for (seed, app) in APPS.iter().enumerate() {
        world.settled_age = Some(HOUR + 600.0 * seed as f64);
        let (kind, cpu, memory) = app.demand;
        let workload = Workload::generate_at(kind, seed as u64 + 1, cpu, memory);
        let mut spec = json!({ "containers": [container(app.name, app.requests, app.limits)] });
        if app.name == "web" {
            let mut proxy = container("proxy", "50m/64Mi", "200m/128Mi");
            set(&mut proxy, &[], "restartPolicy", "Always");
            spec["initContainers"] = json!([proxy]);
        }
        declare(world, app.resource, app.namespace, app.name, app.replicas, spec, workload);
    }
}

/// A Deployment of one pod for each recording, with limits of twice the mean of the first hour.
pub fn fill_with_recordings(world: &mut World, recordings: &[(String, Workload)]) {
    let limits: Vec<Resources> =
        recordings.iter().map(|(_, workload)| twice_the_first_hour(workload)).collect();
    let cores: f64 = limits.iter().map(|limits| limits.cpu).sum();
    let gib = limits.iter().map(|limits| limits.memory / 1024.0).sum::<f64>();
    // Room for every limit to double.
    let nodes = (2.0 * cores / 64.0).max(2.0 * gib / 256.0).ceil().max(1.0) as usize;
    add_nodes(world, nodes, 64.0, 256.0);
    add_namespace(world, "default");
    world.settled_age = Some(HOUR);
    for ((name, workload), limits) in recordings.iter().zip(limits) {
        let name = dns_label(name);
        let amount = |share: f64| {
            (
                format!("{}m", (1000.0 * share * limits.cpu).ceil()),
                format!("{}Mi", (share * limits.memory).ceil()),
            )
        };
        let (requests, limits) = (amount(0.5), amount(1.0));
        let text = |(cpu, memory): &(String, String)| json!({ "cpu": cpu, "memory": memory });
        let resources = json!({ "requests": text(&requests), "limits": text(&limits) });
        let spec = json!({
            "containers": [{ "name": name, "image": image(&name), "resources": resources }],
        });
        declare(world, Resource::Deployments, "default", &name, 1, spec, workload.clone());
    }
}

pub fn add_nodes(world: &mut World, count: usize, cores: f64, gib: f64) {
    for index in 0..count {
        let name = format!("node-{}", index + 1);
        let mut node = Node::new(cores, gib);
        node.address = address(index);
        node.labels = [
            ("kubernetes.io/hostname", name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
        ]
        .map(|(label, value)| (label.to_owned(), value.to_owned()))
        .into();
        let (version, now, uid) = (world.version.git_version(), world.timestamp(), world.uid());
        let since = world.timestamp_at(world.now - 30.0 * 24.0 * HOUR);
        world.store.put(Resource::Nodes, node.object(&name, index, version, &since, &now, uid));
        world.nodes.insert(name, node);
    }
}

pub fn add_namespace(world: &mut World, name: &str) {
    let mut namespace = json!({
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } },
        "spec": { "finalizers": ["kubernetes"] },
        "status": { "phase": "Active" },
    });
    world.identify(&mut namespace);
    world.store.put(Resource::Namespaces, namespace);
}

/// Declares a workload whose pods want `workload`, each a little differently.
pub fn declare(
    world: &mut World,
    resource: Resource,
    namespace: &str,
    name: &str,
    replicas: usize,
    spec: Value,
    workload: Workload,
) {
    let key = Key::new(namespace, name);
    let labels = json!({ "app": name });
    let mut spec = spec;
    // The quantities are the project's own: they can be read.
    let _ = validation::canonicalise(&mut spec);
    world.workloads.insert((resource, key.clone()), workload);
    if resource == Resource::Pods {
        world.add_pod(json!({
            "metadata": { "name": name, "namespace": namespace, "labels": labels }, "spec": spec,
        }));
        return;
    }
    let mut object = json!({
        "kind": resource.describe().kind,
        "apiVersion": resource.api_version(),
        "metadata": { "name": name, "namespace": namespace, "labels": labels, "generation": 1 },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": spec },
        },
        "status": {},
    });
    match resource {
        Resource::Deployments => {
            object["spec"]["replicas"] = replicas.into();
            object["spec"]["strategy"] = json!({ "type": "RollingUpdate" });
        }
        Resource::StatefulSets => {
            object["spec"]["replicas"] = replicas.into();
            object["spec"]["serviceName"] = name.into();
        }
        _ => {}
    }
    world.identify(&mut object);
    world.store.put(resource, object);
    world.reconcile(resource, &key);
    world.reconcile_soon(resource, &key);
}

fn container(name: &str, requests: &str, limits: &str) -> Value {
    let mut resources = json!({});
    for (list, quantities) in [("requests", requests), ("limits", limits)] {
        if let Some((cpu, memory)) = quantities.split_once('/') {
            resources[list] = json!({ "cpu": cpu, "memory": memory });
        }
    }
    json!({ "name": name, "image": image(name), "resources": resources })
}

fn image(name: &str) -> String {
    format!("example.test/{name}:1.0")
}

fn twice_the_first_hour(workload: &Workload) -> Resources {
    let steps = 120;
    let demand = (0..steps).map(|step| workload.demand(30.0 * f64::from(step), 0.0));
    let (cpu, memory) =
        demand.fold((0.0, 0.0), |(cpu, memory), d| (cpu + d.cpu, memory + d.memory));
    Resources {
        cpu: (2.0 * cpu / f64::from(steps)).max(0.1),
        memory: (2.0 * memory / f64::from(steps)).max(20.0),
    }
}

/// A file's name as the name of an object: lower-case letters, digits and dashes, at most 40 of
/// them.
fn dns_label(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(40)
        .collect();
    match plain.trim_matches('-') {
        "" => "recording".to_owned(),
        label => label.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::sim::json;
    use crate::sim::world::{START, ServerVersion};

    fn world() -> World {
        let mut world = World::new(ServerVersion::default(), DateTime::UNIX_EPOCH, 1, 1000, 5.0);
        fill(&mut world);
        world.settled_age = None;
        world.advance_to(START, || false);
        world
    }

    fn pods_of(world: &World, name: &str) -> Vec<Value> {
        let ours = |pod: &Value| json::text(pod, "/metadata/labels/app") == name;
        world.store.range(Resource::Pods, None, None).map(|pod| pod.value()).filter(ours).collect()
    }

    #[test]
    fn it_begins_with_everything_running_and_measured() {
        let mut world = world();
        assert_eq!(world.store.len(Resource::Pods), 29);
        let running = |world: &World| {
            let pods = world.store.range(Resource::Pods, None, None);
            pods.filter(|pod| json::text(&pod.value(), "/status/phase") == "Running").count()
        };
        assert_eq!(running(&world), 29);
        assert!(world.pods.keys().all(|pod| world.pod_metric(pod).is_some()));
        world.advance_to(START + 12.0 * HOUR, || false);
        assert_eq!(running(&world), 29);
        let killed: u32 =
            world.pods.values().flat_map(|pod| &pod.containers).map(|c| c.oom_kills).sum();
        assert!(killed > 0, "something here has too little memory");
        assert_eq!(
            world.store.value(Resource::Deployments, &Key::new("default", "web")).unwrap()["status"]
                ["readyReplicas"],
            3
        );
    }

    #[test]
    fn a_changed_template_is_rolled_out_without_losing_replicas() {
        let mut world = world();
        for (resource, namespace, name, replicas) in [
            (Resource::Deployments, "default", "web", 3),
            (Resource::StatefulSets, "data", "kafka", 3),
            (Resource::DaemonSets, "monitoring", "log-agent", 3),
        ] {
            let key = Key::new(namespace, name);
            let mut object = world.store.value(resource, &key).unwrap();
            object["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] =
                "3333Mi".into();
            object["metadata"]["generation"] = 2.into();
            world.store.put(resource, object);
            world.reconcile_soon(resource, &key);
            let end = world.now + 120.0;
            while world.now < end {
                world.advance_to(world.now + 1.0, || false);
                let ready = world.pods.iter().filter(|(pod, runtime)| {
                    pod.namespace == namespace && pod.name.starts_with(name) && runtime.is_ready()
                });
                assert!(ready.count() >= replicas - 1, "{name}");
            }
            let pods = pods_of(&world, name);
            assert_eq!(pods.len(), replicas, "{name}");
            for pod in pods {
                assert_eq!(
                    pod["spec"]["containers"][0]["resources"]["limits"]["memory"], "3333Mi",
                    "{name}"
                );
            }
            let status = &world.store.value(resource, &key).unwrap()["status"];
            let updated = status.get("updatedReplicas").or(status.get("updatedNumberScheduled"));
            assert_eq!(updated, Some(&json!(replicas)), "{name}");
        }
    }
}

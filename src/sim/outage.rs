//! What fails on nodes, when it is wanted: kubelets that do not act, containers that crash.

use std::sync::Arc;

use super::due::{Due, PodDue};
use super::json::array;
use super::node::Kubelet;
use super::pods::set_condition;
use super::resources::Resource;
use super::runtime::{CrashLoop, Pod};
use super::store::{Key, Object};
use super::world::World;

/// Seconds until a node counts as lost whose kubelet reports nothing.
const LOST: f64 = 40.0;

impl World {
    /// Lets the kubelet of a node behave otherwise from now on. What it has left undone it does
    /// once it acts again.
    pub fn set_kubelet(&mut self, name: &str, kubelet: Kubelet) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let before = std::mem::replace(&mut node.kubelet, kubelet);
        for (pod, incarnation, due) in std::mem::take(&mut node.postponed) {
            self.after(0.1, Due::Pod(pod, incarnation, due));
        }
        if kubelet == Kubelet::Stopped {
            self.after(LOST, Due::NodeLost(name.to_owned()));
        } else if before == Kubelet::Stopped {
            self.report_node(name, "True", "KubeletReady", "kubelet is posting ready status");
        }
    }

    /// Lets a container of a workload's pods crash again and again from now on, or no more.
    pub fn set_crash_loop(
        &mut self,
        resource: Resource,
        workload: &Key,
        container: &str,
        crash: Option<CrashLoop>,
    ) {
        let entry = (resource, workload.clone(), container.to_owned());
        match crash {
            Some(crash) => drop(self.crash_loops.insert(entry, crash)),
            None => drop(self.crash_loops.remove(&entry)),
        }
        let pods = self.store.range(Resource::Pods, Some(&workload.namespace), None);
        let ours = |pod: &Arc<Object>| {
            self.workload_key(&pod.value(), &pod.key) == (resource, workload.clone())
        };
        let pods: Vec<Key> = pods.filter(|pod| ours(pod)).map(|pod| pod.key.clone()).collect();
        for pod in pods {
            let containers =
                self.pods.get_mut(&pod).into_iter().flat_map(|pod| &mut pod.containers);
            for named in containers.filter(|named| named.name == container) {
                named.crash_loop = crash;
            }
        }
    }

    /// Whether a kubelet leaves something undone for now; then it is noted.
    pub(super) fn kubelet_postpones(&mut self, key: &Key, due: PodDue) -> bool {
        let Some(pod) = self.pods.get(key) else { return false };
        let Some(node) = pod.node.as_ref().and_then(|node| self.nodes.get_mut(node)) else {
            return false;
        };
        let postpones = match due {
            PodDue::Schedule => false,
            PodDue::Start | PodDue::Remove => node.kubelet == Kubelet::Stopped,
            PodDue::AdmitResize | PodDue::ActuateResize => {
                matches!(node.kubelet, Kubelet::Silent | Kubelet::Stopped)
            }
        };
        if postpones {
            node.postponed.push((key.clone(), pod.incarnation, due));
        }
        postpones
    }

    /// The control plane finds that a kubelet reports nothing.
    pub(super) fn lose_node(&mut self, name: &str) {
        if self.nodes.get(name).is_some_and(|node| node.kubelet == Kubelet::Stopped) {
            let message = "Kubelet stopped posting node status.";
            self.report_node(name, "Unknown", "NodeStatusUnknown", message);
        }
    }

    /// Writes whether a node is ready, and with it its pods.
    fn report_node(&mut self, name: &str, status: &str, reason: &str, message: &str) {
        let key = Key::new("", name);
        let Some(mut object) = self.store.value(Resource::Nodes, &key) else { return };
        let now = self.timestamp();
        for condition in array(&mut object, &["status"], "conditions") {
            if condition["type"] == "Ready" && condition["status"] != status {
                condition["status"] = status.into();
                condition["reason"] = reason.into();
                condition["message"] = message.into();
                condition["lastTransitionTime"] = now.clone().into();
            }
        }
        self.store.put(Resource::Nodes, object);
        let runs = |key: &&Key| self.pods.get(key).is_some_and(Pod::runs);
        let pods = self.nodes.get(name).into_iter().flat_map(|node| &node.pods);
        let pods: Vec<Key> = pods.filter(runs).cloned().collect();
        for key in pods {
            let Some(mut pod) = self.store.value(Resource::Pods, &key) else { continue };
            if status == "True" {
                self.readiness(&key, &mut pod);
            } else {
                set_condition(&mut pod, "Ready", "False", None, &now);
            }
            self.store.put(Resource::Pods, pod);
        }
    }
}

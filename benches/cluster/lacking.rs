//! How long containers lack something before their limit is another: seen from inside the cluster,
//! whatever the service says of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dqn_scaler::sim::node::Kubelet;
use dqn_scaler::sim::physics::Resources;
use dqn_scaler::sim::runtime::{Container, Pod};
use dqn_scaler::sim::simulation::Simulation;
use dqn_scaler::sim::store::Key;
use dqn_scaler::sim::world::World;
use serde::{Deserialize, Serialize};

use crate::contents::own_demand;

/// Steps of the cluster's physics, and looks at those that lack something.
const STEP: u32 = 5;
const LOOK: Duration = Duration::from_secs(1);

/// By how the kubelets of their nodes behave.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Lacking {
    pub prompt: Waits,
    pub slow: Waits,
    pub silent: Waits,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Waits {
    /// Seconds from when a container was first seen to be throttled or killed for memory until its
    /// limit was raised.
    pub raised: Vec<f64>,
    /// Those that were throttled no more before that, or whose pod was gone.
    pub passed: usize,
    /// Seconds that those wait that still do.
    pub waiting: Vec<f64>,
}

impl Lacking {
    fn of(&mut self, kubelet: Kubelet) -> &mut Waits {
        match kubelet {
            Kubelet::Prompt => &mut self.prompt,
            Kubelet::Slow { .. } => &mut self.slow,
            Kubelet::Silent | Kubelet::Stopped => &mut self.silent,
        }
    }
}

/// What the last look has seen of a container.
#[derive(Clone, Copy)]
struct Seen {
    throttled_seconds: f64,
    oom_kills: u32,
    limits: Resources,
}

#[derive(Clone, Copy, PartialEq)]
enum Lack {
    Cpu,
    Memory,
}

struct Case {
    pod: Key,
    kubelet: Kubelet,
    lack: Lack,
    since: f64,
    /// At the look before, for they may have been raised already.
    limits: Resources,
}

#[derive(Default)]
pub struct Observer {
    /// By pod and container.
    seen: HashMap<(u64, usize), Seen>,
    cases: HashMap<(u64, usize), Case>,
    ended: Lacking,
}

impl Observer {
    pub async fn run(observer: Arc<Mutex<Self>>, simulation: Arc<Simulation>) {
        for number in 0_u32.. {
            tokio::time::sleep(LOOK).await;
            let (mut world, mut observer) = (simulation.world(), locked(&observer));
            observer.follow(&world);
            if number.is_multiple_of(STEP) {
                observer.find(&mut world);
            }
        }
    }

    /// Whoever lacks something now counts from now on.
    pub fn begin(&mut self) {
        self.cases.clear();
        self.ended = Lacking::default();
    }

    /// What has come of those that lacked something.
    pub fn told(&self, world: &World) -> Lacking {
        let mut told = self.ended.clone();
        for case in self.cases.values() {
            told.of(case.kubelet).waiting.push(world.now - case.since);
        }
        told
    }

    /// Looks at all containers, and gives pods that are new a demand of their own.
    fn find(&mut self, world: &mut World) {
        let now = world.now;
        let kubelets: HashMap<&str, Kubelet> =
            world.nodes.iter().map(|(name, node)| (name.as_str(), node.kubelet)).collect();
        for (key, pod) in &mut world.pods {
            if !self.seen.contains_key(&(pod.incarnation, 0)) {
                pod.workload = own_demand(key);
            }
            let node = pod.node.as_deref().unwrap_or_default();
            let kubelet = kubelets.get(node).copied().unwrap_or_default();
            for (index, container) in pod.containers.iter().enumerate() {
                let id = (pod.incarnation, index);
                let seen = self.seen.entry(id).or_insert_with(|| Seen::of(container));
                let before = std::mem::replace(seen, Seen::of(container));
                let lack = match () {
                    () if seen.oom_kills > before.oom_kills => Some(Lack::Memory),
                    () if seen.throttled_seconds > before.throttled_seconds => Some(Lack::Cpu),
                    () => None,
                };
                match (lack, self.cases.get(&id)) {
                    (None, Some(case)) if case.lack == Lack::Cpu => {
                        self.cases.remove(&id);
                        self.ended.of(kubelet).passed += 1;
                    }
                    (Some(lack), None) => {
                        let (pod, limits) = (key.clone(), before.limits);
                        self.cases.insert(id, Case { pod, kubelet, lack, since: now, limits });
                    }
                    _ => {}
                }
            }
        }
    }

    /// Looks at those that lack something.
    fn follow(&mut self, world: &World) {
        let ended = &mut self.ended;
        self.cases.retain(|(incarnation, index), case| {
            let waits = ended.of(case.kubelet);
            let same = |pod: &&Pod| pod.incarnation == *incarnation && pod.is_active();
            let pod = world.pods.get(&case.pod).filter(same);
            let Some(container) = pod.and_then(|pod| pod.containers.get(*index)) else {
                waits.passed += 1;
                return false;
            };
            let raised = match case.lack {
                Lack::Cpu => container.limits.cpu > case.limits.cpu,
                Lack::Memory => container.limits.memory > case.limits.memory,
            };
            if raised {
                waits.raised.push(world.now - case.since);
            }
            !raised
        });
    }
}

impl Seen {
    fn of(container: &Container) -> Self {
        let Container { throttled_seconds, oom_kills, limits, .. } = *container;
        Self { throttled_seconds, oom_kills, limits }
    }
}

pub fn locked(observer: &Mutex<Observer>) -> MutexGuard<'_, Observer> {
    observer.lock().unwrap_or_else(PoisonError::into_inner)
}

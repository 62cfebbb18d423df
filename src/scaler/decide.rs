//! From pods and what was measured of them to what comes of them: the one way for all that is
//! decided on, whenever it is.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::StreamExt;

use super::agent::{Decided, Observed};
use super::cycle::{CycleError, Scaler, measured};
use super::outcomes;
use super::panics::{Panicked, attempt, catch};
use super::round::{Place, Round, Sifted, Way};
use super::stopwatch::Stopwatch;
use super::throttling::Known;
use super::wanted;
use crate::blocking::run_blocking;
use crate::client::retry::Deadline;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::core::budget::ResizeBudget;
use crate::core::change_record::Origin;
use crate::core::context::OwnedPod;
use crate::core::eligibility::{eligibility, is_ending};
use crate::core::observation::{Observation, Usage, observe};
use crate::core::outcome::{Outcome, Summed};
use crate::core::phases::Phase;
use crate::core::policy::{Controls, Settings};
use crate::core::reasons::Reasons;
use crate::core::resource::PerResource;
use crate::core::skip_reason::SkipReason;
use crate::model::ModelError;

/// What would be decided on a pod now.
pub struct Considered {
    pub decided: Decided,
    /// What the answers go by, container by container, where the model says what is typical.
    pub reasons: HashMap<Arc<str>, PerResource<Reasons>>,
    /// The limit that a new pod of its workload is given, or the request where there is none,
    /// container by container, as far as that is known.
    pub needs: HashMap<Arc<str>, PerResource<Option<f64>>>,
    /// What would come of it, in words.
    pub outcome: String,
}

impl Scaler {
    /// Decides on these pods and acts.
    pub(super) async fn run(
        &self,
        cluster: &Cluster,
        config: &Config,
        pods: Vec<(OwnedPod, Option<Usage>)>,
        round: &Round,
        watch: &mut Stopwatch,
    ) -> Result<Vec<Outcome>, CycleError> {
        let mut sifted = Sifted::default();
        self.sift(cluster, config, pods, round, watch, &mut sifted).await?;
        Ok(self.carry_out(cluster, config, sifted, round, watch).await)
    }

    /// What would be decided on one pod now: nothing is done and nothing is written down.
    pub async fn consider(
        &self,
        cluster: &Cluster,
        config: &Config,
        namespace: &str,
        name: &str,
    ) -> Result<Considered, CycleError> {
        let deadline = Deadline::default();
        let owned = cluster.pod_with_context(namespace, name, deadline).await?.select_containers();
        let usage = measured(cluster.usage_of(&owned, deadline).await);
        let settings = cluster.settings(config).await;
        let now = cluster.clock().now().timestamp();
        let throttled = self.throttling.known(now);
        let observed = observe_pod(owned, |_| usage.as_ref(), &settings, &throttled, now)?;
        let own_policy = observed.own_policy.clone();
        let own = own_policy.as_deref().unwrap_or(&settings.policy);
        let _place = self.deciding.acquire().await;
        let (decided, reasons, needs) = run_blocking(|| {
            let decided = self.decide_one(observed, &settings, now)?;
            let reasons = self.agent.reasons(&decided, own)?;
            let needs = self.agent.needs(&decided.owned, own, settings.dry_run);
            Ok::<_, CycleError>((decided, reasons, needs))
        })?;
        let mut budget = ResizeBudget::new(1, 1);
        let at = self.circumstances(cluster, &settings);
        let outcome = match self.next_step(&at, &decided, &mut budget) {
            Ok(_) => "it is resized at its turn".to_owned(),
            Err((_, message)) => message.into_owned(),
        };
        Ok(Considered { decided, reasons, needs, outcome })
    }

    /// What is decided on the same pod as it is now, by the newest that was measured of it. A pod
    /// that is not watched stays as it was decided on.
    pub(super) async fn renewed(
        &self,
        cluster: &Cluster,
        config: &Config,
        decided: Decided,
    ) -> Result<(Settings, Decided), CycleError> {
        let (settings, now) = (cluster.settings(config).await, cluster.clock().now().timestamp());
        let _place = self.deciding.acquire().await;
        let renewed: Result<_, CycleError> = run_blocking(|| {
            let key = &decided.owned.pod.key;
            let pod = cluster.watched(&key.namespace, &key.name).filter(|pod| pod.key == *key);
            let owned = cluster.watched_with_context(pod.into_iter().collect()).pop();
            let Some(owned) = owned.map(OwnedPod::select_containers) else { return Ok(decided) };
            let (usages, origin) = (self.agent.newest_usages(&decided, &owned), decided.origin);
            let throttled = self.throttling.known(now);
            let usage = |index: usize| usages.get(index)?.as_ref();
            let observed = observe_pod(owned, usage, &settings, &throttled, now)?;
            Ok(Decided { origin, ..self.decide_one(observed, &settings, now)? })
        });
        renewed.map(|renewed| (settings, renewed))
    }

    fn decide_one(
        &self,
        observed: Observed,
        settings: &Settings,
        now: i64,
    ) -> Result<Decided, CycleError> {
        let watch = &mut Stopwatch::start();
        let decided = self.agent.decide(vec![observed], &settings.policy, now, watch)?.pop();
        let none = || ModelError::Input("a pod without an answer".into());
        Ok(decided.ok_or_else(none)??)
    }

    /// Decides on these pods, tells of those that nothing is to be done with, and adds the others.
    pub(super) async fn sift(
        &self,
        cluster: &Cluster,
        config: &Config,
        pods: Vec<(OwnedPod, Option<Usage>)>,
        round: &Round,
        watch: &mut Stopwatch,
        sifted: &mut Sifted,
    ) -> Result<(), CycleError> {
        let now = cluster.clock().now();
        let settings = cluster.settings(config).await;
        let throttled = self.throttling.known(now.timestamp());
        let mut panicked = Vec::new();
        let observed = |(owned, usage): (_, Option<Usage>)| {
            let usage = |_| usage.as_ref();
            let observed = observe_pod(owned, usage, &settings, &throttled, now.timestamp());
            observed.map_err(|pod| panicked.push(pod)).ok()
        };
        let all = {
            let _place = self.deciding.acquire().await;
            run_blocking(|| {
                let observed = pods.into_iter().filter_map(observed).collect();
                self.agent.decide(observed, &settings.policy, now.timestamp(), watch)
            })?
        };
        let origin = Origin { by: round.by(), at: now.timestamp() };
        run_blocking(|| {
            let mut decided = Vec::with_capacity(all.len());
            for of in all {
                match of {
                    Ok(of) => decided.push(Decided { origin, ..of }),
                    Err(pod) => panicked.push(pod),
                }
            }
            let mut outcomes: Vec<_> = panicked.into_iter().map(Panicked::outcome).collect();
            self.settle(&decided, now);
            attempt("taking stock of pods", || {
                self.take_stock(&decided, round);
                round.list_near(&decided, &settings);
            });
            // How many may be done is a matter of all of them.
            let mut any = ResizeBudget::new(usize::MAX, usize::MAX);
            let at = self.circumstances(cluster, &settings);
            outcomes.reserve(decided.len());
            for decided in decided {
                match self.next_step(&at, &decided, &mut any) {
                    Ok(_) => {
                        let place = (wanted::urgency(&decided), rand::random());
                        sifted.due.push((place, decided));
                    }
                    Err(left) => {
                        outcomes.push(self.outcome(cluster, &settings, decided, left, now));
                    }
                }
            }
            // A large cluster wants far more than is done in one cycle.
            if sifted.due.len() > 2 * config.resizes_per_cycle {
                let due = std::mem::take(&mut sifted.due);
                let budget = &mut round.budget.lock().clone();
                let (turns, left_over) = self.within_budget(cluster, &settings, due, budget, now);
                sifted.due = turns;
                outcomes.extend(left_over);
            }
            outcomes.retain(|outcome| round.tells(outcome));
            watch.lap(Phase::Plan);
            self.tell(&outcomes, config, now);
            if !matches!(round.way, Way::Later { .. }) {
                sifted.outcomes.append(&mut outcomes);
            }
        });
        watch.lap(Phase::Apply);
        Ok(())
    }

    /// Does what is to be done, as far as that may be in this round, or puts it down for the
    /// dispatcher.
    pub(super) async fn carry_out(
        &self,
        cluster: &Cluster,
        config: &Config,
        Sifted { due, mut outcomes }: Sifted,
        round: &Round,
        watch: &mut Stopwatch,
    ) -> Vec<Outcome> {
        let now = cluster.clock().now();
        let settings = cluster.settings(config).await;
        let turns: Vec<_> = run_blocking(|| {
            let (turns, mut left_over) =
                self.within_budget(cluster, &settings, due, &mut round.budget.lock(), now);
            left_over.retain(|outcome| round.tells(outcome));
            self.tell(&left_over, config, now);
            outcomes.append(&mut left_over);
            turns.into_iter().map(|(_, decided)| decided).collect()
        });
        watch.lap(Phase::Plan);
        match round.way {
            Way::Later { since } => {
                run_blocking(|| self.wanted.put(turns, now.timestamp(), since));
            }
            Way::InTurn => {
                // What is under way when the service stops is told by the dispatcher.
                tokio::select! {
                    acted = self.wanted.put_and_wait(turns, now.timestamp()) => {
                        outcomes.extend(acted);
                    }
                    () = self.stopping.cancelled() => {}
                }
            }
            Way::Now => {
                let work = turns.into_iter().map(|due| self.act(cluster, config, &settings, due));
                let acted = futures::stream::iter(work).buffer_unordered(config.resize_concurrency);
                outcomes.extend(acted.collect::<Vec<_>>().await);
            }
        }
        watch.lap(Phase::Apply);
        outcomes
    }

    /// Adds what these pods ask for to what all of a cycle do.
    fn take_stock(&self, decided: &[Decided], round: &Round) {
        let mut balance = round.balance.lock();
        let Some(balance) = balance.as_mut() else { return };
        self.agent.with_template_sizes(decided, |decided, template| {
            let is_excluded = decided.decision == Err(SkipReason::Excluded);
            if !is_excluded && !is_ending(&decided.owned.pod) {
                outcomes::add(balance, decided, template);
            }
        });
    }

    /// Those of the pods that have their turn, and what comes of the others. More pods change
    /// nothing for those that have none.
    fn within_budget(
        &self,
        cluster: &Cluster,
        settings: &Settings,
        mut due: Vec<(Place, Decided)>,
        budget: &mut ResizeBudget,
        now: DateTime<Utc>,
    ) -> (Vec<(Place, Decided)>, Vec<Outcome>) {
        due.sort_unstable_by_key(|(place, _)| *place);
        let at = self.circumstances(cluster, settings);
        let (mut turns, mut left_over) = (Vec::new(), Vec::new());
        for (place, decided) in due {
            match self.next_step(&at, &decided, budget) {
                Ok(_) => turns.push((place, decided)),
                Err(left) => left_over.push(self.outcome(cluster, settings, decided, left, now)),
            }
        }
        (turns, left_over)
    }

    /// Writes down what came of pods, under one lock for all of them, and tells those who look.
    pub(super) fn tell(&self, outcomes: &[Outcome], config: &Config, now: DateTime<Utc>) {
        if outcomes.is_empty() {
            return;
        }
        let summed: Vec<_> = outcomes.iter().map(Summed::from).collect();
        self.journal.lock().record(&summed, now, config.decisions_kept);
        self.pod_status.record(&summed, now.timestamp());
        self.metrics.outcomes(&summed);
    }
}

/// A pod with what was measured of each of its containers, and the policy it is decided by.
fn observe_pod<'a>(
    owned: OwnedPod,
    usage: impl Fn(usize) -> Option<&'a Usage>,
    settings: &Settings,
    throttling: &Known,
    now: i64,
) -> Result<Observed, Panicked> {
    let seen = catch(&owned.pod.key, || {
        let own_policy = eligibility(&owned, settings)?;
        let controls = own_policy.as_deref().unwrap_or(&settings.policy).controls;
        let container = |index| {
            let seen = observe(&owned.pod, index, usage(index), settings.metrics_max_age, now);
            let name = owned.pod.containers.get(index).map(|container| &*container.name);
            let throttled = throttling.share(&owned.pod.key, name.unwrap_or_default());
            let seen = Observation { throttled, ..seen };
            if controls == Controls::Requests { seen.by_requests() } else { seen }
        };
        Ok(((0..owned.pod.containers.len()).map(container).collect(), own_policy))
    });
    Ok(match seen? {
        Ok((containers, own_policy)) => Observed { owned, containers: Ok(containers), own_policy },
        Err(reason) => Observed { owned, containers: Err(reason), own_policy: None },
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{one_pod, scaler};
    use super::*;
    use crate::core::action::Action;
    use crate::core::pod::{Pod, pod_key};
    use crate::core::pod_decision::Urgency;
    use crate::sim::world::ServerVersion;

    #[tokio::test]
    async fn who_has_no_turn_among_some_has_none_among_all() {
        let (_simulation, cluster, owned) = one_pod(ServerVersion::default()).await;
        let (scaler, config) = (scaler(), Config { dry_run: false, ..Config::default() });
        let (settings, now) = (config.settings(), cluster.clock().now());
        let full = |number: u32| {
            let (namespace, uid) = (if number < 8 { "a" } else { "b" }, number.to_string());
            let pod = Pod { key: pod_key(namespace, &*uid, &*uid), ..(*owned.pod).clone() };
            let owned = OwnedPod { pod: pod.into(), ..owned.clone() };
            let containers = [PerResource::new(Some(0.5), Some(300.0))].into();
            let at = now.timestamp() + 1;
            let usage = Usage { at, window: 15, containers, bursts: Box::default() };
            let throttled = scaler.throttling.known(at);
            let seen = observe_pod(owned, |_| Some(&usage), &settings, &throttled, at);
            let seen = vec![seen.unwrap()];
            let watch = &mut Stopwatch::start();
            let decided = scaler.agent.decide(seen, &settings.policy, at, watch);
            ((Urgency::Full(0), number * 7 % 12), decided.unwrap().remove(0).unwrap())
        };
        let budget = ResizeBudget::new(5, 3);
        let turns = |due| {
            let budget = &mut budget.clone();
            let (turns, left_over) = scaler.within_budget(&cluster, &settings, due, budget, now);
            (turns, left_over.len())
        };
        let places = |turns: &[(Place, Decided)]| -> Vec<u32> {
            turns.iter().map(|((_, number), _)| *number).collect()
        };
        let (at_once, left_over) = turns((0..12).map(full).collect());
        assert_eq!((places(&at_once), left_over), (vec![0, 1, 2, 3, 5], 7));
        let (mut kept, mut left_over) = (Vec::new(), 0);
        for numbers in [0..4, 4..9, 9..12] {
            kept.extend(numbers.map(full));
            let (turns, left) = turns(kept);
            (kept, left_over) = (turns, left_over + left);
        }
        assert_eq!((places(&kept), left_over), (places(&at_once), 7));
    }

    #[tokio::test]
    async fn at_its_turn_a_pod_is_decided_on_by_the_newest_that_was_measured_of_it() {
        let (_simulation, cluster, owned) = one_pod(ServerVersion::default()).await;
        let (scaler, config) = (scaler(), Config { dry_run: false, ..Config::default() });
        let (settings, now) = (config.settings(), cluster.clock().now().timestamp());
        let decide = |at, cpu| {
            let containers = [PerResource::new(Some(cpu), Some(300.0))].into();
            let usage = Usage { at, window: 15, containers, bursts: Box::default() };
            let usage = |_| Some(&usage);
            let throttled = scaler.throttling.known(at);
            let observed = observe_pod(owned.clone(), usage, &settings, &throttled, at).unwrap();
            let watch = &mut Stopwatch::start();
            scaler
                .agent
                .decide(vec![observed], &settings.policy, at, watch)
                .unwrap()
                .remove(0)
                .unwrap()
        };
        let cpu = |decided: &Decided| decided.decision.as_ref().unwrap().summary().actions.cpu;
        let full = decide(now + 1, 0.5);
        assert_eq!(cpu(&full), Action::Increase);
        let (_, again) = scaler.renewed(&cluster, &config, full).await.unwrap();
        assert_eq!(cpu(&again), Action::Increase, "nothing else is known");
        decide(now + 3, 0.3);
        let (_, renewed) = scaler.renewed(&cluster, &config, again).await.unwrap();
        assert_eq!(cpu(&renewed), Action::Maintain);
    }
}

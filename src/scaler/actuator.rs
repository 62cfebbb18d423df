//! What is done with one pod: what was decided on it, or what a person asks for. Whatever comes of
//! it stays with this pod.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::agent::Decided;
use super::apply::{ApplyError, Fallback, Resize, fall_back, take_back};
use super::claims::Claim;
use super::cycle::Scaler;
use super::noting::Tried;
use super::panics::catch;
use super::resizing::{Resizing, Stage, guarded};
use crate::cluster::template::TemplateChange;
use crate::cluster::{Cluster, WriteTurn};
use crate::config::Config;
use crate::core::budget::ResizeBudget;
use crate::core::change_record::{By, Origin};
use crate::core::context::OwnedPod;
use crate::core::event::{ASKED_FOR, PodEvent, cause};
use crate::core::outcome::{Applied, DONE, Outcome, Status};
use crate::core::pending::in_force;
use crate::core::plan::Plan;
use crate::core::policy::Settings;
use crate::core::skip_reason::SkipReason;
use crate::core::step::{Circumstances, Step, Turn, next_step};

/// What comes of a pod that nothing is sent for.
type Left = (Status, Cow<'static, str>);

impl Scaler {
    /// What holds for all pods now.
    pub(super) fn circumstances<'a>(
        &self,
        cluster: &Cluster,
        settings: &'a Settings,
    ) -> Circumstances<'a> {
        Circumstances {
            settings,
            now: cluster.clock().now().timestamp(),
            may_act: cluster.may_act(),
            stopping: self.stopping.is_cancelled(),
        }
    }

    /// What is to be done next with a pod, as things stand.
    pub(super) fn next_step(
        &self,
        at: &Circumstances,
        decided: &Decided,
        budget: &mut ResizeBudget,
    ) -> Result<Step, Left> {
        let overtaken = self.claims.is_claimed(&decided.owned.pod.key);
        step(at, decided, overtaken, budget)
    }

    /// What comes of a pod that is left as it is.
    pub(super) fn outcome(
        &self,
        cluster: &Cluster,
        settings: &Settings,
        Decided { owned, decision, .. }: Decided,
        (status, message): Left,
        now: DateTime<Utc>,
    ) -> Outcome {
        if status == Status::Skipped(SkipReason::InvalidAnnotation) {
            let live = !settings.dry_run && cluster.may_act();
            let event = self.invalid_annotations.report(&owned, &settings.policy, live, now);
            event.into_iter().for_each(|event| self.send(event));
        }
        Outcome { pod: owned.pod.key.clone(), status, message, decided: decision.ok() }
    }

    /// Does with one pod what is to be done, and waits for what comes of it.
    pub(super) async fn act(
        &self,
        cluster: &Cluster,
        config: &Config,
        settings: &Settings,
        decided: Decided,
    ) -> Outcome {
        let timeout = Duration::from_secs(config.resize_timeout);
        let mut stage = self.begin(cluster, config, settings, decided, &WriteTurn::default()).await;
        loop {
            match stage {
                Stage::Over(outcome) => return outcome,
                Stage::Accepted(resizing, accepted) => {
                    let (pod, plan) = (resizing.pod(), accepted.plan());
                    let word = cluster.await_progress(pod, plan, timeout).await;
                    stage = self.heard(cluster, config, resizing, accepted, word).await;
                }
            }
        }
    }

    /// Begins with what is to be done with a pod, if that still holds at its turn.
    pub(super) async fn begin(
        &self,
        cluster: &Cluster,
        config: &Config,
        settings: &Settings,
        decided: Decided,
        turn: &WriteTurn,
    ) -> Stage {
        let pod = decided.owned.pod.key.clone();
        let claim = self.claims.claim(&pod);
        // What was decided on limits that change meanwhile is decided anew in the next cycle.
        let overtaken = claim.is_none() || self.agent.resized_at(&pod) != decided.resized_at;
        let mut one = ResizeBudget::new(1, 1);
        let at = self.circumstances(cluster, settings);
        let stage = match (step(&at, &decided, overtaken, &mut one), claim) {
            (Err(left), _) => {
                let now = cluster.clock().now();
                Stage::Over(self.outcome(cluster, settings, decided, left, now))
            }
            (Ok(_), None) => unreachable!("what another request changes is left to it"),
            (Ok(step), Some(claim)) => {
                let work = self.take_step(cluster, config, decided, step, claim, turn);
                guarded(&pod, work).await
            }
        };
        self.told(stage, cluster, config)
    }

    async fn take_step(
        &self,
        cluster: &Cluster,
        config: &Config,
        decided: Decided,
        step: Step,
        claim: Claim,
        turn: &WriteTurn,
    ) -> Stage {
        let Decided { owned, decision, origin, .. } = decided;
        let Ok(decision) = decision else {
            unreachable!("a step that sends comes of a decision");
        };
        let began = Instant::now();
        let (plan, applied) = match step {
            Step::Leave { status, message } => {
                let pod = owned.pod.key.clone();
                return Stage::Over(Outcome { pod, status, message, decided: Some(decision) });
            }
            Step::Resize { plan, fallback } => {
                let fallback = match fallback {
                    true => Fallback::Template(TemplateChange::OnlyUp),
                    false => Fallback::None,
                };
                let resize = Resize::by_parts(owned, plan, fallback);
                let resizing = Resizing::new(resize, decision, origin, claim);
                return self.send_next(cluster, config, Box::new(resizing), turn).await;
            }
            Step::TakeBack { plan, refusal } => {
                turn.free();
                let applied = take_back(cluster, &owned, &plan, &refusal).await;
                (plan, applied)
            }
            Step::FallBack { plan, refusal } => {
                turn.free();
                let change = TemplateChange::OnlyUp;
                let applied = match fall_back(cluster, &owned, &plan, change, refusal).await {
                    // What neither the kubelet does nor the template is asked for no more.
                    Err(ApplyError::Refused(refusal)) => {
                        take_back(cluster, &owned, &in_force(&owned.pod), &refusal).await
                    }
                    done => done,
                };
                (plan, applied)
            }
        };
        let (key, now) = (&owned.pod.key, cluster.clock().now().timestamp());
        self.agent.back_off(key, now, config.auto_scale_interval as i64);
        if applied.is_ok() {
            let names = owned.pod.containers.iter().map(|container| &container.name);
            self.agent.resized(key, names, now);
        }
        let (owned, plan, decided) = (&owned, &plan, Some(&decision));
        let tried = Tried { owned, plan, decision: decided, origin, began, applied: &applied };
        self.note_end(cluster, config, &tried);
        self.publish(cluster, &tried, || cause(&decision));
        let (status, message) = match applied {
            Ok(applied) => (Status::Success(applied.method), DONE.into()),
            Err(error) => (Status::Failed, error.to_string().into()),
        };
        Stage::Over(Outcome { pod: key.clone(), status, message, decided: Some(decision) })
    }

    /// Gives a pod the resources that a person asks for; None while it is being changed by
    /// something else.
    pub async fn resize(
        &self,
        cluster: &Cluster,
        config: &Config,
        owned: &OwnedPod,
        plan: &Plan,
        fallback: Fallback,
    ) -> Option<Result<Applied, ApplyError>> {
        let _claim = self.claims.claim(&owned.pod.key)?;
        let timeout = Duration::from_secs(config.resize_timeout);
        let began = Instant::now();
        let resize = Resize::whole(owned.clone(), plan.clone(), fallback);
        let attempts = resize.carry_through(cluster, timeout, &WriteTurn::default()).await;
        let applied = attempts.into_iter().next()?.result;
        if applied.is_ok() {
            let now = cluster.clock().now().timestamp();
            let names = owned.pod.containers.iter().map(|container| &container.name);
            let names = names.filter(|name| plan.contains_key(&***name));
            self.agent.resized(&owned.pod.key, names, now);
        }
        let origin = Origin { by: By::Person, at: cluster.clock().now().timestamp() };
        let tried = Tried { owned, plan, decision: None, origin, began, applied: &applied };
        self.note(cluster, config, &tried);
        self.publish(cluster, &tried, || ASKED_FOR.into());
        Some(applied)
    }

    /// Publishes a resize that was tried, after it has been written down: what happens in telling
    /// of it changes nothing of what was done.
    pub(super) fn publish(&self, cluster: &Cluster, tried: &Tried, cause: impl FnOnce() -> String) {
        let Tried { owned, plan, began, applied, .. } = *tried;
        self.metrics.resized(began.elapsed(), applied.as_ref().ok());
        let now = cluster.clock().now();
        let told = catch(&owned.pod.key, || {
            let applied = applied.as_ref().map_err(ToString::to_string);
            PodEvent::of(owned, plan, applied, &cause(), now)
        });
        self.send(told.unwrap_or_else(|_| {
            tracing::error!(pod = %owned.pod.key.name, namespace = %owned.pod.key.namespace,
                "a panic in telling of a resize");
            PodEvent::without_words(owned, applied.is_ok(), now)
        }));
    }

    fn send(&self, event: PodEvent) {
        if !self.events.put(event) {
            self.metrics.event("dropped");
        }
    }
}

/// A panic in it costs this pod alone.
fn step(
    at: &Circumstances,
    decided: &Decided,
    overtaken: bool,
    budget: &mut ResizeBudget,
) -> Result<Step, Left> {
    let turn = Turn {
        owned: &decided.owned,
        decision: decided.decision.as_ref().map_err(|reason| *reason),
        unsettled_since: decided.unsettled_since,
        backs_off: decided.backs_off,
        overtaken,
    };
    match catch(&decided.owned.pod.key, || next_step(&turn, at, budget)) {
        Ok(Step::Leave { status, message }) => Err((status, message)),
        Ok(step) => Ok(step),
        Err(panicked) => Err(panicked.status()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;

    use super::super::agent::{Agent, Observed};
    use super::super::fixtures::{limits, one_pod, scaler};
    use super::super::stopwatch::Stopwatch;
    use super::*;
    use crate::cluster::events::Queue;
    use crate::core::features::FeatureSet;
    use crate::core::observation::observe;
    use crate::core::outcome::Method;
    use crate::core::plan::Change;
    use crate::core::pod::{ContainerState, OomKill, Pod, pod_key};
    use crate::model::shipped;
    use crate::sim::world::ServerVersion;

    fn live() -> Config {
        Config { dry_run: false, ..Config::default() }
    }

    /// The answer to a kill for memory.
    fn decided(agent: &Agent, cluster: &Cluster, owned: &OwnedPod) -> Decided {
        let now = cluster.clock().now().timestamp();
        let oom_kill = Some(OomKill { restart: 1, finished_at: now - 5 });
        let state = ContainerState { down: true, oom_kill, ..Default::default() };
        let pod = Pod { states: Box::new([state]), ..(*owned.pod).clone() };
        let containers = Ok(vec![observe(&pod, 0, None, 120, now)]);
        let owned = OwnedPod { pod: Arc::new(pod), ..owned.clone() };
        let observed = vec![Observed { owned, containers, own_policy: None }];
        let policy = live().settings().policy;
        agent.decide(observed, &policy, now, &mut Stopwatch::start()).unwrap().remove(0).unwrap()
    }

    async fn act(scaler: &Scaler, cluster: &Cluster, config: &Config, due: Decided) -> Status {
        scaler.act(cluster, config, &config.settings(), due).await.status
    }

    #[tokio::test]
    async fn what_is_decided_is_done_written_down_and_remembered() {
        let (simulation, cluster, owned) = one_pod(ServerVersion::default()).await;
        let (scaler, key) = (scaler(), &owned.pod.key);
        let due = decided(scaler.agent(), &cluster, &owned);
        let status = act(&scaler, &cluster, &live(), due).await;
        assert_eq!(status, Status::Success(Method::Vertical));
        let (cpu, memory) = limits(&simulation, &owned).await;
        assert!(cpu == "500m" && memory != "512Mi", "{cpu}, {memory}");
        assert!(scaler.agent().resized_at(key).is_some());
        let entries = scaler.journal.lock().newest(2, |_| true);
        assert_eq!((entries.len(), &entries[0].status), (1, &status));
    }

    #[tokio::test]
    async fn nothing_is_sent_in_a_dry_run_or_once_the_service_stops() {
        let (simulation, cluster, owned) = one_pod(ServerVersion::default()).await;
        let scaler = scaler();
        let due = || decided(scaler.agent(), &cluster, &owned);
        let dry_run = Config { dry_run: true, ..live() };
        assert_eq!(act(&scaler, &cluster, &dry_run, due()).await, Status::DryRun);
        scaler.stopping.cancel();
        assert_eq!(act(&scaler, &cluster, &live(), due()).await, Status::Failed);
        assert_eq!(limits(&simulation, &owned).await.1, "512Mi");
    }

    #[tokio::test]
    async fn a_pod_that_is_being_changed_is_left_to_whoever_changes_it() {
        let (simulation, cluster, owned) = one_pod(ServerVersion::default()).await;
        let scaler = scaler();
        let due = || decided(scaler.agent(), &cluster, &owned);
        let change = Change { limits: [("cpu".into(), "600m".into())].into(), ..Change::default() };
        let plan = Plan::from([("app".to_owned(), change)]);
        let config = live();
        let by_hand = || scaler.resize(&cluster, &config, &owned, &plan, Fallback::None);

        let claim = scaler.claims.claim(&owned.pod.key).unwrap();
        let busy = Status::Skipped(SkipReason::CooldownPeriod);
        assert_eq!(act(&scaler, &cluster, &config, due()).await, busy);
        assert!(by_hand().await.is_none());
        drop(claim);
        // Decided before, due after.
        let late = due();
        assert!(by_hand().await.unwrap().is_ok());
        assert_eq!(act(&scaler, &cluster, &config, late).await, busy);
        assert_eq!(limits(&simulation, &owned).await, ("600m".to_owned(), "512Mi".to_owned()));
    }

    #[tokio::test]
    async fn a_panic_in_telling_hides_nothing() {
        let (_simulation, cluster, owned) = one_pod(ServerVersion::default()).await;
        let (queue, mut events) = Queue::new();
        let found = shipped::find(std::path::Path::new(shipped::DOCUMENTED)).unwrap();
        let features = FeatureSet::documented();
        let scaler = Scaler::new(found.network, features, queue, CancellationToken::new());
        let applied = &Ok(Applied { method: Method::Vertical, pending: None, refusal: None });
        let (origin, began, plan) = (Origin::default(), Instant::now(), &Plan::new());
        let tried = Tried { owned: &owned, plan, decision: None, origin, began, applied };
        scaler.publish(&cluster, &tried, || panic!("on purpose"));
        let event = events.try_recv().unwrap();
        assert_eq!((event.reason, &event.pod), ("Resized", &owned.pod.key));
    }

    #[tokio::test]
    async fn a_pod_that_is_gone_fails_by_itself() {
        let (_simulation, cluster, owned) = one_pod(ServerVersion::default()).await;
        let scaler = scaler();
        let mut due = decided(scaler.agent(), &cluster, &owned);
        let uid = due.owned.pod.key.uid.clone();
        Arc::make_mut(&mut due.owned.pod).key = pod_key("default", "gone", uid);
        assert_eq!(act(&scaler, &cluster, &live(), due).await, Status::Failed);
    }
}

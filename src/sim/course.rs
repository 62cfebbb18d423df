//! The course of things: what is due happens, in order.

use super::due::{Due, PodDue};
use super::runtime::SCRAPE_SECONDS;
use super::world::World;

impl World {
    /// Lets time pass up to `until`, or until others have to have their turn; true if all that is
    /// due has happened.
    pub(super) fn advance_to(&mut self, until: f64, must_pause: impl Fn() -> bool) -> bool {
        while !must_pause() {
            let Some(due) = self.next_due(until) else {
                self.now = self.now.max(until);
                return true;
            };
            self.happen(due);
        }
        false
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Step(from) => {
                if from.is_none() {
                    self.after(self.step, Due::Step(None));
                }
                if let Some(next) = self.step_containers(from) {
                    self.after(0.0, Due::Step(Some(next)));
                }
            }
            Due::Scrape => {
                self.after(SCRAPE_SECONDS, Due::Scrape);
                self.scrape();
            }
            Due::ExpireEvents => {
                self.after(60.0, Due::ExpireEvents);
                self.expire_events();
            }
            Due::Pod(key, incarnation, due) => {
                let stale = self.pods.get(&key).is_none_or(|pod| pod.incarnation != incarnation);
                if stale || self.kubelet_postpones(&key, due) {
                    return;
                }
                match due {
                    PodDue::Schedule => self.schedule(&key),
                    PodDue::Start => self.start_pod(&key),
                    PodDue::Remove => self.remove_pod(&key),
                    PodDue::AdmitResize => self.admit_resize(&key),
                    PodDue::ActuateResize => self.actuate_resize(&key),
                }
            }
            Due::Reconcile(resource, key) | Due::Retry(resource, key) => {
                self.reconcile(resource, &key);
            }
            Due::NodeLost(node) => self.lose_node(&node),
        }
    }
}

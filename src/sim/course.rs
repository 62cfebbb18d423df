//! The course of things: what is due happens, in order.

use super::due::{Due, PodDue};
use super::runtime::SCRAPE_SECONDS;
use super::world::World;

impl World {
    /// Lets time pass up to `until`, but no more than the next `most` happenings; true if that was
    /// enough.
    pub(super) fn advance_to(&mut self, until: f64, most: usize) -> bool {
        for _ in 0..most {
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
            Due::Step => {
                self.after(self.step, Due::Step);
                self.step_containers();
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

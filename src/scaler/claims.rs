//! Which pods are being changed right now: nobody else may change them meanwhile.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::core::pod::PodKey;

#[derive(Default)]
pub struct Claims(Arc<Mutex<HashSet<PodKey>>>);

/// A pod that is being changed, for as long as this lives.
pub struct Claim {
    claims: Arc<Mutex<HashSet<PodKey>>>,
    pod: PodKey,
}

impl Claims {
    /// None while somebody else has it.
    pub fn claim(&self, pod: &PodKey) -> Option<Claim> {
        let is_free = self.0.lock().insert(pod.clone());
        is_free.then(|| Claim { claims: self.0.clone(), pod: pod.clone() })
    }

    pub fn is_claimed(&self, pod: &PodKey) -> bool {
        self.0.lock().contains(pod)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.pod);
    }
}

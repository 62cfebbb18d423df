//! A place among the requests that are sent at the same time.

use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

/// Free again once the request is answered, while the kubelet's word is waited for.
#[derive(Default)]
pub struct Place(Mutex<Option<OwnedSemaphorePermit>>);

impl Place {
    pub fn of(permit: Option<OwnedSemaphorePermit>) -> Self {
        Self(Mutex::new(permit))
    }

    pub fn free(&self) {
        *self.0.lock() = None;
    }
}

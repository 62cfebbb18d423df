//! A panic in the handling of one pod costs that pod alone, and one in what is told of many only
//! what was to be told.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::core::outcome::{Outcome, Status};
use crate::core::pod::PodKey;

/// A pod in whose handling something panicked.
#[derive(Debug, thiserror::Error)]
#[error("a panic in the handling of pod {} in namespace {}", .0.name, .0.namespace)]
pub struct Panicked(pub PodKey);

impl Panicked {
    pub fn status(&self) -> (Status, Cow<'static, str>) {
        let Self(pod) = self;
        tracing::error!(pod = %pod.name, namespace = %pod.namespace,
            "a panic in the handling of one pod");
        (Status::Failed, "Internal error".into())
    }

    pub fn outcome(self) -> Outcome {
        let (status, message) = self.status();
        Outcome { pod: self.0, status, message, decided: None }
    }
}

/// What is done for one pod.
pub fn catch<T>(pod: &PodKey, work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked(pod.clone()))
}

/// What is done for many pods at once, and can be done without.
pub fn attempt<T>(what: &'static str, work: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.inspect_err(|_| tracing::error!("a panic in {what}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::pod::pod_key;

    #[test]
    fn a_panic_is_told_of_its_pod_and_goes_no_further() {
        let pod = pod_key("shop", "web", "u");
        let share = |of: u32| 100_u32.checked_div(of).expect("a share of nothing");
        assert_eq!(catch(&pod, || share(4)).unwrap(), 25);
        let outcome = catch(&pod, || share(0)).unwrap_err().outcome();
        assert_eq!((outcome.pod, outcome.status), (pod, Status::Failed));
        assert_eq!(outcome.message, "Internal error");
        assert_eq!(
            (attempt("sharing", || share(2)), attempt("sharing", || share(0))),
            (Some(50), None)
        );
    }
}

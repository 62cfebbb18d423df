//! One call to the API server inside its budget of time: what may pass is tried again with
//! back-off, what is final is not.

use std::future::Future;
use std::time::{Duration, Instant};

use super::error::{Call, ClusterError, NOT_LEADING, NotLeading};

/// How long one request of a user may wait for the API server in all.
pub const BUDGET: Duration = Duration::from_secs(10);

const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// The moment by which everything that a request needs must have been answered.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    pub fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }

    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

impl Default for Deadline {
    fn default() -> Self {
        Self::after(BUDGET)
    }
}

pub async fn with_retries<T, F, Fut>(
    call: Call,
    deadline: Deadline,
    attempt: F,
) -> Result<T, ClusterError>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, kube::Error>>,
{
    until_done(call, deadline, || true, |error| is_retryable(error) || is_conflict(error), attempt)
        .await
}

/// A write: nothing is sent unless it is allowed at that moment, and a conflict is final, for the
/// object is not what the change was meant for.
pub async fn while_allowed<T, F, Fut>(
    call: Call,
    deadline: Deadline,
    is_allowed: impl Fn() -> bool,
    attempt: F,
) -> Result<T, ClusterError>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, kube::Error>>,
{
    until_done(call, deadline, is_allowed, is_retryable, attempt).await
}

async fn until_done<T, F, Fut>(
    call: Call,
    deadline: Deadline,
    is_allowed: impl Fn() -> bool,
    is_retryable: impl Fn(&kube::Error) -> bool,
    attempt: F,
) -> Result<T, ClusterError>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, kube::Error>>,
{
    let mut pause = MIN_BACKOFF;
    let mut last: Option<kube::Error> = None;
    loop {
        if !is_allowed() {
            return Err(ClusterError::NotSent { call, why: NOT_LEADING });
        }
        let error = match tokio::time::timeout(deadline.left(), attempt()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(_) => {
                let message = match last {
                    Some(error) => ClusterError::from_kube(call.clone(), &error).to_string(),
                    None => "no answer".into(),
                };
                return Err(ClusterError::Unavailable {
                    call,
                    message: format!("timed out: {message}"),
                });
            }
        };
        let wait = retry_after(&error).unwrap_or(pause);
        if !is_retryable(&error) || wait >= deadline.left() {
            return Err(ClusterError::from_kube(call, &error));
        }
        tracing::debug!(%call, %error, "trying again");
        tokio::time::sleep(wait).await;
        pause = (pause * 2).min(MAX_BACKOFF);
        last = Some(error);
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

fn is_retryable(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code >= 500 || status.code == 429,
        kube::Error::Service(error) => !error.is::<NotLeading>(),
        kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

/// What the server asks for with `Retry-After`; its answers of priority and fairness carry it.
fn retry_after(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else { return None };
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use kube::core::Status;

    use super::*;

    fn api(code: u16) -> kube::Error {
        kube::Error::Api(Box::new(Status { code, message: "m".into(), ..Status::default() }))
    }

    async fn attempts(codes: &[u16], deadline: Deadline) -> (Result<(), ClusterError>, u32) {
        let count = AtomicU32::new(0);
        let result = with_retries(Call::over("list", "pods", "default"), deadline, || async {
            let index = count.fetch_add(1, Ordering::Relaxed) as usize;
            codes.get(index).map_or(Ok(()), |code| Err(api(*code)))
        })
        .await;
        (result, count.into_inner())
    }

    #[tokio::test]
    async fn passing_faults_are_tried_again_and_final_ones_are_not() {
        let (result, tries) = attempts(&[500, 429, 409], Deadline::default()).await;
        assert!(result.is_ok() && tries == 4);
        let (result, tries) = attempts(&[403], Deadline::default()).await;
        assert!(result.is_err() && tries == 1);
        let (result, tries) = attempts(&[404; 9], Deadline::default()).await;
        assert!(result.is_err_and(|e| e.is_not_found()) && tries == 1);
    }

    #[tokio::test]
    async fn the_deadline_ends_it_and_the_call_is_named() {
        let (result, _) = attempts(&[500; 999], Deadline::after(Duration::from_millis(250))).await;
        assert!(result.unwrap_err().to_string().contains("list pods in namespace default"));
        let hang = with_retries::<(), _, _>(
            Call::over("list", "pods", "x"),
            Deadline::after(Duration::from_millis(50)),
            std::future::pending,
        );
        assert!(hang.await.unwrap_err().to_string().contains("timed out"));
    }
}

//! Long work on the threads of the async runtime.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Work that takes its time: meanwhile another thread does what else this one would have to.
pub fn run_blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

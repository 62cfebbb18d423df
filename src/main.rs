use clap::Parser;
use dqn_scaler::cli::Cli;

/// Gives back to the system what is freed, which glibc keeps (docs/security.md has the figures); for
/// libtorch, too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<()> {
    Cli::parse().run()
}

use clap::Parser;
use dqn_scaler::cli::Cli;

/// Gives back to the system what is freed, by libtorch, too, and what glibc would keep: the figures
/// are in docs/security.md.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<()> {
    Cli::parse().run()
}

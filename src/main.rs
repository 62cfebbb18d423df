use clap::Parser;
use dqn_scaler::cli::Cli;

fn main() -> anyhow::Result<()> {
    Cli::parse().run()
}

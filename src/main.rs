<<<<<<< HEAD
use clap::Parser;
use dqn_scaler::cli::Cli;

fn main() -> anyhow::Result<()> {
    Cli::parse().run()
=======
fn main() {
    println!("{:?}", tch::Tensor::from_slice(&[1f32]).size());
>>>>>>> wt-sim
}

//! The command line: `serve` by default.

use std::io::{self, stdin, stdout};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tokio::runtime::Builder;

use crate::api;
use crate::api::export::{self, ExportArgs};
use crate::logging::{self, Format};
use crate::migrate::{self, VpaArgs};
use crate::model::inspect;
use crate::prometheus::fetch::{self, FetchArgs};
use crate::scaler::revert::{self, RevertArgs};
use crate::service::{ServeArgs, serve};
use crate::terminal::explain::{self, ExplainArgs};
use crate::terminal::top::{self, TopArgs};
use crate::train::evaluate::{self, EvaluateArgs};
use crate::train::training::{self, TrainArgs};

/// Threads that answer requests.
const ANSWERING: usize = 2;

/// Gives every pod of a Kubernetes cluster the CPU and memory it needs, in place
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
    /// How log lines are written to standard error (RUST_LOG chooses which)
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = Format::Text, global = true)]
    log_format: Format,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service (the default)
    Serve(Box<ServeArgs>),
    Top(TopArgs),
    Explain(ExplainArgs),
    Evaluate(Box<EvaluateCommand>),
    Train(TrainArgs),
    Revert(RevertArgs),
    Export(ExportArgs),
    /// Come here from another autoscaler
    #[command(subcommand)]
    Migrate(MigrateCommand),
    /// Look into a model checkpoint
    #[command(subcommand)]
    Model(ModelCommand),
}

/// Compare the model with simple rules on recorded or generated demand, or on that of your own
/// cluster
#[derive(Args)]
struct EvaluateCommand {
    #[command(flatten)]
    evaluate: EvaluateArgs,
    #[command(flatten)]
    fetch: FetchArgs,
}

#[derive(Subcommand)]
enum MigrateCommand {
    Vpa(VpaArgs),
}

#[derive(Subcommand)]
enum ModelCommand {
    /// Print a checkpoint's architecture, features, parameters and metadata
    Inspect {
        /// The checkpoint
        file: PathBuf,
    },
    /// Read a JSON array of states on standard input, print a JSON array of Q values and
    /// predictions
    Predict(PredictArgs),
}

#[derive(Args)]
struct PredictArgs {
    /// The checkpoint
    #[arg(long)]
    model: PathBuf,
}

impl Cli {
    pub fn run(self) -> anyhow::Result<()> {
        logging::to_stderr(self.log_format);
        let done = match self.command {
            None => answer(self.serve),
            Some(Command::Serve(args)) => answer(*args),
            Some(Command::Top(args)) => run(top::run(args)),
            Some(Command::Explain(args)) => run(explain::run(args)),
            Some(Command::Evaluate(command)) => replay(command.evaluate, &command.fetch),
            Some(Command::Migrate(MigrateCommand::Vpa(args))) => {
                run(migrate::vpa(&args, &mut stdout()))
            }
            Some(Command::Train(args)) => training::run(&args),
            Some(Command::Export(args)) => run(export::run(args, &mut stdout())),
            Some(Command::Revert(args)) => run(revert::run(args, &mut stdout())),
            Some(Command::Model(ModelCommand::Inspect { file })) => {
                Ok(inspect::inspect(&file, &mut stdout())?)
            }
            Some(Command::Model(ModelCommand::Predict(args))) => {
                Ok(inspect::predict(&args.model, &mut stdin(), &mut stdout())?)
            }
        };
        unless_closed(done)
    }
}

/// The series of a cluster are fetched first, if it is its own that is asked for.
fn replay(mut args: EvaluateArgs, fetch: &FetchArgs) -> anyhow::Result<()> {
    let Some(url) = &fetch.prometheus else { return evaluate::run(&args) };
    let passing = tempfile::tempdir()?;
    let folder = fetch.save.clone().unwrap_or_else(|| passing.path().to_owned());
    run(fetch::fetch(fetch, url, &folder, chrono::Utc::now().timestamp()))?;
    args.traces = Some(folder);
    evaluate::run(&args)
}

/// Who reads the output may have seen enough: `| head`.
fn unless_closed(result: anyhow::Result<()>) -> anyhow::Result<()> {
    result.or_else(|error| match error.downcast_ref::<io::Error>() {
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}

fn answer(args: ServeArgs) -> anyhow::Result<()> {
    let answering = Builder::new_multi_thread()
        .worker_threads(ANSWERING)
        .thread_name("http")
        .enable_all()
        .build()?;
    run(serve(args, answering.handle().clone(), api::router))
}

fn run(service: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    Builder::new_multi_thread().enable_all().build()?.block_on(service)
}

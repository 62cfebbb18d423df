//! Two versions beside each other, in dry run on the same API server: machines differ, and by the
//! hour, so what one of them spends counts as a share of what the other one does meanwhile.

use std::ffi::OsStr;
use std::path::Path;

use crate::service::{self, Cycle, Service, total};
use crate::{ApiServer, contents, following};

pub async fn measure(
    cluster: &ApiServer,
    pods: usize,
    other: &Path,
    cycles: usize,
) -> anyhow::Result<()> {
    let namespaces = contents::namespaces(pods);
    let start = |program: &OsStr| {
        Service::start_program(program, &cluster.kubeconfig, &namespaces, false, 2)
    };
    let (mut before, mut now) =
        (start(std::path::absolute(other)?.as_os_str())?, start(&service::program())?);
    tokio::try_join!(before.first_cycle(pods), now.first_cycle(pods))?;
    let (before, now) =
        tokio::try_join!(following(&mut before, cycles), following(&mut now, cycles))?;
    let (before, now) = (median(&before), median(&now));
    println!("\n| pods | CPU ms of a cycle: {} | this version | ratio |", other.display());
    println!("|---:|---:|---:|---:|");
    let ratio = now / before;
    println!("| {pods} | {:.0} | {:.0} | {ratio:.2} |", before * 1e3, now * 1e3);
    Ok(())
}

/// Seconds of CPU.
fn median(cycles: &[Cycle]) -> f64 {
    let mut spent: Vec<f64> = cycles.iter().map(|cycle| total(&cycle.phases).1).collect();
    spent.sort_unstable_by(f64::total_cmp);
    spent.get(spent.len() / 2).copied().unwrap_or(f64::NAN)
}

//! The cluster's side: the simulated Kubernetes API on a socket, in a process of its own, with as
//! many pods as wanted.

use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use dqn_scaler::clock::Clock;
use dqn_scaler::sim::api;
use dqn_scaler::sim::simulation::Simulation;
use dqn_scaler::sim::world::ServerVersion;
use http_body_util::BodyExt;
use rustix::process::{self, Resource};

use crate::contents::fill;
use crate::lacking::{Observer, locked};

/// Serves until it is killed; says on standard output where.
pub fn run(pods: usize) -> anyhow::Result<()> {
    // Each kubelet has a socket.
    let mut files = process::getrlimit(Resource::Nofile);
    files.current = files.maximum;
    process::setrlimit(Resource::Nofile, files)?;
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(
        async {
            let simulation = Simulation::new(Clock::new(1.0), ServerVersion::default(), |world| {
                fill(world, pods)
            });
            let _kubelets = simulation.listen(Ipv4Addr::LOCALHOST.into(), usize::MAX).await?;
            let sent = Arc::new(AtomicU64::new(0));
            let told = sent.clone();
            let observer: Arc<std::sync::Mutex<Observer>> = Arc::default();
            let (begun, asked, world) = (observer.clone(), observer.clone(), simulation.clone());
            let router = api::router(simulation.clone())
                .layer(middleware::from_fn(move |request, next| count(request, next, sent.clone())))
                .route(
                    "/sent",
                    get(move || async move { told.load(Ordering::Relaxed).to_string() }),
                )
                .route(
                    "/lacking",
                    get(move || async move {
                        let world = world.world();
                        Json(locked(&asked).told(&world))
                    })
                    .delete(move || async move { locked(&begun).begin() }),
                );
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            println!("{}", listener.local_addr()?.port());
            std::io::stdout().flush()?;
            tokio::spawn(simulation.clone().run());
            tokio::spawn(Observer::run(observer, simulation));
            Ok(axum::serve(listener, router).await?)
        },
    )
}

/// Counts the bytes of every answer, watches included.
async fn count(request: Request, next: Next, sent: Arc<AtomicU64>) -> Response {
    next.run(request).await.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
            sent.fetch_add(bytes, Ordering::Relaxed);
            frame
        }))
    })
}

//! The socket: plain HTTP, or TLS with a certificate that may change while the service runs.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum_server::tls_rustls::RustlsConfig;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::connection::{self, Cut, Patience};
use super::places::{Place, Places, SparePlace};
use crate::metrics::connections::Connections;

use crate::files;

/// How often the files of the certificate are looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How long clients may take to end after the service has been asked to stop.
const LAST_ANSWERS: Duration = Duration::from_secs(25);
/// How long to wait where no connection can be accepted: there are no descriptors left.
const NONE_ACCEPTED: Duration = Duration::from_millis(100);
/// What the kernel keeps of an answer that is not taken, and of a request that is not read; it
/// takes twice as much.
const SOCKET_BUFFER: usize = 32 * 1024;
/// How long the kernel waits for a client that takes nothing, also after the connection has ended.
const NOTHING_TAKEN: Duration = Duration::from_secs(20);

/// Who may be connected, and for how long.
pub struct Bounds {
    pub places: Arc<Places>,
    pub patience: Patience,
    pub counted: Connections,
}

/// Answers until `stop` is over and what is under way has been answered.
pub async fn answer(
    listener: TcpListener,
    router: Router,
    tls: Option<(PathBuf, PathBuf)>,
    bounds: Bounds,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let (tls, _reloading) = match tls {
        None => (None, None),
        Some((certificate, key)) => {
            let (config, seen) = load(&certificate, &key).await?;
            let reloading = tokio::spawn(reload(config.clone(), certificate, key, seen));
            (Some(config), Some(AbortOnDropHandle::new(reloading)))
        }
    };
    let server = Arc::new(Server { router, tls, bounds, stopping: CancellationToken::new() });
    let connections = TaskTracker::new();
    tokio::select! {
        () = stop => {}
        () = server.accept(&listener, &connections) => {}
    }
    drop(listener);
    server.stopping.cancel();
    connections.close();
    if timeout(LAST_ANSWERS, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "some clients did not end in time");
    }
    Ok(())
}

struct Server {
    router: Router,
    tls: Option<RustlsConfig>,
    bounds: Bounds,
    stopping: CancellationToken,
}

/// What a connection holds until it ends.
struct Held {
    _own: Option<Place>,
    spare: Option<SparePlace>,
}

impl Server {
    async fn accept(self: &Arc<Self>, listener: &TcpListener, connections: &TaskTracker) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let held = match self.bounds.places.take(peer.ip()) {
                        Ok(own) => Held { _own: Some(own), spare: None },
                        Err(full) => {
                            let bound = full.name();
                            self.bounds.counted.refused(bound);
                            tracing::warn!(client = %peer, bound, "too many connections");
                            Held { _own: None, spare: Some(self.bounds.places.spare()) }
                        }
                    };
                    connections.spawn(self.clone().serve(stream, peer, held));
                }
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => {
                    self.bounds.counted.refused("accept");
                    tracing::error!(%error, "no connection can be accepted");
                    tokio::time::sleep(NONE_ACCEPTED).await;
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, held: Held) {
        let _open = self.bounds.counted.opened();
        if let Err(cut) = self.secured(stream, peer, &held).await {
            self.bounds.counted.cut(cut.name());
            tracing::debug!(client = %peer, reason = cut.name(), "a connection was cut off");
        }
    }

    async fn secured(&self, stream: TcpStream, peer: SocketAddr, held: &Held) -> Result<(), Cut> {
        // What cannot be set is of a connection that has ended.
        let socket = SockRef::from(&stream);
        let _ = socket.set_tcp_nodelay(true);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = socket.set_tcp_user_timeout(Some(NOTHING_TAKEN));
        let (patience, router) = (self.bounds.patience, self.router.clone());
        let displaced = held.spare.as_ref().map(|spare| &spare.displaced);
        let Some(tls) = &self.tls else {
            return connection::serve(stream, peer, router, patience, displaced, &self.stopping)
                .await;
        };
        let handshake = TlsAcceptor::from(tls.get_inner()).accept(stream);
        let displacing = async {
            match displaced {
                Some(displaced) => displaced.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let stream = tokio::select! {
            done = timeout(patience.first_request, handshake) => match done {
                Ok(Ok(stream)) => stream,
                // A client that speaks no TLS, or does not know the certificate.
                Ok(Err(_)) => return Ok(()),
                Err(_) => return Err(Cut::Silent),
            },
            () = displacing => return Err(Cut::Displaced),
            () = self.stopping.cancelled() => return Ok(()),
        };
        connection::serve(stream, peer, router, patience, displaced, &self.stopping).await
    }
}

/// The client was gone before it was accepted.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

type Pem = (Vec<u8>, Vec<u8>);

async fn read(certificate: &Path, key: &Path) -> anyhow::Result<Pem> {
    let read = async |file: &Path| {
        let path = file.to_owned();
        let read = tokio::task::spawn_blocking(move || files::read(&path, files::SMALL));
        read.await?.with_context(|| format!("{}", file.display()))
    };
    Ok((read(certificate).await?, read(key).await?))
}

async fn load(certificate: &Path, key: &Path) -> anyhow::Result<(RustlsConfig, Pem)> {
    let pem = read(certificate, key).await?;
    let config = RustlsConfig::from_pem(pem.0.clone(), pem.1.clone())
        .await
        .context("the certificate and its key")?;
    Ok((config, pem))
}

/// Takes a new certificate once its files hold one; until then the old one stays. Secrets are
/// replaced in the file system by renaming, so the two files may for a moment not belong together.
async fn reload(config: RustlsConfig, certificate: PathBuf, key: PathBuf, mut seen: Pem) {
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        let pem = match read(&certificate, &key).await {
            Ok(pem) if pem == seen => continue,
            Ok(pem) => pem,
            Err(error) => {
                tracing::warn!(%error, "the certificate cannot be read, the old one stays");
                continue;
            }
        };
        match config.reload_from_pem(pem.0.clone(), pem.1.clone()).await {
            Ok(()) => tracing::info!("a new certificate is in use"),
            Err(error) => {
                tracing::warn!(%error, "the new certificate is of no use, the old one stays")
            }
        }
        seen = pem;
    }
}

//! The socket: plain HTTP, or TLS with a certificate that may change while the service runs.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use tokio::net::TcpListener;

use crate::files;

/// How often the files of the certificate are looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How long clients may take to end after the service has been asked to stop.
const LAST_ANSWERS: Duration = Duration::from_secs(25);

/// Answers until `stop` is over and what is under way has been answered.
pub async fn answer(
    listener: TcpListener,
    router: Router,
    tls: Option<(&Path, &Path)>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let listener = listener.into_std()?;
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let handle = Handle::new();
    let ending = handle.clone();
    tokio::spawn(async move {
        stop.await;
        ending.graceful_shutdown(Some(LAST_ANSWERS));
    });
    match tls {
        None => axum_server::from_tcp(listener)?.handle(handle).serve(service).await?,
        Some((certificate, key)) => {
            let (config, seen) = load(certificate, key).await?;
            let reloading =
                tokio::spawn(reload(config.clone(), certificate.to_owned(), key.to_owned(), seen));
            let served =
                axum_server::from_tcp_rustls(listener, config)?.handle(handle).serve(service).await;
            reloading.abort();
            served?;
        }
    }
    Ok(())
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
async fn reload(
    config: RustlsConfig,
    certificate: std::path::PathBuf,
    key: std::path::PathBuf,
    mut seen: Pem,
) {
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

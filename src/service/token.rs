//! The token that a write needs.

use std::path::Path;

use crate::files;

const SHORTEST_TOKEN: usize = 16;
const LONGEST_FILE: u64 = 4096;

/// The token as the file holds it now: it may change at any time.
pub async fn read(file: &Path) -> anyhow::Result<String> {
    let path = file.to_owned();
    let text = tokio::task::spawn_blocking(move || files::read_text(&path, LONGEST_FILE)).await??;
    let token = text.trim();
    anyhow::ensure!(
        token.len() >= SHORTEST_TOKEN,
        "a token has at least {SHORTEST_TOKEN} characters"
    );
    anyhow::ensure!(
        token.bytes().all(|byte| byte.is_ascii_graphic()),
        "a token is one word of visible ASCII"
    );
    Ok(token.to_owned())
}

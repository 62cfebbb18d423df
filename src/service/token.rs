//! The token that a write needs.

use std::path::Path;

const SHORTEST_TOKEN: usize = 16;

/// The token as the file holds it now: it may change at any time.
pub async fn read(file: &Path) -> anyhow::Result<String> {
    let text = tokio::fs::read_to_string(file).await?;
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

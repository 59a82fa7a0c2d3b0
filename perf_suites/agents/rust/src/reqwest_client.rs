//! reqwest, which needs a Tokio reactor.

use crate::{Answer, Error};

/// Posts a body and returns the streamed text.
pub async fn ask(base: String, body: String) -> Result<String, Error> {
    read(base, body, usize::MAX).await
}

/// The same in pieces of at most 1 KiB, as TR115's smol-1kb did.
pub async fn ask_1kb(base: String, body: String) -> Result<String, Error> {
    read(base, body, 1024).await
}

async fn read(base: String, body: String, piece: usize) -> Result<String, Error> {
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build()?;
    let request = client.post(format!("{base}/api/generate")).header("content-type", "application/json").body(body);
    let mut response = request.send().await?.error_for_status()?;
    let mut answer = Answer::default();
    while let Some(chunk) = response.chunk().await? {
        for part in chunk.chunks(piece) {
            answer.push(part)?;
        }
    }
    Ok(answer.into_text())
}

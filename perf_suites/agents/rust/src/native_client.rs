//! hyper over the sockets of the executor itself.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::Request;
use smol::future::zip;
use smol::io::{AsyncRead, AsyncWrite};
use smol_hyper::rt::FuturesIo;

use crate::{Answer, Error};

/// The address to connect to.
pub fn host(base: &str) -> &str {
    base.trim_start_matches("http://").trim_end_matches('/')
}

/// Posts a body over a new connection and returns the streamed text.
pub async fn ask<S>(stream: S, base: String, body: String) -> Result<String, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake(FuturesIo::new(stream)).await?;
    let talk = async move {
        let request = Request::post("/api/generate")
            .header("host", host(&base))
            .header("content-type", "application/json")
            .header("connection", "close")
            .body(Full::new(Bytes::from(body)))?;
        let mut response = sender.send_request(request).await?;
        if !response.status().is_success() {
            return Err(format!("the server answered {}", response.status()).into());
        }
        let mut answer = Answer::default();
        while let Some(frame) = response.frame().await {
            if let Some(data) = frame?.data_ref() {
                answer.push(data)?;
            }
        }
        Ok(answer.into_text())
    };
    let (text, closed) = zip(talk, connection).await;
    closed?;
    text
}

/// A stream that reads at most 1 KiB at once.
pub struct Small<S>(pub S);

impl<S: AsyncRead + Unpin> AsyncRead for Small<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let end = buffer.len().min(1024);
        Pin::new(&mut self.0).poll_read(cx, &mut buffer[..end])
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Small<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

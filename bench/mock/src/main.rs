//! Mock LLM upstream: OpenAI chat completions and Anthropic messages, whole or streamed.
//!
//!   bench-mock 127.0.0.1:0        prints `listening ADDRESS` when ready
//!
//! A raw responder on one thread, so that it costs less than what it is used to measure. How it
//! answers is asked for in the request; see `knobs`. Every streamed delta carries the time it was
//! sent, so that a load generator on the same machine sees how long it spent in the gateway.

mod answers;
mod knobs;
mod request;
mod stream;

use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use answers::{Answers, Api};
use knobs::Knobs;
use request::{Reader, Request};

fn main() -> anyhow::Result<()> {
    let address = std::env::args()
        .nth(1)
        .context("usage: bench-mock ADDRESS")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, serve(&address))
}

async fn serve(address: &str) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("bind {address}"))?;
    println!("listening {}", listener.local_addr()?);
    let answers = Rc::new(Answers::new());
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            // Out of descriptors: let some connections end.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let answers = Rc::clone(&answers);
        // A connection that ends badly is the gateway's business, counted by the load generator.
        tokio::task::spawn_local(async move { converse(socket, &answers).await.ok() });
    }
}

/// Answers requests on one connection until the other side closes it.
async fn converse(mut socket: TcpStream, answers: &Answers) -> anyhow::Result<()> {
    socket.set_nodelay(true)?;
    let mut reader = Reader::new();
    while let Some(request) = reader.next(&mut socket).await? {
        let Some(api) = Api::of(&request) else {
            socket.write_all(&answers.other(&request)).await?;
            continue;
        };
        let knobs = Knobs::of(&request);
        let streamed = wants_stream(&request);
        reader.done();
        if !knobs.delay.is_zero() {
            tokio::time::sleep(knobs.delay).await;
        }
        if streamed {
            stream::send(&mut socket, api, knobs).await?;
        } else {
            socket.write_all(answers.whole(api)).await?;
        }
    }
    Ok(())
}

/// Whether the body has `"stream": true`.
fn wants_stream(request: &Request<'_>) -> bool {
    let Some(at) = memchr::memmem::find(request.body, b"\"stream\"") else {
        return false;
    };
    let value = request.body[at + 8..]
        .iter()
        .position(|b| !matches!(b, b' ' | b':'));
    value.is_some_and(|n| request.body[at + 8 + n..].starts_with(b"true"))
}

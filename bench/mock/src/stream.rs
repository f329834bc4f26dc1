//! Streamed answers: a head, deltas some time apart, an end.

use std::io::Write as _;

use rustix::time::{ClockId, clock_gettime};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::answers::Api;
use crate::knobs::Knobs;

const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";

const OPENAI_FIRST: &str = r#"data: {"id":"chatcmpl-mock","object":"chat.completion.chunk","created":1700000000,"model":"mock-1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}

"#;
const OPENAI_LAST: &str = r#"data: {"id":"chatcmpl-mock","object":"chat.completion.chunk","created":1700000000,"model":"mock-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: {"id":"chatcmpl-mock","object":"chat.completion.chunk","created":1700000000,"model":"mock-1","choices":[],"usage":{"prompt_tokens":25,"completion_tokens":50,"total_tokens":75}}

"#;
const OPENAI_END: &str = "data: [DONE]\n\n";
const ANTHROPIC_FIRST: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_mock","type":"message","role":"assistant","model":"mock-1","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":25,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

"#;
const ANTHROPIC_LAST: &str = r#"event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":50}}

"#;
const ANTHROPIC_END: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

/// Bytes on their way: what is written next, and a checksum of all payload so far.
struct Sender<'a> {
    socket: &'a mut TcpStream,
    wire: Vec<u8>,
    payload: Vec<u8>,
    sum: Option<u64>,
}

pub(crate) async fn send(socket: &mut TcpStream, api: Api, knobs: Knobs) -> std::io::Result<()> {
    let sum = knobs.sum.then_some(0xcbf2_9ce4_8422_2325);
    let mut sender = Sender {
        socket,
        wire: HEAD.to_vec(),
        payload: Vec::with_capacity(512),
        sum,
    };
    let (first, last, end) = match api {
        Api::OpenAi => (OPENAI_FIRST, OPENAI_LAST, OPENAI_END),
        Api::Anthropic => (ANTHROPIC_FIRST, ANTHROPIC_LAST, ANTHROPIC_END),
    };
    sender.payload.extend_from_slice(first.as_bytes());
    sender.chunk();
    sender.write().await?;
    let mut due = Instant::now();
    for _ in 0..knobs.chunks {
        if !knobs.gap.is_zero() {
            due += knobs.gap;
            sleep_until(due).await;
        }
        sender.delta(api)?;
        sender.write().await?;
    }
    sender.payload.extend_from_slice(last.as_bytes());
    sender.chunk();
    sender.checksum()?;
    sender.payload.extend_from_slice(end.as_bytes());
    sender.chunk();
    sender.wire.extend_from_slice(b"0\r\n\r\n");
    sender.write().await
}

impl Sender<'_> {
    /// One delta with the time of now in it.
    fn delta(&mut self, api: Api) -> std::io::Result<()> {
        let now = monotonic_ns();
        match api {
            Api::OpenAi => write!(
                self.payload,
                "data: {{\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"mock-1\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" tok@{now}\"}},\"finish_reason\":null}}]}}\n\n"
            ),
            Api::Anthropic => write!(
                self.payload,
                "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\" tok@{now}\"}}}}\n\n"
            ),
        }?;
        self.chunk();
        Ok(())
    }

    /// A comment with the FNV-1a hash of every payload byte before it.
    fn checksum(&mut self) -> std::io::Result<()> {
        if let Some(sum) = self.sum {
            write!(self.payload, ": sum={sum:016x}\n\n")?;
            self.chunk();
        }
        Ok(())
    }

    /// Frames the payload and takes it into the checksum.
    fn chunk(&mut self) {
        if let Some(sum) = &mut self.sum {
            for byte in &self.payload {
                *sum = (*sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        // Writing to a vector can't fail.
        write!(self.wire, "{:x}\r\n", self.payload.len()).ok();
        self.wire.extend_from_slice(&self.payload);
        self.wire.extend_from_slice(b"\r\n");
        self.payload.clear();
    }

    async fn write(&mut self) -> std::io::Result<()> {
        self.socket.write_all(&self.wire).await?;
        self.wire.clear();
        Ok(())
    }
}

/// The clock every process of this machine shares.
fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

//! The sandbox upstream alone, for pointing a client at it without a gateway between.
//!
//! `cargo run -p tollkeep-sandbox --example sandbox [port]` prints its address and serves until it
//! is killed.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    let port = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let listener = std::net::TcpListener::bind(("127.0.0.1", port))?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(tollkeep_sandbox::serve(listener, std::future::pending()))
}

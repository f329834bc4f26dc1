//! Load generator and process meter for gateways: one thread, raw sockets, keep-alive.
//!
//!   bench-load closed --url U -c 64 -d 8            closed loop, as fast as answers come
//!   bench-load rate   --url U -c 64 -d 10 -r 1000   open loop; a late start counts as latency
//!   bench-load sse    --url U -c 200 -d 10          streams: first byte, transit and gap per chunk
//!   bench-load conns  --url U -c 10000 --pid P      idle connections: memory of each
//!   bench-load memory --pid P                       memory of a process tree, once
//!   bench-load relay  --url U --listen A            layer-4 relay to U: the floor for any proxy
//!   bench-load port                                 a free port of the loopback interface
//!
//! Common: `-H 'name: value'` (repeat), `--body TEXT`, `--status 200` (of a good answer), `-w` seconds of warm-up, `--pid P[,P]`
//! (process trees whose CPU and memory are measured over exactly the window), `--name LABEL`.
//! Prints one JSON line.

mod args;
mod client;
mod drive;
mod events;
mod idle;
mod meter;
mod relay;
mod tally;

use std::rc::Rc;

use anyhow::bail;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::task::LocalSet;

use args::Args;

fn main() -> anyhow::Result<()> {
    let args = Rc::new(Args::read(std::env::args().skip(1))?);
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = LocalSet::new();
    match args.mode.as_str() {
        "closed" | "rate" | "sse" => println!("{}", local.block_on(&runtime, drive::run(args))?),
        "conns" => println!("{}", local.block_on(&runtime, idle::run(args))?),
        "memory" => {
            let use_ = meter::Use::of(&args.pids);
            println!("{{\"name\":\"{}\",{}}}", args.name, use_.memory_json());
        }
        "relay" => local.block_on(&runtime, relay::run(args))?,
        "port" => println!(
            "{}",
            std::net::TcpListener::bind("127.0.0.1:0")?
                .local_addr()?
                .port()
        ),
        other => bail!("unknown mode `{other}`"),
    }
    Ok(())
}

/// As many descriptors as the system allows: each connection is one.
fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With fewer, opening connections says what is missing.
    setrlimit(Resource::Nofile, limit).ok();
}

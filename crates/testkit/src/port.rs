//! Ports for who must know one before it is bound.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below what the system deals out to who asks for any port, and for connections, so that nothing else takes one
/// between here and there.
const FIRST: u32 = 10_000;
const COUNT: u32 = 20_000;
/// Far from those of the process that was started before.
const STRIDE: u32 = 61;

/// An address on loopback that nobody listens at, and nobody is dealt.
///
/// # Panics
/// All ports are taken.
pub fn free_addr() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(STRIDE);
    for _ in 0..COUNT {
        let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + number).expect("a port");
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(addr).is_ok() {
            return addr;
        }
    }
    panic!("no port is free");
}

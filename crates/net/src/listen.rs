//! Binding: all listeners before anything is served, one socket per worker on the same port.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// An address that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}: {source}")]
pub struct BindError {
    /// The address.
    pub addr: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// Binds `count` listeners to `addr` that share its port (SO_REUSEPORT), so that each worker
/// accepts for itself. Port 0 picks a free port once, for all of them.
///
/// # Errors
/// The address is in use, not ours, or not allowed.
pub fn bind_shared(
    addr: SocketAddr,
    backlog: u32,
    count: usize,
) -> Result<Vec<TcpListener>, BindError> {
    let refused = |source| BindError { addr, source };
    // SO_REUSEPORT would let a second process of the same user share the port in silence. A
    // socket without it finds out whether somebody listens there.
    drop(socket(addr, Sharing::Alone).map_err(refused)?);
    let mut listeners = Vec::with_capacity(count);
    let mut at = addr;
    for _ in 0..count {
        let listener =
            listen(socket(at, Sharing::Shared).map_err(refused)?, backlog).map_err(refused)?;
        at = listener.local_addr().map_err(refused)?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Binds one listener to `addr`.
///
/// # Errors
/// The address is in use, not ours, or not allowed.
pub fn bind_one(addr: SocketAddr, backlog: u32) -> Result<TcpListener, BindError> {
    socket(addr, Sharing::Alone)
        .and_then(|bound| listen(bound, backlog))
        .map_err(|source| BindError { addr, source })
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Sharing {
    Shared,
    Alone,
}

fn socket(addr: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(sharing == Sharing::Shared)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

fn listen(socket: Socket, backlog: u32) -> io::Result<TcpListener> {
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn workers_share_one_port() {
        let listeners = bind_shared(ANY, 16, 3).unwrap();
        let ports: Vec<_> = listeners
            .iter()
            .map(|l| l.local_addr().unwrap().port())
            .collect();
        assert!(
            ports.iter().all(|port| *port == ports[0] && *port != 0),
            "{ports:?}"
        );
    }

    // EDGE-2
    #[test]
    fn a_port_that_somebody_listens_on_is_refused_with_its_address() {
        let taken = bind_shared(ANY, 16, 1).unwrap();
        let addr = taken[0].local_addr().unwrap();
        let error = bind_shared(addr, 16, 2).unwrap_err();
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
        assert!(bind_one(addr, 16).is_err());
    }
}

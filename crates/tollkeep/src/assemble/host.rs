//! What the process asks of the machine: folders, limits, user, signals, addresses.

use super::file_modes;
use crate::exit::{self, Failed};
use anyhow::Context;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::fs::DirBuilder;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tollkeep_config::settings::{Environment, Settings};
use tollkeep_net::Descriptors;
use tollkeep_net::descriptors::RESERVED;

/// Makes the data folder, raises the limit of open files, looks at the user and at modes of files.
///
/// # Errors
/// The folder can't be made; in production root, and files that others may use.
pub(crate) fn prepare(settings: &Settings) -> anyhow::Result<()> {
    if rustix::process::geteuid().is_root() {
        match settings.environment {
            Environment::Production => {
                return Err(Failed::new(
                    exit::INVALID,
                    "running as root is refused in production: use a user of its own",
                )
                .into());
            }
            Environment::Development => {
                tracing::warn!("Running as root: give the gateway a user of its own");
            }
        }
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&settings.data_dir)
        .with_context(|| {
            format!(
                "cannot make the data folder {}",
                settings.data_dir.display()
            )
        })?;
    file_modes::check(settings)?;
    let files = getrlimit(Resource::Nofile);
    if files.current < files.maximum {
        let raised = rustix::process::Rlimit {
            current: files.maximum,
            maximum: files.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!("cannot raise the limit of open files: {error}");
        }
    }
    std::panic::set_hook(Box::new(|panic| {
        // Only where, never what: a message may quote what a stranger sent.
        let place = panic
            .location()
            .map_or_else(String::new, |at| format!("{}:{}", at.file(), at.line()));
        tracing::error!("A task panicked at {place}; its request failed, the gateway goes on");
    }));
    file_modes::check(settings)
}

/// What sockets may take of the file descriptors this process may have, once all files are open.
///
/// # Errors
/// Hardly any are left.
pub(crate) fn descriptors(workers: usize) -> anyhow::Result<Arc<Descriptors>> {
    // Fewer than these and a handful of callers would be all there is room for.
    const LEAST: usize = 32;
    let limit = getrlimit(Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    let open = std::fs::read_dir("/proc/self/fd").map_or(RESERVED, Iterator::count);
    // What each worker's runtime and the control listeners are about to open.
    let open = open + 4 * workers + 16;
    let descriptors = Descriptors::new(limit, open);
    if descriptors.max() < LEAST {
        let why = format!(
            "the limit of open files is {limit}, of which {open} are taken and {RESERVED} kept for \
             the store and the audit log: raise it (ulimit -n, LimitNOFILE=)"
        );
        return Err(Failed::new(exit::INVALID, why).into());
    }
    Ok(descriptors)
}

/// The addresses a listener answers on: its own, or for a wildcard those of every interface that
/// this machine has now.
pub(crate) fn every_address(addr: SocketAddr) -> Vec<SocketAddr> {
    let mut all = vec![addr];
    if addr.ip().is_unspecified() {
        let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let interfaces = interface_addresses(
            &std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default(),
            &std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default(),
        );
        let every = loopback.into_iter().chain(interfaces);
        all.extend(every.map(|ip| SocketAddr::new(ip, addr.port())));
    }
    all
}

/// The addresses of interfaces, from the kernel's routing table (a leaf, then what it is) and its
/// list of IPv6 addresses.
fn interface_addresses(fib_trie: &str, if_inet6: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    let mut leaf: Option<Ipv4Addr> = None;
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(leaf.map(IpAddr::from));
        }
    }
    let first = |line: &str| line.split(' ').next().map(str::to_owned);
    for digits in if_inet6.lines().filter_map(first) {
        let bits = u128::from_str_radix(&digits, 16);
        found.extend(bits.map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits))));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Listens for signals from now on: for those that end the process, for SIGUSR1, and for SIGHUP if
/// that shall not end it.
///
/// # Errors
/// The system refuses.
pub(crate) fn listen(hangups: bool) -> anyhow::Result<(Signals, Files)> {
    let listen = |kind| signal(kind).context("cannot listen for signals");
    let hangups = hangups.then(|| listen(SignalKind::hangup())).transpose()?;
    let signals = Signals {
        terminate: listen(SignalKind::terminate())?,
        interrupt: listen(SignalKind::interrupt())?,
    };
    let reopen = listen(SignalKind::user_defined1())?;
    Ok((signals, Files { hangups, reopen }))
}

/// Signals about files.
pub(crate) struct Files {
    /// SIGHUP: all that is read at the start is read again, if it can be.
    pub(crate) hangups: Option<Signal>,
    /// SIGUSR1: those that are written are opened again.
    pub(crate) reopen: Signal,
}

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// The next signal.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // EDGE-101
    #[test]
    fn every_address_of_every_interface_is_found() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     \
                    +-- 127.0.0.0/8 2 0 2\n           |-- 127.0.0.0\n              /8 host LOCAL\n           \
                    |-- 127.0.0.1\n              /32 host LOCAL\n        |-- 127.255.255.255\n           \
                    /32 link BROADCAST\n           |-- 10.1.2.3\n              /32 host LOCAL\nLocal:\n           \
                    |-- 10.1.2.3\n              /32 host LOCAL\n";
        let inet6 = "fd000000000000000000000000000002 04 40 00 82     eth0\n\
                     00000000000000000000000000000001 01 80 10 80       lo\nnonsense\n";
        let found = interface_addresses(trie, inet6).into_iter();
        let texts: Vec<_> = found.map(|ip| ip.to_string()).collect();
        assert_eq!(texts, ["10.1.2.3", "127.0.0.1", "::1", "fd00::2"]);
        let own = every_address(SocketAddr::from(([0, 0, 0, 0], 80)));
        assert!(own.contains(&SocketAddr::from(([127, 0, 0, 1], 80))));
        let bound = SocketAddr::from(([10, 1, 2, 3], 80));
        assert_eq!(every_address(bound), [bound]);
    }
}

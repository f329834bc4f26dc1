//! What the process asks of the machine: folders, limits, user, signals, addresses.

use crate::exit::{self, Failed};
use anyhow::Context;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::fs::DirBuilder;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tollkeep_config::settings::{Environment, Settings};

/// Makes the data folder, raises the limit of open files, looks at the user.
///
/// # Errors
/// The folder can't be made; root in production.
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
    Ok(())
}

/// The addresses a listener answers on: its own, or for a wildcard those of this machine that
/// can be known without asking the network.
pub(crate) fn every_address(addr: SocketAddr) -> Vec<SocketAddr> {
    let mut all = vec![addr];
    if addr.ip().is_unspecified() {
        let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        all.extend(loopback.map(|ip| SocketAddr::new(ip, addr.port())));
    }
    all
}

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

//! The addresses of the process: all are bound before anything is served.

use super::host;
use crate::exit::{self, Failed};
use anyhow::Context;
use std::net::{SocketAddr, TcpListener};
use tollkeep_config::settings::{ManagementListen, Settings};
use tollkeep_net::listen;

/// Every address the process listens on, bound before anything is served.
pub(crate) struct Bound {
    /// The data listeners in the order of the settings, each with one socket per worker.
    pub(crate) data: Vec<Vec<TcpListener>>,
    /// The management listener.
    pub(crate) management: Option<TcpListener>,
    /// The metrics listener.
    pub(crate) metrics: Option<TcpListener>,
    /// Their addresses.
    pub(crate) at: Addresses,
}

/// Where the process listens.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    /// Where callers call: the first address that serves them.
    pub(crate) data: SocketAddr,
    /// All addresses of the data plane, in the order of the settings.
    pub(crate) doors: Vec<SocketAddr>,
    /// Where operators call.
    pub(crate) management: Option<SocketAddr>,
    /// Where counters are read.
    pub(crate) metrics: Option<SocketAddr>,
}

/// Binds all of them.
pub(super) fn bind(settings: &Settings, workers: usize) -> anyhow::Result<Bound> {
    let refused = |what: &str, error: listen::BindError| {
        Failed::new(exit::INVALID, format!("{what}: {error}"))
    };
    let server = &settings.server;
    let listen = server.listen.iter();
    let data = listen.map(|listen| listen::bind_shared(listen.addr, server.backlog, workers));
    let data = data
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| refused("data listener", error))?;
    let management = match &settings.management.listen {
        ManagementListen::Tcp(addr) => Some(
            listen::bind_one(*addr, 128).map_err(|error| refused("management listener", error))?,
        ),
        ManagementListen::Unix(_) | ManagementListen::Off => None,
    };
    let metrics = if settings.metrics.enabled {
        Some(
            listen::bind_one(settings.metrics.addr, 128)
                .map_err(|error| refused("metrics listener", error))?,
        )
    } else {
        None
    };
    let addr_of = |listener: &TcpListener| {
        listener
            .local_addr()
            .context("a bound socket has no address")
    };
    let sockets = data.iter().filter_map(|sockets| sockets.first());
    let doors = sockets.map(addr_of).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Bound {
        at: Addresses {
            data: serving(settings, &doors).context("no data listener")?,
            doors,
            management: management.as_ref().map(addr_of).transpose()?,
            metrics: metrics.as_ref().map(addr_of).transpose()?,
        },
        data,
        management,
        metrics,
    })
}

/// The first address that serves callers rather than sending them away.
fn serving(settings: &Settings, bound: &[SocketAddr]) -> Option<SocketAddr> {
    let mut all = settings.server.listen.iter().zip(bound);
    let found = all.find(|(listen, _)| !listen.redirect_http);
    found.map(|(_, bound)| *bound)
}

/// The listeners beside the data plane's, and every address for the self-connection rule.
pub(crate) struct Others {
    pub(super) management: Option<TcpListener>,
    pub(super) metrics: Option<TcpListener>,
    /// Where the process listens.
    pub(crate) own: Vec<SocketAddr>,
    /// The data plane's addresses.
    pub(crate) doors: Vec<SocketAddr>,
}

impl Bound {
    /// Every address, for the self-connection rule.
    pub(super) fn own(&self) -> Vec<SocketAddr> {
        let doors = self.at.doors.iter().copied();
        let own = doors.chain(self.at.management).chain(self.at.metrics);
        own.flat_map(host::every_address).collect()
    }

    pub(super) fn split(self) -> (Addresses, Vec<Vec<TcpListener>>, Others) {
        let at = self.at.clone();
        let own = self.own();
        (
            at,
            self.data,
            Others {
                management: self.management,
                metrics: self.metrics,
                own,
                doors: self.at.doors,
            },
        )
    }
}

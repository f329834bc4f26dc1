//! The way out of the process: whom to believe, what to show, through which proxy, by which
//! names. What did not change since the settings before is taken from there, so that connections
//! made with it live on.

use super::reload::fault;
use crate::exit::{self, Failed};
use crate::system::SystemClock;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tollkeep_config::ConfigError;
use tollkeep_config::settings::{Egress, Proxy as ProxySettings, ResolverMode, Settings};
use tollkeep_gateway::plan::TlsToUpstreams;
use tollkeep_net::resolve::{Names, ResolverSettings};
use tollkeep_net::tls::{Trust, UpstreamSettings, UpstreamTls};
use tollkeep_net::{Descriptors, Dialer, Proxy};
use tollkeep_policy::egress::EgressPolicy;
use tollkeep_types::{Clock, WallMillis};

/// The door out, as settings and files want it.
#[derive(Clone)]
pub(crate) struct Door {
    egress: Egress,
    trust: Arc<Trust>,
    /// TLS towards the proxy, where it is one of `https`.
    to_proxy: Option<Arc<UpstreamTls>>,
    /// TLS towards upstreams.
    pub(crate) tls: TlsToUpstreams,
    /// Opens connections.
    pub(crate) dialer: Dialer,
}

impl Door {
    /// As an authority that certificates are ordered from is reached: who it is is vouched for by
    /// this file, where there is one. Blocks: the file is read.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn to_authority(
        &self,
        ca_file: Option<&Path>,
        now: WallMillis,
    ) -> Result<(Dialer, Arc<UpstreamTls>), String> {
        let tls = match ca_file {
            None => Arc::clone(&self.tls.of_all),
            Some(ca_file) => {
                let loaded = UpstreamTls::load(&believing(ca_file), &self.trust, None, now);
                let told = |faults: Vec<tollkeep_net::tls::Fault>| {
                    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
                    told.join("; ")
                };
                loaded.map_err(told)?.tls
            }
        };
        Ok((self.dialer.clone(), tls))
    }
}

/// What a door is made with, beside the settings.
pub(crate) struct DoorParts {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) control: tokio::runtime::Handle,
    /// Every address of the process.
    pub(crate) own: Vec<SocketAddr>,
    /// What sockets may take of the process's file descriptors.
    pub(crate) descriptors: Arc<Descriptors>,
}

/// The door of these settings for what a command or a start has to do outside, before anything is served:
/// by no name of the process's own, and with as many connections as it takes. Within a runtime.
///
/// # Errors
/// Everything that is wrong with the files; no resolver.
pub(crate) fn one_shot(
    settings: &Settings,
    clock: Arc<dyn Clock>,
    own: Vec<SocketAddr>,
) -> Result<Door, Failed> {
    let parts = DoorParts {
        clock,
        control: tokio::runtime::Handle::current(),
        own,
        descriptors: Descriptors::new(usize::MAX, 0),
    };
    parts.door(settings, None).map_err(|faults| {
        let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
        Failed::new(exit::INVALID, told.join("; "))
    })
}

/// The same for a command that does nothing else, in a runtime that ends with it.
///
/// # Errors
/// As [`one_shot`]; no runtime.
pub(super) fn outside<T>(
    settings: &Settings,
    work: impl AsyncFnOnce(Door) -> T,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let clock = Arc::new(SystemClock::new());
        Ok(work(one_shot(settings, clock, Vec::new())?).await)
    })
}

impl DoorParts {
    /// The door of these settings, after `last`. Blocks: files are read.
    ///
    /// # Errors
    /// Everything that is wrong with the files; no resolver.
    pub(crate) fn door(
        &self,
        settings: &Settings,
        last: Option<&Door>,
    ) -> Result<Door, Vec<ConfigError>> {
        let egress = &settings.egress;
        let known = last.map(|last| &last.trust);
        let trust = Trust::load(egress.roots, egress.ca_file.as_deref(), known)
            .map_err(|found| vec![fault("egress.ca_file", &found.to_string())])?;
        let of_all = match last {
            Some(last) if Arc::ptr_eq(&last.trust, &trust) => Arc::clone(&last.tls.of_all),
            Some(_) | None => UpstreamTls::of_all(&trust)
                .map_err(|found| vec![fault("egress", &found.to_string())])?,
        };
        let mut reading = Reading {
            trust: &trust,
            now: self.clock.wall(),
            faults: Vec::new(),
        };
        let own = wanted(settings).filter_map(|(place, wanted)| {
            let known = last.and_then(|last| {
                let mut own = last.tls.own.iter();
                own.find(|(known, _)| *known == place).map(|(_, tls)| tls)
            });
            let tls = reading.read(&format!("{place}.tls"), &wanted, known)?;
            Some((place, tls))
        });
        let own = own.collect();
        let proxy = egress.proxy.as_ref();
        let to_proxy = proxy.filter(|proxy| proxy.url.scheme().is_tls());
        let to_proxy = to_proxy.and_then(|proxy| match &proxy.ca_file {
            Some(ca_file) => {
                let known = last.and_then(|last| last.to_proxy.as_ref());
                reading.read("egress.proxy.ca_file", &believing(ca_file), known)
            }
            None => Some(Arc::clone(&of_all)),
        });
        if !reading.faults.is_empty() {
            return Err(reading.faults);
        }
        let same_way = |last: &&Door| {
            let ptr = |tls: &Option<Arc<UpstreamTls>>| tls.as_ref().map(Arc::as_ptr);
            last.egress == *egress && ptr(&last.to_proxy) == ptr(&to_proxy)
        };
        let dialer = match last.filter(same_way) {
            Some(last) => last.dialer.clone(),
            None => {
                let proxy = proxy.map(|proxy| of_settings(proxy, to_proxy.as_ref()));
                self.dialer(egress, proxy).map_err(|fault| vec![fault])?
            }
        };
        Ok(Door {
            egress: egress.clone(),
            trust,
            to_proxy,
            tls: TlsToUpstreams { of_all, own },
            dialer,
        })
    }

    fn dialer(&self, egress: &Egress, proxy: Option<Proxy>) -> Result<Dialer, ConfigError> {
        let resolver = ResolverSettings {
            servers: match &egress.resolver.mode {
                ResolverMode::System => Vec::new(),
                ResolverMode::Servers(servers) => servers.clone(),
            },
            timeout: egress.resolver.timeout,
            attempts: egress.resolver.attempts,
        };
        let entered = self.control.enter();
        let names = Names::start(&resolver, Arc::clone(&self.clock), &self.control);
        drop(entered);
        let names = names.map_err(|problem| fault("egress.resolver", &problem))?;
        let (ports, allowed) = (egress.ports.clone(), egress.allow_ports.clone());
        let policy =
            EgressPolicy::new(ports, allowed, self.own.clone()).only_to(egress.hosts.clone());
        let descriptors = Arc::clone(&self.descriptors);
        let dialer = Dialer::new(names, Arc::new(policy), descriptors);
        match proxy {
            None => Ok(dialer),
            Some(proxy) => dialer
                .through(proxy)
                .map_err(|refusal| fault("egress.proxy.url", &refusal.to_string())),
        }
    }
}

/// Reading what TLS towards upstreams is made of.
struct Reading<'a> {
    trust: &'a Arc<Trust>,
    now: WallMillis,
    faults: Vec<ConfigError>,
}

impl Reading<'_> {
    fn read(
        &mut self,
        key: &str,
        wanted: &UpstreamSettings,
        known: Option<&Arc<UpstreamTls>>,
    ) -> Option<Arc<UpstreamTls>> {
        match UpstreamTls::load(wanted, self.trust, known, self.now) {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    tracing::warn!("{key}: {warning}");
                }
                Some(loaded.tls)
            }
            Err(found) => {
                let found = found.iter().map(|found| fault(key, &found.to_string()));
                self.faults.extend(found);
                None
            }
        }
    }
}

/// Who wants TLS of its own, and which: by the place of the settings.
fn wanted(settings: &Settings) -> impl Iterator<Item = (String, UpstreamSettings)> {
    let upstreams = settings.upstreams.iter();
    let upstreams = upstreams.map(|upstream| ("upstreams", &upstream.name, &upstream.tls));
    let providers = settings
        .providers
        .iter()
        .filter(|provider| provider.enabled);
    let providers = providers.map(|provider| ("providers", &provider.name, &provider.tls));
    upstreams
        .chain(providers)
        .filter_map(|(section, name, tls)| {
            let tls = tls.as_ref()?;
            let wanted = UpstreamSettings {
                ca_file: tls.ca_file.clone(),
                client: tls.client.clone(),
                server_name: tls.server_name.clone(),
                min_version: tls.min_version,
                pins: tls.pins.clone(),
            };
            Some((format!("{section}.{name}"), wanted))
        })
}

/// Nothing but other roots.
fn believing(ca_file: &Path) -> UpstreamSettings {
    UpstreamSettings {
        ca_file: Some(ca_file.to_path_buf()),
        client: None,
        server_name: None,
        min_version: tollkeep_types::tls::TlsVersion::V1_2,
        pins: Vec::new(),
    }
}

fn of_settings(proxy: &ProxySettings, tls: Option<&Arc<UpstreamTls>>) -> Proxy {
    Proxy {
        url: proxy.url.clone(),
        tls: tls.cloned(),
        authorization: proxy.authorization.clone(),
    }
}

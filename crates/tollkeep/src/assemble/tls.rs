//! TLS of our listeners: from the settings, through the checks of `net`, into use; and the same
//! again whenever the settings or the files change.

use super::ordered;
use super::reload::fault;
use super::watch::Files;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tollkeep_admin::{Door, Peer};
use tollkeep_config::ConfigError;
use tollkeep_config::settings::{Environment, Settings, Tls};
use tollkeep_net::acme::Challenges;
use tollkeep_net::tls::{
    ClientAuthFiles, ControlListener, ControlStream, Ends, Fault, PairFiles, Served,
    ServerSettings, ServerTls,
};
use tollkeep_types::WallMillis;

/// A listener that may speak TLS: where its settings stand, and what they are.
type Section = (&'static str, fn(&Settings) -> Option<&Tls>);

/// The data listener's section.
pub(crate) const DATA: &str = "server.tls";
/// The management listener's section.
pub(crate) const MANAGEMENT: &str = "management.tls";
/// The metrics listener's section.
pub(crate) const METRICS: &str = "metrics.tls";

pub(crate) const SECTIONS: [Section; 3] = [
    (DATA, |settings| settings.server.tls.as_ref()),
    (MANAGEMENT, |settings| settings.management.tls.as_ref()),
    (METRICS, |settings| settings.metrics.tls.as_ref()),
];

/// A certificate in use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct InUse {
    /// What it is.
    pub(crate) ends: Ends,
    /// Where its settings stand.
    pub(crate) name: String,
    /// Its subject.
    pub(crate) subject: String,
    /// Its file.
    pub(crate) path: String,
    /// Until when it is valid.
    pub(crate) not_after: WallMillis,
}

/// What TLS of the settings would be, with everything about the certificates checked.
pub(crate) struct Checked {
    /// By section.
    served: Vec<(&'static str, Served)>,
    /// What the operator should know.
    pub(crate) warnings: Vec<String>,
}

impl Checked {
    /// Reads and judges the certificates of every listener; `known` keep their tickets.
    ///
    /// # Errors
    /// Everything wrong with them.
    pub(crate) fn load(
        settings: &Settings,
        now: WallMillis,
        known: &Listeners,
    ) -> Result<Self, Vec<ConfigError>> {
        Self::load_some(&SECTIONS.map(|(section, _)| section), settings, now, known)
    }

    /// As [`Self::load`], of these listeners.
    ///
    /// # Errors
    /// Everything wrong with them.
    pub(crate) fn load_some(
        sections: &[&str],
        settings: &Settings,
        now: WallMillis,
        known: &Listeners,
    ) -> Result<Self, Vec<ConfigError>> {
        let (mut served, mut warnings, mut faults) = (Vec::new(), Vec::new(), Vec::new());
        let wanted_of = SECTIONS
            .into_iter()
            .filter(|(section, _)| sections.contains(section));
        for (section, of) in wanted_of {
            let Some(tls) = of(settings) else {
                continue;
            };
            let (wanted, unusable) = wanted(tls, settings, now);
            warnings.extend(unusable.iter().map(|fault| format!("{section}: {fault}")));
            let loaded = match known.of(section) {
                Some(known) => known.prepare(&wanted, now),
                None => Served::load(&wanted, now),
            };
            match loaded {
                Ok(loaded) => {
                    let told = loaded.warnings.iter();
                    warnings.extend(told.map(|warning| format!("{section}: {warning}")));
                    served.push((section, loaded));
                }
                Err(found) => {
                    faults.extend(found.iter().map(|found| fault(section, &found.to_string())));
                }
            }
        }
        if faults.is_empty() {
            Ok(Self { served, warnings })
        } else {
            Err(faults)
        }
    }

    /// The certificates, in the order of the settings.
    pub(crate) fn certificates(&self) -> Vec<InUse> {
        let served = self.served.iter();
        served
            .flat_map(|(section, served)| in_use(section, served))
            .collect()
    }
}

fn in_use<'a>(section: &'a str, served: &'a Served) -> impl Iterator<Item = InUse> + 'a {
    let expiries = served.expiries.iter().enumerate();
    expiries.map(move |(index, expiry)| InUse {
        ends: expiry.ends,
        name: match (expiry.ends, index) {
            // That of `cert_file`, mostly the only one.
            (Ends::Certificate, 0) => section.to_owned(),
            (Ends::Certificate, _) => format!("{section}.{index}"),
            (Ends::ClientAuthority, _) => format!("{section}.client_ca"),
            (Ends::RevocationList, _) => format!("{section}.client_crl"),
        },
        subject: expiry.subject.clone(),
        path: expiry.path.clone(),
        not_after: expiry.not_after,
    })
}

/// The TLS of every listener that speaks it.
#[derive(Clone, Default)]
pub(crate) struct Listeners(Vec<(&'static str, Arc<ServerTls>)>);

impl Listeners {
    /// Of a start with these settings; each answers the challenges of every one.
    pub(crate) fn new(checked: Checked, challenges: &Arc<Challenges>) -> Self {
        let served = checked.served.into_iter();
        Self(
            served
                .map(|(section, served)| {
                    let tls = ServerTls::new(served, Arc::clone(challenges));
                    (section, Arc::new(tls))
                })
                .collect(),
        )
    }

    /// That of a section.
    pub(crate) fn of(&self, section: &str) -> Option<&Arc<ServerTls>> {
        let mut all = self.0.iter();
        all.find(|(known, _)| *known == section).map(|(_, tls)| tls)
    }

    /// New handshakes are shaken with this from now on.
    pub(crate) fn take(&self, checked: Checked) {
        for (section, served) in checked.served {
            if let Some(tls) = self.of(section) {
                tls.take(served);
            }
        }
    }

    /// The certificates in use.
    pub(crate) fn certificates(&self) -> Vec<InUse> {
        let all = self.0.iter();
        all.flat_map(|(section, tls)| in_use(section, &tls.served()).collect::<Vec<_>>())
            .collect()
    }
}

/// The files that the TLS of these settings is made of, as they are now.
pub(crate) fn files(settings: &Settings) -> Files {
    let mut paths = Vec::new();
    for tls in SECTIONS.into_iter().filter_map(|(_, of)| of(settings)) {
        for files in &tls.certificates {
            paths.extend([files.cert_file.clone(), files.key_file.clone()]);
        }
        if let Some(client_auth) = &tls.client_auth {
            paths.push(client_auth.ca_file.clone());
            paths.extend(client_auth.crl_file.clone());
        }
        if let Some(acme) = &tls.acme {
            paths.push(ordered::cache(acme, &settings.data_dir).certificate());
        }
    }
    Files::look_at(paths)
}

/// What `net` is asked to serve, and what is wrong with ordered certificates that can't be.
fn wanted(tls: &Tls, settings: &Settings, now: WallMillis) -> (ServerSettings, Vec<Fault>) {
    let (ordered, unusable) = ordered::pairs(tls, &settings.data_dir, now);
    let pairs = tls.certificates.iter().map(|files| PairFiles {
        cert_file: files.cert_file.clone(),
        key_file: files.key_file.clone(),
        names: files.names.clone(),
        may_be_over: false,
    });
    let wanted = ServerSettings {
        pairs: pairs.chain(ordered).collect(),
        min_version: tls.min_version,
        cipher_suites: tls.cipher_suites.clone(),
        insecure_key_mode: tls.insecure_key_mode,
        in_production: settings.environment == Environment::Production,
        handshake: settings.server.timeouts.tls_handshake,
        client_auth: tls.client_auth.as_ref().map(|asked| ClientAuthFiles {
            need: asked.need,
            ca_file: asked.ca_file.clone(),
            crl_file: asked.crl_file.clone(),
        }),
        ordered: tls.acme.is_some(),
    };
    (wanted, unusable)
}

/// A listener of the control plane as `admin` wants it.
pub(crate) struct ControlDoor(ControlListener);

impl ControlDoor {
    /// Over a bound listener, behind TLS or in clear.
    ///
    /// # Errors
    /// The listener can't be used.
    pub(crate) fn new(
        listener: TcpListener,
        tls: Option<&Arc<ServerTls>>,
    ) -> std::io::Result<Self> {
        ControlListener::new(listener, tls.cloned()).map(Self)
    }
}

impl Door for ControlDoor {
    type Stream = ControlStream;

    async fn accept(&mut self) -> (ControlStream, Peer) {
        let (stream, addr) = self.0.accept().await;
        let session = stream.tls().map(Arc::clone);
        let certificate = session.as_ref().and_then(|session| session.client.clone());
        let tls = session.map(|session| -> tollkeep_admin::Misdirects {
            Arc::new(move |authority| session.misdirects(authority))
        });
        let peer = Peer {
            addr,
            tls,
            certificate,
        };
        (stream, peer)
    }

    fn addr(&self) -> std::io::Result<SocketAddr> {
        self.0.addr()
    }
}

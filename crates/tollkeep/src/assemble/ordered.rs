//! The certificates that the settings want ordered, and how they stand.

use std::path::Path;
use tollkeep_config::settings::{Acme, AcmeChallenge, Settings, Tls};
use tollkeep_net::acme::{Cache, ChallengeKind, KeptPair, State};
use tollkeep_net::tls::{Fault, PairFiles};
use tollkeep_policy::acme::{Due, due};
use tollkeep_types::WallMillis;

/// A certificate that is wanted; listeners that want the same one share it.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Where that stands in the settings, of each listener.
    pub(crate) sections: Vec<&'static str>,
    /// What is wanted.
    pub(crate) acme: Acme,
    /// Where it is kept.
    pub(crate) cache: Cache,
    insecure_key_mode: bool,
}

/// How a wanted certificate stands.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// The one for exactly its names.
    pub(crate) kept: Option<KeptPair>,
    /// Whether none of its names is served.
    pub(crate) is_missing: bool,
    /// What became of orders.
    pub(crate) state: State,
    /// When the next one is due.
    pub(crate) due: Due,
}

impl Wanted {
    /// Every one, each once.
    pub(crate) fn all(settings: &Settings) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for (section, of) in super::tls::SECTIONS {
            let tls = of(settings);
            let Some((tls, acme)) = tls.and_then(|tls| Some((tls, tls.acme.as_ref()?))) else {
                continue;
            };
            let new = Self {
                sections: vec![section],
                acme: acme.clone(),
                cache: cache(acme, &settings.data_dir),
                insecure_key_mode: tls.insecure_key_mode,
            };
            let same = all.iter_mut().find(|known| known.is_same(&new));
            match same {
                Some(known) => known.sections.push(section),
                None => all.push(new),
            }
        }
        all
    }

    fn is_same(&self, other: &Self) -> bool {
        let place = |one: &Self| (one.cache.folder().to_owned(), one.cache.id().to_owned());
        place(self) == place(other)
    }

    /// The sections, for people.
    pub(crate) fn name(&self) -> String {
        self.sections.join(", ")
    }

    /// How it stands now. Reads files.
    pub(crate) fn standing(&self, now: WallMillis) -> Standing {
        let domains = &self.acme.domains;
        let kept = self.cache.exact(domains, now, self.insecure_key_mode);
        let is_missing = kept.is_none()
            && self
                .cache
                .served(domains, now, self.insecure_key_mode)
                .0
                .is_empty();
        let state = self.cache.state();
        Standing {
            due: next(kept.as_ref(), &state, now),
            kept,
            is_missing,
            state,
        }
    }

    /// How it is shown that its names are ours.
    pub(crate) const fn challenge(&self) -> ChallengeKind {
        match self.acme.challenge {
            AcmeChallenge::TlsAlpn01 => ChallengeKind::TlsAlpn01,
            AcmeChallenge::Http01 => ChallengeKind::Http01,
        }
    }
}

/// When the next order is due.
pub(crate) fn next(kept: Option<&KeptPair>, state: &State, now: WallMillis) -> Due {
    let window = kept.and_then(|kept| state.window(kept));
    let life = kept.map(|kept| kept.life);
    due(life, window, state.failures(), state.draw(), now)
}

/// Where what this asks for is kept.
pub(crate) fn cache(acme: &Acme, data_dir: &Path) -> Cache {
    Cache::new(&acme.cache_dir(data_dir), &acme.directory, &acme.domains)
}

/// The ordered certificates that this listener serves, as they are kept now, and what is wrong
/// with those that can't be used.
pub(crate) fn pairs(tls: &Tls, data_dir: &Path, now: WallMillis) -> (Vec<PairFiles>, Vec<Fault>) {
    let Some(acme) = &tls.acme else {
        return (Vec::new(), Vec::new());
    };
    cache(acme, data_dir).served(&acme.domains, now, tls.insecure_key_mode)
}

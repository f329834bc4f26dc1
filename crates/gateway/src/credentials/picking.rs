//! Which credential a call goes out with.

use super::{Credential, CredentialPool};
use std::sync::Arc;
use tollkeep_policy::cooling::{Met, Stands};
use tollkeep_policy::turns;
use tollkeep_store::live::LiveProject;
use tollkeep_types::{MonoNanos, TenantId, WallMillis};

/// A cool-down that ends so soon is not waited for.
const SOON_NS: u64 = 2_000_000_000;

/// For what a credential is wanted.
pub(crate) struct Wanted<'a> {
    /// Whose call it is; `None` is nobody's.
    pub(crate) project: Option<&'a LiveProject>,
    /// Whose calls of nobody are.
    pub(crate) default_tenant: TenantId,
    /// What the call asks of the provider.
    pub(crate) model: &'a str,
    /// The name of the provider.
    pub(crate) provider: &'a str,
    /// The prefix that the model was asked for with.
    pub(crate) prefix: Option<&'a str>,
    /// What was tried for it before.
    pub(crate) tried: &'a [Arc<Credential>],
    pub(crate) worker: usize,
    pub(crate) now: (MonoNanos, WallMillis),
}

/// A credential for a call.
pub(crate) struct Picked {
    pub(crate) credential: Arc<Credential>,
    /// The name that the model has with it, if that is another.
    pub(crate) rename: Option<Box<str>>,
    pub(crate) entered: Entered,
}

/// A call that counts among those that its credential bears at a time.
#[derive(Default)]
pub(crate) struct Entered(Option<Arc<Credential>>);

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(credential) = &self.0 {
            credential.state.load.leave(&credential.limits);
        }
    }
}

/// Why there is no credential for a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NoCredential {
    /// There is none.
    None,
    /// Each is left alone; the first for this reason, until then.
    Cooling(Met, MonoNanos),
}

impl CredentialPool {
    /// HOT. A credential for this call that bears one more.
    pub(crate) fn pick(&self, wanted: &Wanted<'_>) -> Result<Picked, NoCredential> {
        let (now, _) = wanted.now;
        let mut full: Vec<Arc<Credential>> = Vec::new();
        let mut soonest: Option<u64> = None;
        loop {
            let mut picked = match (self.choose(wanted, &full), soonest) {
                (Ok(picked), _) => picked,
                (Err(NoCredential::None), Some(wait_ns)) => {
                    let until = MonoNanos(now.0.saturating_add(wait_ns));
                    return Err(NoCredential::Cooling(Met::RateLimit, until));
                }
                (Err(none), _) => return Err(none),
            };
            match picked.enter(now) {
                Ok(()) => return Ok(picked),
                Err(wait_ns) => {
                    soonest = Some(soonest.map_or(wait_ns, |known| known.min(wait_ns)));
                    full.push(picked.credential);
                }
            }
        }
    }

    /// HOT. A credential for this call: of the highest priority, in turns, one that is not left
    /// alone. One that others are preferred to serves if there are no others; one that is left
    /// alone may be probed.
    fn choose(
        &self,
        wanted: &Wanted<'_>,
        full: &[Arc<Credential>],
    ) -> Result<Picked, NoCredential> {
        let all = self.all.load();
        let mut cooling: Option<(&Arc<Credential>, Stands)> = None;
        let mut behind: Option<&Arc<Credential>> = None;
        for tier in all.chunk_by(|one, next| one.priority == next.priority) {
            let mut fit = tier.iter().filter(|credential| {
                if !credential.fits(wanted, full) {
                    return false;
                }
                match credential.state.stands(wanted.model, wanted.now) {
                    Stands::Free => true,
                    Stands::Behind => {
                        behind = behind.or(Some(*credential));
                        false
                    }
                    stands @ Stands::Cools { .. } => {
                        if cooling.is_none_or(|(_, other)| is_sooner(stands, other)) {
                            cooling = Some((*credential, stands));
                        }
                        false
                    }
                }
            });
            let picked = match tier {
                [_] => fit.next(),
                _ => turns::pick(fit.map(|one| (one, one.weight, one.state.turn(wanted.worker)))),
            };
            if let Some(credential) = picked {
                return Ok(credential.picked(wanted.model));
            }
        }
        if let Some(credential) = behind {
            return Ok(credential.picked(wanted.model));
        }
        let (credential, stands) = cooling.ok_or(NoCredential::None)?;
        let Stands::Cools {
            met,
            until,
            may_probe,
        } = stands
        else {
            return Ok(credential.picked(wanted.model));
        };
        let (mono, _) = wanted.now;
        if may_probe {
            credential.state.probe(wanted.model, mono);
        }
        if may_probe || until.since(mono) <= SOON_NS {
            return Ok(credential.picked(wanted.model));
        }
        Err(NoCredential::Cooling(met, until))
    }
}

impl Picked {
    /// Counts the call among those that the credential bears.
    fn enter(&mut self, now: MonoNanos) -> Result<(), u64> {
        let (credential, limits) = (&self.credential, &self.credential.limits);
        credential.state.load.enter(limits, now)?;
        if limits.at_once.is_some() {
            self.entered = Entered(Some(Arc::clone(credential)));
        }
        Ok(())
    }
}

impl Credential {
    fn picked(self: &Arc<Self>, model: &str) -> Picked {
        let served = self.served(model).filter(|served| served.alias.is_some());
        Picked {
            credential: Arc::clone(self),
            rename: served.map(|served| served.name.as_str().into()),
            entered: Entered::default(),
        }
    }
}

/// Which of two that are left alone is tried first.
fn is_sooner(one: Stands, other: Stands) -> bool {
    match (one, other) {
        (
            Stands::Cools {
                until, may_probe, ..
            },
            Stands::Cools {
                until: other,
                may_probe: other_probes,
                ..
            },
        ) => (!may_probe, until) < (!other_probes, other),
        (Stands::Free | Stands::Behind, _) | (_, Stands::Free | Stands::Behind) => false,
    }
}

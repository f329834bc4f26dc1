//! A project as the data plane uses it, with what its tenant says.

use crate::{CallLimits, Project, Tenant, TenantStatus};
use arc_swap::ArcSwap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use tollkeep_policy::call_policy::CallPolicy;
use tollkeep_types::{CredentialId, ProjectId, TenantId};

/// A project as the data plane sees it.
#[derive(Debug)]
pub struct LiveProject {
    /// Its id.
    pub id: ProjectId,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// The slug it had when it was first seen, for audit details.
    pub slug: Box<str>,
    /// What its tokens inherit.
    limits: SharedLimits,
    has_policy: AtomicBool,
    /// Whether it may use some credentials only.
    is_picky: AtomicBool,
    rules: ArcSwap<Rules>,
    active: AtomicBool,
    tenant: AtomicU8,
    cut: AtomicBool,
    changes: AtomicU64,
}

/// What is written of a project and of its tenant. Changed by one at a time.
#[derive(Clone, Debug, Default)]
struct Rules {
    limits: CallLimits,
    policy: Option<Arc<CallPolicy>>,
    /// What it may use, by id or as `provider/name`.
    credentials: Option<Arc<[String]>>,
    tenant_limits: CallLimits,
    tenant_policy: Option<Arc<CallPolicy>>,
}

/// What a tenant says to its projects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct TenantRules {
    status: TenantStatus,
    limits: CallLimits,
    policy: Option<Arc<CallPolicy>>,
}

impl Default for TenantRules {
    /// Those of a tenant about which nothing is said.
    fn default() -> Self {
        Self {
            status: TenantStatus::Active,
            limits: CallLimits::default(),
            policy: None,
        }
    }
}

impl TenantRules {
    pub(super) fn of(tenant: &Tenant) -> Self {
        Self {
            status: tenant.status,
            limits: tenant.limits,
            policy: tenant.policy.clone(),
        }
    }
}

/// Limits that may change while they are read; each of them is whole.
#[derive(Debug, Default)]
struct SharedLimits([AtomicU32; 6]);

impl SharedLimits {
    fn load(&self) -> CallLimits {
        let [second, minute, concurrency, burst, tokens, tokens_a_day] = &self.0;
        let load = |limit: &AtomicU32| NonZeroU32::new(limit.load(Ordering::Relaxed));
        CallLimits {
            requests_per_second: load(second),
            requests_per_minute: load(minute),
            concurrency: load(concurrency),
            burst: load(burst),
            tokens_per_minute: load(tokens),
            tokens_per_day: load(tokens_a_day),
        }
    }

    /// Tokens a minute, and in a day.
    fn tokens(&self) -> [Option<NonZeroU32>; 2] {
        let [.., minute, day] = &self.0;
        [minute, day].map(|limit| NonZeroU32::new(limit.load(Ordering::Relaxed)))
    }

    fn store(&self, limits: CallLimits) {
        let limits = [
            limits.requests_per_second,
            limits.requests_per_minute,
            limits.concurrency,
            limits.burst,
            limits.tokens_per_minute,
            limits.tokens_per_day,
        ];
        for (own, limit) in self.0.iter().zip(limits) {
            own.store(limit.map_or(0, NonZeroU32::get), Ordering::Relaxed);
        }
    }
}

/// Whether the tokens of a project may be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProjectStanding {
    /// They may.
    Active,
    /// The project is switched off.
    Inactive,
    /// Its tenant is suspended.
    TenantSuspended,
    /// Its tenant was deleted.
    Gone,
}

impl LiveProject {
    pub(super) fn new(project: &Project) -> Self {
        let live = Self {
            id: project.id,
            tenant_id: project.tenant_id,
            slug: project.slug.as_str().into(),
            limits: SharedLimits::default(),
            has_policy: AtomicBool::new(false),
            is_picky: AtomicBool::new(false),
            rules: ArcSwap::default(),
            active: AtomicBool::new(project.is_active),
            tenant: AtomicU8::new(0),
            cut: AtomicBool::new(false),
            changes: AtomicU64::new(0),
        };
        live.follow(project);
        live
    }

    /// Whether its tokens may be used. HOT: two loads.
    pub fn standing(&self) -> ProjectStanding {
        match self.tenant.load(Ordering::Relaxed) {
            0 if self.active.load(Ordering::Relaxed) => ProjectStanding::Active,
            0 => ProjectStanding::Inactive,
            1 => ProjectStanding::TenantSuspended,
            _ => ProjectStanding::Gone,
        }
    }

    /// Tokens a minute, and in a day, that its tokens inherit. HOT: two loads.
    pub(super) fn token_limits(&self) -> [Option<NonZeroU32>; 2] {
        self.limits.tokens()
    }

    /// The limits that its tokens inherit: its own, else those of its tenant.
    pub(super) fn limits(&self) -> CallLimits {
        self.limits.load()
    }

    /// Adds the policies of its tenant and its own.
    pub(super) fn policies(&self, each: &mut Vec<Arc<CallPolicy>>) {
        if self.has_policy.load(Ordering::Acquire) {
            let rules = self.rules.load();
            each.extend(rules.tenant_policy.clone());
            each.extend(rules.policy.clone());
        }
    }

    /// Whether it may use a credential, which is called so by the store, or by its provider's name
    /// and its own. HOT: one load, unless it may use some only.
    pub fn may_use(&self, id: Option<CredentialId>, (provider, name): (&str, &str)) -> bool {
        if !self.is_picky.load(Ordering::Acquire) {
            return true;
        }
        let rules = self.rules.load();
        let Some(listed) = &rules.credentials else {
            return true;
        };
        let is_meant = |entry: &String| match id {
            Some(id) => entry.parse() == Ok(id),
            None => entry.split_once('/') == Some((provider, name)),
        };
        listed.iter().any(is_meant)
    }

    /// How often something was changed of the project, of its tenant, or of one of its tokens. What
    /// was decided under another number may be decided otherwise now.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(super) fn note_change(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Ends what is on its way to holders of its tokens.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }

    pub(super) fn follow_tenant(&self, tenant: &TenantRules) {
        let byte = match tenant.status {
            TenantStatus::Active => 0,
            TenantStatus::Suspended => 1,
            TenantStatus::Deleted => 2,
        };
        let rules = Rules::clone(&self.rules.load());
        self.take(Rules {
            tenant_limits: tenant.limits,
            tenant_policy: tenant.policy.clone(),
            ..rules
        });
        let before = self.tenant.swap(byte, Ordering::Relaxed);
        if byte == 0 && before != 0 {
            self.cut.store(false, Ordering::Release);
        }
        self.note_change();
    }

    pub(super) fn follow(&self, project: &Project) {
        let rules = Rules::clone(&self.rules.load());
        self.take(Rules {
            limits: project.limits,
            policy: project.policy.clone(),
            credentials: project.allowed_credentials.as_deref().map(Arc::from),
            ..rules
        });
        let before = self.active.swap(project.is_active, Ordering::Relaxed);
        if project.is_active && !before {
            self.cut.store(false, Ordering::Release);
        }
        self.note_change();
    }

    /// Callers take turns.
    fn take(&self, rules: Rules) {
        self.limits.store(rules.limits.or(rules.tenant_limits));
        let has_policy = rules.policy.is_some() || rules.tenant_policy.is_some();
        let is_picky = rules.credentials.is_some();
        self.rules.store(Arc::new(rules));
        self.is_picky.store(is_picky, Ordering::Release);
        self.has_policy.store(has_policy, Ordering::Release);
    }
}

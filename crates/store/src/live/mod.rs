//! The tokens in use, where the data plane finds them: in memory, without a lock, without waiting.

mod lineage;
mod project;
mod service_tokens;
mod shards;
mod token;
mod usage;

pub use lineage::{Granting, Lineage};
pub use project::{LiveProject, ProjectStanding};
pub use service_tokens::ServiceTokens;
pub use token::LiveToken;
pub use usage::{Usage, UsageBatch};

use crate::{Project, ServiceToken, Tenant, TenantStatus, Token, TokenState};
use project::TenantRules;
use shards::Shards;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tollkeep_types::{
    CredentialId, LineageId, ProjectId, TenantId, TokenHash, TokenId, WallMillis,
};

/// Every token that may be used, by the hash of its text.
///
/// Finding takes no lock. Changes are rare: each copies one of 256 parts of the table, so with a
/// million tokens a change copies four thousand pointers.
#[derive(Default)]
pub struct LiveTokens {
    shards: Shards,
    service_tokens: ServiceTokens,
    index: Mutex<Index>,
    cuts: AtomicU64,
    changes: AtomicU64,
    cut_credentials: Mutex<VecDeque<CredentialId>>,
}

/// What changes need to know and finding does not.
#[derive(Default)]
struct Index {
    projects: HashMap<ProjectId, Arc<LiveProject>>,
    lineages: HashMap<LineageId, Weak<Lineage>>,
    /// Tenants that are not active, or have limits or a policy.
    tenants: HashMap<TenantId, TenantRules>,
    /// Tokens swept while a call held them, or before their counts were stored.
    leaving: Vec<Arc<LiveToken>>,
    /// Other processes grant calls of the same lines.
    is_shared: bool,
}

/// A change that is on disk and now takes effect.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// A tenant was suspended, resumed or deleted, or its limits or policy changed.
    Tenant(&'a Tenant),
    /// A project was made, or switched on or off, or its limits or policy changed.
    Project(&'a Project),
    /// A token was made, changed, rotated or revoked.
    Token(&'a Token),
    /// A service token was made, rotated or revoked.
    ServiceToken(&'a ServiceToken),
    /// Answers on their way end.
    Cut(Cut),
}

/// Whose answers end, besides that no new call is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cut {
    /// Those of a token, by its id and the hash of its text.
    Token(TokenId, TokenHash),
    /// Those of all tokens of a project.
    Project(ProjectId),
    /// Those of all tokens of a tenant.
    Tenant(TenantId),
    /// Those of all calls that went out with a credential.
    Credential(CredentialId),
}

/// Credentials that are remembered as cut, at most: none comes back, and calls end.
const CUT_CREDENTIALS_MAX: usize = 1_000;

impl LiveTokens {
    /// The table at start-up. Where it `is_shared`, other processes grant calls of the same lines.
    pub(crate) fn load(
        is_shared: bool,
        projects: &[Project],
        tokens: &[Token],
        service_tokens: &[ServiceToken],
    ) -> Self {
        let live = Self::default();
        {
            let mut index = live.index();
            index.is_shared = is_shared;
            for project in projects {
                index.project(project);
            }
            let made = tokens.iter().filter_map(|token| index.token(token, None));
            live.shards.fill(made);
        }
        live.service_tokens.fill(service_tokens);
        live
    }

    /// The token with this hash. HOT: one load, one look-up, one count.
    ///
    /// The token may have ended: ask [`LiveToken::standing`] before using it.
    pub fn find(&self, digest: &TokenHash) -> Option<Arc<LiveToken>> {
        self.shards.find(digest)
    }

    /// The service tokens, for the front doors.
    pub fn service_tokens(&self) -> &ServiceTokens {
        &self.service_tokens
    }

    /// Makes a change visible to every later [`LiveTokens::find`], and to calls that hold the token.
    pub fn apply(&self, change: Change<'_>) {
        if let Change::Cut(cut) = change {
            return self.cut(cut);
        }
        let mut index = self.index();
        match change {
            Change::ServiceToken(token) => self.service_tokens.follow(token),
            Change::Cut(_) => {}
            Change::Tenant(tenant) => {
                index.tenant(tenant);
                self.note_change();
            }
            Change::Project(project) => {
                index.project(project);
                self.note_change();
            }
            Change::Token(token) => match self.shards.find(&token.secret.digest) {
                Some(live) if live.is_as(token) => {
                    live.follow(token);
                    live.project.note_change();
                    self.note_change();
                }
                before => {
                    if let Some(before) = &before {
                        before.follow(token);
                        before.project.note_change();
                        self.note_change();
                    }
                    if let Some(live) = index.token(token, before.as_deref()) {
                        if let Some(used_at) = before.and_then(|before| before.unstored_use()) {
                            live.note_use(used_at);
                        }
                        self.shards.insert(live);
                    }
                }
            },
        }
    }

    fn note_change(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// How often something was changed of any tenant, project or token that was there before. What
    /// was decided under another number may be decided otherwise now.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Shows everything anew, as after a time in which changes made elsewhere were not seen.
    /// Of the tenants it takes those that are not active, or have limits or a policy. What is on its
    /// way to holders of what may no longer be used ends, since nobody knows whether it might have
    /// gone on.
    pub fn replace(
        &self,
        (of_note, projects): (&[Tenant], &[Project]),
        tokens: &[Token],
        service_tokens: &[ServiceToken],
    ) {
        self.index().tenants_anew(of_note);
        for tenant in of_note {
            self.apply(Change::Tenant(tenant));
        }
        for project in projects {
            self.apply(Change::Project(project));
        }
        for token in tokens {
            self.apply(Change::Token(token));
        }
        let there: HashSet<_> = tokens.iter().map(|token| token.secret.digest).collect();
        self.shards.each(|live| {
            if !there.contains(&live.digest) {
                live.end();
                live.cut();
            }
        });
        let off = tokens
            .iter()
            .filter(|token| !matches!(token.state, TokenState::Active | TokenState::Rotating));
        off.for_each(|token| self.cut(Cut::Token(token.id, token.secret.digest)));
        let off = projects.iter().filter(|project| !project.is_active);
        off.for_each(|project| self.cut(Cut::Project(project.id)));
        let off = of_note
            .iter()
            .filter(|tenant| tenant.status != TenantStatus::Active);
        for tenant in off {
            self.cut(Cut::Tenant(tenant.id));
        }
        self.cuts.fetch_add(1, Ordering::Release);
        self.service_tokens.fill(service_tokens);
    }

    /// Takes over that a token was used elsewhere.
    pub(crate) fn note_use(&self, digest: &TokenHash, at: WallMillis) {
        if let Some(token) = self.shards.find(digest) {
            token.note_use(at);
        }
    }

    /// Ends what is on its way to holders of tokens that may no longer be used. The workers see it
    /// with their next sweep.
    fn cut(&self, cut: Cut) {
        match cut {
            Cut::Token(_, digest) => {
                self.find(&digest).into_iter().for_each(|token| token.cut());
            }
            Cut::Project(id) => {
                let index = self.index();
                let live = index.projects.get(&id).into_iter();
                live.for_each(|live| live.cut());
            }
            Cut::Tenant(id) => {
                let index = self.index();
                let projects = index.projects.values();
                projects
                    .filter(|live| live.tenant_id == id)
                    .for_each(|live| live.cut());
            }
            Cut::Credential(id) => {
                let mut known = self.cut_credentials();
                if known.len() >= CUT_CREDENTIALS_MAX {
                    known.pop_front();
                }
                known.push_back(id);
            }
        }
        self.cuts.fetch_add(1, Ordering::Release);
    }

    fn cut_credentials(&self) -> MutexGuard<'_, VecDeque<CredentialId>> {
        let known = self.cut_credentials.lock();
        known.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether calls with this credential end.
    pub fn is_credential_cut(&self, id: &CredentialId) -> bool {
        self.cut_credentials().contains(id)
    }

    /// How often something was cut: another number than before means that somebody must look.
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Acquire)
    }

    /// Forgets tokens that ended before `now`; gives how many. Suspended ones stay.
    pub fn sweep(&self, now: WallMillis) -> usize {
        let mut index = self.index();
        let swept = self.shards.sweep(now);
        let count = swept.len();
        index.leaving.extend(swept);
        index
            .lineages
            .retain(|_, lineage| lineage.strong_count() > 0);
        count
    }

    /// How many tokens are in the table.
    pub fn len(&self) -> usize {
        self.shards.len()
    }

    /// How many of them are a tenant's.
    pub fn len_of(&self, tenant: TenantId) -> usize {
        let mut count = 0;
        self.shards
            .each(|token| count += usize::from(token.project.tenant_id == tenant));
        count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes out what was counted since the last batch. What is not stored comes back when the
    /// batch is dropped.
    pub fn take_usage(&self) -> UsageBatch {
        let mut batch = UsageBatch::default();
        self.shards.each(|token| {
            batch.take(token);
        });
        let mut index = self.index();
        // A call that holds a swept token may count once more, and this batch may come back.
        index.leaving.retain(|token| {
            let held = Arc::strong_count(token) > 1;
            batch.take(token) || held
        });
        batch
    }

    /// What is leased goes back with the next batch, as at the end.
    pub(crate) fn let_go(&self) {
        self.shards.each(|token| token.lineage.let_go());
        let index = self.index();
        index
            .leaving
            .iter()
            .for_each(|token| token.lineage.let_go());
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // A panic under the lock leaves maps that are still maps.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    /// Tenants that are not among these are as new ones are.
    fn tenants_anew(&mut self, of_note: &[Tenant]) {
        let ids: HashSet<_> = of_note.iter().map(|tenant| tenant.id).collect();
        self.tenants.retain(|id, _| ids.contains(id));
        let plain = TenantRules::default();
        let projects = self.projects.values();
        projects
            .filter(|live| !ids.contains(&live.tenant_id))
            .for_each(|live| live.follow_tenant(&plain));
    }

    fn tenant(&mut self, tenant: &Tenant) {
        let rules = TenantRules::of(tenant);
        let projects = self.projects.values();
        projects
            .filter(|live| live.tenant_id == tenant.id)
            .for_each(|live| live.follow_tenant(&rules));
        if rules == TenantRules::default() {
            self.tenants.remove(&tenant.id);
        } else {
            self.tenants.insert(tenant.id, rules);
        }
    }

    fn project(&mut self, project: &Project) {
        if let Some(live) = self.projects.get(&project.id) {
            live.follow(project);
        } else {
            let live = Arc::new(LiveProject::new(project));
            if let Some(rules) = self.tenants.get(&project.tenant_id) {
                live.follow_tenant(rules);
            }
            self.projects.insert(project.id, live);
        }
    }

    /// A live token for a row; `None` if it can't be used any more, or (never, by the order of
    /// changes) its project is unknown.
    /// `before` is what stood for the row so far.
    fn token(&mut self, token: &Token, before: Option<&LiveToken>) -> Option<Arc<LiveToken>> {
        let project = Arc::clone(self.projects.get(&token.project_id)?);
        let known = self.lineages.get(&token.lineage).and_then(Weak::upgrade);
        let lineage = known.unwrap_or_else(|| {
            let (id, count) = (token.lineage, token.request_count);
            let lineage = Arc::new(if self.is_shared {
                Lineage::shared(id, count)
            } else {
                Lineage::new(id, count)
            });
            self.lineages
                .insert(token.lineage, Arc::downgrade(&lineage));
            lineage
        });
        LiveToken::new(token, (project, lineage), before).map(Arc::new)
    }
}

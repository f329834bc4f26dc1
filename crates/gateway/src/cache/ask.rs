//! Asking the cache, before anything is held for a call and anybody upstream hears of it (LLM-82).

use super::directives::Directives;
use super::flight::{Lead, Wait};
use super::plan::{CachePlan, Rules};
use super::{Asked, Found, Kept};
use crate::grant::Grant;
use crate::lifecycle::{Exchange, Stop};
use crate::read_call::Call;
use crate::refusal::Refusal;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_counters::kept::KeptKey;
use tollkeep_net::Raced;
use tollkeep_observe::metrics::CacheResult;

/// How long a call waits for another one that asks for the same, before it goes by itself.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// What becomes of the answer to a call whose answer may be kept.
pub(crate) struct Caching {
    /// What the caller is told of the cache.
    pub(super) word: Word,
    /// How the answer is kept; `None`: not at all.
    pub(super) keeping: Option<Keeping>,
}

/// How an answer is kept.
pub(super) struct Keeping {
    pub(super) key: KeptKey,
    pub(super) rules: Rules,
    pub(super) of: Asked,
    /// How long the caller lets it get.
    pub(super) output_cap: Option<u64>,
    /// How often answers had been taken out when it was asked for.
    pub(super) purges: u64,
    /// The others that wait for it.
    pub(super) lead: Option<Lead>,
}

/// What became of asking (RFC 9211).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Word {
    /// It was there.
    Hit { ttl_s: u64 },
    /// Another call for the same brought it.
    Collapsed,
    /// It was not there.
    Miss,
    /// And this one is kept.
    Stored,
    /// The caller wanted a fresh one.
    Refreshed,
    /// And it is kept.
    RefreshStored,
    /// The caller wanted nothing kept.
    Bypassed,
}

impl Word {
    const fn stored(self) -> Self {
        match self {
            Self::Miss => Self::Stored,
            Self::Refreshed => Self::RefreshStored,
            other @ (Self::Hit { .. }
            | Self::Collapsed
            | Self::Stored
            | Self::RefreshStored
            | Self::Bypassed) => other,
        }
    }

    const fn result(self) -> CacheResult {
        match self {
            Self::Hit { .. } => CacheResult::Hit,
            Self::Collapsed => CacheResult::Collapsed,
            Self::Miss | Self::Stored => CacheResult::Miss,
            Self::Refreshed | Self::RefreshStored => CacheResult::Refresh,
            Self::Bypassed => CacheResult::Bypass,
        }
    }
}

impl Caching {
    pub(super) fn new(word: Word, keeping: Option<Keeping>) -> Box<Self> {
        Box::new(Self { word, keeping })
    }

    /// The answer is kept now.
    pub(super) fn note_stored(&mut self) {
        self.word = self.word.stored();
    }
}

impl<'p> Exchange<'p> {
    /// Answers the call with what is kept; `false` if it has to be sent.
    ///
    /// # Errors
    /// 504 where the caller wants nothing but what is kept; what a hit may be refused for.
    pub(crate) async fn ask_cache(
        &mut self,
        plan: &CachePlan,
        call: &Call<'p>,
        grant: &mut Grant<'_>,
    ) -> Result<bool, Stop> {
        let Some(rules) = self.cache_rules(plan, call) else {
            return Ok(false);
        };
        let wants = self.cache_wants();
        if wants.no_store {
            self.note_word(Word::Bypassed, None);
            return self.must_have(wants).map(|()| false);
        }
        let Some(key) = self.cache_key(plan, &rules, call)? else {
            return Ok(false);
        };
        let (of, purges) = (self.asked_with(call), self.worker.shared.cache.purges());
        let output_cap = self.work.facts.llm.as_ref().and_then(|llm| llm.output_cap);
        let keeping = |lead| Keeping {
            key,
            rules,
            of: of.clone(),
            output_cap,
            purges,
            lead,
        };
        let now = self.worker.shared.clock.mono();
        let cache = &self.worker.shared.cache;
        if wants.no_cache || wants.max_age == Some(0) {
            let keeping = keeping(None);
            self.note_word(Word::Refreshed, Some(keeping));
            return self.must_have(wants).map(|()| false);
        }
        let found = match wants.only_if_cached {
            true => cache.look(&key, now).map_or(Found::Alone, Found::Kept),
            false => cache.find(&key, now),
        };
        match found {
            Found::Kept(kept) if wants.max_age.is_none_or(|max| kept.age_s(now) <= max) => {
                let ttl_s = kept.ends.0.saturating_sub(now.0) / super::SECOND_NS;
                self.note_word(Word::Hit { ttl_s }, None);
                self.give_kept(&rules, call, (&kept, grant)).await?;
                return Ok(true);
            }
            Found::Kept(_) => {
                let keeping = keeping(None);
                self.note_word(Word::Refreshed, Some(keeping));
            }
            Found::Alone => {
                let keeping = keeping(None);
                self.note_word(Word::Miss, Some(keeping));
            }
            Found::Lead(lead) => {
                let keeping = keeping(Some(lead));
                self.note_word(Word::Miss, Some(keeping));
            }
            Found::Wait(wait) => {
                let alone = keeping(None);
                if let Some(kept) = self.wait_for_other(wait).await? {
                    self.note_word(Word::Collapsed, None);
                    self.give_kept(&rules, call, (&kept, grant)).await?;
                    return Ok(true);
                }
                self.note_word(Word::Miss, Some(alone));
            }
        }
        self.must_have(wants).map(|()| false)
    }

    /// What the request says to caches. `Pragma` says something where nothing else does (RFC 9111,
    /// section 5.4).
    fn cache_wants(&self) -> Directives {
        let (head, bytes) = (&self.work.head, &self.work.request);
        let values = |wanted: &'static str| {
            let fields = head.fields.iter();
            let named = fields.filter(move |field| {
                let name = field.name.of(bytes);
                name.eq_ignore_ascii_case(wanted.as_bytes())
            });
            named.map(|field| field.value.of(bytes))
        };
        if values("cache-control").next().is_some() {
            return Directives::read(values("cache-control"));
        }
        let pragma = Directives::read(values("pragma"));
        Directives {
            no_cache: pragma.no_cache,
            ..Directives::default()
        }
    }

    /// Who wants nothing but what is kept is not served otherwise.
    fn must_have(&mut self, wants: Directives) -> Result<(), Stop> {
        if wants.only_if_cached {
            self.caching = None;
            return Err(Refusal::NotCached.into());
        }
        Ok(())
    }

    fn note_word(&mut self, word: Word, keeping: Option<Keeping>) {
        self.worker.shared.cache.meter().asked(word.result());
        self.caching = Some(Caching::new(word, keeping));
    }

    fn asked_with(&self, call: &Call<'_>) -> Asked {
        let facts = &self.work.facts;
        let token = facts.token.as_deref();
        let target = self.work.head.target.of(&self.work.request);
        let query = memchr::memchr(b'?', target).and_then(|at| target.get(at..));
        let query = String::from_utf8_lossy(query.unwrap_or_default());
        let sent = match call {
            Call::Llm(call) => Some(Arc::clone(&call.model)),
            Call::Plain(_) | Call::Own(_) => None,
        };
        Asked {
            tenant: token.map_or(self.plan.llm.default_tenant, |token| {
                token.project.tenant_id
            }),
            project: token.map(|token| token.project.id),
            method: self.work.head.method.as_str(),
            target: [self.work.path.as_str(), &query].concat().into(),
            models: [
                facts.llm.as_ref().and_then(|llm| llm.model_asked.clone()),
                sent,
            ],
        }
    }

    /// What another call brings; `None` if it brings nothing, or not in time.
    async fn wait_for_other(&mut self, wait: Wait) -> Result<Option<Arc<Kept>>, Stop> {
        let _waits = self.worker.shared.cache.meter().waits();
        self.conn.slot().set(WAIT_MAX);
        match self.conn.race(Box::pin(wait.landed())).await {
            Raced::Done(kept) => Ok(kept),
            Raced::Gone => Err(Stop::CallerGone),
            Raced::Late if self.is_revoked() => Err(self.cut_off().into()),
            Raced::Late => Ok(None),
        }
    }

    /// Tells what became of asking. HOT: one look where nobody asked.
    pub(crate) fn write_cache_word(&mut self) {
        let (Some(caching), Some(plan)) = (&self.caching, &self.plan.cache) else {
            return;
        };
        let out = &mut self.work.out;
        out.extend_from_slice(b"cache-status: tollkeep; ");
        let (words, is_hit): (&[u8], _) = match caching.word {
            Word::Hit { .. } => (b"hit", true),
            Word::Collapsed => (b"fwd=miss; collapsed", true),
            Word::Miss => (b"fwd=miss", false),
            Word::Stored => (b"fwd=miss; stored", false),
            Word::Refreshed => (b"fwd=request", false),
            Word::RefreshStored => (b"fwd=request; stored", false),
            Word::Bypassed => (b"fwd=bypass", false),
        };
        out.extend_from_slice(words);
        if let Word::Hit { ttl_s } = caching.word {
            out.extend_from_slice(b"; ttl=");
            tollkeep_http1::write::number(out, ttl_s);
        }
        out.extend_from_slice(b"\r\n");
        if plan.says_proxy_cache {
            out.extend_from_slice(match is_hit {
                true => b"x-proxy-cache: hit\r\n",
                false => b"x-proxy-cache: miss\r\n",
            });
        }
    }
}

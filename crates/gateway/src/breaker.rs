//! Whether the upstream is called at all: one that keeps failing is left alone for a while.
//!
//! Asked before anything is granted, so that a refused call costs its caller nothing. Whoever
//! passes tells in the end how the upstream did.

use crate::identify::Caller;
use crate::lifecycle::{Exchange, Stop};
use crate::plan::Target;
use crate::read_call::Call;
use crate::refusal::Refusal;
use crate::worker::Shared;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_config::settings;
use tollkeep_counters::{Asked, Breakers, Place, UpstreamBreakers};
use tollkeep_observe::RequestOutcome;
use tollkeep_policy::breaker::{CallEnd, Change, Rules, Ticket, Verdict};

/// The breakers of a target, and its rules.
pub(crate) struct Guard {
    breakers: Arc<UpstreamBreakers>,
    pub(crate) rules: Rules,
    status: u16,
}

impl Guard {
    /// `None` where the operator switched it off.
    pub(crate) fn new(
        upstream: &str,
        settings: Option<&settings::Breaker>,
        breakers: &Breakers,
    ) -> Option<Self> {
        let settings = settings?;
        Some(Self {
            breakers: breakers.of(upstream),
            rules: Rules {
                failures: settings.failures.try_into().ok()?,
                open_ns: u64::try_from(settings.open.as_nanos()).unwrap_or(u64::MAX),
                trials: settings.trials.try_into().ok()?,
            },
            status: settings.status,
        })
    }
}

/// A call that the breaker let through. Dropped, it says nothing about the upstream, and gives
/// its place back if it was a trial.
#[must_use]
pub(crate) struct Pass<'r> {
    way: Option<Way<'r>>,
    ticket: Ticket,
}

/// Where a call goes, and for whom.
#[derive(Clone, Copy)]
struct Way<'r> {
    target: &'r Target,
    guard: &'r Guard,
    caller: &'r Caller,
    asked: Asked<'r>,
    shared: &'r Shared,
}

impl<'p> Exchange<'p> {
    /// Asks the breaker of the call's upstream.
    ///
    /// # Errors
    /// 502 `circuit_open`.
    pub(crate) fn pass<'r>(
        &self,
        caller: &'r Caller,
        call: &'r Call<'p>,
    ) -> Result<Pass<'r>, Refusal>
    where
        'p: 'r,
    {
        let plan = self.plan;
        let (target, asked) = match call {
            Call::Plain(route) => (Some(&*route.target), Asked::Route(&route.name)),
            Call::Llm(call) => {
                let target = plan.llm.providers.get(call.provider);
                (target.map(|target| &**target), Asked::Model(&call.model))
            }
            Call::Own(_) => (None, Asked::Route("")),
        };
        let free = Pass {
            way: None,
            ticket: Ticket::Call,
        };
        let Some((target, guard)) =
            target.and_then(|target| Some((target, target.guard.as_ref()?)))
        else {
            return Ok(free);
        };
        let way = Way {
            target,
            guard,
            caller,
            asked,
            shared: &self.worker.shared,
        };
        way.ask()
    }
}

impl<'r> Way<'r> {
    fn place(&self) -> Place<'r> {
        let project = self.caller.token().map(|token| &token.project);
        Place {
            tenant: project.map(|project| project.tenant_id),
            // Of a provider the tenants are told apart, of a plain upstream their projects.
            project: match self.asked {
                Asked::Route(_) => project.map(|project| project.id),
                Asked::Model(_) => None,
            },
            asked: self.asked,
        }
    }

    fn ask(self) -> Result<Pass<'r>, Refusal> {
        let clock = &*self.shared.clock;
        let (verdict, change) = self
            .guard
            .breakers
            .ask(&self.place(), &self.guard.rules, clock);
        if let Some(change) = change {
            self.tell(change);
        }
        match verdict {
            Verdict::Pass(ticket) => Ok(Pass {
                way: Some(self),
                ticket,
            }),
            Verdict::Refused { left_ns } => Err(Refusal::CircuitOpen {
                retry_after: Duration::from_nanos(left_ns),
                status: self.guard.status,
            }),
        }
    }

    /// Tells operators what changed.
    #[cold]
    fn tell(&self, change: Change) {
        let name = &*self.target.name;
        let (Asked::Route(asked) | Asked::Model(asked)) = self.asked;
        match change {
            Change::Opened => tracing::warn!(
                upstream.name = name,
                "Circuit to upstream `{name}` opened for {asked:?}: it keeps failing"
            ),
            Change::HalfOpened => tracing::info!(
                upstream.name = name,
                "Circuit to upstream `{name}` is half-open for {asked:?}: it is tried again"
            ),
            Change::Closed => tracing::info!(
                upstream.name = name,
                "Circuit to upstream `{name}` closed for {asked:?}"
            ),
        }
        self.shared
            .recorder
            .circuit(change, name, &self.place(), self.shared.clock.wall());
    }
}

impl Pass<'_> {
    /// Whether the upstream's other callers wait for what becomes of this call.
    pub(crate) fn is_trial(&self) -> bool {
        matches!(self.ticket, Ticket::Trial(_))
    }

    /// How long a trial is watched while its answer flows: longer, and the upstream works.
    pub(crate) fn watched(&self) -> Option<Duration> {
        let way = self.way.as_ref().filter(|_| self.is_trial())?;
        Some(Duration::from_nanos(way.guard.rules.open_ns))
    }

    /// The upstream did what upstreams should.
    pub(crate) fn succeeded(mut self) {
        self.end(CallEnd::Succeeded);
    }

    /// The upstream failed.
    pub(crate) fn failed(mut self) {
        self.end(CallEnd::Failed);
    }

    /// The call ended with this refusal.
    pub(crate) fn refused(self, refusal: &Refusal) {
        match refusal.upstream_failed() {
            Some(true) => self.failed(),
            Some(false) => self.succeeded(),
            None => {}
        }
    }

    /// The answer's way back ended so.
    pub(crate) fn relayed(self, ended: &Result<(), Stop>, outcome: RequestOutcome) {
        match ended {
            Ok(()) if outcome == RequestOutcome::Cut => self.failed(),
            Ok(()) => self.succeeded(),
            Err(Stop::Cut | Stop::Short) => self.failed(),
            Err(Stop::Refused(refusal)) => self.refused(refusal),
            Err(Stop::CallerGone) => {}
        }
    }

    fn end(&mut self, end: CallEnd) {
        let Some(way) = self.way.take() else { return };
        let (guard, clock) = (way.guard, &*way.shared.clock);
        let change = guard
            .breakers
            .ended(&way.place(), (self.ticket, end), &guard.rules, clock);
        if let Some(change) = change {
            way.tell(change);
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.is_trial() {
            self.end(CallEnd::Aborted);
        }
    }
}

/// Whether a status is a failure of a plain upstream. Anything else is an answer.
pub(crate) const fn is_failure(status: u16) -> bool {
    status >= 500
}

/// Whether a status is a failure of a provider: some tell with 408 that they were too slow.
pub(crate) const fn is_provider_failure(status: u16) -> bool {
    status == 408 || status >= 500
}

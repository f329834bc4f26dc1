//! The record of a request, gathered while it lives.
//!
//! Nothing secret is in a record: tokens are there by their mask and id, bodies and queries not
//! at all. [`crate::recorder`] turns records into lines and events.

use crate::holds::{CallHold, HungUp};
use crate::paid::PaidFacts;
use crate::refusal::{AuthnFailure, CountedBy, Refusal};
use crate::token_rates::TakenTokens;
use crate::worker::Worker;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tollkeep_audit::Action;
use tollkeep_ledger::price::CostError;
use tollkeep_llm::Surface;
use tollkeep_observe::RequestOutcome;
use tollkeep_observe::access::AccessLine;
use tollkeep_observe::metrics::{Finished, Listener, ModelLabel, ProviderLabel, RouteLabel};
use tollkeep_policy::client_ip::prefix_key;
use tollkeep_store::ledger::PriceMark;
use tollkeep_store::live::LiveToken;
use tollkeep_types::money::NanoUsd;
use tollkeep_types::usage::{Flag, Told, UnknownUsage, UsageReport};
use tollkeep_types::{ClientCertificate, HoldId, RequestId, WallMillis};

/// The provider or upstream of a request, as records name it.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) name: Arc<str>,
    pub(crate) label: ProviderLabel,
    /// Its kind, by which prices are found; empty for plain upstreams.
    pub(crate) kind: &'static str,
    pub(crate) self_hosted: bool,
    /// What becomes of its calls whose caller hangs up.
    pub(crate) hung_up: HungUp,
    /// Its credential's own server was called.
    pub(crate) is_elsewhere: bool,
}

/// An LLM call, as records tell it.
pub(crate) struct LlmFacts {
    pub(crate) surface: Surface,
    pub(crate) model_asked: Option<Arc<str>>,
    pub(crate) model_served: Option<Arc<str>>,
    pub(crate) model_label: ModelLabel,
    pub(crate) stream: bool,
    /// The name that was sent, if it is not the one that was asked for.
    pub(crate) model_sent: Option<Arc<str>>,
    /// The cap of output that the caller asked for.
    pub(crate) output_cap: Option<u64>,
    /// Answers that it asked for, each of them up to the cap.
    pub(crate) choices: u64,
    /// The answer did not end by itself: we, or its caller, ended it.
    pub(crate) ended_by_us: bool,
    /// Its stream tells its usage at the gateway's wish alone, and not to its caller.
    pub(crate) hides_usage: bool,
    /// What it used: as its answer told, and once it is settled, as that is reckoned.
    pub(crate) told: Option<Told>,
    /// What that cost; `None` where nothing is known of it.
    pub(crate) cost: Option<Result<NanoUsd, CostError>>,
    /// What its upstream asks for it, where it is charged by a markup.
    pub(crate) upstream_cost: Option<NanoUsd>,
    /// The price table that the cost is by.
    pub(crate) price: Option<PriceMark>,
    /// Both were reckoned before the answer ended, since its caller is told.
    pub(crate) is_settled: bool,
    /// Its hold, which ended before its answer, and what was left besides it.
    pub(crate) told_hold: Option<(HoldId, Option<Box<str>>)>,
}

impl LlmFacts {
    /// Of a call of which nothing else is known yet.
    pub(crate) const fn of(surface: Surface, asked: Arc<str>, label: ModelLabel) -> Self {
        Self {
            surface,
            model_asked: Some(asked),
            model_served: None,
            model_label: label,
            stream: false,
            model_sent: None,
            output_cap: None,
            choices: 1,
            ended_by_us: false,
            hides_usage: false,
            told: None,
            cost: None,
            upstream_cost: None,
            price: None,
            is_settled: false,
            told_hold: None,
        }
    }
}

/// A credential that was refused, as events show it.
#[derive(Debug)]
pub(crate) struct ShownCredential {
    pub(crate) masked: String,
    pub(crate) fingerprint: String,
}

/// What is known of a request.
pub(crate) struct Facts {
    pub(crate) id: RequestId,
    pub(crate) at: WallMillis,
    pub(crate) client_ip: IpAddr,
    /// The certificate of its connection.
    pub(crate) certificate: Option<Arc<ClientCertificate>>,
    pub(crate) method: &'static str,
    /// The name of the route; `None` before one is found.
    pub(crate) route: Option<Arc<str>>,
    pub(crate) route_label: RouteLabel,
    /// The request passed routing: it is a call, and every call has its audit event.
    pub(crate) is_call: bool,
    /// What is asked is what the token is.
    pub(crate) validates: bool,
    /// A probe of the process's health, which leaves no record.
    pub(crate) is_probe: bool,
    pub(crate) status: u16,
    pub(crate) refusal: Option<(&'static str, RefusedAs)>,
    pub(crate) outcome: RequestOutcome,
    pub(crate) token: Option<Arc<LiveToken>>,
    /// The credential that was refused.
    pub(crate) shown: Option<Box<ShownCredential>>,
    pub(crate) asked: Option<Asked>,
    pub(crate) llm: Option<LlmFacts>,
    /// What it was paid with.
    pub(crate) paid: Option<Box<PaidFacts>>,
    /// What hooks call it.
    pub(crate) labels: Option<Labels>,
    /// What is taken aside for it.
    pub(crate) hold: Option<Box<CallHold>>,
    /// What limits of tokens were debited for it.
    pub(crate) taken: Option<Box<TakenTokens>>,
    /// Attempts that had a hold and are over.
    pub(crate) attempts: u32,
    pub(crate) correlation_id: Option<Box<str>>,
    pub(crate) user_agent: Option<Arc<str>>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) duration_ns: u64,
    pub(crate) first_byte_ns: Option<u64>,
    pub(crate) upstream_ns: Option<u64>,
    /// The address in the forwarding fields could not be read.
    pub(crate) header_spoof: bool,
    /// What is kept was given again: nobody upstream heard of it.
    pub(crate) from_cache: bool,
}

/// Names and texts.
type Labels = Box<[(Box<str>, Box<str>)]>;

/// Why the cost of a call is not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum UsageFault {
    /// Its upstream told counts that can't be.
    Implausible,
    /// Something of it has no price.
    Unpriced,
}

/// What sort of no it was, for the audit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RefusedAs {
    Other,
    /// For want of money that will do.
    Unpaid,
    Rejected(&'static str),
    Authn(AuthnFailure),
    Binding(&'static str),
    /// A limit of this class, and whose requests it counts together.
    RateLimit(&'static str, CountedBy),
    /// An address that may not come, and what says so.
    Denied(&'static str),
    Egress(&'static str),
    /// An attack, by its kind.
    Violation(&'static str),
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            id: RequestId::from_bytes([0; 16]),
            at: WallMillis(0),
            client_ip: Ipv4Addr::UNSPECIFIED.into(),
            certificate: None,
            method: "",
            route: None,
            route_label: RouteLabel::NONE,
            is_call: false,
            validates: false,
            is_probe: true,
            status: 0,
            refusal: None,
            // What stays if the exchange panics or is dropped half-way.
            outcome: RequestOutcome::Error,
            token: None,
            shown: None,
            asked: None,
            llm: None,
            paid: None,
            labels: None,
            hold: None,
            taken: None,
            attempts: 0,
            correlation_id: None,
            user_agent: None,
            bytes_in: 0,
            bytes_out: 0,
            duration_ns: 0,
            first_byte_ns: None,
            upstream_ns: None,
            header_spoof: false,
            from_cache: false,
        }
    }
}

impl Facts {
    /// A request begins; nothing else was known.
    pub(crate) fn begin(&mut self, id: RequestId, at: WallMillis, client_ip: IpAddr) {
        self.id = id;
        self.at = at;
        self.client_ip = client_ip;
        self.is_probe = false;
    }

    /// The route as lines show it.
    pub(crate) fn route(&self) -> &str {
        self.route.as_deref().unwrap_or("-")
    }

    /// The caller hung up.
    pub(crate) fn caller_gone(&mut self) {
        self.outcome = RequestOutcome::CallerGone;
    }

    /// We said no, or passed on somebody's.
    pub(crate) fn refused(&mut self, refusal: &Refusal) {
        let mut sort = refusal.refused_as();
        // What binds nobody's token is a rule of the route.
        if matches!(sort, RefusedAs::Binding(_)) && self.token.is_none() {
            sort = RefusedAs::Other;
        }
        self.refusal = Some((refusal.public().code, sort));
        self.outcome = refusal.outcome();
    }

    /// The exchange is over. An answer that went out in one piece had its first byte now.
    pub(crate) fn end(&mut self, duration_ns: u64) {
        self.duration_ns = duration_ns;
        self.at = WallMillis(self.at.0.saturating_add(duration_ns / 1_000_000));
        let passed_on = self.upstream_ns.is_some() && self.refusal.is_none();
        if self.first_byte_ns.is_none() && passed_on && self.bytes_out > 0 {
            self.first_byte_ns = Some(duration_ns);
        }
    }

    /// What is wrong with what is known of its cost, for the audit.
    pub(crate) fn usage_fault(&self) -> Option<UsageFault> {
        let told = self.llm.as_ref()?.told.as_ref()?;
        if told.report == UsageReport::Unknown(UnknownUsage::Malformed) {
            return Some(UsageFault::Implausible);
        }
        told.flags
            .has(Flag::Unpriced)
            .then_some(UsageFault::Unpriced)
    }

    /// As the access log tells it.
    pub(crate) fn access_line<'a>(
        &'a self,
        model: Option<&'a str>,
        client_ip: Option<&'a [u8]>,
    ) -> AccessLine<'a> {
        let told = self.llm.as_ref().and_then(|llm| llm.told.as_ref());
        let usage = told.map(|told| &told.report);
        let paid = self.paid.as_ref();
        AccessLine {
            at: self.at,
            request_id: self.id,
            method: self.method,
            route: self.route(),
            status: self.status,
            latency_ns: self.duration_ns,
            ttft_ns: self.first_byte_ns,
            upstream_ns: self.upstream_ns,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            project_id: self.token.as_ref().map(|token| token.project.id),
            token_ref: self.token.as_ref().map(|token| token.id),
            provider: self.asked.as_ref().map(|asked| &*asked.name),
            model,
            tokens: match usage {
                Some(UsageReport::Reported(lines)) => Some((lines.input(), lines.output())),
                Some(
                    UsageReport::Estimated(_) | UsageReport::Released | UsageReport::Unknown(_),
                )
                | None => None,
            },
            cost: self
                .llm
                .as_ref()
                .and_then(|llm| llm.cost.as_ref()?.as_ref().ok().copied()),
            payment: paid.map(|paid| (&*paid.payment, &*paid.amount)),
            labels: self.labels.as_deref().unwrap_or_default(),
            outcome: self.outcome,
            client_ip,
        }
    }

    /// What the use of its token is called.
    pub(crate) const fn access(&self) -> Action {
        if self.validates {
            Action::TokenValidate
        } else {
            Action::TokenAccess
        }
    }

    /// Whether it showed a token and was let in by it, whatever became of it then.
    pub(crate) fn is_let_in(&self) -> bool {
        let is_refused = self
            .refusal
            .is_some_and(|(_, sort)| matches!(sort, RefusedAs::Authn(_) | RefusedAs::Binding(_)));
        self.token.is_some() && !is_refused && !self.is_probe
    }

    /// How many audit events this makes at most, but for the use of its token.
    pub(crate) fn events_max(&self) -> usize {
        if self.is_probe {
            return 0;
        }
        let refused = self.refusal.map_or(0, |(_, sort)| match sort {
            RefusedAs::Other | RefusedAs::Unpaid => 0,
            RefusedAs::Egress(_) => 2,
            RefusedAs::Rejected(_)
            | RefusedAs::Authn(_)
            | RefusedAs::Binding(_)
            | RefusedAs::RateLimit(..)
            | RefusedAs::Denied(_)
            | RefusedAs::Violation(_) => 1,
        });
        let odd = usize::from(self.usage_fault().is_some());
        usize::from(self.header_spoof) + refused + odd + usize::from(self.is_call)
    }

    /// Counts the request in the worker's metrics.
    pub(crate) fn count(&self, worker: &Worker) {
        let asked = self.asked.as_ref().filter(|_| !self.from_cache);
        let provider = asked.map_or(ProviderLabel::NONE, |asked| asked.label);
        worker.counters.finish(&Finished {
            route: self.route_label,
            provider,
            status: self.status,
            outcome: self.outcome,
            duration_ns: self.duration_ns,
            overhead_ns: self
                .upstream_ns
                .map(|waited| self.duration_ns.saturating_sub(waited)),
            ttft_ns: self
                .first_byte_ns
                .filter(|_| self.llm.as_ref().is_some_and(|llm| llm.stream)),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
        });
        if let Some(LlmFacts {
            model_label,
            told: Some(told),
            ..
        }) = &self.llm
            && !self.from_cache
            && let UsageReport::Reported(lines) = &told.report
        {
            for line in lines.iter() {
                worker.counters.tokens(provider, *model_label, &line.usage);
            }
        }
        let Some((code, sort)) = self.refusal else {
            return;
        };
        let metrics = &worker.shared.metrics;
        metrics.refusal(code, Listener::Data);
        match sort {
            RefusedAs::Other
            | RefusedAs::Unpaid
            | RefusedAs::Binding(_)
            | RefusedAs::Denied(_)
            | RefusedAs::Violation(_) => {}
            RefusedAs::Rejected(reason) => metrics.rejected(reason),
            RefusedAs::Authn(failure) => metrics.auth_failure(failure.reason()),
            RefusedAs::RateLimit(class, _) => {
                worker.counters.rate_limited(self.route_label, class);
                metrics.limited_address(|| prefix_key(self.client_ip));
            }
            RefusedAs::Egress(reason) => metrics.egress_refused(reason),
        }
    }
}

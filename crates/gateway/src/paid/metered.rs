//! Calls of models that are paid by what they use: the most that one can cost is asked for and
//! signed, what is written into its body keeps it below that, and what its answer told is settled.

use super::sold::Sold;
use super::token_bound::{self, marked_up, surface_of};
use super::{Delivery, PaymentDoor};
use crate::holds::{HungUp, Quote, not_boundable};
use crate::lifecycle::{Exchange, Stop};
use crate::pump::Ended;
use crate::refusal::Refusal;
use crate::stream_back::ended_by_upstream;
use std::sync::Arc;
use tollkeep_http1::{Framing, Known, write};
use tollkeep_ledger::price::{Book, Cost, Provider};
use tollkeep_ledger::usage::{Estimating, settle};
use tollkeep_llm::Surface;
use tollkeep_llm::asks::{self, BoundFault, Bounds};
use tollkeep_llm::usage::{Asked, BodyEnd, BodyUsage, StreamUsage};
use tollkeep_payments::price::token_units;
use tollkeep_types::money::NanoUsd;
use tollkeep_types::usage::{
    Class, Flags, Lines, Partial, Service, Told, UnknownUsage, Usage, UsageReport,
};
use tollkeep_types::{MonoNanos, WallMillis};

/// The service that is written where a body leaves it to the account.
const SERVICE: &str = "default";
/// Bytes of a token, for what is guessed and not bounded.
const BYTES_PER_TOKEN: u64 = 4;
/// How often it is written down what a stream has come to.
const PROGRESS_EVERY_NS: u64 = 2_000_000_000;
/// And after so many bytes at most.
const PROGRESS_BYTES: u64 = 256 * 1024;

/// A call of a model that is to be paid for.
#[derive(Debug)]
pub(crate) struct MeteredCall {
    surface: Surface,
    provider: Box<str>,
    kind: &'static str,
    model: Box<str>,
    is_stream: bool,
    /// Its caller wants the usage of its stream told.
    wants_usage: bool,
    usage: Asked,
    body_bytes: u64,
    quote: Quote,
    /// The prices of the quote: they settle it too.
    book: Arc<Book>,
    at: WallMillis,
    markup_percent: u32,
    /// The least that something costs.
    min: NanoUsd,
    price: NanoUsd,
}

impl MeteredCall {
    /// What it costs at most.
    pub(crate) const fn price(&self) -> NanoUsd {
        self.price
    }

    fn cost<'c>(&'c self, served: Option<&'c str>) -> Cost<'c> {
        Cost {
            provider: Provider {
                name: &self.provider,
                kind: self.kind,
                self_hosted: false,
            },
            asked: &self.model,
            served,
            at: self.at,
        }
    }

    /// What so many tokens cost whoever pays for them; `None` where that has no price.
    fn charge(&self, lines: &Lines, served: Option<&str>) -> Option<NanoUsd> {
        let cost = self.cost(served).of(&self.book, lines).ok()?;
        marked_up(cost, self.markup_percent)
    }

    /// What is likely used by now, with so many tokens of output.
    fn guess(&self, output: u64) -> Option<NanoUsd> {
        let mut usage = Usage::default();
        usage.set(Class::InText, self.body_bytes.div_ceil(BYTES_PER_TOKEN));
        usage.set(Class::OutText, output);
        self.charge(&Lines::from(usage), None)
    }

    /// `cut_off_at`: the upstream whose answer was ended before its end, and not by itself.
    fn estimating(&self, cut_off_at: Option<HungUp>) -> Estimating {
        let of = self.cost(None);
        let found = self.book.find(of.provider, &self.model, self.at).ok();
        let facts = found.map(|found| found.model.facts);
        Estimating {
            input_tokens: self.quote.input_tokens,
            cap: self.quote.output_tokens(),
            hidden_reasoning: facts.is_some_and(|facts| facts.hidden_reasoning),
            billing_goes_on: cut_off_at.is_some_and(|at| !at.ends_bill(facts.as_ref())),
        }
    }
}

/// What a paid call uses, and what that comes to.
#[derive(Debug)]
pub(crate) struct Metering {
    call: Arc<MeteredCall>,
    decimals: u8,
    /// What was signed for.
    most: u64,
    /// Its stream tells its usage at our wish alone.
    hides_usage: bool,
    due: Option<u64>,
}

impl Metering {
    /// One that comes to so much at most, in the smallest unit of a token with so many decimals.
    pub(super) const fn new(call: Arc<MeteredCall>, decimals: u8, most: u64) -> Self {
        Self {
            call,
            decimals,
            most,
            hides_usage: false,
            due: None,
        }
    }

    /// What it came to; `None` before that is known.
    pub(super) const fn due(&self) -> Option<u64> {
        self.due
    }

    /// What it comes to as soon as a byte goes out: what was sent.
    pub(super) fn at_least(&self) -> u64 {
        self.units(self.call.guess(0)).max(1).min(self.most)
    }

    /// An amount in the token's smallest unit, at most what was signed for; that where it is not
    /// known.
    fn units(&self, charge: Option<NanoUsd>) -> u64 {
        let charge = charge.map(|charge| match charge.get() {
            0 => charge,
            _ => charge.max(self.call.min),
        });
        let units = charge.and_then(|charge| token_units(charge, self.decimals));
        let units = units.and_then(|units| u64::try_from(units).ok());
        units.map_or(self.most, |units| units.min(self.most))
    }

    fn settle(&self, mut told: Told, served: Option<&str>, cut_off_at: Option<HungUp>) -> u64 {
        settle(&mut told, || {
            // What was searched meanwhile is told at the end alone.
            let can = !self.call.quote.works_in_rounds;
            can.then(|| self.call.estimating(cut_off_at))
        });
        match &told.report {
            UsageReport::Reported(lines) | UsageReport::Estimated(lines) => {
                self.units(self.call.charge(lines, served))
            }
            UsageReport::Released => 0,
            UsageReport::Unknown(_) => self.most,
        }
    }
}

/// Reads what an answer uses while it passes.
pub(crate) struct Reading {
    of: ReadingOf,
    /// What was written down: when, and after how many bytes.
    told: (MonoNanos, u64),
    bytes: u64,
    door: Arc<dyn PaymentDoor>,
}

enum ReadingOf {
    Stream(Box<StreamUsage>),
    /// What came of it; `None` if it is too long.
    Whole(Option<Vec<u8>>),
}

impl Exchange<'_> {
    /// The call of a model that is asked for, where the route is paid by what that uses.
    ///
    /// # Errors
    /// 400 and 415 for what is no such call, or can't be bounded.
    pub(super) fn metered_call(&self, sold: &Sold) -> Result<Option<Arc<MeteredCall>>, Refusal> {
        let Some(tokens) = sold.sale.tokens else {
            return Ok(None);
        };
        let kind = self
            .work
            .head
            .value(self.request_bytes(), Known::ContentType);
        let body = self.body();
        let view = token_bound::read(kind.unwrap_or_default(), body, self.plan.llm.max_depth)?;
        let book = self.worker.shared.prices.load_full();
        let of = (tokens, &*sold.upstream);
        let by = (&*book, &self.plan.llm.bounds);
        let bounded = token_bound::bound(of, &view, body, by, self.work.facts.at)?;
        let surface = surface_of(tokens);
        Ok(Some(Arc::new(MeteredCall {
            surface,
            provider: (&*sold.upstream).into(),
            kind: tokens.provider.name(),
            model: view.model.as_deref().unwrap_or_default().into(),
            is_stream: view.stream == Some(true),
            wants_usage: view.include_usage,
            usage: Asked::of_call(surface, &view, body),
            body_bytes: u64::try_from(body.len()).unwrap_or(u64::MAX),
            quote: bounded.quote,
            book,
            at: self.work.facts.at,
            markup_percent: tokens.markup_percent,
            min: sold.sale.pricing.bounds().0.unwrap_or(NanoUsd::ZERO),
            price: bounded.price,
        })))
    }

    /// Whether what the call uses is what it costs.
    pub(crate) fn is_metered(&self) -> bool {
        let paying = self.paying.as_ref();
        paying.is_some_and(|paying| paying.metered.is_some())
    }

    /// Writes into the body what was reckoned with: what was signed for is the most that it can cost.
    ///
    /// # Errors
    /// 400 where that can't be.
    pub(crate) fn write_paid_bounds(&mut self) -> Result<(), Refusal> {
        let metered = self
            .paying
            .as_ref()
            .and_then(|paying| paying.metered.as_ref());
        let Some(call) = metered.map(|metered| Arc::clone(&metered.call)) else {
            return Ok(());
        };
        let asks_for_usage = call.is_stream && call.surface == Surface::Chat;
        let bounds = Bounds {
            output_tokens: call.quote.cap,
            choices: None,
            service: call.quote.pins_service.then_some(SERVICE),
            usage: asks_for_usage,
        };
        let name = if call.surface == Surface::Responses {
            "max_output_tokens"
        } else if call.surface == Surface::Chat && call.kind == "openai" {
            "max_completion_tokens"
        } else {
            "max_tokens"
        };
        let edited = asks::bounded(call.surface, self.body(), &bounds, name);
        let edited = edited.map_err(|fault| match fault {
            BoundFault::Unreadable => Refusal::Internal,
            BoundFault::Thinking => {
                not_boundable("thinking.budget_tokens does not fit below the cap of output")
            }
        })?;
        if let Some(edited) = edited {
            self.work.body = edited;
            self.work.head.framing = Framing::Chunked;
        }
        if let Some(cap) = call.quote.cap {
            let cap = cap.to_string();
            write::field(
                &mut self.work.limits,
                b"x-tollkeep-max-output",
                cap.as_bytes(),
            );
        }
        let paying = self.paying.as_mut();
        if let Some(metered) = paying.and_then(|paying| paying.metered.as_mut()) {
            metered.hides_usage = asks_for_usage && !call.wants_usage;
        }
        Ok(())
    }

    fn answers_by_events(&self) -> bool {
        let (answer, bytes) = (&self.work.answer, &self.work.answer_bytes);
        let kind = answer.value(bytes, Known::ContentType).unwrap_or_default();
        kind.to_ascii_lowercase().starts_with(b"text/event-stream")
    }

    /// Whether what the answer tells of its usage was not asked for by its caller.
    pub(crate) fn hides_paid_usage(&self) -> bool {
        let paying = self.paying.as_ref();
        let metered = paying.and_then(|paying| paying.metered.as_ref());
        metered.is_some_and(|metered| metered.hides_usage) && self.answers_by_events()
    }

    /// A reader of what the answer uses, where that is what it costs.
    pub(crate) fn read_paid_usage(&self) -> Option<Reading> {
        let paying = self.paying.as_ref()?;
        let call = &paying.metered.as_ref()?.call;
        let of = match call.surface.usage_dialect() {
            Some(dialect) if self.answers_by_events() => {
                ReadingOf::Stream(Box::new(StreamUsage::new(dialect, call.usage.clone())))
            }
            Some(_) | None => ReadingOf::Whole(Some(Vec::new())),
        };
        Some(Reading {
            of,
            told: (self.worker.deadlines.now(), 0),
            bytes: 0,
            door: paying.door()?,
        })
    }

    /// Reads a piece, and has it written down now and then what that comes to.
    pub(crate) fn meter_piece(&self, reading: &mut Reading, data: &[u8]) {
        let len = u64::try_from(data.len()).unwrap_or(u64::MAX);
        reading.bytes = reading.bytes.saturating_add(len);
        let usage = match &mut reading.of {
            ReadingOf::Stream(usage) => usage,
            ReadingOf::Whole(kept) => {
                let max = self.plan.limits.response_buffer_bytes_max;
                match kept {
                    Some(body) if reading.bytes <= max => body.extend_from_slice(data),
                    Some(_) | None => *kept = None,
                }
                return;
            }
        };
        usage.feed(data);
        let now = self.worker.deadlines.now();
        let (at, bytes) = reading.told;
        let is_due = now.since(at) >= PROGRESS_EVERY_NS
            || reading.bytes.saturating_sub(bytes) >= PROGRESS_BYTES;
        let Some(paying) = self.paying.as_ref().filter(|_| is_due) else {
            return;
        };
        if let Some(metered) = &paying.metered {
            reading.told = (now, reading.bytes);
            let by_now = metered.units(metered.call.guess(usage.output_at_least()));
            paying.progressed(&reading.door, by_now.max(1).min(metered.most));
        }
    }

    /// Notes what the answer used, and what that comes to.
    pub(crate) fn note_paid_usage(
        &mut self,
        reading: Option<Reading>,
        ended: &Result<Ended, Stop>,
    ) {
        let status = self.work.answer.status;
        let hung_up = self.work.facts.asked.as_ref().map(|asked| asked.hung_up);
        let Some(reading) = reading else { return };
        let paying = self.paying.as_mut();
        let Some(paying) = paying.filter(|paying| paying.is_delivering()) else {
            return;
        };
        let Some(metered) = &mut paying.metered else {
            return;
        };
        let is_whole = matches!(ended, Ok(Ended::Whole));
        let due = match reading.of {
            ReadingOf::Stream(usage) => {
                let report = usage.finish(if is_whole {
                    BodyEnd::Clean
                } else {
                    BodyEnd::Broken
                });
                let cut_off_at = hung_up.filter(|_| !ended_by_upstream(ended));
                metered.settle(report.told, report.model.as_deref(), cut_off_at)
            }
            // Half of it is of no use, and of what it used nothing was told.
            ReadingOf::Whole(_) if !is_whole && ended.is_ok() => metered.at_least(),
            ReadingOf::Whole(body) => {
                let body = body.filter(|_| is_whole);
                let dialect = metered.call.surface.usage_dialect();
                match dialect.zip(body.as_deref()) {
                    Some((dialect, body)) => {
                        let read = BodyUsage::read(dialect, &metered.call.usage, status, body);
                        let told = with_estimate(read.told, body.len());
                        metered.settle(told, read.model.as_deref(), None)
                    }
                    None => metered.most,
                }
            }
        };
        metered.due = Some(due);
        paying.deliver_as(Delivery::Ended);
    }
}

/// What an answer without usage may be estimated by: its length.
fn with_estimate(told: Told, bytes: usize) -> Told {
    match told {
        Told {
            report: UsageReport::Unknown(why @ UnknownUsage::Absent),
            partial: None,
            ..
        } => Told {
            report: UsageReport::Unknown(why),
            flags: Flags::NONE,
            partial: Some(Box::new(Partial {
                lines: None,
                service: Service::default(),
                delivered_bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
            })),
            certain_output: 0,
        },
        told => told,
    }
}

//! Giving an answer again. It goes back on the way of its upstream's, so that everything that is
//! done with answers is done with it; but nobody upstream hears of the call, and it costs what hits
//! cost (LLM-82, LED-56).

use super::Kept;
use super::plan::Rules;
use crate::answer::Framed;
use crate::grant::Grant;
use crate::holds::Aside;
use crate::lifecycle::{Exchange, Stop};
use crate::paid::copy_piece;
use crate::plan::Target;
use crate::pump::{Caps, Ended, Of};
use crate::read_call::{Call, LlmCall};
use crate::record::Asked;
use crate::refusal::Refusal;
use std::time::Duration;
use tollkeep_config::settings::HitPrice;
use tollkeep_http1::{Progress, write};
use tollkeep_llm::usage::HiddenUsage;
use tollkeep_llm::{Dialect, Surface};
use tollkeep_observe::RequestOutcome;
use tollkeep_policy::headers;
use tollkeep_types::money::NanoUsd;
use tollkeep_types::usage::{Told, UsageReport};

impl<'p> Exchange<'p> {
    /// Answers with what is kept.
    ///
    /// # Errors
    /// What a call may be refused for when it is counted or paid.
    pub(super) async fn give_kept(
        &mut self,
        rules: &Rules,
        call: &Call<'p>,
        (kept, grant): (&Kept, &mut Grant<'_>),
    ) -> Result<(), Stop> {
        let target = self.target_of(call)?;
        self.work.facts.from_cache = true;
        self.hold_hit(rules.hit_price, call, target).await?;
        grant.commit();
        if let Some(hold) = &mut self.work.facts.hold {
            hold.commit();
        }
        self.take_head(kept)?;
        if self.hooked.is_some() {
            self.ask_answer_hooks();
        }
        match call {
            Call::Llm(llm) => {
                self.note_kept_usage(rules.hit_price, target, kept);
                if kept.is_stream {
                    self.give_stream((target, llm), kept).await
                } else {
                    self.give_object((target, llm), kept).await
                }
            }
            Call::Plain(_) => self.give_plain(target, kept).await,
            Call::Own(_) => Err(Refusal::Internal.into()),
        }
    }

    fn target_of(&self, call: &Call<'p>) -> Result<&'p Target, Refusal> {
        match call {
            Call::Plain(route) => Ok(&route.target),
            Call::Llm(llm) => Ok(self.provider_of(llm)?.0),
            Call::Own(_) => Err(Refusal::Internal),
        }
    }

    /// Counts the hit with the budgets that count the call: as a request, and where it is not free
    /// as what the call would have cost.
    async fn hold_hit(
        &mut self,
        price: HitPrice,
        call: &Call<'_>,
        target: &Target,
    ) -> Result<(), Stop> {
        if self.paying.is_some() || !self.is_budgeted() {
            return Ok(());
        }
        let (llm, model) = match call {
            Call::Llm(llm) => (Some(llm), &*llm.model),
            Call::Plain(_) | Call::Own(_) => (None, ""),
        };
        let aside = Aside {
            llm,
            target,
            model,
            credential: None,
            price: self.token_cost,
        };
        let aside = match price {
            HitPrice::Full => aside,
            HitPrice::Free => Aside {
                llm: None,
                price: Some(NanoUsd::ZERO),
                ..aside
            },
        };
        Box::pin(self.take_aside(aside)).await?;
        if let Some(hold) = &mut self.work.facts.hold {
            hold.charge_price(true);
        }
        Ok(())
    }

    /// What is kept stands in the scratch as if an upstream had sent it.
    fn take_head(&mut self, kept: &Kept) -> Result<(), Refusal> {
        self.work.answer_bytes.clear();
        self.work.answer_bytes.extend_from_slice(&kept.head);
        self.work.answer.reset();
        match self.work.answer.read(&kept.head, false) {
            Ok(Progress::Done) => Ok(()),
            Ok(Progress::More) | Err(_) => Err(Refusal::Internal),
        }
    }

    fn note_kept_usage(&mut self, price: HitPrice, target: &Target, kept: &Kept) {
        self.work.facts.asked = Some(Asked {
            name: target.name.clone(),
            label: target.label,
            kind: target.kind_name(),
            self_hosted: target.self_hosted(),
            hung_up: target.hung_up(),
            is_elsewhere: false,
        });
        if let Some(llm) = &mut self.work.facts.llm {
            llm.model_served.clone_from(&kept.model_served);
            llm.told = kept.told.as_ref().map(|told| match price {
                HitPrice::Full => told.clone(),
                HitPrice::Free => Told::plain(UsageReport::Released),
            });
        }
    }

    async fn give_object(
        &mut self,
        (target, llm): (&Target, &LlmCall),
        kept: &Kept,
    ) -> Result<(), Stop> {
        self.work.whole.clear();
        self.work.whole.extend_from_slice(&kept.body);
        let telling = self.telling();
        let receipt = if telling.is_any() {
            Box::pin(self.settled_receipt(telling)).await
        } else {
            None
        };
        self.begin_answer(self.work.answer.status);
        if telling.is_any() {
            self.write_cost(telling, receipt.as_deref());
        }
        if llm.surface.dialect() == Dialect::Anthropic {
            self.write_request_id_field();
        }
        self.copy_llm_fields(target, b"", headers::llm_response_field_allowed);
        self.write_hit(kept);
        self.end_buffered().await?;
        self.work.facts.outcome = RequestOutcome::Served;
        Ok(())
    }

    async fn give_stream(
        &mut self,
        (target, llm): (&Target, &LlmCall),
        kept: &Kept,
    ) -> Result<(), Stop> {
        let telling = self.telling();
        self.begin_event_stream((target, llm.surface, b""), telling.cost);
        self.write_hit(kept);
        let chunked = self.begin_stream();
        // It was kept with all that its upstream told.
        let hides_usage = llm.surface == Surface::Chat && !llm.wants_usage;
        let mut caps = Caps {
            of: Of::Events,
            hidden: hides_usage.then(HiddenUsage::default),
            last: telling.inline.then(Box::default),
            alive: None,
            chunked,
            sent: 0,
            max: u64::MAX,
            idle: Duration::MAX,
            total: Duration::MAX,
            pass: &mut None,
        };
        caps.write(&mut self.work.out, &kept.body);
        let last = caps.end(&mut self.work.out);
        self.work.facts.bytes_out = u64::try_from(kept.body.len()).unwrap_or(u64::MAX);
        if telling.inline {
            Box::pin(self.tell_before_end(telling, &last, chunked)).await;
        }
        self.work.facts.outcome = RequestOutcome::Served;
        self.end_stream(chunked).await
    }

    async fn give_plain(&mut self, target: &Target, kept: &Kept) -> Result<(), Stop> {
        let status = self.work.answer.status;
        self.begin_plain(target, status).await?;
        self.write_hit(kept);
        let length = u64::try_from(kept.body.len()).unwrap_or(u64::MAX);
        self.end_head(Framed::Length(length));
        self.work.out.extend_from_slice(&kept.body);
        self.work.facts.bytes_out = length;
        let mut copy = self.copy_for_payer();
        copy_piece(&mut copy, &kept.body);
        let ended = Ok(Ended::Whole);
        self.note_copy(copy, &ended);
        self.note_delivery(&ended);
        self.work.facts.outcome = RequestOutcome::Served;
        self.flush().await
    }

    /// How old the answer is; what became of asking for it is told with every answer.
    fn write_hit(&mut self, kept: &Kept) {
        let age_s = kept.age_s(self.worker.shared.clock.mono());
        let out = &mut self.work.out;
        out.extend_from_slice(b"age: ");
        write::number(out, age_s);
        out.extend_from_slice(b"\r\n");
        self.write_cache_word();
    }
}

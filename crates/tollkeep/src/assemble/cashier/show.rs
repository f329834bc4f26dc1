//! A proof is shown: it is reserved, or what became of it before is told.

use super::case::{Case, NotMade, Told, receipt_of, with_expected};
use super::rails::Known;
use super::verified::Question;
use super::{Cashier, SCOPE};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tollkeep_crypto::SealContext;
use tollkeep_gateway::{NotPaid, Paid, Shown};
use tollkeep_observe::metrics::{PaymentPhase, Verification};
use tollkeep_payments::state::{Answer, Command, Event, Mode};
use tollkeep_payments::x402::{
    VerifyOutcome, is_settlement_of, settlement, verification, verify_outcome,
};
use tollkeep_store::{
    NamedPayment, NewPayment, PaymentMode, PaymentRecord, PaymentState, Reserved,
};
use tollkeep_types::{PaymentId, WallMillis};

/// How often it is looked whether an unknown payment is known.
const POLL: Duration = Duration::from_millis(200);
/// For how long nobody is served first who did not pay afterwards.
const UNCOLLECTED_MS: u64 = 24 * 3_600_000;

/// The payment that a shown proof belongs to, for whoever stops waiting.
pub(super) type Which = Arc<OnceLock<PaymentId>>;

/// A refusal without more to say.
pub(super) const fn refused(answer: Answer, payment: Option<PaymentId>) -> NotPaid {
    NotPaid {
        answer,
        reason: None,
        payment,
        receipt: None,
        opened: None,
        left: None,
    }
}

impl Cashier {
    /// Reserves a proof and does what it is shown for, or tells why not.
    pub(super) async fn pay(&self, shown: &Shown, which: &Which) -> Result<Paid, NotPaid> {
        let unavailable = || refused(Answer::Unavailable, None);
        let rails = self.rails.load_full();
        let order = rails.taking(&shown.offer, shown.proof.version, &shown.by);
        let networks = &rails.settings.networks;
        let told = settlement(
            &shown.proof,
            &shown.offer,
            shown.offer.amount,
            &shown.resource,
            networks,
        );
        let body: Arc<str> = told.ok_or_else(unavailable)?.into();
        let id = PaymentId::new(self.clock.as_ref(), self.entropy.as_ref());
        let best = order.first().map(|known| known.facilitator.name());
        let new = self.new_payment(id, shown, (best.unwrap_or_default(), &body));
        let Some(new) = new else {
            tracing::error!("A payment is for more than can be kept, or can't be sealed");
            return Err(unavailable());
        };
        if shown.is_past {
            self.bought(&new).await?;
        } else if let Some(paid) = self.pass_of(shown, &new).await {
            return paid;
        }
        // What was shown before is told also while nobody settles, and to whoever owes.
        let refusal = match best {
            None => Some(Answer::Unavailable),
            Some(_) => self.owes(shown, &new).await.then_some(Answer::Uncollected),
        };
        if let Some(answer) = refusal
            && !self.is_known(&new).await
        {
            return Err(refused(answer, None));
        }
        let reserved = self.store.reserve_payment(new).await.map_err(|error| {
            tracing::error!("A payment can't be reserved: {error}");
            unavailable()
        })?;
        let record = match reserved {
            Reserved::New => self.read(id).await?,
            Reserved::NameTaken => return Err(refused(Answer::IdentifierTaken, None)),
            Reserved::Known(record) => {
                let _first = which.set(record.id);
                return Box::pin(self.pay_known(shown, *record, (body, order))).await;
            }
        };
        let _first = which.set(id);
        self.note_change(&record);
        self.begin(shown, Case::new(record, body, order)).await
    }

    /// Whether this payer, who would be served first, has not paid for what it was served before.
    async fn owes(&self, shown: &Shown, new: &NewPayment) -> bool {
        if shown.mode != Mode::Upto {
            return false;
        }
        let since = WallMillis(self.now().0.saturating_sub(UNCOLLECTED_MS));
        let payer = (new.tenant, new.payer.as_str());
        let uncollected = self.store.uncollected_payments(payer, since).await;
        uncollected.is_ok_and(|count| count > 0)
    }

    async fn is_known(&self, new: &NewPayment) -> bool {
        let found = self.store.payment_of_key(new.key).await;
        found.is_ok_and(|found| found.is_some())
    }

    /// Looks whether something was bought with a proof that buys nothing more.
    async fn bought(&self, new: &NewPayment) -> Result<(), NotPaid> {
        match self.store.payment_of_key(new.key).await {
            Ok(Some(record)) if record.state != PaymentState::Released => Ok(()),
            Ok(_) => Err(refused(Answer::NothingBought, None)),
            Err(error) => {
                tracing::error!("A payment can't be looked for: {error}");
                Err(refused(Answer::Unavailable, None))
            }
        }
    }

    async fn read(&self, id: PaymentId) -> Result<PaymentRecord, NotPaid> {
        let found = self.store.payment(SCOPE, id).await;
        found.map_err(|error| {
            tracing::error!("Payment {id} can't be read: {error}");
            refused(Answer::Pending, Some(id))
        })
    }

    /// The row of a proof that is shown for the first time.
    fn new_payment(
        &self,
        id: PaymentId,
        shown: &Shown,
        (facilitator, body): (&str, &str),
    ) -> Option<NewPayment> {
        let offer = &shown.offer;
        let quoted = u64::try_from(offer.amount).ok();
        let quoted = quoted.filter(|quoted| i64::try_from(*quoted).is_ok())?;
        let (tenant, row) = (shown.tenant.to_string(), id.to_string());
        let place = SealContext {
            tenant: &tenant,
            table: "payments",
            row: &row,
            field: "proof",
        };
        let keyring = self.chooser.keyring();
        let sealed = keyring.seal(body.as_bytes(), &place, self.entropy.as_ref());
        let ends_s = shown.proof.payload.ends().to_u128();
        let ends_s = ends_s.and_then(|ends| u64::try_from(ends).ok());
        let ends_ms = ends_s.unwrap_or(u64::MAX).saturating_mul(1000);
        let (holder, lease_until) = self.lease();
        Some(NewPayment {
            id,
            tenant: shown.tenant,
            key: *shown.proof.key.bytes(),
            route: shown.route.to_string(),
            mode: match shown.mode {
                Mode::Before => PaymentMode::Before,
                Mode::After => PaymentMode::After,
                Mode::Upto => PaymentMode::Upto,
            },
            unit: unit_of(shown),
            symbol: offer.asset.symbol.to_string(),
            decimals: offer.asset.decimals,
            network: offer.network().to_string(),
            quoted,
            request_digest: shown.digest,
            request: shown.request,
            payer: shown.proof.payload.payer().to_string(),
            pay_to: offer.pay_to.to_string(),
            facilitator: facilitator.to_owned(),
            proof: sealed.ok()?,
            ends_at: WallMillis(ends_ms),
            holder,
            lease_until,
            named: shown.named.as_ref().map(|named| NamedPayment {
                identifier: named.identifier.as_str().to_owned(),
                payload_hash: named.payload_hash,
            }),
        })
    }

    /// What is done for a proof that was shown before.
    async fn pay_known(
        &self,
        shown: &Shown,
        record: PaymentRecord,
        (body, order): (Arc<str>, Vec<Arc<Known>>),
    ) -> Result<Paid, NotPaid> {
        let id = record.id;
        if record.tenant != shown.tenant || record.route != *shown.route {
            return Err(refused(Answer::AlreadyUsed, None));
        }
        let mut record = record;
        if record.state == PaymentState::Unknown {
            record = Box::pin(self.wait_for(record)).await?;
        }
        if record.state == PaymentState::Released {
            if shown.is_past {
                return Err(refused(Answer::NothingBought, None));
            }
            return self.pay_again(shown, &record, (body, order)).await;
        }
        if shown.proof.is_deferred && !self.is_as_kept(shown, &record) {
            return Err(refused(Answer::AlreadyUsed, None));
        }
        let receipt = receipt_of(&record);
        if let Some(opening) = shown
            .opens
            .as_ref()
            .filter(|_| record.state == PaymentState::Spent)
        {
            let session = self.store.session_of_payment(id).await.map_err(|error| {
                tracing::error!("The session of payment {id} can't be read: {error}");
                refused(Answer::Pending, Some(id))
            })?;
            if let Some(session) = session {
                return self.use_opened(shown, (opening, session), receipt).await;
            }
        }
        let event = Event::Shown {
            is_covered: self.is_covered(shown, &record),
        };
        let mut case = Case::new(record, body, Vec::new());
        let commands = self.step(&mut case, event, Told::default()).await;
        let commands = commands.map_err(|not| refused(not.answer(), Some(id)))?;
        if let Some(answer) = answer_in(&commands) {
            return Err(NotPaid {
                receipt: receipt.filter(|_| answer == Answer::Owed),
                ..refused(answer, Some(id))
            });
        }
        if let Some(opening) = &shown.opens {
            return self.open_session(shown, opening, case).await;
        }
        self.put(id, Arc::new(tokio::sync::Mutex::new(case)));
        Ok(Paid {
            payment: id,
            receipt,
            is_credit: true,
            session: None,
        })
    }

    /// Whether it is the proof that was settled. Where only the chain can judge a signature nobody has
    /// shown to be its payer yet, and what else a proof says of itself is told by the chain to everybody.
    fn is_as_kept(&self, shown: &Shown, record: &PaymentRecord) -> bool {
        let kept = self.open(record);
        kept.is_some_and(|kept| is_settlement_of(&kept, &shown.proof))
    }

    /// Whether what was paid covers the request: as much as it costs today, or the very request.
    fn is_covered(&self, shown: &Shown, record: &PaymentRecord) -> bool {
        let ttl = self.rails.load().settings.payments.credit_ttl.as_millis();
        let since = record.settled_at.unwrap_or(record.created_at).0;
        let age = u128::from(self.now().0.saturating_sub(since));
        let received = record.received.map_or(0, u128::from);
        // What was signed for a price that is over is no measure of what it costs.
        let is_today = !shown.is_past && record.unit == unit_of(shown);
        let is_enough = is_today && received >= shown.offer.amount;
        age <= ttl && (is_enough || record.request_digest == shown.digest)
    }

    /// A proof that was given up comes again.
    async fn pay_again(
        &self,
        shown: &Shown,
        record: &PaymentRecord,
        (body, order): (Arc<str>, Vec<Arc<Known>>),
    ) -> Result<Paid, NotPaid> {
        let id = record.id;
        let unavailable = || refused(Answer::Unavailable, None);
        let best = order.first().map(|known| known.facilitator.name());
        let best = best.ok_or_else(unavailable)?;
        let new = self.new_payment(id, shown, (best, &body));
        let new = new.ok_or_else(unavailable)?;
        match self.store.reserve_payment_again(record, new).await {
            Ok(true) => {}
            Ok(false) => return Err(refused(Answer::InProgress, Some(id))),
            Err(error) => {
                tracing::error!("Payment {id} can't be reserved again: {error}");
                return Err(unavailable());
            }
        }
        let record = self.read(id).await?;
        self.note_change(&record);
        self.begin(shown, Case::new(record, body, order)).await
    }

    /// Waits until an unknown payment is known, for so long as a caller waits.
    async fn wait_for(&self, record: PaymentRecord) -> Result<PaymentRecord, NotPaid> {
        let pending = || refused(Answer::Pending, Some(record.id));
        let Ok(_place) = self.waiting.try_acquire() else {
            return Err(pending());
        };
        let wait = self.rails.load().settings.payments.settle_wait;
        let mut ticks = tokio::time::interval(POLL);
        let polls = wait.as_millis().div_ceil(POLL.as_millis());
        self.look_for_caller(&record).await;
        for _ in 0..polls {
            let found = self.read(record.id).await?;
            if found.state != PaymentState::Unknown {
                return Ok(found);
            }
            ticks.tick().await;
        }
        Err(pending())
    }

    /// Verifies a proof that is reserved, and settles it where money is taken first.
    async fn begin(&self, shown: &Shown, mut case: Case) -> Result<Paid, NotPaid> {
        let id = case.record.id;
        if shown.verify || shown.proof.is_deferred {
            self.verify(shown, &mut case).await?;
        }
        let not_made = |not: NotMade| refused(not.answer(), Some(id));
        let verified = self.step(&mut case, Event::Verified, Told::default()).await;
        let mut commands = verified.map_err(not_made)?;
        if commands.contains(&Command::Settle) {
            commands = self.settle(&mut case).await.map_err(not_made)?;
        }
        if let Some(opening) = shown
            .opens
            .as_ref()
            .filter(|_| answer_in(&commands).is_none())
        {
            return self.open_session(shown, opening, case).await;
        }
        self.outcome(case, &commands)
    }

    /// What the caller is told; who is served for a payment stands at the desk.
    #[expect(
        clippy::result_large_err,
        reason = "it is handed on as the door has it"
    )]
    fn outcome(&self, case: Case, commands: &[Command]) -> Result<Paid, NotPaid> {
        let told = told(&case, commands);
        if told.is_ok() {
            let id = case.record.id;
            self.put(id, Arc::new(tokio::sync::Mutex::new(case)));
        }
        told
    }

    /// Asks facilitators whether they would settle, until one says so.
    async fn verify(&self, shown: &Shown, case: &mut Case) -> Result<(), NotPaid> {
        let id = case.record.id;
        let rails = self.rails.load_full();
        let body = verification(
            &shown.proof,
            &shown.offer,
            &shown.resource,
            &rails.settings.networks,
        );
        let body = body.unwrap_or_default();
        let mut not = refused(Answer::Unavailable, Some(id));
        for at in 0..case.order.len() {
            let Some(known) = case.order.get(at).cloned() else {
                break;
            };
            let began = self.clock.mono();
            // What only the chain can judge is asked about each time.
            let kept = shown.verified_for.filter(|_| !shown.proof.is_deferred);
            let kept = kept.map(|ttl| (Question::new(known.facilitator.name(), &body), ttl));
            if let Some((asked, _)) = kept {
                let is_known = self.verified.knows(asked, began);
                self.meter.verification(
                    &case.record.route,
                    if is_known {
                        Verification::Hit
                    } else {
                        Verification::Miss
                    },
                );
                if is_known {
                    case.order.swap(0, at);
                    return Ok(());
                }
            }
            let reply = known.facilitator.verify(&body).await;
            self.took(PaymentPhase::Verify, began);
            let outcome = with_expected(&case.record, &rails.settings, |expected| {
                verify_outcome(&reply.answered(), expected)
            });
            let reason = match outcome {
                Some(VerifyOutcome::Valid) => {
                    if let Some((asked, ttl)) = kept {
                        self.verified.note(asked, (self.clock.mono(), ttl));
                    }
                    // Who said so is asked to settle.
                    case.order.swap(0, at);
                    self.record_verified(&case.record, None);
                    return Ok(());
                }
                Some(VerifyOutcome::Refused(reason)) => reason,
                Some(VerifyOutcome::AllowanceMissing) => "permit2_allowance_required".to_owned(),
                Some(VerifyOutcome::Unavailable) | None => continue,
            };
            self.record_verified(&case.record, Some(&reason));
            not = NotPaid {
                reason: Some(reason.into()),
                ..refused(Answer::SettlementFailed, Some(id))
            };
            break;
        }
        let told = Told {
            reason: not.reason.as_deref().map(str::to_owned),
            ..Told::default()
        };
        // It may come again: nobody was told to settle.
        if let Err(error) = self.step(case, Event::GaveUp, told).await {
            tracing::warn!("Payment {id} is not given back: {error:?}");
        }
        Err(not)
    }
}

/// What the caller is told by what is to be done.
#[expect(
    clippy::result_large_err,
    reason = "it is handed on as the door has it"
)]
pub(super) fn told(case: &Case, commands: &[Command]) -> Result<Paid, NotPaid> {
    let id = case.record.id;
    match answer_in(commands) {
        None => Ok(Paid {
            payment: id,
            receipt: case.receipt(),
            is_credit: false,
            session: None,
        }),
        Some(answer) => Err(NotPaid {
            reason: case.record.reason.as_deref().map(Box::from),
            ..refused(answer, Some(id))
        }),
    }
}

fn answer_in(commands: &[Command]) -> Option<Answer> {
    commands.iter().find_map(|command| {
        if let Command::Answer(answer) = command {
            Some(*answer)
        } else {
            None
        }
    })
}

/// The token of an offer, as CAIP-19 names it.
fn unit_of(shown: &Shown) -> String {
    let asset = &shown.offer.asset;
    format!("{}/erc20:{}", asset.network, asset.address)
}

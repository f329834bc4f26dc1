//! Sessions: a payment becomes one, calls take of it, and what a process left behind is ended by
//! what is written down of it.

use super::case::{Case, Told};
use super::show::refused;
use super::{Cashier, SCOPE};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;
use tollkeep_gateway::{
    NotPaid, Opened, Opening, Paid, SessionEnd, SessionLeft, SessionUse, SessionWanted, Shown,
};
use tollkeep_payments::price::Price;
use tollkeep_payments::session::{Balance, CREDIT_SCOPE, Model, Terms, credit_units};
use tollkeep_payments::state::{Answer, Event};
use tollkeep_payments::x402::Receipt;
use tollkeep_store::{
    NewPayment, NewSession, NewUse, SessionJudge, SessionModel, SessionRecord, SessionShare,
    SessionState, SessionTaken, SessionVerdict, UseCharge,
};
use tollkeep_types::{HoldId, TokenHash};

/// How often the end of a call is tried that the store did not take. What can't be kept in that time
/// ends by its lease.
const TRIES: u32 = 8;
/// How long is waited before the second try; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a call waits for what others of its session are about to give back.
const BACK_WAIT: Duration = Duration::from_secs(2);
/// Why a proof was not settled.
const SHOWN_FOR_PASS: &str = "shown for a pass";
const SHOWN_FOR_CREDIT: &str = "shown for credit";

const fn model_of(model: Model) -> SessionModel {
    match model {
        Model::TimePass => SessionModel::TimePass,
        Model::TokenBucket => SessionModel::TokenBucket,
        Model::Metered => SessionModel::Metered,
        Model::PerKb => SessionModel::PerKb,
    }
}

/// What a session is used up by; credit is by the price of each call. `None`: that is not had for it.
fn terms_of(record: &SessionRecord, price: Option<&Price>) -> Option<Terms> {
    let (model, unit) = match record.model {
        SessionModel::TimePass => (Model::TimePass, record.unit_cost),
        SessionModel::TokenBucket => (Model::TokenBucket, record.unit_cost),
        SessionModel::Metered => (Model::Metered, record.unit_cost),
        SessionModel::PerKb => (Model::PerKb, record.unit_cost),
        SessionModel::Credit => {
            let unit = credit_units(price?, &record.symbol, record.decimals)?;
            (Model::Metered, unit)
        }
    };
    Some(Terms { model, unit })
}

const fn balance_of(record: &SessionRecord) -> Balance {
    Balance {
        money: record.money,
        calls: record.calls,
    }
}

impl Cashier {
    /// Lets a payment become a session, and takes what the request needs of that.
    pub(super) async fn open_session(
        &self,
        shown: &Shown,
        opening: &Opening,
        mut case: Case,
    ) -> Result<Paid, NotPaid> {
        let id = case.record.id;
        let receipt = case.receipt();
        let told = Told {
            opens: Some(NewSession {
                id: opening.id,
                token_hash: opening.kept,
                scope: scope_of(shown, opening).to_string(),
                model: if opening.is_credit {
                    SessionModel::Credit
                } else {
                    model_of(opening.terms.model)
                },
                calls: opening.calls,
                unit_cost: opening.terms.unit,
                expires_at: opening.expires_at,
            }),
            ..Told::default()
        };
        let made = self.step(&mut case, Event::BecameSession, told).await;
        made.map_err(|not| NotPaid {
            receipt: receipt.clone(),
            ..refused(not.answer(), Some(id))
        })?;
        tracing::debug!(payment = %id, session = %opening.id, "A session has begun");
        match self.store.session(SCOPE, opening.id).await {
            Ok(session) => self.record_opened(&session),
            Err(error) => {
                tracing::error!(
                    "The begin of session {} is not recorded: {error}",
                    opening.id
                );
            }
        }
        let opened = Opened {
            id: opening.id,
            expires_at: opening.expires_at,
            is_credit: opening.is_credit,
        };
        let wanted = wanted_of(shown, opening, (opening.id, opening.kept));
        self.use_bought(&wanted, (opened, receipt)).await
    }

    /// Takes what a call needs of what its payment bought; it is told in any case.
    async fn use_bought(
        &self,
        wanted: &SessionWanted,
        (opened, receipt): (Opened, Option<Receipt>),
    ) -> Result<Paid, NotPaid> {
        match self.use_session(wanted).await {
            Ok(paid) => Ok(Paid { receipt, ..paid }),
            Err(not) => Err(NotPaid {
                receipt,
                opened: Some(opened),
                ..not
            }),
        }
    }

    /// A payment is shown again that became a session: that one is used.
    pub(super) async fn use_opened(
        &self,
        shown: &Shown,
        (opening, session): (&Opening, SessionRecord),
        receipt: Option<Receipt>,
    ) -> Result<Paid, NotPaid> {
        let opened = Opened {
            id: session.id,
            expires_at: session.expires_at,
            is_credit: session.model == SessionModel::Credit,
        };
        let wanted = wanted_of(shown, opening, (session.id, session.token_hash));
        self.use_bought(&wanted, (opened, receipt)).await
    }

    /// Whoever has a pass, or credit that covers the call, and signs anew has shown who it is: its proof is
    /// used up and not settled, and that serves it. `None`: it has none, or this is another case.
    pub(super) async fn pass_of(
        &self,
        shown: &Shown,
        new: &NewPayment,
    ) -> Option<Result<Paid, NotPaid>> {
        let opening = shown.opens.as_ref()?;
        // What only the chain can judge is not known to be of this payer.
        if !opening.of_payer || shown.proof.is_deferred {
            return None;
        }
        let (store, now) = (&self.store, self.store.now());
        let payer = new.payer.as_str();
        let (found, reason) = if opening.is_credit {
            let least = (new.unit.as_str(), new.quoted);
            let found = store.credit_of((new.tenant, payer), least, now).await;
            (found, SHOWN_FOR_CREDIT)
        } else {
            let of = (new.tenant, new.route.as_str(), payer);
            (store.pass_of(of, now).await, SHOWN_FOR_PASS)
        };
        let session = found.ok().flatten()?;
        let burnt = store.burn_payment(new.clone(), reason);
        match burnt.await {
            Ok(true) => {}
            // It was shown before: what became of it then is told.
            Ok(false) => return None,
            Err(error) => {
                tracing::error!("A proof can't be used up: {error}");
                return Some(Err(refused(Answer::Unavailable, None)));
            }
        }
        Some(self.use_opened(shown, (opening, session), None).await)
    }

    /// Takes what a call needs of its session.
    pub(super) async fn use_session(&self, wanted: &SessionWanted) -> Result<Paid, NotPaid> {
        let hold = HoldId::new(self.clock.as_ref(), self.entropy.as_ref());
        let new = NewUse {
            id: hold,
            request: wanted.request,
            lease: self.lease(),
        };
        // Its holder has seen the end of an answer before its end is kept.
        let back = self.ends.of(wanted.session);
        let mut taken = self.take_of_session(wanted, new.clone()).await?;
        if let (SessionTaken::Short(_), Some(back)) = (&taken, back) {
            drop(tokio::time::timeout(BACK_WAIT, back).await);
            taken = self.take_of_session(wanted, new).await?;
        }
        let (record, share) = match taken {
            SessionTaken::Taken(record, share) => (record, share),
            SessionTaken::Short(record) => {
                return Err(NotPaid {
                    left: left_of(&record, wanted.price.as_ref()),
                    ..refused(Answer::Exhausted, None)
                });
            }
            SessionTaken::Refused(SessionVerdict::Ended) => {
                return Err(refused(Answer::SessionEnded, None));
            }
            SessionTaken::Refused(
                SessionVerdict::Foreign | SessionVerdict::Short | SessionVerdict::Take(_),
            )
            | SessionTaken::Absent => return Err(refused(Answer::NoSession, None)),
        };
        let terms = terms_of(&record, wanted.price.as_ref());
        let terms = terms.ok_or_else(|| refused(Answer::NoSession, None))?;
        self.uses.fetch_add(1, Ordering::Relaxed);
        Ok(Paid {
            payment: record.payment,
            receipt: None,
            is_credit: false,
            session: Some(SessionUse {
                session: record.id,
                request: wanted.request,
                hold: (share != SessionShare::default()).then_some(hold),
                taken: Balance {
                    money: share.money,
                    calls: share.calls,
                },
                left: balance_of(&record),
                terms,
                expires_at: record.expires_at,
                payment: record.payment,
                credit: decimals_of(&record),
                counted: None,
            }),
        })
    }

    async fn take_of_session(
        &self,
        wanted: &SessionWanted,
        new: NewUse,
    ) -> Result<SessionTaken, NotPaid> {
        let taken = self
            .store
            .take_of_session((wanted.session, new), judge(wanted));
        taken.await.map_err(|error| {
            tracing::error!("Session {} can't be used: {error}", wanted.session);
            refused(Answer::Unavailable, None)
        })
    }

    /// The first byte is about to go to the caller.
    pub(super) async fn session_head_ready(&self, used: &SessionUse) -> bool {
        let made = match (used.terms.model, used.hold) {
            // Its money is earned by its first call.
            (Model::TimePass, _) if used.left.money > 0 => {
                let earned = self.store.earn_pass(used.session, used.request);
                earned.await.map(|()| true)
            }
            (Model::TimePass, _) => Ok(true),
            (Model::PerKb, Some(hold)) => self.store.deliver_of_session(hold, 0).await,
            (Model::TokenBucket | Model::Metered, Some(hold)) if used.counted.is_some() => {
                let due = used.counted.unwrap_or_default().min(used.taken.money);
                self.store.deliver_of_session(hold, due).await
            }
            (Model::TokenBucket | Model::Metered, Some(hold)) => {
                self.store.end_use_of_session(hold, UseCharge::All).await
            }
            (Model::TokenBucket | Model::Metered | Model::PerKb, None) => Ok(false),
        };
        made.unwrap_or_else(|error| {
            tracing::error!("A call of session {} can't be kept: {error}", used.session);
            false
        })
    }

    /// Writes down what a call that is counted comes to by now.
    pub(super) async fn session_progressed(&self, used: &SessionUse, due: u64) {
        let (Some(hold), (_, until)) = (used.hold, self.lease()) else {
            return;
        };
        let nothing_more: SessionJudge = Arc::new(|_, _| SessionVerdict::Short);
        let noted = self
            .store
            .take_more_of_session((hold, due), until, nothing_more);
        if let Err(error) = noted.await {
            let id = used.session;
            tracing::debug!("What a call of session {id} comes to is not kept: {error}");
        }
    }

    /// Takes more for an answer that goes on.
    pub(super) async fn session_more(
        &self,
        used: &SessionUse,
        (due, step_kib): (u64, u64),
    ) -> Option<u64> {
        let (_, until) = self.lease();
        // What was begun goes on beyond the end of the session, as long as it is paid for.
        let judge: SessionJudge = Arc::new(move |record, _now| {
            let terms = terms_of(record, None);
            match terms.and_then(|terms| terms.hold(balance_of(record), step_kib)) {
                Some(share) if record.state == SessionState::Open => {
                    SessionVerdict::Take(SessionShare {
                        money: share.money,
                        calls: share.calls,
                    })
                }
                Some(_) | None => SessionVerdict::Short,
            }
        });
        let more = self
            .store
            .take_more_of_session((used.hold?, due), until, judge)
            .await;
        more.unwrap_or_else(|error| {
            tracing::error!("No more of session {} can be taken: {error}", used.session);
            None
        })
    }

    /// A call of a session is over. Tells whether that was kept at once.
    pub(super) fn end_session_use(
        self: &Arc<Self>,
        used: SessionUse,
        end: SessionEnd,
    ) -> oneshot::Receiver<bool> {
        let cashier = Arc::clone(self);
        let ending = self.ends.begin(used.session);
        let (tell, told) = oneshot::channel();
        self.control.spawn(async move {
            let _ending = ending;
            let (mut pause, mut tell) = (PAUSE, Some(tell));
            for tried in 1..=TRIES {
                let ended = cashier.end_use(&used, end).await;
                if let Some(tell) = tell.take() {
                    // Mostly nobody waits for it.
                    let _told = tell.send(ended.is_ok());
                }
                let Err(error) = ended else {
                    break;
                };
                let id = used.session;
                tracing::error!(
                    "The end of a call of session {id} can't be kept, try {tried}: {error}"
                );
                // Twice for sure is worse than not at all.
                if end == SessionEnd::GivenBack {
                    break;
                }
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2);
            }
            cashier.uses.fetch_sub(1, Ordering::Relaxed);
        });
        told
    }

    async fn end_use(
        &self,
        used: &SessionUse,
        end: SessionEnd,
    ) -> Result<(), tollkeep_store::StoreError> {
        let charge = match end {
            SessionEnd::Nothing => UseCharge::Nothing,
            SessionEnd::Part(due) => UseCharge::Part(due),
            SessionEnd::Had => return Ok(()),
            SessionEnd::GivenBack => {
                if used.hold.is_none() {
                    return Ok(());
                }
                let share = SessionShare {
                    money: used.taken.money,
                    calls: used.taken.calls,
                };
                let of = (used.session, used.request);
                return self.store.give_back_to_session(of, share).await;
            }
        };
        let Some(hold) = used.hold else {
            return Ok(());
        };
        if !self.store.end_use_of_session(hold, charge).await? {
            tracing::debug!(
                "What a call took of session {} was ended before",
                used.session
            );
        }
        Ok(())
    }

    /// What an earlier life of this process was doing for calls of sessions is ended before there is
    /// one more: where the store is a file, nobody else can be at it.
    pub(super) async fn take_up_sessions(&self) {
        if let Err(error) = self.store.end_session_leases_of_file().await {
            tracing::error!("What an earlier life left of sessions can't be taken up: {error}");
        }
        self.end_abandoned_uses().await;
    }

    /// Ends what calls took whose process is gone.
    pub(super) async fn end_abandoned_uses(&self) {
        let now = self.now();
        let left = match self.store.abandoned_uses(SCOPE, now).await {
            Ok(left) => left,
            Err(error) => return tracing::debug!("Sessions can't be looked at: {error}"),
        };
        for used in left {
            match self.store.end_abandoned_use(&used, now).await {
                Ok(true) => tracing::warn!(
                    session = %used.session,
                    request_id = %used.request,
                    was_delivering = used.is_delivering,
                    "A call of a session was left by its worker, and is ended"
                ),
                Ok(false) => {}
                Err(error) => tracing::debug!("A call of a session is not ended: {error}"),
            }
        }
    }
}

/// What there is of a session that is not enough.
fn left_of(record: &SessionRecord, price: Option<&Price>) -> Option<Box<SessionLeft>> {
    Some(Box::new(SessionLeft {
        left: balance_of(record),
        terms: terms_of(record, price)?,
        expires_at: record.expires_at,
        credit: decimals_of(record),
    }))
}

/// Of credit, the decimals of what it was paid in.
fn decimals_of(record: &SessionRecord) -> Option<u8> {
    (record.model == SessionModel::Credit).then_some(record.decimals)
}

fn wanted_of(
    shown: &Shown,
    opening: &Opening,
    (session, kept): (tollkeep_types::SessionId, TokenHash),
) -> SessionWanted {
    SessionWanted {
        request: shown.request,
        tenant: shown.tenant,
        scope: scope_of(shown, opening),
        session,
        kept,
        step_kib: opening.step_kib,
        price: opening.is_credit.then(|| shown.price.clone()),
    }
}

/// What a session is for that a payment becomes.
fn scope_of(shown: &Shown, opening: &Opening) -> Arc<str> {
    if opening.is_credit {
        CREDIT_SCOPE.into()
    } else {
        Arc::clone(&shown.route)
    }
}

/// What a call is given, by what is kept of its session at that moment.
fn judge(wanted: &SessionWanted) -> SessionJudge {
    let wanted = wanted.clone();
    Arc::new(move |record, now| {
        let is_its = record.tenant == wanted.tenant
            && record.scope == *wanted.scope
            && record.token_hash == wanted.kept
            && record.state == SessionState::Open;
        if !is_its {
            return SessionVerdict::Foreign;
        }
        if record.expires_at <= now {
            return SessionVerdict::Ended;
        }
        let Some(terms) = terms_of(record, wanted.price.as_ref()) else {
            return SessionVerdict::Foreign;
        };
        match terms.hold(balance_of(record), wanted.step_kib) {
            Some(share) => SessionVerdict::Take(SessionShare {
                money: share.money,
                calls: share.calls,
            }),
            None => SessionVerdict::Short,
        }
    })
}

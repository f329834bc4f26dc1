//! The way from paid requests to the cashier.

use super::Cashier;
use super::case::{Case, NotMade, Told};
use super::show::{Which, refused, told};
use std::sync::Arc;
use tokio::sync::oneshot;
use tollkeep_gateway::{
    Delivery, Ending, NotPaid, Paid, Paying, PaymentDoor, Recalled, Recalling, SessionEnd,
    SessionUse, SessionWanted, Shown, Standing,
};
use tollkeep_observe::metrics::PaymentPhase;
use tollkeep_payments::state::{Answer, Command, Event, Mode, State};
use tollkeep_payments::x402::{Offer, Proof};
use tollkeep_types::PaymentId;

/// Where paid requests ask.
pub(super) struct Counter(pub(super) Arc<Cashier>);

/// An outcome on its way to whoever asked. Where that one is gone, nothing is delivered for it.
struct Handed {
    cashier: Arc<Cashier>,
    outcome: Option<Result<Paid, NotPaid>>,
}

impl Handed {
    #[expect(
        clippy::result_large_err,
        reason = "it is handed on as the door has it"
    )]
    fn take(mut self) -> Result<Paid, NotPaid> {
        let outcome = self.outcome.take();
        outcome.unwrap_or_else(|| Err(refused(Answer::Pending, None)))
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        if let Some(Ok(Paid {
            session: Some(used),
            ..
        })) = &self.outcome
        {
            let unheard = SessionEnd::Nothing;
            drop(self.cashier.end_session_use(used.clone(), unheard));
        } else if let Some(Ok(paid)) = &self.outcome {
            let unheard = Ending {
                delivery: Delivery::None,
                seat: None,
                answer: None,
                due: None,
            };
            Arc::clone(&self.cashier).end(paid.payment, unheard);
        }
    }
}

impl PaymentDoor for Counter {
    fn readies(&self, offer: &mut Offer, by: &[Box<str>]) -> bool {
        self.0.can_keep() && self.0.rails.load().readies(offer, by)
    }

    fn asked(&self) {
        self.0.meter.asked();
        self.0.record_asked();
    }

    fn show(&self, shown: Shown) -> Paying {
        let which = Which::default();
        let (cashier, known) = (Arc::clone(&self.0), Arc::clone(&which));
        self.work(which, async move {
            let outcome = Box::pin(cashier.pay(&shown, &known)).await;
            Handed {
                cashier,
                outcome: Some(outcome),
            }
        })
    }

    fn upstream_answered(&self, payment: PaymentId) -> Paying {
        let which = Which::default();
        let _first = which.set(payment);
        let cashier = Arc::clone(&self.0);
        self.work(which, async move {
            let outcome = cashier.answered(payment).await;
            Handed {
                cashier,
                outcome: Some(outcome),
            }
        })
    }

    fn head_ready(
        &self,
        payment: PaymentId,
        due: Option<u64>,
    ) -> std::pin::Pin<Box<dyn Future<Output = bool> + Send>> {
        let cashier = Arc::clone(&self.0);
        let done = self.0.control.spawn(async move {
            let Some(case) = cashier.find(payment) else {
                return false;
            };
            let mut case = case.lock().await;
            cashier.head_ready(&mut case, due).await.is_ok()
        });
        Box::pin(async move { done.await.unwrap_or(false) })
    }

    fn progressed(&self, payment: PaymentId, due: u64) {
        let cashier = Arc::clone(&self.0);
        self.0.control.spawn(async move {
            let Some(case) = cashier.find(payment) else {
                return;
            };
            let mut case = case.lock().await;
            if let Err(error) = cashier.note_due(&mut case, due).await {
                tracing::debug!("What payment {payment} comes to is not kept: {error:?}");
            }
        });
    }

    fn ended(&self, payment: PaymentId, ending: Ending) {
        Arc::clone(&self.0).end(payment, ending);
    }

    fn standing(&self, payment: PaymentId, proof: Proof) -> Standing {
        let cashier = Arc::clone(&self.0);
        let told = self
            .0
            .control
            .spawn(async move { cashier.standing(payment, &proof).await });
        Box::pin(async move { told.await.unwrap_or(Err(())) })
    }

    fn recall(
        &self,
        recalling: Recalling,
    ) -> std::pin::Pin<Box<dyn Future<Output = Recalled> + Send>> {
        let cashier = Arc::clone(&self.0);
        let found = self
            .0
            .control
            .spawn(async move { cashier.recall(&recalling).await });
        Box::pin(async move {
            let broke = |_| Recalled::No(refused(Answer::Pending, None));
            found.await.unwrap_or_else(broke)
        })
    }

    fn use_session(&self, wanted: SessionWanted) -> Paying {
        let cashier = Arc::clone(&self.0);
        self.work(Which::default(), async move {
            let outcome = cashier.use_session(&wanted).await;
            Handed {
                cashier,
                outcome: Some(outcome),
            }
        })
    }

    fn session_head_ready(
        &self,
        used: SessionUse,
    ) -> std::pin::Pin<Box<dyn Future<Output = bool> + Send>> {
        let cashier = Arc::clone(&self.0);
        let done = self
            .0
            .control
            .spawn(async move { cashier.session_head_ready(&used).await });
        Box::pin(async move { done.await.unwrap_or(false) })
    }

    fn session_progressed(&self, used: SessionUse, due: u64) {
        let cashier = Arc::clone(&self.0);
        self.0
            .control
            .spawn(async move { cashier.session_progressed(&used, due).await });
    }

    fn session_more(
        &self,
        used: SessionUse,
        due: u64,
        step_kib: u64,
    ) -> std::pin::Pin<Box<dyn Future<Output = Option<u64>> + Send>> {
        let cashier = Arc::clone(&self.0);
        let done = self
            .0
            .control
            .spawn(async move { cashier.session_more(&used, (due, step_kib)).await });
        Box::pin(async move { done.await.unwrap_or(None) })
    }

    fn session_ended(
        &self,
        used: SessionUse,
        end: SessionEnd,
    ) -> std::pin::Pin<Box<dyn Future<Output = bool> + Send>> {
        let ended = self.0.end_session_use(used, end);
        Box::pin(async move { ended.await.unwrap_or(false) })
    }
}

impl Counter {
    /// Has something done to its end, and waits for it for so long as a caller waits.
    fn work(&self, which: Which, work: impl Future<Output = Handed> + Send + 'static) -> Paying {
        let job = self.0.control.spawn(work);
        let wait = self.0.rails.load().settings.payments.settle_wait;
        let (tell, told) = oneshot::channel();
        self.0.control.spawn(async move {
            let outcome = tokio::select! {
                done = job => done.ok(),
                () = tokio::time::sleep(wait) => None,
            };
            // Nobody may be there any more.
            drop(tell.send(outcome));
        });
        Box::pin(async move {
            match told.await {
                Ok(Some(handed)) => handed.take(),
                // It goes on; or it broke, and what is kept of it says how far it came.
                Ok(None) | Err(_) => Err(refused(Answer::Pending, which.get().copied())),
            }
        })
    }
}

impl Cashier {
    /// The upstream has answered: what was only reserved is settled.
    async fn answered(&self, payment: PaymentId) -> Result<Paid, NotPaid> {
        let gone = || refused(Answer::Pending, Some(payment));
        let case = self.find(payment).ok_or_else(gone)?;
        let mut case = case.lock().await;
        let made = self.step(&mut case, Event::UpstreamAnswered, Told::default());
        let not_made = |not: NotMade| refused(not.answer(), Some(payment));
        let mut commands = made.await.map_err(not_made)?;
        if commands.contains(&Command::Settle) {
            commands = self.settle(&mut case).await.map_err(not_made)?;
        }
        let outcome = told(&case, &commands);
        if outcome.is_err() {
            self.drop_case(payment);
        }
        outcome
    }

    /// The first byte is about to go out. Where that is paid for afterwards, it is written down what
    /// it comes to: that is settled also if nobody is left to say how it ended.
    async fn head_ready(&self, case: &mut Case, due: Option<u64>) -> Result<(), NotMade> {
        let whole = case.record.quoted;
        let due = (case.mode() == Mode::Upto).then_some(due.unwrap_or(whole).min(whole));
        let told = Told {
            due,
            ..Told::default()
        };
        self.step(case, Event::HeadReady, told).await?;
        case.head_at = Some(self.clock.mono());
        Ok(())
    }

    /// The delivery is over. What was served first is settled now; until that is done the payer has
    /// its seat.
    pub(super) fn end(self: Arc<Self>, payment: PaymentId, ending: Ending) {
        let Ending {
            delivery,
            seat,
            answer,
            due,
        } = ending;
        let control = self.control.clone();
        control.spawn(async move {
            let Some(case) = self.find(payment) else {
                return;
            };
            let mut case = case.lock().await;
            if let Some(began) = case.head_at {
                self.took(PaymentPhase::Deliver, began);
            }
            if let Some(answer) = answer {
                self.keep_answer(&case, answer).await;
            }
            let is_nothing = due == Some(0) && case.row.state == State::Serving;
            case.due = due.filter(|due| *due > 0);
            let event = match event_of(case.row.state, delivery) {
                Some(Event::Ended) if is_nothing => Some(Event::EndedForNothing),
                event => event,
            };
            if let Some(event) = event
                && let Err(error) = self.end_by(&mut case, event).await
            {
                tracing::warn!("The end of payment {payment} is not kept: {error:?}");
            }
            self.drop_case(payment);
            drop(seat);
        });
    }
}

impl Cashier {
    async fn end_by(&self, case: &mut Case, event: Event) -> Result<(), NotMade> {
        let commands = self.step(case, event, Told::default()).await?;
        if commands.contains(&Command::Settle) {
            self.settle(case).await?;
        }
        Ok(())
    }
}

/// What the end of a delivery is to a payment in this state.
const fn event_of(state: State, delivery: Delivery) -> Option<Event> {
    match (state, delivery) {
        (State::Pending, _) => Some(Event::GaveUp),
        // No head was ready, so nothing went out.
        (State::Settled | State::Redeeming, _) => Some(Event::NotDelivered),
        (State::Delivering | State::Serving, Delivery::Ended) => Some(Event::Ended),
        (State::Delivering | State::Serving, Delivery::Broke { is_made_good }) => {
            Some(Event::Broke { is_made_good })
        }
        (State::Delivering | State::Serving, Delivery::None) => {
            Some(Event::Broke { is_made_good: true })
        }
        (
            State::Settling
            | State::Unknown
            | State::Credit
            | State::Spent
            | State::Voided
            | State::Released,
            _,
        ) => None,
    }
}

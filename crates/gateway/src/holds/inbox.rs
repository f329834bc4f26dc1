//! What workers leave for the keeper: a queue that loses nothing, and wakes the keeper when it was
//! empty.

use crate::holds::take::Granted;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, oneshot};
use tollkeep_ledger::amount::Amount;
use tollkeep_ledger::budget::Budget;
use tollkeep_ledger::hold::{Ended, Outbox};
use tollkeep_ledger::keeper::Ask;
use tollkeep_store::ledger::CallRecord;
use tollkeep_types::{BudgetId, HoldId, LeaseId};

/// One message.
#[derive(Debug)]
pub(super) enum Message {
    /// A call that slices can't bear, what is known of it, and who waits for the answer.
    Ask(Box<Ask>, Arc<CallRecord>, oneshot::Sender<Granted>),
    Ended(Arc<Ended>),
    /// What is known of a call beside its hold; its end follows.
    Record(HoldId, Arc<CallRecord>),
    Homeless(LeaseId, Amount),
    /// A slice is low.
    Low(BudgetId),
    Budgets(Vec<Budget>),
    Recall(BudgetId),
    /// No new holds; whoever asks is told when all is written.
    Drain(oneshot::Sender<()>),
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    waiting: Mutex<Vec<Message>>,
    came: Notify,
}

impl Inbox {
    pub(super) fn put(&self, message: Message) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = waiting.is_empty();
        waiting.push(message);
        drop(waiting);
        if was_empty {
            self.came.notify_one();
        }
    }

    /// Waits until there is something. What came is put in place of `taken`, which is empty.
    pub(super) async fn take(&self, taken: &mut Vec<Message>) {
        while !self.take_now(taken) {
            self.came.notified().await;
        }
    }

    fn take_now(&self, taken: &mut Vec<Message>) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *waiting, taken);
        !taken.is_empty()
    }
}

impl Outbox for Inbox {
    fn ended(&self, ended: Ended) {
        self.put(Message::Ended(Arc::new(ended)));
    }

    fn homeless(&self, lease: LeaseId, amount: Amount) {
        self.put(Message::Homeless(lease, amount));
    }
}

//! What workers leave for the keeper: a queue that loses nothing, and wakes the keeper once for what
//! can wait, and once more for what can't.

use crate::holds::take::Granted;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};
use tollkeep_ledger::amount::Amount;
use tollkeep_ledger::budget::Budget;
use tollkeep_ledger::hold::{Ended, Outbox};
use tollkeep_ledger::keeper::Ask;
use tollkeep_store::ledger::CallRecord;
use tollkeep_types::{BudgetId, HoldId, LeaseId};

/// So many messages are not gathered further: a transaction has no more calls than half of them.
const ENOUGH: usize = 2 * super::keeper::BATCH_MAX;

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
    waiting: Mutex<Waiting>,
    came: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: Vec<Message>,
    /// Somebody waits for what one of them brings about.
    hurries: bool,
}

/// When messages are to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// There are none.
    Never,
    /// Soon: others may come, and are cheaper together.
    Soon,
    Now,
}

impl Message {
    /// Nobody waits for the end of a hold that slices cover, or for what is known of its call.
    fn may_wait(&self) -> bool {
        match self {
            Self::Ended(ended) => ended.strict.is_empty(),
            Self::Record(..) => true,
            Self::Ask(..)
            | Self::Homeless(..)
            | Self::Low(_)
            | Self::Budgets(_)
            | Self::Recall(_)
            | Self::Drain(_) => false,
        }
    }
}

impl Inbox {
    pub(super) fn put(&self, message: Message) {
        let mut waiting = self.lock();
        let before = waiting.due();
        waiting.hurries |= !message.may_wait();
        waiting.messages.push(message);
        let is_sooner = waiting.due() != before;
        drop(waiting);
        if is_sooner {
            self.came.notify_one();
        }
    }

    /// Waits until there is something, or there is more hurry than before.
    pub(super) async fn came(&self) -> Due {
        self.came.notified().await;
        self.lock().due()
    }

    /// What came is put in place of `taken`, which is empty.
    pub(super) fn take(&self, taken: &mut Vec<Message>) {
        let mut waiting = self.lock();
        std::mem::swap(&mut waiting.messages, taken);
        waiting.hurries = false;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn due(&self) -> Due {
        if self.messages.is_empty() {
            Due::Never
        } else if self.hurries || self.messages.len() >= ENOUGH {
            Due::Now
        } else {
            Due::Soon
        }
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

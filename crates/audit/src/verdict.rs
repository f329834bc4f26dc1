//! What becomes of an event that must be durable before its answer, decided once and in time.

use crate::{AuditError, Receipt};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;
use tollkeep_types::{Clock, MonoNanos};

/// Why an event is not durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NotDurable {
    QueueFull,
    Unavailable,
    Deadline,
    Stopped,
}

impl From<NotDurable> for AuditError {
    fn from(why: NotDurable) -> Self {
        match why {
            NotDurable::QueueFull => Self::QueueFull,
            NotDurable::Unavailable => Self::Unavailable,
            NotDurable::Deadline => Self::Deadline,
            NotDurable::Stopped => Self::Stopped,
        }
    }
}

/// Decided once, by whoever comes first: the writer, the deadline, or the caller leaving.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    state: Mutex<State>,
    decided: Condvar,
}

#[derive(Debug, Default)]
struct State {
    result: Option<Result<Receipt, NotDurable>>,
    waker: Option<Waker>,
}

impl Verdict {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides, unless it is decided; says whether this was the decision.
    pub(crate) fn decide(&self, result: Result<Receipt, NotDurable>) -> bool {
        let mut state = self.lock();
        if state.result.is_some() {
            return false;
        }
        state.result = Some(result);
        let waker = state.waker.take();
        drop(state);
        self.decided.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Whether somebody still waits for it.
    pub(crate) fn is_open(&self) -> bool {
        self.lock().result.is_none()
    }
}

/// The verdict on an event that must be durable; it comes by the deadline. Dropped before that,
/// the event is not written if that can still be helped.
#[must_use = "the event may not be durable"]
#[derive(Debug)]
pub struct Pending(Arc<Verdict>);

impl Pending {
    pub(crate) fn new(verdict: &Arc<Verdict>) -> Self {
        Self(Arc::clone(verdict))
    }

    /// Waits for the verdict, at most until the deadline.
    ///
    /// # Errors
    /// The event is not durable; the operation it tells of must not happen.
    pub fn wait(self) -> Result<Receipt, AuditError> {
        let state = self
            .0
            .decided
            .wait_while(self.0.lock(), |state| state.result.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        let result = state.result.unwrap_or(Err(NotDurable::Unavailable));
        drop(state);
        Ok(result?)
    }
}

impl Future for Pending {
    type Output = Result<Receipt, AuditError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.lock();
        let Some(result) = state.result else {
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        Poll::Ready(result.map_err(AuditError::from))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.decide(Err(NotDurable::Deadline));
    }
}

/// Ends waits that take too long, so that no caller depends on the writer, which may hang.
pub(crate) struct Deadlines {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    clock: Arc<dyn Clock>,
    deadline: Duration,
}

#[derive(Default)]
struct Waiting {
    /// In the order of their times, as all have the same patience.
    verdicts: VecDeque<(MonoNanos, Arc<Verdict>)>,
    closed: bool,
}

impl Deadlines {
    pub(crate) fn start(clock: Arc<dyn Clock>, deadline: Duration) -> io::Result<Arc<Self>> {
        let deadlines = Arc::new(Self {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            clock,
            deadline,
        });
        let watch = Arc::clone(&deadlines);
        thread::Builder::new()
            .name("audit-deadline".to_owned())
            .stack_size(256 << 10)
            .spawn(move || watch.run())?;
        Ok(deadlines)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure the verdict is decided by the deadline.
    pub(crate) fn watch(&self, verdict: &Arc<Verdict>) {
        let ns = u64::try_from(self.deadline.as_nanos()).unwrap_or(u64::MAX);
        let at = MonoNanos(self.clock.mono().0.saturating_add(ns));
        let mut waiting = self.lock();
        let sleeping = waiting.verdicts.is_empty();
        waiting.verdicts.push_back((at, Arc::clone(verdict)));
        drop(waiting);
        if sleeping {
            self.changed.notify_one();
        }
    }

    /// Ends the thread once nobody waits any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    fn run(&self) {
        let mut waiting = self.lock();
        loop {
            let now = self.clock.mono();
            while let Some((at, verdict)) = waiting.verdicts.front() {
                if *at > now && verdict.is_open() {
                    break;
                }
                verdict.decide(Err(NotDurable::Deadline));
                waiting.verdicts.pop_front();
            }
            waiting = match waiting.verdicts.front() {
                Some((at, _)) => {
                    let left = Duration::from_nanos(at.since(now));
                    let woken = self.changed.wait_timeout(waiting, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None if waiting.closed => return,
                None => {
                    let woken = self.changed.wait(waiting);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }
}

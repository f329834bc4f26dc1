//! Deadlines without timers: a connection stores when it is late, one task per worker looks.
//!
//! Setting a deadline is one store. A timer per wait would cost a timer-wheel entry, and an
//! earlier one than the next wake-up a write to an event descriptor. The price is coarseness:
//! a deadline fires up to [`TICK`] late.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;
use tollkeep_types::MonoNanos;

/// How often a worker looks at its deadlines.
pub const TICK: Duration = Duration::from_millis(100);

const NEVER: u64 = u64::MAX;
const SECOND_NS: u64 = 1_000_000_000;

/// What a connection is doing, as far as a deadline sweep must know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// Between requests: a drain ends it at once.
    Idle,
    Busy,
}

/// Whether what a connection does for its holder must end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum CutState {
    No,
    /// It must, and nobody has asked yet: every wait is late at once.
    Due,
    /// It must, and is told so: what is waited for from here on has its own time.
    Known,
}

struct Shared {
    due_ns: Cell<u64>,
    phase: Cell<Phase>,
    fired: Cell<bool>,
    /// Whom the connection serves, as far as it is known.
    serves: Cell<Option<IpAddr>>,
    denied: Cell<bool>,
    /// For whom it works, by something that names them.
    holder: Cell<Option<[u8; 32]>>,
    /// By means of what, of those that may be taken away meanwhile.
    means: Cell<Option<[u8; 16]>>,
    cut: Cell<CutState>,
    waker: RefCell<Option<Waker>>,
}

impl Shared {
    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// The deadlines of one worker.
pub struct Deadlines {
    now_ns: Cell<u64>,
    slots: RefCell<Vec<Option<Rc<Shared>>>>,
    free: RefCell<Vec<usize>>,
}

impl Deadlines {
    /// Starts at `now`.
    pub fn new(now: MonoNanos) -> Rc<Self> {
        Rc::new(Self {
            now_ns: Cell::new(now.0),
            slots: RefCell::default(),
            free: RefCell::default(),
        })
    }

    /// A slot for one connection; dropped, it is free again.
    pub fn slot(self: &Rc<Self>) -> Slot {
        let shared = Rc::new(Shared {
            due_ns: Cell::new(NEVER),
            phase: Cell::new(Phase::Busy),
            fired: Cell::new(false),
            serves: Cell::new(None),
            denied: Cell::new(false),
            holder: Cell::new(None),
            means: Cell::new(None),
            cut: Cell::new(CutState::No),
            waker: RefCell::new(None),
        });
        let mut slots = self.slots.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(None);
            slots.len() - 1
        });
        if let Some(place) = slots.get_mut(index) {
            *place = Some(Rc::clone(&shared));
        }
        Slot {
            shared,
            table: Rc::clone(self),
            index,
        }
    }

    /// The time of the last sweep: at most a tick behind.
    pub fn now(&self) -> MonoNanos {
        MonoNanos(self.now_ns.get())
    }

    /// Live slots, which is live connections.
    pub fn live(&self) -> usize {
        self.slots.borrow().len() - self.free.borrow().len()
    }

    /// Denies the connections that serve an address of which `is_denied` says so: whatever they wait
    /// for is late at once, and stays so.
    pub fn deny(&self, is_denied: impl Fn(IpAddr) -> bool) {
        for shared in self.slots.borrow().iter().flatten() {
            if shared.serves.get().is_some_and(&is_denied) && !shared.denied.replace(true) {
                shared.wake();
            }
        }
    }

    /// Ends what is on its way to holders, or by means, of whom it is said: what they wait for now is
    /// late. Unlike a denial it ends no more than that.
    pub fn cut(&self, is_cut: impl Fn(&[u8; 32]) -> bool, is_gone: impl Fn(&[u8; 16]) -> bool) {
        for shared in self.slots.borrow().iter().flatten() {
            let (holder, means) = (shared.holder.get(), shared.means.get());
            let is_news = shared.cut.get() == CutState::No;
            let ends =
                || holder.as_ref().is_some_and(&is_cut) || means.as_ref().is_some_and(&is_gone);
            if is_news && ends() {
                shared.cut.set(CutState::Due);
                shared.fired.set(true);
                shared.wake();
            }
        }
    }

    /// Wakes every connection whose deadline has passed and, while draining, every idle one.
    pub fn sweep(&self, now: MonoNanos, draining: bool) {
        self.now_ns.set(now.0);
        for shared in self.slots.borrow().iter().flatten() {
            let late =
                now.0 >= shared.due_ns.get() || (draining && shared.phase.get() == Phase::Idle);
            if late && !shared.fired.replace(true) {
                shared.wake();
            }
        }
    }
}

/// The deadline of one connection: one at a time, the next replaces it.
pub struct Slot {
    shared: Rc<Shared>,
    table: Rc<Deadlines>,
    index: usize,
}

impl Slot {
    /// Late after `wait` from now (the last sweep's now).
    pub fn set(&self, wait: Duration) {
        self.begin(Phase::Busy, wait);
    }

    /// As [`Self::set`], for a connection between requests, which a drain may end at once.
    pub fn set_idle(&self, wait: Duration) {
        self.begin(Phase::Idle, wait);
    }

    fn begin(&self, phase: Phase, wait: Duration) {
        let seconds_ns = wait.as_secs().saturating_mul(SECOND_NS);
        let wait_ns = seconds_ns.saturating_add(wait.subsec_nanos().into());
        let due_ns = self.table.now_ns.get().saturating_add(wait_ns);
        self.shared.due_ns.set(due_ns);
        self.shared.phase.set(phase);
        self.shared
            .fired
            .set(self.shared.cut.get() == CutState::Due);
    }

    /// Another slot of the same worker, which serves the same.
    pub fn another(&self) -> Self {
        let other = self.table.slot();
        other.serve(self.shared.serves.get());
        other
    }

    /// The deadlines it is one of.
    pub(crate) fn clock(&self) -> Rc<Deadlines> {
        Rc::clone(&self.table)
    }

    /// Whom the connection serves from now on; `None` while that is not known.
    pub fn serve(&self, address: Option<IpAddr>) {
        self.shared.serves.set(address);
    }

    /// For whom the connection works from now on; `None` when that has ended.
    pub fn hold(&self, holder: Option<[u8; 32]>) {
        self.shared.holder.set(holder);
        self.shared.means.set(None);
        self.shared.cut.set(CutState::No);
    }

    /// By means of what it works from now on.
    pub fn hold_means(&self, means: Option<[u8; 16]>) {
        self.shared.means.set(means);
    }

    /// Whether what is on its way must end. Until this is asked, every wait is late at once.
    pub fn is_cut(&self) -> bool {
        if self.shared.cut.get() == CutState::No {
            return false;
        }
        self.shared.cut.set(CutState::Known);
        true
    }

    /// Whether whom it serves may no longer come: the connection must end.
    pub fn is_denied(&self) -> bool {
        self.shared.denied.get()
    }

    /// The worker's coarse time.
    pub fn now(&self) -> MonoNanos {
        self.table.now()
    }

    /// Whether the deadline has passed; if not, the task is woken when it does.
    pub fn is_late(&self, cx: &Context<'_>) -> bool {
        if self.shared.fired.get() || self.shared.denied.get() {
            return true;
        }
        let mut waker = self.shared.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
        false
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(place) = self.table.slots.borrow_mut().get_mut(self.index) {
            *place = None;
            self.table.free.borrow_mut().push(self.index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn late(slot: &Slot) -> bool {
        slot.is_late(&Context::from_waker(Waker::noop()))
    }

    // ID-34
    #[test]
    fn what_is_on_its_way_to_one_holder_is_cut_once_and_the_rest_goes_on() {
        let table = Deadlines::new(MonoNanos(0));
        let slots = [table.slot(), table.slot(), table.slot()];
        slots[0].hold(Some([1; 32]));
        slots[1].hold(Some([2; 32]));
        for slot in &slots {
            slot.set(Duration::from_secs(60));
        }
        table.cut(|holder| *holder == [1; 32], |_| false);
        assert_eq!(slots.each_ref().map(late), [true, false, false]);
        // It was about to wait for something else when it was cut.
        slots[0].set(Duration::from_secs(60));
        assert!(late(&slots[0]), "no wait hides a cut");
        assert_eq!(slots.each_ref().map(Slot::is_cut), [true, false, false]);
        // The end can be told: what is waited for next has its own time.
        slots[0].set(Duration::from_secs(60));
        assert!(!late(&slots[0]) && slots[0].is_cut());
        slots[0].hold(None);
        table.cut(|_| true, |_| false);
        assert_eq!(slots.each_ref().map(Slot::is_cut), [false, true, false]);
    }

    // EDGE-53
    #[test]
    fn a_deadline_fires_once_its_time_has_passed_and_not_before() {
        let table = Deadlines::new(MonoNanos(0));
        let slot = table.slot();
        slot.set(Duration::from_secs(2));
        table.sweep(MonoNanos(2 * SECOND - 1), false);
        assert!(!late(&slot));
        table.sweep(MonoNanos(2 * SECOND), false);
        assert!(late(&slot));
        slot.set(Duration::from_secs(2));
        assert!(!late(&slot), "a new deadline starts afresh");
    }

    // EDGE-56
    #[test]
    fn a_drain_ends_idle_connections_only() {
        let table = Deadlines::new(MonoNanos(0));
        let (idle, busy) = (table.slot(), table.slot());
        idle.set_idle(Duration::from_secs(60));
        busy.set(Duration::from_secs(60));
        table.sweep(MonoNanos(1), true);
        assert!(late(&idle));
        assert!(!late(&busy));
    }

    // EDGE-67
    #[test]
    fn a_denied_connection_is_late_for_good_and_others_are_not() {
        let table = Deadlines::new(MonoNanos(0));
        let slots = [Some("10.0.0.1"), Some("10.0.0.2"), None].map(|address| {
            let slot = table.slot();
            slot.serve(address.map(|text| text.parse().unwrap()));
            slot.set(Duration::from_secs(60));
            slot
        });
        table.deny(|ip| ip.to_string() == "10.0.0.1");
        assert_eq!(slots.each_ref().map(late), [true, false, false]);
        slots[0].set(Duration::from_secs(60));
        assert!(late(&slots[0]), "another deadline changes nothing");
        assert_eq!(slots.each_ref().map(Slot::is_denied), [true, false, false]);
    }

    #[test]
    fn a_dropped_slot_is_used_again() {
        let table = Deadlines::new(MonoNanos(0));
        drop(table.slot());
        let _one = table.slot();
        let _two = table.slot();
        assert_eq!((table.slots.borrow().len(), table.live()), (2, 2));
    }
}

//! The laws of payments in a world where everything fails: workers die and come back late,
//! facilitators take the money and don't say so, callers show one proof again and again.

use proptest::prelude::*;
use tollkeep_payments::state::{Answer, Command, Event, Found, Mode, Row, State, Told, step};

/// What one proof meets. The chain takes it once.
#[derive(Default)]
struct World {
    row: Option<Row>,
    mode: Option<Mode>,
    /// Money taken for the proof, by a call of ours.
    taken: u32,
    /// Money of the proof taken by somebody else's call.
    taken_elsewhere: bool,
    posted: u32,
    earned: u32,
    whole_deliveries: u32,
    broken_deliveries: u32,
    workers: Vec<Worker>,
    faults: Vec<String>,
}

/// Somebody who works on a request with the proof: the row as it read it, and what is to be done.
struct Worker {
    row: Row,
    todo: Vec<Command>,
    /// Its lease ended, and it does not know.
    is_late: bool,
}

/// How the outer world behaves, one after the other.
struct Fate(std::vec::IntoIter<u8>);

impl Fate {
    fn next(&mut self, below: u8) -> u8 {
        self.0.next().map_or(0, |byte| byte % below)
    }
}

impl World {
    fn mode(&self) -> Mode {
        self.mode.unwrap()
    }

    fn show(&mut self) {
        let event = Event::Shown { is_covered: true };
        let next = step(self.row.as_ref(), self.mode(), event).unwrap();
        // One insert or compare-and-set: nothing is between reading and writing.
        self.row = Some(next.row);
        self.start(next.row, next.commands);
    }

    fn start(&mut self, row: Row, todo: Vec<Command>) {
        let mut worker = Worker {
            row,
            todo,
            is_late: false,
        };
        self.answer(&mut worker);
        if !worker.todo.is_empty() {
            self.workers.push(worker);
        }
    }

    /// Takes the answers out of what is to be done, and judges them.
    fn answer(&mut self, worker: &mut Worker) {
        let state = self.row.map(|row| row.state);
        worker.todo.retain(|command| {
            let Command::Answer(answer) = command else {
                return *command != Command::Reconcile;
            };
            let is_open = matches!(
                state,
                Some(State::Unknown | State::Pending | State::Settling | State::Settled)
            );
            if answer.has_challenge() && is_open {
                self.faults.push(format!("{answer:?} in {state:?}"));
            }
            // PAY-3: who is asked to pay again has not paid for nothing.
            let is_owed = self.taken > self.whole_deliveries + self.broken_deliveries;
            if answer.has_challenge() && is_owed && *answer != Answer::NotCovered {
                self.faults.push(format!("{answer:?} while money is owed"));
            }
            false
        });
    }

    /// Tells what happened, as one who read `row`. Whether it was written.
    fn tell(&mut self, worker: &mut Worker, event: Event) -> bool {
        let mut base = worker.row;
        let current = self.row.unwrap();
        if current.version != base.version {
            // What came of money is told to whatever the row is now; all else has lost.
            if !matches!(event, Event::SettleTold(_)) {
                worker.todo.clear();
                return false;
            }
            base = current;
        }
        let Ok(next) = step(Some(&base), self.mode(), event) else {
            worker.todo.clear();
            return false;
        };
        if next.row.version != base.version {
            self.row = Some(next.row);
        }
        worker.row = next.row;
        worker.todo = next.commands;
        self.bookkeeping(worker);
        self.answer(worker);
        true
    }

    fn bookkeeping(&mut self, worker: &mut Worker) {
        worker.todo.retain(|command| match command {
            Command::Post => {
                self.posted += 1;
                false
            }
            Command::Earn => {
                self.earned += 1;
                false
            }
            Command::Hold | Command::Release => false,
            Command::Verify
            | Command::Settle
            | Command::CallUpstream
            | Command::Deliver
            | Command::Reconcile
            | Command::Answer(_) => true,
        });
    }

    /// One worker does the next thing.
    fn work(&mut self, at: usize, fate: &mut Fate) {
        let mut worker = self.workers.remove(at);
        match worker.todo.first().copied() {
            Some(Command::Verify) => {
                let event = if fate.next(4) == 0 {
                    Event::GaveUp
                } else {
                    Event::Verified
                };
                self.tell(&mut worker, event);
            }
            Some(Command::Settle) => self.settle(&mut worker, fate),
            Some(Command::CallUpstream) => self.call_upstream(&mut worker, fate),
            Some(Command::Deliver) => self.deliver(&mut worker, fate),
            _ => worker.todo.clear(),
        }
        if !worker.todo.is_empty() {
            self.workers.push(worker);
        }
    }

    fn settle(&mut self, worker: &mut Worker, fate: &mut Fate) {
        if !self.tell(worker, Event::SettleCalled) {
            return;
        }
        // The mark is there; the call may come as late as it likes.
        let told = self.chain(fate);
        self.tell(worker, Event::SettleTold(told));
    }

    /// A facilitator is told to settle: whether the money moves, and what it says.
    fn chain(&mut self, fate: &mut Fate) -> Told {
        let kind = fate.next(8);
        if kind == 0 {
            return Told::Unsent;
        }
        if kind == 1 {
            return Told::Refused;
        }
        if self.taken > 0 || self.taken_elsewhere {
            return if kind == 2 {
                Told::Unknown
            } else {
                Told::NonceUsed
            };
        }
        if kind == 2 {
            return Told::Unknown;
        }
        self.taken += 1;
        match kind {
            3 => Told::Unknown,
            4 => Told::Pending,
            _ => Told::Settled,
        }
    }

    fn call_upstream(&mut self, worker: &mut Worker, fate: &mut Fate) {
        let works = fate.next(3) > 0;
        let event = match (works, worker.row.state) {
            (true, _) => Event::UpstreamAnswered,
            (false, State::Pending) => Event::GaveUp,
            (false, _) => Event::NotDelivered,
        };
        self.tell(worker, event);
    }

    fn deliver(&mut self, worker: &mut Worker, fate: &mut Fate) {
        if !self.tell(worker, Event::HeadReady) {
            return;
        }
        match fate.next(4) {
            0 => {
                self.broken_deliveries += 1;
                self.tell(worker, Event::Broke { is_made_good: true });
            }
            1 => {
                self.whole_deliveries += 1;
                // It died after the last byte: nobody told.
                self.lease_ends();
                worker.todo.clear();
            }
            _ => {
                self.whole_deliveries += 1;
                self.tell(worker, Event::Ended);
            }
        }
    }

    /// The lease of whoever works on it ends; those who live don't know.
    fn lease_ends(&mut self) {
        for worker in &mut self.workers {
            worker.is_late = true;
        }
        self.outside(Event::LeaseEnded);
    }

    /// Something that no worker tells.
    fn outside(&mut self, event: Event) {
        let Some(row) = self.row else {
            return;
        };
        if let Ok(next) = step(Some(&row), self.mode(), event) {
            self.row = Some(next.row);
            self.start(next.row, Vec::new());
            let mut booked = Worker {
                row: next.row,
                todo: next.commands,
                is_late: false,
            };
            self.bookkeeping(&mut booked);
        }
    }

    fn reconcile(&mut self) {
        // Only with the window over is unused said.
        let found = match (self.taken > 0, self.workers.is_empty()) {
            (true, _) => Found::Transfer,
            (false, true) => Found::Unused,
            (false, false) => Found::Nothing,
        };
        self.outside(Event::Reconciled(found));
    }

    fn check(&self) {
        assert!(self.faults.is_empty(), "{:?}", self.faults);
        // As far as it is decided here: PAY-1.
        assert!(self.taken <= 1, "taken {} times", self.taken);
        // In mode `Upto` the money comes afterwards, or not: once for a delivery all the same.
        let is_first = self.mode() != Mode::Upto;
        assert!(
            !is_first || self.whole_deliveries <= self.taken,
            "delivered for nothing"
        );
        assert!(self.whole_deliveries <= 1, "delivered twice");
        assert!(self.posted <= self.taken, "posted what was not taken");
        assert!(self.earned <= self.posted, "earned what was not posted");
    }
}

fn run(mode: Mode, taken_elsewhere: bool, script: Vec<u8>) {
    let mut world = World {
        mode: Some(mode),
        taken_elsewhere,
        ..World::default()
    };
    let mut fate = Fate(script.into_iter());
    world.show();
    while fate.0.len() > 0 {
        match fate.next(8) {
            0 | 1 => world.show(),
            2 => world.lease_ends(),
            3 => world.reconcile(),
            4 => {
                // Everything stops, and starts again.
                world.workers.clear();
                world.lease_ends();
            }
            choice => {
                let count = world.workers.len();
                if count > 0 {
                    world.work(usize::from(choice) % count, &mut fate);
                }
            }
        }
        world.check();
    }
    end_well(world);
}

/// The faults are over: money that was taken for nothing is had by showing the proof again.
fn end_well(mut world: World) {
    world.workers.clear();
    world.lease_ends();
    if world.mode() == Mode::Upto {
        return end_well_upto(world);
    }
    world.reconcile();
    let state = world.row.unwrap().state;
    assert!(
        !matches!(
            state,
            State::Pending | State::Settling | State::Unknown | State::Settled
        ),
        "{state:?} for ever"
    );
    // As far as it is decided here: PAY-2.
    let was_served = world.whole_deliveries + world.broken_deliveries > 0;
    if world.taken == 1 && !was_served && state != State::Spent {
        assert_eq!(state, State::Credit, "kept in silence");
    }
    if state == State::Credit {
        assert_eq!((world.taken, world.posted), (1, 1));
        world.show();
        let mut works = Fate(Vec::new().into_iter());
        // Nothing left of the script: `0` is a fault of the upstream, so it is told what to do.
        let mut worker = world.workers.remove(0);
        assert_eq!(worker.row.state, State::Redeeming);
        for event in [Event::UpstreamAnswered, Event::HeadReady, Event::Ended] {
            assert!(world.tell(&mut worker, event));
        }
        assert_eq!(works.next(2), 0);
        world.whole_deliveries += 1;
        assert_eq!(world.row.unwrap().state, State::Spent);
    }
    world.check();
}

/// The same where the delivery came first: what was delivered is paid for as soon as somebody can be
/// told, but by a payer that can't pay.
fn end_well_upto(mut world: World) {
    let told = world.row.unwrap().state == State::Unknown && !world.taken_elsewhere;
    if told {
        // The chain takes a proof once.
        world.taken = 1;
        world.outside(Event::SettleTold(Told::Settled));
        assert_eq!(world.row.unwrap().state, State::Spent);
    } else {
        world.reconcile();
    }
    let state = world.row.unwrap().state;
    assert!(
        matches!(state, State::Spent | State::Voided | State::Released),
        "{state:?} for ever"
    );
    assert_eq!(world.earned, world.posted, "served and not earned");
    // Whoever was taken money of was served.
    let deliveries = world.whole_deliveries + world.broken_deliveries;
    assert!(world.taken == 0 || deliveries > 0, "taken for nothing");
    assert_eq!(state == State::Spent, world.posted == 1);
    world.check();
}

const MODES: [Mode; 3] = [Mode::Before, Mode::After, Mode::Upto];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    // As far as it is decided here: PAY-1, PAY-2, PAY-3, PAY-136.
    #[test]
    fn one_proof_pays_once_whatever_fails(
        script in proptest::collection::vec(any::<u8>(), 1..120),
        mode in proptest::sample::select(&MODES[..]),
        taken_elsewhere in proptest::bool::weighted(0.1),
    ) {
        run(mode, taken_elsewhere, script);
    }
}

/// The long form.
#[test]
#[ignore = "long: run by `make soak`"]
fn one_proof_pays_once_in_very_many_worlds() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(1_000_000));
    let worlds = (
        proptest::collection::vec(any::<u8>(), 1..200),
        proptest::sample::select(&MODES[..]),
    );
    let told = runner.run(&worlds, |(script, mode)| {
        run(mode, false, script);
        Ok(())
    });
    told.unwrap();
}

// As far as it is decided here: PAY-3.
#[test]
fn no_answer_asks_to_pay_while_nobody_knows() {
    let unknown = Row {
        state: State::Unknown,
        version: 3,
        calls: 1,
        was_made_good: false,
    };
    let tolds = [
        Told::Settled,
        Told::Refused,
        Told::NonceUsed,
        Told::Pending,
        Told::Unsent,
        Told::Unknown,
    ];
    let events = tolds.map(Event::SettleTold).into_iter().chain([
        Event::Shown { is_covered: true },
        Event::Shown { is_covered: false },
        Event::LeaseEnded,
        Event::Reconciled(Found::Nothing),
    ]);
    for event in events {
        for mode in [Mode::Before, Mode::After, Mode::Upto] {
            let next = step(Some(&unknown), mode, event).unwrap();
            let asks = next.commands.iter().any(
                |command| matches!(command, Command::Answer(answer) if answer.has_challenge()),
            );
            assert!(!asks, "{event:?}");
            let known = match mode {
                Mode::Before | Mode::After => State::Credit,
                // It was served before.
                Mode::Upto => State::Spent,
            };
            let state = next.row.state;
            assert!(state == State::Unknown || state == known, "{event:?}");
        }
    }
}

#[test]
fn a_nonce_that_was_used_before_we_asked_is_a_refusal() {
    for (calls, want) in [(1, State::Voided), (2, State::Unknown)] {
        let row = Row {
            state: State::Settling,
            version: 1,
            calls,
            was_made_good: false,
        };
        let event = Event::SettleTold(Told::NonceUsed);
        let next = step(Some(&row), Mode::After, event).unwrap();
        assert_eq!(next.row.state, want, "{calls}");
    }
}

// PAY-136: what becomes of a delivery that is paid for afterwards.
#[test]
fn what_was_served_first_is_settled_at_its_end_and_only_then() {
    use Command::{CallUpstream, Earn, Post, Reconcile, Settle};
    use State::{Pending, Released, Serving, Settling, Spent, Unknown, Voided};
    let row = |state, calls| Row {
        state,
        version: 5,
        calls,
        was_made_good: false,
    };
    let broke = |is_made_good| Event::Broke { is_made_good };
    let told = Event::SettleTold;
    let found = Event::Reconciled(Found::Transfer);
    for (from, calls, event, to, does) in [
        (Pending, 0, Event::Verified, Pending, vec![CallUpstream]),
        (Pending, 0, Event::HeadReady, Serving, vec![]),
        (Pending, 0, Event::GaveUp, Released, vec![]),
        (Pending, 0, Event::LeaseEnded, Released, vec![]),
        (Serving, 0, Event::Ended, Serving, vec![Settle]),
        (Serving, 0, broke(false), Serving, vec![Settle]),
        (Serving, 0, broke(true), Released, vec![]),
        (Serving, 0, Event::LeaseEnded, Unknown, vec![Reconcile]),
        (Serving, 0, Event::SettleCalled, Settling, vec![]),
        (Settling, 1, told(Told::Settled), Spent, vec![Post, Earn]),
        (Settling, 1, told(Told::Refused), Voided, vec![]),
        (Settling, 1, told(Told::Unsent), Unknown, vec![Reconcile]),
        (Unknown, 1, found, Spent, vec![Post, Earn]),
    ] {
        let next = step(Some(&row(from, calls)), Mode::Upto, event).unwrap();
        let name = format!("{from:?} {event:?}");
        assert_eq!((next.row.state, next.commands), (to, does), "{name}");
    }
    let pending = row(Pending, 0);
    assert!(step(Some(&pending), Mode::Upto, Event::SettleCalled).is_err());
    assert!(step(Some(&pending), Mode::Before, Event::HeadReady).is_err());
}

//! What may go wrong in one run, and how large it is.

use super::random::Random;

/// The kinds of faults. Each run has some of them, and some runs have none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// A process ends at any moment, and comes back.
    Crash,
    /// A process stands still, for longer than its leases.
    Pause,
    /// Requests to the store and its answers are lost.
    Loss,
    /// They come twice.
    Twice,
    /// They are late, and overtake each other.
    Delay,
    /// A write in the middle of a transaction fails, or the sync at its end.
    Write,
    /// The store is away for a while.
    Outage,
    /// The store's clock jumps by up to a day.
    Clock,
    /// Operators change limits.
    Limits,
    /// Upstreams say nothing, or nonsense, or do more than they were asked.
    Upstream,
    /// Tasks end without telling how: panics, cancellation.
    Task,
    /// Budgets are ended and changed while calls run.
    Budgets,
}

impl Fault {
    pub const ALL: [(Self, &'static str); 12] = [
        (Self::Crash, "crash"),
        (Self::Pause, "pause"),
        (Self::Loss, "loss"),
        (Self::Twice, "twice"),
        (Self::Delay, "delay"),
        (Self::Write, "write"),
        (Self::Outage, "outage"),
        (Self::Clock, "clock"),
        (Self::Limits, "limits"),
        (Self::Upstream, "upstream"),
        (Self::Task, "task"),
        (Self::Budgets, "budgets"),
    ];

    const fn bit(self) -> u16 {
        1 << (self as u16)
    }
}

/// A set of faults.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Faults(u16);

impl Faults {
    pub const fn has(self, fault: Fault) -> bool {
        self.0 & fault.bit() != 0
    }

    #[must_use]
    pub const fn with(self, fault: Fault) -> Self {
        Self(self.0 | fault.bit())
    }

    #[must_use]
    pub const fn without(self, fault: Fault) -> Self {
        Self(self.0 & !fault.bit())
    }

    /// Whether a slice may be lost although nobody did wrong.
    pub const fn may_lose_slices(self) -> bool {
        self.has(Fault::Crash)
            || self.has(Fault::Pause)
            || self.has(Fault::Clock)
            || self.has(Fault::Outage)
    }

    /// Whether each answer of the store reaches who asked.
    pub const fn answers_arrive(self) -> bool {
        !self.has(Fault::Loss)
            && !self.has(Fault::Delay)
            && !self.has(Fault::Write)
            && !self.has(Fault::Twice)
    }

    fn some(random: &mut Random) -> Self {
        let mut faults = Self::default();
        if random.one_in(8) {
            return faults;
        }
        for (fault, _) in Fault::ALL {
            if random.one_in(3) {
                faults = faults.with(fault);
            }
        }
        faults
    }
}

/// One run: everything else follows from it.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub requests: u32,
    pub replicas: u32,
    pub minutes: u32,
    pub faults: Faults,
}

impl Scenario {
    /// What this seed means, where nothing else is asked for.
    pub fn of_seed(seed: u64) -> Self {
        let mut random = Random::new(seed.rotate_left(17));
        Self {
            seed,
            requests: u32::try_from(random.between(20, 180)).unwrap_or(100),
            replicas: u32::try_from(random.between(1, 4)).unwrap_or(1),
            minutes: u32::try_from(random.between(2, 15)).unwrap_or(5),
            faults: Faults::some(&mut random),
        }
    }

    /// The command that does the same again.
    pub fn command(&self) -> String {
        let left_out: Vec<_> = Fault::ALL
            .iter()
            .filter(|(fault, _)| !self.faults.has(*fault))
            .map(|(_, name)| *name)
            .collect();
        let mut command = format!(
            "cargo run -p tollkeep-sim -- --seed {} --requests {} --replicas {} --minutes {} --trace",
            self.seed, self.requests, self.replicas, self.minutes
        );
        if !left_out.is_empty() {
            command.push_str(" --without ");
            command.push_str(&left_out.join(","));
        }
        command
    }
}

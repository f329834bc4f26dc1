//! Who is turned away while the process is short of room.
//!
//! Short of room is not out of it: what runs goes on, and those who are known go on for longer
//! than those who are not, so that a crowd of strangers costs its own calls first.

/// Requests that run however short memory is: memory that the allocator does not give back must
/// not shut the door for good. What their bodies take has a bound of its own.
const ALWAYS: usize = 16;

/// How short room is.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Pressure {
    /// There is enough.
    #[default]
    None,
    /// Strangers are turned away.
    High,
    /// Every new request is.
    Full,
}

/// From where on room is short.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Thresholds {
    high: u64,
    full: u64,
}

impl Thresholds {
    /// Strangers are turned away from `percent` of `max` on, everybody from half-way between that
    /// and `max`.
    pub fn new(max: u64, percent: u8) -> Self {
        let share = u128::from(max) * u128::from(percent.min(100)) / 100;
        let high = u64::try_from(share).unwrap_or(max);
        Self {
            high,
            full: high + (max - high).div_ceil(2),
        }
    }

    /// For things that are refused beyond `max` anyhow: strangers are turned away beyond `percent`
    /// of it.
    pub fn of_count(max: u64, percent: u8) -> Self {
        let share = u128::from(max) * u128::from(percent.min(100));
        let most = u64::try_from(share.div_ceil(100)).unwrap_or(max);
        Self {
            high: most.saturating_add(1),
            full: max.saturating_add(1),
        }
    }

    /// How short room is with so much of it used.
    pub const fn pressure(&self, used: u64) -> Pressure {
        if used < self.high {
            Pressure::None
        } else if used < self.full {
            Pressure::High
        } else {
            Pressure::Full
        }
    }
}

/// How short memory is.
///
/// An allocator keeps what it was given back, for the next who asks. So what request bodies once
/// took and take no longer counts as free while the process stays within `max`; beyond that,
/// nothing does.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    max: u64,
    thresholds: Thresholds,
    bodies_most: u64,
}

impl Memory {
    /// For a process that may use `max` bytes.
    pub fn new(max: u64, percent: u8) -> Self {
        Self {
            max,
            thresholds: Thresholds::new(max, percent),
            bodies_most: 0,
        }
    }

    /// How short it is with so much used in all, and by bodies now.
    pub fn pressure(&mut self, used: u64, bodies: u64) -> Pressure {
        if self.thresholds.pressure(used) == Pressure::None {
            self.bodies_most = bodies;
            return Pressure::None;
        }
        self.bodies_most = self.bodies_most.max(bodies);
        if used >= self.max {
            return Pressure::Full;
        }
        let kept = self.bodies_most - bodies;
        self.thresholds.pressure(used.saturating_sub(kept))
    }
}

/// How short room is for one more, with so many requests running, itself among them.
pub fn combined(memory: Pressure, count: Pressure, running: usize) -> Pressure {
    if running <= ALWAYS {
        count
    } else {
        memory.max(count)
    }
}

/// Whether a new request is served. `known` says whether its address has shown a valid token
/// within the last minute.
pub fn admits(pressure: Pressure, known: impl FnOnce() -> bool) -> bool {
    match pressure {
        Pressure::None => true,
        Pressure::High => known(),
        Pressure::Full => false,
    }
}

/// Whole seconds after which one of those turned away should come again: from 1 to 5, so that they
/// don't all come at once.
pub const fn retry_after_s(turn: usize) -> u64 {
    // A step that is coprime to 5 keeps neighbours apart.
    1 + (turn % 5 * 3 % 5) as u64
}

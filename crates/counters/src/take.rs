//! What the counters that replicas share are asked, and what they answer: the arguments and the
//! answer of one script, which runs in Redis.

use tollkeep_policy::rate::Quota;
use tollkeep_types::MonoNanos;

/// The script. It reads the server's own clock, so that the clocks of replicas don't matter.
pub const TAKE_SCRIPT: &str = include_str!("take.lua");

/// Nanoseconds of two ticks, the script's unit of time.
const TWO_TICKS_NS: u64 = 125;
/// Ticks that are written at most, so that sums stay exact in the script.
const TICKS_MAX: u64 = 1 << 51;

/// What one limit is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Want {
    cell_ticks: u64,
    burst: u64,
    cells: u64,
    owed_ticks: i64,
}

/// What one limit gave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Given {
    /// Cells.
    pub cells: u64,
    /// When the first one stands, from the server's now.
    pub ahead_ns: u64,
}

/// What the script answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Taken {
    /// What each limit gave, in their order.
    Given(Vec<Given>),
    /// One had no room, and none gave anything.
    Refused {
        /// Which one.
        at: usize,
        /// How long until it has room.
        retry_after_ns: u64,
    },
}

impl Want {
    /// So many cells of a limit.
    pub fn cells(quota: &Quota, cells: u64) -> Self {
        Self {
            cell_ticks: ticks(quota.interval_ns()),
            burst: quota.burst(),
            cells,
            owed_ticks: 0,
        }
    }

    /// Nothing: a request that was served already is charged (EDGE-93).
    pub fn charge(quota: &Quota) -> Self {
        let cell = ticks(quota.interval_ns());
        Self {
            cell_ticks: cell,
            burst: quota.burst(),
            cells: 0,
            owed_ticks: signed(cell),
        }
    }

    /// Nothing: what was accepted without asking is owed (EDGE-90).
    pub fn owed(debt_ns: u64) -> Self {
        Self {
            cell_ticks: 0,
            burst: 0,
            cells: 0,
            owed_ticks: signed(ticks(debt_ns)),
        }
    }

    /// Nothing: so much of a debit is taken back. Rounded down: never more than was debited.
    pub fn returned(quota: &Quota, owed_ns: u64) -> Self {
        let whole = ticks(owed_ns);
        let exact = u128::from(whole) * u128::from(TWO_TICKS_NS) == u128::from(owed_ns) * 2;
        let returned = if exact {
            whole
        } else {
            whole.saturating_sub(1)
        };
        Self {
            cell_ticks: ticks(quota.interval_ns()),
            burst: quota.burst(),
            cells: 0,
            owed_ticks: -signed(returned),
        }
    }

    /// The arguments for the script.
    pub fn arguments(&self) -> [i64; 4] {
        let whole = [self.cell_ticks, self.burst, self.cells].map(signed);
        let [cell, burst, cells] = whole;
        [cell, burst, cells, self.owed_ticks]
    }
}

impl Taken {
    /// Reads an answer to `wants`; `None` if it is not one.
    pub fn read(answer: &[i64], wants: &[Want]) -> Option<Self> {
        let [refused, wait, limits @ ..] = answer else {
            return None;
        };
        if limits.len() != wants.len() * 2 {
            return None;
        }
        if let Some(at) = usize::try_from(*refused).ok()?.checked_sub(1) {
            return Some(Self::Refused {
                at: Some(at).filter(|at| *at < wants.len())?,
                retry_after_ns: nanos(*wait)?,
            });
        }
        let given = limits.chunks_exact(2).zip(wants).map(|(limit, want)| {
            let [cells, ahead] = limit else { return None };
            let cells = u64::try_from(*cells).ok()?;
            Some(Given {
                cells: Some(cells).filter(|cells| *cells <= want.cells)?,
                ahead_ns: nanos(*ahead)?,
            })
        });
        given.collect::<Option<_>>().map(Self::Given)
    }
}

/// Rounded up: never more pass than without rounding.
fn ticks(ns: u64) -> u64 {
    let ticks = u128::from(ns)
        .saturating_mul(2)
        .div_ceil(u128::from(TWO_TICKS_NS));
    u64::try_from(ticks).unwrap_or(u64::MAX).min(TICKS_MAX)
}

fn signed(ticks: u64) -> i64 {
    i64::try_from(ticks).unwrap_or(i64::MAX)
}

fn nanos(ticks: i64) -> Option<u64> {
    let ns = u128::from(u64::try_from(ticks).ok()?) * u128::from(TWO_TICKS_NS) / 2;
    u64::try_from(ns).ok()
}

/// The time of the cells that a limit gave, by the clock of this process: the server was asked at
/// `asked` or later, so that a cell counts as older than it is.
pub(crate) const fn first_cell(asked: MonoNanos, given: Given) -> u64 {
    asked.0.saturating_add(given.ahead_ns)
}

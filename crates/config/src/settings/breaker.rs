//! When an upstream that keeps failing is left alone.

use super::{DAY_MS, ms};
use crate::field::{KindExt, OnOrOff};
use crate::kind::{millis, whole};
use crate::reader::keys;
use std::time::Duration;

keys! {
    /// When an upstream that keeps failing is left alone, or `off`. Each project has breakers of
    /// its own: one a route of an upstream, one a model of a provider.
    #[derive(Eq, PartialEq)]
    pub struct Breaker {
        /// Failures in a row that open the breaker: 5xx, no connection, no answer in time, a
        /// broken or too large answer.
        failures: u32 = whole(1..=1_000).or(Self::DEFAULT.failures),
        /// How long an open breaker refuses every call before trials are let through.
        open as "open_ms": Duration = millis(1..=DAY_MS).or(Self::DEFAULT.open),
        /// Trials at a time; when so many succeed, the breaker closes; when one fails, it is open
        /// again.
        trials: u32 = whole(1..=100).or(Self::DEFAULT.trials),
        /// Status of a refused call, 502 or 503.
        status: u16 = whole(502..=503).or(Self::DEFAULT.status),
    }
}

impl Breaker {
    /// What holds where nothing is written.
    pub(super) const DEFAULT: Self = Self {
        failures: 5,
        open: ms(30_000),
        trials: 2,
        status: 502,
    };
}

impl OnOrOff<Breaker> {
    /// The breaker of an upstream; one has it unless it is off.
    pub(super) fn read(self) -> Option<Breaker> {
        match self {
            Self::On(breaker) => Some(breaker),
            Self::Absent => Some(Breaker::DEFAULT),
            Self::Off => None,
        }
    }
}

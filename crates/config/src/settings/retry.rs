//! What is repeated, and how often.

use crate::field::KindExt;
use crate::kind::{switch, whole};
use crate::reader::keys;

keys! {
    /// What of a call is repeated: never anything after a byte of the answer, and of a minute's
    /// calls a fifth at most (but always ten).
    #[derive(Copy, Eq, PartialEq)]
    pub struct Retry {
        /// How often connecting is tried again, at another address first.
        connect: u32 = whole(0..=10).or(Self::DEFAULT.connect),
        /// How often a call is sent again that went to a kept connection which turned out to be
        /// closed: GET, HEAD and OPTIONS, or any call of which nothing had been sent.
        reused: u32 = whole(0..=3).or(Self::DEFAULT.reused),
        /// Whether `reused` is also for other calls if they carry an `Idempotency-Key`.
        with_idempotency_key: bool = switch().or(Self::DEFAULT.with_idempotency_key),
    }
}

impl Retry {
    /// What holds where nothing is written.
    pub const DEFAULT: Self = Self {
        connect: 2,
        reused: 1,
        with_idempotency_key: false,
    };
}

//! A hold in the hands of whoever makes the call: money that can't be forgotten.
//!
//! The types leave one way: [`Held`] becomes [`Committed`] before the first byte is written upstream,
//! and that ends by being settled, or released with a proof; where the connection took no byte it is
//! what it was. Dropped before, a hold is released;
//! dropped after, by a panic, a cancelled task or a forgotten branch, its whole bound is charged.

use crate::amount::{Amount, Charge};
use crate::row::{Cover, Covers, Pot, Quality};
use crate::slice::{Slice, Take};
use crate::window::WindowKey;
use smallvec::SmallVec;
use std::sync::Arc;
use tollkeep_types::{HoldId, LeaseId, MonoNanos, WallMillis};

/// How many pots a call is held in without an allocation.
pub const POTS_INLINE: usize = 5;

/// Where the ends of holds go: a queue to the keeper. It may not lose any.
pub trait Outbox: Send + Sync + std::fmt::Debug {
    fn ended(&self, ended: Ended);
    /// An amount that a closed slice did not take back, of a call that got no hold.
    fn homeless(&self, lease: LeaseId, amount: Amount);
}

/// Why nothing was billed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotBilled {
    /// Nothing was sent.
    NotSent,
    /// No connection, or no TLS on it: no byte of the request arrived.
    NotConnected,
    /// The upstream refused with a status, and without usage (LED-25).
    Refused,
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    Released(NotBilled),
    /// The cost may be more than the bound: then the bound is charged, and the rest is an overrun.
    Settled {
        quality: Quality,
        actual: Charge,
    },
    /// So much was billed of what brought the payer nothing, and the operator bears it.
    Borne(Amount),
}

/// What a bound is worth.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Sure {
    /// The call can't cost more by any means.
    #[default]
    Bound,
    /// It may: no pot it is taken from has a hard limit, and all of it is charged.
    Guess,
    /// It is what its route asks for, and no upstream's bill.
    Price,
}

/// What was taken from a slice.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SliceCover {
    pub lease: LeaseId,
    pub epoch: u64,
    pub key: WindowKey,
    pub measure: crate::amount::Measure,
    pub taken: Amount,
    pub bucket: Option<WallMillis>,
    /// What the slice did not get back, since it was closed.
    pub homeless: Amount,
}

/// What an upstream asks for a call, where its payer is charged something else.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Owed {
    /// At most, as far as anybody can say beforehand.
    pub bound: Amount,
    pub actual: Amount,
}

/// The end of a hold, for the keeper to write down.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ended {
    pub hold: HoldId,
    pub bound: Charge,
    pub sure: Sure,
    pub outcome: Outcome,
    /// `None`: what is charged.
    pub owed: Option<Owed>,
    pub slices: SmallVec<[SliceCover; POTS_INLINE]>,
    /// What the store holds in a row.
    pub strict: Covers,
}

impl Ended {
    /// Whether the call came to more than was taken aside for it: of its cost, of any pot, or of the
    /// output that it was bounded to.
    pub fn is_overrun(&self) -> bool {
        let (actual, bound) = (self.outcome.actual(), self.bound);
        let slices = self.slices.iter().map(|it| (it.measure, it.taken));
        let strict = self.strict.iter().map(|it| (it.measure, it.taken));
        let beyond_pot = || {
            let mut pots = slices.chain(strict);
            pots.any(|(measure, taken)| actual.of(measure) > taken)
        };
        // A guess says nothing of what the upstream was asked for.
        let is_capped = self.sure == Sure::Bound && !bound.output_tokens.is_zero();
        let beyond_cap = is_capped && actual.output_tokens > bound.output_tokens;
        actual.cost > bound.cost || beyond_cap || beyond_pot()
    }
}

impl Outcome {
    /// What is charged to a pot of this measure, of which so much was taken.
    pub fn charged(&self, measure: crate::amount::Measure, taken: Amount) -> Amount {
        match self {
            Self::Released(_) | Self::Borne(_) => Amount::ZERO,
            Self::Settled { actual, .. } => actual.of(measure).min(taken),
        }
    }

    /// What is charged beyond that, of a call whose bound was a guess.
    pub fn beyond(&self, measure: crate::amount::Measure, taken: Amount, sure: Sure) -> Amount {
        match (self, sure) {
            (Self::Released(_) | Self::Borne(_), _) | (_, Sure::Bound | Sure::Price) => {
                Amount::ZERO
            }
            (Self::Settled { actual, .. }, Sure::Guess) => actual.of(measure).above(taken),
        }
    }

    pub const fn quality(&self) -> Quality {
        match self {
            Self::Released(_) | Self::Borne(_) => Quality::Reported,
            Self::Settled { quality, .. } => *quality,
        }
    }

    pub const fn actual(&self) -> Charge {
        match self {
            Self::Released(_) | Self::Borne(_) => Charge::NOTHING,
            Self::Settled { actual, .. } => *actual,
        }
    }
}

#[derive(Debug)]
struct Taken {
    slice: Arc<Slice>,
    amount: Amount,
    bucket: Option<WallMillis>,
}

#[derive(Debug)]
struct Guts {
    id: HoldId,
    bound: Charge,
    sure: Sure,
    /// What its upstream may ask at most, where that is another amount than the bound.
    owed: Option<Amount>,
    slices: SmallVec<[Taken; POTS_INLINE]>,
    strict: Covers,
    outbox: Arc<dyn Outbox>,
}

impl Guts {
    fn end(self, outcome: Outcome) {
        self.end_asked(outcome, None);
    }

    /// Ends it, `asked` being what its upstream asks: if nobody knows that, as much as it may.
    fn end_asked(self, outcome: Outcome, asked: Option<Amount>) {
        let owed = self.owed.map(|bound| Owed {
            bound,
            actual: match outcome {
                Outcome::Released(_) | Outcome::Borne(_) => Amount::ZERO,
                Outcome::Settled { .. } => asked.unwrap_or(bound),
            },
        });
        let slices = self
            .slices
            .into_iter()
            .map(|taken| {
                let measure = taken.slice.measure;
                let refund = taken.amount.above(outcome.charged(measure, taken.amount));
                let at_home = refund.is_zero() || taken.slice.put_back(refund);
                SliceCover {
                    lease: taken.slice.lease,
                    epoch: taken.slice.epoch,
                    key: taken.slice.key,
                    measure,
                    taken: taken.amount,
                    bucket: taken.bucket,
                    homeless: if at_home { Amount::ZERO } else { refund },
                }
            })
            .collect();
        self.outbox.ended(Ended {
            hold: self.id,
            bound: self.bound,
            sure: self.sure,
            outcome,
            owed,
            slices,
            strict: self.strict,
        });
    }
}

/// A bound taken aside. Nothing was sent yet.
#[must_use]
#[derive(Debug)]
pub struct Held(Option<Guts>);

/// A bound under which an upstream may be at work.
#[must_use]
#[derive(Debug)]
pub struct Committed(Option<Guts>);

/// A hold that is durable as *held* only: nothing may be sent under it. The keeper makes a [`Held`]
/// of it when the store has committed it, and nothing if that came too late.
#[must_use]
#[derive(Debug)]
pub struct Reserved(Option<Guts>);

/// Which of the slices was short.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ShortAt(pub usize);

/// A hold, and whether a slice is so low that the keeper should refill it.
#[derive(Debug)]
pub struct FromSlices {
    pub held: Held,
    pub low: bool,
}

/// Takes a bound from all slices, in the order given, or from none. HOT.
pub fn take(
    id: HoldId,
    (bound, sure): (Charge, Sure),
    slices: &[Arc<Slice>],
    now: MonoNanos,
    outbox: &Arc<dyn Outbox>,
) -> Result<FromSlices, ShortAt> {
    let mut taken = AllTaken::new();
    let low = match take_slices(&bound, slices, now, &mut taken) {
        Ok(low) => low,
        Err(short) => {
            for (lease, amount) in Partial(taken).undo() {
                outbox.homeless(lease, amount);
            }
            return Err(short);
        }
    };
    let held = Held(Some(Guts {
        id,
        bound,
        sure,
        owed: None,
        slices: taken,
        strict: Covers::new(),
        outbox: Arc::clone(outbox),
    }));
    Ok(FromSlices { held, low })
}

type AllTaken = SmallVec<[Taken; POTS_INLINE]>;

fn take_slices(
    bound: &Charge,
    slices: &[Arc<Slice>],
    now: MonoNanos,
    all: &mut AllTaken,
) -> Result<bool, ShortAt> {
    let mut low = false;
    for (at, slice) in slices.iter().enumerate() {
        let amount = bound.of(slice.measure);
        match slice.take(amount, now) {
            Take::Done => {}
            Take::DoneAndLow => low = true,
            Take::Short => return Err(ShortAt(at)),
        }
        all.push(Taken {
            slice: Arc::clone(slice),
            amount,
            bucket: slice.bucket(now),
        });
    }
    Ok(low)
}

/// What a keeper takes from slices for a call that also needs the store.
#[derive(Debug, Default)]
pub(crate) struct Partial(AllTaken);

impl Partial {
    /// Takes from one more slice, if it has enough.
    pub(crate) fn add(&mut self, amount: Amount, slice: &Arc<Slice>, now: MonoNanos) -> bool {
        if slice.take(amount, now) == Take::Short {
            return false;
        }
        self.0.push(Taken {
            slice: Arc::clone(slice),
            amount,
            bucket: slice.bucket(now),
        });
        true
    }

    /// Puts all back; what closed slices did not take is the answer.
    pub(crate) fn undo(self) -> SmallVec<[(LeaseId, Amount); POTS_INLINE]> {
        let taken = self.0.into_iter();
        taken
            .filter(|taken| !taken.slice.put_back(taken.amount))
            .map(|taken| (taken.slice.lease, taken.amount))
            .collect()
    }

    fn guts(
        self,
        id: HoldId,
        (bound, sure): (Charge, Sure),
        strict: Covers,
        outbox: &Arc<dyn Outbox>,
    ) -> Guts {
        Guts {
            id,
            bound,
            sure,
            owed: None,
            slices: self.0,
            strict,
            outbox: Arc::clone(outbox),
        }
    }

    pub(crate) fn held(
        self,
        id: HoldId,
        bound: (Charge, Sure),
        strict: Covers,
        outbox: &Arc<dyn Outbox>,
    ) -> Held {
        Held(Some(self.guts(id, bound, strict, outbox)))
    }

    pub(crate) fn reserved(
        self,
        id: HoldId,
        bound: (Charge, Sure),
        strict: Covers,
        outbox: &Arc<dyn Outbox>,
    ) -> Reserved {
        Reserved(Some(self.guts(id, bound, strict, outbox)))
    }
}

impl Held {
    pub fn id(&self) -> Option<HoldId> {
        self.0.as_ref().map(|guts| guts.id)
    }

    /// The bound, if the store has a row of the hold: not all of it is covered by slices.
    pub fn in_store(&self) -> Option<Charge> {
        let guts = self.0.as_ref().filter(|guts| !guts.strict.is_empty());
        guts.map(|guts| guts.bound)
    }

    /// The same, where its upstream may ask another amount at most than the bound: without a markup.
    pub fn owing(mut self, most: Option<Amount>) -> Self {
        if let Some(guts) = &mut self.0 {
            guts.owed = most;
        }
        self
    }

    /// The first byte is about to be written upstream.
    pub fn commit(mut self) -> Committed {
        Committed(self.0.take())
    }

    /// Refused or cancelled before anything was sent.
    pub fn release(self) {
        drop(self);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(guts) = self.0.take() {
            guts.end(Outcome::Released(NotBilled::NotSent));
        }
    }
}

impl Committed {
    pub fn id(&self) -> Option<HoldId> {
        self.0.as_ref().map(|guts| guts.id)
    }

    /// What is held, pot by pot.
    pub fn covers(&self) -> impl Iterator<Item = Cover> {
        self.0.iter().flat_map(|guts| {
            let slices = guts.slices.iter().map(|taken| Cover {
                pot: Pot::Window(taken.slice.key),
                measure: taken.slice.measure,
                taken: taken.amount,
                bucket: taken.bucket,
            });
            slices.chain(guts.strict.iter().copied())
        })
    }

    pub fn bound(&self) -> Charge {
        self.0.as_ref().map_or(Charge::NOTHING, |guts| guts.bound)
    }

    /// Nothing was sent after all: no byte was taken from us.
    pub fn not_sent(mut self) -> Held {
        Held(self.0.take())
    }

    /// The cost is known or estimated.
    pub fn settle(mut self, quality: Quality, actual: Charge) {
        if let Some(guts) = self.0.take() {
            guts.end(Outcome::Settled { quality, actual });
        }
    }

    /// The same, of a hold that owes another amount than is charged: what its upstream asks.
    pub fn settle_asked(mut self, quality: Quality, actual: Charge, asked: Amount) {
        if let Some(guts) = self.0.take() {
            guts.end_asked(Outcome::Settled { quality, actual }, Some(asked));
        }
    }

    /// So much was billed, and the payer is charged nothing for it.
    pub fn bear(mut self, cost: Amount) {
        if let Some(guts) = self.0.take() {
            guts.end(Outcome::Borne(cost));
        }
    }

    /// There is proof that nothing was billed.
    pub fn release(mut self, proof: NotBilled) {
        if let Some(guts) = self.0.take() {
            guts.end(Outcome::Released(proof));
        }
    }
}

impl Drop for Committed {
    fn drop(&mut self) {
        if let Some(guts) = self.0.take() {
            let actual = guts.bound;
            guts.end(Outcome::Settled {
                quality: Quality::Unknown,
                actual,
            });
        }
    }
}

impl Reserved {
    pub fn id(&self) -> Option<HoldId> {
        self.0.as_ref().map(|guts| guts.id)
    }

    /// The same, where its upstream may ask another amount at most than the bound.
    pub(crate) fn owing(mut self, most: Option<Amount>) -> Self {
        if let Some(guts) = &mut self.0 {
            guts.owed = most;
        }
        self
    }

    /// The store has committed it.
    pub(crate) fn confirmed(mut self) -> Held {
        Held(self.0.take())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(guts) = self.0.take() {
            guts.end(Outcome::Released(NotBilled::NotSent));
        }
    }
}

#[cfg(test)]
mod tests;

//! Decisions around a call that is held: what its end is worth, when a stream has to stop, and what
//! becomes of it when the caller has gone.

use crate::amount::{Amount, Charge};
use crate::hold::{NotBilled, Outcome};
use crate::row::Quality;

/// What came back of an upstream, as far as money goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Heard {
    /// No byte of the request can have arrived.
    NotConnected,
    /// A status of 400 or more, or an error before any output, and no usage with it.
    RefusedWithoutUsage,
    Reported(Charge),
    Estimated(Charge),
    /// Nothing that can be read.
    Nothing,
}

/// How a committed hold ends (LED-50, LED-52): without proof the whole bound is charged.
pub const fn outcome(bound: Charge, heard: Heard) -> Outcome {
    match heard {
        Heard::NotConnected => Outcome::Released(NotBilled::NotConnected),
        Heard::RefusedWithoutUsage => Outcome::Released(NotBilled::Refused),
        Heard::Reported(actual) => Outcome::Settled {
            quality: Quality::Reported,
            actual,
        },
        Heard::Estimated(actual) => Outcome::Settled {
            quality: Quality::Estimated,
            actual,
        },
        Heard::Nothing => Outcome::Settled {
            quality: Quality::Unknown,
            actual: bound,
        },
    }
}

/// What is known of a call with a price at the gate, from our own side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AtGate {
    Delivered,
    /// So many units of so many were delivered when it broke.
    Partly {
        units: u64,
        of: u64,
    },
    /// It failed, and the route's rule says a failed call is free.
    FailedAndFree,
    /// It failed, and is charged all the same.
    FailedAndCharged,
}

/// What of a price is charged (LED-55), rounded up; never more than the price.
pub fn gate_charge(price: Amount, known: AtGate) -> Amount {
    match known {
        AtGate::Delivered | AtGate::FailedAndCharged | AtGate::Partly { of: 0, .. } => price,
        AtGate::FailedAndFree => Amount::ZERO,
        AtGate::Partly { units, of } => {
            let part = i128::from(price.units()) * i128::from(units.min(of));
            let rounded_up = (part + i128::from(of) - 1) / i128::from(of);
            i64::try_from(rounded_up)
                .ok()
                .and_then(Amount::new)
                .map_or(price, |charge| charge.min(price))
        }
    }
}

/// What a stream does after what it has brought so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stream {
    GoOn,
    /// The hold does not cover one more event: take another hold first.
    Extend,
    /// Close the upstream and end with the dialect's error, without its success terminator.
    Stop,
}

/// Whether more can be taken while a stream runs: of soft budgets, sessions and realtime.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Extensible {
    Yes,
    No,
}

/// The guard within a stream (LED-57). `seen` is the larger of what the running total and the bytes
/// received come to; `one_more` is the most that one event can add.
pub fn guard(bound: Amount, seen: Amount, one_more: Amount, extensible: Extensible) -> Stream {
    let covered = seen.plus(one_more).is_some_and(|next| next <= bound);
    match (covered, extensible) {
        (true, _) => Stream::GoOn,
        (false, Extensible::Yes) => Stream::Extend,
        (false, Extensible::No) => Stream::Stop,
    }
}

/// The largest cap of output with which a call fits what is left, where a smaller cap fits whenever a
/// larger one does. Nothing if it does not fit with the least that is worth sending (LED-45).
pub fn largest_fitting(least: u64, most: u64, mut fits: impl FnMut(u64) -> bool) -> Option<u64> {
    if least > most || !fits(least) {
        return None;
    }
    let (mut fit, mut over) = (least, most.saturating_add(1));
    while over - fit > 1 {
        let middle = fit + (over - fit) / 2;
        if fits(middle) {
            fit = middle;
        } else {
            over = middle;
        }
    }
    Some(fit)
}

/// What is configured for callers that go away.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnDisconnect {
    Cancel,
    Drain,
}

/// What is stated of a provider: whether a cancelled call is billed no further.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CancelStopsBilling {
    Stated,
    NotStated,
}

/// Whether any pot of the call has a hard limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hard {
    Some,
    None,
}

/// What becomes of a call whose caller has gone (LED-58). In hard pots a call is cancelled only
/// where that ends the bill, so that hanging up is no way to be served for less.
pub const fn caller_gone(
    wanted: OnDisconnect,
    provider: CancelStopsBilling,
    pots: Hard,
) -> OnDisconnect {
    match (wanted, provider, pots) {
        (OnDisconnect::Cancel, CancelStopsBilling::Stated, _)
        | (OnDisconnect::Cancel, CancelStopsBilling::NotStated, Hard::None) => OnDisconnect::Cancel,
        (OnDisconnect::Cancel, CancelStopsBilling::NotStated, Hard::Some)
        | (OnDisconnect::Drain, _, _) => OnDisconnect::Drain,
    }
}

/// How long a drain may take at most.
pub const DRAIN_MS_MAX: u64 = 120_000;

/// When a drain that begins now ends: within two minutes, and within the hold.
pub fn drain_until_ms(now_ms: u64, hold_ends_ms: u64) -> u64 {
    now_ms.saturating_add(DRAIN_MS_MAX).min(hold_ends_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(units: i64) -> Amount {
        Amount::new(units).unwrap()
    }

    fn cost(units: i64) -> Charge {
        Charge {
            cost: amount(units),
            ..Charge::NOTHING
        }
    }

    // LED-52
    #[test]
    fn without_proof_the_whole_bound_is_charged() {
        let bound = cost(100);
        for (name, heard, want) in [
            ("no connection", Heard::NotConnected, 0),
            ("refused", Heard::RefusedWithoutUsage, 0),
            ("reported", Heard::Reported(cost(30)), 30),
            ("estimated", Heard::Estimated(cost(60)), 60),
            ("a reported zero is a report", Heard::Reported(cost(0)), 0),
            ("silence", Heard::Nothing, 100),
        ] {
            let outcome = outcome(bound, heard);
            assert_eq!(outcome.actual().cost, amount(want), "{name}");
        }
    }

    // LED-53
    #[test]
    fn a_payer_is_never_charged_more_than_the_bound() {
        let outcome = outcome(cost(100), Heard::Reported(cost(130)));
        let charged = outcome.charged(crate::amount::Measure::Cost, amount(100));
        assert_eq!(charged, amount(100));
        assert_eq!(
            outcome.actual().cost,
            amount(130),
            "what was billed is kept"
        );
    }

    // LED-55
    #[test]
    fn a_price_at_the_gate_is_charged_by_what_was_delivered() {
        for (name, known, want) in [
            ("delivered", AtGate::Delivered, 100),
            ("failed, free", AtGate::FailedAndFree, 0),
            ("failed, charged", AtGate::FailedAndCharged, 100),
            (
                "a third, rounded up",
                AtGate::Partly { units: 1, of: 3 },
                34,
            ),
            ("nothing yet", AtGate::Partly { units: 0, of: 3 }, 0),
            ("more than all", AtGate::Partly { units: 9, of: 3 }, 100),
            ("of nothing", AtGate::Partly { units: 0, of: 0 }, 100),
        ] {
            assert_eq!(gate_charge(amount(100), known), amount(want), "{name}");
        }
        let most = AtGate::Partly {
            units: u64::MAX,
            of: u64::MAX,
        };
        assert_eq!(gate_charge(Amount::MAX, most), Amount::MAX);
    }

    // LED-45
    #[test]
    fn a_call_is_made_as_small_as_it_has_to_be_and_no_smaller() {
        for (name, least, most, room, want) in [
            ("fits as it is", 256, 1000, 5000, Some(1000)),
            ("to the last token", 256, 1000, 999, Some(999)),
            ("to the least", 256, 1000, 256, Some(256)),
            ("below the least", 256, 1000, 255, None),
            ("asked for less than the least", 256, 100, 5000, None),
            ("one choice", 256, 256, 256, Some(256)),
            ("absurd", 0, u64::MAX, 7, Some(7)),
        ] {
            let mut asked = 0;
            let found = largest_fitting(least, most, |cap| {
                asked += 1;
                cap <= room
            });
            assert_eq!(found, want, "{name}");
            assert!(asked <= 65, "{name}: asked {asked} times");
        }
    }

    // LED-57
    #[test]
    fn a_stream_stops_before_the_event_that_its_hold_does_not_cover() {
        for (name, seen, one_more, extensible, want) in [
            ("room", 50, 10, Extensible::No, Stream::GoOn),
            ("just room", 90, 10, Extensible::No, Stream::GoOn),
            ("no room", 91, 10, Extensible::No, Stream::Stop),
            (
                "no room, may take more",
                91,
                10,
                Extensible::Yes,
                Stream::Extend,
            ),
            ("absurd", i64::MAX, 10, Extensible::No, Stream::Stop),
        ] {
            let did = guard(amount(100), amount(seen), amount(one_more), extensible);
            assert_eq!(did, want, "{name}");
        }
    }

    // LED-58
    #[test]
    fn hanging_up_never_makes_a_call_cheaper_than_its_bill() {
        use CancelStopsBilling::{NotStated, Stated};
        for (wanted, provider, pots, want) in [
            (
                OnDisconnect::Cancel,
                Stated,
                Hard::Some,
                OnDisconnect::Cancel,
            ),
            (
                OnDisconnect::Cancel,
                NotStated,
                Hard::Some,
                OnDisconnect::Drain,
            ),
            (
                OnDisconnect::Cancel,
                NotStated,
                Hard::None,
                OnDisconnect::Cancel,
            ),
            (OnDisconnect::Drain, Stated, Hard::None, OnDisconnect::Drain),
        ] {
            assert_eq!(caller_gone(wanted, provider, pots), want);
        }
        assert_eq!(drain_until_ms(1_000, 500_000), 121_000);
        assert_eq!(drain_until_ms(1_000, 50_000), 50_000);
    }
}

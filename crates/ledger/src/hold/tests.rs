//! What an end is worth, and what leads to it.

use super::*;
use crate::amount::Measure;

fn of(cost: i64, input: i64, output: i64) -> Charge {
    let amount = |units| Amount::new(units).unwrap();
    Charge {
        cost: amount(cost),
        tokens: amount(input + output),
        output_tokens: amount(output),
        billable_tokens: amount(input + output),
        requests: amount(1),
    }
}

// LED-53
#[test]
fn more_than_was_taken_aside_is_an_overrun_and_more_than_the_cap_too() {
    use Measure::{Cost, Tokens};
    use Sure::{Bound, Guess, Price};
    let bound = of(1_000, 200, 100);
    let embedding = of(200, 200, 0);
    #[rustfmt::skip]
    let rows = [
        ("as bounded", Bound, Cost, bound, bound, false),
        ("dearer", Bound, Cost, bound, of(1_001, 200, 100), true),
        ("longer, and cheaper", Bound, Cost, bound, of(9, 1, 101), true),
        ("tokens alone", Bound, Tokens, bound, of(0, 201, 100), true),
        ("more input, less output", Bound, Tokens, bound, of(0, 299, 1), false),
        ("input beyond, in money", Bound, Cost, bound, of(9, 201, 1), false),
        ("no cap", Bound, Cost, embedding, of(200, 100, 5), false),
        ("guessed, and within", Guess, Cost, bound, of(1_000, 1, 101), false),
        ("guessed, and beyond", Guess, Cost, bound, of(1_001, 1, 1), true),
        ("guessed tokens", Guess, Tokens, bound, of(0, 200, 101), true),
        ("a price", Price, Cost, of(7, 0, 0), of(7, 0, 0), false),
    ];
    for (name, sure, pot, bound, actual, want) in rows {
        let taken = bound.of(pot);
        let cover = Cover {
            pot: Pot::Account(tollkeep_types::AccountId::from_bytes([1; 16])),
            measure: pot,
            taken,
            bucket: None,
        };
        let ended = Ended {
            hold: HoldId::from_bytes([1; 16]),
            bound,
            sure,
            outcome: Outcome::Settled {
                quality: Quality::Reported,
                actual,
            },
            slices: SmallVec::new(),
            strict: std::iter::once(cover).collect(),
            owed: None,
        };
        assert_eq!(ended.is_overrun(), want, "{name}");
        assert!(ended.outcome.charged(pot, taken) <= taken, "{name}");
    }
}

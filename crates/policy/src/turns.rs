//! Whose turn it is among credentials of one priority: the smooth weighted round robin (LLM-R16).

use std::sync::atomic::{AtomicI64, Ordering};

/// How far one of several has come in taking turns. One that several threads share is only
/// roughly fair; nothing but turns depends on it.
#[derive(Debug, Default)]
pub struct Turn(AtomicI64);

/// HOT. Picks one: each gains its weight, the greatest is taken and loses what all gained. Among
/// equals the first is taken. Weights of 5, 1, 1 give A A B A C A A.
pub fn pick<'t, T>(candidates: impl Iterator<Item = (T, u32, &'t Turn)>) -> Option<T> {
    let mut total = 0_i64;
    let mut best: Option<(T, i64, &Turn)> = None;
    for (candidate, weight, turn) in candidates {
        let weight = i64::from(weight);
        let gained = turn.0.load(Ordering::Relaxed).saturating_add(weight);
        turn.0.store(gained, Ordering::Relaxed);
        total = total.saturating_add(weight);
        if best.as_ref().is_none_or(|(_, most, _)| gained > *most) {
            best = Some((candidate, gained, turn));
        }
    }
    let (picked, gained, turn) = best?;
    turn.0
        .store(gained.saturating_sub(total), Ordering::Relaxed);
    Some(picked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picks(weights: &[u32], count: usize) -> Vec<usize> {
        let turns: Vec<_> = weights.iter().map(|_| Turn::default()).collect();
        let all = || {
            let each = weights.iter().zip(&turns).enumerate();
            each.map(|(index, (weight, turn))| (index, *weight, turn))
        };
        (0..count).map(|_| pick(all()).unwrap()).collect()
    }

    // LLM-R16
    #[test]
    fn turns_follow_weights_and_are_spread() {
        assert_eq!(picks(&[5, 1, 1], 7), [0, 0, 1, 0, 2, 0, 0]);
        let many = picks(&[5, 1, 1], 7_000);
        let of = |index| many.iter().filter(|picked| **picked == index).count();
        assert_eq!((of(0), of(1), of(2)), (5_000, 1_000, 1_000));
        assert_eq!(picks(&[1, 1, 1], 4), [0, 1, 2, 0]);
        assert_eq!(pick(std::iter::empty::<(u8, u32, &Turn)>()), None);
    }

    proptest::proptest! {
        #[test]
        fn a_whole_cycle_gives_each_its_weight(weights in proptest::collection::vec(1_u32..50, 1..6)) {
            let cycle = weights.iter().sum::<u32>();
            let picked = picks(&weights, usize::try_from(cycle).unwrap());
            for (index, weight) in weights.iter().enumerate() {
                let count = picked.iter().filter(|one| **one == index).count();
                proptest::prop_assert_eq!(count, usize::try_from(*weight).unwrap());
            }
        }
    }
}

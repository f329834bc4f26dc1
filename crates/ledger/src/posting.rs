//! Double entry: every movement of money is an entry whose postings come to zero, written once and
//! never changed. What was wrong is put right by another entry.

use crate::amount::{Amount, Delta, Measure};
use smallvec::SmallVec;
use tollkeep_types::{AccountId, BudgetId, EntryId, HoldId};

/// What an account counts in, for its whole life. Units never mix.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Unit {
    /// Nano-dollars.
    Usd,
    Tokens,
    Requests,
}

impl Unit {
    pub const ALL: [Self; 3] = [Self::Usd, Self::Tokens, Self::Requests];

    /// What counts this of a call.
    pub const fn of(measure: Measure) -> Self {
        match measure {
            Measure::Cost => Self::Usd,
            Measure::Tokens | Measure::OutputTokens | Measure::BillableTokens => Self::Tokens,
            Measure::Requests => Self::Requests,
        }
    }

    /// What of a call is paid in it.
    pub const fn measure(self) -> Measure {
        match self {
            Self::Usd => Measure::Cost,
            Self::Tokens => Measure::Tokens,
            Self::Requests => Measure::Requests,
        }
    }

    /// The word in tables and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usd => "usd",
            Self::Tokens => "tokens",
            Self::Requests => "requests",
        }
    }
}

/// Whose balance a posting changes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Account {
    /// What came in or went out by a rail, or by the hands of an operator.
    Outside(Unit),
    /// What we owe a payer: prepaid credit, a session. Never below zero.
    Credit(AccountId),
    /// What is taken aside of a payer's credit.
    Held(AccountId),
    /// What payers have paid for.
    Revenue(Unit),
    /// What was given away.
    Promo(Unit),
    /// What payers got back of what they had paid for.
    Refunds(Unit),
    /// What the operator bears: what was put right by hand.
    OperatorLoss(Unit),
    /// What upstreams did for us.
    UpstreamCost,
    /// What we owe upstreams.
    Payable,
    /// What an upstream did beyond its bound, which no payer is asked for.
    Overrun,
    /// What was counted as spent of a budget because a replica was lost with its slice.
    Unresolved(BudgetId),
    /// The other side of `Unresolved`.
    InDoubt(BudgetId),
}

impl Account {
    /// Whether the balance may not fall below zero.
    pub const fn is_guarded(self) -> bool {
        matches!(self, Self::Credit(_) | Self::Held(_))
    }

    /// What it counts in, where its name says so.
    pub const fn unit(self) -> Option<Unit> {
        match self {
            Self::Outside(unit)
            | Self::Revenue(unit)
            | Self::Promo(unit)
            | Self::Refunds(unit)
            | Self::OperatorLoss(unit) => Some(unit),
            Self::UpstreamCost | Self::Payable | Self::Overrun => Some(Unit::Usd),
            Self::Credit(_) | Self::Held(_) | Self::Unresolved(_) | Self::InDoubt(_) => None,
        }
    }
}

/// Why an entry was made.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum EntryKind {
    /// Credit taken aside.
    Hold,
    /// A call ended.
    Settle,
    /// Evidence came later.
    Correct,
    /// A lease was lost, or what was lost with it is known now.
    Lease,
    /// An operator or a rail moved money.
    Transfer,
}

/// One side of an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Posting {
    pub account: Account,
    pub by: Delta,
}

/// Why postings are no entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EntryError {
    #[error("an entry has two postings or more")]
    TooFew,
    #[error("the postings do not come to zero")]
    Uneven,
    #[error("the postings are of several units")]
    Mixed,
}

/// Postings that come to zero. There is no other way to make one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    id: EntryId,
    kind: EntryKind,
    corrects: Option<EntryId>,
    postings: SmallVec<[Posting; 4]>,
}

impl Entry {
    pub fn new(id: EntryId, kind: EntryKind, postings: &[Posting]) -> Result<Self, EntryError> {
        if postings.len() < 2 {
            return Err(EntryError::TooFew);
        }
        let sum: i128 = postings.iter().map(|p| i128::from(p.by.units())).sum();
        if sum != 0 {
            return Err(EntryError::Uneven);
        }
        let mut units = postings.iter().filter_map(|p| p.account.unit());
        let first = units.next();
        if units.any(|unit| Some(unit) != first) {
            return Err(EntryError::Mixed);
        }
        Ok(Self {
            id,
            kind,
            corrects: None,
            postings: SmallVec::from_slice(postings),
        })
    }

    /// The movement of an amount from one account to another. It comes to zero by its shape.
    pub fn moved(id: EntryId, kind: EntryKind, path: (Account, Account), amount: Amount) -> Self {
        let (from, to) = path;
        let postings = [
            Posting {
                account: from,
                by: Delta::down(amount),
            },
            Posting {
                account: to,
                by: Delta::up(amount),
            },
        ];
        Self {
            id,
            kind,
            corrects: None,
            postings: SmallVec::from_slice(&postings),
        }
    }

    /// The same, as a correction of an earlier one.
    pub fn correcting(self, original: EntryId) -> Self {
        Self {
            corrects: Some(original),
            ..self
        }
    }

    pub const fn id(&self) -> EntryId {
        self.id
    }

    pub const fn kind(&self) -> EntryKind {
        self.kind
    }

    pub const fn corrects(&self) -> Option<EntryId> {
        self.corrects
    }

    pub fn postings(&self) -> &[Posting] {
        &self.postings
    }

    /// What it is counted in, as far as the names of its accounts say so.
    pub fn unit(&self) -> Option<Unit> {
        let mut accounts = self.postings.iter().map(|posting| posting.account);
        accounts.find_map(Account::unit)
    }
}

/// The id of an entry that a hold makes: the same for each repeat, so that a repeat is seen, and never
/// that of an entry of another hold. Ids of holds count up, so the sorts of entries stand far apart:
/// multiples of the golden section are spread evenly.
pub fn entry_of(hold: HoldId, kind: EntryKind, number: u8) -> EntryId {
    const GOLDEN: u64 = 0x009e_3779_b97f_4a7d;
    const COUNTED: u64 = (1 << 56) - 1;
    let kind: u64 = match kind {
        EntryKind::Hold => 1,
        EntryKind::Settle => 2,
        EntryKind::Correct => 3,
        EntryKind::Lease => 4,
        EntryKind::Transfer => 5,
    };
    let sort = (kind << 8) | u64::from(number);
    let id = u128::from_be_bytes(*hold.bytes());
    let counted = u128::from(COUNTED);
    let moved = id.wrapping_add(u128::from(sort.wrapping_mul(GOLDEN) & COUNTED));
    EntryId::from_bytes(((id & !counted) | (moved & counted)).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    // LED-2 LED-65
    #[test]
    fn an_entry_comes_to_zero_or_is_none() {
        let id = EntryId::from_bytes([1; 16]);
        let up = Delta::up(Amount::new(5).unwrap());
        let down = Delta::down(Amount::new(5).unwrap());
        let posting = |account, by| Posting { account, by };
        let even = [
            posting(Account::UpstreamCost, up),
            posting(Account::Payable, down),
        ];
        let uneven = [
            posting(Account::UpstreamCost, up),
            posting(Account::Payable, up),
        ];
        assert!(Entry::new(id, EntryKind::Settle, &even).is_ok());
        assert_eq!(
            Entry::new(id, EntryKind::Settle, &uneven),
            Err(EntryError::Uneven)
        );
        assert_eq!(
            Entry::new(id, EntryKind::Settle, &even[..1]),
            Err(EntryError::TooFew)
        );
        let mixed = [
            posting(Account::UpstreamCost, up),
            posting(Account::Revenue(Unit::Tokens), down),
        ];
        assert_eq!(
            Entry::new(id, EntryKind::Settle, &mixed),
            Err(EntryError::Mixed)
        );
        let first = Entry::new(id, EntryKind::Settle, &even).unwrap();
        let second = first.clone().correcting(first.id());
        assert_eq!(second.corrects(), Some(first.id()));
        assert_eq!(second.postings(), first.postings());
    }

    // LED-65
    #[test]
    fn entries_of_holds_that_follow_one_another_have_ids_of_their_own() {
        let kinds = [
            EntryKind::Hold,
            EntryKind::Settle,
            EntryKind::Correct,
            EntryKind::Lease,
            EntryKind::Transfer,
        ];
        let mut seen = std::collections::BTreeSet::new();
        let first = u128::from_be_bytes([0xa5; 16]);
        for hold in 0..300 {
            let id = HoldId::from_bytes((first + hold).to_be_bytes());
            for kind in kinds {
                for number in 0..=u8::MAX {
                    assert!(
                        seen.insert(entry_of(id, kind, number)),
                        "{hold} {kind:?} {number}"
                    );
                }
            }
        }
        // So far apart are two sorts of one hold at least, and as many holds may follow one another.
        let id = HoldId::from_bytes([0; 16]);
        let mut sorts: Vec<u128> = kinds
            .into_iter()
            .flat_map(|kind| (0..=u8::MAX).map(move |number| entry_of(id, kind, number)))
            .map(|id| u128::from_be_bytes(*id.bytes()))
            .collect();
        sorts.sort_unstable();
        let around = (1 << 56) - sorts.last().unwrap() + sorts.first().unwrap();
        let least = sorts
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .min()
            .unwrap();
        assert!(least.min(around) > 1 << 40, "{least}");
    }
}

//! What is booked once it is known what a call really cost.

use super::ending::revenue_of;
use crate::amount::Amount;
use crate::posting::{Account, Entry, EntryKind, entry_of};
use crate::row::{Cover, Pot};
use crate::write::Truth;
use tollkeep_types::{AccountId, EntryId};

/// The numbers of entries: of what upstreams do within what pots bear, and beyond that.
const WITHIN: u8 = 128;
const OVERRUN: u8 = 129;
/// The same of what is taken back of an overrun, and put to what pots bear.
const LESS_OVERRUN: u8 = 131;
const MORE_WITHIN: u8 = 132;

impl Truth {
    /// What a payer pays more.
    pub(crate) fn paid(
        &self,
        number: u8,
        cover: &Cover,
        account: AccountId,
        more: Amount,
    ) -> Entry {
        let id = entry_of(self.hold, EntryKind::Correct, number);
        let path = (Account::Credit(account), revenue_of(cover));
        let original = entry_of(self.hold, EntryKind::Settle, number);
        Entry::moved(id, EntryKind::Correct, path, more).correcting(original)
    }

    /// What moves where the pots bear so much of the cost, or none of them counts money.
    pub(crate) fn booked(&self, borne: Option<Amount>) -> Vec<Entry> {
        let Some(asked) = self.asked else {
            return Vec::new();
        };
        let (within, overrun) = self.split(borne);
        let upstream = (Account::Payable, Account::UpstreamCost);
        let beyond = (Account::Payable, Account::Overrun);
        let back = |(from, to)| (to, from);
        let moves = [
            (within.above(asked.within), upstream, MORE_WITHIN, None),
            (
                asked.within.above(within),
                back(upstream),
                WITHIN,
                Some(WITHIN),
            ),
            (overrun.above(asked.overrun), beyond, OVERRUN, None),
            (
                asked.overrun.above(overrun),
                back(beyond),
                LESS_OVERRUN,
                Some(OVERRUN),
            ),
        ];
        let moves = moves.into_iter().filter(|(amount, ..)| !amount.is_zero());
        let entry = |(amount, path, number, corrects): (Amount, _, u8, Option<u8>)| {
            let id = entry_of(self.hold, EntryKind::Correct, number);
            let entry = Entry::moved(id, EntryKind::Correct, path, amount);
            match corrects {
                Some(number) => entry.correcting(entry_of(self.hold, EntryKind::Settle, number)),
                None => entry,
            }
        };
        moves.map(entry).collect()
    }

    /// What is asked, within what pots bear and beyond it: as large a part as they bear of the cost. Where
    /// none counts money, what was beyond stays so.
    fn split(&self, borne: Option<Amount>) -> (Amount, Amount) {
        let Some(asked) = self.asked else {
            return (Amount::ZERO, Amount::ZERO);
        };
        let within = match borne {
            Some(borne) => part(asked.truth, borne, self.cost),
            None => asked.within.min(asked.truth),
        };
        (within, asked.truth.above(within))
    }

    /// The entries that there may be of it.
    pub fn entries(&self) -> impl Iterator<Item = EntryId> {
        let numbers = self.raises.iter().map(|(number, ..)| *number);
        let numbers = numbers.chain([WITHIN, OVERRUN, LESS_OVERRUN, MORE_WITHIN]);
        numbers.map(|number| entry_of(self.hold, EntryKind::Correct, number))
    }

    /// The accounts that something may move between.
    pub fn accounts(&self) -> impl Iterator<Item = Account> {
        let of_payers = self
            .raises
            .iter()
            .filter_map(|(_, cover, _)| match cover.pot {
                Pot::Account(account) => Some([Account::Credit(account), revenue_of(cover)]),
                Pot::Window(_) => None,
            });
        let of_upstream = [Account::Payable, Account::UpstreamCost, Account::Overrun];
        of_payers.flatten().chain(of_upstream)
    }
}

/// So many of so many, of an amount: rounded down.
fn part(amount: Amount, of: Amount, all: Amount) -> Amount {
    if of >= all {
        return amount;
    }
    let product = i128::from(amount.units()) * i128::from(of.units());
    let part = product.checked_div(i128::from(all.units())).unwrap_or(0);
    let part = i64::try_from(part).ok().and_then(Amount::new);
    part.unwrap_or_default().min(amount)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Asked;
    use smallvec::smallvec;
    use tollkeep_types::HoldId;

    fn amount(units: i64) -> Amount {
        Amount::new(units).unwrap()
    }

    // LED-52
    #[test]
    fn as_much_is_borne_of_what_is_asked_as_of_what_is_paid() {
        let big = i64::MAX / 2;
        for (name, (within, overrun, truth), (cost, borne), want) in [
            (
                "more, and all borne",
                (50, 0, 100),
                (150, Some(150)),
                (100, 0),
            ),
            (
                "a part, rounded down",
                (50, 0, 100),
                (150, Some(100)),
                (66, 34),
            ),
            ("none of it", (0, 0, 100), (150, Some(0)), (0, 100)),
            ("less", (100, 0, 40), (60, Some(60)), (40, 0)),
            ("nothing", (100, 0, 0), (0, Some(0)), (0, 0)),
            (
                "no overrun any more",
                (100, 100, 120),
                (180, Some(180)),
                (120, 0),
            ),
            (
                "less of an overrun",
                (100, 100, 120),
                (180, Some(150)),
                (100, 20),
            ),
            (
                "nobody counts money: more",
                (100, 20, 130),
                (130, None),
                (100, 30),
            ),
            (
                "nobody counts money: less",
                (100, 20, 90),
                (90, None),
                (90, 0),
            ),
            ("large", (0, 0, big), (big, Some(1)), (1, big - 1)),
        ] {
            let truth = Truth {
                hold: HoldId::from_bytes([1; 16]),
                cost: amount(cost),
                raises: smallvec![],
                borne: None,
                asked: Some(Asked {
                    within: amount(within),
                    overrun: amount(overrun),
                    truth: amount(truth),
                }),
            };
            let booked = truth.booked(borne.map(amount));
            let of = |account: Account| -> i64 {
                let postings = booked.iter().flat_map(Entry::postings);
                let found = postings.filter(|posting| posting.account == account);
                found.map(|posting| posting.by.units()).sum()
            };
            let after = (
                within + of(Account::UpstreamCost),
                overrun + of(Account::Overrun),
            );
            assert_eq!(after, want, "{name}");
        }
    }
}

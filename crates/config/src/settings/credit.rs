//! Credit that payers buy ahead, for all that is sold by the request.

use super::{DAY_MS, days};
use crate::check::Checks;
use crate::field::KindExt;
use crate::kind::{dollars, duration, switch};
use crate::reader::keys;
use std::time::Duration;
use tollkeep_payments::session::CreditTerms;
use tollkeep_types::money::NanoUsd;

keys! {
    /// Credit that payers buy ahead, by the field `X-Tollkeep-Credit: $5` of a request: the 402 asks for
    /// that, and what was paid is used up by all calls that are sold one by one.
    pub(crate) struct CreditFile {
        /// Whether it is sold. What was sold is good in any case.
        sold: bool = switch().or(true),
        /// The least that is sold at once.
        min: NanoUsd = dollars().or(NanoUsd::new(10_000_000)),
        /// The most.
        max: NanoUsd = dollars().or(NanoUsd::new(20_000_000_000)),
        /// For how long it may be used. What is left then stays owed.
        lasts: Duration = duration(60_000..=366 * DAY_MS).or(days(30)),
    }
}

impl CreditFile {
    pub(super) fn check(self, checks: &mut Checks<'_>) -> Option<CreditTerms> {
        if self.min <= NanoUsd::ZERO {
            checks.error(
                "payments.credit.min",
                "is nothing: nobody can be asked for that",
            );
        }
        if self.max < self.min {
            let problem = "is below `payments.credit.min`: write `sold: false` to sell none";
            checks.error("payments.credit.max", problem);
        }
        let Self {
            min, max, lasts, ..
        } = self;
        self.sold.then_some(CreditTerms { min, max, lasts })
    }
}

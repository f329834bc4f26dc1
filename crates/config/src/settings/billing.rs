//! What a payment buys: one call, or something that lasts longer.

use super::market::Market;
use super::route::Access;
use super::sale::{Accept, PricedBy, PricingFile, Sale, TermsFile};
use crate::check::Checks;
use crate::field::KindExt;
use crate::kind::{bytes, choice, priced, whole};
use crate::reader::keys;
use crate::tree::KeyPath;
use std::time::Duration;
use tollkeep_payments::price::Price;
use tollkeep_payments::pricing::Pricing;
use tollkeep_payments::session::{Billing, Model};
use tollkeep_payments::state::Mode;
use tollkeep_payments::x402::Offer;
use tollkeep_types::money::NanoUsd;

/// What a payment buys, in the words of the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Buys {
    /// One call.
    Call,
    /// A session.
    Session(Model),
}

const MODELS: [(&str, Buys); 5] = [
    ("per_request", Buys::Call),
    (Model::TimePass.as_str(), Buys::Session(Model::TimePass)),
    (
        Model::TokenBucket.as_str(),
        Buys::Session(Model::TokenBucket),
    ),
    (Model::Metered.as_str(), Buys::Session(Model::Metered)),
    (Model::PerKb.as_str(), Buys::Session(Model::PerKb)),
];

keys! {
    /// What a payment buys.
    pub(crate) struct BillingFile {
        /// `per_request`, one call; `time_pass`, all calls for `durationMinutes`; `token_bucket`,
        /// `tokenBudget` calls; `metered`, a deposit of which each call takes `unit_cost`; `per_kb`,
        /// one of which each KiB of answers does.
        model: Buys = choice(&MODELS).or(Buys::Call),
        /// For how many minutes it lasts. Default: 30 days, but for `time_pass`, which needs it.
        duration_minutes: Option<u64> = whole(1..=527_040).optional(),
        /// How many calls it buys, with `token_bucket`.
        token_budget: Option<u64> = whole(1..=1_000_000_000).optional(),
        /// What a call takes of the deposit, with `metered`, or a KiB, with `per_kb`.
        unit_cost: Option<Price> = priced().optional(),
        /// The same in sats, which are not supported yet.
        unit_cost_sats: Option<u64> = whole(1..=1_000_000_000).optional(),
        /// So much of an answer is set aside at a time, with `per_kb`. Default: 256 KiB.
        hold_step: Option<u64> = bytes(1024..=64 * super::MIB).optional(),
    }
}

/// How long something lasts of which nobody says so.
const LASTS: Duration = Duration::from_secs(30 * 86_400);
const STEP_KIB: u64 = 256;
const KIB: u64 = 1024;

impl BillingFile {
    /// What is bought; `pass` is how long one lasts by tollbooth's `pricing.model: time`. `None`:
    /// one call.
    pub(super) fn check(
        self,
        pass: Option<Duration>,
        path: &KeyPath,
        checks: &mut Checks<'_>,
    ) -> Option<Billing> {
        let at = path.name("billing");
        let model = match (self.model, pass) {
            (Buys::Session(model), _) => Some(model),
            (Buys::Call, Some(_)) => Some(Model::TimePass),
            (Buys::Call, None) => None,
        };
        if pass.is_some() && !matches!(self.model, Buys::Call | Buys::Session(Model::TimePass)) {
            let problem = "is something else than `pricing.model: time`: write one of them";
            checks.error_at(&at.name("model"), problem);
        }
        if self.unit_cost_sats.is_some() {
            let problem =
                "is not supported yet: sats are paid by Lightning; write `unit_cost: \"$0.001\"`";
            checks.error_at(&at.name("unit_cost_sats"), problem);
        }
        let has_unit = matches!(model, Some(Model::Metered | Model::PerKb));
        for (name, is_written, is_fit) in [
            (
                "duration_minutes",
                self.duration_minutes.is_some(),
                model.is_some(),
            ),
            (
                "token_budget",
                self.token_budget.is_some(),
                model == Some(Model::TokenBucket),
            ),
            ("unit_cost", self.unit_cost.is_some(), has_unit),
            (
                "hold_step",
                self.hold_step.is_some(),
                model == Some(Model::PerKb),
            ),
        ] {
            if is_written && !is_fit {
                checks.error_at(&at.name(name), "has no effect with this `model`");
            }
        }
        let model = model?;
        let minutes = |minutes: u64| Duration::from_secs(minutes.saturating_mul(60));
        let lasts = self.duration_minutes.map(minutes).or(pass);
        for (name, is_missing) in [
            (
                "duration_minutes",
                model == Model::TimePass && lasts.is_none(),
            ),
            (
                "token_budget",
                model == Model::TokenBucket && self.token_budget.is_none(),
            ),
            (
                "unit_cost",
                has_unit && self.unit_cost.is_none() && self.unit_cost_sats.is_none(),
            ),
        ] {
            if is_missing {
                let problem = format!("needs `{name}` with `model: {}`", model.as_str());
                checks.error_at(&at, problem);
            }
        }
        if self.unit_cost.as_ref().is_some_and(Price::is_free) {
            checks.error_at(&at.name("unit_cost"), "is nothing");
        }
        Some(Billing {
            model,
            lasts: lasts.unwrap_or(LASTS),
            calls: self.token_budget.unwrap_or(0),
            unit: self.unit_cost,
            step_kib: self.hold_step.map_or(STEP_KIB, |step| step.div_ceil(KIB)),
        })
    }
}

/// What can't be bought so.
pub(super) fn check_sold(
    billing: &Billing,
    (pricing, accepts): (&Pricing, &[Accept]),
    path: &KeyPath,
    checks: &mut Checks<'_>,
) {
    if !pricing.rules().is_empty() || pricing.is_by_model() {
        let problem = format!(
            "has several prices with `billing.model: {}`: what was paid by one of them would be \
             good for all of its calls",
            billing.model.as_str()
        );
        checks.error_at(path, problem);
    }
    let Some(unit) = &billing.unit else { return };
    for (origin, price) in pricing.all() {
        for accept in accepts {
            let Some(amount) = Offer::amount_of(price, &accept.asset) else {
                continue;
            };
            let problem = match Offer::amount_of(unit, &accept.asset) {
                Some(takes) if takes <= amount => continue,
                Some(_) => format!("{unit} is more than {origin} brings: {price}"),
                None => format!(
                    "{unit} can't be had of {} on {}",
                    accept.asset.symbol, accept.asset.network
                ),
            };
            checks.error_at(&path.name("billing").name("unit_cost"), problem);
        }
    }
}

impl PricingFile {
    /// How long a pass lasts, if that is what is paid for.
    pub(super) fn pass(&self, path: &KeyPath, checks: &mut Checks<'_>) -> Option<Duration> {
        let at = path.name("pricing");
        let by_time = self.model == PricedBy::Time;
        if by_time && self.duration.is_none() {
            checks.error_at(&at, "needs a `duration` with `model: time`, such as `1h`");
        }
        if !by_time && self.duration.is_some() {
            checks.error_at(
                &at.name("duration"),
                "has an effect with `model: time` only",
            );
        }
        self.duration.filter(|_| by_time)
    }
}

impl TermsFile {
    /// What can't be where a payment buys more than one call: that is paid first.
    pub(super) fn check_session(&self, path: &KeyPath, checks: &mut Checks<'_>) {
        for (name, is_written) in [
            ("settlement", self.settlement == Some(Mode::After)),
            ("upto", self.upto),
        ] {
            if is_written {
                let problem =
                    "can't be with `billing`: what lasts longer than one call is paid first";
                checks.error_at(&path.name(name), problem);
            }
        }
    }
}

impl Sale {
    /// What can't be sold so to those who may call.
    fn check_for(&self, access: Access, path: &KeyPath, market: &Market, checks: &mut Checks<'_>) {
        if matches!(access, Access::Payment | Access::TokenOrPayment) {
            self.check(path, market, checks);
            if let Some(billing) = &self.billing {
                check_sold(billing, (&self.pricing, &self.accepts), path, checks);
            }
        }
        let takes_tokens = matches!(access, Access::Token | Access::TokenOrPayment);
        let has_cost = |price: &Price| self.token_cost(price).is_some();
        let costs_use = self.tokens.is_some() && self.token_price.is_none();
        if takes_tokens && (costs_use || !self.pricing.all().all(|(_, price)| has_cost(price))) {
            let problem = "needs a `token_price`: what its calls cost access tokens is no sum of \
                           dollars that is known beforehand";
            checks.error_at(path, problem);
        }
        if !takes_tokens && self.token_price.is_some() {
            let problem = "has no effect: access tokens are not taken here";
            checks.error_at(&path.name("token_price"), problem);
        }
    }

    /// What a call costs an access token that is quoted this price; `None`: that is no sum of
    /// dollars.
    pub fn token_cost(&self, price: &Price) -> Option<NanoUsd> {
        if self.token_price.is_some() || price.is_free() {
            return self.token_price.or(Some(NanoUsd::ZERO));
        }
        match &self.billing {
            // What a call used is known when it is over.
            None if self.tokens.is_some() => None,
            None => price.usd(),
            Some(billing) => match billing.model {
                Model::Metered => billing.unit.as_ref()?.usd(),
                Model::TimePass | Model::TokenBucket | Model::PerKb => None,
            },
        }
    }
}

/// Looks at a sale that costs something; `None`: it costs nothing.
pub(super) fn check_costs(
    (sale, access): (Option<&Sale>, Access),
    (path, (has_token_price, exposes_cost)): (&KeyPath, (bool, bool)),
    market: &Market,
    checks: &mut Checks<'_>,
) {
    let is_charged = sale.is_some() && matches!(access, Access::Token | Access::TokenOrPayment);
    if exposes_cost && !is_charged {
        let problem = "has no effect: no access token is charged anything here";
        checks.error_at(&path.name("expose_cost"), problem);
    }
    match sale {
        Some(sale) => sale.check_for(access, path, market, checks),
        None if has_token_price => {
            let problem = "has no effect: the route costs nothing";
            checks.error_at(&path.name("token_price"), problem);
        }
        None => {}
    }
}

//! Values of the ledger as columns have them.

use super::kept::AccountKey;
use crate::query::Row;
use crate::{StoreError, row};
use serde::{Deserialize, Serialize};
use tollkeep_ledger::amount::{Amount, Charge, Measure};
use tollkeep_ledger::posting::{Account, EntryKind, Unit};
use tollkeep_ledger::row::{
    Cover, Covers, Enforcement, HoldRow, HoldState, LeaseRow, LeaseState, Pot, Quality, UsageRow,
    WindowRow,
};
use tollkeep_ledger::window::WindowKey;
use tollkeep_types::{AccountId, BudgetId, WallMillis};

/// A list of words and what they stand for.
type Words<T> = [(&'static str, T)];

pub(super) const QUALITIES: &Words<Quality> = &[
    ("reported", Quality::Reported),
    ("estimated", Quality::Estimated),
    ("unknown", Quality::Unknown),
];

pub(super) const HOLD_STATES: &Words<HoldState> = &[
    ("held", HoldState::Held),
    ("committed", HoldState::Committed),
    ("released", HoldState::Released),
    ("expired", HoldState::Expired),
    ("settled_reported", HoldState::Settled(Quality::Reported)),
    ("settled_estimated", HoldState::Settled(Quality::Estimated)),
    ("settled_unknown", HoldState::Settled(Quality::Unknown)),
    ("adjusted", HoldState::Adjusted),
];

const LEASE_STATES: &Words<LeaseState> = &[
    ("active", LeaseState::Active),
    ("returned", LeaseState::Returned),
    ("lost", LeaseState::Lost),
];

const ENFORCEMENTS: &Words<Enforcement> = &[
    ("hard", Enforcement::Hard),
    ("soft", Enforcement::Soft),
    ("observe", Enforcement::Observe),
];

const MEASURES: &Words<Measure> = &[
    ("usd", Measure::Cost),
    ("tokens", Measure::Tokens),
    ("output_tokens", Measure::OutputTokens),
    ("billable_tokens", Measure::BillableTokens),
    ("requests", Measure::Requests),
];

const ENTRY_KINDS: &Words<EntryKind> = &[
    ("hold", EntryKind::Hold),
    ("settle", EntryKind::Settle),
    ("correct", EntryKind::Correct),
    ("lease", EntryKind::Lease),
    ("transfer", EntryKind::Transfer),
];

pub(super) fn word<T: Copy + PartialEq>(words: &Words<T>, value: T) -> &'static str {
    let found = words.iter().find(|(_, of)| *of == value);
    found.map_or("", |(word, _)| word)
}

fn meant<T: Copy>(words: &Words<T>, row: &Row, column: &str) -> Result<T, StoreError> {
    let word: &str = row::value(row, column)?;
    let found = words.iter().find(|(of, _)| *of == word);
    found
        .map(|(_, value)| *value)
        .ok_or_else(|| unreadable(column))
}

fn unreadable(column: &str) -> StoreError {
    StoreError::Unavailable(format!("column `{column}` of the ledger can't be read"))
}

pub(super) fn enforcement_word(value: Enforcement) -> &'static str {
    word(ENFORCEMENTS, value)
}

pub(super) fn lease_state_word(value: LeaseState) -> &'static str {
    word(LEASE_STATES, value)
}

pub(super) fn entry_kind_word(value: EntryKind) -> &'static str {
    word(ENTRY_KINDS, value)
}

pub(super) fn unit_word(measure: Measure) -> &'static str {
    match measure {
        Measure::Cost => "usd",
        Measure::Tokens | Measure::OutputTokens | Measure::BillableTokens => "tokens",
        Measure::Requests => "requests",
    }
}

pub(super) fn measure(row: &Row, column: &str) -> Result<Measure, StoreError> {
    meant(MEASURES, row, column)
}

pub(super) fn enforcement(row: &Row, column: &str) -> Result<Enforcement, StoreError> {
    meant(ENFORCEMENTS, row, column)
}

pub(super) fn quality(row: &Row, column: &str) -> Result<Quality, StoreError> {
    meant(QUALITIES, row, column)
}

pub(super) fn amount(row: &Row, column: &str) -> Result<Amount, StoreError> {
    Amount::new(row::value(row, column)?).ok_or_else(|| unreadable(column))
}

pub(super) fn small(row: &Row, column: &str) -> Result<u32, StoreError> {
    u32::try_from(row::number(row, column)?).map_err(|_| unreadable(column))
}

pub(super) fn key(row: &Row) -> Result<WindowKey, StoreError> {
    Ok(WindowKey {
        budget: row::id(row, "budget_id")?,
        start: row::time(row, "window_start")?,
    })
}

pub(super) fn window(row: &Row) -> Result<WindowRow, StoreError> {
    Ok(WindowRow {
        enforcement: enforcement(row, "enforcement")?,
        limit: amount(row, "limit_units")?,
        ceiling: amount(row, "ceiling")?,
        spent: amount(row, "spent")?,
        reserved: amount(row, "reserved")?,
        leased: amount(row, "leased")?,
        recall: small(row, "recall")?,
        floor: row::time(row, "floor")?,
        version: row::number(row, "version")?,
    })
}

pub(super) fn lease(row: &Row) -> Result<LeaseRow, StoreError> {
    Ok(LeaseRow {
        id: row::id(row, "id")?,
        key: key(row)?,
        replica: row::id(row, "replica_id")?,
        epoch: row::number(row, "epoch")?,
        amount: amount(row, "amount")?,
        used: amount(row, "used")?,
        returned: amount(row, "returned")?,
        state: meant(LEASE_STATES, row, "state")?,
        expires_at: row::time(row, "expires_at")?,
        serial: small(row, "serial")?,
        version: small(row, "version")?,
    })
}

pub(super) fn hold(row: &Row) -> Result<HoldRow, StoreError> {
    Ok(HoldRow {
        id: row::id(row, "id")?,
        replica: row::id(row, "replica_id")?,
        state: meant(HOLD_STATES, row, "state")?,
        version: small(row, "version")?,
        bound: charge_of(row, "bound")?,
        owed: amount_if_set(row, "owed")?,
        covers: covers_of(row, "covers")?,
        expires_at: row::time(row, "expires_at")?,
    })
}

pub(super) fn usage(row: &Row) -> Result<UsageRow, StoreError> {
    let version = row::number_if_set(row, "hold_version")?;
    Ok(UsageRow {
        hold: row::id(row, "id")?,
        quality: quality(row, "quality")?,
        bound: charge_of(row, "bound")?,
        charge: charge(row)?,
        charged: covers_of(row, "charged")?,
        row: version
            .map(u32::try_from)
            .transpose()
            .map_err(|_| unreadable("hold_version"))?,
        swept: row::value(row, "is_swept")?,
        corrected: row::value(row, "is_corrected")?,
    })
}

/// An amount, where there is one.
pub(super) fn amount_if_set(row: &Row, column: &str) -> Result<Option<Amount>, StoreError> {
    let units: Option<i64> = row::value(row, column)?;
    Ok(units.and_then(Amount::new))
}

/// What a call cost and used.
pub(super) fn charge(row: &Row) -> Result<Charge, StoreError> {
    Ok(Charge {
        cost: amount(row, "cost")?,
        tokens: amount(row, "tokens")?,
        output_tokens: amount(row, "output_tokens")?,
        billable_tokens: amount(row, "billable_tokens")?,
        requests: amount(row, "requests")?,
    })
}

/// A charge, measure by measure in a fixed order.
pub(super) fn charge_text(charge: &Charge) -> Result<String, StoreError> {
    let amounts = [
        charge.cost,
        charge.tokens,
        charge.output_tokens,
        charge.billable_tokens,
        charge.requests,
    ];
    row::to_json(&amounts.map(Amount::units))
}

pub(super) fn charge_of(row: &Row, column: &str) -> Result<Charge, StoreError> {
    let units: [i64; 5] = row::json(row, column)?;
    let [cost, tokens, output_tokens, billable_tokens, requests] = units.map(Amount::new);
    let charge = || {
        Some(Charge {
            cost: cost?,
            tokens: tokens?,
            output_tokens: output_tokens?,
            billable_tokens: billable_tokens?,
            requests: requests?,
        })
    };
    charge().ok_or_else(|| unreadable(column))
}

/// A cover as JSON has it.
#[derive(Deserialize, Serialize)]
struct CoverText {
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<BudgetId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<AccountId>,
    measure: std::borrow::Cow<'static, str>,
    taken: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<u64>,
}

pub(super) fn covers_text(covers: &[Cover]) -> Result<String, StoreError> {
    let told = |cover: &Cover| {
        let (budget, start, account) = match cover.pot {
            Pot::Window(key) => (Some(key.budget), Some(key.start.0), None),
            Pot::Account(account) => (None, None, Some(account)),
        };
        CoverText {
            budget,
            start,
            account,
            measure: word(MEASURES, cover.measure).into(),
            taken: cover.taken.units(),
            bucket: cover.bucket.map(|bucket| bucket.0),
        }
    };
    let told: Vec<_> = covers.iter().map(told).collect();
    row::to_json(&told)
}

pub(super) fn covers_of(row: &Row, column: &str) -> Result<Covers, StoreError> {
    let told: Vec<CoverText> = row::json(row, column)?;
    told.into_iter()
        .map(|cover| cover_of(&cover).ok_or_else(|| unreadable(column)))
        .collect()
}

fn cover_of(told: &CoverText) -> Option<Cover> {
    let pot = match told.account {
        Some(account) => Pot::Account(account),
        None => Pot::Window(WindowKey {
            budget: told.budget?,
            start: WallMillis(told.start?),
        }),
    };
    let mut measures = MEASURES.iter();
    Some(Cover {
        pot,
        measure: measures.find(|(word, _)| *word == told.measure)?.1,
        taken: Amount::new(told.taken)?,
        bucket: told.bucket.map(WallMillis),
    })
}

const UNITS: &Words<Unit> = &[
    ("usd", Unit::Usd),
    ("tokens", Unit::Tokens),
    ("requests", Unit::Requests),
];

pub(super) fn unit(row: &Row, column: &str) -> Result<Unit, StoreError> {
    meant(UNITS, row, column)
}

/// Accounts in dollars have the plain name.
fn in_unit(of: String, unit: Unit) -> String {
    match unit {
        Unit::Usd => of,
        Unit::Tokens | Unit::Requests => format!("{of}:{}", unit.as_str()),
    }
}

/// Of whom an account is that is kept by provider; those of calls of which no provider is known have none.
pub(super) fn for_provider(of: String, provider: Option<&str>) -> String {
    match provider {
        Some(provider) => format!("{of}:{provider}"),
        None => of,
    }
}

/// What an account is called, and of which kind it is.
pub(super) fn account_name(key: &AccountKey) -> (String, &'static str) {
    let of = key.of.map(|tenant| tenant.to_string()).unwrap_or_default();
    let (kind, of) = match key.account {
        Account::Outside(unit) => ("outside", in_unit(of, unit)),
        Account::Credit(id) => ("credit", id.to_string()),
        Account::Held(id) => ("held", id.to_string()),
        Account::Revenue(unit) => ("revenue", in_unit(of, unit)),
        Account::Promo(unit) => ("promo", in_unit(of, unit)),
        Account::Refunds(unit) => ("refunds", in_unit(of, unit)),
        Account::OperatorLoss(unit) => ("operator_loss", in_unit(of, unit)),
        Account::UpstreamCost => ("upstream_cost", for_provider(of, key.provider.as_deref())),
        Account::Payable => ("payable", for_provider(of, key.provider.as_deref())),
        Account::Overrun => ("overrun", of),
        Account::Unresolved(id) => ("unresolved", id.to_string()),
        Account::InDoubt(id) => ("in_doubt", id.to_string()),
    };
    (format!("{kind}:{of}"), kind)
}

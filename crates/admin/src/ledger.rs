//! `/api/v1/ledger`: whether the rows of money are what they must be, and what was lost with a replica
//! (LED-74, LED-84).

use crate::budget::{unit, usd};
use crate::operation::{Call, Content, Method, Operation};
use crate::parameters::{CURSOR, LIMIT, next_cursor};
use crate::problem::{Fault, Problem};
use crate::rights::Right;
use crate::router::{Answer, ok};
use crate::shape::{Member, amount, bounded, choice, id, number, switch, text, texts, time};
use serde_json::{Value as Json, json};
use tollkeep_audit::{Action, Key, Value};
use tollkeep_config::settings::limit_of;
use tollkeep_ledger::amount::Amount;
use tollkeep_ledger::money::NanoUsd;
use tollkeep_store::After;
use tollkeep_store::ledger::{AccountRecord, EntryRecord, LostSlice, digests};
use tollkeep_types::{LeaseId, WallMillis};

const REPORT: &[Member] = &[
    switch("valid", "Nothing was found"),
    number("entries", "How many entries of accounts were followed"),
    texts(
        "violations",
        250,
        300,
        "What is not as it must be: the invariant, and the row",
    ),
];

/// Entries of one answer, unless fewer are asked for.
const ENTRIES_MAX: u32 = 10_000;

const ENTRY: &[Member] = &[
    number("number", "Its place among all entries, from 1"),
    id("id", "ent_", "Its id"),
    choice(
        "kind",
        &["hold", "settle", "correct", "lease", "transfer"],
        "Why it was made",
    ),
    time("at", "When it was written"),
    text(
        "hash",
        64,
        "Over all of it and the hash of the one before; the event that tells of it has the same",
    ),
    switch("is_gain", "A payer has more by it than before its call"),
];

const SLICE: &[Member] = &[
    id("id", "lse_", "Its id"),
    id("tenant_id", "ten_", "Whose budget it is of"),
    id("budget_id", "bud_", "That budget"),
    time(
        "window_start",
        "When the window began that it is of; null: it always was",
    )
    .or_null(),
    choice("unit", &["usd", "tokens", "requests"], "What it counts"),
    number("amount", "What was taken: nano-dollars, tokens or requests"),
    number("used", "What of it calls are known to have used"),
    number(
        "in_doubt",
        "What is counted as spent though nobody told of a call for it",
    ),
    text("in_doubt_usd", 30, "The same in dollars").or_null(),
    text("replica", 64, "The replica that had it"),
    time("lost_at", "When it was lost"),
];

const ACCOUNT: &[Member] = &[
    text("name", 400, "Its name: the kind, and whose it is"),
    id("tenant_id", "ten_", "The tenant it belongs to"),
    choice("kind", KINDS, "What it is for"),
    text(
        "provider",
        256,
        "Which provider's calls it is about: of `upstream_cost` and `payable`",
    )
    .or_null(),
    text("unit", 200, "In what it counts: `usd` is nano-dollars"),
    number("balance", "The sum of all that was moved on it"),
    text("balance_usd", 30, "The same in dollars").or_null(),
];

const KINDS: &[&str] = &[
    "outside",
    "credit",
    "held",
    "revenue",
    "promo",
    "refunds",
    "operator_loss",
    "upstream_cost",
    "payable",
    "overrun",
    "unresolved",
    "in_doubt",
];

const RESOLVE: &[Member] = &[
    text(
        "evidence",
        200,
        "How it is known what was used, for the records",
    )
    .required(),
    amount(
        "used",
        "What of it was used all the same, and stays counted; nothing if not given",
    ),
];

pub(crate) const OPERATIONS: &[Operation] = &[
    CHECK,
    Operation {
        id: "ledger_accounts",
        command: "ledger accounts",
        about: "All accounts with their balances, by name: what is owed to payers and to providers too",
        method: Method::Get,
        path: "/api/v1/ledger/accounts",
        also: None,
        right: Right::Read,
        change: None,
        query: &[LIMIT, CURSOR],
        body: None,
        answers: &[(200, Content::Page(ACCOUNT))],
        refusals: &[],
        run: |call| Box::pin(accounts(call)),
    },
    Operation {
        id: "ledger_unresolved",
        command: "ledger unresolved",
        about: "Slices of budgets that were lost with a replica and count as spent, the last first",
        method: Method::Get,
        path: "/api/v1/ledger/unresolved",
        also: None,
        right: Right::Read,
        change: None,
        query: &[LIMIT, CURSOR],
        body: None,
        answers: &[(200, Content::Page(SLICE))],
        refusals: &[],
        run: |call| Box::pin(unresolved(call)),
    },
    Operation {
        id: "ledger_resolve",
        command: "ledger resolve",
        about: "Give back what a lost slice holds, once",
        method: Method::Post,
        path: "/api/v1/ledger/unresolved/{slice}/resolve",
        also: None,
        right: Right::Money,
        change: Some(Action::MoneyAdjust),
        query: &[],
        body: Some(RESOLVE),
        answers: &[(200, Content::Object(&[SLICE]))],
        refusals: &[409],
        run: |call| Box::pin(resolve(call)),
    },
    Operation {
        id: "ledger_entries",
        command: "ledger entries",
        about: "Entries of all accounts in the order of their chain, to be compared with the audit log",
        method: Method::Get,
        path: "/api/v1/ledger/entries",
        also: None,
        right: Right::ReadDeployment,
        change: None,
        query: &[
            bounded("limit", 1, 10_000, "How many at most; 10,000 if not given"),
            number("after", "Those behind this number"),
        ],
        body: None,
        answers: &[(200, Content::List(ENTRY))],
        refusals: &[],
        run: |call| Box::pin(entries(call)),
    },
];

const CHECK: Operation = Operation {
    id: "ledger_check",
    command: "ledger check",
    about: "Look at all rows of money for what can't be: sums that differ, a broken chain",
    method: Method::Get,
    path: "/api/v1/ledger/check",
    also: None,
    right: Right::ReadDeployment,
    change: None,
    query: &[],
    body: None,
    answers: &[(200, Content::Object(&[REPORT]))],
    refusals: &[],
    run: |call| Box::pin(check(call)),
};

async fn check(call: Call) -> Answer {
    let report = call.state.parts.store.ledger().check().await?;
    Ok(ok(&json!({
        "valid": report.violations.is_empty(),
        "entries": report.entries,
        "violations": report.violations,
    })))
}

async fn accounts(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let place = "ledger accounts";
    let page = call.query.page::<String>(state, place)?;
    let ledger = state.parts.store.ledger();
    let page = ledger.accounts(operator.scope(), &page).await?;
    // They are in the order of their names, which no time says.
    let last = page.rows.last().filter(|_| page.more);
    let last = last.map(|last| After {
        created_at: WallMillis(0),
        id: last.name.clone(),
    });
    let data: Vec<Json> = page.rows.iter().map(account).collect();
    Ok(ok(&json!({
        "data": data,
        "has_more": page.more,
        "next_cursor": next_cursor(state, place, last),
    })))
}

fn account(account: &AccountRecord) -> Json {
    let balance_usd = (account.unit == "usd").then(|| NanoUsd::new(account.balance).to_string());
    json!({
        "name": account.name,
        "tenant_id": account.tenant,
        "kind": account.kind,
        "provider": account.provider(),
        "unit": account.unit,
        "balance": account.balance,
        "balance_usd": balance_usd,
    })
}

async fn unresolved(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let place = "unresolved";
    let page = call.query.page(state, place)?;
    let ledger = state.parts.store.ledger();
    let page = ledger.lost_slices(operator.scope(), &page).await?;
    let last = page.rows.last().filter(|_| page.more);
    let last = last.map(|last| After {
        created_at: last.lost_at,
        id: last.id,
    });
    let data: Vec<Json> = page.rows.iter().map(slice).collect();
    Ok(ok(&json!({
        "data": data,
        "has_more": page.more,
        "next_cursor": next_cursor(state, place, last),
    })))
}

async fn resolve(call: Call) -> Answer {
    let Call {
        state,
        operator,
        id,
        mut body,
        ..
    } = call;
    let ledger = state.parts.store.ledger();
    let found = match id.parse::<LeaseId>() {
        Ok(id) => ledger.lost_slice(operator.scope(), id).await,
        Err(_) => return Err(Problem::not_found()),
    };
    // What is written wrong is told first, as in every other operation.
    let measure = found.as_ref().ok().map(|slice| slice.measure);
    let used = body.take_as("used", |written| match measure {
        Some(measure) => limit_of(measure, &written),
        None => Ok(Amount::ZERO),
    });
    let evidence = body.text("evidence").unwrap_or_default();
    body.done()?;
    if evidence.trim().is_empty() {
        return Err(Problem::invalid(vec![Fault {
            path: "/evidence".to_owned(),
            message: "must say how it is known".to_owned(),
        }]));
    }
    let (found, used) = (found?, used.unwrap_or_default());
    state.check_audit()?;
    let resolved = ledger.resolve_slice(operator.scope(), found.id, used).await;
    let (before, made) = resolved?;
    let given_back = before.in_doubt.above(used);
    let units = u64::try_from(given_back.units()).unwrap_or_default();
    let event = state
        .event(&operator, Action::MoneyAdjust)
        .with_tenant_id(before.tenant)
        .with_detail(Key::Reason, Value::Text(evidence.into()))
        .with_detail(Key::Units, Value::Number(units))
        .with_detail(Key::Name, Value::OwnedWord(before.id.to_string().into()))
        .with_detail(Key::EntryDigest, Value::OwnedWord(digests(&made).into()));
    state.record(event).await?;
    let after = LostSlice {
        used: before.used.plus(used).unwrap_or(before.amount),
        in_doubt: Amount::ZERO,
        ..before
    };
    Ok(ok(&slice(&after)))
}

fn slice(slice: &LostSlice) -> Json {
    json!({
        "id": slice.id,
        "tenant_id": slice.tenant,
        "budget_id": slice.budget,
        "window_start": Some(slice.window_start).filter(|start| *start > WallMillis(0)),
        "unit": unit(slice.measure).0,
        "amount": slice.amount.units(),
        "used": slice.used.units(),
        "in_doubt": slice.in_doubt.units(),
        "in_doubt_usd": usd(slice.measure, slice.in_doubt),
        "replica": slice.replica,
        "lost_at": slice.lost_at,
    })
}

async fn entries(call: Call) -> Answer {
    let number = |name| {
        call.query
            .get(name)
            .and_then(|text| text.parse::<u64>().ok())
    };
    let limit = number("limit").and_then(|limit| u32::try_from(limit).ok());
    let (after, limit) = (number("after").unwrap_or(0), limit.unwrap_or(ENTRIES_MAX));
    let ledger = call.state.parts.store.ledger();
    let rows = ledger.entries(after, limit.min(ENTRIES_MAX)).await?;
    Ok(ok(&rows.iter().map(shown).collect::<Json>()))
}

fn shown(entry: &EntryRecord) -> Json {
    json!({
        "number": entry.number,
        "id": entry.id,
        "kind": entry.kind,
        "at": entry.at,
        "hash": entry.hash,
        "is_gain": entry.is_gain,
    })
}

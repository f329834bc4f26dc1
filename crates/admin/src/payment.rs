//! `/api/v1/payments`, `/api/v1/credits`, `/api/v1/revenue`: what callers paid, what is owed to them,
//! what was earned (PAY-96). Who pays is masked unless the key may move money.

use crate::State;
use crate::authn::Operator;
use crate::operation::{Call, Content, Method, Operation};
use crate::parameters::{CURSOR, LIMIT, next_cursor};
use crate::problem::{Fault, Problem};
use crate::rights::Right;
use crate::router::{Answer, ok};
use crate::shape::{Member, choice, id, number, text, time};
use crate::usage::time_of;
use serde_json::{Value as Json, json};
use tollkeep_audit::{Action, Key, Value};
use tollkeep_store::{
    After, Conflict, CreditSum, PaymentChange, PaymentFilter, PaymentMode, PaymentRecord,
    PaymentState, RevenueBy, RevenueSum, StoreError,
};
use tollkeep_types::{PaymentId, WallMillis};

const STATES: &[&str] = &[
    "pending",
    "serving",
    "settling",
    "unknown",
    "settled",
    "delivering",
    "credit",
    "redeeming",
    "spent",
    "voided",
    "released",
];
const RAILS: &[&str] = &["x402"];
const BY: &[&str] = &["route", "rail", "day"];
/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

const SHOWN: &[Member] = &[
    id("id", "pay_", "Its id"),
    id("tenant_id", "ten_", "Whose route it was for"),
    choice("state", STATES, "Where it stands"),
    choice("rail", RAILS, "How it was paid"),
    text("route", 300, "The route"),
    choice(
        "mode",
        &["before", "after", "upto"],
        "When money is taken: before the upstream is called, when it has answered, when all of that was delivered",
    ),
    text("asset", 100, "The token"),
    text("network", 100, "Its network, as CAIP-2 names it"),
    text("unit", 200, "The token, as CAIP-19 names it"),
    number("decimals", "Decimals of one whole token"),
    text("quoted", 40, "What it is for, in the token's smallest unit"),
    text("received", 40, "What was received, in the same unit").or_null(),
    text(
        "payer",
        42,
        "Who pays; masked unless the key may move money",
    ),
    text("pay_to", 42, "Who is paid"),
    text("facilitator", 100, "Who is asked to settle it"),
    text("transaction", 128, "The transaction").or_null(),
    text(
        "reason",
        300,
        "Why it was refused, or what an operator said of it",
    )
    .or_null(),
    text("request_id", 64, "The request that showed it"),
    time("created_at", "When it was shown"),
    time("updated_at", "When it last changed"),
    time("settled_at", "When the money came").or_null(),
    time("ends_at", "When the proof ends"),
];

const CREDIT: &[Member] = &[
    text("asset", 100, "The token"),
    text("unit", 200, "The token, as CAIP-19 names it"),
    number("decimals", "Decimals of one whole token"),
    number("payments", "How many payments"),
    text("amount", 40, "How much, in the token's smallest unit"),
    time("oldest_at", "Since when the oldest of them is owed"),
];

const REVENUE: &[Member] = &[
    text("by", 300, "The route, the rail, or the day of UTC"),
    text("asset", 100, "The token"),
    text("unit", 200, "The token, as CAIP-19 names it"),
    number("decimals", "Decimals of one whole token"),
    number("payments", "How many payments"),
    text("amount", 40, "How much, in the token's smallest unit"),
];

const RESOLVE: &[Member] = &[
    choice(
        "as",
        &["settled", "voided"],
        "`settled`: the money came, and is the payer's credit; `voided`: it did not and will not",
    )
    .required(),
    text("evidence", 300, "What says so, for the records").required(),
];

const REFUND: &[Member] = &[
    text("transaction", 128, "The transfer that sent it back").required(),
    text(
        "evidence",
        300,
        "What else there is to say, for the records",
    ),
];

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "payment_list",
        command: "payment list",
        about: "Payments, the newest first",
        method: Method::Get,
        path: "/api/v1/payments",
        also: None,
        right: Right::Read,
        change: None,
        query: &[
            LIMIT,
            CURSOR,
            choice("state", STATES, "Those that stand so"),
            choice("rail", RAILS, "Those that were paid so"),
            text("route", 300, "Those for this route"),
            text("since", 40, "Those since then, in RFC 3339"),
        ],
        body: None,
        answers: &[(200, Content::Page(SHOWN))],
        refusals: &[],
        run: |call| Box::pin(list(call)),
    },
    Operation {
        id: "payment_get",
        command: "payment get",
        about: "One payment",
        method: Method::Get,
        path: "/api/v1/payments/{payment}",
        also: None,
        right: Right::Read,
        change: None,
        query: &[],
        body: None,
        answers: &[(200, Content::Object(&[SHOWN]))],
        refusals: &[],
        run: |call| Box::pin(get(call)),
    },
    Operation {
        id: "payment_resolve",
        command: "payment resolve",
        about: "Say what became of a payment that nobody knows about, for good",
        method: Method::Post,
        path: "/api/v1/payments/{payment}/resolve",
        also: None,
        right: Right::Money,
        change: Some(Action::PaymentResolve),
        query: &[],
        body: Some(RESOLVE),
        answers: &[(200, Content::Object(&[SHOWN]))],
        refusals: &[409],
        run: |call| Box::pin(resolve(call)),
    },
    Operation {
        id: "payment_refund",
        command: "payment refund",
        about: "Say that the credit of a payment was sent back to its payer by hand, for good",
        method: Method::Post,
        path: "/api/v1/payments/{payment}/refund",
        also: None,
        right: Right::Money,
        change: Some(Action::MoneyRefund),
        query: &[],
        body: Some(REFUND),
        answers: &[(200, Content::Object(&[SHOWN]))],
        refusals: &[409],
        run: |call| Box::pin(refund(call)),
    },
    Operation {
        id: "payment_credits",
        command: "payment credits",
        about: "What was paid for and not delivered, by token",
        method: Method::Get,
        path: "/api/v1/credits",
        also: None,
        right: Right::Read,
        change: None,
        query: &[],
        body: None,
        answers: &[(200, Content::List(CREDIT))],
        refusals: &[],
        run: |call| Box::pin(credits(call)),
    },
    Operation {
        id: "payment_revenue",
        command: "payment revenue",
        about: "What was earned with payments, by token and by route, rail or day",
        method: Method::Get,
        path: "/api/v1/revenue",
        also: None,
        right: Right::Read,
        change: None,
        query: &[
            choice("by", BY, "What it is summed up by; `route` if not given"),
            text("since", 40, "What came since then, in RFC 3339"),
        ],
        body: None,
        answers: &[(200, Content::List(REVENUE))],
        refusals: &[],
        run: |call| Box::pin(revenue(call)),
    },
];

async fn list(call: Call) -> Answer {
    let (state, operator, query) = (&call.state, &call.operator, &call.query);
    let filter = PaymentFilter {
        state: query.get("state").and_then(PaymentState::from_word),
        rail: query.get("rail").map(str::to_owned),
        route: query.get("route").map(str::to_owned),
        since: time_of(query, "since")?,
    };
    let place = format!("payments {filter:?}");
    let page = query.page(state, &place)?;
    let store = &state.parts.store;
    let page = store.payments(operator.scope(), filter, page).await?;
    let last = page.rows.last().filter(|_| page.more);
    let last = last.map(|last| After {
        created_at: last.created_at,
        id: last.id,
    });
    let rows = page.rows.iter();
    let data: Vec<Json> = rows.map(|payment| shown(payment, operator)).collect();
    Ok(ok(&json!({
        "data": data,
        "has_more": page.more,
        "next_cursor": next_cursor(state, &place, last),
    })))
}

async fn get(call: Call) -> Answer {
    let (operator, id) = (&call.operator, id_of(&call.id)?);
    let store = &call.state.parts.store;
    let payment = store.payment(operator.scope(), id).await?;
    Ok(ok(&shown(&payment, operator)))
}

async fn resolve(call: Call) -> Answer {
    let Call {
        state,
        operator,
        id,
        mut body,
        ..
    } = call;
    let outcome = body.choice::<String>("as");
    let evidence = body.text("evidence").unwrap_or_default();
    body.done()?;
    if evidence.trim().is_empty() {
        return Err(Problem::invalid(vec![Fault {
            path: "/evidence".to_owned(),
            message: "must say what says so".to_owned(),
        }]));
    }
    let (id, store) = (id_of(&id)?, &state.parts.store);
    let payment = store.payment(operator.scope(), id).await?;
    if payment.state != PaymentState::Unknown {
        return Err(Problem::from(StoreError::Conflict(Conflict::Changed)));
    }
    let (to, word) = match outcome.as_deref() {
        // It was served before.
        Some("settled") if payment.mode == PaymentMode::Upto => (PaymentState::Spent, "settled"),
        Some("settled") => (PaymentState::Credit, "settled"),
        _ => (PaymentState::Voided, "voided"),
    };
    let decided = Decided {
        action: Action::PaymentResolve,
        to,
        word,
        reason: evidence,
    };
    decided.keep(&state, &operator, &payment).await
}

async fn refund(call: Call) -> Answer {
    let Call {
        state,
        operator,
        id,
        mut body,
        ..
    } = call;
    let transaction = body.text("transaction").unwrap_or_default();
    let evidence = body.text("evidence").unwrap_or_default();
    body.done()?;
    if transaction.trim().is_empty() {
        return Err(Problem::invalid(vec![Fault {
            path: "/transaction".to_owned(),
            message: "must name the transfer that sent it back".to_owned(),
        }]));
    }
    let payment = state.parts.store.payment(operator.scope(), id_of(&id)?);
    let payment = payment.await?;
    if payment.state != PaymentState::Credit {
        return Err(Problem::from(StoreError::Conflict(Conflict::Changed)));
    }
    let decided = Decided {
        action: Action::MoneyRefund,
        to: PaymentState::Voided,
        word: "refunded",
        reason: format!("refunded by {transaction} {evidence}")
            .trim_end()
            .to_owned(),
    };
    decided.keep(&state, &operator, &payment).await
}

/// What an operator says of a payment, for good.
struct Decided {
    action: Action,
    to: PaymentState,
    word: &'static str,
    reason: String,
}

impl Decided {
    /// Keeps it, if the payment is as it was read, and tells the audit log.
    async fn keep(self, state: &State, operator: &Operator, payment: &PaymentRecord) -> Answer {
        state.check_audit()?;
        let change = PaymentChange {
            from: payment.state,
            version: payment.version,
            to: self.to,
            calls: payment.calls,
            was_made_good: payment.was_made_good,
            due: None,
            facilitator: None,
            transaction: None,
            reason: Some(self.reason.clone()),
            lease: None,
            look_at: None,
            opens: None,
        };
        let store = &state.parts.store;
        let after = store.change_payment(payment.id, change).await?;
        let changed = || Problem::from(StoreError::Conflict(Conflict::Changed));
        let after = after.ok_or_else(changed)?;
        let event = state
            .event(operator, self.action)
            .with_tenant_id(after.tenant)
            .with_detail(Key::Reason, Value::Text(self.reason.into()))
            .with_detail(Key::Kind, Value::Word(self.word))
            .with_detail(Key::Name, Value::OwnedWord(after.id.to_string().into()));
        let digests = tollkeep_store::ledger::digests(&after.made);
        let event = match digests.is_empty() {
            true => event,
            false => event.with_detail(Key::EntryDigest, Value::OwnedWord(digests.into())),
        };
        state.record(event).await?;
        Ok(ok(&shown(&after, operator)))
    }
}

async fn credits(call: Call) -> Answer {
    let store = &call.state.parts.store;
    let sums = store.credit_sums(call.operator.scope()).await?;
    Ok(ok(&sums.iter().map(shown_credit).collect::<Json>()))
}

async fn revenue(call: Call) -> Answer {
    let query = &call.query;
    let by = match query.get("by") {
        Some("day") => RevenueBy::Day,
        Some("rail") => RevenueBy::Rail,
        _ => RevenueBy::Route,
    };
    let since = time_of(query, "since")?;
    let store = &call.state.parts.store;
    let sums = store.revenue(call.operator.scope(), by, since).await?;
    let shown = sums.iter().map(|sum| shown_revenue(sum, by));
    Ok(ok(&shown.collect::<Json>()))
}

fn id_of(text: &str) -> Result<PaymentId, Problem> {
    text.parse().map_err(|_| Problem::not_found())
}

/// Who paid, as far as this operator may know.
pub(crate) fn payer_of(payer: &str, operator: &Operator) -> String {
    match Right::Money.is_of(operator.role(), operator.tenant().is_some()) {
        true => payer.to_owned(),
        false => masked(payer),
    }
}

fn shown(payment: &PaymentRecord, operator: &Operator) -> Json {
    let payer = payer_of(&payment.payer, operator);
    json!({
        "id": payment.id,
        "tenant_id": payment.tenant,
        "state": payment.state.as_str(),
        "rail": "x402",
        "route": payment.route,
        "mode": payment.mode.as_str(),
        "asset": payment.symbol,
        "network": payment.network,
        "unit": payment.unit,
        "decimals": payment.decimals,
        "quoted": payment.quoted.to_string(),
        "received": payment.received.map(|units| units.to_string()),
        "payer": payer,
        "pay_to": payment.pay_to,
        "facilitator": payment.facilitator,
        "transaction": payment.transaction,
        "reason": payment.reason,
        "request_id": payment.request,
        "created_at": payment.created_at,
        "updated_at": payment.updated_at,
        "settled_at": payment.settled_at,
        "ends_at": payment.ends_at.min(WallMillis::MAX),
    })
}

/// The beginning and the end of an address.
fn masked(address: &str) -> String {
    let mut characters = address.chars();
    let start: String = characters.by_ref().take(6).collect();
    let rest: Vec<char> = characters.collect();
    let end: String = rest.iter().skip(rest.len().saturating_sub(4)).collect();
    format!("{start}…{end}")
}

fn shown_credit(sum: &CreditSum) -> Json {
    json!({
        "asset": sum.symbol,
        "unit": sum.unit,
        "decimals": sum.decimals,
        "payments": sum.payments,
        "amount": sum.total.to_string(),
        "oldest_at": sum.oldest,
    })
}

fn shown_revenue(sum: &RevenueSum, by: RevenueBy) -> Json {
    json!({
        "by": match by {
            RevenueBy::Route | RevenueBy::Rail => sum.what.clone(),
            RevenueBy::Day => day(&sum.what),
        },
        "asset": sum.symbol,
        "unit": sum.unit,
        "decimals": sum.decimals,
        "payments": sum.payments,
        "amount": sum.total.to_string(),
    })
}

/// The date of the day of that number.
fn day(number: &str) -> String {
    let days: u64 = number.parse().unwrap_or_default();
    let told = WallMillis(days.saturating_mul(DAY_MS)).to_string();
    told.split('T').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // PAY-96
    #[test]
    fn an_address_is_masked_but_for_its_ends() {
        let address = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";
        assert_eq!(masked(address), "0x3C44…93BC");
        assert_eq!(masked("0x"), "0x…");
        assert_eq!(day("0"), "1970-01-01");
        assert_eq!(day("20000"), "2024-10-04");
    }
}
